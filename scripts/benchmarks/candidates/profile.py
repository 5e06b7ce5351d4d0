"""What a training step spends its time on, operation by operation."""

import collections
import heapq
import tempfile
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

PRODUCTS, COMPILED, IDLE = "products", "compiled by XLA", "between operations"

EVERYTHING = 3
"""The level of tracing that has small operations, too."""


class Recording:
    """Records every operation that is carried out within a `with` statement.

    Attributes:
        seconds: afterwards, seconds of the clock by kind of operation. Of a moment at which several run, on
            as many threads, each gets its part, so that all add up to the time from the first operation to
            the last.
    """

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        options = tf.profiler.experimental.ProfilerOptions(
            host_tracer_level=EVERYTHING, python_tracer_level=0
        )
        tf.profiler.experimental.start(self._folder.name, options)
        return self

    def __exit__(self, *_):
        tf.profiler.experimental.stop()
        with self._folder as folder:
            space = xplane_pb2.XSpace()
            space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
        self.seconds = divided(_operations(space))


def _operations(space) -> Iterable[tuple[float, float, str]]:
    """Return start and end, in seconds, and kind of all operations of the threads that carry out graphs."""
    for plane in space.planes:
        kinds = {key: _kind(metadata.name) for key, metadata in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                if line.name.startswith("tf_Compute") and (kind := kinds[event.metadata_id]):
                    start = line.timestamp_ns / 1e9 + event.offset_ps / 1e12
                    yield start, start + event.duration_ps / 1e12, kind


def _kind(event: str) -> str | None:
    """Return the kind of an operation, whose event is called `name:kind`; None for what is none."""
    if event.startswith("CpuExecutable::"):
        return COMPILED
    _, *kinds = event.split(":")
    if len(kinds) != 1:
        return None
    return PRODUCTS if "MatMul" in kinds[0] else kinds[0].removeprefix("_Mkl")


def divided(operations: Iterable[tuple[float, float, str]]) -> dict[str, float]:
    """Divide the clock among operations.

    Args:
        operations: start, end and kind of each; they may overlap.

    Returns:
        Seconds by kind: of a moment with k operations each has the k-th part, one without any belongs to
        `IDLE`.
    """
    found: collections.Counter[str] = collections.Counter()
    running: list[tuple[float, str]] = []
    now = None

    def until(moment):
        nonlocal now
        while running and running[0][0] <= moment:
            share(running[0][0])
            heapq.heappop(running)
        share(moment)

    def share(moment):
        nonlocal now
        for _, kind in running:
            found[kind] += (moment - now) / len(running)
        if not running:
            found[IDLE] += moment - now
        now = moment

    for start, end, kind in sorted(operations):
        now = start if now is None else now
        until(start)
        heapq.heappush(running, (end, kind))
    while running:
        until(running[0][0])
    return dict(found)
