"""The parts of a request that the scheduler computes, and what they tell."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from lm_keras.sampling.continuation import GrowingContinuation
from lm_keras.sampling.settings import RULES, SamplingSettings

GONE = "gone"
"""How a text ends whose client has left."""


class Growth(NamedTuple):
    """What a text of a request has grown by.

    Attributes:
        number: of the text in its job.
        text: that is new.
        ids, scores, likeliest: of its new tokens, see `lm_keras.sampling.continuation.Continuation`.
        ended_by: see there; empty while the text grows.
    """

    number: int
    text: str
    ids: list[int]
    scores: list[float]
    likeliest: list[tuple[tuple[int, float], ...]]
    ended_by: str


class Job:
    """A part of a request that the thread computes.

    Args:
        tell: called, in the thread, with what has come of the job, and with an exception if it failed.

    Attributes:
        gone: whether the client has left, so that nobody waits for it.
        size: texts that it has.
    """

    size = 1

    def __init__(self, tell: Callable[[Any], None]):
        self.tell, self.gone = tell, False


class CallJob(Job):
    """Given texts that a model is called with. It tells the list of what comes of them.

    Args:
        work: returns a value for each text.
        texts: of the request.
        key: calls with the same key may be made together; None: with no other.
        tell: see `Job`.
    """

    def __init__(
        self,
        work: Callable[[list[Any]], list[Any]],
        texts: list[Any],
        key: Hashable,
        tell: Callable[[Any], None],
    ):
        super().__init__(tell)
        self.work, self.texts, self.key = work, texts, key


class GenerationJob(Job):
    """Samples of a prompt. It tells a `Growth` whenever one grows, or only at its end.

    Args:
        answer: what generates, a `lm_keras.answers.generator.Generator`.
        begin: returns the samples, still empty.
        settings: of sampling.
        stream: whether it tells of them while they grow.
        tell: see `Job`.

    Attributes:
        rows: the samples, once it has begun.
    """

    def __init__(
        self,
        answer: Any,
        begin: Callable[[], list[GrowingContinuation]],
        settings: SamplingSettings,
        stream: bool,
        tell: Callable[[Any], None],
    ):
        super().__init__(tell)
        self.answer, self.begin, self.settings, self.stream = answer, begin, settings, stream
        self.size, self.rows = settings.num_samples, []
        self._told: list[int] = []

    @property
    def rules(self) -> Hashable:
        """Return what rows of a batch must have in common."""
        return id(self.answer), *(getattr(self.settings, name) for name in RULES)

    def report(self) -> None:
        """Tell what has come since the last time."""
        self._told = self._told or [0] * len(self.rows)
        for number, row in enumerate(self.rows):
            done = self._told[number]
            if done < 0 or not (row.ended_by or (self.stream and len(row.ids) > done)):
                continue
            text = "".join(row.pieces[row.streamed :])
            row.streamed, self._told[number] = len(row.pieces), -1 if row.ended_by else len(row.ids)
            new = row.ids[done:], row.scores[done:], row.likeliest[done:]
            self.tell(Growth(number, text, *new, row.ended_by))

    def leave(self) -> None:
        """End the samples that have not ended; their batch lets them go."""
        self.gone = True
        for row in self.rows:
            row.ended_by = row.ended_by or GONE

    @property
    def has_ended(self) -> bool:
        """Tell whether all samples have ended."""
        return all(row.ended_by for row in self.rows)
