"""Networks that predict the next token: continuing a text."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

from lm_keras.answers.answer import Answer
from lm_keras.sampling.continuation import Continuation, GrowingContinuation
from lm_keras.sampling.generate import STREAM_POSITIONS, Sampler, seeds_of
from lm_keras.sampling.notices import Notices
from lm_keras.sampling.prompts import check_text
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.sampling.shared_batch import FixedBatch, SharedBatch


class Generator(Sampler, Answer):
    """Continues texts; see `lm_keras.sampling.generate.Sampler`."""

    task = "causal_lm"

    def between(self, before: str, removed: str, after: str, most: int) -> str:
        """Return what goes on from the text before, no more words of it than `removed` has."""
        (text,) = self.generate([before], max_new_tokens=most, temperature=0.0)
        return as_many_words(text, removed)

    def tell(self, say: Callable[[str], None]) -> None:
        super().tell(say)
        self._notices = Notices(self._tokenizer, say)

    def asked(self, prompt: str, settings: SamplingSettings) -> list[GrowingContinuation]:
        """Return the samples of a prompt, which are still empty and join a batch of `batch_for`.

        Args:
            prompt: one string.
            settings: of sampling, with one seed and one beam.

        Raises:
            InputError: the prompt is not allowed.
        """
        check_text("prompt", prompt)
        return self._rows(prompt, seeds_of(settings, 1)[0], self._told(settings))

    def batch_for(self, settings: SamplingSettings) -> SharedBatch | FixedBatch:
        """Return a batch for rows that have the same rules, those of `settings`.

        Raises:
            InputError: a bias is not allowed.
        """
        rules = self._rules(settings)
        counts = settings.presence_penalty or settings.frequency_penalty
        if self.reads_in_parts and not counts:
            return SharedBatch(self._loop, rules)
        return FixedBatch(functools.partial(self._side_by_side, settings))

    def searched(self, prompt: str, settings: SamplingSettings) -> list[Continuation]:
        """Return the best continuations that beam search finds, up to `num_samples`.

        Raises:
            InputError: the prompt is not allowed.
        """
        check_text("prompt", prompt)
        return self._searched(prompt, settings)

    def _told(self, settings: SamplingSettings) -> SamplingSettings:
        """Return settings that tell no more likely tokens than there are."""
        return dataclasses.replace(settings, top_logprobs=min(settings.top_logprobs, self._width))

    def _side_by_side(self, settings: SamplingSettings, rows: list[GrowingContinuation]) -> Iterator[None]:
        most = {name: max(getattr(row, name) for row in rows) for name in ("max_new_tokens", "top_logprobs")}
        return self._decode(rows, dataclasses.replace(settings, **most), STREAM_POSITIONS)


def as_many_words(text: str, removed: str) -> str:
    """Cut a text behind as many words as another one has, words behind one space each, and at the end of its
    line.

    Example:
        >>> as_many_words(" the first line\\nand", " a b")
        ' the first'
    """
    return " ".join(text.partition("\n")[0].split(" ")[: 1 + removed.count(" ")])
