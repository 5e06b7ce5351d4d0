"""How long a run of ours and nanoGPT's recipe take on the same text, and how far they get."""

import importlib.util
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.running import Running
from benchmarks.spread import between
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.training.environment import machine


def race(config: Config, repeats: int, root: Path) -> Iterator[dict]:
    """Train both from scratch, in turn, each in a process of its own.

    Args:
        config: the settings of our run, its text among them, which must have a validation split.
        repeats: how often.
        root: the folder of the project, for `scripts/train.py`.

    Yields:
        For ours and for `torch_gpt.TorchGPTCandidate`: the seconds of training, compiling included and
        validation not; the nats a token on the whole validation split, ours with the state carried on, the
        other's in windows of its context; for the other the ratio of its time to ours, pair by pair.

    Raises:
        InputError: PyTorch or the text is missing, or a process fails.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("race needs PyTorch, which is not installed: pip install torch")
    seconds: dict[str, list[float]] = {"lm_keras": [], "torch_gpt": []}
    nats: dict[str, list[float]] = {"lm_keras": [], "torch_gpt": []}
    for _ in range(repeats):
        for name, run in (("lm_keras", lambda: _ours(config, root)), ("torch_gpt", lambda: _theirs(config))):
            taken, reached = run()
            seconds[name].append(taken)
            nats[name].append(reached)
    ratios = [theirs / ours for theirs, ours in zip(seconds["torch_gpt"], seconds["lm_keras"])]
    for name in seconds:
        result = {
            "candidate": name,
            "training_seconds": round(statistics.median(seconds[name]), 1),
            "middle_half": between(seconds[name]),
            "nats_per_token": round(statistics.median(nats[name]), 4),
            "worst_nats_per_token": round(max(nats[name]), 4),
        }
        if name != "lm_keras":
            result |= {
                "times_faster": round(statistics.median(ratios), 2),
                "times_faster_middle_half": between(ratios),
            }
        yield {**result, "repeats": repeats, "machine": machine()}


def _ours(config: Config, root: Path) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        results = trained(config, root, folder).results
    if "valid" not in results["splits"]:
        raise InputError(f"--split={config.data.split}: a race needs a validation text; take 90/10/0")
    return results["seconds"], results["splits"]["valid"]["nats_per_token"]


def trained(config: Config, root: Path, folder: str) -> RunFolder:
    """Train a run of ours in a process of its own.

    Args:
        config: its settings.
        root: the folder of the project, for `scripts/train.py`.
        folder: where the run's folder is made.

    Raises:
        InputError: it fails.
    """
    path = Path(folder) / "flags.txt"
    path.write_text(flagfile_of(config.flat()), encoding="utf-8")
    line = [
        sys.executable,
        str(root / "scripts" / "train.py"),
        f"--flagfile={path}",
        f"--run_dir={folder}/run",
    ]
    ended = subprocess.run(line, capture_output=True, text=True)
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or [f"our run ended with code {ended.returncode}"]
        raise InputError(said[-1].removeprefix("error: "))
    return RunFolder(f"{folder}/run")


def _theirs(config: Config) -> tuple[float, float]:
    running = Running("torch_gpt", config)
    try:
        return running.call("run"), running.call("evaluate")
    finally:
        running.stop()
