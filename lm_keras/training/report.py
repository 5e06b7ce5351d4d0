"""What a person reads: progress on standard error, results on standard output, and the model card."""

import dataclasses
import sys
from pathlib import Path

from lm_keras import paths
from lm_keras.config import Config
from lm_keras.objectives.measures import MEASURES, columns_of
from lm_keras.privacy.guarantee import Guarantee
from lm_keras.registry import WITH_LABELS, WITH_MESSAGES, WITH_PAIRS
from lm_keras.training.workers import Cluster

LABEL_WIDTH = 9
"""Of a column that the table of a run has only where labels are predicted."""

_muted = False


def mute() -> None:
    """Say nothing from now on: this process takes part in a run that another one shows."""
    global _muted
    _muted = True


def say(line: str) -> None:
    """Write one line to standard error."""
    if _muted:
        return
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def say_as_worker(cluster: Cluster, line: str) -> None:
    """Write one line to standard error, in whatever worker."""
    index, count = cluster.index, len(cluster.addresses)
    shows = "; the chief shows how it goes on" if index else ""
    sys.stderr.write(f"worker {index} of {count} ({cluster.addresses[index]}): {line}{shows}\n")
    sys.stderr.flush()


def write(lines: list[str]) -> None:
    """Write lines to standard output."""
    if _muted:
        return
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def show(folder: Path, results: dict, task: str) -> None:
    """Write the results to standard output and the next commands to standard error.

    Args:
        folder: of the run.
        results: of it.
        task: of it.
    """
    sample = results.get("sample")
    shown, table = _sample(sample) if sample else [], _table(results["splits"], results.get("best"))
    write([*table, *(["", *shown] if shown else [])])
    if privacy := results.get("privacy"):
        say(f"privacy: {privacy['line']}")
    left_out = {name: count for name, count in results.get("left_out", {}).items() if count}
    if left_out:
        reasons = ", ".join(f"{count:,} {name}" for name, count in left_out.items())
        say(f"steps left out: {reasons}")
    best = results["best_step"]
    if best is not None and best != results["step"]:
        predicts = _script_of(task) == "predict.py"
        user = "predict.py uses those weights, evaluate.py with" if predicts else "use those weights with"
        say(f"validation was best at step {best:,}; {user} --checkpoint=best")
    say("next:")
    python, tensorboard = (
        _command(Path(sys.executable).with_name(name)) for name in ("python", "tensorboard")
    )
    scripts = Path(sys.argv[0]).absolute().parent
    use_script, evaluate_script = (
        _command(scripts / name if (scripts / name).exists() else Path("scripts") / name)
        for name in (_script_of(task), "evaluate.py")
    )
    run_dir = paths.as_word(folder)
    asked = f"--prompt={paths.quoted(sample['prompt'])}" if shown else "--interactive"
    asked = "--chat" if task in WITH_MESSAGES else asked
    say(f"  {python} {use_script} --run_dir={run_dir} {asked}")
    if results["splits"]:
        options = f"--split={next(iter(results['splits']))}" + ("" if best is None else " --checkpoint=best")
        say(f"  {python} {evaluate_script} --run_dir={run_dir} {options}")
    say(f"  {tensorboard} --logdir={run_dir}")


def _script_of(task: str) -> str:
    """Return the script that uses the networks of a task."""
    return "predict.py" if task in (*WITH_LABELS, *WITH_PAIRS) else "sample.py"


def scores(result: dict) -> list[str]:
    """Return the lines in which a person reads what an evaluation found.

    Args:
        result: values by name; `by_class` or `by_type`, if there, has scores of each label.
    """
    tables = {name: result[name] for name in ("by_class", "by_type") if name in result}
    lines = [f"{name:20} {value}" for name, value in result.items() if name not in tables]
    for name, values in tables.items():
        wide = max(map(len, [*values, name]))
        fields = ("precision", "recall", "f1", "support")
        lines += ["", " ".join([f"{name.replace('_', ' '):{wide}}", *(f"{field:>9}" for field in fields)])]
        for label, own in values.items():
            ratios = [f"{own[field]:9.3f}" for field in fields[:-1]]
            lines.append(" ".join([f"{label:{wide}}", *ratios, f"{own['support']:9,}"]))
    return lines


def _sample(sample: dict) -> list[str]:
    """Return the lines of the sample of a run; none where a prompt without text was filled."""
    if sample.get("filled"):
        return ["sample, masks filled:", sample["text"]] if sample["text"] else []
    head = f"sample (temperature {sample['temperature']}, seed {sample['seed']}):"
    return [head, sample["prompt"] + sample["text"]]


def _command(path: Path) -> str:
    """Return a path as a shell takes it, from the current folder on if it lies below it."""
    return paths.as_word(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _table(splits: dict[str, dict], best: dict | None = None) -> list[str]:
    """Return the lines of a table of results, a line for each split; none without splits.

    Args:
        splits: measures of the last weights by split.
        best: `step` and `splits` of the best weights, where they are others.
    """
    has_labels = not any("perplexity" in values for values in splits.values())
    columns = []
    for name in columns_of(splits.values()):
        measure = MEASURES[name]
        if width := measure.width or (LABEL_WIDTH if has_labels else 0):
            columns.append((name, dataclasses.replace(measure, width=width)))
    rows = [("split", [measure.head for _, measure in columns])] if splits else []
    for split, values in splits.items():
        beside = {f"{split}, best step {best['step']:,}": best["splits"][split]} if best else {}
        for name, own in values.get("baselines", {}).items():
            beside[f"{split}, {name.replace('_', ' ')}"] = own
        for row, own in {split: values, **beside}.items():
            rows.append((row, [measure.shown(own.get(name)) for name, measure in columns]))
    wide = max([6, *(len(row) for row, _ in rows)])
    return [
        " ".join(
            [f"{row:{wide}}", *(cell.rjust(measure.width) for cell, (_, measure) in zip(cells, columns))]
        )
        for row, cells in rows
    ]


def data_line(data: dict) -> str:
    """Return one line on the text of a run."""
    splits = data["splits"]
    parts = [
        f"{name} {values['tokens']:,} tokens ({values['bytes']:,} bytes{_also_learnt(values)})"
        for name, values in splits.items()
    ]
    return (
        f"text: {', '.join(parts)}; vocabulary {data['vocab_size']:,}; sha256"
        f" {splits['train']['corpus_sha256'][:16]}"
    )


def _also_learnt(split: dict) -> str:
    """Say which share of the bytes of a split also occurs in the training text."""
    share = split.get("in_train")
    return "" if share is None else f", {share:.1%} of it in train"


def _privacy(data: dict) -> str:
    """Return the paragraph of a model card on what a private run promises; nothing for other runs."""
    if "privacy" not in data:
        return ""
    promised = Guarantee.from_json(data["privacy"])
    return f"""
Differential privacy of the training text: {promised.line} ({promised.details}). Training curves, measures of
private validation text and what is chosen by them, and sizes and hashes of the text are not covered.
"""


def model_card(config: Config, data: dict, has_template: bool = False) -> str:
    """Return the README.md of a run folder.

    Args:
        config: the settings of the run.
        data: what its data.json says; without splits the model was converted.
        has_template: whether its tokenizer has a chat template.
    """
    splits = "\n".join(
        f"| {name} | {values['corpus']} | {values['licence'] or 'not known'} | {values['documents']:,} | "
        f"{values['tokens']:,} | {values['bytes']:,} | `{values['fingerprint'][:16]}` |"
        for name, values in data["splits"].items()
    )
    citations = dict.fromkeys(values["citation"] for values in data["splits"].values() if values["citation"])
    cited = "".join(f"\nThe text is to be cited as:\n\n```\n{citation}\n```\n" for citation in citations)
    family, kind = config.model.model, data["tokenizer"]["kind"]
    model = f"Family `{family}`, task `{config.task}`, tokenizer `{kind}` with\n{data['vocab_size']:,} tokens"
    trained = f"""# A model trained with lm_keras

{model}, {data["total_steps"]:,} steps. All settings are in `flags.txt`, which is a
flagfile; results are in `results.json` once the run is finished.

| split | corpus | licence | documents | tokens | bytes | fingerprint |
|---|---|---|---|---|---|---|
{splits}
{cited}{_privacy(data)}"""
    converted = f"""# A model converted with lm_keras

{model}. Its weights are those of a model of another project.
All settings are in `flags.txt`, which is a flagfile.
"""
    chat = "Talk to it with `scripts/sample.py --chat` or `lm_keras.load(folder).chat(messages)`.\n"
    chat = chat if has_template and config.task in ("causal_lm", *WITH_MESSAGES) else ""
    return f"""{trained if data["splits"] else converted}
The model repeats what its text holds, mistakes and biases included, and says nothing of what is true.
Read it with `lm_keras.load(folder)`, `scripts/{_script_of(config.task)}` or `scripts/evaluate.py`.
{chat}"""
