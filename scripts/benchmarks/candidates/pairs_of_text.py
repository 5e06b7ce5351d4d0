"""The pairs of a text as arrays, without TensorFlow: what peers train on."""

import dataclasses

import numpy as np

from lm_keras.config import Config
from lm_keras.data.pair_rows import PairFrame, RowsApart
from lm_keras.data.pairs import Pairs
from lm_keras.data.preparation import prepare
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True, eq=False)
class PairsOfText:
    """Sources with their targets.

    Attributes:
        sources, targets: [n] arrays of tokens, each target with its end token.
        tokenizer: of both sides.
        per_step: pairs that a step of ours has on average.
    """

    sources: list[np.ndarray]
    targets: list[np.ndarray]
    tokenizer: Tokenizer
    per_step: int

    @property
    def lengths(self) -> np.ndarray:
        """Return by what pairs are sorted: the tokens of both sides, [n]."""
        return np.array([len(source) + len(target) for source, target in zip(self.sources, self.targets)])

    def padded(self, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """Return `source`, `tokens` and `targets` [B, S or T] int64 of some pairs, and `source_there` and
        `there`, which of their positions have a token.
        """
        sources, targets = ([side[number] for number in chosen] for side in (self.sources, self.targets))
        inputs = [np.append(self.tokenizer.begin_id, target[:-1]) for target in targets]
        (source, source_there), (tokens, there) = padded(sources), padded(inputs)
        return {
            "source": source,
            "source_there": source_there,
            "tokens": tokens,
            "there": there,
            "targets": padded(targets)[0],
        }


def read(config: Config) -> PairsOfText:
    """Read the training text of a run with pairs, cut as a row of ours would cut it."""
    data = prepare(config.data, needs_mask=config.needs_mask, fields=("source", "target"))
    tokenizer, length = data.tokenizer, config.batches.sequence_length
    pairs = Pairs.in_store(data.splits["train"])
    frame = PairFrame(tokenizer.begin_id, tokenizer.eod_id, tokenizer.eod_id)
    whole = np.array([0, len(pairs.begins)])  # All in one corpus.
    rows = RowsApart.of(pairs, frame, length, config.data.too_long, whole)
    end, tokens = np.array([tokenizer.eod_id]), np.asarray(pairs.tokens)
    sides = zip(pairs.begins, pairs.middles, pairs.ends)
    both = [(tokens[a:b][: length - 1], tokens[b:c][: length - 1]) for a, b, c in sides]
    sources, targets = ([np.concatenate([pair[side], end]) for pair in both] for side in (0, 1))
    per_step = round(len(both) * config.batches.batch_size / rows.count)
    return PairsOfText(sources, targets, tokenizer, per_step)


def padded(rows: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of tokens as one array [B, T] int64, 0 behind each, and which positions have a token."""
    lengths = np.array([len(row) for row in rows])
    there = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.zeros(there.shape, np.int64)
    tokens[there] = np.concatenate(rows)
    return tokens, there
