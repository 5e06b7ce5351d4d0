"""Masking: R 6 rows, T 20, V 50."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.data.blanks import Blanks
from lm_keras.data.order import WindowOrder
from lm_keras.data.pipeline import training_batches
from lm_keras.layers.masking import NO_DOCUMENT, Masking, masked_places, word_beginnings
from lm_keras.text.sentencepiece import SentencePieceTokenizer
from lm_keras.training.hiding import hiding_of

R, T, V, MASK = 6, 20, 50, 1
ORDINARY = np.arange(V) > 1
MASKING = Masking(0.3, 7, MASK, ORDINARY)
K = masked_places(T, 0.3)
TOKENS = np.random.default_rng(3).integers(2, V, [R, T]).astype(np.int32)


def hidden(masking=MASKING, tokens=TOKENS, there=None, step=0, first=0):
    there = np.ones_like(tokens, bool) if there is None else there
    inputs, targets, weights = masking(
        tf.constant(tokens), tf.constant(there), tf.constant(step, tf.int64), tf.constant(first, tf.int64)
    )
    return {name: value.numpy() for name, value in inputs.items()}, targets.numpy(), weights.numpy()


def test_as_many_places_of_every_row_are_predicted_and_nothing_else_changes():
    inputs, targets, weights = hidden()
    assert targets.shape == weights.shape == inputs["places"].shape == (R, K) and K == 6
    assert all(len(set(row)) == K for row in inputs["places"].tolist())
    np.testing.assert_array_equal(targets, np.take_along_axis(TOKENS, inputs["places"], 1))
    untouched = np.ones_like(TOKENS, bool)
    np.put_along_axis(untouched, inputs["places"], False, 1)
    np.testing.assert_array_equal(inputs["tokens"][untouched], TOKENS[untouched])
    assert (weights == 1).all() and (inputs["document"] == 0).all()


def test_of_ten_hidden_tokens_eight_are_masks_one_is_another_and_one_stays():
    kinds = np.zeros(3)
    for step in range(300):
        inputs, targets, _ = hidden(step=step)
        shown = np.take_along_axis(inputs["tokens"], inputs["places"], 1)
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
        counts += np.bincount(hidden(step=step)[0]["places"].ravel(), minlength=T)
    np.testing.assert_allclose(counts / counts.sum(), 1 / T, atol=0.008)
    assert (hidden(step=1)[0]["places"] != hidden(step=2)[0]["places"]).any()


def test_a_row_is_hidden_by_its_number_whoever_computes_it():
    whole, targets, _ = hidden(step=5)
    part, part_targets, _ = hidden(tokens=TOKENS[2:4], step=5, first=2)
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][2:4])
    np.testing.assert_array_equal(part_targets, targets[2:4])
    assert (hidden(tokens=TOKENS[2:4], step=5)[0]["places"] != whole["places"][2:4]).any()


def test_what_is_no_text_is_never_hidden():
    tokens, there = TOKENS.copy(), np.ones_like(TOKENS, bool)
    tokens[:, ::2], there[0, 3:] = 0, False  # end-of-document at every other place
    for step in range(30):
        inputs, targets, weights = hidden(tokens=tokens, there=there, step=step)
        assert (targets[weights > 0] > 1).all()
        assert weights[0].sum() == 1 and (weights[1:] == 1).all()
        assert (inputs["document"] == np.where(there, 0, NO_DOCUMENT)).all()
        # Of what is not predicted nothing changes either.
        assert inputs["tokens"][0, 3:].tolist() == tokens[0, 3:].tolist()


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
        for row, places, weight in zip(TOKENS, inputs["places"], weights):
            chosen = set(places[weight > 0].tolist())
            assert all(not (word & chosen) or word <= chosen for word in words_of(row, begins))
            cut += len(chosen) < K
    assert 0 < cut < 40 * R
    # The control: single tokens tear words apart.
    inputs, _, _ = hidden()
    torn = [
        word & set(places) and not word <= set(places)
        for row, places in zip(TOKENS, inputs["places"].tolist())
        for word in words_of(row, begins)
    ]
    assert any(torn)


def test_where_words_begin():
    text = "the cat sat on the mat\nand the dog ran after the cats\n" * 40
    tokenizer = SentencePieceTokenizer.train(
        [text], 40, normalization="none", model_type="bpe", byte_fallback=False
    )
    begins = word_beginnings(tokenizer)
    ids = tokenizer.encode("the cat sat")
    starts = [tokenizer.label(i) for i in ids if begins[i]]
    assert len(starts) in (2, 3) and begins[tokenizer.eod_id]


def test_every_token_of_an_epoch_is_read_once():
    tokens = np.concatenate([[0], np.arange(2, 2 + 95)]).astype(np.uint32)
    order = WindowOrder(95, 4, 10, 1)
    masking = Masking(0.15, 1, MASK, np.arange(97) > 1)
    seen = []
    for inputs, targets, weights in training_batches(tokens, order, 0, order.steps_per_epoch, hiding=masking):
        original = tf.tensor_scatter_nd_update(
            inputs["tokens"],
            tf.stack([tf.broadcast_to(tf.range(4)[:, None], inputs["places"].shape), inputs["places"]], -1),
            targets,
        )
        seen += original.numpy()[inputs["document"].numpy() == 0].tolist()
        assert weights.shape == (4, 2)
    assert sorted(seen) == list(range(2, 97))


@pytest.mark.parametrize(
    ("length", "rate", "count"), [(128, 0.15, 19), (10, 0.15, 2), (3, 0.1, 1), (512, 0.15, 77)]
)
def test_how_many(length, rate, count):
    assert masked_places(length, rate) == count


def test_what_settings_say():
    assert hiding_of(from_flat({}), V) is None and type(hiding_of(from_flat({"model": "glm"}), V)) is Blanks
    made = Masking.of(from_flat({"model": "bert", "mask_rate": 0.2}), V)
    assert (
        (made.rate, made.mask_id, made.begins_word) == (0.2, 1, None)
        and not made.ordinary[1]
        and made.ordinary.sum() == V - 1
    )
