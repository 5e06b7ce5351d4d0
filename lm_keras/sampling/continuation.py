"""One text as it grows: tokens become text, stop strings are found, and what may become one is held back."""

import dataclasses
import itertools
from collections.abc import Collection, Iterable

from lm_keras.sampling.prompts import check_text
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Continuation:
    """One continuation of a prompt.

    Attributes:
        text: what follows the prompt, without the stop string.
        token_ids: the generated tokens, with the one that ended the text.
        log_probabilities: of each of these tokens under the model's own distribution, in nats.
        ended_by: "eod" (the model ended the document), "stop" (a stop string), "length" (`max_new_tokens`)
            or "context" (an answer has filled the context of the model).
        likeliest: for each of these tokens the likeliest ones there, `(token_id, log_probability)` each, as
            many as `top_logprobs` says.
        score: by which beam search ranks it; None for samples.
    """

    text: str
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]
    ended_by: str
    likeliest: tuple[tuple[tuple[int, float], ...], ...] = ()
    score: float | None = None


class GrowingContinuation:
    """One continuation as it grows: its tokens, its text, and what of its text is still held back.

    Args:
        tokenizer: of the model.
        prompt: the text that it continues.
        prompt_ids: the tokens that the model reads before it.
        settings: of sampling.
        key: of its random numbers, see `lm_keras.sampling.uniforms`.
        ends: tokens that end it, beside the tokenizer's own.
        silent: tokens that say nothing.
        context_left: tokens of it that the context of the model holds beside the prompt; None for any number.

    Attributes:
        prompt_ids, key: as given.
        max_new_tokens: of the settings, or `context_left` if that is less.
        top_logprobs: of the settings.
        ids, scores, likeliest: see `Continuation`.
        pieces: its text, as far as it is certain.
        streamed: how many pieces were handed out.
        ended_by: see `Continuation`; empty while it grows.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompt: str,
        prompt_ids: list[int],
        settings: SamplingSettings,
        key: int,
        ends: Collection[int] = (),
        silent: Collection[int] = (),
        context_left: int | None = None,
    ):
        self.prompt_ids, self.key = prompt_ids, key
        self._ends, self._silent = {tokenizer.eod_id, *ends}, silent
        self.ids: list[int] = []
        self.scores: list[float] = []
        self.likeliest: list[tuple[tuple[int, float], ...]] = []
        self.pieces: list[str] = []
        self.streamed = 0
        self.ended_by = ""
        asked = settings.max_new_tokens
        self.max_new_tokens = asked if context_left is None else min(asked, context_left)
        self._limit = "length" if self.max_new_tokens == asked else "context"
        self.top_logprobs = settings.top_logprobs
        self._stop = settings.stop
        self._held = ""
        self._decoder = tokenizer.decoder(before=prompt)

    def continuation(self) -> Continuation:
        """Return what has come of it."""
        likeliest = tuple(self.likeliest)
        return Continuation(
            "".join(self.pieces), tuple(self.ids), tuple(self.scores), self.ended_by, likeliest
        )

    def extend(
        self,
        ids: Iterable[int],
        scores: Iterable[float],
        likeliest: Iterable[Iterable[int]] = (),
        likeliest_scores: Iterable[Iterable[float]] = (),
    ) -> None:
        """Append generated tokens, up to the one that ends the text."""
        for token, score, *best in itertools.zip_longest(
            ids, scores, likeliest, likeliest_scores, fillvalue=()
        ):
            if self.ended_by:
                return
            self.ids.append(token)
            self.scores.append(score)
            self.likeliest.append(tuple(zip(*best)))
            if token in self._ends:
                self._end("eod")
            else:
                self._append("" if token in self._silent else self._decoder.push([token]))
                if not self.ended_by and len(self.ids) >= self.max_new_tokens:
                    self._end(self._limit)

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


def unknown_parts(tokenizer: Tokenizer, prompt: str) -> list[str]:
    """Return what of a prompt the tokenizer does not know, each once, in order; mostly an empty list.

    Characters where the tokenizer has a token for each character, else whole words. The model reads the
    unknown token in their place, so a script should warn of them.
    """
    check_text("prompt", prompt)

    def is_unknown(text: str) -> bool:
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
