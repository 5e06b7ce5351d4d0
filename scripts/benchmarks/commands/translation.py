"""How well a run of pairs translates beside the same network in PyTorch that is trained as long."""

import dataclasses
import importlib.util
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commands.pairs import check
from benchmarks.commands.race import trained
from benchmarks.running import Running
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.objectives.bleu import bleu_and_chrf
from lm_keras.report.pairs import lines_of
from lm_keras.sampling.pair_settings import PairSettings
from lm_keras.training.environment import machine


def translation(config: Config, repeats: int, root: Path) -> Iterator[dict]:
    """Train both from scratch, in turn, each in a process of its own, and translate the test text.

    Theirs has our number of pairs in a batch, in batches of like length, our precision, and at each time the
    learning rate that ours has then.

    Args:
        config: the settings of our run, one that `pairs` can set beside PyTorch, with a test text.
        repeats: seeds.
        root: the folder of the project, for `scripts/train.py`.

    Yields:
        For each the seconds of training, compiling included and validation not, the same for both; the
        steps in them; BLEU and chrF of all test sources with `--eval_beams` beams: medians over the seeds,
        and the worst.

    Raises:
        InputError: PyTorch or the text is missing, or a process fails.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("translation needs PyTorch, which is not installed: pip install torch")
    check(config, ["torch_pairs"])
    if config.learning.precision not in ("float32", "mixed_bfloat16"):
        raise InputError(
            f"--precision={config.learning.precision}: PyTorch trains pairs in float32 or mixed_bfloat16 here"
        )
    found: dict[str, list[tuple]] = {"lm_keras": [], "torch": []}
    for seed in range(1, repeats + 1):
        batches = dataclasses.replace(config.batches, seed=seed)
        settings = dataclasses.replace(config, batches=batches)
        with tempfile.TemporaryDirectory() as folder:
            run = trained(settings, root, folder)
            results = run.results
            if "test" not in results["splits"]:
                raise InputError(f"--split={config.data.split}: expected a test text; take --test_corpus")
            lines = [*lines_of(run.path / "predictions" / "test.jsonl")]
        ours = results["splits"]["test"]
        found["lm_keras"].append((results["seconds"], results["step"], ours["bleu"], ours["chrf"]))
        found["torch"].append((results["seconds"], *_theirs(settings, results, lines)))
    for candidate, rows in found.items():
        seconds, steps, bleu, chrf = zip(*rows)
        yield {
            "candidate": candidate,
            "precision": config.learning.precision,
            "training_seconds": round(statistics.median(seconds), 1),
            "steps": round(statistics.median(steps)),
            "bleu": round(statistics.median(bleu), 2),
            "chrf": round(statistics.median(chrf), 2),
            "worst_bleu": round(min(bleu), 2),
            "worst_chrf": round(min(chrf), 2),
            "seeds": repeats,
            "machine": machine(),
        }


def _theirs(config: Config, ours: dict, lines: list[dict]) -> tuple[int, float, float]:
    """Train PyTorch's network as long as ours; return its steps, and its BLEU and chrF of some lines."""
    running = Running("torch_translator", config)
    try:
        steps = running.call("run", ours["seconds"], ours["step"])
        sources, references = ([line[name] for line in lines] for name in ("source", "references"))
        outputs = running.call("translate", sources, config.running.eval_beams, PairSettings().length_penalty)
    finally:
        running.stop()
    scores = bleu_and_chrf(outputs, references)
    return steps, scores["bleu"], scores["chrf"]
