import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.layers.casting import CastOnce, cast, products_of_halves, times
from lm_keras.models import FAMILIES

GPT = {"model": "gpt", "num_layers": 1, "num_heads": 1, "embedding_dim": 4, "precision": "mixed_bfloat16"}


def network(policy):
    model = keras.Sequential([keras.Input([3]), keras.layers.Dense(2, dtype=policy)])
    model.dtype_policy, model.tie_embeddings = policy, True
    model.embedding = keras.layers.Embedding(1, 1)
    model.embedding.build((None,))
    return model


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_matrices_are_those_of_the_moment_at_which_they_were_made(precision):
    model = network(f"mixed_{precision}")
    kernel, bias = model.trainable_variables
    matrices = CastOnce(model)
    made = matrices.made()
    assert [(spec.shape, spec.dtype.name) for spec in matrices.specs] == [([3, 2], precision)]
    before = kernel.numpy()
    kernel.assign(before + 1)
    with matrices.used(made):
        assert cast(kernel, precision) is made[0]
        # Neither of another format nor of anything but a matrix.
        np.testing.assert_array_equal(cast(kernel, "float32"), before + 1)
        assert cast(bias, precision).dtype == precision
    np.testing.assert_array_equal(made[0], tf.cast(before, precision))
    np.testing.assert_array_equal(cast(kernel, precision), tf.cast(before + 1, precision))


def test_a_table_that_is_only_looked_up_in_is_left_out():
    tied, untied = (FAMILIES["gpt"](from_flat({**GPT, "tie_embeddings": tie}), 9) for tie in (True, False))
    assert [9, 4] in [spec.shape for spec in CastOnce(tied).specs]
    assert [9, 4] not in [spec.shape for spec in CastOnce(untied).specs]
    assert [4, 9] in [spec.shape for spec in CastOnce(untied).specs]


def test_matrices_are_kept_transposed_and_come_back_as_they_are():
    """But for a tied table, which stands transposed in its product already."""
    model = FAMILIES["gpt"](from_flat(GPT), 9)
    kernel = model.blocks[0].by_name["feed_forward_kernel"]
    plain, turned = CastOnce(model), CastOnce(model, transposed=True)
    for shape, other in (([4, 16], [16, 4]), ([9, 4], [9, 4])):
        assert shape in [spec.shape for spec in plain.specs]
        assert other in [spec.shape for spec in turned.specs]
    with turned.used(turned.made()):
        np.testing.assert_array_equal(cast(kernel, "bfloat16"), tf.cast(kernel.value, "bfloat16"))


def test_in_float32_nothing_is_made():
    model = network("float32")
    matrices = CastOnce(model)
    assert matrices.made() == matrices.specs == []
    with matrices.used([]):
        np.testing.assert_array_equal(
            cast(model.trainable_variables[0], "float32"), model.trainable_variables[0]
        )


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("height, expected", [(8, "BatchMatMulV2"), (7, "MatMul")])
def test_a_product_of_halves_is_the_product(transposed, height, expected):
    """A matrix whose first axis has no halves stays whole."""
    random = np.random.default_rng(1)
    matrix = random.normal(size=[height, 6]).astype("float32")
    row = random.normal(size=[1, 6 if transposed else height]).astype("float32")

    @tf.function(autograph=False)
    def product(row):
        with products_of_halves():
            return times(row, tf.constant(matrix), transposed)

    kinds = [
        operation.type for operation in product.get_concrete_function(tf.constant(row)).graph.get_operations()
    ]
    assert [kind for kind in kinds if "MatMul" in kind] == [expected]
    whole = row @ (matrix.T if transposed else matrix)
    np.testing.assert_allclose(product(tf.constant(row)), whole, rtol=1e-5, atol=1e-6)
