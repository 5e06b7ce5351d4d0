"""Which callbacks a run has, in which worker, and which setting asks for them."""

import types

import keras
import numpy as np
import pytest

from lm_keras import callbacks
from lm_keras.config import FIELDS, from_flat
from lm_keras.training import watchers


@pytest.fixture
def made(tmp_path):
    """A function that returns the names of the callbacks of a run with some settings."""

    def names(chief=True, **settings):
        run = types.SimpleNamespace(
            config=from_flat(settings),
            folder=types.SimpleNamespace(path=tmp_path),
            data=types.SimpleNamespace(
                tokenizer=None, splits={"train": types.SimpleNamespace(tokens=np.arange(5))}
            ),
            task=types.SimpleNamespace(name="causal_lm", extra_tokens=0, labels=None),
            judged_by=("nats_per_token", "low"),
            progress=callbacks.Progress(24),
            tensorboard=types.SimpleNamespace(histograms=None),
            eval_every=8,
            checkpoint_every=12,
            show_samples=None,
            generated=None,
        )
        return [type(callback).__name__ for callback in watchers.made(run, chief)]

    return names


USUAL = ["InPlace", "MetricsFile", "SimpleNamespace", "TextSamples", "Progress", "Projector"]


def test_the_callbacks_that_every_run_has_stand_in_their_order(made):
    assert made() == USUAL
    assert made(chief=False) == []


@pytest.mark.parametrize(
    ("settings", "name", "before"),
    [
        ({"histogram_every": 5}, "Histograms", "Projector"),
        ({"profile_steps": "3:7"}, "Profile", "MetricsFile"),
        ({"early_stopping_evals": 2}, "EarlyStopping", "InPlace"),
        ({"learning_rate_schedule": "plateau:patience=3"}, "PlateauDecay", "InPlace"),
    ],
)
def test_a_setting_asks_for_a_callback(made, settings, name, before):
    listed = made(**settings)
    assert [one for one in listed if one != name] == USUAL
    assert listed[listed.index(name) + 1] == before
    decides = name in ("EarlyStopping", "PlateauDecay")
    assert made(chief=False, **settings) == ([name] if decides else [])


def test_a_callback_that_nobody_wants_is_left_out(made):
    assert made(projector=False) == USUAL[:-1]


def test_a_row_adds_a_callback(made, monkeypatch):
    class Mine(keras.callbacks.Callback):
        pass

    row = watchers.Watcher(lambda run: Mine(), "histogram_every")
    monkeypatch.setattr(watchers, "WATCHERS", (*watchers.WATCHERS, row))
    assert "Mine" not in made()
    assert made(histogram_every=9)[-1] == "Mine"


def test_what_asks_for_a_callback_is_a_setting_that_may_change():
    asked = {watcher.asked_by for watcher in watchers.WATCHERS} - {""}
    assert all(FIELDS[name].metadata["on_resume"] != "never" for name in asked)
