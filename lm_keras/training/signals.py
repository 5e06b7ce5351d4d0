"""Ctrl-C and SIGTERM while compiled steps run: Python's own handlers would wait until all steps of a call are done."""

import os
import signal
import threading
import time
from collections.abc import Callable

SAME_SECONDS = 0.5
"""Signals that come so soon after the first one are the same wish: Linux tells a process of its parent's end once for each of
the parent's threads, and schedulers signal a process and its group."""


class Signals:
    """Asks the loop to stop at SIGINT or SIGTERM; a second one ends the process at once.

    Python calls a handler between two of its own instructions only. The C part of it writes the signal's number into a
    pipe at once (`signal.set_wakeup_fd`), and a thread reads it there.

    Args:
        stop: called by that thread at the first signal, at once.
        loud: whether a line says what happens.

    Attributes:
        received: the first signal that came, or None.
    """

    NUMBERS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, stop: Callable[[], object], loud: bool = True):
        self.received: int | None = None
        self._stop, self._loud, self._before = stop, loud, {}

    def __enter__(self):
        if threading.current_thread() is not threading.main_thread():
            return self  # Only there signals can be caught.
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._watching = threading.Thread(target=self._watch, args=(reading,), daemon=True)
        self._watching.start()
        self._descriptor = signal.set_wakeup_fd(self._writing)
        for number in self.NUMBERS:
            self._before[number] = signal.signal(number, self._remember)
        return self

    def _watch(self, reading: int) -> None:
        first = 0.0
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            while number := pipe.read(1):
                if number[0] not in self.NUMBERS:
                    continue
                if first:
                    if time.monotonic() - first > SAME_SECONDS:
                        os._exit(128 + number[0])
                    continue
                first = time.monotonic()
                if self._loud:
                    os.write(2, b"\nstopping after this step; once more ends at once, without saving\n")
                self._stop()

    def _remember(self, number, frame):
        self.received = self.received or number

    def __exit__(self, *_):
        if not self._before:
            return
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._descriptor)
        os.close(self._writing)
        self._watching.join()
