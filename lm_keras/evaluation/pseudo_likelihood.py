"""What a network that predicts masked tokens says of given text: one token after the other is masked.

B rows of a batch, T positions of a row, K masked positions of it, V tokens of the vocabulary, D width.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from lm_keras.data.masking import AROUND
from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError
from lm_keras.evaluation.scorer import Scorer, check_ids, counts_of
from lm_keras.objectives.measures import likelihood_measures
from lm_keras.sampling.masks import Reader
from lm_keras.sampling.prompts import check_texts
from lm_keras.tasks.masked_lm import MaskedLM
from lm_keras.text.tokenizer import Tokenizer

ROWS = 16
"""Rows that go through the network at once."""


class PseudoLikelihood(Scorer):
    """Scores texts with a network that sees both sides.

    Args:
        model: a network that predicts masked tokens.
        tokenizer: its tokenizer, with a `mask_id`.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._tokenizer, self._reader = model, tokenizer, Reader(model, tokenizer)

    def score(self, texts: list[str]) -> list[dict[str, Any]]:
        """Return the pseudo-log-likelihood of each text: every token is masked in turn, and predicted from
        all others.

        That is not a probability of the text. A text that is longer than the model's context is scored in
        windows side by side.

        Returns:
            For each text `nats` (float), `tokens`, `bytes` and `unknown` as `counts_of` says, and `pseudo`,
            true.

        Reference: Salazar et al. (2020), section 2, equation 1.
        """
        check_texts(texts)
        found = []
        for text in texts:
            ids, most = list(self._tokenizer.encode(text)), self._model.context_length - 2
            nats, _ = self.pseudo_nats(ids[begin : begin + most] for begin in range(0, len(ids), most))
            found.append({"nats": float(nats), **counts_of(self._tokenizer, text, ids), "pseudo": True})
        return found

    def pseudo_nats(self, texts: Iterable[list[int]]) -> tuple[float, int]:
        """Return the summed negative pseudo-log-likelihood of texts of tokens, and how many tokens were
        masked in turn.

        Tokens that begin or end a document are read only.
        """
        around = {self._tokenizer.begin_id, self._tokenizer.eod_id}
        total, count = 0.0, 0
        for ids in texts:
            masked = [position for position, token in enumerate(ids) if token not in around]
            for begin in range(0, len(masked), ROWS):
                positions = masked[begin : begin + ROWS]
                rows = np.tile(np.array(ids, np.int32), (len(positions), 1))
                rows[np.arange(len(positions)), positions] = self._tokenizer.mask_id
                logits = self._reader.logits(rows.tolist(), [[position] for position in positions])[:, 0]
                own = tf.nn.log_softmax(logits).numpy()
                total -= sum(float(own[row, ids[position]]) for row, position in enumerate(positions))
            count += len(masked)
        return total, count

    def of_split(
        self, task: MaskedLM, load: Callable[[], TokenStore], say: Callable[[str], None]
    ) -> dict[str, float | None]:
        store = load()
        rows = itertools.pairwise(task.begins(store, task.longest - AROUND))
        say(f"masking {store.counts.tokens:,} tokens, one after the other")
        texts = (task.masking.text_of(store.tokens[1:][a:b]).tolist() for a, b in rows)
        found = likelihood_measures(*self.pseudo_nats(texts), store.counts)
        return {f"pseudo_{name}": found[name] for name in ("nats_per_token", "perplexity", "bits_per_byte")}

    def logits(self, ids: ArrayLike) -> np.ndarray:
        """Return the logits float32 [B, T, V] at each token of `ids` [B, T], none of which is masked but by
        its id."""
        return self._model.project(self._model.forward({"tokens": self._checked(ids)}, {})[0]).numpy()

    def features(self, ids: ArrayLike, segments: ArrayLike | None = None) -> np.ndarray:
        """Return the hidden states after the last block, float32 [B, T, D], at each token of `ids` [B, T].

        Args:
            ids: with the tokens that a text begins and ends with, where the model expects them.
            segments: [B, T], 0 for tokens of the first and 1 for those of the second of two texts; None for
                all of the first.

        Raises:
            InputError: an id is none of the vocabulary, a segment is neither, or the rows are too long.
        """
        inputs = {"tokens": self._checked(ids)}
        if segments is not None:
            count, _ = self._model.segments.shape
            segments = check_ids(segments, count, self._model.context_length, "segments")
            if segments.shape != inputs["tokens"].shape:
                raise InputError(
                    f"segments has the shape {list(segments.shape)}, expected that of ids, "
                    f"{list(inputs['tokens'].shape)}"
                )
            inputs["segment"] = segments
        return tf.cast(self._model.hidden_states(inputs), tf.float32).numpy()

    def _checked(self, ids: ArrayLike) -> np.ndarray:
        return check_ids(ids, self._tokenizer.vocab_size, self._model.context_length)
