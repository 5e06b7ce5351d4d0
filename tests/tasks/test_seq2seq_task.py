"""The task seq2seq: batches, measures, settings, and that they are a function of the step.

V 43, R 2 rows, T 16; seven pairs.
"""

import numpy as np
import pytest
import tensorflow as tf
from pairs_in_memory import PAIRS, store_of

from lm_keras.config import from_flat
from lm_keras.data.batch import INPUTS
from lm_keras.data.pipeline import training_batches
from lm_keras.data.spans import END, GENERATE, START
from lm_keras.errors import InputError
from lm_keras.tasks import task_of

V, T = 43, 16
NETWORKS = {
    "transformer": {"source", "source_document", "tokens", "document", "reset"},
    "lstm": {"source", "source_document", "tokens", "document", "reset"},
    "gpt": {"tokens", "document", "predicted", "reset"},
    "glm": {"tokens", "document", "position", "within", "order", "predicted", "reset"},
}
every_network = pytest.mark.parametrize("model", NETWORKS)


def made(model="lstm", **settings):
    usual = {"model": model, "task": "seq2seq", "sequence_length": T, "batch_size": 2}
    return task_of(from_flat({**usual, **settings}), V)


def batches(task, store, first, last, **split):
    return list(
        training_batches(
            lambda rows, step: task.batch(rows, store, step), task.order(store), first, last, **split
        )
    )


@every_network
def test_a_batch_has_the_shapes_of_its_inputs(model):
    task, store = made(model), store_of(PAIRS)
    for inputs, targets, weights in batches(task, store, 0, 3):
        sizes = {"B": 2, "T": T, "S": T, "K": task.plan(store).predictions}
        assert set(inputs) == NETWORKS[model]
        assert targets.shape == weights.shape == (2, sizes["K"]) and sizes["K"] <= task.predictions(T)
        for key, value in inputs.items():
            shape = [sizes[letter] for letter in INPUTS[key].shape.strip("[]").split(", ")]
            assert (value.shape, value.dtype) == (shape, tf.as_dtype(INPUTS[key].dtype))


@every_network
def test_every_epoch_and_every_evaluation_have_every_target_once(model):
    task, store = made(model), store_of(PAIRS)
    expected = sorted([token for _, target in PAIRS for token in target] + [task.end_id] * len(PAIRS))
    steps = task.order(store).steps_per_epoch
    for epoch in range(3):
        found = [
            targets[weights > 0].numpy()
            for _, targets, weights in batches(task, store, epoch * steps, (epoch + 1) * steps)
        ]
        assert sorted(np.concatenate(found).tolist()) == expected
    found = [targets[weights > 0] for _, targets, weights in task.scored(store)]
    assert sorted(np.concatenate(found).tolist()) == expected


@every_network
def test_batches_are_a_function_of_the_step(model):
    """Law 3: a run that goes on reads what the whole run would have read; control: another step."""
    whole = batches(made(model), store_of(PAIRS), 0, 7)
    rest = batches(made(model), store_of(PAIRS), 4, 7)
    flat = [[value.numpy().tolist() for value in tf.nest.flatten(batch)] for batch in whole]
    assert flat[4:] == [[value.numpy().tolist() for value in tf.nest.flatten(batch)] for batch in rest]
    assert flat[4] != flat[5]


@every_network
def test_replicas_share_the_rows_of_a_step(model):
    """Law 2: two replicas have the rows of one, half each."""
    task, store = made(model), store_of(PAIRS)
    whole = batches(task, store, 0, 3)
    parts = batches(task, store, 0, 3, replicas=2, all_replicas=2)
    for step, batch in enumerate(whole):
        both = zip(*(tf.nest.flatten(part) for part in parts[2 * step : 2 * step + 2]))
        together = [np.concatenate([part.numpy() for part in one]) for one in both]
        assert all(map(np.array_equal, together, [value.numpy() for value in tf.nest.flatten(batch)]))


def test_the_special_tokens_of_each_network():
    for model in ("transformer", "lstm", "gpt"):
        task = made(model)
        assert (task.first_id, task.end_id, task.extra_tokens, task.network_vocab_size) == (0, 0, 0, V)
    glm = made("glm")
    assert (glm.first_id, glm.end_id, glm.mask_id) == (V + START, V + END, V + GENERATE)
    assert (glm.extra_tokens, glm.network_vocab_size) == (3, V + 3)


def test_rows_to_generate_from_are_those_of_training():
    for model in ("lstm", "gpt", "glm"):
        task, (source, _) = made(model), PAIRS[2]
        ids = np.array(source, np.int32)
        inputs, targets, weights = next(iter(task.scored(store_of(PAIRS[2:3]))))
        first = int(inputs["predicted"][0, 0]) if "predicted" in inputs else 0
        read = inputs["tokens"][0, : first + 1].tolist()
        assert task.prefix(ids) == read and read[-1] == task.first_id
        assert targets[0][weights[0] > 0][-1] == task.end_id
        if model == "lstm":
            made_rows = task.encoder_rows([ids])
            width = made_rows["source"].shape[1]
            there = made_rows["source_document"][0] == 0
            assert width == 8 and there.sum() == len(source) + 1
            assert made_rows["source"][0].tolist() == inputs["source"][0, :width].tolist()


def test_sources_are_cut_to_what_the_network_reads():
    ids = np.arange(20, dtype=np.int32)
    assert made("lstm").fitting(ids).tolist() == list(range(15))
    assert made("lstm").fitting(ids, "cut_start").tolist() == list(range(5, 20))
    assert made("gpt").fitting(ids).tolist() == list(range(12))
    assert made("gpt").fitting(ids[:12]).tolist() == list(range(12))


def test_measures():
    task = made()
    found = task.measures({"nats": 8.0, "correct": 3, "weight": 4.0}, None)
    assert (
        found["nats_per_token"] == 2
        and found["accuracy"] == 0.75
        and found["perplexity"] == pytest.approx(np.exp(2))
    )
    assert task.judged_by == ("nats_per_token", "low") and made(best_by="perplexity").judged_by[1] == "low"
    assert task.training_measures({"nats": 8.0, "correct": 3, "weight": 4.0}, None)["accuracy"] == 0.75


def test_label_smoothing_is_a_tenth_without_the_setting():
    def smoothing(**settings):
        return from_flat({"model": "lstm", **settings}).label_smoothing

    assert smoothing(task="seq2seq") == 0.1 and smoothing(task="seq2seq", label_smoothing=0.0) == 0
    assert smoothing() == 0 and smoothing(label_smoothing=0.2) == 0.2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "bert"}, "--task=seq2seq has no meaning for --model=bert"),
        ({"model": "ngram"}, "--task=seq2seq has no meaning for --model=ngram"),
        (
            {"model": "transformer", "task": None, "best_by": "mcc"},
            "--best_by=mcc has no meaning for --task=seq2seq",
        ),
        ({"too_long": "windows"}, "--too_long=windows has no meaning for --task=seq2seq"),
        ({"batching": "stream"}, "--batching=stream has no meaning for --task=seq2seq"),
        ({"task": None, "source_field": "a"}, "--source_field=a has no meaning for --task=causal_lm"),
        ({"best_by": "mcc"}, "--best_by=mcc has no meaning for --task=seq2seq"),
        ({"task": None, "best_by": "bleu"}, "--best_by=bleu has no meaning for --task=causal_lm"),
        (
            {"sequence_length": 7},
            "--sequence_length=7 is too short for --model=lstm, which reads a source and",
        ),
    ],
)
def test_settings_without_meaning(settings, said):
    with pytest.raises(InputError, match=said):
        from_flat({"model": "lstm", "task": "seq2seq", **settings})


def test_the_task_of_a_transformer_is_seq2seq():
    assert from_flat({"model": "transformer"}).task == "seq2seq"


def test_a_stride_has_no_meaning():
    with pytest.raises(InputError, match="stride=3 has no meaning for --task=seq2seq"):
        made().in_windows(3)
