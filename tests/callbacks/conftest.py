"""Reading what TensorBoard would read."""

import pytest
import tensorflow as tf


def events_of(folder):
    """Return the events of a run in the order in which they stand in its files."""
    for file in sorted(folder.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            yield tf.compat.v1.Event.FromString(record)


def values_of(folder, plugin):
    found = {}
    for event in events_of(folder):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == plugin:
                found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor).item()))
    return found


@pytest.fixture(scope="session")
def scalars_of():
    """A function that returns tag -> [(step, value), ...] of a folder with event files."""
    return lambda folder: values_of(folder, "scalars")


@pytest.fixture(scope="session")
def texts_of():
    """The same for texts, as bytes."""
    return lambda folder: values_of(folder, "text")
