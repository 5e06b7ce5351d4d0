"""Whether tags learn better with a linear-chain CRF than with softmax: the same network in PyTorch."""

import importlib.util
import statistics
from collections.abc import Iterator

from lm_keras.config import Config
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.tasks import TASKS
from lm_keras.training.environment import machine


def crf(config: Config, repeats: int) -> Iterator[dict]:
    """Train a tagger from scratch, with softmax and with a CRF in turn.

    Args:
        config: the settings of a run of `--task=tagging` with `--model=lstm`.
        repeats: seeds.

    Yields:
        For each its strict span F1 on the test text with the weights that are best on the validation text:
        mean and range over the seeds.

    Raises:
        InputError: the settings are not those of such a run, the text is too small, or PyTorch is missing.
    """
    model = config.model
    like_that = config.task == "tagging" and model.model == "lstm" and model.bidirectional
    if not like_that or not config.batches.epochs:
        raise InputError(
            "crf compares taggers with a bidirectional LSTM; expected --task=tagging --model=lstm"
            " --bidirectional --epochs=N, as in configs/wnut17.flags"
        )
    if importlib.util.find_spec("torch") is None:
        raise InputError("crf needs PyTorch, which is not installed: pip install torch")
    from benchmarks.candidates.torch_tagger import TEXTS, trained

    data = prepare(config.data, needs_mask=config.needs_mask, fields=TASKS[config.task].fields)
    train = data.splits["train"].documents
    if not data.labels.spans or len(train) < TEXTS or {"valid", "test"} - {*data.splits}:
        raise InputError(
            f"crf needs tags of spans, {TEXTS} training texts, and validation and test text;"
            f" {config.data.corpus} has {len(train)} texts in {', '.join(data.splits)}"
        )
    found: dict[bool, list] = {False: [], True: []}
    for seed in range(1, repeats + 1):
        for with_crf, results in found.items():
            results.append(trained(config, data, with_crf, seed))
    for with_crf, results in found.items():
        valid, test, seconds = zip(*results)
        yield {
            "tags": "CRF" if with_crf else "softmax",
            "valid": round(statistics.mean(valid), 4),
            "valid_range": f"{min(valid):.4f} to {max(valid):.4f}",
            "test": round(statistics.mean(test), 4),
            "test_range": f"{min(test):.4f} to {max(test):.4f}",
            "seconds": round(statistics.median(seconds)),
            "seeds": repeats,
            "machine": machine(),
        }
