"""The examples of a text with labels as arrays, without TensorFlow: what peers train on."""

import dataclasses

import numpy as np

from lm_keras.config import Config
from lm_keras.data.examples import packed
from lm_keras.data.preparation import prepare


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Texts with their labels.

    Attributes:
        tokens: of all.
        begins, lengths: [n] int64, of each; with the special tokens around it.
        labels: [n].
        vocab_size: V.
        labels_count: C.
        per_step: examples that a step of ours has on average.
        begin_id, end_id: special tokens around each; no end where that is None.
    """

    tokens: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    vocab_size: int
    labels_count: int
    per_step: int
    begin_id: int
    end_id: int | None

    @property
    def frame(self) -> int:
        """Return the number of the special tokens."""
        return 1 if self.end_id is None else 2

    def padded(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tokens [B, T] padded with 0, lengths [B] and labels [B] of some examples."""
        lengths = self.lengths[chosen]
        tokens = np.zeros([len(chosen), lengths.max()], np.int64)
        for row, (number, length) in enumerate(zip(chosen, lengths)):
            inside = length - self.frame
            tokens[row, 0] = self.begin_id
            tokens[row, 1 : 1 + inside] = self.tokens[self.begins[number] : self.begins[number] + inside]
            if self.end_id is not None:
                tokens[row, 1 + inside] = self.end_id
        return tokens, lengths, self.labels[chosen].astype(np.int64)


def read(config: Config) -> Examples:
    """Read the training text of a run that classifies, cut as a row of ours would cut it."""
    data = prepare(config.data, needs_mask=config.needs_mask, fields=("text", "label"))
    store, tokenizer, length = data.splits["train"], data.tokenizer, config.batches.sequence_length
    end_id = tokenizer.eod_id if config.model.has("masked_lm") else None
    lengths = np.minimum(store.ends - store.documents + (1 if end_id is None else 2), length)
    _, begins = packed(lengths, length)
    per_step = round(len(lengths) * config.batches.batch_size / (len(begins) - 1))
    return Examples(
        np.asarray(store.tokens), store.documents, lengths, np.asarray(store.columns["label"]),
        tokenizer.vocab_size, len(data.labels), per_step, tokenizer.begin_id, end_id,
    )  # fmt: skip
