"""A live line on a terminal, a plain line now and then in a file or pipe."""

import os
import sys
import time
from typing import TextIO

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.objectives.measures import told


class Progress(StepCallback):
    """Show step, loss, perplexity, learning rate, tokens per second and the time that is left, as far as
    there are any.

    Args:
        total_steps: length of the run.
        stream: where to; standard error by default.
        plain_seconds: seconds between lines where the stream is not a terminal.
    """

    def __init__(self, total_steps: int, stream: TextIO | None = None, plain_seconds: float = 10.0):
        super().__init__()
        self._total, self._stream, self._plain_seconds = total_steps, stream or sys.stderr, plain_seconds
        self._live = self._stream.isatty()
        self._shown_at = 0.0
        self._width = 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        now = time.monotonic()
        if now - self._shown_at >= (0.2 if self._live else self._plain_seconds):
            self._shown_at = now
            line = self._line(dict(logs or {}), self.step(logs))
            if self._live:
                line = line[: self._columns() - 1]  # A longer one would wrap, and each redraw would scroll.
                self._stream.write("\r" + line.ljust(self._width))
                self._width = len(line)
                self._stream.flush()
            else:
                self.say(line)

    def on_test_end(self, logs: Logs | None = None) -> None:
        logs = logs or {}
        self.say(f"valid at step {self.step(logs):,}: {'  '.join(told(logs, 'told'))}")

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.end_line()

    def end_line(self) -> None:
        """Let whatever comes next begin on a line of its own."""
        if self._live and self._width:
            self._stream.write("\n")
            self._width = 0

    def say(self, line: str) -> None:
        """Print a line of its own, above the live line if there is one."""
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._width = 0
        self._stream.write(line + "\n")
        self._stream.flush()

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def _line(self, logs: Logs, step: int) -> str:
        done = f"step {step:,}/{self._total:,}" if step <= self._total else f"step {step:,}"
        fields = [done, *told(logs, "live")]
        if logs.get("seconds_left") is not None:
            fields.append(f"{clock(logs['seconds_left'])} left")
        return "  ".join(fields)


def clock(seconds: float) -> str:
    """Return a time as hours, minutes and seconds.

    Example:
        >>> clock(3723.4)
        '1:02:03'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
