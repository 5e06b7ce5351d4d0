"""A network that fills masks token by token: `[MASK]`s of any length within a text, and what follows a text.

B rows of a batch, T positions of a row, V tokens of the text.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from lm_keras.answers.generator import Generator, as_many_words
from lm_keras.data.spans import END, GENERATE, START
from lm_keras.errors import InputError
from lm_keras.sampling.continuation import Continuation, GrowingContinuation
from lm_keras.sampling.generate import NOT_FINITE, seeds_of
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.masks import MASK, Filled, parts_of
from lm_keras.sampling.prompts import check_prompts, check_text
from lm_keras.sampling.settings import SamplingSettings, settings_from
from lm_keras.sampling.uniforms import key_of, uniform_numbers


class Infiller(Generator):
    """Fills the `[MASK]`s of texts, each with any number of tokens, and continues texts without one.

    Args:
        model: a network that predicts masked spans.
        tokenizer: the tokenizer the model was trained with, with a `mask_id`.
        say: called with lines, as by a `Sampler`.
        jit, int8: see `Sampler`.
    """

    task = "infilling"
    reads_in_parts = False
    fill_settings = frozenset(field.name for field in dataclasses.fields(SamplingSettings)) - {
        "top_logprobs", "num_beams", "stop",
    }  # fmt: skip

    @property
    def _extra(self) -> int:
        """Return the first of the tokens that mark masks and spans."""
        return self._tokenizer.vocab_size

    @functools.cached_property
    def _span_loop(self) -> DecodeLoop:
        """The loop that fills a span, which ends where the span does."""
        allowed = np.arange(self._width) < self._extra
        allowed[list(self._tokenizer.special_ids)] = False
        allowed[self._extra + END] = True
        return DecodeLoop(self._network, self._extra + END, allowed)

    @property
    def traces(self) -> int:
        """How often a function was traced so far: at most 4, those of a `Sampler` and one more for spans;
        with `jit` 6."""
        return super().traces + self._span_loop.traces

    def generate(self, prompts: list[str], **settings: Any) -> list[str]:
        """Return for each prompt the text with its masks filled if it has a `[MASK]`, else what follows it.

        Args:
            prompts: any number of strings.
            **settings: fields of `SamplingSettings`; `max_new_tokens` holds for each mask.
        """
        checked, asked = check_prompts(prompts), settings_from(settings)
        if not any(MASK in prompt for prompt in checked):
            return super().generate(prompts, **settings)
        settings.pop("seed", None)
        texts = []
        for prompt, seed in zip(checked, seeds_of(asked, len(checked))):
            if MASK in prompt:
                texts += [filled.text for filled in self.fillings(prompt, {**settings, "seed": seed})]
            else:
                texts += super().generate([prompt], seed=seed, **settings)
        return texts

    def sample(self, prompts: list[str], **settings: Any) -> list[Continuation]:
        """Return continuations, as a `Sampler` does; of the likeliest tokens those of the text."""
        return [
            dataclasses.replace(
                found,
                likeliest=tuple(
                    tuple(pair for pair in best if pair[0] < self._extra) for best in found.likeliest
                ),
            )
            for found in super().sample(prompts, **settings)
        ]

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know, as a `Sampler` does; a `[MASK]` is known."""
        return super().unknown_parts(prompt.replace(MASK, ""))

    def fillings(self, text: str, settings: dict[str, Any]) -> list[Filled]:
        count = settings.get("num_samples", 1)
        one = {name: value for name, value in settings.items() if name != "num_samples"}
        return [self.fill(text, sample=number, **one) for number in range(count)]

    def fills(self, prompt: str) -> bool:
        return MASK in prompt

    def between(self, before: str, removed: str, after: str, most: int) -> str:
        """Return what fills a span between two texts, no more words of it than `removed` has."""
        found = self.fill(before + MASK + after, max_new_tokens=most)
        return as_many_words(found.words[0][0][0], removed)

    def fill(self, text: str, words: int = 1, sample: int = 0, **settings: Any) -> Filled:
        """Return a text with its masks filled, from left to right.

        Args:
            text: with a `[MASK]` for each span, which may be a part of a word or many words.
            words: without meaning here: each mask has one filling.
            sample: which of several fillings of the same seed.
            **settings: fields of `SamplingSettings`; without a `temperature` the likeliest token is taken
                each time.

        Returns:
            The text, and for each mask what was filled in, with its probability.

        Raises:
            InputError: the text lacks a `[MASK]`, a setting is not allowed, or the text is longer than the
                model's context.
        """
        del words
        check_text("text", text)
        settings = settings_from({"temperature": 0.0, **settings})
        if MASK not in text:
            raise InputError(f"the text has no {MASK}: put one where something is to be filled in")
        for name in ("top_logprobs", "num_beams", "num_samples", "stop"):
            if getattr(settings, name) != getattr(SamplingSettings(), name):
                raise InputError(
                    f"{name}={getattr(settings, name)} has no meaning where masks within a text are filled; "
                    "leave it out"
                )
        (seed,) = seeds_of(settings, 1)
        settings = dataclasses.replace(settings, seed=seed)
        parts = parts_of(text, self._tokenizer)
        ids, masks = [self._tokenizer.begin_id], []
        for number, part in enumerate(parts):
            if number:
                masks.append(len(ids))
                ids.append(self._tokenizer.mask_id)
            encode = self._tokenizer.encode_inside if number else self._tokenizer.encode_prompt
            ids += encode(part)
        ids.append(self._tokenizer.eod_id)
        cut = self._cut(ids, masks, settings)
        left = [mask - cut for mask in masks if mask >= cut]  # Masks before that stay as they are.
        lost = len(masks) - len(left)
        if cut:
            self._say(
                f"of the {len(ids):,} tokens of the text the last {len(ids) - cut:,} are read, with "
                f"{len(left):,} of {len(masks):,} masks"
            )
        found = self._filled(ids[cut:], left, settings, sample) if left else []
        whole, said = MASK.join(parts[: lost + 1]), []
        for (tokens, score), part in zip(found, parts[lost + 1 :]):
            decoder = self._tokenizer.decoder(before=whole)
            filling = decoder.push(tokens) + decoder.finish()
            whole += filling + part
            said.append(((filling, float(np.exp(score))),))
        return Filled(whole, tuple(said))

    def _cut(self, ids: list[int], masks: list[int], settings: SamplingSettings) -> int:
        """Return how many tokens at the beginning of part A have to go, so that there is space for its
        masks."""
        most, cut = self._model.context_length, 0
        while len(ids) - cut + 2 * sum(mask >= cut for mask in masks) > most:
            cut += 1
        if cut and settings.long_prompt == "error":
            raise InputError(
                f"the text has {len(ids):,} tokens with those around it and {len(masks):,} masks, and the "
                f"model sees {most:,} at a "
                "time with what it fills in; shorten it"
            )
        return cut

    def _filled(
        self, ids: list[int], masks: list[int], settings: SamplingSettings, sample: int
    ) -> list[tuple[list[int], float]]:
        """Return tokens and log-probability of each mask of part A."""
        most = self._model.context_length
        needed = len(masks) * (settings.max_new_tokens + 1)
        rules, start = self._rules(settings), self._extra + START
        prompts, carry = self._span_loop.start([[*ids, start]], min(needed, most - len(ids)))
        found = []
        for number, at in enumerate(masks):
            position = int(carry.position)
            # Each span that comes needs a slot for its start and one for a token.
            free = prompts.cache_size - int(carry.taken) - 2 * (len(masks) - 1 - number)
            count = min(settings.max_new_tokens + 1, free)
            tokens = carry.tokens.numpy()
            tokens[:, position] = start
            state = {**carry.state, "position": tf.constant([at]), "within": tf.constant([0])}
            carry = carry._replace(tokens=tf.constant(tokens), finished=tf.constant([False]), state=state)
            limits = prompts.limits._replace(end=tf.constant(position + 1), max_new_tokens=tf.constant(count))
            prompts = prompts._replace(limits=limits)
            key = key_of(settings.seed, ids, sample, mask=number)
            uniforms = uniform_numbers(key, 0, count)[None]
            chosen, carry = self._span_loop.advance(prompts, carry, uniforms, rules)
            if np.isnan(chosen.log_probabilities).any():
                raise InputError(NOT_FINITE)
            there = chosen.tokens[0] != NOTHING
            tokens, scores = chosen.tokens[0][there].tolist(), chosen.log_probabilities[0][there]
            self.tokens_generated += len(tokens)
            ended = tokens[-1] == self._extra + END
            # What came last was not read yet: the end, or the token that is one too many.
            found.append((tokens[:-1], float(scores[: len(tokens) - 1 + ended].sum())))
        return found

    @property
    def _longest_prompt(self) -> int:
        return self._model.context_length - 2  # [gMASK] and the start of the span.

    def _prompt_ids(self, prompt: str, settings: SamplingSettings) -> list[int]:
        return [*super()._prompt_ids(prompt, settings), self._extra + GENERATE, self._extra + START]

    def _decode(
        self, rows: list[GrowingContinuation], settings: SamplingSettings, positions: int
    ) -> Iterator[None]:
        """Fill the rows, those of equally long prompts together: part A has to be read at once."""
        numbered = sorted(enumerate(rows), key=lambda pair: len(pair[1].prompt_ids))
        for _, group in itertools.groupby(numbered, lambda pair: len(pair[1].prompt_ids)):
            yield from self._continued(list(group), settings, positions)

    def _continued(
        self, group: list[tuple[int, GrowingContinuation]], settings: SamplingSettings, positions: int
    ) -> Iterator[None]:
        """Fill rows of one length; where a text has filled the cache, its last half is read again as part
        A."""
        rules, likeliest = self._rules(settings), min(settings.top_logprobs, self._width)
        ids, most = {number: row.prompt_ids for number, row in group}, self._longest_prompt
        while group := [(number, row) for number, row in group if not row.ended_by]:
            prompts, carry = self._loop.start([ids[number] for number, _ in group], settings.max_new_tokens)
            free = prompts.cache_size - int(carry.taken)
            while free and not all(row.ended_by for _, row in group):
                count = min(positions, free)
                done = max(len(row.ids) for _, row in group)
                uniforms = np.stack([uniform_numbers(row.key, done, count) for _, row in group])
                chosen, carry = self._loop.advance(prompts, carry, uniforms, rules, likeliest)
                self._take([row for _, row in group], chosen)
                carry = carry._replace(finished=tf.constant([bool(row.ended_by) for _, row in group]))
                free -= count
                yield
            for number, row in group:
                text = [*row.prompt_ids[:-2], *row.ids][-max(1, most // 2) :]
                ids[number] = [*text, *row.prompt_ids[-2:]]
