"""docs/results/performance.md: what the other commands of scripts/benchmark.py print, one after the other."""

import datetime
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commands.page_text import COLUMNS, TITLES, WORDS
from benchmarks.running import PEERS
from lm_keras.errors import InputError
from lm_keras.training.environment import commit
from lm_keras.training.machine import chosen_precision

SHAPES = ("article", "units_256", "ptb_medium", "characters")
BASE = {
    "vocab_size": 2_000,
    "embedding_dim": 256,
    "hidden_units": 256,
    "sequence_length": 64,
    "batch_size": 32,
}
"""The network whose cost is followed as one of its sizes grows."""

GROWTH = {
    "sequence_length": (32, 64, 128, 256, 512),
    "vocab_size": (1_000, 3_000, 10_000, 30_000, 100_000),
    "hidden_units": (128, 256, 512, 1_024),
    "batch_size": (8, 16, 32, 64, 128),
    "replicas": (1, 2, 4),
}
AXES = {
    "sequence_length": "tokens in a row", "vocab_size": "vocabulary", "hidden_units": "units",
    "batch_size": "rows of the batch",
    "replicas": "replicas on two cores",
}  # fmt: skip
LOSSES = (
    (50_000, 256, 64, 64), (10_000, 650, 20, 35), (2_000, 384, 64, 16),
    (1_000, 128, 32, 32), (65, 512, 32, 64),
)  # fmt: skip
"""Vocabulary, width, rows, length."""


def commands(section: str) -> list[list[str]]:
    """Return the command lines of a section, without the script's name."""
    torch, transformers = (importlib.util.find_spec(name) is not None for name in ("torch", "transformers"))
    peers = ",".join(peer for peer in PEERS["lstm"] if peer != "torch" or torch)
    short = chosen_precision()
    if section == "train":
        listed = [
            ["train", f"--flagfile=configs/benchmark/{name}.flags", f"--peer={peers}"] for name in SHAPES
        ]
        in_short = [[*line, f"--precision={short}"] for line in listed[2:] if short != "float32"]
        quickstart = ["train", "--flagfile=configs/benchmark/quickstart.flags", "--precision=float32"]
        return [[*listed[0], "--replicas=2"], *listed, [*quickstart, "--peer=jit_off"], *in_short]
    if section == "sample":
        return [["sample", "--flagfile=configs/benchmark/ptb_medium.flags", *["--peer=torch"] * torch]]
    if section == "race":
        return [["race", "--flagfile=configs/benchmark/race.flags", "--corpus=text:PATH/input.txt"]]
    if section == "loss":
        names = ("vocab_size", "hidden_units", "batch_size", "sequence_length")
        return [["loss", *_flags(dict(zip(names, sizes)))] for sizes in LOSSES]
    if section == "guards":
        return [["guards", "--repeats=101"]]
    if section == "gpt":
        flags = {
            name: f"--flagfile=configs/benchmark/{name}.flags"
            for name in ("gpt_small", "gpt_medium", "gpt2_124m")
        }
        lines = [
            ["train", flags["gpt_small"], *["--peer=torch,torch_compiled"] * torch],
            ["train", flags["gpt_medium"], *["--peer=torch,torch_bfloat16"] * torch],
            ["sample", flags["gpt2_124m"], *["--peer=transformers"] * transformers],
            ["sample", flags["gpt2_124m"], *["--peer=transformers"] * transformers, "--jit=on"],
        ]
        kinds = [[*line, f"--precision={one}"] for line in lines for one in dict.fromkeys(("float32", short))]
        return [
            *kinds,
            ["sample", flags["gpt2_124m"], "--peer=compiled_bfloat16,int8", "--precision=float32"],
        ]
    if section == "embeddings":
        peer = ["--peer=gensim"] * (importlib.util.find_spec("gensim") is not None)
        return [["embeddings", "--embedding_dim=100", *peer]]
    if section == "masked":
        peers = ["--peer=torch,torch_bfloat16"] * torch
        lines = [
            ["train", f"--flagfile=configs/benchmark/{family}_medium.flags"] for family in ("bert", "glm")
        ]
        kinds = [[*peers, f"--precision={one}"] for one in dict.fromkeys(("float32", short))]
        return [[*line, *kind] for line in lines for kind in [*kinds, ["--precision=float32", "--jit=on"]]]
    if section == "decode":
        return [["decode", "--flagfile=configs/benchmark/gpt2_124m.flags", "--precision=float32"]]
    if section == "growth":
        return [
            ["train", *_flags({**BASE, name: value})] for name, values in GROWTH.items() for value in values
        ]
    shapes = [[f"--flagfile=configs/benchmark/{name}.flags"] for name in (*SHAPES, "gpt_small", "gpt_medium")]
    ngram = _flags({**BASE, "model": "ngram", "hidden_units": 512})
    in_short = [[*shape, f"--precision={short}"] for shape in shapes[-2:] if short != "float32"]
    return [
        ["train", *shape, f"--jit={jit}"] for shape in [*shapes, *in_short, ngram] for jit in ("off", "on")
    ]


def _flags(settings: dict) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def write(sections: list[str], repeats: int, seconds: float, corpus: str, root: Path) -> Iterator[dict]:
    """Measure some sections again, and write docs/results/performance.md, .json and .png.

    Args:
        sections: keys of `TITLES`.
        repeats, seconds: as `train` takes them.
        corpus: tinyshakespeare, for the race.
        root: the folder with `docs`, `scripts` and `configs`.

    Yields:
        Every result, as it comes.

    Raises:
        InputError: a command fails.
    """
    path = root / "docs" / "results" / "performance.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    measured_commit = commit(root)  # Before the page itself changes.
    for section in sections:
        kept[section] = []
        for command in commands(section):
            given = [f"--corpus={corpus}" if word.startswith("--corpus=") else word for word in command]
            results = _results(root, given, repeats, seconds)
            kept[section].append({"command": " ".join(command), "results": results})
            yield from results
        kept[f"{section}_measured"] = {
            "date": datetime.date.today().isoformat(),
            "commit": measured_commit,
            "machine": results[0]["machine"],
        }
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if "growth" in kept:
        _plot(kept["growth"], root / "docs" / "results" / "performance.png")
    (root / "docs" / "results" / "performance.md").write_text("\n".join(_page(kept)) + "\n", encoding="utf-8")


def _results(root: Path, command: list[str], repeats: int, seconds: float) -> list[dict]:
    how = [f"--repeats={repeats}", f"--seconds={seconds}"]
    line = [sys.executable, "scripts/benchmark.py", command[0], *how, *command[1:]]
    ended = subprocess.run(line, cwd=root, capture_output=True, text=True)
    if ended.returncode:
        raise InputError(f"{' '.join(line[1:])}: {ended.stderr.strip().splitlines()[-1]}")
    return [json.loads(result) for result in ended.stdout.splitlines()]


def _page(kept: dict) -> Iterator[str]:
    yield (
        "# Performance\n\nWritten by `scripts/benchmark.py page`, which carries out the commands below. Times"
        " on shared machines vary;"
    )
    yield "what is compared was measured in turn in the same run."
    for section, title in TITLES.items():
        if section not in kept:
            continue
        about = kept[f"{section}_measured"]
        base = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in BASE.items())
        yield f"\n## {title}\n\n{WORDS[section].format(base=base)}\n"
        yield (
            f"Measured on {about['machine']}, {about['date']}, {_repeats(kept[section])}with commit"
            f" {_short(about['commit'])}.\n"
        )
        if section == "growth":
            yield from _growth_table(kept[section])
            continue
        for measured in kept[section]:
            yield from _table(measured)


def _short(commit: str | None) -> str:
    """Return a commit as people write it; `-dirty` says that files differed from it."""
    name, _, dirty = (commit or "unknown").partition("-")
    return f"`{name[:10]}{'-' * bool(dirty)}{dirty}`"


def _repeats(measured: list[dict]) -> str:
    """Say how often each was measured, if all were as often."""
    counts = {result.get("repeats") for one in measured for result in one["results"]} - {None}
    return f"{counts.pop()} times each, " if len(counts) == 1 else ""


def _table(measured: dict) -> Iterator[str]:
    yield f"    .venv/bin/python scripts/benchmark.py {measured['command']}\n"
    names = [name for name in COLUMNS if any(name in result for result in measured["results"])]
    yield "| " + " | ".join(COLUMNS[name] for name in names) + " |\n" + "|---" * len(names) + "|"
    for result in measured["results"]:
        cells = [
            f"{value:,}" if isinstance(value := result.get(name, ""), int) else str(value) for name in names
        ]
        yield "| " + " | ".join(cells) + " |"
    yield ""
    for result in measured["results"]:
        if "products" in result:
            each = "; ".join(f"{shape} {said}" for shape, said in result["products"].items())
            yield f"Products of a step, alone: {each}.\n"
        if "profile" in result:
            each = ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in result["profile"].items())
            yield f"A step as recorded: {each}.\n"


def _points(growth: list[dict]) -> dict[str, list[tuple[int, dict]]]:
    """Return for each size that grows its values and what was measured at them."""
    found, lines = {}, iter(growth)
    for name, values in GROWTH.items():
        found[name] = [(value, next(lines)["results"][0]) for value in values]
    return found


def _growth_table(growth: list[dict]) -> Iterator[str]:
    yield (
        "| | tokens/s | ms a step | GFLOP/s | of it products | first steps, s | peak MiB |\n"
        + "|---" * 7
        + "|"
    )
    names = ("milliseconds_per_step", "gflops_per_second", "share_of_products", "first_steps_seconds")
    for name, points in _points(growth).items():
        for value, result in points:
            cells = [f"{name.replace('_', ' ')} {value:,}", f"{result['tokens_per_second']:,}"]
            cells += [str(result.get(each, "")) for each in names] + [f"{result['peak_mebibytes']:,}"]
            yield "| " + " | ".join(cells) + " |"


def _plot(growth: list[dict], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots(2, 3).flat
    for (name, points), axis in zip(_points(growth).items(), axes):
        values = [value for value, _ in points]
        axis.plot(values, [result["tokens_per_second"] for _, result in points], "o-", color="#1f77b4")
        axis.set_xscale("log")
        short = [f"{value // 1000}k" if value % 1000 == 0 else f"{value}" for value in values]
        axis.set_xticks(values, short, minor=False)
        axis.set_xticks([], minor=True)
        axis.set_ylim(bottom=0)
        axis.margins(0.08)
        axis.set_title(AXES[name], fontsize=10)
        axis.set_ylabel("tokens/s", color="#1f77b4")
        memory = axis.twinx()
        memory.plot(values, [result["peak_mebibytes"] for _, result in points], "s--", color="#d62728")
        memory.set_ylim(bottom=0)
        memory.set_ylabel("peak MiB", color="#d62728")
    for axis in list(axes):
        axis.set_visible(False)
    figure.savefig(path, dpi=110)
