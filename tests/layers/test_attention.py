"""B 2 rows, H 6 heads, K 3 of keys and values, T 7, d 4."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers import attention as attention_module
from lm_keras.layers.attention import attention, attention_beside
from lm_keras.layers.attention_mask import UNSEEN, AttentionMask
from lm_keras.layers.chunks import KEY_LENGTHS, groups_of
from lm_keras.layers.rotary import rotated, rotations

B, H, K, T, D = 2, 6, 3, 7, 4
RANDOM = np.random.default_rng(3)
DOCUMENTS = np.array([[0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 1]], np.int32)


def heads(count=H, time=T):
    return RANDOM.normal(size=[B, count, time, D]).astype(np.float32)


def by_hand(queries, keys, values, seen, kept=None, rate=0.0):
    """Attention in float64, query by query."""
    outputs = np.zeros(queries.shape)
    group = queries.shape[1] // keys.shape[1]
    for b, h, t in np.ndindex(queries.shape[:3]):
        there = np.flatnonzero(seen[b, t])
        scores = keys[b, h // group, there].astype(np.float64) @ queries[b, h, t] / np.sqrt(D)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        if kept is not None:
            weights = weights * kept[b, h, t, there] / (1 - rate)
        outputs[b, h, t] = weights @ values[b, h // group, there]
    return outputs


def causal(first=0, time=T, keys=T):
    return np.tile(np.arange(keys) <= first + np.arange(time)[:, None], [B, 1, 1])


def same_document():
    return causal() & (DOCUMENTS[:, :, None] == DOCUMENTS[:, None])


@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 99])
@pytest.mark.parametrize("kv_heads", [1, K, H])
def test_equals_attention_by_hand(chunk, kv_heads):
    queries, keys, values = heads(), heads(kv_heads), heads(kv_heads)
    for attention_mask, seen in (
        (AttentionMask(), causal()),
        (AttentionMask(0, DOCUMENTS, DOCUMENTS), same_document()),
    ):
        ours = attention(*map(tf.constant, (queries, keys, values)), attention_mask, chunk)
        np.testing.assert_allclose(ours, by_hand(queries, keys, values, seen), atol=1e-5)
    wrong = by_hand(queries, keys, values, causal(first=1, keys=T))
    assert np.abs(ours - wrong).max() > 0.01


def test_queries_behind_keys_that_were_there_before():
    queries, keys, values = heads(time=3), heads(K, time=11), heads(K, time=11)
    for first in (4, tf.constant(4)):
        ours = attention(*map(tf.constant, (queries, keys, values)), AttentionMask(first))
        np.testing.assert_allclose(ours, by_hand(queries, keys, values, causal(4, 3, 11)), atol=1e-5)


@pytest.mark.parametrize("kv_heads", [1, K, H])
def test_a_query_beside_the_keys_that_were_there_before(kv_heads):
    """What stands in places that are not taken, or before a row begins, changes nothing."""
    queries, begins, first = heads(time=1), np.array([0, 2], np.int32), 4
    keys, values = heads(kv_heads, first + 1), heads(kv_heads, first + 1)
    seen = (np.arange(first + 1) >= begins[:, None])[:, None]
    room = np.full([B, kv_heads, 9, D], 50.0, np.float32)
    earlier = [np.concatenate([part[:, :, :first], room], 2) for part in (keys, values)]
    own = [queries, *(part[:, :, first:] for part in (keys, values))]

    def error(first):
        found = attention_beside(*map(tf.constant, (*earlier, *own)), AttentionMask(first, row_begins=begins))
        return np.abs(found - by_hand(queries, keys, values, seen)).max()

    assert error(first) < error(tf.constant(first)) + 1e-6 < 1e-5
    assert min(error(first - 1), error(first + 1)) > 0.01


def test_the_bias_of_the_docstring():
    assert AttentionMask(1).bias(0, 2, 3).numpy().tolist() == [[[[0, 0, UNSEEN], [0, 0, 0]]]]


KEPT = RANDOM.random([B, H, T, T]) > 0.3


def keep(begin, count, keys):
    return tf.constant(KEPT)[:, :, begin : begin + count, :keys]


def gradients(chunk, parts, attention_mask, dropout, slope):
    parts = [tf.convert_to_tensor(part) for part in parts]
    settings = {"keep": keep, "rate": 0.3} if dropout else {}
    with tf.GradientTape() as tape:
        tape.watch(parts)
        total = tf.reduce_sum(attention(*parts, attention_mask, chunk, **settings) * slope)
    return [total, *tape.gradient(total, parts)]


def plain(parts, attention_mask, dropout, slope):
    """The same, differentiated by TensorFlow."""
    parts = [tf.constant(part) for part in parts]
    with tf.GradientTape() as tape:
        tape.watch(parts)
        queries, keys, values = parts
        keys, values = (tf.repeat(part, H // part.shape[1], axis=1) for part in (keys, values))
        scores = tf.matmul(queries, keys, transpose_b=True) / np.sqrt(D) + attention_mask.bias(0, T, T)
        weights = tf.nn.softmax(scores)
        if dropout:
            weights = tf.where(KEPT, weights / 0.7, 0.0)
        total = tf.reduce_sum(tf.matmul(weights, values) * slope)
    return [total, *tape.gradient(total, parts)]


@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("kv_heads", [K, H])
@pytest.mark.parametrize("chunk", [None, 3])
def test_gradients_equal_those_of_tensorflow(chunk, kv_heads, dropout):
    parts, slope = [heads(), heads(kv_heads), heads(kv_heads)], heads()
    attention_mask = AttentionMask(0, DOCUMENTS, DOCUMENTS)
    expected = plain(parts, attention_mask, dropout, slope)
    for found in (
        gradients(chunk, parts, attention_mask, dropout, slope),
        tf.function(gradients, autograph=False)(chunk, parts, attention_mask, dropout, slope),
    ):
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [None, 3])
def test_the_check_of_gradients_can_fail(chunk, monkeypatch):
    original = attention_module._gradients

    def without_the_sum(weights, kept, factor, queries, keys, values, outputs, d_outputs):
        return original(weights, kept, factor, queries, keys, values, tf.zeros_like(outputs), d_outputs)

    monkeypatch.setattr(attention_module, "_gradients", without_the_sum)
    parts, slope = [heads(), heads(), heads()], heads()
    ours, theirs = (
        gradients(chunk, parts, AttentionMask(), False, slope),
        plain(parts, AttentionMask(), False, slope),
    )
    assert np.abs(ours[1] - theirs[1]).max() > 0.01


def largest(function, *arguments):
    """The number of elements of the largest tensor in a traced function, bodies of other functions
    included.
    """
    graph = function.get_concrete_function(*arguments).graph
    graphs = [graph, *(f.graph for f in graph._functions.values() if hasattr(f, "graph"))]
    sizes = [
        output.shape.num_elements() or 0
        for each in graphs
        for operation in each.get_operations()
        for output in operation.outputs
        if output.shape.is_fully_defined()
    ]
    return max(sizes)


@pytest.mark.parametrize(("chunk", "factor"), [(16, 2), (None, 4)])
def test_memory_of_chunks_grows_with_the_length_and_not_with_its_square(chunk, factor):
    def of(time):
        part = tf.TensorSpec([1, 2, time, D])
        function = tf.function(
            lambda q, k, v: gradients_of(q, k, v, chunk), input_signature=[part] * 3, autograph=False
        )
        return largest(function)

    assert of(256) / of(128) == factor


def test_the_groups_of_the_docstring():
    assert groups_of(21, 2, True) == [
        (0, 2, 2, 4), (4, 2, 2, 8), (8, 2, 2, 12), (12, 2, 2, 16), (16, 2, 2, 20), (20, 1, 1, 21)
    ]  # fmt: skip
    assert groups_of(21, 2, False) == [(0, 10, 2, 21), (20, 1, 1, 21)]
    for time in (1, 7, 16, 33):
        for chunk in (1, 3, 16):
            for causal in (True, False):
                groups = groups_of(time, chunk, causal)
                queries = [
                    g.first + n * g.size + q for g in groups for n in range(g.count) for q in range(g.size)
                ]
                assert queries == list(range(time)) and len(groups) <= KEY_LENGTHS + 1
                assert all(g.first + g.count * g.size <= g.seen <= time for g in groups)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux how much memory a process had")
def test_a_process_with_chunks_takes_memory_as_the_length_grows(start):
    """At T 4,096 one matrix of weights is 192 MiB, and a chunk of 256 of them 12 MiB; XLA takes the rest."""
    process = start(Path(__file__).with_name("memory_of_attention.py"))
    out, err = process.communicate()
    assert process.returncode == 0, err
    half, more, whole = json.loads(out)
    assert half < 130 and more < 130 and whole > 2 * 192


def gradients_of(queries, keys, values, chunk):
    with tf.GradientTape() as tape:
        tape.watch([queries, keys, values])
        total = tf.reduce_sum(attention(queries, keys, values, AttentionMask(), chunk))
    return tape.gradient(total, [queries, keys, values])


def test_rotated_pairs_are_those_of_the_equation():
    positions = np.array([[0, 1, 5]])
    x = RANDOM.normal(size=[B, H, 3, D]).astype(np.float32)
    cosines, sines = rotations(tf.constant(positions), D, 100.0)
    assert cosines.shape == (1, 3, D // 2)
    ours = rotated(tf.constant(x), cosines, sines).numpy()
    for t, place in enumerate(positions[0]):
        for pair, frequency in enumerate((1.0, 0.1)):  # 100^(-2 i / 4)
            a, b = x[:, :, t, pair], x[:, :, t, pair + 2]
            cosine, sine = np.cos(place * frequency), np.sin(place * frequency)
            np.testing.assert_allclose(ours[:, :, t, pair], a * cosine - b * sine, atol=1e-5)
            np.testing.assert_allclose(ours[:, :, t, pair + 2], a * sine + b * cosine, atol=1e-5)


def test_rotated_products_depend_on_the_distance_alone():
    queries, keys = (tf.constant(RANDOM.normal(size=[1, 1, T, D]), tf.float32) for _ in range(2))

    def scores(shift):
        turn = rotations(shift + tf.range(T)[None], D, 10_000.0)
        return tf.einsum("bhtd,bhsd->bts", rotated(queries, *turn), rotated(keys, *turn)).numpy()

    np.testing.assert_allclose(scores(0), scores(1_000), atol=1e-3)
    turned = rotated(queries, *rotations(3 + tf.range(T)[None], D, 10_000.0))
    assert np.abs(turned - queries).max() > 0.1
