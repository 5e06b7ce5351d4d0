"""On what a run was carried out: versions, machine, state of the code."""

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path

from lm_keras.surroundings import usable_cores

PACKAGES = ("lm_keras", "tensorflow", "keras", "numpy", "sentencepiece", "tensorboard")


def of_this_process(devices: str, step: int) -> dict:
    """Describe this process, as JSON values.

    Args:
        devices: the devices of the run, in words.
        step: the step at which the run begins or goes on here.
    """
    return {
        "step": step,
        "began": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "commit": commit(Path(__file__).parents[2]),
        "system": platform.platform(),
        "machine": machine(),
        "devices": devices,
    }


def machine() -> str:
    """Return the processor and how many of its cores this process may use."""
    name = "processor not known"
    path = Path("/proc/cpuinfo")
    if path.exists():
        names = [
            line.split(":", 1)[1].strip()
            for line in path.read_text(encoding="utf-8").split("\n")
            if line.startswith("model name")
        ]
        name = names[0] if names else name
    return f"{name}, {usable_cores()} cores"


def commit(folder: Path) -> str | None:
    """Return the commit of a checkout, with `-dirty` if files differ from it, or None if it is not a
    checkout.

    A package that was installed into some other project's folder is not a checkout: only a folder with a
    `.git` of its own is.
    """
    if not (folder / ".git").exists():
        return None
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() or None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
