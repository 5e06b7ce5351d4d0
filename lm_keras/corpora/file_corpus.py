"""What all corpora of files share: finding the files, reading them in blocks, and counting what was wrong."""

import contextlib
import dataclasses
import gzip
import io
import os
import zlib
from collections.abc import Iterator

from lm_keras.corpora.decoding import Counts, check_policy
from lm_keras.corpora.documents import PIECE_BYTES, Corpus, changed
from lm_keras.corpora.file_lists import find_files
from lm_keras.corpora.remarks import Remarks
from lm_keras.errors import InputError, shown


class FileCorpus(Corpus):
    """Documents in files, which are read in the order of their paths.

    Args:
        scheme: the part before the colon, such as `text`.
        globs: paths or globs, separated by commas.
        on_bad_text: what to do with bytes that are not UTF-8 and with NUL: `error`, `replace` or `skip`.

    Raises:
        InputError: no such file, a folder, no permission, or an unknown policy.
    """

    def __init__(self, scheme: str, globs: str, on_bad_text: str):
        self.spec = f"{scheme}:{globs}"
        self.on_bad_text = check_policy(on_bad_text)
        self.files = find_files(globs, scheme)
        self._counts: dict[str, Counts] = {}
        self._states: dict[str, tuple[int, int, int]] = {}
        self._remarks = Remarks()

    def report(self) -> dict[str, int]:
        """Return the counts of replaced and skipped pieces over the files read so far, without zeros.

        Reading a file again does not count again. Keys: `replaced_sequences`, `skipped_lines`,
        `skipped_documents`, `empty_documents`.
        """
        total = {field.name: 0 for field in dataclasses.fields(Counts)}
        for counts in self._counts.values():
            for name in total:
                total[name] += getattr(counts, name)
        return {name: count for name, count in total.items() if count}

    def remarks(self) -> list[str]:
        """Return what looks wrong in the files read so far, a line each."""
        return self._remarks.lines()

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[io.BufferedReader]:
        """Open a file and remember its state; what reading can raise becomes one line."""
        with _told_of(path), open(path, "rb", opener=_without_waiting) as file:
            self._states.setdefault(path, _state(file))
            yield file

    def _tail(self, path: str) -> bytes:
        with self._opened(path) as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 16))
            return file.read()

    def _blocks(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file, unpacked if it ends in .gz, in blocks of 1 MiB."""
        with self._opened(path) as file:
            before = self._states[path]
            content = gzip.GzipFile(fileobj=file) if path.lower().endswith(".gz") else file
            while _state(file) == before and (block := content.read(PIECE_BYTES)):
                yield block
            if _state(file) != before:
                raise changed(path)


@contextlib.contextmanager
def _told_of(path: str) -> Iterator[None]:
    """Turn what reading a file can raise into one line."""
    try:
        yield
    except EOFError:
        raise InputError(
            f"{shown(path)} is a truncated gzip file: its end is missing; fetch or pack it again"
        ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"{shown(path)} is not a sound gzip file ({error}); fetch or pack it again"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot read {shown(path)}: {error.strerror or error}; expected a readable file"
        ) from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file that may have become a named pipe since it was found: nobody might ever write to that."""
    return os.open(path, flags | os.O_NONBLOCK)


def _state(file: io.BufferedReader) -> tuple[int, int, int]:
    """Return what changes when somebody writes to a file, or puts another one in its place."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def no_text(path: str, counts: Counts, first_skipped: str | None = None) -> InputError:
    """Return the error for a file of which no document is left.

    Args:
        path: the file.
        counts: what reading it left out.
        first_skipped: what was wrong with the first record that was left out, if one was.
    """
    if first_skipped:
        return InputError(
            f"{shown(path)}: nothing is left after skipping lines without a text: {first_skipped}"
        )
    if counts.skipped_lines or counts.skipped_documents:
        return InputError(
            f"{shown(path)}: nothing is left after skipping bad text: expected UTF-8 text; convert the file, "
            "or leave it out of the corpus"
        )
    return InputError(f"{shown(path)} is empty: expected text; leave it out of the corpus or fill it")
