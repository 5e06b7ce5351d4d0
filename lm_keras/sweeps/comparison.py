"""Families compared: each trains as long as the others on the same text, then is measured in the same ways.

A configuration is tried for some steps first, so that it gets as many as fit into the time. All happens in
processes of the scripts that a user would call.
"""

import dataclasses
import itertools
import json
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from lm_keras import paths
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.disk.files import bytes_of, write_atomically
from lm_keras.errors import InputError
from lm_keras.fields import check_line, setting
from lm_keras.registry import families_with
from lm_keras.report.comparison import FILE, table_of
from lm_keras.report.runs import RunRecord, read_runs
from lm_keras.sweeps.execute import Processes
from lm_keras.sweeps.folder import locked
from lm_keras.training.signals import STOPPED

TIMING_STEPS = 200
"""Steps after which the speed of a configuration is known: the middle one of those of its tenths."""

PEAK = "peak.json"
"""What a run folder has of the memory that its training took, until it is measured."""

MAX_OUTPUT = 2**20


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Which configurations, how long, and where they go."""

    compare_dir: str | None = setting(
        None,
        "folder of the comparison: a run folder for each configuration; the same command goes on",
        path=True,
    )
    minutes: float = setting(4.0, "training time of each configuration", above=0, high=10_000)
    blanks: int = setting(
        200, "cloze items of each length, one to five words, for each model to fill", low=1, high=10_000
    )
    split: str = setting("test", "part of the text that all are measured on", choices=("valid", "test"))
    page: str | None = setting(None, "also write the table to this Markdown file", path=True)

    def __post_init__(self):
        check_line("compare_dir", self.compare_dir)


def compare(configs: list[str], options: CompareOptions, scripts: Path, command: str) -> int:
    """Train and measure configurations, or go on with it, and write the page.

    Args:
        configs: flagfiles of scripts/train.py; their names are those of the runs.
        options: where, and how long.
        scripts: the folder of train.py, evaluate.py and report.py.
        command: what the page says it came from.

    Returns:
        The exit code: 0 done, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM, else that of the script
        that failed.

    Raises:
        InputError: for everything that a user can get wrong.
    """
    if not options.compare_dir:
        raise InputError("--compare_dir is missing: expected a folder, such as --compare_dir=runs/compare")
    if len(configs) < 2:
        raise InputError("expected two flagfiles at least, such as configs/compare/*.flags")
    names = [Path(config).stem for config in configs]
    for config, name in zip(configs, names):
        if names.count(name) > 1:
            raise InputError(f"two flagfiles are called {name}; rename one of them")
        if not Path(config).is_file():
            raise InputError(f"the flagfile {config} is missing")
    folder = Path(options.compare_dir)
    with locked(folder, "comparison", "compare_dir"), Processes([sys.executable]) as processes:
        for number, (config, name) in enumerate(zip(configs, names), 1):
            one = _One(folder / name, Path(config), options, scripts, processes)
            code = one.execute(f"{number} of {len(names)}, {name}")
            if code:
                return code
    found = read_runs([str(folder / name) for name in names], _say)
    if options.page:
        table = table_of(found)
        write_atomically(options.page, _page(table, command, found).encode())
        _say(f"wrote {options.page}")
    sys.stdout.write(table_of(found) + "\n")
    runs = " ".join(paths.as_word(folder / name) for name in names)
    _say(f"next: python {scripts.name}/report.py --run_dir={runs}")
    return 0


@dataclasses.dataclass(frozen=True)
class _One:
    """A configuration that is carried out."""

    folder: Path
    config: Path
    options: CompareOptions
    scripts: Path
    processes: Processes

    def execute(self, place: str) -> int:
        measured, asked = self.folder / FILE, self._asked()
        if measured.exists():
            done = _json_of(measured)
            for name, value in asked.items():
                if done.get(name) != value:
                    raise InputError(
                        f"{self.folder} was measured with --{name}={done.get(name)}, and now"
                        f" --{name}={value}; choose another --compare_dir, or delete {measured} to measure it"
                        " again"
                    )
            _say(f"{place}: done already")
            return 0
        peak = self.folder / PEAK
        if not peak.exists():  # Else it is trained, and only has to be measured.
            code, steps = self._steps(place)
            if code:
                return code
            _say(f"{place}: training {steps:,} steps")
            code = self._call(
                "train",
                f"--flagfile={paths.spelled(self.config)}",
                f"--run_dir={paths.spelled(self.folder)}",
                f"--steps={steps}",
            )
            if code:
                return self._stopped(code)
            write_atomically(
                peak, json.dumps({"peak_mebibytes": round(self.processes.peak_mebibytes)}).encode()
            )
        _say(f"{place}: measuring on {self.options.split}")
        result, settings = self.folder / "evaluation.json", self._settings()
        # Others have the whole context of a window, or carry a state.
        half = (
            [f"--stride={max(1, settings['sequence_length'] // 2)}"]
            if settings["model"] in families_with("cache")
            else []
        )
        code = self._call(
            "evaluate", f"--run_dir={paths.spelled(self.folder)}", f"--split={self.options.split}",
            f"--blanks={self.options.blanks}", *half,
            "--json", output=result,
        )  # fmt: skip
        if code:
            return self._stopped(code)
        content = {**_json_of(peak), **_json_of(result), **asked}
        write_atomically(measured, (json.dumps(content, indent=1) + "\n").encode())
        result.unlink()
        return 0

    def _asked(self) -> dict[str, Any]:
        """Return what is noted beside the measurements, for they hold for that alone."""
        return {name: getattr(self.options, name) for name in ("minutes", "blanks", "split")}

    def _settings(self) -> dict[str, Any]:
        return RunFolder(self.folder).config().flat()

    def _steps(self, place: str) -> tuple[int, int]:
        """Return an exit code, and how many steps fit into the time; those of a run that has begun already
        stay.
        """
        if RunFolder(self.folder).exists:
            steps = self._settings()["steps"]
            if steps is None:
                raise InputError(
                    f"{self.folder} holds a run that was not begun here; choose another --compare_dir"
                )
            return 0, steps
        _say(f"{place}: measuring its speed")
        trial = self.folder.with_name(f".{self.folder.name}.trial")
        shutil.rmtree(trial, ignore_errors=True)
        code = self._call(
            "train", f"--flagfile={paths.spelled(self.config)}", f"--run_dir={paths.spelled(trial)}",
            f"--steps={TIMING_STEPS}",
            f"--log_every={TIMING_STEPS // 10}", f"--eval_every={TIMING_STEPS}", "--sample_every=1000000",
            "--warmup_steps=0",
        )  # fmt: skip
        if code:
            return self._stopped(code), 0
        lines = [json.loads(line) for line in bytes_of(trial / "metrics.jsonl").decode().splitlines()]
        lines = [line for line in lines if "split" not in line]
        rate = statistics.median(
            (later["step"] - line["step"]) / (later["seconds"] - line["seconds"])
            for line, later in itertools.pairwise(lines)
        )
        shutil.rmtree(trial)
        return 0, max(1, round(60 * self.options.minutes * rate))

    def _call(self, script: str, *words: str, output: Path | None = None) -> int:
        """Carry out a script; its output goes to a log, that of evaluate.py to a file."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        log = output or self.folder.with_name(f"{self.folder.name}.log")
        with open(log, "wb" if output else "ab") as file:
            code = self.processes.execute([str(self.scripts / f"{script}.py"), *words], file)
        if output and code:
            with open(self.folder.with_name(f"{self.folder.name}.log"), "ab") as file:
                file.write(output.read_bytes())
        if output:  # Standard error is there, too: the JSON object is the last line.
            lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            output.write_text("\n".join(lines[-1:]), encoding="utf-8")
        return code

    def _stopped(self, code: int) -> int:
        if self.processes.sent:
            code = 128 + self.processes.sent[0]
        if code in STOPPED:
            _say("stopped; the same command goes on from there")
            return code
        log = self.folder.with_name(f"{self.folder.name}.log")
        last = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-1:]
        raise InputError(
            f"{self.config} failed: {(last or [f'exit code {code}'])[0].removeprefix('error: ')}; see {log}"
        )


def _json_of(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(bytes_of(path, MAX_OUTPUT))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); delete it"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} cannot be read (no JSON object); delete it")
    return content


def _page(table: str, command: str, runs: list[RunRecord]) -> str:
    launch = runs[0].launches[-1] if runs[0].launches else {}
    where = f"{launch.get('machine')}, {launch.get('devices')}, commit {str(launch.get('commit'))[:12]}"
    how = runs[0].comparison
    return f"""# Families compared

`{command}` on {where}.

Each configuration trained for as many steps as fit into {how["minutes"]:g} minutes at the speed of a first
run of {TIMING_STEPS} steps; the table has the time that they took. All have about as many parameters.
*tokens/s* counts the positions of the rows that are read. A BERT's rows have two positions around their
text, and with whole sentences not all rows are full. *targets/s* counts the tokens that are predicted, from
which a network learns: with a BERT and a GLM these are the masked tokens. All measures are those of the
{how["split"]} split, with {how["blanks"]} cloze items of each length. *Bits per byte* are those of the text
read from left to right: an n-gram model and an LSTM see all that came before, a GPT and a GLM read windows
with at least half a row before the first target; a BERT has no such measure. An item of one to five words
counts if every letter is as it was; the likeliest token is always taken. A BERT and a GLM see both sides,
the others only what comes before. A BERT is told the number of tokens, the others the number of words, after
which their text is cut.

{table}
"""


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
