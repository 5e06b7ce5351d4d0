"""Networks that predict masked tokens: filling the `[MASK]`s of a text.

K positions of a row, V tokens of the vocabulary.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.answers.answer import Answer
from lm_keras.errors import InputError
from lm_keras.layers.casting import Int8Matrices
from lm_keras.sampling.continuation import unknown_parts
from lm_keras.sampling.masks import MASK, Filled, Reader, parts_of
from lm_keras.sampling.prompts import check_prompts, check_text
from lm_keras.sampling.settings import SamplingSettings, settings_from
from lm_keras.text.tokenizer import Tokenizer

MOST_LIKELY = 5
"""Words that are listed for each mask where nobody says how many."""


class MaskFiller(Answer):
    """Fills the `[MASK]`s of texts: each mask is one token, and all masks of a text are predicted at once.

    Args:
        model: a network that predicts masked tokens, with `forward(inputs, state)`.
        tokenizer: the tokenizer the model was trained with, with a `mask_id`.
        say: called with a line when a text is shortened.
        jit, int8: of no use here: one pass fills all masks.

    Attributes:
        tokens_generated: masks filled by all calls so far.
    """

    task = "masked_lm"
    fill_settings = frozenset({"top_logprobs", "seed", "long_prompt"})

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        say: Callable[[str], None] = lambda line: None,
        jit: bool = False,
        int8: Int8Matrices | None = None,
        end_ids: Sequence[int] = (),
    ):
        del jit, int8, end_ids
        self._say = say
        self._tokenizer, self._reader = tokenizer, Reader(model, tokenizer)
        self._never = list(tokenizer.special_ids)
        self.tokens_generated = 0

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Return the prompts with their masks filled; those without a `[MASK]` stay as they are.

        Args:
            prompts: any number of strings.
            **settings: fields of `SamplingSettings`, of which only `long_prompt` matters: `keep_end` uses the
                end of a long text.
        """
        how = {"long_prompt": settings_from(settings).long_prompt}
        return [self.fill(text, 1, **how).text if MASK in text else text for text in check_prompts(prompts)]

    def fill(self, text: str, words: int = 5, **settings) -> Filled:
        """Return the text with its masks filled, and the likeliest tokens of each.

        Args:
            text: with a `[MASK]` for each token that is to be filled in.
            words: how many of the likeliest tokens.
            **settings: fields of `SamplingSettings`, of which only `long_prompt` has a meaning: of a text
                that is longer than the model's context `keep_end` uses its end; else that is an error.

        Raises:
            InputError: the text lacks a `[MASK]`, a setting has no meaning, or the text is longer than the
                model's context.
        """
        check_text("text", text)
        keep_end = settings_from(settings).long_prompt == "keep_end"
        for name, value in settings.items():
            if name != "long_prompt" and value != getattr(SamplingSettings(), name):
                raise InputError(
                    f"{name}={value} has no meaning for a model that predicts single masked tokens; "
                    "leave it out"
                )
        if MASK not in text:
            raise InputError(f"the text has no {MASK}: put one where a token is to be filled in")
        ids, positions = [], []
        for number, part in enumerate(parts_of(text, self._tokenizer)):
            if number:
                positions.append(len(ids))
                ids.append(self._tokenizer.mask_id)
            encode = self._tokenizer.encode_inside if number else self._tokenizer.encode_prompt
            ids += encode(part)
        if keep_end:
            cut, masks, whole = max(0, len(ids) - self._reader.most), len(positions), len(ids)
            ids, positions = ids[cut:], [position - cut for position in positions if position >= cut]
            if cut:
                self._say(
                    f"of the {whole:,} tokens of the text the last {len(ids):,} are used, with "
                    f"{len(positions):,} of {masks:,} masks"
                )
        if not positions:
            return Filled(self._tokenizer.decode(ids), ())
        logits = self._reader.logits([ids], [positions])[0]  # [K, V]
        probabilities = tf.nn.softmax(tf.where(self._allowed(logits.shape[-1]), logits, -np.inf)).numpy()
        best = np.argsort(-probabilities, axis=-1)[:, :words]
        for position, tokens in zip(positions, best):
            ids[position] = int(tokens[0])
        self.tokens_generated += len(positions)
        listed = tuple(
            tuple((self._tokenizer.decode([int(token)]), float(row[token])) for token in tokens)
            for row, tokens in zip(probabilities, best)
        )
        return Filled(self._tokenizer.decode(ids), listed)

    def fillings(self, text: str, settings: dict[str, Any]) -> list[Filled]:
        words, long_prompt = settings.get("top_logprobs") or MOST_LIKELY, settings.get("long_prompt", "error")
        return [self.fill(text, words, long_prompt=long_prompt)]

    def fills(self, prompt: str) -> bool:
        return True

    def tokens_between(self, removed: int, most: int) -> int:
        return removed

    def between(self, before: str, removed: str, after: str, most: int) -> str:
        """Return the likeliest tokens between two texts, as many as `removed` has there."""
        whole, first = (len(self._tokenizer.encode_prompt(text)) for text in (before + removed, before))
        found = self.fill(before + MASK * max(1, whole - first) + after, 1)
        return found.text[len(before) : len(found.text) - len(after)]

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know, as a `Sampler` does; a `[MASK]` is known."""
        return unknown_parts(self._tokenizer, prompt.replace(MASK, ""))

    def _allowed(self, width: int) -> np.ndarray:
        allowed = np.arange(width) < self._tokenizer.vocab_size
        allowed[self._never] = False
        return allowed
