"""Law 10: an example is the same alone and beside others in a row, for every family and task with labels.

V 23, C 3, T 16; five examples of 1 to 9 tokens.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.config import from_flat
from lm_keras.data.example_rows import Example
from lm_keras.data.labels import Labels
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.models import FAMILIES, bert, glm, gpt
from lm_keras.objectives.losses import next_token_loss
from lm_keras.tasks import task as tasks
from lm_keras.tasks import task_of

V, C, T = 23, 3, 16
LABELS = Labels(("a", "b", "c"), (2, 2, 1))
RANDOM = np.random.default_rng(5)
ALL = (0, 1, 2, 3, 4)
MOST = 10
"""Predictions of a row, at least as many as there are."""

EXAMPLES = [RANDOM.integers(1, V, size).tolist() for size in (4, 1, 9, 6, 3)]
TARGETS = [0, 1, 2, 0, 1]
WORDS = [[0, 2], [0], [0, 1, 4, 8], [1, 5], [0]]
BLOCKS = {"num_layers": 2, "num_heads": 2, "embedding_dim": 8}
NETWORKS = {
    "lstm": {"model": "lstm", "embedding_dim": 6, "hidden_units": 8},
    "bidirectional": {
        "model": "lstm", "bidirectional": True, "num_layers": 2, "embedding_dim": 6, "hidden_units": 7,
    },
    "compiled": {"model": "lstm", "embedding_dim": 6, "hidden_units": 8, "jit": "recurrence"},
    "bidirectional compiled": {
        "model": "lstm", "bidirectional": True, "embedding_dim": 6, "hidden_units": 7, "jit": "recurrence",
    },
    "gpt": {"model": "gpt", **BLOCKS},
    "rotary": {"model": "gpt", "positions": "rotary", **BLOCKS},
    "bert": {"model": "bert", **BLOCKS},
    "glm": {"model": "glm", **BLOCKS},
}  # fmt: skip
POOLINGS = {
    "lstm": ("last", "mean"), "bidirectional": ("last", "max"), "compiled": ("mean",),
    "bidirectional compiled": ("max",), "gpt": ("max",), "rotary": ("mean",), "bert": ("first",),
    "glm": ("last",),
}  # fmt: skip
"""Each network with a pooling, and each pooling with a network."""

TASKS = [
    (name, {"task": "classification", "pooling": pooling})
    for name, poolings in POOLINGS.items()
    for pooling in poolings
] + [(name, {"task": "tagging"}) for name in NETWORKS]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Score one row at a time, so that there is one shape."""
    monkeypatch.setattr(tasks, "MAX_ROWS", 1)


IDS = [f"{name} {' '.join(settings.values())}" for name, settings in TASKS]
every_task = pytest.mark.parametrize(("name", "settings"), TASKS, ids=IDS)
EACH_NETWORK = [
    *((name, {"task": "classification", "pooling": poolings[0]}) for name, poolings in POOLINGS.items()),
    *((name, {"task": "tagging"}) for name in ("lstm", "bidirectional compiled", "rotary")),
]
"""Pooling only takes what tagging has everywhere, so most networks need one of both tasks."""


def task_and_network(name, settings):
    config = from_flat({**NETWORKS[name], **settings, "sequence_length": T, "batch_size": 2})
    task = task_of(config, V, None, LABELS)
    keras.utils.set_random_seed(3)
    model = FAMILIES[config.model.model](config, task.network_vocab_size, task.outputs)
    random = np.random.default_rng(4)
    for weight in model.trainable_variables:  # Biases, too, and none of them small.
        weight.assign(weight + random.normal(0, 0.3, weight.shape))
    return task, model


def store_of(numbers, task):
    tokens, begins, labels, tags = [0], [], [], [-1]
    for number in numbers:
        if begins:
            tokens, tags = [*tokens, 0], [*tags, -1]
        begins.append(len(tokens))
        own = [-1] * len(EXAMPLES[number])
        for k, word in enumerate(WORDS[number]):
            own[word] = (number + k) % C
        tokens, tags = tokens + EXAMPLES[number], tags + own
        labels.append(TARGETS[number])
    columns = {"tag": np.array(tags, np.int32)}
    if task.name == "classification":
        columns = {"label": np.array(labels, np.int32)}
    counts = TextCounts(len(tokens) - 1, 9, 9, 9, len(begins))
    return TokenStore(np.array(tokens, np.uint16), np.array(begins), counts, None, columns)


class Measured:
    """Loss and gradients of a network, with one compiled function."""

    def __init__(self, task, model):
        self.task, self.model = task, model
        self._step = tf.function(self._of_batch, autograph=False)

    def _of_batch(self, inputs, targets, weights):
        with tf.GradientTape() as tape:
            features, _ = self.model.forward(inputs, self.model.initial_state(targets.shape[0]))
            loss = next_token_loss(features, self.model.output_weights(), targets, weights)
        variables = [variable.value for variable in self.model.trainable_variables]
        gradients = tape.gradient(loss.objective, variables, unconnected_gradients="zero")
        return loss.objective, [tf.convert_to_tensor(gradient) for gradient in gradients]

    def packed(self, numbers=ALL, change=lambda inputs: inputs):
        """Return the summed loss of some examples, and the gradients of all weights."""
        nats, sums = 0.0, 0
        for batch in self.task.scored(store_of(numbers, self.task)):
            beyond = [[0, 0], [0, MOST - batch.targets.shape[1]]]  # As many predictions in all rows.
            inputs = {**batch.inputs, "predicted": np.pad(batch.inputs["predicted"], beyond)}
            loss, gradients = self._step(
                change({name: tf.constant(value) for name, value in inputs.items()}),
                *(tf.constant(np.pad(values, beyond)) for values in (batch.targets, batch.weights)),
            )
            nats, sums = nats + float(loss), [a.numpy() + b for a, b in zip(gradients, sums or [0] * 99)]
        return nats, sums

    def alone(self):
        """Return the same of all examples, one after the other."""
        found = [self.packed([number]) for number in ALL]
        return sum(nats for nats, _ in found), [sum(parts) for parts in zip(*(each for _, each in found))]


def is_same(one, other):
    """Tell whether losses and gradients are the same, relative to the largest number of each."""
    (nats, gradients), (other_nats, others) = one, other
    close = [np.allclose(a, b, 1e-5, 1e-5 * max(1, np.abs(b).max())) for a, b in zip(gradients, others)]
    return np.isclose(nats, other_nats, 1e-5) and all(close)


@pytest.mark.parametrize(("name", "settings"), others_slow(TASKS, EACH_NETWORK), ids=IDS)
def test_loss_and_gradient_are_those_of_the_examples_alone(name, settings):
    task, model = task_and_network(name, settings)
    assert task.plan(store_of(ALL, task)).count > 1
    measured = Measured(task, model)
    alone = measured.alone()
    assert is_same(measured.packed(), alone)
    # The check can fail: texts that see each other.
    together = measured.packed(change=lambda inputs: {**inputs, "document": inputs["document"] * 0})
    assert not is_same(together, alone)


@pytest.mark.parametrize(("name", "module"), [("gpt", gpt), ("bert", bert), ("glm", glm)])
def test_the_check_finds_positions_that_count_from_the_beginning_of_the_row(monkeypatch, name, module):
    task, model = task_and_network(name, {"task": "tagging"})
    alone = Measured(task, model).alone()
    in_row = lambda document: tf.range(tf.shape(document)[1])[None] + document * 0  # noqa: E731
    monkeypatch.setattr(module, "positions_within", in_row)
    assert not is_same(Measured(task, model).packed(), alone)


@every_task
def test_predictions_are_those_of_the_examples_alone(name, settings):
    task, model = task_and_network(name, settings)
    words = WORDS if settings["task"] == "tagging" else [None] * len(EXAMPLES)
    examples = [
        Example(np.array(tokens, np.int32), None if own is None else np.array(own))
        for tokens, own in zip(EXAMPLES, words)
    ]

    def predicted(examples, rows):
        found = {}
        for batch, numbers in task.batches(examples, rows, T):
            state = model.initial_state(len(numbers))
            features, _ = model.forward(batch.inputs, state)
            values = tf.nn.log_softmax(model.project(features)).numpy()
            found |= {int(numbers[r, k]): values[r, k] for r, k in zip(*np.nonzero(numbers >= 0))}
        return np.stack([found[number] for number in range(len(found))])

    packed = predicted(examples, 2)
    np.testing.assert_allclose(packed, np.concatenate([predicted([one], 1) for one in examples]), 1e-5, 1e-5)
    assert np.abs(packed[0] - packed[1]).max() > 1e-3


@every_task
def test_the_keras_model_predicts_the_same_whatever_the_padding(name, settings):
    task, model = task_and_network(name, settings)
    end = [] if task.frame.end_id is None else [task.frame.end_id]
    framed = [[task.frame.begin_id, *example, *end] for example in EXAMPLES]
    padded = keras.utils.pad_sequences(framed, padding="post", value=-1)
    together = model(padded).numpy()
    for row, tokens in zip(together, framed):
        (own,) = model(np.array([tokens])).numpy()
        np.testing.assert_allclose(row if own.ndim == 1 else row[: len(tokens)], own, 1e-5, 1e-5)
    assert model.compute_output_shape(padded.shape) == together.shape
    batch, numbers = next(task.batches([Example(np.array(tokens)) for tokens in EXAMPLES], 5, T))
    if settings["task"] == "classification":
        logits = model.project(model.forward(batch.inputs, model.initial_state(5))[0]).numpy()
        there = numbers >= 0
        np.testing.assert_allclose(logits[there], together[numbers[there]], 1e-4, 1e-5)
