"""Strings in, strings out: prompts, stop strings, streaming."""

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.settings import SamplingSettings, check_prompts, check_text, settings_from

GENERATE_POSITIONS = 64
"""Positions of one compiled call of `generate`: between calls stop strings are looked for."""

MAX_LOGITS = 2**30
"""Logits of all rows at a position: 4 GiB, and as much again for their probabilities."""

STREAM_POSITIONS = 8
"""Positions of one compiled call of `stream`: pieces of text come this often."""


@dataclasses.dataclass(frozen=True)
class Continuation:
    """One continuation of a prompt.

    Attributes:
        text: what follows the prompt, without the stop string.
        token_ids: the generated tokens, with the one that ended the text.
        log_probabilities: of each of these tokens under the model's own distribution, in nats.
        ended_by: "eod" (the model ended the document), "stop" (a stop string) or "length".
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended_by: str


class Sampler:
    """Turns one model into text. Keep it: the first call compiles, later ones with other settings do not.

    The text of a prompt depends on the model, the settings and the prompt alone: not on the other prompts of the
    call. It follows the model's weights, so one sampler serves a whole training.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        tokenizer: the tokenizer the model was trained with.

    Attributes:
        tokens_generated: by all calls so far.

    Raises:
        InputError: the model has fewer logits than the tokenizer has tokens.

    Example:
        >>> sampler = Sampler(model, tokenizer)
        >>> sampler.generate(["To be", ""], max_new_tokens=40, temperature=0.8, seed=1)
        [', or not to be', 'Enter HAMLET.']
        >>> for piece in sampler.stream("To be", stop="."):
        ...     print(piece, end="", flush=True)
    """

    def __init__(self, model: keras.Model, tokenizer):
        self._tokenizer = tokenizer
        self._loop = DecodeLoop(model, tokenizer.eod_id, _allowed_tokens(model, tokenizer))
        self.tokens_generated = 0

    @property
    def traces(self) -> int:
        """How often a function was traced so far: at most 2, whatever the calls."""
        return self._loop.traces

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Return the continuations of the prompts, without the prompts.

        Args:
            prompts: any number of strings. An empty one starts a document.
            **settings: fields of `SamplingSettings`: max_new_tokens, temperature, top_k, top_p, seed,
                num_samples, stop.

        Returns:
            `num_samples` continuations of the first prompt, then those of the second, and so on.

        Raises:
            InputError: a prompt or a setting is not allowed, or the model's logits are not finite.
        """
        return [continuation.text for continuation in self.sample(prompts, **settings)]

    def sample(self, prompts: list[str], **settings) -> list[Continuation]:
        """Return the same as `generate`, with tokens, log-probabilities and the reason of each end."""
        prompts, settings = check_prompts(prompts), settings_from(settings)
        if not prompts:
            return []
        count, vocab_size = len(prompts) * settings.num_samples, self._tokenizer.vocab_size
        if count * vocab_size > MAX_LOGITS:
            raise InputError(
                f"num_samples={settings.num_samples} of {len(prompts)} prompts takes {count:,} rows of {vocab_size:,} logits at "
                f"once, and {MAX_LOGITS:,} logits are allowed; generate fewer at a time, each with a seed of its own"
            )
        rows = [
            _Row(self._tokenizer, prompt, settings) for prompt in prompts for _ in range(settings.num_samples)
        ]
        for _ in self._decode(rows, settings, GENERATE_POSITIONS):
            pass
        return [
            Continuation("".join(row.pieces), tuple(row.ids), tuple(row.scores), row.ended_by) for row in rows
        ]

    def stream(self, prompt: str, **settings) -> Iterator[str]:
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
        return self._pieces(_Row(self._tokenizer, prompt, settings), settings)

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know, each once, in order; mostly an empty list.

        Characters where the tokenizer has a token for each character, else whole words. The model reads the
        unknown token in their place, so a script should warn of them.
        """
        check_text("prompt", prompt)
        tokenizer = self._tokenizer

        def is_unknown(text):
            return tokenizer.count_unknown(text, tokenizer.encode_array(text)) > 0

        if not is_unknown(prompt):
            return []
        # An unknown character may be white space: then no word shows it.
        words = [word for word in prompt.split() if is_unknown(word)]
        parts = []
        for word in words or filter(is_unknown, prompt):
            spelled = len(tokenizer.encode_prompt(word)) == len(word)
            parts += filter(is_unknown, word) if spelled else [word]
        return list(dict.fromkeys(parts))

    def _pieces(self, row: "_Row", settings: SamplingSettings) -> Iterator[str]:
        for _ in self._decode([row], settings, STREAM_POSITIONS):
            piece = "".join(row.pieces[row.streamed :])
            row.streamed = len(row.pieces)
            if piece:
                yield piece

    def _decode(self, rows: list["_Row"], settings: SamplingSettings, positions: int) -> Iterator[None]:
        """Fill the rows, and yield after every call of the compiled loop."""
        rules = RuleSettings.of(settings.temperature, settings.top_k, settings.top_p)
        samples = [index % settings.num_samples for index in range(len(rows))]
        prompts, carry = self._loop.start([row.prompt_ids for row in rows], settings.max_new_tokens)
        while not all(row.ended_by for row in rows):
            uniforms = self._loop.uniforms(prompts, carry, settings.seed, samples, positions)
            tokens, scores, carry = self._loop.advance(prompts, carry, uniforms, rules)
            if np.isnan(scores).any():
                raise InputError(
                    "the model's logits are not finite, so there is nothing to sample from; its training has "
                    "diverged, use an earlier checkpoint or train with a lower learning rate"
                )
            for row, ids, values in zip(rows, tokens, scores):
                before = len(row.ids)
                row.extend(ids[ids != NOTHING].tolist(), values[ids != NOTHING].tolist())
                self.tokens_generated += len(row.ids) - before
            carry = carry._replace(finished=tf.constant([bool(row.ended_by) for row in rows]))
            yield


class _Row:
    """One continuation as it grows: its tokens, its text, and what of its text is still held back."""

    def __init__(self, tokenizer, prompt: str, settings: SamplingSettings):
        self.prompt_ids = [tokenizer.eod_id, *tokenizer.encode_prompt(prompt)]
        self.ids: list[int] = []
        self.scores: list[float] = []
        self.pieces: list[str] = []
        self.streamed = 0
        self.ended_by = ""
        self._eod_id = tokenizer.eod_id
        self._max_new_tokens = settings.max_new_tokens
        self._stop = settings.stop
        self._held = ""
        self._decoder = tokenizer.decoder(before=prompt)

    def extend(self, ids: list[int], scores: list[float]) -> None:
        """Append generated tokens, up to the one that ends the text."""
        for token, score in zip(ids, scores):
            if self.ended_by:
                return
            self.ids.append(token)
            self.scores.append(score)
            if token == self._eod_id:
                self._end("eod")
            else:
                self._append(self._decoder.push([token]))
                if not self.ended_by and len(self.ids) >= self._max_new_tokens:
                    self._end("length")

    def _end(self, reason: str) -> None:
        self._append(self._decoder.finish())
        if not self.ended_by:
            self.ended_by = reason
            self.pieces.append(self._held)

    def _append(self, text: str) -> None:
        text = self._held + text
        begin = find_stop(text, self._stop)
        if begin is not None:
            self.ended_by = "stop"
            self.pieces.append(text[:begin])
        else:
            safe = len(text) - held_back(text, self._stop)
            self.pieces.append(text[:safe])
            self._held = text[safe:]


def find_stop(text: str, stop: tuple[str, ...]) -> int | None:
    """Return where the stop string begins that is complete first, or None.

    Complete first, not begun first: so the result does not depend on how the text came in pieces.

    Example:
        >>> find_stop("xabc", ("abc", "b"))
        2
    """
    found = [(text.index(string) + len(string), text.index(string)) for string in stop if string in text]
    return min(found)[1] if found else None


def held_back(text: str, stop: tuple[str, ...]) -> int:
    """Return how many characters at the end of `text` may be the beginning of a stop string.

    Example:
        >>> held_back("one #", ("###", "END"))
        1
    """
    longest = max(map(len, stop), default=0)
    for count in range(min(longest - 1, len(text)), 0, -1):
        if any(string.startswith(text[-count:]) for string in stop):
            return count
    return 0


def _allowed_tokens(model: keras.Model, tokenizer) -> np.ndarray:
    """Return [V] bool: neither the unknown token nor the blank, and nothing beyond the vocabulary (logits may be padded).

    One real step through the model finds V. It also builds a model that has not been called yet, which must
    not happen inside of the compiled loop.
    """
    tokens = tf.constant([[tokenizer.eod_id]], tf.int32)
    features, _ = model.forward({"tokens": tokens}, model.initial_state(1, length=1))
    width = int(model.project(features).shape[-1])
    if width < tokenizer.vocab_size:
        raise InputError(
            f"the model has {width} logits, but the tokenizer has {tokenizer.vocab_size} tokens; "
            "use the tokenizer that the model was trained with"
        )
    allowed = np.arange(width) < tokenizer.vocab_size
    never = {tokenizer.unknown_id, tokenizer.blank_id} - {None}
    allowed[list(never)] = False
    return allowed
