"""The hand-over to cuDNN. What cuDNN itself computes is only seen on a GPU; its order of weights also without
one.
"""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.draws import Draw
from lm_keras.layers import LSTM, cudnn
from lm_keras.layers.dropout import ScheduledDropout
from lm_keras.models import lstm

T, B, D, H = 20, 3, 5, 7
RANDOM = np.random.default_rng(5)
GATES = ("input", "forget", "candidate", "output")


def normal(*shape):
    return tf.constant(RANDOM.normal(0, 0.5, shape), tf.float32)


X, STATE = normal(T, B, D), {"h": normal(B, H), "c": normal(B, H)}
WEIGHTS = [normal(D, 4 * H), normal(H, 4 * H), normal(4 * H)]


def cudnn_by_the_book(input, input_h, input_c, params, sequence_lengths, rnn_mode):
    """The equations of cudnnRNNMode_t's CUDNN_LSTM, with the weights where cuDNN's guide says that
    they are.
    """
    assert (rnn_mode, list(sequence_lengths)) == ("lstm", [input.shape[0]] * input.shape[1])
    taken = 0

    def take(*shape):
        nonlocal taken
        size = int(np.prod(shape))
        taken += size
        return tf.reshape(params[taken - size : taken], shape)

    w = {gate: take(H, D) for gate in GATES}
    r = {gate: take(H, H) for gate in GATES}
    b_w = {gate: take(H) for gate in GATES}
    b_r = {gate: take(H) for gate in GATES}
    assert taken == params.shape[0]
    h, c, outputs = input_h[0], input_c[0], []
    for x in tf.unstack(input):
        s = {g: x @ tf.transpose(w[g]) + h @ tf.transpose(r[g]) + b_w[g] + b_r[g] for g in GATES}
        c = tf.sigmoid(s["forget"]) * c + tf.sigmoid(s["input"]) * tf.tanh(s["candidate"])
        h = tf.sigmoid(s["output"]) * tf.tanh(c)
        outputs.append(h)
    return tf.stack(outputs), h[None], c[None], None, None


def layer_of(**settings):
    layer = LSTM(H, **settings)
    layer.build((None, None, D))
    layer.set_weights(WEIGHTS)
    return layer


def values_and_gradients(layer, draw=None):
    state = {name: tf.identity(value) for name, value in STATE.items()}
    with tf.GradientTape() as tape:
        tape.watch([X, state])
        y, after = layer(X, state, draw=draw)
        parts = (y, after["h"], after["c"])
        total = tf.add_n([tf.reduce_sum(tf.cast(part, tf.float32) ** 2) for part in parts])
    return [*parts, *tape.gradient(total, [X, *layer.trainable_variables, state["h"], state["c"]])]


def furthest(found, expected):
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(found, expected))


@pytest.fixture
def by_the_book(monkeypatch):
    monkeypatch.setattr(cudnn, "available", lambda: True)
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", cudnn_by_the_book)


@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_weights_lie_in_cudnns_order(by_the_book, weight_drop):
    draw = Draw(3, tf.constant(7, tf.int64), tf.constant(0.0), tf.constant(0, tf.int64))
    found = values_and_gradients(layer_of(weight_drop=weight_drop), draw)
    expected = values_and_gradients(layer_of(weight_drop=weight_drop, use_cudnn=False), draw)
    assert furthest(found, expected) < 1e-5


def test_another_order_is_noticed(by_the_book, monkeypatch):
    monkeypatch.setattr(cudnn, "packed", lambda w, r, b, packed=cudnn.packed: packed(tf.roll(w, H, 1), r, b))
    assert furthest(values_and_gradients(layer_of()), values_and_gradients(layer_of(use_cudnn=False))) > 0.1


def test_the_cell_state_stays_in_float32(by_the_book):
    y, after = layer_of(dtype="mixed_bfloat16")(X, STATE)
    assert (y.dtype, after["h"].dtype, after["c"].dtype) == (tf.bfloat16, tf.float32, tf.float32)


def test_a_single_step_does_not_pack_the_weights(by_the_book, monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "CudnnRNNV3", None)
    y, _ = layer_of()(X[:1], STATE)
    assert y.shape == (1, B, H)
    with pytest.raises(TypeError):
        layer_of()(X, STATE)


def test_the_run_says_who_computes(by_the_book):
    assert network("auto").remarks == ("recurrence by cuDNN",)
    assert network("on").remarks == ("no cuDNN, which XLA rules out",)
    assert not network("on").recurrent[0].by_cudnn


def test_without_a_gpu_nothing_is_said():
    if cudnn.available():
        pytest.skip("here is a GPU")
    assert network("auto").remarks == ()
    assert not network("auto").recurrent[0].by_cudnn


def network(jit):
    settings = {"hidden_units": H, "embedding_dim": D, "jit": jit, "precision": "float32"}
    return lstm.build(from_flat(settings), 11)


@pytest.mark.gpu
@pytest.mark.parametrize("weight_drop", [0.0, 0.5])
def test_cudnn_computes_what_the_layer_computes(weight_drop):
    tf.config.experimental.enable_tensor_float_32_execution(False)
    draw = Draw(3, tf.constant(7, tf.int64), tf.constant(0.0), tf.constant(0, tf.int64))
    layer = layer_of(weight_drop=weight_drop)
    assert layer.by_cudnn
    found = values_and_gradients(layer, draw)
    expected = values_and_gradients(layer_of(weight_drop=weight_drop, use_cudnn=False), draw)
    assert furthest(found, expected) < 1e-5


@pytest.mark.gpu
def test_dropout_masks_do_not_depend_on_how_rows_are_split():
    layer = ScheduledDropout(0.4, 0, batch_axis=0)
    step, rate = tf.constant(7, tf.int64), tf.constant(0.4)

    def masks(first, rows):
        draw = Draw(3, step, rate, tf.constant(first, tf.int64))
        return tf.function(lambda: layer(tf.ones([rows, 5, 33]), draw=draw))()

    with tf.device("CPU:0"):
        expected = masks(0, 12)
    assert np.array_equal(masks(0, 12), expected)  # On a GPU, if there is one.
    assert np.array_equal(tf.concat([masks(0, 4), masks(4, 8)], 0), expected)


@pytest.mark.gpu
def test_xla_compiles_the_layer_on_a_gpu():
    layer = layer_of(use_cudnn=False)
    compiled = tf.function(lambda: values_and_gradients(layer), jit_compile=True)()
    assert furthest(compiled, values_and_gradients(layer)) < 1e-2  # TF32
