"""The one thread that computes: requests wait in a queue, and those that fit share a batch.

Texts with the same rules are generated side by side, and join while others are under way. Calls on given
texts, such as classifying them, are made together where their settings are the same, a few texts at a time
between the tokens of others. Both give each text what it would get alone.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from lm_keras.errors import InputError
from lm_keras.sampling.generate import NOT_FINITE, STREAM_POSITIONS
from lm_keras.sampling.shared_batch import FixedBatch, SharedBatch
from lm_keras.serving.bodies import Refused, place_of, refused_by
from lm_keras.serving.jobs import CallJob, GenerationJob, Job
from lm_keras.serving.protocol import FIELDS
from lm_keras.surroundings import usual_settings


class Scheduler:
    """Computes the jobs of all requests in a thread of its own.

    Args:
        max_batch: texts that are generated side by side, at most.
        max_queue: texts that wait, at most.
        batch_wait: seconds that the first job waits for others.
        say: called with a line if something fails that should not.
    """

    def __init__(self, max_batch: int, max_queue: int, batch_wait: float, say: Callable[[str], None]):
        self._max_batch, self._max_queue, self._batch_wait, self._say = max_batch, max_queue, batch_wait, say
        self._changed = threading.Condition()
        self._waiting: deque[GenerationJob] = deque()
        self._calls: deque[CallJob] = deque()
        self._ends = False
        self._batches: dict[Hashable, list[SharedBatch | FixedBatch]] = {}
        self._running: list[GenerationJob] = []
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    @property
    def texts(self) -> tuple[int, int]:
        """Return how many texts are generated now, and how many wait."""
        with self._changed:
            return self._rows, self._texts_waiting

    @property
    def _texts_waiting(self) -> int:
        return sum(job.size for job in (*self._waiting, *self._calls))

    @property
    def _rows(self) -> int:
        return sum(len(batch.rows) for batches in self._batches.values() for batch in batches)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float | None = None) -> None:
        """End the thread when all jobs are done; wait for it some seconds at most."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join(seconds)

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing is computed any more."""
        return not self._thread.is_alive()

    def add(self, jobs: list[Job]) -> None:
        """Let jobs wait for their turn.

        Raises:
            Refused: too many texts wait already.
        """
        with self._changed:
            waiting, more = self._texts_waiting, sum(job.size for job in jobs)
            if more > self._max_queue:
                raise Refused(400, f"the request asks for {more} texts, and {self._max_queue} may wait")
            if waiting + more > self._max_queue:
                raise Refused(
                    429,
                    f"{waiting} texts wait already, and {self._max_queue} may wait; try again later",
                    code="queue_full",
                    headers={"retry-after": "1"},
                )
            self._calls.extend(job for job in jobs if isinstance(job, CallJob))
            self._waiting.extend(job for job in jobs if isinstance(job, GenerationJob))
            self._changed.notify()

    def leave(self, jobs: list[Job]) -> None:
        """Forget jobs whose client has left; their rows are free after the call that is under way."""
        for job in jobs:
            job.gone = True
        with self._changed:
            self._waiting = deque(job for job in self._waiting if not job.gone)
            self._calls = deque(job for job in self._calls if not job.gone)
            self._changed.notify()

    def _run(self) -> None:
        with usual_settings():
            while self._has_work():
                self._begin()
                self._call()
                self._advance()

    def _has_work(self) -> bool:
        """Wait for work; return False at the end."""
        with self._changed:
            while not (self._waiting or self._calls or self._batches):
                if self._ends:
                    return False
                self._changed.wait()
            if not (self._batches or any(call.found for call in self._calls)) and self._batch_wait:
                self._changed.wait_for(self._is_full, self._batch_wait)
            return True

    def _is_full(self) -> bool:
        return self._texts_waiting >= self._max_batch

    def _begin(self) -> None:
        """Begin the texts whose turn it is, as many as there is space for."""
        begun: list[GenerationJob] = []
        with self._changed:
            while self._waiting:
                job, rows = self._waiting[0], self._rows + sum(one.size for one in begun)
                if rows and rows + job.size > self._max_batch:
                    break
                begun.append(self._waiting.popleft())
        self._join(begun)

    def _call(self) -> None:
        """Compute some texts of a call, and of others that may be computed together; calls take turns."""
        with self._changed:
            if not self._calls:
                return
            first = self._calls[0]
            self._calls.rotate(-1)
            alike = [one for one in self._calls if one is not first and first.key and one.key == first.key]
        space, parts = max(1, self._max_batch // first.rows) if first.key else 1, []
        for call in [first, *alike]:
            if part := call.rest[:space]:
                parts.append((call, part))
                space -= len(part)
        self._compute(parts)
        with self._changed:
            for call, _ in parts:
                if not call.rest and call in self._calls:
                    self._calls.remove(call)

    def _compute(self, parts: list[tuple[CallJob, list[Any]]]) -> None:
        try:
            found = iter(parts[0][0].work([text for _, texts in parts for text in texts]))
        except Exception as error:
            if len(parts) > 1:  # One of them may be wrong for another's sake.
                for part in parts:
                    self._compute([part])
            else:
                parts[0][0].rest = []
                parts[0][0].tell(self._failure(error))
            return
        for call, texts in parts:
            call.take(list(itertools.islice(found, len(texts))))

    def _join(self, jobs: list[GenerationJob]) -> None:
        """Put the rows of jobs into batches, those with the same rules into one."""
        joining: dict[Hashable, list[GenerationJob]] = {}
        for job in jobs:
            if job.gone:
                continue
            try:
                job.rows = job.begin()
            except Exception as error:
                job.tell(self._failure(error))
            else:
                joining.setdefault(job.rules, []).append(job)
        for rules, some in joining.items():
            try:
                batches = self._batches.setdefault(rules, [])
                free = [batch for batch in batches if batch.takes_rows]
                if not free:
                    free = [some[0].answer.batch_for(some[0].settings)]
                    batches.append(free[0])
                free[0].join([row for job in some for row in job.rows])
            except Exception as error:
                for job in some:
                    job.tell(self._failure(error))
            else:
                self._running += some

    def _advance(self) -> None:
        """Generate some tokens of all texts, batch after batch, and tell of them."""
        for job in self._running:
            if job.gone:
                job.leave()
        failed: dict[int, BaseException] = {}
        for batches in self._batches.values():
            for batch in list(batches):
                rows = batch.rows
                try:
                    errors = {id(row): InputError(NOT_FINITE) for row in batch.advance(STREAM_POSITIONS)}
                except Exception as error:
                    errors = {id(row): error for row in rows}
                    batches.remove(batch)
                failed |= errors
        self._batches = {
            rules: kept
            for rules, batches in self._batches.items()
            if (kept := [batch for batch in batches if batch.rows])
        }
        for job in self._running:
            wrong = [failed[id(row)] for row in job.rows if id(row) in failed]
            if wrong and not job.gone:
                job.tell(self._failure(wrong[0]))
                job.leave()
            elif not job.gone:
                job.report()
        self._running = [job for job in self._running if not job.has_ended]

    def _failure(self, error: BaseException) -> Refused:
        """Return the error that a client gets."""
        if isinstance(error, Refused):
            return error
        if isinstance(error, InputError):
            return refused_by(error, FIELDS)
        self._say(f"error: {place_of(error)} while a request was computed")
        return Refused(500, "the server failed to compute this request; its log tells more")
