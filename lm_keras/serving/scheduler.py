"""The one thread that computes: requests wait in a queue, and those that fit share a batch.

GivenTexts with the same rules are generated side by side, and join while others are under way. Calls on given
texts, such as classifying them, are made together where their settings are the same. Both give each text what
it would get alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable

from lm_keras.errors import InputError
from lm_keras.sampling.generate import NOT_FINITE, STREAM_POSITIONS
from lm_keras.sampling.shared_batch import FixedBatch, SharedBatch
from lm_keras.serving.bodies import Refused, shortened
from lm_keras.serving.jobs import CallJob, GenerationJob, Job
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
        self._waiting: deque[Job] = deque()
        self._ends = False
        self._batches: dict[Hashable, list[SharedBatch | FixedBatch]] = {}
        self._running: list[GenerationJob] = []
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)

    @property
    def texts(self) -> tuple[int, int]:
        """Return how many texts are generated now, and how many wait."""
        return self._rows, sum(job.size for job in self._waiting)

    @property
    def _rows(self) -> int:
        return sum(len(batch.rows) for batches in self._batches.values() for batch in batches)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread when all jobs are done."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()

    def add(self, jobs: list[Job]) -> None:
        """Let jobs wait for their turn.

        Raises:
            Refused: too many texts wait already.
        """
        with self._changed:
            waiting, more = sum(job.size for job in self._waiting), sum(job.size for job in jobs)
            if more > self._max_queue:
                raise Refused(400, f"the request asks for {more} texts, and {self._max_queue} may wait")
            if waiting + more > self._max_queue:
                raise Refused(
                    429,
                    f"{waiting} texts wait already, and {self._max_queue} may wait; try again later",
                    code="queue_full",
                    headers={"retry-after": "1"},
                )
            self._waiting.extend(jobs)
            self._changed.notify()

    def leave(self, jobs: list[Job]) -> None:
        """Forget jobs whose client has left; their rows are free after the call that is under way."""
        for job in jobs:
            job.gone = True
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        with usual_settings():
            while self._has_work():
                self._begin()
                self._advance()

    def _has_work(self) -> bool:
        """Wait for work; return False at the end."""
        with self._changed:
            while not (self._waiting or self._batches):
                if self._ends:
                    return False
                self._changed.wait()
            if not self._batches and self._batch_wait:
                self._changed.wait_for(self._is_full, self._batch_wait)
            return True

    def _is_full(self) -> bool:
        return sum(job.size for job in self._waiting) >= self._max_batch

    def _begin(self) -> None:
        """Begin the jobs whose turn it is, as many as there is space for; make at most one call."""
        begun: list[GenerationJob] = []
        calls: list[CallJob] = []
        with self._changed:
            while self._waiting and not calls:
                job = self._waiting[0]
                if isinstance(job, CallJob) and not job.gone:
                    calls = self._calls_like(job)
                    continue
                rows = self._rows + sum(one.size for one in begun)
                if not job.gone and rows and rows + job.size > self._max_batch:
                    break
                self._waiting.popleft()
                if not job.gone:
                    begun.append(job)
        self._join(begun)
        self._call(calls)

    def _calls_like(self, first: CallJob) -> list[CallJob]:
        """Take the calls out of the queue that are made together with the first one."""
        count, together = 0, []
        for job in self._waiting:
            if isinstance(job, CallJob) and (job is first or (job.key is not None and job.key == first.key)):
                count += len(job.texts)
                if not together or count <= self._max_batch:
                    together.append(job)
        for job in together:
            self._waiting.remove(job)
        return together

    def _call(self, calls: list[CallJob]) -> None:
        calls = [call for call in calls if not call.gone]
        try:
            found = calls[0].work([text for call in calls for text in call.texts]) if calls else []
        except Exception as error:
            if len(calls) > 1:  # One of them may be wrong for another's sake.
                for call in calls:
                    self._call([call])
            else:
                calls[0].tell(self._failure(error))
            return
        for call in calls:
            call.tell(found[: len(call.texts)])
            found = found[len(call.texts) :]

    def _join(self, jobs: list[GenerationJob]) -> None:
        """Put the rows of jobs into batches, those with the same rules into one."""
        joining: dict[Hashable, list[GenerationJob]] = {}
        for job in jobs:
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
            return Refused(400, shortened(str(error)))
        self._say(f"error: {type(error).__name__} while a request was computed")
        return Refused(500, "the server failed to compute this request; its log tells more")
