"""What the process around a run is set to, and that it stays so."""

import contextlib
import io
import os
import random
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as operations

import lm_keras
from lm_keras import surroundings
from lm_keras.errors import InputError
from lm_keras.training import runner

ROOT = Path(__file__).parents[1]
SMALL = {
    "model": "ngram",
    "steps": 4,
    "steps_per_call": 3,
    "optimizer": "nadam",
    "dropout": 0.1,
    "projector": False,
}


def settings():
    return (
        keras.config.floatx(),
        keras.config.epsilon(),
        keras.config.image_data_format(),
        keras.config.dtype_policy().name,
        tf.config.functions_run_eagerly(),
        operations.is_op_determinism_enabled(),
        random.getstate(),
        [str(part) for part in np.random.get_state()],
        os.environ.get("KERAS_BACKEND"),
    )


@contextlib.contextmanager
def settings_of_a_user():
    before, policy = settings(), keras.config.dtype_policy()
    keras.config.set_floatx("float16")
    keras.config.set_epsilon(0.01)
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("bfloat16")
    tf.config.run_functions_eagerly(True)
    operations.enable_op_determinism()
    random.seed(11)
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_epsilon(before[1])
        keras.config.set_image_data_format(before[2])
        keras.config.set_dtype_policy(policy)
        tf.config.run_functions_eagerly(before[4])
        operations.disable_op_determinism()


def numbers_of(path, lines_of):
    """The weights, the metrics and the sample of a run, but for times."""
    timed = ("seconds", "tokens_per_second", "data_wait")
    lines = [
        {name: value for name, value in line.items() if name not in timed}
        for line in lines_of(path / "metrics.jsonl")
    ]
    lm = lm_keras.load(path)
    return [v.numpy() for v in lm.model.trainable_variables], lines, lm.generate(["The"], max_new_tokens=9)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, tiny_config, train, lines_of):
    path = tmp_path_factory.mktemp("alone") / "run"
    before = settings()
    assert train(tiny_config(**SMALL), path).code == 0
    numbers = numbers_of(path, lines_of)
    assert settings() == before
    return numbers


def same(numbers, others):
    equal = all(np.array_equal(a, b) for a, b in zip(numbers[0], others[0], strict=True))
    return equal and numbers[1:] == others[1:]


def test_settings_outside_neither_change_a_run_nor_are_changed(alone, tmp_path, tiny_config, train, lines_of):
    with settings_of_a_user():
        before = settings()
        assert train(tiny_config(**SMALL), tmp_path / "run").code == 0
        numbers = numbers_of(tmp_path / "run", lines_of)
        assert settings() == before
    assert same(numbers, alone)


def test_they_would_change_it(alone, tmp_path, tiny_config, train, lines_of, monkeypatch):
    """The control: in float16 a learning rate is another one."""
    monkeypatch.setattr(runner, "usual_settings", lambda deterministic: contextlib.nullcontext())
    keras.config.set_floatx("float16")
    try:
        assert train(tiny_config(**SMALL), tmp_path / "run").code == 0
    finally:
        keras.config.set_floatx("float32")
    assert not same(numbers_of(tmp_path / "run", lines_of), alone)


def test_a_deterministic_run_ends_with_itself(tmp_path, tiny_config, train):
    assert train(tiny_config(**{**SMALL, "steps": 1}, deterministic=True), tmp_path / "run").code == 0
    assert not operations.is_op_determinism_enabled()


def test_between_the_pieces_of_a_stream_settings_are_those_of_the_user():
    seen = []

    def pieces():
        for piece in "ab":
            seen.append(keras.config.floatx())
            yield piece

    with settings_of_a_user():
        for piece in surroundings.each_with_usual_settings(pieces()):
            seen.append(piece + keras.config.floatx())
    assert seen == ["float32", "afloat16", "float32", "bfloat16"]


def test_another_backend_is_refused(monkeypatch):
    other = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "jax"))
    expected = (
        "lm_keras needs Keras with TensorFlow, and this process has KERAS_BACKEND=jax; set"
        " KERAS_BACKEND=tensorflow, or leave it out, before Keras is imported"
    )
    surroundings.require_backend()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "keras", other)
        with pytest.raises(InputError) as caught:
            surroundings.require_backend()
        assert str(caught.value) == expected
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    for module in ("models", "layers", "callbacks"):
        monkeypatch.delitem(sys.modules, "keras", raising=False)
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        with pytest.raises(InputError, match="needs Keras with TensorFlow"):
            exec((ROOT / "lm_keras" / module / "__init__.py").read_text(), {"__name__": f"lm_keras.{module}"})
        monkeypatch.undo()
    # What runs through lm_keras itself is no matter of it.
    code = (
        "import os, lm_keras; lm_keras.load; import keras; print(keras.config.backend(),"
        " os.environ['KERAS_BACKEND'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["tensorflow", "jax"]


def test_who_waits_at_a_terminal_is_told(capsys, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    surroundings.tell_who_waits("to a file")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys, "stderr", Terminal())
    surroundings.tell_who_waits("a line")
    assert sys.stderr.getvalue() == "a line\n"
    monkeypatch.setattr(sys, "stderr", None)
    surroundings.tell_who_waits("nobody")
