"""A look at a run before it begins (`--dry_run`): what it is, what it needs, and how long it will take."""

import dataclasses
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from lm_keras import schedules
from lm_keras.callbacks.progress import clock
from lm_keras.config import Config
from lm_keras.corpora.file_lists import find_files
from lm_keras.data.store import PreparedData, TextCounts, TokenStore
from lm_keras.data.tokenizers import saved_tokenizer
from lm_keras.training import estimates
from lm_keras.training.trainer import Trainer

TRIAL_SECONDS = 4.0
"""Length of the trial, without the first call, which compiles."""

SMALL_CORPUS_BYTES = 64 * 2**20
"""Up to this size a look prepares the text as the run would; the run then finds it in the cache."""

UNKNOWN_STEPS = 10**6
"""Length of a trial's schedules as long as `--epochs` tells nothing yet."""

USUAL_VOCABULARY = {"byte": 257, "char": 256, "word": 50_000}
"""Sizes to reckon with as long as a text that is not prepared does not tell."""


@dataclasses.dataclass(frozen=True)
class AssumedTokenizer:
    """Stands for a tokenizer of which only the size is known."""

    vocab_size: int


def is_small(corpus: str) -> bool:
    """Tell whether the text of a corpus is prepared within seconds."""
    if not corpus.startswith("text:"):
        return corpus == "python-docs"
    files = find_files(corpus.removeprefix("text:"))
    return sum(os.path.getsize(path) for path in files) <= SMALL_CORPUS_BYTES


def assumed_data(config: Config) -> PreparedData:
    """Return random tokens in place of a text that is too large to be prepared for a look.

    Raises:
        InputError: `--tokenizer` names a folder, and there is none.
    """
    data, batches = config.data, config.batches
    saved = saved_tokenizer(data)
    asked = data.tokenizer_settings()["vocab_size"]
    vocab_size = saved.vocab_size if saved else asked or USUAL_VOCABULARY[data.tokenizer]
    count = 16 * batches.batch_size * batches.sequence_length
    tokens = np.random.default_rng(batches.seed).integers(0, vocab_size, count + 1).astype(np.uint32)
    store = TokenStore(tokens, np.array([1]), TextCounts(count, count, count, count))
    return PreparedData(AssumedTokenizer(vocab_size), {"train": store}, {})


class StopAfter(keras.callbacks.Callback):
    """End training when the calls after the first one, which compiles, took some seconds."""

    def __init__(self, seconds: float):
        super().__init__()
        self._seconds = seconds
        self._began: float | None = None
        self.logs: dict = {}

    def on_train_batch_end(self, batch, logs=None):
        self.logs = dict(logs)
        now = time.perf_counter()
        if self._began is None:
            self._began = now
        elif now - self._began >= self._seconds:
            self.model.stop_training = True


def lines(config: Config, trainer: Trainer, prepared: bool, steps_done: int, trial: dict) -> Iterator[str]:
    """Yield what a person wants to know, line by line.

    Args:
        config: the settings of the run.
        trainer: after the trial.
        prepared: whether its text is that of the run, and not assumed.
        steps_done: steps that an unfinished run in the folder has done.
        trial: the logs of the trial's last call.
    """
    model, strategy = trainer.model, trainer.strategy
    yield "parameters"
    for variable in model.trainable_variables:
        shape = " x ".join(f"{size:,}" for size in variable.shape)
        yield _row(variable.path.removeprefix(f"{model.name}/"), f"{math.prod(variable.shape):,}", shape)
    yield _row("sum", f"{sum(math.prod(v.shape) for v in model.trainable_variables):,}")
    yield f"memory, beyond Python and TensorFlow{', of each device' if strategy.num_replicas_in_sync > 1 else ''}"
    needed = estimates.memory(config, model, strategy.num_replicas_in_sync)
    for field in dataclasses.fields(needed):
        yield _row(field.name, _mebibytes(getattr(needed, field.name)))
    yield _row("peak", _mebibytes(needed.peak), "weights, slots, and the larger of training and evaluation")
    yield "floating-point operations of the products, forward and backward"
    for part, count in estimates.flops_per_token(model).items():
        yield _row(part, f"{count / 1e6:,.2f} M", "a token")
    per_step = estimates.flops_per_step(config, model)
    yield _row("sum", f"{per_step / 1e9:,.2f} G", "a step")
    total = trainer.total_steps if prepared or config.batches.steps else None
    yield from _length_lines(config, trainer, prepared, total)
    if steps_done:
        yield _row("steps done", f"{steps_done:,}", "the run in this folder goes on from there")
    if total:
        yield from _schedule_lines(config, total)
    yield from _time_lines(config, per_step, total and total - steps_done, trial)


def _length_lines(config, trainer, prepared, total) -> Iterator[str]:
    batches, per_epoch = config.batches, trainer.order.steps_per_epoch
    tokens = batches.batch_size * batches.sequence_length
    yield "length"
    yield _row("tokens a step", f"{tokens:,}", f"{batches.batch_size} rows of {batches.sequence_length}")
    if prepared:
        yield _row("steps an epoch", f"{per_epoch:,}", f"{trainer.order.targets:,} tokens to learn")
        yield _row("steps", f"{total:,}", f"{total / per_epoch:.2f} epochs")
    else:
        yield _row("vocabulary", f"{trainer.model.vocab_size:,}", "assumed, until the text is prepared")
        yield _row("steps an epoch", "unknown", "until the text is prepared, which the run itself does")
        yield _row(
            "steps", f"{total:,}" if total else "unknown", "" if total else f"{batches.epochs or 1} epochs"
        )


def _schedule_lines(config, total) -> Iterator[str]:
    learning = config.learning
    warmup = min(learning.warmup_steps, total - 1)
    places = sorted({0, warmup, total // 2, total - 1})
    curves = [
        ("learning rate", learning.learning_rate, learning.learning_rate_schedule, learning.warmup_steps)
    ]
    if config.model.dropout:
        curves.append(("dropout", config.model.dropout, learning.dropout_schedule, 0))
    yield "schedules"
    for name, base, text, warmup_steps in curves:
        curve = schedules.build(text, total, warmup_steps)
        values = ", ".join(f"{base * curve(step):.3g} at {step:,}" for step in places)
        yield _row(name, text, values)


def _time_lines(config, flops_per_step, steps_left, trial) -> Iterator[str]:
    yield "devices"
    yield _row("cuDNN", "no", "the recurrent kernel is the project's own, on every device")
    if config.running.jit == "on":
        yield _row("XLA", "yes", "for the gradients, as --jit=on says")
    else:
        reason = "it was not measured to pay for any family" if config.running.jit == "auto" else "--jit=off"
        yield _row("XLA", "no", reason)
    yield _row("precision", config.learning.precision, _precision_remark(config.learning.precision))
    yield "time, from a trial on this machine as busy as it is now"
    speed = trial.get("tokens_per_second")
    if not speed:
        yield _row("speed", "unknown", "the whole run fits into the one call that also compiles")
        return
    batches = config.batches
    per_step = batches.batch_size * batches.sequence_length / speed
    rate = f"{1000 * per_step:.1f} ms a step, {flops_per_step / per_step / 1e9:,.0f} GFLOP/s"
    yield _row("speed", f"{speed:,.0f}", f"tokens a second, {rate}")
    if steps_left is not None:
        yield _row(
            "training", clock(steps_left * per_step), f"for {steps_left:,} steps, evaluation not included"
        )
    else:
        yield _row("training", clock(1e6 / speed), "for each million tokens, evaluation not included")


def _precision_remark(precision: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if precision != "mixed_bfloat16" or not cpuinfo.exists():
        return ""
    present = "bf16" in cpuinfo.read_text(encoding="utf-8")
    return (
        "this CPU has instructions for it"
        if present
        else "this CPU has no instructions for it: it will be slow"
    )


def _row(name: str, value: str, remark: str = "") -> str:
    return f"  {name:32} {value:>16}  {remark}".rstrip()


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
