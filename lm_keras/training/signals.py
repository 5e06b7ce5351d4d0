"""Signals that end a run: which ones, what they mean, and how they reach compiled steps, which Python's own
handlers would wait for.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

MEANING = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGHUP,
    signal.SIGUSR1: signal.SIGTERM,
    signal.SIGUSR2: signal.SIGTERM,
}
"""The signals that ask a process to stop, and the one as which each of them counts: schedulers send SIGUSR1
or SIGUSR2 some time before they end a job, as SLURM does with `--signal=USR1@90`.
"""

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a process can be stopped by, in the order in which they count where several came."""

INSISTING = (signal.SIGINT, signal.SIGTERM)
"""The signals of which a second one ends a process at once. Nobody sends the others for that: a terminal that
is closed may send SIGHUP several times, and SIGTERM follows what a scheduler announces.
"""

STOPPED = tuple(128 + number for number in STOPS)
"""The exit codes of a process that was stopped."""

SAME_SECONDS = 0.5
"""Signals that come so soon after the first one are the same wish: Linux tells a process of its parent's end
once for each of the parent's threads, and schedulers signal a process and its group.
"""


def caught() -> list[signal.Signals]:
    """Return the signals of `MEANING` that this process is to handle.

    SIGINT and SIGTERM always; the others unless they are ignored, as SIGHUP is under `nohup`, or somebody
    else handles them.
    """
    return [number for number in MEANING if number in INSISTING or signal.getsignal(number) == signal.SIG_DFL]


class Signals:
    """Asks the loop to stop when a signal of `caught` comes; a second SIGINT or SIGTERM ends the process at
    once.

    Python calls a handler between two of its own instructions only. The C part of it writes the signal's
    number into a pipe at once (`signal.set_wakeup_fd`), and a thread reads it there.

    Args:
        stop: called by that thread at the first signal, at once.
        loud: whether a line says what happens.

    Attributes:
        received: as which of `STOPS` the first signal counts that came, or None.
    """

    def __init__(self, stop: Callable[[], object], loud: bool = True):
        self.received: int | None = None
        self._stop, self._loud, self._before = stop, loud, {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is not threading.main_thread():
            return self  # Only there signals can be caught.
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._watching = threading.Thread(target=self._watch, args=(reading, caught()), daemon=True)
        self._watching.start()
        self._descriptor = signal.set_wakeup_fd(self._writing)
        for number in caught():
            self._before[number] = signal.signal(number, self._remember)
        return self

    def _watch(self, reading: int, numbers: list[int]) -> None:
        asked, first = False, 0.0
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if number[0] not in numbers:
                    continue
                insists, known = number[0] in INSISTING, first
                if insists and known and time.monotonic() - known > SAME_SECONDS:
                    os._exit(128 + number[0])
                if insists and not known:
                    first = time.monotonic()
                if not asked or (insists and not known):
                    more = b"; once more ends at once, without saving" if insists else b""
                    self._say(b"\nstopping after this step%s\n" % more)
                if not asked:
                    self._stop()
                asked = True

    def _say(self, line: bytes) -> None:
        if self._loud:
            with contextlib.suppress(OSError):  # Nobody reads it any more.
                os.write(2, line)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or MEANING[number]

    def __exit__(self, *_: object) -> None:
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor)
        os.close(self._writing)
        self._watching.join()
