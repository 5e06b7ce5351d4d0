"""GPT and GLM with a source before the target. V 41, width 12, 2 layers, 3 heads, 3 examples."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.data.spans import NO_ORDER
from lm_keras.layers.transformer import BlockSettings
from lm_keras.models.glm import GLMLanguageModel
from lm_keras.models.gpt import GPTLanguageModel

V, T = 41, 23
RANDOM = np.random.default_rng(7)
EXAMPLES = [
    (RANDOM.integers(0, V, a).astype("int32"), RANDOM.integers(0, V, b).astype("int32"))
    for a, b in ((5, 4), (2, 3), (4, 1))
]
"""What is read before the target, and what is read from then on: the token that begins it, and the target."""


def build(family):
    keras.utils.set_random_seed(5)
    block = BlockSettings(12, 3, 1, 10)
    if family == "glm":
        model = GLMLanguageModel(V, 2, T, block)
    else:
        positions = "rotary" if family == "rotary" else "learned"
        model = GPTLanguageModel(V, 2, T, block, positions=positions, separate_documents=True)
    random = np.random.default_rng(6)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    return model


def row(examples):
    """The arrays of a packed row, as the task makes them, and where the targets are."""
    arrays = {name: [] for name in ("tokens", "document", "position", "within", "order", "is_target")}
    for number, (source, target) in enumerate(examples):
        a, b = len(source), len(target)
        arrays["tokens"] += [*source, *target]
        arrays["document"] += [number] * (a + b)
        arrays["position"] += [*range(a), *[a - 1] * b]
        arrays["within"] += [0] * a + [*range(1, b + 1)]
        arrays["order"] += [0] * a + [*range(1, b + 1)]
        arrays["is_target"] += [False] * a + [True] * b
    padding = {"document": len(examples), "order": NO_ORDER}
    filled = {
        name: np.array(values + [padding.get(name, 0)] * (T - len(values)), "int32")
        for name, values in arrays.items()
    }
    where = np.flatnonzero(filled.pop("is_target"))
    return {name: tf.constant(values[None]) for name, values in filled.items()}, where


def logits(model, inputs, where):
    return model.project(model.forward(inputs, {})[0]).numpy()[0, where]


every_family = pytest.mark.parametrize("family", ["gpt", "rotary", "glm"])


@every_family
def test_packing_is_invisible(family):
    """Law 10. Without the documents, or with those of two examples taken for one, logits are others."""
    model = build(family)
    alone = np.concatenate([logits(model, *row([example])) for example in EXAMPLES])
    inputs, where = row(EXAMPLES)
    np.testing.assert_allclose(logits(model, inputs, where), alone, atol=2e-5)
    document = inputs["document"]
    wrong = {**inputs, "document": tf.where(document == 1, 0, document)}
    assert np.abs(logits(model, wrong, where) - alone).max() > 1e-2


@every_family
def test_cached_logits_equal_those_of_whole_rows(family):
    """Law 1, eager and in a graph: each source at once, its target token by token. With the source of
    another example logits are others.
    """
    model = build(family)

    def generated(source, target):
        state = model.initial_state(1, 12)
        _, state = model.forward({"tokens": source}, state)
        found = []
        for t in range(target.shape[1]):
            features, state = model.forward({"tokens": target[:, t : t + 1]}, state)
            found.append(model.project(features))
        return tf.concat(found, 1)[0]

    whole = [logits(model, *row([example])) for example in EXAMPLES]
    (source, target), (other, _) = ([tf.constant(ids[None]) for ids in one] for one in EXAMPLES[:2])
    in_a_graph = tf.function(generated, autograph=False)
    np.testing.assert_allclose(in_a_graph(source, target), whole[0], atol=2e-5)
    for expected, (source, target) in zip(whole, EXAMPLES):
        np.testing.assert_allclose(generated(source[None], target[None]), expected, atol=2e-5)
    assert np.abs(generated(other, EXAMPLES[0][1][None]) - whole[0]).max() > 1e-2


def test_what_sees_what():
    """Law 5: a source of a GLM is read in both directions, that of a GPT from left to right; a target sees
    the source and what stands before it, in either.
    """
    for family in ("gpt", "glm"):
        model = build(family)
        inputs, where = row(EXAMPLES[:2])
        width = model.embedding.output_dim
        model.embedding.embeddings.assign(RANDOM.normal(size=[V, width]))
        inputs["tokens"] = tf.range(T)[None]
        with tf.GradientTape(persistent=True) as tape:
            features, _ = model.forward(inputs, {})
            sums = [tf.reduce_sum(features[0, t] * tf.range(1.0, width + 1)) for t in range(14)]
        table = model.embedding.embeddings.value
        gradients = [tf.convert_to_tensor(tape.gradient(one, table)).numpy()[:T] for one in sums]
        reached = np.abs(gradients).max(2) > 1e-9  # [14, T]
        document, order = inputs["document"].numpy()[0], inputs["order"].numpy()[0]
        expected = document[:14, None] == document
        if family == "glm":
            expected &= order <= order[:14, None]
        else:
            expected &= np.arange(T) <= np.arange(14)[:, None]
        np.testing.assert_array_equal(reached, expected)
        assert len(where) == 7
