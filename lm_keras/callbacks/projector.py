"""The token embedding for TensorBoard's projector."""

from pathlib import Path

import keras
import numpy as np
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.disk.files import write_atomically
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

MAX_POINTS = 10_000
"""Tokens that are shown, the most frequent ones: a browser moves that many smoothly."""

_CHUNK = 2**24
"""Tokens counted at a time, so that a text larger than memory stays on disk."""


class Projector(StepCallback):
    """Write the embedding of the most frequent tokens, with each checkpoint and at the end.

    So a long run can be looked at while it trains. The files are not part of a checkpoint: a run that goes on
    writes them again. Tokens that never occur in the training text are left out, for they have learnt
    nothing.

    Args:
        folder: a run of TensorBoard; gets `projector_config.pbtxt`, `embedding.bytes` and `tokens.tsv`.
        tokenizer: of the model.
        tokens: [n] ids of the training text.
        every: steps between two writings; in plain `fit` it is the end of each epoch.
        extra_tokens: tokens of the model beyond those of the tokenizer, the last rows of its embedding.
    """

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, tokens: np.ndarray, every: int, extra_tokens: int = 0
    ):
        super().__init__()
        self._extra_tokens = extra_tokens
        self._folder, self._tokenizer, self._tokens, self.interval = Path(folder), tokenizer, tokens, every
        self._shown: np.ndarray | None = None  # ids, the most frequent first

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._shown = None
        if (
            self.own_loop
        ):  # To fail now and not at the first checkpoint; in `fit` a model may have no weights yet.
            self._table()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.own_loop and self.step(logs) % self.interval == 0:
            self._write()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if not self.own_loop:
            self._write()

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._write()

    def _write(self) -> None:
        if self._shown is None:
            self._shown = self._begin()
        write_points(self._folder, self._table().numpy()[self._shown])

    def _begin(self) -> np.ndarray:
        """Write the labels and return the ids that they belong to."""
        counts = np.zeros(self._tokenizer.vocab_size, np.int64)
        for begin in range(0, len(self._tokens), _CHUNK):
            counts += np.bincount(self._tokens[begin : begin + _CHUNK], minlength=len(counts))
        return write_labels(self._folder, self._tokenizer, counts)

    def _table(self) -> keras.Variable:
        return table_of(self.model, self._tokenizer.vocab_size + self._extra_tokens)


def write_labels(folder: Path, tokenizer: Tokenizer, counts: np.ndarray) -> np.ndarray:
    """Write `tokens.tsv` for the most frequent tokens, and return their ids.

    Args:
        folder: a run of TensorBoard.
        tokenizer: of the text.
        counts: [V], occurrences in it.
    """
    ids = np.argsort(-counts, kind="stable")[: min(MAX_POINTS, np.count_nonzero(counts))]
    lines = [f"{tokenizer.label(int(i))}\t{i}\t{counts[i]}\n" for i in ids]
    write_atomically(folder / "tokens.tsv", ("token\tid\tcount\n" + "".join(lines)).encode())
    return ids


def write_points(folder: Path, table: np.ndarray) -> None:
    """Write the vectors of these tokens, [n, D], and the file that tells TensorBoard of them."""
    write_atomically(folder / "embedding.bytes", table.astype("<f4").tobytes())
    config = ProjectorConfig()
    config.embeddings.add(
        tensor_name="token embedding",
        tensor_path="embedding.bytes",
        tensor_shape=table.shape,
        metadata_path="tokens.tsv",
    )
    write_atomically(folder / "projector_config.pbtxt", text_format.MessageToString(config).encode())


def table_of(model: keras.Model, vocab_size: int) -> keras.Variable:
    """Return the first matrix of a model that has a row for each token: its embedding, frozen or not.

    Raises:
        InputError: there is none.
    """
    own = getattr(getattr(model, "embedding", None), "embeddings", None)
    for variable in [own, *model.variables]:
        if variable is not None and len(variable.shape) == 2 and variable.shape[0] == vocab_size:
            return variable
    raise InputError(
        f"the projector needs an embedding, a matrix with a row for each of the {vocab_size:,} tokens, and "
        f"{type(model).__name__} {model.name!r} has none; leave it out with --noprojector"
    )
