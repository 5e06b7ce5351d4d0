"""A run of scripts/train_embeddings.py, from its settings to the files of vectors."""

import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lm_keras import callbacks, paths, schedules
from lm_keras.callbacks.base import Logs
from lm_keras.callbacks.progress import clock
from lm_keras.callbacks.projector import write_labels, write_points
from lm_keras.callbacks.tensorboard import forget_after
from lm_keras.checkpoints.records import truncate_lines_after
from lm_keras.checkpoints.vectors import write_vectors
from lm_keras.corpora import EmptySplit
from lm_keras.data.division import DividedText, divide
from lm_keras.data.preparation import prepare
from lm_keras.embeddings.batches import Batches, WordVocabulary, ahead
from lm_keras.embeddings.folder import VECTORS, EmbeddingFolder
from lm_keras.embeddings.neighbours import Vectors
from lm_keras.embeddings.settings import CHANGEABLE, EmbeddingRunOptions, Settings, TextConfig
from lm_keras.embeddings.tables import Tables
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.surroundings import with_usual_settings
from lm_keras.text.names import name_of
from lm_keras.training import environment, memory, report
from lm_keras.training.signals import Signals
from lm_keras.training.weights import all_damaged

DECAY = "linear:final=0.0001"
"""Of the learning rate, as in word2vec."""

SHOWN_WORDS = 8
"""Of whose neighbours a finished run tells."""


@with_usual_settings
def train(settings: Settings, options: EmbeddingRunOptions) -> int:
    """Carry out a run, or go on with it, and print what its words are like.

    Returns:
        The exit code: 0 done, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM with everything saved.

    Raises:
        InputError: for everything that a user can get wrong.
    """
    if not options.run_dir:
        raise InputError(
            "--run_dir is missing: expected the folder for this run, such as --run_dir=runs/embeddings"
        )
    folder = EmbeddingFolder(options.run_dir)
    if folder.exists:
        folder.check_same(settings, CHANGEABLE)
    elif folder.checkpoints().steps():
        raise InputError(
            f"--run_dir={options.run_dir} holds checkpoints and no config.json; restore that from a copy, or"
            " choose another folder"
        )
    with folder.writing():
        return EmbeddingRun(settings, options, folder).execute()


class EmbeddingRun:
    """The objects of one run; its folder is locked."""

    def __init__(self, settings: Settings, options: EmbeddingRunOptions, folder: EmbeddingFolder):
        self.settings, self.folder = settings, folder
        tokenizer = folder.tokenizer() if folder.exists else None
        begun = folder.read_data() if folder.exists else None
        self.data = prepare(settings.text, tokenizer, report.say, _divided(settings.text, begun))
        store = self.data.splits["train"]
        frequencies = store.frequencies(self.data.tokenizer.vocab_size)
        self.vocabulary = WordVocabulary.of(self.data.tokenizer, frequencies, settings.embedding)
        _check_memory(settings, len(frequencies))
        self.batches = Batches(store, self.vocabulary, settings.embedding)
        self.total_steps = settings.embedding.epochs * self.batches.steps_per_epoch
        if when := schedules.when_nothing(DECAY, settings.embedding.rate, self.total_steps):
            raise InputError(
                f"--learning_rate={settings.embedding.rate} is 0 in float32 {when}, so that nothing is"
                " learnt; take a larger one"
            )
        self._begin(options)
        self.tables = Tables(len(frequencies), settings.embedding)
        self.checkpoints = folder.checkpoints(warn=report.say)
        self.meter = WordMeter()
        count = np.count_nonzero(self.vocabulary.counts)
        report.say(
            f"model: {settings.embedding.method}, {count:,} words of {settings.embedding.embedding_dim}"
            f" numbers; {self.total_steps:,} steps"
        )

    def _begin(self, options: EmbeddingRunOptions) -> None:
        content = {
            **self.data.report,
            "vocab_size": self.data.tokenizer.vocab_size,
            "total_steps": self.total_steps,
        }
        if self.folder.exists:
            self.folder.check_text(self.data.report)
        else:
            self.data.tokenizer.save(self.folder.path / "tokenizer")
        written = {**dataclasses.asdict(options), **self.settings.flat()}
        self.folder.begin(self.settings, content, flagfile_of(written))
        report.say(report.data_line(content))

    def execute(self) -> int:
        """Train from the newest checkpoint to the end; return the exit code."""
        step = self._restored()
        self.folder.add_launch(environment.of_this_process("one device", step))
        if step < self.total_steps:
            step, signal = self._train(step)
            if signal:
                report.say(
                    f"stopped at step {step:,}, everything is saved; the same command goes on from there"
                )
                return 128 + signal
        self._finish()
        return 0

    def _restored(self) -> int:
        self.folder.hold_checkpoints()
        step = self.checkpoints.newest()
        if step is None and self.checkpoints.steps():
            raise all_damaged(self.checkpoints)
        truncate_lines_after(self.folder.path / "metrics.jsonl", step or 0)
        forget_after(self.folder.path / "events", step or 0)
        if step is None:
            return 0
        self.checkpoints.restore(step, self.tables.tensors())
        self.meter = WordMeter(**self.checkpoints.progress(step)["meter"])
        report.say(f"going on from step {step:,} of {self.total_steps:,}")
        return step

    def _train(self, step: int) -> tuple[int, int | None]:
        """Train until the end or a signal, and save; return the step, and the signal."""
        running, settings = self.settings.running, self.settings.embedding
        every = running.checkpoint_every or max(1, self.total_steps // 10)
        curve = schedules.build(DECAY, self.total_steps)
        stopping = threading.Event()
        with (
            Signals(stopping.set) as signals,
            self._shown(step) as show,
            contextlib.closing(ahead(self.batches, step, self.total_steps)) as batches,
        ):
            began = time.perf_counter()
            for batch in batches:
                rate = settings.rate * curve(step)
                loss, count = self.tables.step(batch, rate)
                step += 1
                now = time.perf_counter()
                self.meter.add(loss, count, batch.words, now - began)
                if not math.isfinite(loss):
                    raise InputError(
                        f"the loss is not finite at step {step:,}; begin a new run in another --run_dir"
                        f" with a lower --learning_rate than {settings.rate:g}, or a smaller --batch_size"
                    )
                show(step, rate)
                if step % running.log_every == 0:
                    self.meter.restart()
                if step % every == 0 or step == self.total_steps or stopping.is_set():
                    self.folder.check_in_place()
                    progress = {"meter": dataclasses.asdict(self.meter)}
                    self.checkpoints.save(step, self.tables.tensors(), progress)
                if stopping.is_set():
                    break
                began = time.perf_counter()
        return step, signals.received

    @contextlib.contextmanager
    def _shown(self, first: int) -> Iterator[Callable[[int, float], None]]:
        """Yield what shows a step: in the progress line, in metrics.jsonl and in TensorBoard."""
        every, path = self.settings.running.log_every, self.folder.path
        flagfile = (path / "flags.txt").read_text(encoding="utf-8")
        progress = WordProgress(self.total_steps, self.batches.steps_per_epoch)
        listeners = [
            callbacks.MetricsFile(path / "metrics.jsonl", every),
            callbacks.TensorBoard(path / "events", every, flagfile, self.settings.flat()),
            progress,
        ]
        for listener in listeners:
            listener.set_params({"own_loop": True})
            listener.on_train_begin()

        def show(step: int, rate: float) -> None:
            logs = {"step": step, "learning_rate": rate, **self.meter.logs()}
            left = (time.perf_counter() - began) / (step - first) * (self.total_steps - step)
            logs |= {"seconds_left": left, "last": step == self.total_steps}
            for listener in listeners:
                listener.on_train_batch_end(step - 1, logs)

        began = time.perf_counter()
        try:
            yield show
        finally:
            progress.end_line()
        for listener in listeners:
            listener.on_train_end()

    def _finish(self) -> None:
        """Write the files of vectors, and print which words are near some others."""
        counts, tokenizer, path = self.vocabulary.counts, self.data.tokenizer, self.folder.path
        ids = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        names = {}
        # A piece and a byte may say the same: the more frequent one stands for both.
        for token in ids.tolist():
            names.setdefault(name_of(tokenizer.spelling(token)), token)
        table = self.tables.vectors(np.fromiter(names.values(), np.int32))
        write_vectors(path / VECTORS, names, table)
        if self.settings.running.projector:
            shown = write_labels(path / "events" / "train", tokenizer, counts)
            write_points(path / "events" / "train", self.tables.vectors(shown))
        report.write(list(_lines(Vectors(list(names), table))))
        asked = f"nearest {paths.quoted(next(iter(names)))} --run_dir={paths.as_word(path)}"
        report.say(
            f"{len(names):,} vectors are in {path / VECTORS}\nnext:\n  python scripts/embeddings.py {asked}"
        )


@dataclasses.dataclass
class WordMeter:
    """What was measured since the last line of metrics.jsonl."""

    loss: float = 0.0
    count: int = 0
    words: int = 0
    seconds: float = 0.0
    total_seconds: float = 0.0

    def add(self, loss: float, count: int, words: int, seconds: float) -> None:
        """Take in a step."""
        self.loss += loss
        self.count += count
        self.words += words
        self.seconds += seconds
        self.total_seconds += seconds

    def restart(self) -> None:
        """Forget all but the whole time."""
        self.loss, self.count, self.words, self.seconds = 0.0, 0, 0, 0.0

    def logs(self) -> dict[str, float]:
        """Return the loss of a prediction and the speed."""
        return {
            "loss": self.loss / max(self.count, 1),
            "tokens_per_second": self.words / max(self.seconds, 1e-9),
            "seconds": self.total_seconds,
        }


class WordProgress(callbacks.Progress):
    """The line of a run of word embeddings.

    Args:
        total_steps: length of the run.
        steps_per_epoch: of it.
    """

    def __init__(self, total_steps: int, steps_per_epoch: int):
        super().__init__(total_steps)
        self._steps_per_epoch = steps_per_epoch

    def _line(self, logs: Logs, step: int) -> str:
        return "  ".join(
            [
                f"step {step:,}/{self._total:,}",
                f"epoch {step / self._steps_per_epoch:.1f}",
                f"loss {logs['loss']:.4f}",
                f"lr {logs['learning_rate']:.2g}",
                f"{logs['tokens_per_second']:,.0f} words/s",
                f"{clock(logs['seconds_left'])} left",
            ]
        )


def _divided(config: TextConfig, begun: dict[str, Any] | None) -> DividedText:
    """Read and divide the text; one that is too small for that is used whole, because nothing is
    validated.
    """
    try:
        return divide(config, report.say, begun)
    except EmptySplit:
        report.say(
            f"{config.corpus} is too small to hold any of it out, which word vectors don't need: it is used"
            " whole"
        )
        return divide(dataclasses.replace(config, split="100/0/0"), begun=begun)


def _lines(vectors: Vectors) -> Iterator[str]:
    """Say for some frequent words which are near."""
    frequent = vectors.names[: 40 * SHOWN_WORDS]
    for word in frequent[:: max(1, len(frequent) // SHOWN_WORDS)][:SHOWN_WORDS]:
        yield f"{word}: {', '.join(name for name, _ in vectors.nearest(word, 5))}"


def _check_memory(settings: Settings, vocab_size: int) -> None:
    """Raise InputError if the machine cannot hold the tables."""
    width = settings.embedding.embedding_dim
    needed, there_is = 2 * 4 * vocab_size * width, memory.total_memory()
    if there_is is not None and needed > there_is:
        raise InputError(
            f"two tables of {vocab_size:,} tokens x --embedding_dim={width} take {needed / 2**30:,.1f} GiB,"
            f" and this machine has {there_is / 2**30:,.1f} GiB; take a smaller --embedding_dim or"
            " --vocab_size"
        )
