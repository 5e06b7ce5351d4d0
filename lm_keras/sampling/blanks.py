"""Networks that see both sides: filling `[MASK]`s, and scoring texts by hiding one token after the other.

B batch (rows), T time, K hidden places of a row, V vocabulary, D width.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.models.bert import SEGMENTS
from lm_keras.sampling.row import unknown_parts
from lm_keras.sampling.score import check_ids, counts_of
from lm_keras.sampling.settings import (
    SamplingSettings,
    check_prompts,
    check_text,
    check_texts,
    settings_from,
)
from lm_keras.text.tokenizer import Tokenizer

MASK = "[MASK]"
"""What stands in a text for one hidden token."""

ROWS = 16
"""Rows that go through the network at once."""


class Filled(NamedTuple):
    """A text whose blanks were filled.

    Attributes:
        text: with the likeliest token in each blank.
        words: for each blank the likeliest tokens, `(text, probability)` each, the best first.
    """

    text: str
    words: tuple[tuple[tuple[str, float], ...], ...]


class Filler:
    """Fills the `[MASK]`s of texts: each blank is one token, and all blanks of a text are predicted at once.

    Args:
        model: a network with `bidirectional` and `forward(inputs, state)`.
        tokenizer: the tokenizer the model was trained with, with a `blank_id`.
        say: called with a line when a text is shortened.

    Attributes:
        tokens_generated: blanks filled by all calls so far.
    """

    def __init__(
        self, model: keras.Model, tokenizer: Tokenizer, say: Callable[[str], None] = lambda line: None
    ):
        self._say = say
        self._tokenizer, self._reader = tokenizer, Reader(model, tokenizer)
        self._never = list(tokenizer.special_ids)
        self.tokens_generated = 0

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Return the prompts with their blanks filled; those without a `[MASK]` stay as they are.

        Args:
            prompts: any number of strings.
            **settings: fields of `SamplingSettings`, of which only `long_prompt` matters: `keep_end` uses the
                end of a long text.
        """
        how = {"long_prompt": settings_from(settings).long_prompt}
        return [self.fill(text, 1, **how).text if MASK in text else text for text in check_prompts(prompts)]

    def fill(self, text: str, words: int = 5, **settings) -> Filled:
        """Return the text with its blanks filled, and the likeliest tokens of each.

        Args:
            text: with a `[MASK]` for each token that is to be filled in.
            words: how many of the likeliest tokens.
            **settings: fields of `SamplingSettings`, of which only `long_prompt` has a meaning: of a text
                that is longer than the model's context `keep_end` uses its end; else that is an error.

        Raises:
            InputError: there is no `[MASK]`, a setting has no meaning, or the text is longer than the model's
                context.
        """
        check_text("text", text)
        keep_end = settings_from(settings).long_prompt == "keep_end"
        for name, value in settings.items():
            if name != "long_prompt" and value != getattr(SamplingSettings(), name):
                raise InputError(
                    f"{name}={value} has no meaning for a model that says what single hidden tokens were;"
                    " leave it out"
                )
        if MASK not in text:
            raise InputError(f"the text has no {MASK}: put one where a token is to be filled in")
        ids, places = [], []
        for number, part in enumerate(parts_of(text, self._tokenizer)):
            if number:
                places.append(len(ids))
                ids.append(self._tokenizer.blank_id)
            encode = self._tokenizer.encode_inside if number else self._tokenizer.encode_prompt
            ids += encode(part)
        if keep_end:
            cut, blanks, whole = max(0, len(ids) - self._reader.most), len(places), len(ids)
            ids, places = ids[cut:], [place - cut for place in places if place >= cut]
            if cut:
                self._say(
                    f"of the {whole:,} tokens of the text the last {len(ids):,} are used, with"
                    f" {len(places):,} of {blanks:,} blanks"
                )
        if not places:
            return Filled(self._tokenizer.decode(ids), ())
        logits = self._reader.logits([ids], [places])[0]  # [K, V]
        probabilities = tf.nn.softmax(tf.where(self._allowed(logits.shape[-1]), logits, -np.inf)).numpy()
        best = np.argsort(-probabilities, axis=-1)[:, :words]
        for place, tokens in zip(places, best):
            ids[place] = int(tokens[0])
        self.tokens_generated += len(places)
        listed = tuple(
            tuple((self._tokenizer.decode([int(token)]), float(row[token])) for token in tokens)
            for row, tokens in zip(probabilities, best)
        )
        return Filled(self._tokenizer.decode(ids), listed)

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know, as a `Sampler` does; a `[MASK]` is known."""
        return unknown_parts(self._tokenizer, prompt.replace(MASK, ""))

    def _allowed(self, width: int) -> np.ndarray:
        allowed = np.arange(width) < self._tokenizer.vocab_size
        allowed[self._never] = False
        return allowed


def parts_of(text: str, tokenizer: Tokenizer) -> list[str]:
    """Return what stands around the `[MASK]`s of a text.

    Where a token is a word with the blank before it, a blank before a `[MASK]` is a part of what is filled
    in, as in training.
    """
    *before, last = text.split(MASK)
    if tokenizer.joins_blanks:
        before = [part.removesuffix(" ") for part in before]
    return [*before, last]


class HidingScorer:
    """Scores texts with a network that sees both sides.

    Args:
        model: a network with `bidirectional`.
        tokenizer: its tokenizer, with a `blank_id`.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._tokenizer, self._reader = model, tokenizer, Reader(model, tokenizer)

    def score(self, texts: list[str]) -> list[dict]:
        """Return the pseudo-log-likelihood of each text: every token is hidden in turn, and predicted from
        all others.

        That is no probability of the text. A text that is longer than the model's context is scored in
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
        hidden in turn.

        Tokens that begin or end a document are read only.
        """
        around = {self._tokenizer.begin_id, self._tokenizer.eod_id}
        total, count = 0.0, 0
        for ids in texts:
            hidden = [place for place, token in enumerate(ids) if token not in around]
            for begin in range(0, len(hidden), ROWS):
                places = hidden[begin : begin + ROWS]
                rows = np.tile(np.array(ids, np.int32), (len(places), 1))
                rows[np.arange(len(places)), places] = self._tokenizer.blank_id
                logits = self._reader.logits(rows.tolist(), [[place] for place in places])[:, 0]
                own = tf.nn.log_softmax(logits).numpy()
                total -= sum(float(own[row, ids[place]]) for row, place in enumerate(places))
            count += len(hidden)
        return total, count

    def logits(self, ids) -> np.ndarray:
        """Return the logits float32 [B, T, V] at each token of `ids` [B, T], none of which is hidden but by
        its id.
        """
        return self._model.project(self._model.forward({"tokens": self._checked(ids)}, {})[0]).numpy()

    def features(self, ids, segments=None) -> np.ndarray:
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
            segments = check_ids(segments, SEGMENTS, self._model.context_length, "segments")
            if segments.shape != inputs["tokens"].shape:
                raise InputError(
                    f"segments has the shape {list(segments.shape)}, expected that of ids,"
                    f" {list(inputs['tokens'].shape)}"
                )
            inputs["segment"] = segments
        return tf.cast(self._model.hidden(inputs), tf.float32).numpy()

    def _checked(self, ids) -> np.ndarray:
        return check_ids(ids, self._tokenizer.vocab_size, self._model.context_length)


class Reader:
    """Logits at places of texts, each between the tokens that a text begins and ends with.

    Attributes:
        most: tokens of a text at most.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer):
        self._model, self._begin_id, self._eod_id = model, tokenizer.begin_id, tokenizer.eod_id
        self.most = model.context_length - 2
        table = tf.TensorSpec([None, None], tf.int32)
        self._logits = tf.function(self._at, input_signature=[table, table], autograph=False)

    def logits(self, rows: list[list[int]], places: list[list[int]]) -> np.ndarray:
        """Return logits float32 [B, K, V] of rows of equal length at K places of each."""
        if len(rows[0]) > self.most:
            raise InputError(
                f"the text has {len(rows[0]):,} tokens, and the model sees {self.most:,} at a time with those"
                " around it; shorten it"
            )
        tokens = np.array([[self._begin_id, *row, self._eod_id] for row in rows], np.int32)
        logits = self._logits(tf.constant(tokens), tf.constant(places, tf.int32) + 1).numpy()
        if not np.isfinite(logits).all():
            raise InputError(
                "the model's logits are not finite; its training has diverged, use an earlier checkpoint or"
                " train with a lower learning rate"
            )
        return logits

    def _at(self, tokens, places):
        features, _ = self._model.forward({"tokens": tokens, "places": places}, {})
        return self._model.project(features)
