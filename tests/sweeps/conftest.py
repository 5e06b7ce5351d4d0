"""Sweep folders as they are found, without the runs."""

import json

import pytest

from lm_keras.sweeps.folder import SweepFolder
from lm_keras.sweeps.search import trials_of
from lm_keras.sweeps.settings import SweepOptions

SPLIT = {"corpus": "text:a.txt", "fingerprint": "f" * 64, "tokens": 900, "bytes": 2000}
LIFE = {"step": 0, "machine": "a machine, 2 cores", "devices": "CPU", "commit": "c0ffee"}


def lines_of(curve, bytes_per_token=2.0):
    """Validations after each 10 steps, and training lines that are a tenth below."""
    for number, loss in enumerate(curve, 1):
        bits = {"bits_per_byte": loss / bytes_per_token} if bytes_per_token else {"bits_per_byte": None}
        yield {
            "step": 10 * number,
            "loss": 0.9 * loss,
            "seconds": 2.5 * number,
            **{k: v and 0.9 * v for k, v in bits.items()},
        }
        yield {"step": 10 * number, "split": "valid", "nats_per_token": loss, "perplexity": 2 * loss, **bits}


@pytest.fixture
def sweep_of(tmp_path, tiny_config):
    """A function that writes a sweep: the validation losses of each trial; None has not begun, a text is why
    it failed.
    """

    def make(curves, finished=True, bytes_per_token=2.0, **options):
        base = tiny_config()
        folder = SweepFolder(tmp_path / "some", base)
        folder.path.mkdir(exist_ok=True)
        trials = folder.added(trials_of(base, SweepOptions(**options)))
        for number, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
            if isinstance(curve, str):
                folder.failed[trial.name] = curve
            if isinstance(curve, str | None):
                continue
            lines = list(lines_of(curve, bytes_per_token))
            contents = {
                "config.json": trial.config.flat(),
                "data.json": {"splits": {"train": SPLIT, "valid": SPLIT}, "total_steps": 10 * len(curve)},
                "environment.json": {"lives": [{**LIFE, "began": f"2026-11-26T10:{number:02}"}]},
                "metrics.jsonl": lines,
            }
            if finished:
                contents["results.json"] = {
                    "step": 10 * len(curve), "splits": {"valid": lines[-1]} if lines else {},
                    "sample": {"text": "x"}, "seconds": 99.6,
                    "parameters": 1234 + number, "best_step": 10,
                }  # fmt: skip
            path = folder.path / trial.name
            path.mkdir()
            for name, content in contents.items():
                each = content if name.endswith("l") else [content]
                (path / name).write_text("".join(json.dumps(line) + "\n" for line in each))
        folder.save()
        return folder

    return make
