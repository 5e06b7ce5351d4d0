"""Weights as 8-bit integers: products, their scales, and where they are refused. R 5 rows, k 33, n 7."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.layers.casting import Int8Matrices, Int8Matrix, cast, rounded_to_int8, times
from lm_keras.models import FAMILIES
from lm_keras.sampling.int8 import int8_of

R, K, N = 5, 33, 7
RANDOM = np.random.default_rng(6)
ROWS = RANDOM.normal(0, 3, [R, K]).astype(np.float32)
MATRIX = (RANDOM.normal(0, 1, [N, K]) * 10.0 ** np.arange(-3, 4)[:, None]).astype(np.float32)
GPT = {
    "model": "gpt",
    "num_layers": 2,
    "num_heads": 2,
    "embedding_dim": 12,
    "hidden_units": 20,
    "sequence_length": 16,
}


def int8(matrix=MATRIX, integers=False):
    return Int8Matrix(*rounded_to_int8(tf.constant(matrix)), integers)


def by_hand(rows, matrix):
    """The product in float64: every number of a channel rounded to the nearest of 255 steps of its largest,
    every number of a row to the nearest of 256 from its smallest to its largest, one of which is 0.
    """
    steps = np.abs(matrix).max(-1, keepdims=True).astype(np.float64) / 127
    matrix = np.round(matrix / np.where(steps, steps, 1)) * steps
    rows = rows.astype(np.float64)
    low, high = rows.min(-1, keepdims=True).clip(max=0), rows.max(-1, keepdims=True).clip(min=0)
    steps = (high - low) / 255
    zero = np.where(abs(low) >= abs(high), np.round(127 - high / steps), np.round(-128 - low / steps))
    return ((np.round(rows / steps) + zero).clip(-128, 127) - zero) * steps @ matrix.T


@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
def test_products_are_those_of_rounded_numbers(integers, compiled):
    if integers and not compiled:
        pytest.skip("TensorFlow has products of integers in XLA's programs only")
    matrix = int8(integers=integers)
    product = tf.function(lambda rows: times(rows, matrix), jit_compile=compiled)(ROWS).numpy()
    np.testing.assert_allclose(product, by_hand(ROWS, MATRIX), rtol=1e-5, atol=1e-6)
    # A scale for each channel: one for all would lose the small ones, here a millionth of the large ones.
    exact = ROWS @ MATRIX.T
    assert (abs(product - exact).max(0) / abs(exact).max(0)).max() < 0.02


def test_a_row_has_the_same_numbers_alone_and_among_others_and_in_either_form():
    def compiled(integers):
        matrix = int8(integers=integers)
        return tf.function(lambda rows: times(rows, matrix), jit_compile=True)

    alone, together = compiled(False), compiled(True)
    whole = together(ROWS).numpy()
    for number, row in enumerate(ROWS):
        np.testing.assert_array_equal(alone(row[None])[0], whole[number])
    # The control: one step for all rows, as many quantized products have.
    steps = (ROWS.max() - ROWS.min()) / 255
    shared = (np.round(ROWS / steps) * steps) @ MATRIX.T
    assert abs(shared - whole).max() > 5e-3 * abs(whole).max()


def test_zeros_and_numbers_that_are_none():
    matrix = np.where(np.arange(N)[:, None] == 2, 0, MATRIX)
    found = times(tf.constant(np.r_[ROWS, np.zeros([1, K], np.float32)]), int8(matrix)).numpy()
    assert np.isfinite(found).all() and not found[-1].any() and not found[:, 2].any()
    assert np.isnan(times(tf.constant(np.full([1, K], np.nan, np.float32)), int8())).all()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_matrices_of_products_are_rounded_once_and_the_embedding_is_looked_up_as_it_is(tied, precision):
    model = FAMILIES["gpt"](from_flat({**GPT, "tie_embeddings": tied, "precision": precision}), 13)
    matrices = Int8Matrices(model)
    made = matrices.made()
    assert len(made) == 3 * (4 * 2 + 1) and matrices.made()[0] is made[0]
    kernel, output = model.blocks[1].by_name["feed_forward_kernel"], model.head.matrix
    before = kernel.numpy()
    kernel.assign(before * 0)  # They stay as they were.
    with matrices.used(made):
        inside, last = cast(kernel, model.compute_dtype), cast(output, model.compute_dtype)
        assert (inside.values.shape, last.values.shape) == ([20, 12], [13, 12])
        close = tf.transpose(tf.cast(inside.values, tf.float32) * inside.scales[:, None]).numpy()
        assert 0 < abs(close - before).max() <= abs(before).max() / 127
        assert cast(kernel, "float64").dtype == "float64"
    assert cast(kernel, model.compute_dtype).dtype == model.compute_dtype
    assert matrices.nbytes == sum(part.numpy().nbytes for part in made)


def test_a_network_forgets_little_and_learns_no_other_numbers(monkeypatch):
    model = FAMILIES["gpt"](from_flat({**GPT, "rematerialize": True}), 13)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + RANDOM.normal(0, 0.3, variable.shape))
    tokens, matrices = tf.constant(RANDOM.integers(0, 13, [3, 11])), Int8Matrices(model)
    plain = model(tokens).numpy()
    with matrices.used(matrices.made()):
        rounded = model(tokens).numpy()
    np.testing.assert_array_equal(model(tokens), plain)
    assert 0 < abs(rounded - plain).max() < 0.1 * plain.std()
    # The control: 3 bits a weight.
    monkeypatch.setattr("lm_keras.layers.casting.LARGEST_INT8", 3)
    coarse = Int8Matrices(model)
    with coarse.used(coarse.made()):
        assert abs(model(tokens).numpy() - plain).max() > 0.2 * plain.std()


@pytest.mark.parametrize(
    ("family", "weights", "message"),
    [
        (
            "gpt",
            "int4",
            "weights='int4' is unknown (did you mean 'int8'?); choose one of float32, int8",
        ),
        (
            "lstm",
            "int8",
            "--weights=int8 (weights='int8') is for --model=gpt or glm; leave it out",
        ),
        (
            "bert",
            "int8",
            "--weights=int8 (weights='int8') is for --model=gpt or glm; leave it out",
        ),
    ],
)
def test_what_would_do_nothing_is_refused(family, weights, message):
    settings = {**GPT, "model": family} if family != "lstm" else {"model": family, "hidden_units": 4}
    model = FAMILIES[family](from_flat(settings), 13)
    assert int8_of(model, "float32") is None
    with pytest.raises(InputError) as caught:
        int8_of(model, weights)
    assert str(caught.value).startswith(message)


def test_a_gpu_is_told(monkeypatch):
    model = FAMILIES["gpt"](from_flat(GPT), 13)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
    with pytest.raises(InputError, match="is for text from a CPU, and here is a GPU"):
        int8_of(model, "int8")


@pytest.mark.parametrize("name", ["tensorflow.lite.python.gone", "tensorflow.gone.python.schema"])
def test_a_tensorflow_without_lite_is_told(name, monkeypatch):
    model = FAMILIES["gpt"](from_flat(GPT), 13)
    monkeypatch.setattr("lm_keras.sampling.int8.LITE", name)
    with pytest.raises(InputError, match=r"needs TensorFlow Lite, which TensorFlow .* no longer has"):
        int8_of(model, "int8")


def test_weights_that_are_not_finite_are_refused():
    model = FAMILIES["gpt"](from_flat(GPT), 13)
    assert int8_of(model, "int8") is not None
    model.norm_gain.assign(model.norm_gain * np.nan)
    with pytest.raises(InputError, match="some of this model's are not finite; its training has diverged"):
        int8_of(model, "int8")
