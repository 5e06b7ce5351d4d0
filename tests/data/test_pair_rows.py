"""Rows of whole pairs: n 7, T 16; every pair once, with its tokens, whatever the layout."""

import dataclasses

import numpy as np
import pytest
from pairs_in_memory import PAIRS, store_of

from lm_keras.data.batch import INPUTS
from lm_keras.data.pair_packing import packed_pairs
from lm_keras.data.pair_rows import PairFrame, RowsApart, RowsTogether, padded
from lm_keras.data.pairs import Fitted, Pairs, check_sides
from lm_keras.data.spans import NO_ORDER
from lm_keras.errors import InputError

T = 16


def apart(pairs=PAIRS, length=T, too_long=None, corpora=None):
    corpora = np.array([0, len(pairs)]) if corpora is None else corpora
    return RowsApart.of(Pairs.in_store(store_of(pairs)), PairFrame(7, 9, 9), length, too_long, corpora)


def together(pairs=PAIRS, length=T, too_long=None, mask_id=None):
    corpora = np.array([0, len(pairs)])
    return RowsTogether.of(
        Pairs.in_store(store_of(pairs)), PairFrame(7, 9), length, too_long, corpora, mask_id
    )


@pytest.mark.parametrize("unscored", [None, 5])
def test_the_sides_of_a_store(unscored):
    pairs = Pairs.in_store(store_of(PAIRS, unscored))
    for (source, target), begin, middle, end in zip(PAIRS, pairs.begins, pairs.middles, pairs.ends):
        assert pairs.tokens[begin:middle].tolist() == source and pairs.tokens[middle:end].tolist() == target


def test_the_example_of_rows_apart():
    rows = RowsApart.of(
        Pairs.in_store(store_of([([5, 6], [7]), ([8], [9, 9])])),
        PairFrame(1, 0, 0),
        6,
        None,
        np.array([0, 2]),
    )
    source, source_document, tokens, document, targets, weights = rows.arrays(np.array([0]), np.array([2]))
    order = rows.members.tolist()
    assert order == [0, 1]
    assert source.tolist() == [[5, 6, 0, 8, 0, 0]] and source_document.tolist() == [[0, 0, 0, 1, 1, 2]]
    assert tokens.tolist() == [[1, 7, 1, 9, 9, 1]] and document.tolist() == [[0, 0, 1, 1, 1, 3]]
    assert targets.tolist() == [[7, 0, 9, 9, 0, 0]] and weights.tolist() == [[1, 1, 1, 1, 1, 0]]


def test_the_examples_of_rows_together():
    pairs = Pairs.in_store(store_of([([5, 6], [7]), ([8], [9, 9])]))
    rows = RowsTogether.of(pairs, PairFrame(1, 0), 9, None, np.array([0, 2]))
    arrays = dict(zip((*rows.names, "targets", "weights"), rows.arrays(np.array([0]), np.array([2]))))
    found = {name: values.tolist() for name, values in arrays.items()}
    assert rows.members.tolist() == [0, 1] and rows.predictions == 5
    assert found == {
        "tokens": [[5, 6, 1, 7, 8, 1, 9, 9, 1]], "document": [[0, 0, 0, 0, 1, 1, 1, 1, 2]],
        "predicted": [[2, 3, 5, 6, 7]], "targets": [[7, 0, 9, 9, 0]], "weights": [[1, 1, 1, 1, 1]],
    }  # fmt: skip
    pairs = Pairs.in_store(store_of([([5, 6], [7])]))
    rows = RowsTogether.of(pairs, PairFrame(1, 0), 6, None, np.array([0, 1]), 2)
    arrays = dict(zip((*rows.names, "targets", "weights"), rows.arrays(np.array([0]), np.array([1]))))
    assert {name: values[0].tolist() for name, values in arrays.items()} == {
        "tokens": [5, 6, 2, 1, 7, 1], "document": [0, 0, 0, 0, 0, 1], "position": [0, 1, 2, 2, 2, 0],
        "within": [0, 0, 0, 1, 2, 0], "order": [0, 0, 0, 1, 2, NO_ORDER], "predicted": [3, 4],
        "targets": [7, 0], "weights": [1, 1],
    }  # fmt: skip


def test_every_pair_is_there_once_apart():
    found = []
    for inputs, targets, weights in apart().blocks(2):
        for r in range(2):
            for d in np.unique(inputs["document"][r][weights[r] > 0]):
                own = inputs["source_document"][r] == d
                there = inputs["document"][r] == d
                assert (weights[r][there] == 1).all()
                said = targets[r][there].tolist()
                assert inputs["tokens"][r][there].tolist() == [7, *said[:-1]]
                found.append((inputs["source"][r][own].tolist(), said))
    assert sorted(found) == sorted(([*source, 9], [*target, 9]) for source, target in PAIRS)


@pytest.mark.parametrize("mask_id", [None, 8])
def test_every_pair_is_there_once_together(mask_id):
    found, mask = [], [] if mask_id is None else [mask_id]
    for inputs, targets, weights in together(mask_id=mask_id).blocks(2):
        for r in range(2):
            there = weights[r] > 0
            places = inputs["predicted"][r][there]
            for d in np.unique(inputs["document"][r][places]):
                own = np.flatnonzero(inputs["document"][r] == d)
                assert own.tolist() == list(range(own[0], own[-1] + 1))
                mine = inputs["document"][r][places] == d
                assert places[mine].tolist() == own[-mine.sum() :].tolist()
                said = targets[r][there][mine].tolist()
                whole = inputs["tokens"][r][own].tolist()
                source = whole[: len(whole) - len(said)]
                assert whole[len(source) :] == [7, *said[:-1]]
                found.append((source, said))
    assert sorted(found) == sorted(([*source, *mask], [*target, 9]) for source, target in PAIRS)


@pytest.mark.parametrize("rows", [apart(), together(), together(mask_id=8)])
def test_shapes_and_kinds_are_those_of_the_table(rows):
    arrays = rows.arrays(rows.begins[:-1], rows.begins[1:])
    assert [values.shape for values in arrays] == [(rows.count, width) for width in rows.widths]
    kinds = [INPUTS[name].dtype for name in rows.names] + ["int32", "float32"]
    assert [values.dtype.name for values in arrays] == kinds
    assert arrays[-1].sum() == rows.targets == sum(len(target) + 1 for _, target in PAIRS)
    if "document" in rows.names:
        document = arrays[rows.names.index("document")]
        assert (np.diff(document, axis=1) >= 0).all()


def test_an_empty_row_has_padding_alone():
    source, source_document, tokens, document, targets, weights = apart().arrays(np.array([3]), np.array([3]))
    assert (source == 9).all() and (source_document == 0).all() and (document == 1).all()
    assert (tokens == 7).all() and not targets.any() and not weights.any()


def test_rows_are_a_function_of_the_sizes():
    other = [([1] * len(source), [2] * len(target)) for source, target in PAIRS]
    one, two = apart(), apart(other)
    assert one.members.tolist() == two.members.tolist() and one.begins.tolist() == two.begins.tolist()
    control = apart([*PAIRS[:2], ([15], [26] * 3), *PAIRS[3:]])
    assert one.members.tolist() != control.members.tolist()


def test_packing_fills_both_sides():
    random = np.random.default_rng(3)
    source = np.clip(random.gamma(4, 4, 5000).astype(int), 2, 60)
    target = np.clip((source * random.uniform(0.8, 1.4, 5000)).astype(int), 2, 60)
    members, begins = packed_pairs(source, target, 128)
    assert sorted(members.tolist()) == list(range(5000))
    for sizes in (source, target):
        assert np.add.reduceat(sizes[members], begins[:-1]).max() <= 128
    padding = 1 - (source.sum() + target.sum()) / (2 * 128 * (len(begins) - 1))
    assert padding < 0.15
    alone = 1 - (source.sum() + target.sum()) / (2 * 128 * 5000)
    assert alone > 0.8


def test_a_text_sorted_by_length_is_packed_as_well():
    sizes = np.sort(np.random.default_rng(4).integers(2, 60, 4000))
    rows = len(packed_pairs(sizes, sizes, 64, pool=500)[1]) - 1
    assert sizes.sum() / (64 * rows) > 0.95


def test_sides_that_no_row_holds_are_a_fault():
    with pytest.raises(ValueError, match="sides of 1 to 9 tokens for rows of 8"):
        packed_pairs(np.array([1]), np.array([9]), 8)


def test_pairs_of_two_corpora_share_no_row():
    pairs = [([1], [2])] * 9
    assert apart(pairs).count == 2
    rows = apart(pairs, corpora=np.array([0, 4, 9]))
    assert rows.count == 2 and rows.corpora.tolist() == [0, 1, 2]
    assert sorted(rows.members[: rows.begins[1]].tolist()) == [0, 1, 2, 3]
    control = apart(pairs)
    assert sorted(control.members[: control.begins[1]].tolist()) != [0, 1, 2, 3]


LONG = [([1, 2, 3, 4, 5, 6], [11, 12]), ([1], [11, 12, 13, 14, 15, 16])]


def test_long_sides_are_cut_apart():
    rows = apart(LONG, 5)
    assert rows.fitted.source_sizes.tolist() == [4, 1] and rows.fitted.predicted.tolist() == [3, 5]
    found = {
        tuple(targets[r][weights[r] > 0].tolist()): inputs["source"][r].tolist()
        for inputs, targets, weights in rows.blocks(2)
        for r in range(2)
    }
    # A target that is cut has no end, for the network would learn to end there.
    assert found == {(11, 12, 9): [1, 2, 3, 4, 9], (11, 12, 13, 14, 15): [1, 9, 9, 9, 9]}
    rows = apart(LONG, 5, "cut_start")
    (source, *_) = rows.arrays(rows.begins[:-1], rows.begins[1:])
    assert [3, 4, 5, 6, 9] in source.tolist()


def test_a_language_is_never_cut_off():
    pairs = dataclasses.replace(Pairs.in_store(store_of(LONG)), kept_first=True)
    rows = RowsApart.of(pairs, PairFrame(7, 9, 9), 5, "cut_start", np.array([0, 2]))
    (source, *_) = rows.arrays(rows.begins[:-1], rows.begins[1:])
    assert [1, 4, 5, 6, 9] in source.tolist()


def test_long_pairs_are_cut_together():
    fitted = Fitted.together(Pairs.in_store(store_of(LONG)), 8, None)
    assert fitted.source_sizes.tolist() == [5, 1] and fitted.predicted.tolist() == [3, 7]
    fitted = Fitted.together(Pairs.in_store(store_of([([1] * 9, [2] * 3), ([1] * 9, [2] * 8)])), 10, None)
    assert fitted.source_sizes.tolist() == [6, 5] and fitted.target_sizes.tolist() == [3, 5]
    assert fitted.predicted.tolist() == [4, 5]


def test_what_is_too_long_is_told_with_its_place():
    pairs, said = Pairs.in_store(store_of(LONG)), []
    fitted = Fitted.apart(pairs, 4, 5, None)
    check_sides("valid", pairs, fitted, ("cut_end", "cut_end"), "a.de:{}".format, said.append)
    assert said == [
        "a.de:0: the source has 6 tokens, and its row has room for 4 (1 of 2 valid sources are too long; the"
        " longest, a.de:0, has 6): the tokens behind these are not read",
        "a.de:1: the target has 6 tokens, and its row has room for 5 (1 of 2 valid targets are too long; the"
        " longest, a.de:1, has 6): the tokens behind these are not read",
    ]
    with pytest.raises(InputError, match=r"a\.de:1: the target has 6 tokens"):
        check_sides("train", pairs, fitted, ("cut_end", "error"), "a.de:{}".format, said.append)


def test_rows_to_generate_from():
    tokens, lengths = padded([np.array([5] * 9), np.array([7])], 0)
    assert tokens.shape == (2, 16) and lengths.tolist() == [9, 1] and tokens[1].tolist() == [7] + [0] * 15
