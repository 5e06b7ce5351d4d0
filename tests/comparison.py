"""All that a run came to, for tests that compare two of them bit by bit."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from lm_keras.checkpoints.run_folder import RunFolder

MEASURED = {"seconds", "seconds_left", "saving_seconds", "tokens_per_second", "data_wait"}
"""What two runs may differ in: how fast they were."""


def events_of(path: Path) -> list:
    """Return (step, tag, value) of all scalars of a run, in the order in which they stand in the files."""
    found = []
    for file in sorted(path.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" and value.tag not in MEASURED:
                    found.append((event.step, value.tag, tf.make_ndarray(value.tensor).item()))
    return found


def tensors_of(path: Path) -> dict:
    """Return all tensors of the newest checkpoint of a run, as arrays by name."""
    step = RunFolder(path).checkpoints().newest()
    reader = tf.train.load_checkpoint(str(path / "checkpoints" / f"step-{step:08d}" / "state"))
    names = [name for name in reader.get_variable_to_shape_map() if name[:1] != "_"]
    return {name: np.asarray(reader.get_tensor(name)) for name in sorted(names)}


def everything_of(path: Path) -> dict:
    """Return all that a run came to, but for its speed."""
    folder = RunFolder(path)
    step = folder.checkpoints().newest()
    progress = folder.checkpoints().progress(step)
    progress["meter"] = {k: v for k, v in progress["meter"].items() if k not in MEASURED and k[:5] != "timed"}
    del progress["callbacks"]["Checkpoint"]["seconds"]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {
        "tensors": {name: tensor.tobytes() for name, tensor in tensors_of(path).items()},
        "progress": {k: v for k, v in progress.items() if k not in MEASURED and k[:6] != "sha256"},
        "checkpoints": folder.checkpoints().steps(),
        "metrics": [{k: v for k, v in line.items() if k not in MEASURED} for line in lines],
        "samples": (path / "samples.jsonl").read_text() if (path / "samples.jsonl").exists() else "",
        "train": events_of(path / "events" / "train"),
        "valid": events_of(path / "events" / "valid"),
        "results": {k: v for k, v in folder.results.items() if k not in MEASURED},
    }


def differing(one: dict, other: dict) -> set[str]:
    """Return in which respects two runs differ."""
    return {name for name in one if one[name] != other[name]}
