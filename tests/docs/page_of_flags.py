"""docs/reference/flags.md, made from the settings: `python tests/docs/page_of_flags.py` writes it."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "flags.md"

HEAD = """# Flags

Made from the settings by `python tests/docs/page_of_flags.py`. A test compares this page with them.

- Write a flag as `--name=value` or `--name value`; true and false as `--name` and `--noname`.
- `--flagfile=FILE` reads flags from a file, one a line. Lines that begin with `#` are comments. A flagfile
  may include others. The last value of a flag wins, except for flags that may be given several times.
- Brackets hold the default, the value of a flag that you leave out. `--name=` clears a flag without one.
- A path may begin with `~`. An unknown flag and a word that is left over are errors.
- `--help` shows the flags of a script.
"""

SETTINGS_OF_A_RUN = (
    "and the flags of [scripts/train.py](#train): data, model, batches, learning, privacy, running"
)


def scripts() -> dict[str, dict[str, type]]:
    """Return the dataclasses whose fields are the flags of each script: script -> group -> dataclass."""
    from benchmarks import dispatch
    from lm_keras import config
    from lm_keras.embeddings import settings as embeddings
    from lm_keras.objectives.scoring_options import ScoringOptions
    from lm_keras.sampling.pair_settings import PairSettings
    from lm_keras.sampling.settings import SamplingSettings
    from lm_keras.serving.settings import ServeOptions
    from lm_keras.sweeps.comparison import CompareOptions
    from lm_keras.sweeps.settings import SweepOptions

    return {
        "train": {"run": config.RunOptions, **config.GROUPS},
        "evaluate": {"": options_of("evaluate"), "scoring": ScoringOptions},
        "sample": {"": options_of("sample"), "sampling": SamplingSettings},
        "predict": {"": options_of("predict"), "targets": PairSettings},
        "serve": {"": ServeOptions},
        "convert": {"": options_of("convert")},
        "report": {"": options_of("report")},
        "compare": {"": CompareOptions},
        "sweep": {"": SweepOptions, **config.GROUPS},
        "train_tokenizer": {"": options_of("train_tokenizer"), "data": config.DataConfig},
        "train_embeddings": {"run": embeddings.EmbeddingRunOptions, **embeddings.GROUPS},
        "embeddings": {"": options_of("embeddings")},
        "launch_local": {"": options_of("launch_local")},
        "benchmark": {"": dispatch.BenchmarkOptions, **config.GROUPS},
        "canary": {"": options_of("canary")},
        "private_fine_tuning": {"": options_of("private_fine_tuning")},
        "reliability": {"": options_of("reliability")},
        "fuzz": {"": options_of("fuzz")},
    }


def options_of(script: str) -> type:
    """Return the class of a script's flags; the script is imported and not run."""
    spec = importlib.util.spec_from_file_location(f"_script_{script}", ROOT / "scripts" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Where dataclasses look for the types of its fields.
    spec.loader.exec_module(module)
    return getattr(module, script.title().replace("_", "") + "Options")


def names() -> dict[str, set[str]]:
    """Return the names of the flags of each script, those that absl adds and `--noname` among them."""
    from lm_keras.fields import kind_of

    found = {}
    for script, groups in scripts().items():
        fields = [field for kind in groups.values() for field in dataclasses.fields(kind)]
        negated = {f"no{field.name}" for field in fields if kind_of(field)[0] is bool}
        found[script] = {field.name for field in fields} | negated | {"flagfile", "help"}
    return found


def page() -> str:
    """Return the page."""
    from lm_keras import config

    lines, run_groups = [HEAD], set(config.GROUPS.values())
    for script, groups in scripts().items():
        lines += [f"## {script}", "", f"`scripts/{script}.py`"]
        told = {name: kind for name, kind in groups.items() if script == "train" or kind not in run_groups}
        if len(told) < len(groups):
            more = {name for name in groups if name not in told}
            whole = (
                SETTINGS_OF_A_RUN
                if len(more) == len(config.GROUPS)
                else f"and its group [{', '.join(more)}](#data)"
            )
            lines[-1] += f": the flags below, {whole}"
        for name, kind in told.items():
            lines += ["", f"### {name}"] if name else []
            lines += ["", _sentence(kind), "", "| flag | meaning | values |", "|---|---|---|"]
            lines += [_row(field) for field in dataclasses.fields(kind)]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _sentence(kind: type) -> str:
    """Return the first paragraph of a dataclass's docstring."""
    return " ".join((kind.__doc__ or "").strip().split("\n\n")[0].split())


def _row(field: dataclasses.Field) -> str:
    """Return the row of one flag: name and default, meaning and for what it has one, allowed values."""
    from lm_keras.fields import only_for

    meaning = field.metadata["help"] + only_for(field)
    shown = "" if field.default in (None, "") else f" [{_default(field.default)}]"
    return f"| `--{field.name}`{shown} | {_cell(meaning)} | {_cell(_values(field))} |"


def _default(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(field: dataclasses.Field) -> str:
    """Say which values a flag takes."""
    from lm_keras import fields

    if field.metadata["choices"]:
        return ", ".join(field.metadata["choices"])
    several = "; may be given several times" if field.metadata["several"] else ""
    return ("a path" if field.metadata["path"] else fields.expected(field)) + several


def _cell(text: str) -> str:
    """Return a text as a cell of a table, in which no bar, angle or asterisk is markup."""
    for mark in ("|", "<", "*"):
        text = text.replace(mark, f"\\{mark}")
    return text


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "scripts"))
    PAGE.write_text(page(), encoding="utf-8")
