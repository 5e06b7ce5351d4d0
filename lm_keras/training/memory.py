"""Memory and disk space of this machine: what is free, and what is in use."""

import ctypes
import shutil
from pathlib import Path

import tensorflow as tf

from lm_keras.training.distribution import Devices

LIBC = ctypes.CDLL(None)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

GROUP = Path("/sys/fs/cgroup")
"""Where Linux says how much memory the group of this process may take."""


def free_memory() -> int | None:
    """Return how much main memory this process may still take, in bytes; None where the system
    does not say.
    """
    free = _memory_of_machine("MemAvailable")
    if limit := _limit_of_group():
        free.append(limit - int((GROUP / "memory.current").read_text(encoding="utf-8")))
    return max(0, min(free)) if free else None


def total_memory() -> int | None:
    """Return how much memory a process may take when nothing else runs, swap included, in bytes; None as
    above.
    """
    parts = _memory_of_machine("MemTotal", "SwapTotal")
    limit = _limit_of_group()
    total = [sum(parts)] * bool(parts) + [limit] * bool(limit)
    return min(total) if total else None


def _memory_of_machine(*names: str) -> list[int]:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        return []  # No Linux.
    return [int(line.split()[1]) * 1024 for line in lines if line.partition(":")[0] in names]


def _limit_of_group() -> int | None:
    try:
        limit = (GROUP / "memory.max").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return None if limit == "max" else int(limit)


def free_disk(run_dir: Path) -> int:
    """Return how many bytes may still be written where the checkpoints of a run are or will be."""
    folder = run_dir.absolute() / "checkpoints"
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.is_dir())).free


def keep_freed_memory() -> None:
    """Let the C library keep what tensors gave back, for the tensors of the next operations.

    Under Python 3.11 (others were not tried) TensorFlow 2.21 tells it, whenever it makes an iterator of a
    distributed data set, to ask the kernel for every piece of 128 KiB and to return it at once. Each
    operation then pays for new pages: a third of the time of some steps.
    """
    if hasattr(LIBC, "mallopt"):
        LIBC.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        LIBC.mallopt(M_TRIM_THRESHOLD, 1 << 30)


class MemoryMeter:
    """The most memory that was held since this object was made.

    On a GPU it is what TensorFlow's allocator gave out, weights included, on the first device. On a CPU it is
    the resident memory of this process, TensorFlow's own code and graphs included: there the allocator does
    not count tensors below 256 KiB, and keeps what it once had.
    """

    def __init__(self, devices: Devices):
        self._gpu = devices.on_gpu
        if self._gpu:
            tf.config.experimental.reset_memory_stats("GPU:0")
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Forgets the peak so far.
            except OSError:
                self._before = None
                return
        self._before = self._read("current", "VmRSS")

    def peak(self) -> int | None:
        """Return the most that was held, in bytes, beyond what was held at first; None where
        nobody counts.
        """
        return None if self._before is None else self._read("peak", "VmHWM") - self._before

    @property
    def before(self) -> int | None:
        """Return what was held at first, in bytes."""
        return self._before

    def _read(self, of_gpu: str, of_process: str) -> int:
        if self._gpu:
            return tf.config.experimental.get_memory_info("GPU:0")[of_gpu]
        lines = Path("/proc/self/status").read_text(encoding="utf-8").split("\n")
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(of_process))
