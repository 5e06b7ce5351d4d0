"""A run folder in which one process at a time writes, and which has to stay in its place while it does."""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from lm_keras.disk.files import bytes_of, opened
from lm_keras.disk.folders import delete
from lm_keras.errors import InputError, not_written

_LONGEST = "x" * 160
"""No path of a file below a run folder is longer than this; those of TensorBoard have the name of the
machine.
"""


class LockedFolder:
    """The folder of a run and its lock.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._held: dict[Path, int] = {}  # What has to stay in its place, open as these descriptors.

    @property
    def exists(self) -> bool:
        """Tell whether a run was begun here."""
        return os.path.exists(self.path / "config.json")  # Which a name that is too long does not stop.

    @property
    def identity(self) -> str:
        """Return what tells this folder from all others: a random text that a run writes into the lock when
        it begins.
        """
        with contextlib.suppress(OSError, UnicodeDecodeError):
            return bytes_of(self.path / "lock").decode("ascii")
        return ""

    @contextlib.contextmanager
    def writing(self):
        """Make the folder and hold its lock; a folder in which no run was begun after all is removed.

        Raises:
            InputError: the folder cannot be written, is something else, or another process trains in it.
        """
        made = not self.path.exists()
        lock = self._locked()
        self._held[self.path / "lock"] = os.dup(lock.fileno())
        try:
            self._sweep()
            yield
        finally:
            if made and not self.exists and not self._lost():
                shutil.rmtree(self.path, ignore_errors=True)
            for descriptor in self._held.values():
                os.close(descriptor)
            self._held = {}
            lock.close()

    def hold_checkpoints(self) -> None:
        """Make the folder of the checkpoints; from now on it has to stay in its place, too."""
        path = self.path / "checkpoints"
        try:
            path.mkdir(exist_ok=True)
            self._held[path] = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise not_written(path, error) from None

    def check_in_place(self) -> None:
        """Raise InputError if the folder or its checkpoints are no longer those that this process began to
        write to.

        A folder that was deleted, moved, unmounted or replaced is neither made again nor written to.
        """
        if lost := self._lost():
            raise InputError(
                f"{lost} is no longer in its place: it was deleted, moved or replaced while the run was"
                " training, and nothing more is written; put it back, and the same command goes on from the"
                " last checkpoint"
            )

    def _lost(self) -> Path | None:
        for path, descriptor in self._held.items():
            try:
                same = os.path.samestat(os.stat(path), os.fstat(descriptor))
            except OSError:
                same = False
            if not same:
                return self.path if path.name == "lock" else path
        return None

    def check(self) -> None:
        """Raise InputError where `writing` would, but for its lock; what is made to find that out is removed
        again.
        """
        missing = []
        try:
            self._check_length()
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_content()
            lock = self.path / "lock"
            with open(lock, "a") if lock.exists() else tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise self._not_writable(error) from None
        finally:
            for path in missing:
                with contextlib.suppress(OSError):
                    path.rmdir()

    def _check_length(self) -> None:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(self.path / _LONGEST)  # Else a run would find out with its first checkpoint.

    def _check_content(self) -> None:
        # A run that was killed before it wrote config.json left a lock, and has nothing to lose.
        begun = self.exists or (self.path / "lock").exists()
        if not begun and any(self.path.iterdir()):
            raise InputError(f"--run_dir={self.path} is not empty and holds no run; choose another folder")

    def _not_writable(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write to --run_dir={self.path}: {error.strerror}; choose a folder that can be written"
        )

    def _locked(self):
        try:
            self._check_length()
            self.path.mkdir(parents=True, exist_ok=True)
            self._check_content()
            lock = opened(self.path / "lock", "a")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not lock.tell():
                lock.write(secrets.token_hex(16))
                lock.flush()
            return lock
        except BlockingIOError:
            raise InputError(
                f"another process is training in --run_dir={self.path}; wait for it, stop it, or choose"
                " another folder"
            ) from None
        except OSError as error:
            raise self._not_writable(error) from None

    def _sweep(self) -> None:
        """Delete what a killed process left half-written; nobody else writes while the lock is held."""
        for pattern in ("checkpoints/.unfinished-*", ".*.tmp", "tokenizer/.*.tmp", "events/*/.*.tmp"):
            for unfinished in self.path.glob(pattern):
                with contextlib.suppress(OSError):
                    delete(unfinished)
