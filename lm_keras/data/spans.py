"""Infilling: rows of text become a text with masks (part A) and the tokens of the spans (part B).

Shapes: R rows, t tokens of text in a row, L positions of the row that the network reads, K positions that it
predicts at.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.config import Config, ModelConfig
from lm_keras.text.tokenizer import Tokenizer

GENERATE, START, END = 0, 1, 2
"""Tokens beyond those of the text: [gMASK], a span to the end of the text; the beginning and the end of a
span.
"""

EXTRA_TOKENS = 3

NO_ORDER = 2**30
"""Order of a position beyond the row: no token sees it."""

SHORTEST_ON_AVERAGE = 2
"""A row has space for spans of this mean length; where more spans are drawn, the last ones are left
out.
"""


class SpanRow(NamedTuple):
    """One row as the network reads it: each [L], but for `predicted`, `targets` and `weights`, [K].

    Attributes:
        tokens: part A, then part B.
        position: the index of each token in part A; in part B that of the span which the token belongs to.
        within: 0 in part A; in part B which token of its span it is, from 1 on.
        order: a token sees those whose order is not above its own: 0 in part A, from 1 on in part B.
        predicted: positions at which the network predicts.
        targets: what comes next there.
        weights: 1, or 0 where there is nothing to predict.
    """

    tokens: np.ndarray
    position: np.ndarray
    within: np.ndarray
    order: np.ndarray
    predicted: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Spans:
    """Masks spans of tokens. Where they are is a function of (seed, step, global row) alone.

    Some rows get short spans, whose lengths follow a Poisson distribution, up to a share of the row. Part A
    is the text with one `[MASK]` for each span. Part B has the spans in random order, each after a start
    token, and predicts the span and an end token. In the other rows, all tokens from a random one on are one
    long span, `[gMASK]`. It has no end token, because the text goes on.

    Attributes:
        text_length: t.
        vocab_size: V, tokens of the text; the extra ones follow.
        mask_id: the token that a network reads for a span.
        rate: share of the tokens that are in spans, of rows with short ones.
        span_length: mean length of these; at least 1 token each.
        long_share: share of the rows with one long span.
        seed: the run's seed.
        unknown_id: a token that is not predicted in training, or None.
        unscored: a token that is never predicted, as the one that begins documents where another one ends
            them, or None.

    Example: of the text [11, 12, 13, 14, 15, 16] with `[MASK]` 1, V 20, half of the tokens in spans and no
    long ones, the spans [13] and [15, 16] become, the second one first,

        tokens    11 12  1 14  1 21 15 16 21 13
        position   0  1  2  3  4  4  4  4  2  2
        within     0  0  0  0  0  1  2  3  1  2
        order      0  0  0  0  0  1  2  3  4  5
        predicted  5  6  7  8  9
        targets   15 16 22 13 22
        weights    1  1  1  1  1

    and the long span [14, 15, 16], with positions to spare, beyond which order is `NO_ORDER`,

        tokens    11 12 13 20 21 14 15  0  0  0
        position   0  1  2  3  3  3  3  0  0  0
        within     0  0  0  0  1  2  3  0  0  0
        order      0  0  0  0  1  2  3  -  -  -
        predicted  4  5  6  0  0
        targets   14 15 16  0  0
        weights    1  1  1  0  0

    Reference: Du et al. (2022), section 2.1.1 and figure 2; positions: section 2.2.2; long spans: section
    2.1.2, where they are half of a text at least. Here they begin anywhere, so that short continuations are
    learnt, too.
    """

    text_length: int
    vocab_size: int
    mask_id: int
    rate: float = ModelConfig.mask_rate
    span_length: float = ModelConfig.span_length
    long_share: float = ModelConfig.long_spans
    seed: int = 0
    unknown_id: int | None = None
    unscored: int | None = None

    @classmethod
    def of(cls, config: Config, vocab_size: int, tokenizer: Tokenizer | None = None) -> "Spans":
        """Return what the settings of a run say.

        Args:
            config: the settings.
            vocab_size: V, where there is no tokenizer.
            tokenizer: with a `mask_id`; without one, for timing steps, token 1 is the mask.
        """
        model, batches = config.model, config.batches
        if tokenizer is None:
            mask_id, unknown_id, unscored = 1, None, None
        else:
            vocab_size, mask_id, unknown_id = tokenizer.vocab_size, tokenizer.mask_id, tokenizer.unknown_id
            unscored = None if tokenizer.begin_id == tokenizer.eod_id else tokenizer.begin_id
        return cls(
            batches.sequence_length, vocab_size, mask_id, model.mask_rate, model.span_length,
            model.long_spans,
            batches.seed, unknown_id, unscored,
        )  # fmt: skip

    @property
    def masked(self) -> int:
        """Return how many tokens of a whole row are in short spans, at most."""
        return max(1, round(self.text_length * self.rate))

    @property
    def most_spans(self) -> int:
        """Return how many short spans a row may have."""
        return -(-self.masked // SHORTEST_ON_AVERAGE)

    @property
    def length(self) -> int:
        """Return L: each short span takes two positions more than its text, a long one takes one more."""
        return self.text_length + max(2 * self.most_spans, 1)

    @property
    def predictions(self) -> int:
        """Return K."""
        short = self.masked + self.most_spans
        return max(short, self.text_length) if self.long_share else short

    def __call__(
        self, tokens: tf.Tensor, there: tf.Tensor, step: tf.Tensor, first_row: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
        """Make spans in some rows.

        Args:
            tokens: [R, t] int32, R known.
            there: [R, t] bool, the tokens of the text, side by side; others are left out.
            step: int64 scalar.
            first_row: int64 scalar, number of the first row within the global batch; the others follow.

        Returns:
            `(inputs, targets, weights)`: inputs `tokens`, `position`, `within`, `order` [R, L] and
            `predicted` [R, K], int32; targets [R, K] int32; weights [R, K] float32.
        """
        if tokens.shape[1] != self.text_length:
            return dataclasses.replace(self, text_length=tokens.shape[1])(tokens, there, step, first_row)
        kinds = [tf.int32] * 6 + [tf.float32]
        values = tf.numpy_function(self._rows, [tokens, there, step, first_row], kinds, stateful=False)
        widths = [self.length] * 4 + [self.predictions] * 3
        values = [tf.ensure_shape(value, [tokens.shape[0], width]) for value, width in zip(values, widths)]
        *inputs, targets, weights = values
        return dict(zip(SpanRow._fields, inputs)), targets, weights

    def _rows(
        self, tokens: np.ndarray, there: np.ndarray, step: np.ndarray, first_row: np.ndarray
    ) -> list[np.ndarray]:
        """Return the parts of the rows, [R, ...] each; NumPy does it, called by TensorFlow."""
        # The key is written down whole: NumPy would spread a single integer with a hash of its own.
        key = (self.seed % 2**64) + (int(step) % 2**64 << 64)
        rows = []
        for number, (row, text) in enumerate(zip(tokens, there)):
            counter = int(first_row) + number << 64
            random = np.random.Generator(np.random.Philox(key=key, counter=counter))
            rows.append(self.row(row[text], random))
        return [np.stack(values) for values in zip(*rows)]

    def row(self, text: np.ndarray, random: np.random.Generator) -> SpanRow:
        """Make spans in one row of up to t tokens; one of none predicts nothing."""
        if len(text) and random.random() < self.long_share:
            return self.continued(text, int(random.integers(len(text))))
        spans = self._spans(len(text), random)
        return self.arranged(text, spans, random.permutation(len(spans)))

    def _spans(self, length: int, random: np.random.Generator) -> list[tuple[int, int]]:
        """Return where spans begin and end, in rising order; between two of them is a token at least."""
        count = min(length, max(1, round(length * self.rate)))
        lengths: list[int] = []
        # Every span but the first needs a token before it.
        while (
            sum(lengths) < count and len(lengths) < self.most_spans and sum(lengths) + len(lengths) < length
        ):
            room = min(count - sum(lengths), length - sum(lengths) - len(lengths))
            lengths.append(min(max(1, int(random.poisson(self.span_length))), room))
        random.shuffle(lengths)
        # Where the tokens between the spans go: all ways are equally likely.
        free = length - sum(lengths) - max(0, len(lengths) - 1)
        gaps = np.sort(random.choice(free + len(lengths), len(lengths), replace=False)) - np.arange(
            len(lengths)
        )
        spans, taken = [], 0
        for number, (gap, span) in enumerate(zip(gaps, lengths)):
            begin = int(gap) + taken + number
            spans.append((begin, begin + span))
            taken += span
        return spans

    def arranged(self, text: np.ndarray, spans: list[tuple[int, int]], turns: np.ndarray) -> SpanRow:
        """Return the row of a text with these spans, in whose part B they come in the order of `turns`."""
        part_a, masks, at = [], [], 0
        for begin, end in spans:
            part_a += [*text[at:begin], self.mask_id]
            masks.append(len(part_a) - 1)
            at = end
        part_a += list(text[at:])
        part_b = [(text[slice(*spans[turn])], masks[turn], True) for turn in turns]
        return self._row(part_a, part_b)

    def continued(self, text: np.ndarray, begin: int) -> SpanRow:
        """Return the row of a text that is one span from `begin` on; its end is not predicted.

        Example: [11, 12, 13, 14] from 1 on, with V 20: the tokens 11 20 21 12 13, which predict 12 13 14 at
        the last three.
        """
        part_a = [*text[:begin], self.vocab_size + GENERATE]
        return self._row(part_a, [(text[begin:], begin, False)])

    def continuations(self, texts: np.ndarray, scored: np.ndarray) -> tuple[dict, np.ndarray, np.ndarray]:
        """Return rows in each of which some tokens continue the tokens before them.

        Args:
            texts: [R, t] int.
            scored: [R, t] bool, the tokens that are predicted, side by side, unknown ones too; those before
                them are read.

        Returns:
            As a call does: inputs, targets and weights.
        """
        whole, rows = (
            dataclasses.replace(self, text_length=texts.shape[1], long_share=1.0, unknown_id=None),
            [],
        )
        for text, chosen in zip(texts, scored):
            which = np.flatnonzero(chosen)
            begin, end = (which[0], which[-1] + 1) if len(which) else (0, 0)
            rows.append(whole.continued(text[:end], int(begin)))
        *inputs, targets, weights = (np.stack(values) for values in zip(*rows))
        return dict(zip(SpanRow._fields, inputs)), targets, weights

    def _row(self, part_a: list[int], part_b: list[tuple[np.ndarray, int, bool]]) -> SpanRow:
        """Put parts side by side.

        Args:
            part_a: tokens.
            part_b: for each span its tokens, the position of its mask, and whether it has an end.
        """
        tokens, position, within, targets = list(part_a), list(range(len(part_a))), [0] * len(part_a), []
        for span, at, ends in part_b:
            read = [self.vocab_size + START, *span]
            says = [*span, self.vocab_size + END]
            count = len(read) if ends else len(span)
            tokens += read[:count]
            targets += says[:count]
            position += [at] * count
            within += range(1, count + 1)
        first, count = len(part_a), len(targets)
        order = [0] * first + list(range(1, count + 1))
        weights = [float(target not in (self.unknown_id, self.unscored)) for target in targets]
        filled = [
            _padded(values, self.length, rest)
            for values, rest in ((tokens, 0), (position, 0), (within, 0), (order, NO_ORDER))
        ]
        return SpanRow(
            *filled,
            _padded(range(first, first + count), self.predictions, 0),
            _padded(targets, self.predictions, 0),
            _padded(weights, self.predictions, 0).astype(np.float32),
        )


def _padded(values: Sequence[float], length: int, rest: int) -> np.ndarray:
    made = np.full(length, rest, np.float64)
    made[: len(values)] = values
    return made.astype(np.int32)
