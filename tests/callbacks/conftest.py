"""Reading what TensorBoard would read."""

import re

import pytest
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


def events_of(folder):
    """Return the events of a run in the order in which they stand in its files."""
    by_number = lambda file: [int(number) for number in re.findall(r"\d+", file.name)]  # noqa: E731
    for file in sorted(folder.glob("events.out.tfevents.*"), key=by_number):  # the tenth after the ninth
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


@pytest.fixture(scope="session")
def hparams_of():
    """A function that returns the settings of every record for the HParams tab in a folder."""

    def read(folder):
        contents = [
            value.metadata.plugin_data.content
            for event in events_of(folder)
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "hparams"
        ]
        records = [HParamsPluginData.FromString(content).session_start_info.hparams for content in contents]
        return [{name: MessageToDict(value) for name, value in record.items()} for record in records]

    return read
