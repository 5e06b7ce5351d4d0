"""A disk that can be filled."""

import contextlib
import subprocess
from pathlib import Path


class SmallDisk:
    """A file system in memory, mounted at a folder, which is made if need be.

    Raises:
        OSError, subprocess.CalledProcessError: nothing can be mounted here.
    """

    def __init__(self, path: Path, kibibytes: int = 1024):
        self.path = path
        path.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(path)]
        subprocess.run(command, check=True, capture_output=True)

    def fill(self) -> None:
        """Write until the disk is full."""
        fill(self.path)

    def free(self) -> None:
        """Take back what `fill` wrote."""
        (self.path / "ballast").unlink()

    def unmount(self) -> None:
        """Take the disk away, whoever still has a file of it open."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


def fill(folder: Path) -> None:
    """Write a file `ballast` until the disk is full."""
    with open(folder / "ballast", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
