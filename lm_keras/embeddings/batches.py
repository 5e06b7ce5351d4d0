"""Which words and which negative samples step s sees: a pure function of (token store, settings, seed, s)."""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from lm_keras.data import order as orders
from lm_keras.data.pipeline import gather
from lm_keras.data.store import TokenStore
from lm_keras.embeddings.settings import EmbeddingConfig
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.text.word import EOS_ID, WordTokenizer

BLOCK = 32
"""Words that share their negative samples (S)."""

DRAWN = 32
"""Negative samples of a block (N)."""

AT_ONCE = 16
"""Blocks of a batch whose gradients are taken at the same vectors; the next ones see what these have changed.
A word that comes often takes too large a step where too many of its gradients are added.
"""

PREFETCHED = 4
"""Batches that are made ahead."""


@dataclasses.dataclass(frozen=True)
class WordVocabulary:
    """Which tokens get vectors, and how often they are drawn.

    Attributes:
        counts: [V] int64, occurrences in the training text; 0 for tokens that get none.
        keep: [V] float32, probability that an occurrence is kept.
        noise: [V] float64, probability of being drawn as a negative sample, which sums to 1.
        ends: [V] bool, tokens over which no words are paired.
    """

    counts: np.ndarray
    keep: np.ndarray
    noise: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, tokenizer: Tokenizer, frequencies: np.ndarray, settings: EmbeddingConfig) -> "WordVocabulary":
        """Count.

        A token that stands for no text of its own (the end of a document or line, the unknown one) gets no
        vector, and none that comes fewer than `min_count` times; they are taken out of the text before words
        are paired.

        Args:
            tokenizer: of the text.
            frequencies: [V] int64, occurrences in it.
            settings: `min_count`, `subsample`, `within_lines`.

        Raises:
            InputError: fewer than two tokens are left.

        Reference:
            Mikolov et al. (2013b), section 2.2: noise in proportion to the counts to the power of 3/4;
            section 2.3: sub-sampling, with the probability of their program, sqrt(t / f) + t / f, a little
            above equation 5.
        """
        counts = frequencies.copy()
        without = sorted(
            tokenizer.special_ids | ({EOS_ID} if isinstance(tokenizer, WordTokenizer) else set())
        )
        counts[without] = 0
        counts[counts < settings.min_count] = 0
        if np.count_nonzero(counts) < 2:
            raise InputError(
                f"of {len(counts):,} tokens {np.count_nonzero(counts)} come at least"
                f" --min_count={settings.min_count} times in the training text; give more text, or lower"
                " --min_count"
            )
        ends = np.zeros(len(counts), bool)
        ends[tokenizer.eod_id] = True
        if settings.within_lines:
            ends[line_ends(tokenizer)] = True
        noise = counts**0.75
        return cls(counts, kept_share(counts, settings.subsample), noise / noise.sum(), ends)


def line_ends(tokenizer: Tokenizer) -> list[int]:
    """Return the tokens that end a line."""
    return [i for i in range(tokenizer.vocab_size) if tokenizer.token_bytes(i).endswith(b"\n")]


def kept_share(counts: np.ndarray, threshold: float) -> np.ndarray:
    """Return the probability that an occurrence of each token is kept, [V] float32; 0 where there is none.

    Example:
        >>> kept_share(np.array([9_900, 100, 0]), 1e-2).round(3)
        array([0.111, 1.   , 0.   ], dtype=float32)
    """
    if not threshold:
        return (counts > 0).astype(np.float32)
    rarity = threshold * counts.sum() / np.maximum(counts, 1)
    return np.where(counts > 0, np.minimum(np.sqrt(rarity) + rarity, 1), 0).astype(np.float32)


class Noise:
    """Draws tokens with given probabilities in constant time each.

    Args:
        probabilities: [V], which sum to 1.

    Reference:
        Walker (1977), "An efficient method for generating discrete random variables with general
        distributions"; Vose (1991) for the table.
    """

    def __init__(self, probabilities: np.ndarray):
        size = len(probabilities)
        share, self._other = probabilities * size, np.arange(size, dtype=np.int32)
        small, large = list(np.flatnonzero(share < 1)), list(np.flatnonzero(share >= 1))
        share = share.tolist()
        while small and large:
            little, much = small.pop(), large[-1]
            self._other[little] = much
            share[much] -= 1 - share[little]
            if share[much] < 1:
                small.append(large.pop())
        for rest in [*small, *large]:  # 1 but for rounding.
            share[rest] = 1.0
        self._share = np.array(share, np.float32)

    def __call__(self, random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Return ids of that shape, int32."""
        place = random.integers(0, len(self._share), shape, np.int32)
        return np.where(random.random(shape, np.float32) < self._share[place], place, self._other[place])


@dataclasses.dataclass(frozen=True)
class WordBatch:
    """G blocks, a multiple of `AT_ONCE`, of S words that follow each other in the text; w words of both
    neighbours are around each block.

    Attributes:
        near: [G, S + 2w] int32, the words of the block in the middle, and those around it.
        part: [G, S + 2w] int32, words of the same number may be paired; -1 where there is none.
        window: [G, S] int32, how far each word of the block looks; 0 where there is none.
        drawn: [G, N] int32, negative samples.
        words: tokens of the text that the step goes over, those that are left out too.
    """

    near: np.ndarray
    part: np.ndarray
    window: np.ndarray
    drawn: np.ndarray
    words: int


class Batches:
    """The batches of a run.

    Rows of `sequence_length` tokens come from all over the text, in another order each epoch, each token once
    an epoch; words of two rows are not paired, nor words of two documents. What is left of them after
    sub-sampling stands in one line, which is cut into blocks.

    Args:
        store: the training text.
        vocabulary: of that text.
        settings: of the run.
    """

    def __init__(self, store: TokenStore, vocabulary: WordVocabulary, settings: EmbeddingConfig):
        self._tokens, self._vocabulary, self._settings = store.tokens, vocabulary, settings
        self._noise = Noise(vocabulary.noise)
        order = orders.WindowOrder(
            store.counts.tokens, settings.batch_size, settings.sequence_length, settings.seed
        )
        self.steps_per_epoch = order.steps_per_epoch
        row = tf.range(settings.batch_size, dtype=tf.int64)

        def rows(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            found = order.rows(step, row)
            return found.start, found.end

        self._rows = tf.function(rows, autograph=False, input_signature=[tf.TensorSpec([], tf.int64)])

    def __call__(self, step: int) -> WordBatch:
        """Return the batch of a step."""
        settings, vocabulary = self._settings, self._vocabulary
        random = np.random.Generator(np.random.Philox(key=np.array([settings.seed, step], np.uint64)))
        start, end = (found.numpy() for found in self._rows(tf.constant(step, tf.int64)))
        tokens = gather(self._tokens, start, settings.sequence_length)[:, 1:]
        there = start[:, None] + np.arange(settings.sequence_length) < end[:, None]
        begins = vocabulary.ends[tokens]
        begins[:, 0] = True
        tokens = tokens.ravel()
        kept = np.flatnonzero(
            (random.random(len(tokens), np.float32) < vocabulary.keep[tokens]) & there.ravel()
        )
        part = np.cumsum(begins, dtype=np.int32)[kept]
        return self._blocks(random, tokens[kept], part, int(there.sum()))

    def _blocks(
        self, random: np.random.Generator, ids: np.ndarray, part: np.ndarray, words: int
    ) -> WordBatch:
        around, blocks = self._settings.window, max(1, -(-len(ids) // (AT_ONCE * BLOCK))) * AT_ONCE
        window = random.integers(1, around + 1, blocks * BLOCK, np.int32)
        window[len(ids) :] = 0
        lines = (
            np.zeros(blocks * BLOCK + 2 * around, np.int32),
            np.full(blocks * BLOCK + 2 * around, -1, np.int32),
        )
        for line, content in zip(lines, (ids, part)):
            line[around : around + len(ids)] = content
        near, parts = (
            np.lib.stride_tricks.sliding_window_view(line, BLOCK + 2 * around)[::BLOCK] for line in lines
        )
        return WordBatch(
            near.copy(),
            parts.copy(),
            window.reshape(blocks, BLOCK),
            self._noise(random, (blocks, DRAWN)),
            words,
        )


def ahead(make: Callable[[int], WordBatch], first: int, last: int) -> Iterator[WordBatch]:
    """Yield the batches of steps first ... last - 1, which another thread makes while earlier ones
    are used.
    """
    with ThreadPoolExecutor(1) as pool:
        made = collections.deque(
            pool.submit(make, step) for step in range(first, min(first + PREFETCHED, last))
        )
        for step in range(first + PREFETCHED, last + PREFETCHED):
            batch = made.popleft().result()
            if step < last:
                made.append(pool.submit(make, step))
            yield batch
