"""What a measurement was made on."""

import os
from pathlib import Path


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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"
