"""Masking: R 6 rows of 20 tokens of text, T 22, V 50."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.data.masking import AROUND, NO_DOCUMENT, Masking, masked_positions, word_beginnings
from lm_keras.data.order import PackedOrder, WindowOrder
from lm_keras.data.pipeline import training_batches
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.tasks.masked_lm import MaskedLM
from lm_keras.text import train_tokenizer

R, TEXT, V, MASK, END = 6, 20, 50, 1, 0
T = TEXT + AROUND
ORDINARY = np.arange(V) > 1
MASKING = Masking(0.3, 7, MASK, ORDINARY)
K = masked_positions(T, 0.3)
TOKENS = np.random.default_rng(3).integers(2, V, [R, TEXT]).astype(np.int32)


def framed(tokens):
    return np.pad(tokens, [(0, 0), (1, 1)], constant_values=END)


def hidden(masking=MASKING, tokens=TOKENS, there=None, step=0, first=0):
    there = np.ones_like(tokens, bool) if there is None else there
    inputs, targets, weights = masking(
        tf.constant(tokens), tf.constant(there), tf.constant(step, tf.int64), tf.constant(first, tf.int64)
    )
    return {name: value.numpy() for name, value in inputs.items()}, targets.numpy(), weights.numpy()


def test_as_many_positions_of_every_row_are_predicted_and_nothing_else_changes():
    inputs, targets, weights = hidden()
    assert targets.shape == weights.shape == inputs["predicted"].shape == (R, K) and K == 7
    assert all(len(set(row)) == K for row in inputs["predicted"].tolist())
    np.testing.assert_array_equal(targets, np.take_along_axis(framed(TOKENS), inputs["predicted"], 1))
    untouched = np.ones([R, T], bool)
    np.put_along_axis(untouched, inputs["predicted"], False, 1)
    np.testing.assert_array_equal(inputs["tokens"][untouched], framed(TOKENS)[untouched])
    assert (weights == 1).all() and (inputs["document"] == 0).all()


def test_of_ten_hidden_tokens_eight_are_masks_one_is_another_and_one_stays():
    kinds = np.zeros(3)
    for step in range(300):
        inputs, targets, _ = hidden(step=step)
        shown = np.take_along_axis(inputs["tokens"], inputs["predicted"], 1)
        kinds += [
            (shown == MASK).sum(),
            ((shown != MASK) & (shown != targets)).sum(),
            (shown == targets).sum(),
        ]
    # A random token is the true one once in 48 times.
    np.testing.assert_allclose(kinds / kinds.sum(), [0.8, 0.1 * 47 / 48, 0.1 + 0.1 / 48], atol=0.015)


def test_every_place_is_hidden_equally_often_and_each_time_others():
    counts = np.zeros(T)
    for step in range(400):
        counts += np.bincount(hidden(step=step)[0]["predicted"].ravel(), minlength=T)
    assert counts[0] == counts[-1] == 0  # What stands around a text is known.
    np.testing.assert_allclose(counts[1:-1] / counts.sum(), 1 / TEXT, atol=0.008)
    assert (hidden(step=1)[0]["predicted"] != hidden(step=2)[0]["predicted"]).any()


def test_a_row_is_hidden_by_its_number_whoever_computes_it():
    whole, targets, _ = hidden(step=5)
    part, part_targets, _ = hidden(tokens=TOKENS[2:4], step=5, first=2)
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][2:4])
    np.testing.assert_array_equal(part_targets, targets[2:4])
    assert (hidden(tokens=TOKENS[2:4], step=5)[0]["predicted"] != whole["predicted"][2:4]).any()


def test_what_is_no_text_is_never_hidden():
    tokens, there = TOKENS.copy(), np.ones_like(TOKENS, bool)
    tokens[:, ::2], there[0, 3:] = 0, False  # end-of-document at every other position
    for step in range(30):
        inputs, targets, weights = hidden(tokens=tokens, there=there, step=step)
        assert (targets[weights > 0] > 1).all()
        # Of two tokens of text 0.3 are one, and half of the other rows are ends of documents.
        assert weights[0].sum() == 1 and (weights[1:].sum(1) == K).all()
        # Of three tokens of text the last ends a document; of all others the row has an end of its own.
        length = np.array([4] + [T] * (R - 1))[:, None]
        assert (inputs["document"] == np.where(np.arange(T) < length, 0, NO_DOCUMENT)).all()
        # Of what is not predicted nothing changes either.
        assert inputs["tokens"][0, 4:].tolist() == [END] * (T - 4)


@pytest.mark.parametrize(("text", "predicted"), [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (12, 4), (20, 7)])
def test_of_a_row_that_is_not_full_the_same_share_is_predicted(text, predicted):
    there = np.tile(np.arange(TEXT) < text, (R, 1))
    assert (hidden(there=there)[2].sum(1) == predicted).all()


def test_a_row_that_is_not_full_hides_one_whole_word_at_least():
    masking = dataclasses.replace(MASKING, rate=0.15, begins_word=np.arange(V) % 2 == 0)
    tokens = np.full([R, TEXT], 3, np.int32)
    tokens[:, ::3] = 2  # Words of three tokens, of which K, three too, are one.
    there = np.tile(np.arange(TEXT) < 9, (R, 1))
    assert (hidden(masking, tokens, there)[2].sum(1) == 3).all()
    single = dataclasses.replace(masking, begins_word=None)
    assert (hidden(single, tokens, there)[2].sum(1) == 2).all()


def words_of(row, begins):
    starts = np.flatnonzero(begins[row])
    return [
        set(range(a, b))
        for a, b in zip([0, *starts] if 0 not in starts else starts, [*starts[starts > 0], len(row)])
    ]


def test_whole_words_are_hidden_or_left():
    begins = np.arange(V) % 3 == 0
    masking = dataclasses.replace(MASKING, begins_word=begins)
    cut = 0
    for step in range(40):
        inputs, _, weights = hidden(masking, step=step)
        for row, positions, weight in zip(TOKENS, inputs["predicted"], weights):
            chosen = set((positions[weight > 0] - 1).tolist())
            assert all(not (word & chosen) or word <= chosen for word in words_of(row, begins))
            cut += len(chosen) < K
    assert 0 < cut < 40 * R
    # The control: single tokens tear words apart.
    inputs, _, _ = hidden()
    torn = [
        word & set(positions) and not word <= set(positions)
        for row, positions in zip(TOKENS, (inputs["predicted"] - 1).tolist())
        for word in words_of(row, begins)
    ]
    assert any(torn)


def test_where_words_begin():
    text = "the cat sat on the mat\nand the dog ran after the cats\n" * 40
    tokenizer = train_tokenizer(
        "sentencepiece", [text], vocab_size=40, normalization="none", model_type="bpe", byte_fallback=False
    )
    begins = word_beginnings(tokenizer)
    ids = tokenizer.encode("the cat sat")
    starts = [tokenizer.label(i) for i in ids if begins[i]]
    assert len(starts) in (2, 3) and begins[tokenizer.eod_id]


def read_in(order, masking, tokens, step=0):
    """Rows of text of an epoch, as they were before anything was hidden."""
    rows, count = [], len(tokens) - 1
    store = TokenStore(tokens, np.array([1]), TextCounts(count, count, count, count))
    task = MaskedLM(vocab_size=97, sequence_length=12, masking=masking)
    for inputs, targets, _ in training_batches(
        lambda rows, step: task.batch(rows, store, step), order, step, step + order.steps_per_epoch
    ):
        at = tf.stack(
            [tf.broadcast_to(tf.range(4)[:, None], inputs["predicted"].shape), inputs["predicted"]], -1
        )
        original = tf.tensor_scatter_nd_update(inputs["tokens"], at, targets).numpy()
        rows += [row[there] for row, there in zip(original, inputs["document"].numpy() == 0)]
    return [row.tolist() for row in rows if len(row)]


@pytest.mark.parametrize("begins", [None, [0, 3, 4, 14, 20, 28, 38, 39, 49, 55, 65, 75, 85, 95]])
@pytest.mark.parametrize("epoch", [0, 3])
def test_every_token_of_an_epoch_is_read_once(begins, epoch):
    tokens = np.concatenate([[END], np.arange(2, 2 + 95)]).astype(np.uint32)
    order = WindowOrder(95, 4, 10, 1) if begins is None else PackedOrder(np.array(begins), 4, 10, 1)
    rows = read_in(order, Masking(0.15, 1, MASK, np.arange(97) > 1), tokens, epoch * order.steps_per_epoch)
    assert all(row[0] == row[-1] == END and len(row) <= 12 for row in rows)
    assert sorted(token for row in rows for token in row[1:-1]) == list(range(2, 97))
    if begins:
        assert sorted(len(row) - 2 for row in rows) == sorted(np.diff(begins).tolist())
        again = read_in(order, Masking(0.15, 1, MASK, np.arange(97) > 1), tokens, 9 * order.steps_per_epoch)
        assert rows != again and sorted(rows) == sorted(again)


def test_what_stands_around_a_text():
    begin, end = 3, 2
    masking = dataclasses.replace(MASKING, begin_id=begin, end_id=end, ordinary=np.arange(V) > 3)
    tokens = np.array([[9, 8, end, begin, 7, 6], [9, 8, 7, 6, 5, end], [begin, 9, 8, 7, 5, 5]])
    there = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], bool)
    inputs, targets, _ = hidden(masking, tokens.astype(np.int32), there)
    for row, positions, target in zip(inputs["tokens"], inputs["predicted"], targets):
        row[positions] = target
    assert inputs["tokens"].tolist() == [
        [begin, 9, 8, end, 7, 6, end, end],
        [begin, 9, 8, 7, 6, 5, end, end],
        [begin, 9, 8, 7, end, end, end, end],
    ]
    assert (inputs["document"] == 0).sum(1).tolist() == [7, 7, 5]


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (3, 0)])
def test_the_text_of_a_row_is_what_training_reads_between_those_around_it(begin, end):
    masking = dataclasses.replace(MASKING, begin_id=begin, end_id=end, ordinary=np.arange(V) > 3)
    tokens = np.random.default_rng(5).integers(0, 6, [200, 7]).astype(np.int32)
    inputs, targets, _ = hidden(masking, tokens)
    np.put_along_axis(inputs["tokens"], inputs["predicted"], targets, 1)
    for row, read, document in zip(tokens, inputs["tokens"], inputs["document"]):
        text = masking.text_of(row).tolist()
        assert read[document == 0].tolist() == [begin, *text, end]
        assert begin == end or begin not in text
    assert not len(masking.text_of(np.array([begin]))) and not len(masking.text_of(np.array([], int)))


@pytest.mark.parametrize(
    ("length", "rate", "count"), [(128, 0.15, 19), (10, 0.15, 2), (3, 0.1, 1), (512, 0.15, 77)]
)
def test_how_many(length, rate, count):
    assert masked_positions(length, rate) == count


def test_a_vocabulary_of_special_tokens_alone_has_nothing_to_hide():
    with pytest.raises(InputError, match="no token that could be masked"):
        Masking.of(from_flat({"model": "bert"}), 2)


def test_what_settings_say():
    made = Masking.of(from_flat({"model": "bert", "mask_rate": 0.2}), V)
    assert (
        (made.rate, made.mask_id, made.begins_word) == (0.2, 1, None)
        and not made.ordinary[1]
        and made.ordinary.sum() == V - 2
        and made.text_length == 62
    )
