"""TensorBoard by global step, and a run that goes on continues its curves."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.errors import not_written
from lm_keras.objectives.measures import curves, finite


class TensorBoard(StepCallback):
    """Write curves, samples and settings to `events/train` and `events/valid`.

    Args:
        folder: the `events` folder.
        every: steps between training points.
        flags: the settings of the run, as a flagfile; shown as text.
        settings: the same by name, for the HParams tab, which shows them beside the last validation.
    """

    def __init__(self, folder: Path, every: int, flags: str = "", settings: dict[str, Any] | None = None):
        super().__init__()
        self._folder, self.interval, self._flags, self._settings = Path(folder), every, flags, settings or {}
        self._writers = {}

    def on_train_begin(self, logs: Logs | None = None) -> None:
        if self._flags and not (self._folder / "train").exists():
            with self._writing("train", 0):
                tf.summary.text(
                    "flags", "\n".join(f"    {line}" for line in self._flags.rstrip("\n").split("\n"))
                )
        if self._settings and not (self._folder / "valid").exists():
            given = {name: value for name, value in self._settings.items() if value is not None}
            # Without a name of its own the group is the run; with the usual one, a hash of the settings,
            # two runs with the same settings would be one row of averages.
            summary = hparams.hparams_pb(given, trial_id="")
            with self._writing("valid", 0):
                tf.summary.experimental.write_raw_pb(summary.SerializeToString())

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        step = self.step(logs)
        if step % self.interval == 0 or (logs or {}).get("last"):
            values = dict(logs or {})
            if "learning_rate" not in values:
                values["learning_rate"] = float(self.model.optimizer.learning_rate.numpy())
            self._scalars("train", step, curves(values))

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._scalars("valid", self.step(logs), curves(logs or {}))

    def on_train_end(self, logs: Logs | None = None) -> None:
        for run, writer in self._writers.items():
            try:
                writer.close()
            except tf.errors.OpError as error:
                raise not_written(self._folder / run, error) from None
        self._writers = {}

    def text(self, step: int, samples: dict[str, str]) -> None:
        """Show text samples: prompt -> continuation."""
        with self._writing("valid", step):
            for number, (prompt, continuation) in enumerate(samples.items()):
                shown = "".join(f"    {line}\n" for line in (prompt + continuation).split("\n"))
                tf.summary.text(f"sample_{number}", shown)

    def table(self, step: int, name: str, head: list[str], rows: list[list[str]]) -> None:
        """Show a table of texts; TensorBoard reads it as Markdown."""
        lines = [head, ["---"] * len(head), *([_cell(text) for text in row] for row in rows)]
        with self._writing("valid", step):
            tf.summary.text(name, "\n".join(f"| {' | '.join(cells)} |" for cells in lines))

    def image(self, step: int, name: str, picture: np.ndarray) -> None:
        """Show a picture, [height, width, 3] uint8."""
        with self._writing("valid", step):
            tf.summary.image(name, picture[None])

    def histograms(self, step: int, weights: dict[str, np.ndarray]) -> None:
        """Show how values are distributed: name -> values."""
        with self._writing("train", step):
            for name, values in weights.items():
                tf.summary.histogram(f"weights/{name}", values)

    def _scalars(self, run: str, step: int, values: Mapping[str, Any]) -> None:
        with self._writing(run, step):
            for tag, value in values.items():
                # A number of a log can be finite and still be too large for TensorBoard's float32.
                if finite(value) is not None and abs(value) <= float(tf.float32.max):
                    tf.summary.scalar(tag, value)

    @contextlib.contextmanager
    def _writing(self, run: str, step: int) -> Iterator[None]:
        """Let summaries go to a run; what is written is flushed, for a checkpoint must not be ahead of the
        curves.
        """
        folder = self._folder / run
        try:
            if run not in self._writers:
                self._writers[run] = tf.summary.create_file_writer(str(folder))
            with self._writers[run].as_default(step=step):
                yield
            self._writers[run].flush()
            folder.stat()  # TensorFlow goes on writing to files that were deleted.
        except (tf.errors.OpError, OSError) as error:
            raise not_written(folder, error) from None


def _cell(text: str) -> str:
    """Return a text that stays in its cell of a table in Markdown.

    Example:
        >>> _cell("a|b\\n*c*")
        'a\\\\|b \\\\*c\\\\*'
    """
    return re.sub(r"([\\|*_`<>\[\]#])", r"\\\1", " ".join(text.split()))


def forget_after(folder: Path, step: int) -> None:
    """Drop all events beyond `step`, so that a run which goes on from there draws one line.

    All event files of a run become one file, without what lies beyond the step and without a half-written
    last record. To be killed in here does no harm: the next call finds the same records and keeps each once.
    A run that begins again, at step 0, loses everything, for nobody knows whether it wrote its settings.

    Args:
        folder: the `events` folder; need not exist.
        step: the step of the checkpoint that the run goes on from.
    """
    if step == 0 and Path(folder).exists():
        shutil.rmtree(folder)
    for run in sorted(path for path in Path(folder).glob("*") if path.is_dir()):
        files = sorted(path for path in run.glob("events.out.tfevents.*") if path.is_file())
        if not files:
            continue
        kept = {}
        for file in files:
            for record in RawEventFileLoader(str(file)).Load():
                event = event_pb2.Event.FromString(record)
                if event.step <= step and not (kept and event.HasField("file_version")):
                    kept[record] = None
        merged = run / ".merged.tmp"  # Not a name that the pattern above finds.
        try:
            with tf.io.TFRecordWriter(str(merged)) as writer:
                for record in kept:
                    writer.write(record)
            with open(merged, "rb") as file:
                os.fsync(file.fileno())
            os.replace(merged, files[0])
            for file in files[1:]:
                file.unlink()
        except (tf.errors.OpError, OSError) as error:
            merged.unlink(missing_ok=True)
            raise not_written(run, error) from None
