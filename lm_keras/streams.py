"""Standard input, output and error of a script: its work must not end because nobody reads them, and no
result may get lost unnoticed.
"""

import errno
import io
import os
import select
import sys
from typing import TextIO

OUTPUT = "standard output"
"""The file name of errors of standard output."""


class _Stream(io.FileIO):
    """A descriptor that stays open; where it is set to return at once, writing waits nevertheless."""

    def __init__(self, descriptor: int):
        super().__init__(descriptor, "w", closefd=False)

    def write(self, data: bytes | memoryview) -> int:
        while (written := super().write(data)) is None:
            select.select([], [self], [])
        return written


class _Results(_Stream):
    """Standard output: an error names it, and what is written afterwards, while the script ends,
    is dropped.
    """

    _gone = False

    def write(self, data: bytes | memoryview) -> int:
        if self._gone:
            return len(data)
        try:
            return super().write(data)
        except OSError as error:
            self._gone = True
            raise OSError(error.errno, error.strerror, OUTPUT) from None


class _Messages(_Stream):
    """Standard error: what cannot be written, to a reader that is gone or a full disk, is dropped."""

    def write(self, data: bytes | memoryview) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def secure() -> None:
    """Make standard output and standard error of this process those of a script.

    Both show what their encoding lacks as a question mark. A stream that is closed fails whoever reads from
    it, or writes results to it. Streams that are not files, as those of tests, stay as they are.
    """
    for descriptor, closed in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # Else the next file that is opened would get this number, and messages would be written into it.
            os.set_inheritable(os.open(os.devnull, closed), True)
    sys.stdin = sys.stdin or io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = _replaced(sys.stdout, 1, _Results)
    sys.stderr = _replaced(sys.stderr, 2, _Messages)


def _replaced(stream: TextIO | None, descriptor: int, kind: type[_Stream]) -> TextIO:
    if stream is None:
        return io.TextIOWrapper(io.BufferedWriter(kind(descriptor)), "utf-8", "replace", line_buffering=True)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        raw = kind(stream.fileno())
        raw.replaced = stream  # When nothing refers to it any more it closes the descriptor.
        stream.flush()
    except (OSError, ValueError):  # It has no descriptor.
        stream.reconfigure(errors="replace")
        return stream
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        stream.encoding,
        "replace",
        line_buffering=stream.line_buffering or stream.write_through or descriptor == 2,
    )


def is_of_output(error: OSError) -> bool:
    """Tell whether an error is one of standard output."""
    return error.filename == OUTPUT


def reader_left(error: OSError) -> bool:
    """Tell whether the reader of standard output has ended, as `head` does after some lines."""
    return is_of_output(error) and error.errno == errno.EPIPE
