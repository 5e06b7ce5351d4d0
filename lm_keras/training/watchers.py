"""The callbacks of a run, a row each: what makes it, and which setting asks for it.

To add one, write its file in `lm_keras/callbacks/` and add a row to `WATCHERS`; a setting that asks for it is
a field of `RunningConfig`.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import keras

from lm_keras import callbacks, schedules
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.data.preparation import PreparedData
from lm_keras.evaluation.predictions import Predictions
from lm_keras.fields import profiled_steps
from lm_keras.tasks.task import Task
from lm_keras.training.chat_results import ChatResults
from lm_keras.training.pair_results import PairResults


class WatchedRun(Protocol):
    """What a callback may be told of a run when it is made.

    Attributes:
        config: the settings.
        folder: where the run is.
        data: its text, tokens and tokenizer.
        task: what is predicted.
        judged_by: the measure of the validation that decides which weights are the best, and `low` or `high`.
        progress, tensorboard: callbacks that others write to.
        predictions: of the splits that were scored last, where labels are predicted.
        generated: what is generated for held-out pairs or conversations; None for other texts.
        eval_every, checkpoint_every: steps between evaluations and between checkpoints.
    """

    config: Config
    folder: RunFolder
    data: PreparedData
    task: Task
    judged_by: tuple[str, str]
    progress: callbacks.Progress
    tensorboard: callbacks.TensorBoard
    predictions: dict[str, Predictions]
    generated: PairResults | ChatResults | None
    eval_every: int
    checkpoint_every: int

    def show_samples(self, step: int, samples: dict[str, str]) -> None:
        """Write samples, prompt -> text."""


@dataclasses.dataclass(frozen=True)
class Watcher:
    """A callback of a run.

    Attributes:
        make: makes it; None where the run needs none after all.
        asked_by: the setting that asks for it. Without a value, or with 0 or false, there is no such
            callback. Empty for one that every run has.
        decides: whether it decides something, so that every worker has it. Others write, and the chief has
            them.
    """

    make: Callable[[WatchedRun], keras.callbacks.Callback | None]
    asked_by: str = ""
    decides: bool = False


def made(run: WatchedRun, chief: bool) -> list[keras.callbacks.Callback]:
    """Return the callbacks of a run in their order.

    Args:
        run: the run.
        chief: whether this worker writes.
    """
    settings = run.config.flat()
    rows = [watcher for watcher in WATCHERS if watcher.decides or chief]
    found = [watcher.make(run) for watcher in rows if not watcher.asked_by or settings[watcher.asked_by]]
    return [callback for callback in found if callback is not None]


class InPlace(keras.callbacks.Callback):
    """Ends a run whose folder is no longer in its place, before any other callback writes to it."""

    def __init__(self, folder: RunFolder):
        super().__init__()
        self._folder = folder

    def on_test_end(self, logs: dict | None = None) -> None:
        self._folder.check_in_place()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._folder.check_in_place()

    def on_train_end(self, logs: dict | None = None) -> None:
        self._folder.check_in_place()


def _plateau(run: WatchedRun) -> keras.callbacks.Callback | None:
    learning = run.config.learning
    plateau = schedules.plateau_of(learning.learning_rate_schedule)
    return callbacks.PlateauDecay(plateau, learning.learning_rate, run.judged_by) if plateau else None


def _early_stopping(run: WatchedRun) -> keras.callbacks.Callback:
    return callbacks.EarlyStopping(run.config.learning.early_stopping_evals, run.judged_by)


def _profile(run: WatchedRun) -> keras.callbacks.Callback:
    steps = profiled_steps(run.config.running.profile_steps)
    return callbacks.Profile(run.folder.path / "events" / "train", *steps, run.progress.say)


def _metrics_file(run: WatchedRun) -> keras.callbacks.Callback:
    return callbacks.MetricsFile(run.folder.path / "metrics.jsonl", run.config.running.log_every)


def _samples(run: WatchedRun) -> keras.callbacks.Callback | None:
    if run.task.labels is not None or run.generated is not None:
        return None
    running = run.config.running
    prompts, every = running.sample_prompt.split("|"), running.sample_every or run.eval_every
    return callbacks.TextSamples(run.data.tokenizer, prompts, every, run.show_samples, run.task.name)


def _predictions(run: WatchedRun) -> keras.callbacks.Callback | None:
    if run.task.labels is None or "valid" not in run.data.splits:
        return None
    documents = run.data.texts["valid"].documents
    return callbacks.PredictionSamples(lambda: run.predictions.get("valid"), documents, run.tensorboard)


def _generated(run: WatchedRun) -> keras.callbacks.Callback | None:
    found = run.generated
    return None if found is None else callbacks.GeneratedSamples(lambda: found.sampled, run.tensorboard)


def _histograms(run: WatchedRun) -> keras.callbacks.Callback:
    return callbacks.Histograms(run.config.running.histogram_every, run.tensorboard.histograms)


def _projector(run: WatchedRun) -> keras.callbacks.Callback | None:
    if run.config.privacy.limits:  # It would count the tokens of the private text.
        return None
    tokens, where = run.data.splits["train"].tokens[1:], run.folder.path / "events" / "train"
    extra = run.task.extra_tokens
    return callbacks.Projector(where, run.data.tokenizer, tokens, run.checkpoint_every, extra)


WATCHERS = (
    Watcher(_plateau, decides=True),
    Watcher(_early_stopping, "early_stopping_evals", decides=True),
    Watcher(lambda run: InPlace(run.folder)),
    Watcher(_profile, "profile_steps"),
    Watcher(_metrics_file),
    Watcher(lambda run: run.tensorboard),
    Watcher(_samples),
    Watcher(_predictions),
    Watcher(_generated),
    Watcher(lambda run: run.progress),
    Watcher(_histograms, "histogram_every"),
    Watcher(_projector, "projector"),
)
"""The callbacks of a run between its schedules and its checkpoints, in the order in which they are called."""
