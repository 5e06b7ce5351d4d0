"""A public run, and private runs on other text that begin with it or from scratch."""

import json
from pathlib import Path
from typing import Any

import lm_keras
from benchmarks import marked
from benchmarks.epsilons import runs_of
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.disk.files import write_atomically
from lm_keras.errors import InputError

MARK = "fine-tuning, by scripts/private_fine_tuning.py"

DELTA = 1e-6
"""A thirtieth of one over the number of captions."""

SETTINGS = {
    "tokenizer": "byte", "model": "lstm", "embedding_dim": 32, "hidden_units": 128, "sequence_length": 64,
    "batching": "window", "document_separator": "\\n", "split": "100/0/0", "optimizer": "adam",
    "log_every": 100, "eval_every": 10**6, "sample_every": 10**6, "projector": False,
}  # fmt: skip
"""Of every run: each line is a document."""

PUBLIC = {"batch_size": 64, "learning_rate": 0.005, "learning_rate_schedule": "cosine:final=0.1"}
PRIVATE = {"batch_size": 256, "learning_rate": 0.003, "learning_rate_schedule": "constant", "clip_norm": 0}


def trained(options: Any) -> list[dict[str, Any]]:
    """Train, and write results.json.

    Args:
        options: see `scripts/private_fine_tuning.py`.

    Returns:
        Bits per byte of held-out private text, a run each.

    Raises:
        InputError: the data is not there.
    """
    folder, data = Path(options.output_dir), Path(options.data or "")
    texts = {
        "public": data / "wikitext-2" / "train.txt.gz",
        "private": data / "multi30k" / "train.en.gz",
        "held out": data / "multi30k" / "val.en.gz",
    }
    for path in texts.values():
        if not path.is_file():
            raise InputError(
                f"--data={options.data}: {path} is missing; expected wikitext-2 and multi30k there"
            )
    common = {**SETTINGS, "seed": options.seed, "valid_corpus": f"text:{texts['held out']}"}
    public = {"corpus": f"text:{texts['public']}", "steps": options.public_steps, **PUBLIC}
    private = {"corpus": f"text:{texts['private']}", "steps": options.steps, **PRIVATE}
    results = [_result(folder / "public", {**common, **public})]
    for name, privacy in runs_of(options.epsilons, DELTA).items():
        settings = {**common, **private, **privacy}
        begun = _result(folder / name, {**settings, "init_from": folder / "public"})
        results.append(
            {**begun, "from_scratch": _result(folder / f"{name}_scratch", settings)["bits_per_byte"]}
        )
    write_atomically(folder / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    return results


def _result(run_dir: Path, settings: dict[str, Any]) -> dict[str, Any]:
    lm_keras.train(run_dir=run_dir, **settings)
    found = RunFolder(run_dir).results
    privacy = found.get("privacy", {})
    return {
        "run": run_dir.name,
        "epsilon": privacy.get("epsilon"),
        "noise": privacy.get("noise"),
        "bits_per_byte": found["splits"]["valid"]["bits_per_byte"],
        "seconds": found["seconds"],
    }


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    public, *private = results
    rows = [("0: the public model alone", "", public["bits_per_byte"], None)]
    for one in private:
        epsilon = "infinite" if one["epsilon"] is None else f"{one['epsilon']:.3g}"
        noise = f"{one['noise']:.3g}" if one["noise"] else "none, no clipping"
        rows.append((epsilon, noise, one["bits_per_byte"], one["from_scratch"]))
    names = ("epsilon", "noise", "bits per byte, from the public model", "from scratch")
    return marked.table(
        [
            dict(zip(names, (epsilon, noise, *("" if v is None else f"{v:.3f}" for v in values))))
            for epsilon, noise, *values in rows
        ]
    )
