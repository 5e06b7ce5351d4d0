"""Features of texts from those of their tokens, beside the same by hand."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.models.pooling import pooled

HIDDEN = np.random.default_rng(3).normal(size=[2, 6, 4]).astype(np.float32)
DOCUMENT = np.array([[0, 0, 0, 1, 1, 7], [0, 0, 7, 7, 7, 7]], np.int32)
PREDICTED = np.array([[2, 4, 0], [1, 0, 0]], np.int32)
TEXTS = {(0, 0): [0, 1, 2], (0, 1): [3, 4], (1, 0): [0, 1]}
"""Tokens of each text of each row; every row has room for three texts."""


@pytest.mark.parametrize(("kind", "of_tokens"), [("mean", np.mean), ("max", np.max)])
def test_a_text_has_the_mean_or_the_largest_of_its_tokens(kind, of_tokens):
    expected = np.zeros([2, 3, 4], np.float32)
    for (row, text), tokens in TEXTS.items():
        expected[row, text] = of_tokens(HIDDEN[row, tokens], axis=0)
    found = pooled(kind, tf.constant(HIDDEN), tf.constant(PREDICTED), tf.constant(DOCUMENT))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["first", "last", None])
def test_other_kinds_take_a_token(kind):
    found = pooled(kind, tf.constant(HIDDEN), tf.constant(PREDICTED)).numpy()
    np.testing.assert_array_equal(found[0], HIDDEN[0, [2, 4, 0]])


def test_the_mean_needs_the_documents():
    with pytest.raises(ValueError, match="needs the documents"):
        pooled("mean", tf.constant(HIDDEN), tf.constant(PREDICTED))
