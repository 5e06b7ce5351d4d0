"""Every task keeps the contract: R 3 rows, T 12, V 30, a text of 100 targets."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lm_keras import registry
from lm_keras.config import from_flat
from lm_keras.data.batch import INPUTS
from lm_keras.data.masking import Masking
from lm_keras.data.pipeline import training_batches
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.objectives.measures import MEASURES
from lm_keras.tasks import TASKS, check_fields, task_of
from lm_keras.text.sentencepiece import SentencePieceTokenizer

R, T, V, TARGETS = 3, 12, 30, 100
TOKENS = np.concatenate([[0], np.random.default_rng(6).integers(2, V, TARGETS)]).astype(np.uint16)
STORE = TokenStore(TOKENS, np.array([1]), TextCounts(TARGETS, 2 * TARGETS, 20, TARGETS))


OF_TEXTS = [family for family in FAMILIES if registry.tasks_of(family)[0] != "seq2seq"]
"""Families that read a text without columns."""


def task(family, **settings):
    return task_of(from_flat({"model": family, "sequence_length": T, "batch_size": R, **settings}), V)


def batches(made, store=STORE, steps=3):
    return list(
        training_batches(lambda rows, step: made.batch(rows, store, step), made.order(store), 0, steps)
    )


def test_every_family_has_tasks_and_every_task_a_class():
    assert all(map(registry.tasks_of, FAMILIES))
    assert (
        set(TASKS)
        == set(registry.TASKS)
        == {name for family in FAMILIES for name in registry.tasks_of(family)}
    )
    assert {name: kind.name for name, kind in TASKS.items()} == {name: name for name in TASKS}


@pytest.mark.parametrize("family", OF_TEXTS)
def test_a_batch_has_the_shapes_that_the_task_says(family):
    made = task(family)
    length, count = made.row_length(T), made.predictions(T)
    for inputs, targets, weights in batches(made):
        assert set(inputs) <= set(INPUTS)
        assert inputs["tokens"].shape == (R, length)
        assert targets.shape == weights.shape == (R, count)
        for name, value in inputs.items():
            sizes = {"B": R, "T": length, "K": count}
            shape = [sizes[letter] for letter in INPUTS[name].shape.strip("[]").split(", ")]
            assert (value.shape, value.dtype) == (shape, tf.as_dtype(INPUTS[name].dtype))
        assert int(tf.reduce_max(inputs["tokens"])) < V + made.extra_tokens


@pytest.mark.parametrize("family", OF_TEXTS)
def test_an_evaluation_is_the_same_every_time(family):
    made = task(family)
    one, two = list(made.scored(STORE)), list(made.scored(STORE))
    tf.nest.map_structure(np.testing.assert_array_equal, one, two)
    scored = sum(int((batch.weights > 0).sum()) for batch in one)
    assert scored == TARGETS if family in ("ngram", "lstm", "gpt") else 0 < scored < TARGETS
    found = made.measures({"nats": 7.0, "correct": 3, "weight": scored}, STORE.counts)
    assert found["nats_per_token"] == pytest.approx(7 / scored) and found["accuracy"] == 3 / scored
    assert made.best[0] in found


def test_where_rows_begin_is_found_once_for_each_text_and_length(monkeypatch):
    text = "The cat sat. It sat on the mat! Did the dog see it? No.\n" * 30
    settings = {"vocab_size": 40, "normalization": "none", "model_type": "bpe", "byte_fallback": False}
    tokenizer = SentencePieceTokenizer.train([text], settings)
    config = from_flat({"model": "bert", "sequence_length": T, "batch_size": R})
    made = task_of(config, tokenizer.vocab_size, tokenizer)
    tokens = np.array([tokenizer.eod_id, *tokenizer.encode(text)], np.uint16)
    store = TokenStore(tokens, np.array([1]), TextCounts(len(tokens) - 1, 9, 9, 9))
    walks, begins = [], Masking.begins
    monkeypatch.setattr(Masking, "begins", lambda *args: walks.append(args) or begins(*args))
    for _ in range(2):
        made.order(store)
        list(made.scored(store))
    assert len(walks) == 1
    other = TokenStore(tokens.copy(), store.documents, store.counts)
    made.order(other)
    assert len(walks) == 2


def test_what_decides_which_weights_are_the_best():
    assert task("gpt").judged_by == ("nats_per_token", "low")
    assert task("bert", best_by="accuracy").judged_by == ("accuracy", "high")
    better = {name for name, measure in MEASURES.items() if measure.better}
    assert better == {"loss", "ended", *registry.SCORES}  # Answers that end may be wrong.
    with pytest.raises(InputError, match="--best_by=acuracy is unknown"):
        task("gpt", best_by="acuracy")


@pytest.mark.parametrize("family", ["bert", "glm"])
@pytest.mark.parametrize("best_by", registry.OF_WHOLE_TEXT)
def test_what_masked_tokens_do_not_have_decides_nothing(family, best_by):
    with pytest.raises(InputError, match=f"--best_by={best_by} has no meaning for --task="):
        task(family, best_by=best_by)
    assert task("lstm", best_by=best_by).judged_by == (best_by, "low")


@pytest.mark.parametrize(
    ("family", "stride", "said"),
    [
        ("ngram", 2, "stride=2 has no meaning for a model that looks back 4 tokens"),
        ("bert", 2, "stride=2 has no meaning for --task=masked_lm"),
        ("gpt", 13, "stride=13: expected 1 to 12"),
        ("glm", 0, "stride=0: expected 1 to 12"),
    ],
)
def test_a_stride_that_has_no_meaning(family, stride, said):
    with pytest.raises(InputError, match=said):
        task(family).in_windows(stride)


def test_a_stride_scores_every_target(store=STORE):
    for family in ("lstm", "gpt", "glm"):
        made = task(family).in_windows(5)
        assert sum(int((batch.weights > 0).sum()) for batch in made.scored(store)) == TARGETS
        assert made.measures({"nats": 7.0, "correct": 3, "weight": TARGETS}, store.counts)["stride"] == 5


def test_a_source_has_to_have_the_fields_that_a_task_needs(monkeypatch):
    config = from_flat({"corpus": "text:a.txt", "test_corpus": "python-docs"})
    check_fields(config)
    monkeypatch.setattr(TASKS["causal_lm"], "fields", ("text", "answer"))
    pairs = dataclasses.replace(registry.SOURCES["text"], fields=("text", "answer"))
    monkeypatch.setitem(registry.SOURCES, "text", pairs)
    with pytest.raises(InputError) as caught:
        check_fields(config)
    assert str(caught.value) == (
        "--task=causal_lm needs the field 'answer' of each record, and --test_corpus=python-docs has none;"
        " take one of text:GLOB"
    )
