"""A recording of what the machine does in some steps."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.errors import not_written


class Profile(StepCallback):
    """Record some steps for TensorBoard's profile tab, which needs `pip install xprof`.

    What happens between these steps, an evaluation for instance, is recorded as well. A run that goes on
    in the middle of them records the rest.

    Args:
        folder: where to; below it TensorBoard looks for `plugins/profile`.
        first, last: the steps to record, counted from 1.
        say: called with a line that a person should read.
    """

    def __init__(self, folder: Path, first: int, last: int, say: Callable[[str], None] = lambda line: None):
        super().__init__()
        self.boundaries = (first - 1, last)
        self._folder, self._say = Path(folder), say
        self._recording = self._recorded = False
        self._mark = contextlib.ExitStack()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self._recording:  # By a `fit` that was interrupted.
            self._stop()
        self._recorded = False

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        step, (begin, end) = self.step(logs), self.boundaries
        if not self._recording and begin <= step < end:
            with self._writing():
                tf.profiler.experimental.start(str(self._folder))
            self._recording = True
        if self._recording:  # The mark by which the profile tab tells steps apart; here it is a call.
            self._mark.enter_context(tf.profiler.experimental.Trace("train", step_num=step, _r=1))

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._mark.close()
        if self._recording and self.step(logs) >= self.boundaries[1]:
            self._stop()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self._recording:
            self._stop()
        if not self._recorded:
            first, last = self.boundaries[0] + 1, self.boundaries[1]
            self._say(f"no profile: steps {first:,} to {last:,} were not among those done now")

    def _stop(self) -> None:
        self._mark.close()
        self._recording, self._recorded = False, True
        with self._writing():
            tf.profiler.experimental.stop()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            raise not_written(self._folder / "plugins" / "profile", error) from None
