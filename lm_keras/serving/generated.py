"""The generated texts of one request: what the scheduler tells of them, and what goes out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from lm_keras.sampling.continuation import Continuation
from lm_keras.serving import replies
from lm_keras.serving.jobs import GenerationJob, Growth, Job
from lm_keras.serving.models import ServedModel
from lm_keras.serving.protocol import Asked
from lm_keras.serving.scheduler import Scheduler


class Mailbox:
    """What the scheduler tells of the jobs of one request."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler, self._loop = scheduler, asyncio.get_running_loop()
        self._told: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._jobs: list[Job] = []

    def teller(self, number: int) -> Callable[[Any], None]:
        """Return what the job with a number tells with, from the scheduler's thread."""

        def tell(what: Any) -> None:
            with contextlib.suppress(RuntimeError):  # The server has ended.
                self._loop.call_soon_threadsafe(self._told.put_nowait, (number, what))

        return tell

    def post(self, jobs: list[Job]) -> None:
        """Let jobs wait for their turn.

        Raises:
            Refused: too many wait already.
        """
        self._scheduler.add(jobs)
        self._jobs += jobs

    async def next(self) -> tuple[int, Any]:
        """Return the number of a job and what it tells.

        Raises:
            Refused: it failed.
        """
        number, what = await self._told.get()
        if isinstance(what, Exception):
            raise what
        return number, what

    def leave(self) -> None:
        """Forget the jobs: nobody waits for them any more."""
        self._scheduler.leave(self._jobs)


class GeneratedTexts:
    """The texts of a request, numbered: the samples of its first prompt, then those of the second, and so on.

    Args:
        served: the model.
        asked: the request.
        kind: `completion` or `chat`.
        jobs: a job a prompt.
        echoed: for each prompt the scores of its tokens that are told with it; nothing if they are not.
        counts: gets the counts of tokens, for the log.
    """

    def __init__(
        self,
        served: ServedModel,
        asked: Asked,
        kind: str,
        jobs: list[Job],
        echoed: list[Any],
        counts: dict[str, Any],
    ):
        self._asked, self._kind, self._jobs, self._counts = asked, kind, jobs, counts
        self._echoed, self._reply, self._served = echoed, replies.Reply(served, kind), served
        self._samples = asked.settings.num_samples
        given = asked.prompts if kind == "completion" else [""] * len(jobs)
        self._prompts = [prompt for prompt in given for _ in range(self._samples)]
        told, tokenizer = asked.logprobs, served.lm.tokenizer
        self._writers = [replies.ChoiceWriter(tokenizer, prompt, told) for prompt in self._prompts]
        self._open = set(range(len(self._prompts)))
        self._begun: set[int] = set()
        self._generated = 0

    async def whole(self, box: Mailbox) -> dict[str, Any]:
        """Return the reply with all texts, once they have ended."""
        choices = {}
        if not self._asked.generates:
            choices = {n: self._choice(n, Growth(0, "", [], [], [], "length")) for n in self._open}
            self._open = set()
        while self._open:
            for number, growth in self._growths(*await box.next()):
                choices[number] = self._choice(number, growth)
        return self._reply.whole([choices[number] for number in sorted(choices)], self._usage())

    async def stream(self, box: Mailbox, first: tuple[int, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield the pieces of the reply as they come, `first` first."""
        told = first
        while True:
            for number, growth in self._growths(*told):
                yield self._reply.piece([self._choice(number, growth, piece=True)])
            if not self._open:
                break
            told = await box.next()
        usage = self._usage()
        if self._asked.with_usage:
            yield self._reply.piece([], usage)

    def _growths(self, job: int, told: Any) -> Iterator[tuple[int, Growth]]:
        """Yield the numbers of texts that have grown, and by what."""
        if isinstance(told, Growth):
            number = job * self._samples + told.number
            if told.ended_by:
                self._open.discard(number)
            yield number, told
            return
        (found,) = told  # The texts of a search, which are whole, and may be fewer than samples.
        for number, text in enumerate(found):
            yield job * self._samples + number, _grown(number, text)
        self._open -= {job * self._samples + number for number in range(self._samples)}

    def _choice(self, number: int, growth: Growth, piece: bool = False) -> dict[str, Any]:
        """Return a text, or what is new of it, in the form of the protocol."""
        writer, text, echoed = self._writers[number], growth.text, ()
        if self._asked.echo and number not in self._begun:
            text, echoed = self._prompts[number] + text, self._echoed[number // self._samples]
        self._begun.add(number)
        self._generated += len(growth.ids)
        if self._kind == "chat":
            return self._reply.choice(number, text, writer.chat(growth), growth.ended_by, piece)
        return self._reply.choice(number, text, writer.completion(growth, echoed), growth.ended_by)

    def _usage(self) -> dict[str, int]:
        """Return the counts of tokens, and keep them for the log."""
        read = 0
        for prompt, job, echoed in zip(self._asked.prompts, self._jobs, self._echoed):
            if isinstance(job, GenerationJob) and job.rows:
                read += len(job.rows[0].prompt_ids)
            elif isinstance(prompt, str):
                read += len(echoed) or len(self._served.lm.tokenizer.encode_prompt(prompt))
        counted = replies.usage(read, self._generated)
        self._counts |= {"read": counted["prompt_tokens"], "generated": counted["completion_tokens"]}
        return counted


def _grown(number: int, text: Continuation) -> Growth:
    """Return a whole text as what it has grown by."""
    told = [*text.token_ids], [*text.log_probabilities], [*text.likeliest]
    return Growth(number, text.text, *told, text.ended_by)
