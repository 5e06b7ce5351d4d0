"""Programs of TensorFlow Lite: their numbers are those of the network with 8-bit weights. V 13."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.config import from_flat
from lm_keras.layers.casting import FloatMatrix, Int8Matrices
from lm_keras.models import FAMILIES
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.lite import LiteProgram

V, STEPS = 13, 9
COMMON = {"embedding_dim": 12, "hidden_units": 20, "num_layers": 2, "num_heads": 3, "sequence_length": 16}
SETTINGS = {
    "plain": {"model": "gpt", **COMMON, "tie_embeddings": False},
    "modern": {
        "model": "gpt", **COMMON, "positions": "rotary", "num_kv_heads": 1, "norm": "rms",
        "activation": "swiglu", "qk_norm": True,
    },
    "glm": {"model": "glm", **COMMON, "activation": "gelu_erf"},
}  # fmt: skip


@pytest.fixture(scope="module", params=others_slow(SETTINGS, ["modern", "glm"]))
def model(request):
    keras.utils.set_random_seed(3)
    settings = SETTINGS[request.param]
    model = FAMILIES[settings["model"]](from_flat({**settings, "dropout": 0.0}), V)
    random = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.7, variable.shape))
    return model


@pytest.fixture(scope="module")
def int8(model):
    return Int8Matrices(model)


@pytest.fixture(scope="module")
def programs(model, int8):
    return {size: LiteProgram(model, int8, *size) for size in [(1, 64), (3, 64), (1, 128)]}


TOKENS = np.random.default_rng(1).integers(2, V, [3, STEPS]).astype(np.int32)


def logits_of(program, model, rows, slots, tokens=TOKENS):
    """Logits [B, T, V] of tokens one after the other; the last row begins with the third."""
    program.put(model.initial_state(rows, length=slots))
    begins = np.array([0, 0, 2])[-rows:] if rows > 1 else np.array([0])
    return np.stack([program.step(tokens[:rows, t : t + 1], begins == t) for t in range(tokens.shape[1])], 1)


def test_numbers_are_those_of_the_network(model, int8, programs):
    found = logits_of(programs[3, 64], model, 3, 64)
    state, begins = model.initial_state(3, length=64), np.array([0, 0, 2])
    with int8.used(int8.made()):
        for t in range(STEPS):
            inputs = {"tokens": tf.constant(TOKENS[:, t : t + 1]), "reset": tf.constant(begins == t)}
            features, state = model.forward(inputs, state)
            expected = model.project(features[:, 0]).numpy()
            np.testing.assert_allclose(found[:, t], expected, atol=1e-4 * abs(expected).max())
    after = programs[3, 64].state()
    for ours, theirs in zip(tf.nest.flatten(after), tf.nest.flatten(state), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    # The control: without rounding they are others.
    plain = [
        FloatMatrix(tf.cast(m.values, tf.float32) * m.scales[:, None], None, None) for m in int8.matrices
    ]
    with int8.replaced(plain):
        inputs = {"tokens": tf.constant(TOKENS[:, :1]), "reset": tf.constant([True] * 3)}
        features, _ = model.forward(inputs, model.initial_state(3, length=64))
        expected = model.project(features[:, 0]).numpy()
    assert abs(found[:2, 0] - expected[:2]).max() > 1e-3 * abs(expected).max()


def test_a_row_has_the_same_numbers_alone_and_among_others_and_with_more_slots(model, programs):
    together = logits_of(programs[3, 64], model, 3, 64)
    for slots in (64, 128):
        alone = logits_of(programs[1, slots], model, 1, slots)
        np.testing.assert_array_equal(alone[0], together[0])
    other = logits_of(programs[1, 64], model, 1, 64, TOKENS[1:2])
    np.testing.assert_array_equal(other[0], together[1])
    assert abs(other[0] - together[0]).max() > 0.1  # The control.


def test_a_state_goes_on_where_it_was(model, programs):
    """Also after another text; what was returned last is not copied again."""
    program = programs[1, 64]
    whole = logits_of(program, model, 1, 64)
    logits_of(program, model, 1, 64, TOKENS[:, :4])
    kept = program.state()
    for between in (False, True):
        if between:
            logits_of(program, model, 1, 64, TOKENS[2:])
        program.put(kept)
        rest = [program.step(TOKENS[:1, t : t + 1], np.array([False])) for t in range(4, STEPS)]
        np.testing.assert_array_equal(np.stack(rest, 1), whole[:, 4:])


def test_texts_that_come_at_once_are_those_that_come_alone(model, tokenizer):
    sampler = Sampler(model, tokenizer, int8=Int8Matrices(model))
    settings = {"max_new_tokens": 20, "logit_bias": {0: -1000.0}}
    alone = ["".join(sampler.stream(prompt, **settings)) for prompt in ("ab", "c")]
    first, second = (sampler.stream(prompt, **settings) for prompt in ("ab", "c"))
    pieces = [[], []]
    for one, other in zip(first, second):
        pieces[0].append(one)
        pieces[1].append(other)
    assert [one[: len("".join(part))] for one, part in zip(alone, pieces)] == ["".join(p) for p in pieces]
    assert alone[0] != alone[1] and min(map(len, pieces)) > 1


def test_who_waits_for_a_program_is_told(model, tokenizer, monkeypatch):
    """Once for each number of rows and of slots."""
    told = []
    monkeypatch.setattr("lm_keras.sampling.network.tell_who_waits", told.append)
    sampler = Sampler(model, tokenizer, int8=Int8Matrices(model))
    for prompts in (["ab"], ["c"], ["ab", "c"], ["b"]):
        sampler.generate(prompts, max_new_tokens=3)
    assert told == ["making a program for 8-bit text of up to 16 tokens, in some seconds"] * 2
