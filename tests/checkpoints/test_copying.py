"""What `--init_from` copies of a network, and what it says of the rest. V 13, D 8."""

import keras
import numpy as np
import pytest

from lm_keras.checkpoints.copying import Copied, copy_weights, head_of, names_of
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES

V = 13
BLOCKS = {"num_layers": 2, "num_heads": 2, "embedding_dim": 8, "sequence_length": 6}
SMALL = {
    "ngram": {"embedding_dim": 8, "hidden_units": 5, "ngram_order": 3},
    "lstm": {"embedding_dim": 8, "hidden_units": 5},
    "gpt": BLOCKS, "bert": BLOCKS, "glm": BLOCKS,
    "transformer": {**BLOCKS, "task": "seq2seq", "sequence_length": 9},
}  # fmt: skip


def build(family, vocab_size=V, seed=1, **settings):
    keras.utils.set_random_seed(seed)
    return FAMILIES[family](from_flat({"model": family, **SMALL[family], **settings}), vocab_size)


def values_of(model):
    return {name: variable.numpy() for name, variable in names_of(model).items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_of_the_same_network_is_copied(family):
    trained, model = build(family), build(family, seed=2)
    assert copy_weights(trained, model) == Copied() and Copied().remark == ""
    there, here = values_of(trained), values_of(model)
    assert list(there) == list(here)
    assert all(np.array_equal(there[name], here[name]) for name in there)


def test_a_head_that_is_missing_begins_anew_and_is_named():
    trained, model = build("bert", prediction_head=False), build("bert", seed=2)
    before = values_of(model)
    copied = copy_weights(trained, model)
    assert set(copied.new) == head_of(model) and "head_kernel" in copied.new and not copied.left
    assert copied.remark == f"; {', '.join(copied.new)} of the head are new"
    for name, value in values_of(model).items():
        old = before[name] if name in copied.new else values_of(trained)[name]
        np.testing.assert_array_equal(value, old)


def test_a_head_that_nothing_takes_is_named():
    trained, model = build("bert"), build("bert", prediction_head=False)
    copied = copy_weights(trained, model)
    assert set(copied.left) == head_of(trained) and not copied.new
    assert copied.remark == f"; {', '.join(copied.left)} of the old head are left out"


def test_added_tokens_are_rows_behind_the_others():
    trained, model = build("lstm", tie_embeddings=False), build("lstm", V + 3, 2, tie_embeddings=False)
    before = values_of(model)
    copied = copy_weights(trained, model)
    assert copied == Copied((), (), 3)
    assert copied.remark == "; 3 added tokens are new"
    table = model.embedding.embeddings.numpy()
    np.testing.assert_array_equal(table[:V], trained.embedding.embeddings)
    np.testing.assert_array_equal(table[V:], before["embedding/embeddings"][V:])
    for name in ("output_kernel", "output_bias"):
        outputs, theirs = values_of(model)[name], values_of(trained)[name]
        np.testing.assert_array_equal(outputs[..., :V], theirs)
        np.testing.assert_array_equal(outputs[..., V:], before[name][..., V:])


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ({"num_layers": 3}, {}, "the weight block_2/.* there has no place here"),
        ({}, {"num_layers": 3}, "the weight block_2/.* is missing there"),
        ({"context_length": 9}, {}, r"the weight places has the shape \(9, 8\) there, and \(6, 8\) here"),
        ({"embedding_dim": 12}, {}, r"the weight .* has the shape .* there"),
    ],
)
def test_bodies_that_do_not_match_are_an_error(there, here, said):
    with pytest.raises(InputError, match=f"the bodies do not match: {said}"):
        copy_weights(build("gpt", **there), build("gpt", **here))


def test_fewer_tokens_are_an_error():
    with pytest.raises(InputError, match="embedding/embeddings has the shape"):
        copy_weights(build("gpt", V + 1), build("gpt"))


def classes(family, labels, seed, **settings):
    keras.utils.set_random_seed(seed)
    config = from_flat({"model": family, **SMALL[family], "task": "classification", **settings})
    return FAMILIES[family](config, V, labels)


@pytest.mark.parametrize("family", ["lstm", "gpt", "bert", "glm"])
def test_a_body_gets_a_head_with_labels(family):
    extra = 3 if family == "glm" else 0
    keras.utils.set_random_seed(1)
    trained = FAMILIES[family](from_flat({"model": family, **SMALL[family]}), V + extra)
    model = classes(family, 2, seed=2)
    copied = copy_weights(trained, model, None, ("no", "yes"))
    assert set(copied.new) == head_of(model) >= {"class_kernel", "class_bias"}
    assert copied.removed == extra and set(copied.left) == head_of(trained)
    for name, value in values_of(model).items():
        if name not in copied.new:
            np.testing.assert_array_equal(value, values_of(trained)[name][: len(value)])


def test_labels_keep_their_weights_wherever_they_stand():
    trained, model = classes("lstm", 3, seed=1), classes("lstm", 4, seed=2)
    before = values_of(model)
    copied = copy_weights(trained, model, ("a", "b", "d"), ("b", "c", "d", "e"))
    assert copied == Copied(new_labels=("c", "e"))
    assert copied.remark == "; the labels 'c', 'e' are new"
    for name in ("class_kernel", "class_bias"):
        old, new = values_of(trained)[name], values_of(model)[name]
        np.testing.assert_array_equal(new[..., [0, 2]], old[..., [1, 2]])
        np.testing.assert_array_equal(new[..., [1, 3]], before[name][..., [1, 3]])


def test_other_labels_are_not_copied_however_many_there_are():
    trained, model = classes("lstm", 2, seed=1), classes("lstm", 2, seed=2)
    before = values_of(model)["class_kernel"]
    copied = copy_weights(trained, model, ("neg", "pos"), ("0", "1"))
    assert copied == Copied(new=("class_kernel", "class_bias"))
    np.testing.assert_array_equal(values_of(model)["class_kernel"], before)


def test_the_direction_that_a_language_model_lacks_begins_anew():
    model = classes("lstm", 2, seed=2, bidirectional=True)
    copied = copy_weights(build("lstm"), model, None, ("no", "yes"))
    assert [name for name in copied.new if "backward" in name] == [
        f"lstm_0_backward/{name}" for name in ("kernel", "recurrent_kernel", "bias")
    ]
    again = classes("lstm", 2, seed=3, bidirectional=True)
    assert copy_weights(model, again, ("no", "yes"), ("no", "yes")) == Copied()


def test_frozen_weights_are_copied_too():
    trained, model = build("gpt"), build("gpt", seed=2)
    for weight in model.trainable_variables[:5]:
        weight.trainable = False
    assert copy_weights(trained, model) == Copied()
    assert all(np.array_equal(values_of(trained)[name], value) for name, value in values_of(model).items())
