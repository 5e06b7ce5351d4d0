"""Histograms and profiles: they see the right steps, and what they watch does not change."""

import numpy as np
import pytest
import tensorflow as tf
from silent import Silent

from lm_keras import callbacks, models
from lm_keras.callbacks.base import StepCallback
from lm_keras.training import run as training_run


class Disturb(StepCallback):
    """The control: a callback that changes a weight a little."""

    interval = 7

    def on_train_batch_end(self, batch, logs=None):
        if logs["step"] == 7:
            table = self.model.table.numpy()
            table[2, 3] += 1e-3
            self.model.table.assign(table)


def test_losses_and_weights_stay_equal_bit_by_bit(fit, leaky, store_of, tiny_config, tmp_path):
    config = tiny_config(dropout=0.2, steps=23, batch_size=16, sequence_length=3)

    def run(*listed):
        return fit(config, lambda: leaky(dropout=0.2), store=store_of(1500), callbacks=listed)

    drawn = []
    histograms = callbacks.Histograms(7, lambda step, weights: drawn.append((step, weights)))
    plain, watched = run(), run(callbacks.Profile(tmp_path, 9, 13), histograms)
    assert plain.losses.tobytes() == watched.losses.tobytes()
    assert [w.tobytes() for w in plain.weights] == [w.tobytes() for w in watched.weights]
    assert plain.losses.tobytes() != run(Disturb()).losses.tobytes()

    # A call ends before the first step of the profile, after its last one, and at each histogram.
    ends = np.cumsum(watched.calls).tolist()
    assert {8, 13, 7, 14, 21} <= set(ends)
    assert not {8, 13} & set(np.cumsum(plain.calls).tolist())
    assert [step for step, _ in drawn] == [7, 14, 21]
    assert list(drawn[0][1]) == ["leaky/table", "leaky/matrix"]
    assert (drawn[0][1]["leaky/table"] != drawn[1][1]["leaky/table"]).any()
    assert len(list(tmp_path.glob("plugins/profile/*/*.xplane.pb"))) == 1


@pytest.fixture
def recorded(monkeypatch):
    """What the profiler is told, with the step at which it is told."""
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    return calls


@pytest.mark.parametrize(
    ("first_step", "expected"),
    [
        (0, [(0, 5), (5, 8), "start", (8, 13), "stop", (13, 18), (18, 23)]),
        (11, ["start", (11, 13), "stop", (13, 18), (18, 23)]),  # a run that goes on within
        (13, [(13, 18), (18, 23)]),
    ],
)
def test_the_steps_that_are_recorded(
    fit, leaky, store_of, tiny_config, tmp_path, recorded, first_step, expected
):  # fmt: skip
    said = []

    class Steps(StepCallback):
        def on_train_batch_begin(self, batch, logs=None):
            self.begin = logs["step"]

        def on_train_batch_end(self, batch, logs=None):
            recorded.append((self.begin, logs["step"]))

    config = tiny_config(steps=23, batch_size=16, sequence_length=3)
    profile = callbacks.Profile(tmp_path, 9, 13, said.append)
    fit(config, leaky, store_of(1500), [Steps(), profile], first_step=first_step)
    assert recorded == expected
    missed = "no profile: steps 9 to 13 were not among those done now"
    assert said == ([] if "start" in expected else [missed])


def test_a_run_is_watched_if_asked_to(train, leaky, tiny_config, tmp_path, monkeypatch, lines_of):
    monkeypatch.setitem(
        models.FAMILIES, "lstm", lambda config, vocab_size, num_outputs=None: leaky(vocab_size)
    )
    monkeypatch.setattr(training_run, "answer_for", Silent)
    asked = {"histogram_every": 7, "profile_steps": "9:13", "projector": True}
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert train(tiny_config(sample_every=10**6, projector=False), plain).code == 0
    assert train(tiny_config(sample_every=10**6, **asked), watched).code == 0
    losses = [[line.get("loss") for line in lines_of(run / "metrics.jsonl")] for run in (plain, watched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 9

    def watching(run):
        files = [
            path.relative_to(run / "events" / "train") for path in (run / "events" / "train").rglob("*.*")
        ]
        return {
            file.name if len(file.parts) == 1 else file.parts[1]
            for file in files
            if "tfevents" not in file.name
        }

    assert watching(plain) == set()
    assert watching(watched) == {"profile", "projector_config.pbtxt", "embedding.bytes", "tokens.tsv"}
    (events,) = (watched / "events" / "train").glob("*tfevents*")
    found = {}
    for record in tf.data.TFRecordDataset(str(events)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "histograms":
                found.setdefault(value.tag, []).append(event.step)
    assert found == {"weights/leaky/table": [7, 14, 21], "weights/leaky/matrix": [7, 14, 21]}
