"""Hypotheses of a beam search: what describes them, and how many of them stand side by side.

N prompts, K beams of each, L longest text.
"""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError

IMPOSSIBLE = -1e30
"""Score of a hypothesis that does not exist."""

NOT_FINITE = (
    "the model's logits are not finite, so there is nothing to search; its training has diverged, use an"
    " earlier checkpoint or train with a lower learning rate"
)


class Hypothesis(NamedTuple):
    """A text that was found.

    Attributes:
        token_ids: what follows the prompt, with the token that ended it.
        log_probabilities: of each of these tokens under the model's own distribution, in nats.
        score: by which it is ranked: their sum, with the rules that are on, over the length penalty.
    """

    token_ids: list[int]
    log_probabilities: list[float]
    score: float


class Width(NamedTuple):
    """How wide a search is, and how it ranks texts.

    Attributes:
        beams: K.
        length_penalty: alpha of ((5 + n) / 6)^alpha, by which the sum of n log-probabilities is divided.
        wanted: texts of a prompt that are returned, K at most. The search of a prompt ends when no text can
            become better than the worst of them.
    """

    beams: int
    length_penalty: float
    wanted: int


class Lengths(NamedTuple):
    """How many tokens a text may have, the one that ends it not counted among the least.

    Attributes:
        most: [N], tokens at which a text ends at the latest.
        least: [N], tokens before which no token ends it.
    """

    most: Any
    least: Any


class Beams(NamedTuple):
    """Hypotheses side by side: those that go on, or those that have ended."""

    tokens: tf.Tensor  # [N, K, L] int32, prompt included
    nats: tf.Tensor  # [N, K, L] float32, of each generated token
    sums: tf.Tensor  # [N, K] float32, log-probability with the rules
    scores: tf.Tensor  # [N, K] float32, over the length penalty
    lengths: tf.Tensor  # [N, K] int32, of prompt and text


def hypotheses_of(first: int, *found: np.ndarray) -> list[Hypothesis]:
    """Return the hypotheses of a prompt of `first` tokens, from its part of `Beams`."""
    hypotheses = []
    for tokens, nats, total, score, length in zip(*found):
        if total > IMPOSSIBLE / 2:
            text = slice(first, length)
            hypotheses.append(Hypothesis(tokens[text].tolist(), nats[text].tolist(), float(score)))
    if not hypotheses:
        raise InputError(NOT_FINITE)
    return hypotheses


def rows_of(structure: Any, rows: tf.Tensor) -> Any:
    """Choose rows of a structure of tensors; nothing is copied where they stay as they are. A part without
    rows stays.
    """
    parts = [part for part in tf.nest.flatten(structure) if part.shape.rank]
    if not parts:
        return structure
    count = tf.shape(parts[0])[0]
    same = tf.cond(
        tf.size(rows) == count, lambda: tf.reduce_all(rows == tf.range(count)), lambda: tf.constant(False)
    )
    chosen = tf.cond(same, lambda: parts, lambda: [tf.gather(part, rows) for part in parts])
    found = iter([chosen] if isinstance(chosen, tf.Tensor) else chosen)
    return tf.nest.map_structure(lambda part: next(found) if part.shape.rank else part, structure)


def of_prompts(beams: Beams, numbers: tf.Tensor) -> Beams:
    return Beams(*(tf.gather(part, numbers) for part in beams))


def chosen_of(beams: Beams, places: tf.Tensor) -> Beams:
    """Choose hypotheses [n, K] of each prompt."""
    return Beams(*(tf.gather(part, places, batch_dims=1) for part in beams))


def replaced(beams: Beams, numbers: tf.Tensor, new: Beams) -> Beams:
    """Put those of some prompts in the place of what is there."""
    return Beams(*(tf.tensor_scatter_nd_update(part, numbers[:, None], own) for part, own in zip(beams, new)))


def joined(some: Beams, others: Beams) -> Beams:
    return Beams(*(tf.concat(parts, 1) for parts in zip(some, others)))


def unless(gone: tf.Tensor, beams: Beams) -> Beams:
    """Make hypotheses impossible."""
    return beams._replace(
        sums=tf.where(gone, IMPOSSIBLE, beams.sums), scores=tf.where(gone, IMPOSSIBLE, beams.scores)
    )
