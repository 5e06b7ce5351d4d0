"""Heads: a vocabulary or classes behind the same body. V 13, C 5, B 3, T 6."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.heads import Classes, Vocabulary
from lm_keras.objectives.losses import next_token_loss

V, C, B, T = 13, 5, 3, 6
BLOCKS = {"num_layers": 2, "num_heads": 2, "embedding_dim": 8, "sequence_length": T}
SETTINGS = {
    "ngram": {"embedding_dim": 8, "hidden_units": 7, "ngram_order": 3, "direct_connections": True},
    "lstm": {"embedding_dim": 8, "hidden_units": 7, "tie_embeddings": True},
    "gpt": BLOCKS, "bert": BLOCKS, "glm": {**BLOCKS, "tie_embeddings": False},
}  # fmt: skip
TOKENS = np.random.default_rng(1).integers(0, V, [B, T])
every_family = pytest.mark.parametrize("family", SETTINGS)
"""A transformer has an encoder, and predicts no classes."""


def build(family, num_outputs=None):
    keras.utils.set_random_seed(2)
    return FAMILIES[family](config_of(family), V, num_outputs)


def config_of(family):
    return from_flat({"model": family, **SETTINGS[family]})


def features_of(model):
    return model.forward({"tokens": tf.constant(TOKENS)}, model.initial_state(B))[0]


@every_family
def test_classes_are_predicted_by_the_same_body(family):
    words, classes = build(family), build(family, C)
    assert type(words.head) is Vocabulary and type(classes.head) is Classes
    assert classes(TOKENS).shape == classes.compute_output_shape((B, T)) == (B, T, C)
    features = features_of(classes)
    matrix, bias, transposed = classes.output_weights()
    assert not transposed
    np.testing.assert_allclose(classes.project(features), features.numpy() @ matrix + bias, atol=1e-5)
    body = [v.path for v in words.trainable_variables if v.path not in {w.path for w in words.head_weights}]
    assert body == [
        v.path for v in classes.trainable_variables if v.path not in {w.path for w in classes.head_weights}
    ]


@every_family
@pytest.mark.parametrize("num_outputs", [None, C])
def test_parameters_are_counted(family, num_outputs):
    found = sum(np.prod(v.shape) for v in build(family, num_outputs).trainable_variables)
    assert found == NUM_PARAMETERS[family](config_of(family), V, num_outputs)


@every_family
def test_the_loss_is_that_of_classes(family):
    model = build(family, C)
    targets = tf.constant(np.random.default_rng(3).integers(0, C, [B, T]), tf.int32)
    features = features_of(model)
    sums = next_token_loss(features, model.output_weights(), targets, tf.ones([B, T])).sums
    usual = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, model.project(features))
    np.testing.assert_allclose(sums["nats"], tf.reduce_sum(usual), rtol=1e-5)
    assert model.products(B, T)["output"][0].n == C


@every_family
def test_the_number_of_classes_is_saved(family, tmp_path):
    model = build(family, C)
    assert "num_outputs" not in build(family).get_config()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(TOKENS), model(TOKENS))
