"""Strings in, strings out: prompts, stop strings, streaming."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.layers.casting import Int8Matrices
from lm_keras.sampling.beam import BeamSearch, Lengths, Width
from lm_keras.sampling.continuation import Continuation, GrowingContinuation, find_stop, unknown_parts
from lm_keras.sampling.loop import NOTHING, Chosen, DecodeLoop
from lm_keras.sampling.network import DecodingNetwork, Way, allowed_tokens
from lm_keras.sampling.notices import Notices
from lm_keras.sampling.prompts import check_prompts, check_text
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.settings import SamplingSettings, settings_from
from lm_keras.sampling.uniforms import key_of
from lm_keras.text.tokenizer import Tokenizer

GENERATE_POSITIONS = 64
"""Positions of one compiled call of `generate`: between calls stop strings are looked for."""

MAX_LOGITS = 2**30
"""Logits of all rows at a position: 4 GiB, and as much again for their probabilities."""

MAX_STATE = 2**31
"""Numbers that the keys and values of all rows may be: 8 GiB in float32, where every row is as long as the
context.
"""

STREAM_POSITIONS = 8
"""Positions of one compiled call of `stream`: pieces of text come this often."""


class Sampler:
    """Turns one model into text. Keep it: the first call compiles, later ones with other settings do not.

    The text of a prompt depends on the model, the settings and the prompt alone: not on the other prompts of
    the call. It follows the model's weights, so one sampler serves a whole training.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        tokenizer: the tokenizer the model was trained with.
        say: called with a line when a prompt is shortened, a text ends at once, a stop string can never come,
            or nothing is compiled in spite of `jit`.
        jit: compile the network's work for a token as one program of XLA's; see `DecodingNetwork`.
        int8: the network's matrices as 8-bit integers, which the products of text read then; its weights have
            to stay as they are, and `jit` is needed.
        end_ids: tokens that end a text, beside the tokenizer's own.

    Attributes:
        tokens_generated: by all calls so far.
        reads_in_parts: whether a prompt may go through the network part by part.

    Raises:
        InputError: the model has fewer logits than the tokenizer has tokens.

    Example:
        >>> sampler = Sampler(model, tokenizer)
        >>> sampler.generate(["To be", ""], max_new_tokens=40, temperature=0.8, seed=1)
        [', or not to be', 'Enter HAMLET.']
        >>> for piece in sampler.stream("To be", stop="."):
        ...     print(piece, end="", flush=True)
    """

    reads_in_parts = True

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        say: Callable[[str], None] = lambda line: None,
        jit: bool = False,
        int8: Int8Matrices | None = None,
        end_ids: Iterable[int] = (),
    ):
        self._model, self._tokenizer, self._say = model, tokenizer, say
        self._ends = tuple(dict.fromkeys([tokenizer.eod_id, *end_ids]))
        self._allowed = allowed = allowed_tokens(model, tokenizer, self._ends)
        ends = self._ends, allowed, tokenizer.begin_id
        self._network = DecodingNetwork(model, jit, int8, self.reads_in_parts)
        self._loop = DecodeLoop(self._network, *ends)
        self._beams = BeamSearch(self._network, *ends)
        self._width, self._notices = len(allowed), Notices(tokenizer, say)
        self.tokens_generated = 0

    @property
    def traces(self) -> int:
        """How often a function was traced so far: at most 3, the loop, the prefill and the search, whatever
        the calls; with `jit` 4, since there is a loop for one row and one for several.
        """
        return self._network.traces + self._loop.traces + self._beams.traces

    def generate(self, prompts: list[str], **settings: Any) -> list[str]:
        """Return the continuations of the prompts, without the prompts.

        Args:
            prompts: any number of strings. An empty one starts a document.
            **settings: fields of `SamplingSettings`.

        Returns:
            `num_samples` continuations of the first prompt, then those of the second, and so on; a beam
            search gives fewer where there are no more texts.

        Raises:
            InputError: a prompt or a setting is not allowed, or the model's logits are not finite.
        """
        return [continuation.text for continuation in self.sample(prompts, **settings)]

    def sample(self, prompts: list[str], **settings: Any) -> list[Continuation]:
        """Return the same as `generate`, with tokens, log-probabilities and the reason of each end."""
        prompts, settings = check_prompts(prompts), settings_from(settings)
        if not prompts:
            return []
        count, vocab_size = len(prompts) * settings.num_samples, self._tokenizer.vocab_size
        if count * vocab_size > MAX_LOGITS:
            raise InputError(
                f"num_samples={settings.num_samples} of {len(prompts)} prompts takes {count:,} rows of"
                f" {vocab_size:,} logits at once, and {MAX_LOGITS:,} logits are allowed; generate fewer at a"
                " time, each with a seed of its own"
            )
        seeds = seeds_of(settings, len(prompts))
        self._check_state(prompts, settings)
        self._notices.tell_stops(settings.stop)
        at_once = len(prompts) * max(settings.num_samples, settings.num_beams)
        if self._network.jit and self._network.way(at_once) is Way.PLAIN:
            self._say(
                "jit: several texts at once are not compiled in this number format, which would make them"
                " slower here"
            )
        if settings.num_beams > 1:
            found = [text for prompt in prompts for text in self._searched(prompt, settings)]
            self._notices.tell_early_ends(found, settings)
            return found
        rows = [row for given in zip(prompts, seeds) for row in self._rows(*given, settings)]
        for _ in self._decode(rows, settings, GENERATE_POSITIONS):
            pass
        found = [row.continuation() for row in rows]
        self._notices.tell_early_ends(found, settings)
        return found

    def stream(self, prompt: str, **settings: Any) -> Iterator[str]:
        """Return an iterator over the pieces of one continuation, as they come.

        Joined they are exactly the text that `generate` returns for the same settings. A piece never ends
        within a character, and what may be the beginning of a stop string is held back until it is not.

        Args:
            prompt: one string.
            **settings: as for `generate`, with num_samples=1.

        Raises:
            InputError: the prompt or a setting is not allowed.
        """
        check_text("prompt", prompt)
        settings = settings_from(settings)
        if settings.num_samples != 1:
            raise InputError(
                f"num_samples={settings.num_samples} cannot be streamed, only 1 can; "
                "use generate, or stream once for each seed"
            )
        if settings.num_beams != 1:
            raise InputError(
                f"num_beams={settings.num_beams} cannot be streamed: a search knows its text when it has"
                " ended; use generate"
            )
        self._notices.tell_stops(settings.stop)
        (row,) = self._rows(prompt, seeds_of(settings, 1)[0], settings)
        return self._pieces(row, settings)

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know; see `unknown_parts`."""
        return unknown_parts(self._tokenizer, prompt)

    def _pieces(self, row: GrowingContinuation, settings: SamplingSettings) -> Iterator[str]:
        for _ in self._decode([row], settings, STREAM_POSITIONS):
            piece = "".join(row.pieces[row.streamed :])
            row.streamed = len(row.pieces)
            if piece:
                yield piece
        self._notices.tell_early_ends([row.continuation()], settings)

    def _rows(self, prompt: str, seed: int, settings: SamplingSettings) -> list[GrowingContinuation]:
        """Return the samples of a prompt, which are still empty."""
        ids = self._prompt_ids(prompt, settings)
        keys = [key_of(seed, ids, sample) for sample in range(settings.num_samples)]
        return [self._row(prompt, ids, settings, key) for key in keys]

    def _row(self, prompt: str, ids: list[int], settings: SamplingSettings, key: int) -> GrowingContinuation:
        return GrowingContinuation(self._tokenizer, prompt, ids, settings, key, self._ends)

    @property
    def _longest_prompt(self) -> int | None:
        """Return how many tokens a prompt may have; None: any number."""
        return self._model.context_length

    def _prompt_ids(self, prompt: str, settings: SamplingSettings) -> list[int]:
        """Return the tokens of a prompt, no more than the model's context has."""
        ids = [self._tokenizer.begin_id, *self._tokenizer.encode_prompt(prompt)]
        most = self._longest_prompt
        if most is None or len(ids) <= most:
            return ids
        if settings.long_prompt == "error":
            raise InputError(
                f"the prompt has {len(ids):,} tokens with the beginning of a document, and the model looks"
                f" back on {most:,} at most; shorten it, or take long_prompt=keep_end to use its end"
            )
        kept = max(1, most // 2, most - settings.max_new_tokens)
        self._say(f"of the {len(ids):,} tokens of the prompt the last {kept:,} are used")
        return ids[-kept:]

    @functools.cached_property
    def _numbers_of_a_row(self) -> int:
        with tf.Graph().as_default():  # Where tensors have shapes and take no memory.
            state = self._model.initial_state(1, length=self._model.context_length)
        return sum(part.shape.num_elements() for part in tf.nest.flatten(state))

    def _check_state(self, prompts: list[str], settings: SamplingSettings) -> None:
        """Raise InputError if what the network remembers of all rows would take more memory than there may
        be.
        """
        most = self._model.context_length
        if most is None:
            return
        rows = len(prompts) * max(settings.num_samples, settings.num_beams)
        of_a_row = self._numbers_of_a_row
        if rows * of_a_row > MAX_STATE:
            raise InputError(
                f"{rows:,} rows at once may remember {rows * of_a_row:,} numbers, and {MAX_STATE:,} are"
                " allowed; generate fewer at a time, each with a seed of its own"
            )

    def _rules(self, settings: SamplingSettings) -> RuleSettings:
        bias = np.zeros(self._width if settings.logit_bias else 1, np.float32)
        for token, value in settings.logit_bias:
            if token >= self._tokenizer.vocab_size:
                raise InputError(
                    f"logit_bias has the token {token}, but the vocabulary goes from 0 to"
                    f" {self._tokenizer.vocab_size - 1}"
                )
            if value > 0 and not self._allowed[token]:
                raise InputError(
                    f"logit_bias has the token {token}, which stands for no text and is never chosen; leave"
                    " it out"
                )
            bias[token] = value
        values = {name: getattr(settings, name) for name in RuleSettings._fields}
        return RuleSettings.of(**values | {"logit_bias": bias})

    def _searched(self, prompt: str, settings: SamplingSettings) -> list[Continuation]:
        """Return the best continuations that beam search finds."""
        ids = self._prompt_ids(prompt, settings)
        lengths, beams = Lengths([settings.max_new_tokens], [0]), settings.num_beams
        width = Width(beams, settings.length_penalty, wanted=beams)

        def stopped(tokens: list[int]) -> bool:
            return find_stop(self._tokenizer.decoder(before=prompt).push(tokens), settings.stop) is not None

        (hypotheses,) = self._beams.search(
            [ids], lengths, width, self._rules(settings), stopped if settings.stop else None
        )
        found = []
        for hypothesis in hypotheses[: settings.num_samples]:
            row = self._row(prompt, ids, settings, 0)
            row.extend(hypothesis.token_ids, hypothesis.log_probabilities)
            self.tokens_generated += len(row.ids)
            found.append(dataclasses.replace(row.continuation(), score=hypothesis.score))
        return found

    def _decode(
        self, rows: list[GrowingContinuation], settings: SamplingSettings, positions: int
    ) -> Iterator[None]:
        """Fill the rows, and yield after every call of the compiled loop."""
        rules = self._rules(settings)
        keys = [row.key for row in rows]
        likeliest = min(settings.top_logprobs, self._width)
        longest = max(row.max_new_tokens for row in rows)
        prompts, carry = self._loop.start([row.prompt_ids for row in rows], longest)
        while not all(row.ended_by for row in rows):
            uniforms = self._loop.uniforms(prompts, carry, keys, positions)
            chosen, carry = self._loop.advance(prompts, carry, uniforms, rules, likeliest)
            self._take(rows, chosen)
            carry = carry._replace(finished=tf.constant([bool(row.ended_by) for row in rows]))
            yield

    def _take(self, rows: list[GrowingContinuation], chosen: Chosen) -> None:
        """Append what a call of the loop generated."""
        if np.isnan(chosen.log_probabilities).any():
            raise InputError(NOT_FINITE)
        for row, *values in zip(rows, *chosen):
            before = len(row.ids)
            there = values[0] != NOTHING
            row.extend(*(value[there].tolist() for value in values))
            self.tokens_generated += len(row.ids) - before


NOT_FINITE = (
    "the model's logits are not finite, so nothing can be sampled; its training has diverged, use an"
    " earlier checkpoint or train with a lower learning rate"
)


def seeds_of(settings: SamplingSettings, prompts: int) -> list[int]:
    """Return a seed for each prompt."""
    if not isinstance(settings.seed, (list, tuple)):
        return [settings.seed] * prompts
    if len(settings.seed) != prompts:
        raise InputError(
            f"seed has {len(settings.seed)} numbers for {prompts} prompts; give one for each, or one for all"
        )
    return list(settings.seed)
