"""Skip-gram and CBOW in blocks, beside the published equations pair by pair, and the rows that a step
touches.
"""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.embeddings import batches, objectives
from lm_keras.embeddings.settings import EmbeddingConfig
from lm_keras.embeddings.tables import Tables

V, D, W, K, N, S, G = 29, 5, 3, 4, 6, 8, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def block():
    """Two blocks of 8 words in a line of 11 words, two documents; the last block is not full."""
    random = np.random.default_rng(3)
    ids, part = np.zeros(G * S + 2 * W, np.int32), np.full(G * S + 2 * W, -1, np.int32)
    ids[W : W + 11] = random.integers(0, 13, 11)  # Some come twice.
    part[W : W + 11] = [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    window = random.integers(1, W + 1, (G, S)).astype(np.int32)
    window.ravel()[11:] = 0
    cut = [np.stack([line[b * S : b * S + S + 2 * W] for b in range(G)]) for line in (ids, part)]
    drawn = random.integers(13, 20, (G, N)).astype(np.int32)
    tables = random.normal(0, 1, (2, V, D))
    return ids, part, window, cut, drawn, tables


def contexts(part, window):
    """Yield each place of the line with the places in its window."""
    for place, reach in enumerate(window.ravel(), start=W):
        near = [
            j
            for j in range(place - reach, place + reach + 1)
            if j != place and part[j] == part[place] and reach
        ]
        yield place, near


def pair(h, v, outputs, samples):
    """Return loss and gradients of equation 4 for a hidden vector h, the target's row v and the samples'
    rows.

    Of N shared samples each counts K / N, so that together they are K.
    """
    loss = -np.log(sigmoid(outputs[v] @ h)) - K / N * sum(np.log(sigmoid(-outputs[n] @ h)) for n in samples)
    of_outputs = np.zeros_like(outputs)
    of_outputs[v] += -sigmoid(-outputs[v] @ h) * h
    of_h = -sigmoid(-outputs[v] @ h) * outputs[v]
    for n in samples:
        of_outputs[n] += K / N * sigmoid(outputs[n] @ h) * h
        of_h = of_h + K / N * sigmoid(outputs[n] @ h) * outputs[n]
    return loss, of_h, of_outputs


def directly(method, ids, part, window, drawn, tables):
    """Return loss, number of predictions and both gradients, one prediction after the other."""
    inputs, outputs = tables
    loss, count, first, second = 0.0, 0, np.zeros_like(inputs), np.zeros_like(outputs)
    for place, near in contexts(part, window):
        samples = drawn[(place - W) // S]
        if method == "skipgram":
            for j in near:
                each, of_h, of_outputs = pair(inputs[ids[place]], ids[j], outputs, samples)
                first[ids[place]] += of_h
                loss, count, second = loss + each, count + 1, second + of_outputs
        elif near:
            mean = np.mean([inputs[ids[j]] for j in near], axis=0)
            each, of_h, of_outputs = pair(mean, ids[place], outputs, samples)
            for j in near:
                first[ids[j]] += of_h / len(near)
            loss, count, second = loss + each, count + 1, second + of_outputs
    return loss, count, first, second


def summed(ids, gradient):
    found = np.zeros((V, D))
    np.add.at(found, np.asarray(ids), np.asarray(gradient))
    return found


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_gradients_are_those_of_the_equations(block, method):
    ids, part, window, (near, parts), drawn, tables = block
    given = [tf.constant(table, tf.float32) for table in tables]
    step = objectives.METHODS[method](*given, near, tf.constant(parts), tf.constant(window), drawn, K)
    loss, count, first, second = directly(method, ids, part, window, drawn, tables)
    assert int(step.count) == count > 8
    assert float(step.loss()) == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(summed(*step.first), first, atol=2e-5)
    np.testing.assert_allclose(summed(*step.second), second, atol=2e-5)


def test_the_example_in_the_docstring():
    found = objectives.inside(tf.constant([[1, 1, 1, 2, 2]]), tf.constant([[1, 1, 1]]))
    assert found.numpy().tolist() == [[[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]]


def batch_of(random, vocabulary, blocks=batches.AT_ONCE):
    shape = (blocks, batches.BLOCK + 2 * 5)
    return batches.WordBatch(
        random.choice(vocabulary, shape).astype(np.int32),
        np.ones(shape, np.int32),
        random.integers(1, 6, (blocks, batches.BLOCK)).astype(np.int32),
        random.choice(vocabulary, (blocks, batches.DRAWN)).astype(np.int32),
        99,
    )


@pytest.mark.parametrize("method", ["skipgram", "cbow"])
def test_a_step_changes_the_rows_that_it_uses_and_no_others(method):
    tables = Tables(997, EmbeddingConfig(method=method, embedding_dim=7))
    tables.outputs.assign(tf.random.stateless_normal([997, 7], [1, 2]))
    used = np.arange(0, 300, 3)
    batch = batch_of(np.random.default_rng(1), used, 2 * batches.AT_ONCE)
    before = [table.numpy() for table in (tables.inputs, tables.outputs)]
    loss, count = tables.step(batch, 0.01)
    assert loss > 0 and 0 < count <= batches.AT_ONCE * batches.BLOCK * 10
    for old, table in zip(before, (tables.inputs, tables.outputs)):
        changed = np.flatnonzero((old != table.numpy()).any(axis=1))
        np.testing.assert_array_equal(changed, used)  # 3,000 words of 100: all of them come.


def sizes_of(function, *arguments):
    """Return all sizes of the tensors within a compiled function."""
    graph = function.get_concrete_function(*arguments).graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node, *(node for part in graph.library.function for node in part.node_def)]
    shapes = [shape for node in nodes for shape in node.attr["_output_shapes"].list.shape]
    assert len(shapes) > 20
    return {size.size for shape in shapes for size in shape.dim}


def test_neither_memory_nor_time_of_a_step_grow_with_the_vocabulary():
    """No tensor of the compiled step has a size of V, 997."""
    tables = Tables(997, EmbeddingConfig(embedding_dim=7))
    batch = batch_of(np.random.default_rng(1), np.arange(99))
    arrays = [tf.constant(each) for each in (batch.near, batch.part, batch.window, batch.drawn)]
    sizes = sizes_of(tables._step, *arrays, tf.constant(0.1))
    assert 7 in sizes and batches.BLOCK in sizes
    assert 997 not in sizes

    # The control: a gradient as large as the table, in a loop as that of the step.
    def added(place, ids):
        tables.inputs.assign_sub(tf.math.unsorted_segment_sum(tf.gather(tables.inputs, ids), ids, 997))
        return place + 1, ids

    dense = tf.function(
        lambda ids: tf.while_loop(lambda place, _: place < 2, added, (0, ids)), autograph=False
    )
    assert 997 in sizes_of(dense, arrays[0][0])


def test_steps_after_each_other_lower_the_loss():
    tables = Tables(31, EmbeddingConfig(embedding_dim=7))
    batch = batch_of(np.random.default_rng(1), np.arange(31))
    losses = [tables.step(batch, 0.01)[0] for _ in range(6)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx((1 + 5) * np.log(2) * tables.step(batch, 0.01)[1], rel=1e-3)
