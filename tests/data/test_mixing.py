"""Corpora mixed by weight: which corpus each row is from, as a pure function of the step."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from test_order import rows_at

from lm_keras.config import DataConfig, from_flat
from lm_keras.data.corpus_weights import COLUMN, first_targets, packed_apart, shares_of, weights_of
from lm_keras.data.examples import packed
from lm_keras.data.mixing import MixedOrder, MixedStreams, mixed_order, pattern_of
from lm_keras.data.order import PackedOrder, StreamOrder, WindowOrder
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.tasks import task_of

STARTS = np.array([0, 60, 99])  # Two corpora with 60 and 39 targets.
WINDOWS = WindowOrder(targets=99, batch_size=7, sequence_length=5, seed=3)
PACKED = PackedOrder(np.arange(0, 100, 3), batch_size=7, sequence_length=5, seed=3)
ROWS = np.array([0, 20, 33])


def order_of(kind, weights):
    return mixed_order(PACKED, ROWS, weights) if kind == "packed" else mixed_order(WINDOWS, STARTS, weights)


def test_numbers_with_the_same_ratio():
    assert weights_of(None, 1) is None
    assert weights_of("3,1", 2) == weights_of("0.75, 0.25", 2) == weights_of("6,2", 2) == (3, 1)


@pytest.mark.parametrize(
    ("text", "corpora", "said"),
    [
        ("3,1", 1, "has 2 numbers, and --corpus names 1 corpus: expected one for each of several"),
        ("3", 1, "has 1 numbers, and --corpus names 1 corpus"),
        ("3,1,2", 2, "has 3 numbers, and --corpus names 2 corpora"),
        ("3,0", 2, "expected numbers above 0"),
        ("3,-1", 2, "expected numbers above 0"),
        ("3,x", 2, "expected numbers above 0"),
        ("nan,1", 2, "expected numbers above 0"),
        ("1,0.333333", 2, "with a sum of at most 10,000; round them"),
    ],
)
def test_weights_that_are_none(text, corpora, said):
    with pytest.raises(InputError, match=said):
        weights_of(text, corpora)


def test_a_pattern_spreads_the_rows_of_each_corpus():
    assert pattern_of((3, 1)).tolist() == [0, 0, 1, 0] and pattern_of((2, 3)).tolist() == [1, 0, 1, 0, 1]
    for weights in itertools.product(range(1, 6), repeat=3):
        assert np.bincount(pattern_of(weights)).tolist() == list(weights)


def test_rows_of_a_batch_are_shared():
    assert shares_of(32, (3, 1)) == [24, 8] and shares_of(5, (1, 1, 1)) == [2, 2, 1]
    for rows, weights in itertools.product(range(3, 40), [(3, 1), (1, 7, 2), (5, 4)]):
        shares = shares_of(rows, weights)
        assert sum(shares) == rows
        assert all(abs(a - rows * b / sum(weights)) < 1 for a, b in zip(shares, weights))


@pytest.mark.parametrize("kind", ["windows", "packed"])
def test_rows_come_in_the_ratio_of_the_weights(kind):
    order = order_of(kind, (3, 1))
    steps = range(40)
    starts = np.concatenate([rows_at(order, step)[0] for step in steps])
    ends = np.concatenate([rows_at(order, step)[1] for step in steps])
    first = starts[ends > starts] < 60
    assert 0.73 < first.mean() < 0.77
    control = mixed_order(WINDOWS, STARTS, (1, 1))
    starts = np.concatenate([rows_at(control, step)[0] for step in steps])
    assert (starts < 60).mean() < 0.6


@pytest.mark.parametrize("kind", ["windows", "packed"])
@pytest.mark.parametrize("weights", [(3, 1), (1, 2), (1, 1)])
def test_each_corpus_has_every_target_once_before_it_begins_again(kind, weights):
    order = order_of(kind, weights)
    seen = [[], []]
    for step in range(60):
        for begin, end in zip(*rows_at(order, step)[:2]):
            if end > begin:
                seen[int(begin >= 60)].append(range(begin, end))
                assert end <= 60 or begin >= 60  # No row has targets of both.
    for corpus, (first, size) in enumerate(((0, 60), (60, 39))):
        flat = np.array([place for row in seen[corpus] for place in row])
        for epoch in range(len(flat) // size):
            assert sorted(flat[epoch * size : (epoch + 1) * size]) == list(range(first, first + size))
        assert len(flat) >= 2 * size and flat[:size].tolist() != flat[size : 2 * size].tolist()


@pytest.mark.parametrize("kind", ["windows", "packed", "streams"])
def test_rows_are_a_function_of_the_step_and_of_their_number(kind):
    """Law 3: whatever was read before, and however the rows are shared out."""
    streams = mixed_order(StreamOrder(99, 7, 5, seed=3, state_reset=0.3), STARTS, (3, 1))
    order = streams if kind == "streams" else order_of(kind, (3, 1))
    function = tf.function(lambda step, row: (lambda r: (r.start, r.end, r.reset))(order.rows(step, row)))
    for step in (0, 5, 17, 3):
        whole = rows_at(order, step)
        parts = [rows_at(order, step, np.array([row])) for row in range(7)]
        inside = function(tf.constant(step, tf.int64), tf.range(7, dtype=tf.int64))
        for n, values in enumerate(whole):
            assert values.tolist() == [part[n][0] for part in parts] == inside[n].numpy().tolist()


def test_streams_of_each_corpus_have_some_of_the_rows():
    order = mixed_order(StreamOrder(99, 6, 5), STARTS, (2, 1))
    assert isinstance(order, MixedStreams) and [part.batch_size for part in order.parts] == [4, 2]
    assert order.batch_size == 6 and order.targets == 99 and order.steps_per_epoch == 4
    for corpus, (rows, first, size) in enumerate(((range(4), 0, 60), (range(4, 6), 60, 39))):
        steps = order.parts[corpus].steps_per_epoch
        seen = [
            place
            for step in range(steps)
            for begin, end in zip(*(values[rows.start : rows.stop] for values in rows_at(order, step)[:2]))
            for place in range(begin, end)
        ]
        assert sorted(seen) == list(range(first, first + size))
        assert rows_at(order, steps)[2][rows.start : rows.stop].all()  # It begins again.


def test_a_corpus_without_a_row_is_refused():
    with pytest.raises(
        InputError, match="rows leave none for corpus 2 of --corpus, with the weights 9,1; raise"
    ):
        mixed_order(StreamOrder(99, 3, 5), STARTS, (9, 1))
    with pytest.raises(InputError, match="corpus 2 of --corpus has nothing in the training text"):
        mixed_order(WINDOWS, np.array([0, 99, 99]), (1, 1))


def test_examples_of_each_corpus_have_rows_of_their_own():
    sizes = np.array([3, 2, 4, 1, 2, 2])
    members, begins, rows = packed_apart(lambda a, b: packed(sizes[a:b], 8), np.array([0, 3, 3, 6]))
    assert sorted(members[: begins[rows[1]]].tolist()) == [0, 1, 2] and rows.tolist() == [0, 2, 2, 3]
    whole = packed(sizes, 8)
    one = packed_apart(lambda a, b: packed(sizes[a:b], 8), np.array([0, 6]))
    assert [part.tolist() for part in one[:2]] == [part.tolist() for part in whole]


@pytest.fixture
def texts(tmp_path):
    for name, word in (("a", "up"), ("b", "down")):
        lines = "".join(f'{{"text": "{word} {n}"}}\n' for n in range(60 if name == "a" else 30))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    return f"text:{tmp_path}/a.jsonl text:{tmp_path}/b.jsonl", str(tmp_path / "cache")


@pytest.mark.parametrize("model", ["lstm", "gpt", "bert", "glm"])
def test_language_models_read_mixed_corpora(model, texts):
    corpus, cache = texts
    config = from_flat({
        "corpus": corpus, "corpus_weights": "1,3", "cache_dir": cache, "tokenizer": "char",
        "split": "80/10/10", "model": model, "num_heads": 2 if model != "lstm" else 4,
        "sequence_length": 16, "batch_size": 8,
    })  # fmt: skip
    data = prepare(config.data, needs_mask=config.needs_mask)
    store = data.splits["train"]
    starts = first_targets(store, 2)
    assert starts[0] == 0 and starts[2] == len(store.tokens) - 1
    word = data.tokenizer.decode(store.tokens[starts[1] + 1 : starts[1] + 5].tolist())
    assert word == "down" and np.asarray(store.columns[COLUMN]).tolist() == sorted(store.columns[COLUMN])
    task = task_of(config, data.tokenizer.vocab_size, data.tokenizer)
    order = task.order(store)
    assert isinstance(order, MixedStreams if model == "lstm" else MixedOrder)
    begins = np.concatenate([rows_at(order, step)[0] for step in range(8)])
    assert (begins >= starts[1]).mean() > 0.65
    assert sum(batch.weights.sum() for batch in task.scored(data.splits["valid"])) > 0
    control = task_of(
        from_flat({**config.flat(), "corpus_weights": None}), data.tokenizer.vocab_size, data.tokenizer
    )
    begins = np.concatenate([rows_at(control.order(store), step)[0] for step in range(8)])
    assert (begins >= starts[1]).mean() < 0.5


def test_corpora_without_weights_are_one_text(texts):
    corpus, cache = texts
    data = prepare(DataConfig(corpus=corpus, cache_dir=cache, tokenizer="char", split="80/10/10"))
    assert data.splits["train"].columns == {}
    assert data.report["splits"]["train"]["corpus"] == corpus
