"""Spans: the docstring's rows, what a row keeps of its text, how long and where spans are. t 20, V 50,
[MASK] 1.
"""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.data.order import WindowOrder
from lm_keras.data.pipeline import training_batches
from lm_keras.data.spans import END, GENERATE, NO_ORDER, START, Spans
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.tasks.infilling import Infilling

T, V, MASK = 20, 50, 1
SHORT = Spans(T, V, MASK, rate=0.3, long_share=0.0, seed=7)
LONG = dataclasses.replace(SHORT, long_share=1.0)
BOTH = dataclasses.replace(SHORT, long_share=0.5)
TEXT = np.random.default_rng(3).integers(2, V, [6, T]).astype(np.int32)


def made(maker, texts=TEXT, there=None, step=0, first=0):
    there = np.ones_like(texts, bool) if there is None else there
    inputs, targets, weights = maker(
        tf.constant(texts), tf.constant(there), tf.constant(step, tf.int64), tf.constant(first, tf.int64)
    )
    return {name: value.numpy() for name, value in inputs.items()}, targets.numpy(), weights.numpy()


def shown_in_the_docstring():
    """Each of the tables as name -> numbers."""
    tables = [{}]
    for line in Spans.__doc__.splitlines():
        found = re.match(r" +(tokens|position|within|order|predicted|targets|weights) +([-\d ]+)$", line)
        if found:
            tables[-1][found[1]] = [NO_ORDER if n == "-" else int(n) for n in found[2].split()]
        elif tables[-1]:
            tables.append({})
    return [table for table in tables if table]


def test_the_rows_of_the_docstring():
    text = np.arange(11, 17)
    maker = Spans(6, 20, 1, rate=0.5, long_share=0.0)
    short = maker.arranged(text, [(2, 3), (4, 6)], [1, 0])
    long = maker.continued(text, 3)
    first, second = shown_in_the_docstring()
    for row, table in ((short, first), (long, second)):
        for name, values in row._asdict().items():
            assert values.tolist() == table[name], name


def text_of(tokens, targets, weights, positions, position):
    """Put the spans of part B back into part A."""
    spans, current = {}, []
    for at, target, weight in zip(positions, targets, weights):
        if not weight:
            break
        if tokens[at] == V + START:
            current = spans.setdefault(int(position[at]), [])
        if target != V + END:
            current.append(int(target))
    text = []
    for at, token in enumerate(tokens[: positions[0]]):
        text += spans[at] if at in spans else [int(token)]
    return text


@pytest.mark.parametrize("maker", [SHORT, LONG, BOTH], ids=["short", "long", "both"])
def test_nothing_of_a_text_is_lost(maker):
    for step in range(50):
        inputs, targets, weights = made(maker, step=step)
        for row, text in enumerate(TEXT):
            parts = (
                inputs["tokens"][row],
                targets[row],
                weights[row],
                inputs["predicted"][row],
                inputs["position"][row],
            )
            assert text_of(*parts) == text.tolist()


def test_part_b_reads_what_it_predicted_and_knows_its_positions():
    inputs, targets, weights = made(SHORT)
    for row in range(len(TEXT)):
        count = int(weights[row].sum())
        positions = inputs["predicted"][row, :count]
        assert positions.tolist() == list(range(positions[0], positions[0] + count))
        tokens, within = inputs["tokens"][row, positions], inputs["within"][row, positions]
        assert (within[tokens == V + START] == 1).all()
        follows = within > 1
        np.testing.assert_array_equal(tokens[follows], targets[row, :count][np.flatnonzero(follows) - 1])
        np.testing.assert_array_equal(within[follows], within[np.flatnonzero(follows) - 1] + 1)
        order = inputs["order"][row]
        assert (order[: positions[0]] == 0).all() and order[positions].tolist() == list(range(1, count + 1))
        assert (order[positions[-1] + 1 :] == NO_ORDER).all()
        masks = np.flatnonzero(inputs["tokens"][row, : positions[0]] == MASK)
        assert set(inputs["position"][row, positions]) == set(masks)
        np.testing.assert_array_equal(inputs["position"][row, : positions[0]], np.arange(positions[0]))


def test_lengths_are_poisson_and_a_row_hides_its_share():
    maker = Spans(2000, V, MASK, rate=0.15, long_share=0.0, seed=5)
    lengths, random = [], np.random.default_rng(0)
    for _ in range(60):
        spans = maker._spans(2000, random)
        assert sum(end - begin for begin, end in spans) == maker.masked == 300
        assert all(later[0] - earlier[1] >= 1 for earlier, later in zip(spans, spans[1:]))
        lengths += [end - begin for begin, end in spans]
    found = np.bincount(lengths, minlength=9)[:9] / len(lengths)
    poisson = np.array([np.exp(-3) * 3.0**n / np.prod(np.arange(1, n + 1)) for n in range(9)])
    poisson[1] += poisson[0]  # At least one token.
    poisson[0] = 0
    np.testing.assert_allclose(found, poisson, atol=0.012)


def test_all_positions_are_masked_equally_often_and_spans_come_in_any_order():
    counts, turns = np.zeros(T), np.zeros(2)
    for step in range(400):
        inputs, _, _ = made(SHORT, step=step)
        for row in range(len(TEXT)):
            starts = inputs["position"][row][inputs["tokens"][row] == V + START]
            if len(starts) > 1:
                turns[int(starts[0] > starts[1])] += 1
        random = np.random.default_rng(step)
        for begin, end in SHORT._spans(T, random):
            counts[begin:end] += 1
    np.testing.assert_allclose(turns / turns.sum(), 0.5, atol=0.04)
    # The ends are masked less often, since gaps are equally likely and not positions.
    assert counts[4:-4].min() > 0.7 * counts[4:-4].max() and counts.min() > 0.3 * counts.max()


def test_long_spans_begin_anywhere_and_are_half_of_the_rows():
    begins, long = [], 0
    for step in range(200):
        inputs, _, weights = made(BOTH, step=step)
        is_long = (inputs["tokens"] == V + GENERATE).any(1)
        long += is_long.sum()
        begins += (T - weights[is_long].sum(1)).tolist()
    assert abs(long / 1200 - 0.5) < 0.05
    counts = np.bincount(np.array(begins, int), minlength=T)
    assert len(counts) == T and counts.min() > 0.4 * counts.mean()


def test_spans_are_a_function_of_seed_step_and_row():
    whole, *_ = made(BOTH)
    parts = [made(BOTH, TEXT[half : half + 3], first=half)[0] for half in (0, 3)]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), values)
    for other in (made(BOTH, step=1), made(dataclasses.replace(BOTH, seed=8)), made(BOTH, first=6)):
        assert (other[0]["tokens"] != whole["tokens"]).any()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("maker", [SHORT, LONG], ids=["short", "long"])
def test_rows_at_the_end_of_a_text_have_few_tokens(maker, count):
    inputs, targets, weights = made(maker, TEXT[:, :T], np.arange(T)[None] < np.full([6, 1], count))
    assert (weights.sum(1) > 0).all() == (count > 0)
    assert (inputs["order"] != NO_ORDER).sum(1).max() <= count + 2 * SHORT.most_spans
    for row in range(6) if count else ():
        parts = (
            inputs["tokens"][row],
            targets[row],
            weights[row],
            inputs["predicted"][row],
            inputs["position"][row],
        )
        assert text_of(*parts) == TEXT[row, :count].tolist()


def test_unknown_tokens_are_not_predicted():
    maker, text = dataclasses.replace(SHORT, unknown_id=3), TEXT.copy()
    text[:, ::2] = 3
    _, targets, weights = made(maker, text)
    assert (weights[targets == 3] == 0).all() and weights.sum() > 0


def test_a_row_has_the_tokens_that_are_there_wherever_they_are():
    there = np.arange(T)[None] >= np.full([6, 1], T - 7)
    inputs, targets, weights = made(SHORT, TEXT, there)
    for row in range(6):
        parts = (
            inputs["tokens"][row],
            targets[row],
            weights[row],
            inputs["predicted"][row],
            inputs["position"][row],
        )
        assert text_of(*parts) == TEXT[row, -7:].tolist()


def test_what_begins_documents_is_never_predicted():
    maker, text = dataclasses.replace(LONG, unscored=4), TEXT.copy()
    text[:, ::3] = 4
    _, targets, weights = made(maker, text)
    assert (weights[targets == 4] == 0).all() and weights.sum() > 0
    _, targets, weights = maker.continuations(text, np.ones_like(text, bool))
    assert (weights[targets == 4] == 0).all() and weights.sum() == (text != 4).sum()


def test_a_continuation_predicts_what_is_asked_for():
    scored = np.zeros_like(TEXT, bool)
    scored[:, 12:17] = True
    inputs, targets, weights = SHORT.continuations(TEXT, scored)
    np.testing.assert_array_equal(targets[:, :5], TEXT[:, 12:17])
    assert weights.sum(1).tolist() == [5] * 6
    np.testing.assert_array_equal(inputs["tokens"][:, :12], TEXT[:, :12])
    assert (inputs["tokens"][:, 12:14] == [V + GENERATE, V + START]).all()


def test_the_pipeline_deals_rows_out_alike_for_any_replicas():
    tokens = np.random.default_rng(1).integers(0, V, 500).astype(np.uint16)
    order = WindowOrder(499, 4, T, seed=3)
    store = TokenStore(tokens, np.array([1]), TextCounts(499, 499, 499, 499))
    task = Infilling(vocab_size=V, sequence_length=T, spans=BOTH)

    def batch(rows, step):
        return task.batch(rows, store, step)

    def batches(replicas):
        parts = list(training_batches(batch, order, 2, 5, replicas=replicas, all_replicas=replicas))
        return [
            np.concatenate([part[0]["tokens"] for part in parts[n : n + replicas]])
            for n in range(0, len(parts), replicas)
        ]

    for one, two in zip(batches(1), batches(2), strict=True):
        np.testing.assert_array_equal(one, two)
