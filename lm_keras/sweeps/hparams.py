"""A sweep for TensorBoard's HParams tab: which settings are columns, and the best validation of each trial.

The trials themselves wrote their settings and curves, each in its run folder. Here `hparams/` in the sweep
folder says which of these settings were varied, and `events/valid/best` in each run folder holds its best
validation as one point, since the tab shows the last point of a curve. The files are written without
TensorFlow, whole, and with the same bytes for the same content.
"""

import io
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, summary_v2
from tensorboard.plugins.scalar import metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from lm_keras.objectives.measures import MEASURES
from lm_keras.report.runs import is_number
from lm_keras.sweeps.folder import SweepFolder
from lm_keras.sweeps.rows import TrialRow

FILE = "events.out.tfevents.0.sweep"
CREATED = 0.0
"""When the columns were written, for TensorBoard: the same content gives the same bytes."""

TAGS = {
    measure.evaluated or name: name for name, measure in MEASURES.items() if measure.better and measure.curve
}
"""Field of a validation, and its tag."""


def write(folder: SweepFolder, rows: list[TrialRow]) -> None:
    """Write the columns of a sweep, and the best validation of each trial that is finished or failed."""
    names = dict.fromkeys(name for row in rows for name in row.trial.settings)
    base = folder.base.flat()
    columns = [
        summary_v2.HParam(name, _domain([row.trial.settings.get(name, base[name]) for row in rows]))
        for name in names
    ]
    metrics = [
        summary_v2.Metric(tag, group=group, display_name=shown, dataset_type=api_pb2.DATASET_VALIDATION)
        for group, tag, shown in _metrics(rows)
    ]
    experiment = summary_v2.hparams_config_pb(columns, metrics, time_created_secs=CREATED)
    folder.write(f"hparams/{FILE}", _events([(0, CREATED, experiment)]))
    for row in rows:
        if row.best and row.state != "unfinished":
            written = (row.run.path / "metrics.jsonl").stat().st_mtime
            content = _events([(row.best["step"], written, _scores(row.best))])
            folder.write(f"{row.trial.name}/events/valid/best/{FILE}", content)


def _metrics(rows: list[TrialRow]) -> list[tuple[str, str, str]]:
    """Return the columns: the folder beside the curve of validation, the tag, and the name of each.

    A trial is shown at its best step by the measure that trials are compared by. Bits per byte and the loss
    are best at the same step.
    """
    usual = {"bits_per_byte": "bits/byte", "loss": "loss"}
    others = {TAGS.get(row.measure, row.measure) for row in rows} - {*usual}
    shown = {**usual, **{tag: tag.replace("_", " ") for tag in sorted(others)}}
    best = {
        tag: f"{name} at the best step" if others - {tag} else f"best {name}" for tag, name in shown.items()
    }
    return [("best", tag, best[tag]) for tag in shown] + [("", tag, f"last {shown[tag]}") for tag in shown]


def _domain(values: list[Any]) -> summary_v2.Discrete | None:
    """Return the values of a column; TensorBoard wants them to be of one type."""
    given = {value for value in values if value is not None}
    return summary_v2.Discrete(sorted(given)) if len({type(value) for value in given}) == 1 else None


def _scores(line: dict[str, Any]) -> summary_pb2.Summary:
    summary = summary_pb2.Summary()
    for field, tag in TAGS.items():
        if is_number(line.get(field)) and abs(line[field]) <= np.finfo(np.float32).max:
            described = metadata.create_summary_metadata(display_name="", description="")
            tensor = tensor_util.make_tensor_proto(np.float32(line[field]))
            summary.value.add(tag=tag, metadata=described, tensor=tensor)
    return summary


def _events(summaries: list[tuple[int, float, summary_pb2.Summary]]) -> bytes:
    """Return an event file with summaries by step and time."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(event_pb2.Event(wall_time=summaries[0][1], file_version="brain.Event:2").SerializeToString())
    for step, when, summary in summaries:
        writer.write(event_pb2.Event(wall_time=when, step=step, summary=summary).SerializeToString())
    return file.getvalue()
