"""Classification and tagging: shapes, class weights, measures, what is frozen, rates of the head.

V 23, C 3, R 2 rows, T 16.
"""

import numpy as np
import pytest
import tensorflow as tf
from test_packing_is_invisible import ALL, EXAMPLES, LABELS, TARGETS, T, V, store_of, task_and_network

from lm_keras import optimizers
from lm_keras.config import from_flat
from lm_keras.data.batch import INPUTS
from lm_keras.data.labels import Labels
from lm_keras.data.pipeline import training_batches
from lm_keras.errors import InputError
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.tasks import task_of
from lm_keras.tasks.labelled import class_weights
from lm_keras.training import building


def made(task="classification", labels=LABELS, **settings):
    usual = {"model": "lstm", "sequence_length": T, "batch_size": 2, "task": task}
    return task_of(from_flat({**usual, **settings}), V, None, labels)


def batches(task, store, steps):
    made_of = lambda rows, step: task.batch(rows, store, step)  # noqa: E731
    return list(training_batches(made_of, task.order(store), 0, steps))


@pytest.mark.parametrize("name", ["classification", "tagging"])
def test_a_batch_has_the_shapes_of_its_inputs(name):
    task = made(name)
    store = store_of(ALL, task)
    assert task.order(store).steps_per_epoch == 1
    for inputs, targets, weights in batches(task, store, 3):
        sizes = {"B": 2, "T": T, "K": task.plan(store).predictions}
        assert targets.shape == weights.shape == (2, sizes["K"]) and sizes["K"] <= task.predictions(T)
        for key, value in inputs.items():
            shape = [sizes[letter] for letter in INPUTS[key].shape.strip("[]").split(", ")]
            assert (value.shape, value.dtype) == (shape, tf.as_dtype(INPUTS[key].dtype))


def test_every_epoch_has_every_label_once():
    task = made()
    for _, targets, weights in batches(task, store_of(ALL, task), 4):
        assert sorted(targets[weights > 0].numpy().tolist()) == sorted(TARGETS)
        assert set(weights.numpy().ravel().tolist()) == {0.0, 1.0}


def test_class_weights_are_those_of_the_targets():
    task = made(class_weights="b:3")
    np.testing.assert_allclose(task.class_weights, np.array([1, 3, 1]) * 5 / 9)
    for _, targets, weights in batches(task, store_of(ALL, task), 2):
        there = weights > 0
        np.testing.assert_allclose(weights[there], task.class_weights[targets[there].numpy()])
        assert float(tf.reduce_sum(weights)) == pytest.approx(5)
    assert task.training_measures({"correct": 3.0, "weight": 5.0, "nats": 1.0}, None) == {}
    assert made().training_measures({"correct": 3.0, "weight": 5.0, "nats": 1.0}, None) == {"accuracy": 0.6}


def test_balanced_labels_have_the_same_sum():
    weights = class_weights("balanced", Labels(("no", "yes"), (3, 1)))
    np.testing.assert_allclose(weights, [2 / 3, 2])
    np.testing.assert_array_equal(class_weights("none", LABELS), [1, 1, 1])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("b:2,x:1", "'x' is not a label"),
        ("b:2,b:1", "'b' has two weights"),
        ("b:0", "'0' is not a weight"),
        ("b:much", "'much' is not a weight"),
        ("b", "'b' is not a label"),
        ("balancd", "'balancd' is not a label"),
    ],
)
def test_class_weights_that_are_none(text, said):
    with pytest.raises(InputError, match=said):
        class_weights(text, Labels(("a", "b"), (1, 1)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"task": None, "pooling": "mean"}, "--pooling=mean has no meaning for --task=causal_lm"),
        ({"task": None, "bidirectional": True}, "--bidirectional=True has no meaning for --task=causal_lm"),
        ({"task": None, "class_weights": "balanced"}, "--class_weights=balanced has no meaning for --task="),
        ({"task": "tagging", "pooling": "mean"}, "--pooling=mean has no meaning for --task=tagging"),
        ({"pooling": "first"}, "--pooling=first has no meaning for --model=lstm"),
        ({"batching": "stream"}, "--batching=stream has no meaning for --task=classification"),
        ({"best_by": "span_f1"}, "--best_by=span_f1 has no meaning for --task=classification"),
        ({"best_by": "bits_per_byte"}, "--best_by=bits_per_byte has no meaning for --task=classification"),
        ({"task": None, "best_by": "mcc"}, "--best_by=mcc has no meaning for --task=causal_lm"),
        ({"model": "ngram"}, "--task=classification has no meaning for --model=ngram"),
        ({"freeze": "body"}, "--freeze=body would keep weights as they were drawn"),
        ({"sequence_length": 2}, "--sequence_length=2 is too short for --model=lstm, which reads a text"),
    ],
)
def test_settings_without_meaning(settings, said):
    with pytest.raises(InputError, match=said):
        from_flat({"model": "lstm", "task": "classification", **settings})


def test_a_stride_has_no_meaning():
    with pytest.raises(InputError, match="stride=3 has no meaning for --task=tagging"):
        made("tagging").in_windows(3)


def test_what_is_judged():
    assert made().judged_by == ("accuracy", "high")
    assert made(best_by="mcc").judged_by == ("mcc", "high")
    assert made("tagging", Labels(("B-x", "I-x", "O"), (1, 1, 1), True)).judged_by == ("span_f1", "high")
    assert made("tagging").judged_by == ("accuracy", "high")  # No spans.


@pytest.mark.parametrize("name", ["classification", "tagging"])
def test_an_evaluation_has_every_example_in_its_place(name):
    settings = {"task": name, "pooling": "max"} if name == "classification" else {"task": name}
    task, model = task_and_network("lstm", settings)
    evaluator = Evaluator(model, task)
    whole = evaluator.sums(store_of(ALL, task))
    np.testing.assert_allclose(np.exp(whole["log_probabilities"]).sum(1), 1, rtol=1e-5)
    parts = [evaluator.sums(store_of([number], task)) for number in ALL]
    for key in ("log_probabilities", "true"):
        np.testing.assert_allclose(whole[key], np.concatenate([part[key] for part in parts]), 1e-5, 1e-5)
    found = evaluator(store_of(ALL, task), "valid", 7)
    true, chosen = whole["true"], whole["log_probabilities"].argmax(1)
    assert found["accuracy"] == pytest.approx((true == chosen).mean())
    assert found["tokens"] == whole["targets"] == len(true) and found["step"] == 7
    nats = -whole["log_probabilities"][np.arange(len(true)), true].mean()
    assert found["nats_per_token"] == pytest.approx(nats)


def test_windows_average_the_log_probabilities_of_an_example():
    config = {"sequence_length": 5, "too_long": "windows"}
    _, model = task_and_network("lstm", {"task": "classification"})
    short = made(**config, pooling="max")
    store = store_of(ALL, short)
    plan = short.plan(store, "windows")
    assert len(plan.parts.example) > len(EXAMPLES)
    found = Evaluator(model, short).sums(store)["log_probabilities"]
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)
    windows = [EXAMPLES[2][begin : begin + 4] for begin in (0, 2, 4, 5)]
    each = np.stack([tf.nn.log_softmax(model(np.array([[0, *window]])))[0] for window in windows])
    mean = each.mean(0)
    np.testing.assert_allclose(found[2], mean - np.log(np.exp(mean).sum()), 1e-4, 1e-5)


def test_a_tagged_text_that_is_too_long_is_an_error_in_training_only():
    task = made("tagging", sequence_length=5)
    store = store_of(ALL, task)
    with pytest.raises(InputError, match="example 3 has 9 tokens"):
        task.order(store)
    assert sum(int((batch.weights > 0).sum()) for batch in task.scored(store)) == 10


@pytest.mark.parametrize(("part", "kept"), [("embedding", {"embedding/embeddings"}), ("body", None)])
def test_what_is_frozen(part, kept):
    _, model = task_and_network("bert", {"task": "classification"})
    names = {v.path.removeprefix("bert_language_model/") for v in model.trainable_variables}
    building.freeze(model, part)
    left = {v.path.removeprefix("bert_language_model/") for v in model.trainable_variables}
    head = {"pooler_kernel", "pooler_bias", "class_kernel", "class_bias"}
    assert left == (names - kept if kept else head)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "momentum", "lion", "muon"])
def test_the_head_has_a_rate_of_its_own(optimizer):
    """After one step: the body moves as without, the head ten times as far."""
    moved = {}
    for rate in (None, 0.01):
        config = from_flat({
            "model": "lstm", "task": "classification", "optimizer": optimizer, "learning_rate": 0.001,
            "head_learning_rate": rate, "embedding_dim": 6, "hidden_units": 7, "sequence_length": T,
        })  # fmt: skip
        model = building.network(config, V, 3)
        before = [variable.numpy() for variable in model.trainable_variables]
        random = np.random.default_rng(7)
        gradients = [tf.constant(random.normal(size=v.shape), tf.float32) for v in before]
        optimizers.apply(model.optimizer, gradients, tf.constant(1.0), model.trainable_variables)
        names = [v.path.removeprefix("lstm_language_model/") for v in model.trainable_variables]
        moved[rate] = {n: v.numpy() - b for n, v, b in zip(names, model.trainable_variables, before)}
    for name, step in moved[None].items():
        factor = 10 if name.startswith("class_") else 1
        np.testing.assert_allclose(moved[0.01][name], factor * step, 1e-3, 1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "momentum", "lion", "muon"])
def test_the_head_decays_by_its_own_rate(optimizer):
    """With gradients of zero a step is the decay alone: matrices lose rate * decay of themselves."""
    config = from_flat({
        "model": "lstm", "task": "classification", "optimizer": optimizer, "learning_rate": 0.02,
        "head_learning_rate": 0.1, "weight_decay": 0.5, "embedding_dim": 6, "hidden_units": 7,
        "sequence_length": T,
    })  # fmt: skip
    model = building.network(config, V, 3)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(tf.ones(variable.shape))
    zero = [tf.zeros(variable.shape) for variable in variables]
    optimizers.apply(model.optimizer, zero, tf.constant(1.0), variables)
    kept = {v.path.removeprefix("lstm_language_model/"): v.numpy() for v in variables}
    np.testing.assert_allclose(kept.pop("class_kernel"), 1 - 0.1 * 0.5, rtol=1e-6)
    for name, values in kept.items():
        np.testing.assert_allclose(values, 1 if values.ndim < 2 else 1 - 0.02 * 0.5, rtol=1e-6, err_msg=name)


def test_a_head_that_is_the_embedding_has_no_rate_of_its_own():
    config = from_flat({"model": "gpt", "head_learning_rate": 0.1, "num_heads": 2, "embedding_dim": 8})
    with pytest.raises(InputError, match="has no meaning here: the embedding is the output"):
        building.network(config, V)
