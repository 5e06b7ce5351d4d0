"""The contract of what scores given text with a network, and checks that all scorers share.

B rows of a batch, T positions of a row, V tokens of the vocabulary, D width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer


class ScoredToken(NamedTuple):
    """A token of a text, and what a model says of it after those before it.

    Attributes:
        id: of the token.
        log_probability: in nats.
        rank: 1 for the likeliest token there.
        likeliest: the likeliest tokens there, `(id, log_probability)` each.
    """

    id: int
    log_probability: float
    rank: int
    likeliest: tuple[tuple[int, float], ...]


class Scorer:
    """Scores texts and token ids with one network."""

    def score(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return `nats`, and `tokens`, `bytes` and `unknown` as `counts_of` says, of each text.

        Raises:
            InputError: `texts` is not a list of strings, or the logits are not finite.
        """
        raise NotImplementedError

    def token_scores(self, ids: list[int], likeliest: int = 0) -> list[ScoredToken]:
        """Return the score of each token of a text that begins a document.

        Args:
            ids: tokens of the text.
            likeliest: how many of the likeliest tokens are told with each.

        Raises:
            InputError: the network does not predict a token from those before it.
        """
        raise InputError(
            "this model does not predict a token from those before it alone; scores of tokens are for"
            " --task=causal_lm and --task=chat"
        )

    def logits(self, ids: ArrayLike) -> np.ndarray:
        """Return the logits float32 [B, T, V] at each token of `ids` [B, T]."""
        raise NotImplementedError

    def features(self, ids: ArrayLike, segments: ArrayLike | None = None) -> np.ndarray:
        """Return the last hidden states float32 [B, T, D] at each token of `ids` [B, T].

        Args:
            ids: of the vocabulary.
            segments: [B, T], which of two texts a token belongs to, for networks that have a vector for each.
        """
        raise NotImplementedError

    def of_split(
        self, task: Task, load: Callable[[], TokenStore], say: Callable[[str], None]
    ) -> dict[str, float | None]:
        """Return the pseudo-log-likelihood of a split: every token is masked in turn.

        Args:
            task: what the network predicts.
            load: returns the split.
            say: called with a line before longer work.

        Returns:
            `pseudo_nats_per_token`, `pseudo_perplexity` and `pseudo_bits_per_byte`.

        Raises:
            InputError: the network has a likelihood of its own.
        """
        raise InputError(
            f"--task={task.name} has a likelihood of its own: the pseudo-log-likelihood is for "
            "--task=masked_lm, which "
            "has none"
        )

    @staticmethod
    def _check_no_segments(segments: ArrayLike | None) -> None:
        if segments is not None:
            raise InputError("segments has no meaning for a model that has no vectors for them; leave it out")


def counts_of(tokenizer: Tokenizer, text: str, ids: list[int]) -> dict[str, int]:
    """Return what is counted of a text, as an evaluation counts it.

    Args:
        tokenizer: what encoded the text.
        text: as it was given.
        ids: its tokens.

    Returns:
        `tokens`; `bytes`, in UTF-8, of what the tokens say, which is not the text itself where a tokenizer
        changes it; and `unknown`, tokens that stand for text that is lost: with any, bits per byte have no
        meaning.
    """
    return {
        "tokens": len(ids),
        "bytes": len(tokenizer.canonical(text).encode("utf-8")),
        "unknown": tokenizer.count_unknown(text, np.array(ids, np.int32)),
    }


def check_ids(ids: ArrayLike, vocab_size: int, most: int | None, name: str = "ids") -> np.ndarray:
    """Return `ids` as int32 [B, T].

    Args:
        ids: anything that is an array of integers.
        vocab_size: all of them are below it.
        most: T at most; None for any.
        name: what the argument is called.

    Raises:
        InputError: it is something else.
    """
    try:
        array = np.asarray(ids)
    except ValueError:
        raise InputError(
            f"{name} has rows of different lengths; give rows of one length, or one row at a time"
        ) from None
    if array.ndim != 2 or not array.size or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"{name} has shape {list(array.shape)} and type {array.dtype}, not [B, T] with integers; "
            "for one sequence of tokens write [ids]"
        )
    wrong = array[(array < 0) | (array >= vocab_size)]
    if wrong.size:
        raise InputError(
            f"{name} has the token {wrong[0]}, but the vocabulary goes from 0 to {vocab_size - 1}; "
            "make ids with the encode of this model's own tokenizer"
        )
    if most is not None and array.shape[1] > most:
        raise InputError(
            f"{name} has rows of {array.shape[1]:,} tokens, and the model looks back on {most:,} at most; "
            "give shorter rows"
        )
    return array.astype(np.int32)
