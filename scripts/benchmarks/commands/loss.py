"""What the vocabulary loss takes, beside its compiled form and the plain one, which holds all logits."""

import statistics
from collections.abc import Iterator

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.config import Config
from lm_keras.training.environment import machine


def loss(config: Config, repeats: int) -> Iterator[dict]:
    """Form loss and gradients of random features, in pieces, compiled between the products, and in the
    plain form, each in a process of its own, in turn.

    Args:
        config: `vocab_size`, `hidden_units`, `batch_size` and `sequence_length` are the shape.
        repeats: how often each is measured.

    Yields:
        For each form: rows, vocabulary, milliseconds with the middle half, and the memory that its process
        took beyond what it had with features, matrix and TensorFlow in it; the ratio of its time to
        that in pieces.
    """
    names = ("loss_in_pieces", "compiled_loss", "plain_loss")
    running = [Running(name, config) for name in names]
    try:
        before = {each.name: each.call("ready") for each in running}
        times: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(repeats + 1):
            for each in running if repeat % 2 else running[::-1]:
                elapsed = each.call("measure")
                if repeat:  # The first one compiles.
                    times[each.name].append(elapsed)
        for each in running:
            ratios = [theirs / ours for ours, theirs in zip(times[names[0]], times[each.name])]
            yield {
                "form": each.name.replace("_", " "),
                "rows": config.batches.batch_size * config.batches.sequence_length,
                "width": config.model.units,
                "vocab_size": config.data.vocab_size,
                "milliseconds": round(1000 * statistics.median(times[each.name]), 2),
                "middle_half": between([1000 * value for value in times[each.name]]),
                "mebibytes": round(each.peak_mebibytes() - before[each.name]),
                "times_slower": round(statistics.median(ratios), 2),
                "times_slower_middle_half": between(ratios),
                "repeats": repeats,
                "machine": machine(),
            }
    finally:
        for each in running:
            each.stop()
