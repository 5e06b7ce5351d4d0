"""How a split is laid out for evaluation. The texts count up, so that a token tells its place."""

import itertools

import numpy as np
import pytest

from lm_keras.data import scoring
from lm_keras.errors import InputError


def scored(blocks):
    """Targets that are scored, in the order of the layout."""
    return np.concatenate([block.targets[block.weights == 1] for block in blocks])


def each_once(blocks, targets):
    """Whether the targets 1 ... n are scored once each, every one after its own input."""
    after = all(
        np.array_equal(block.targets[block.weights == 1], block.tokens[block.weights == 1] + 1)
        and set(np.unique(block.weights)) <= {0, 1}
        for block in blocks
    )
    return after and sorted(scored(blocks)) == list(range(1, targets + 1))


def layout(targets, *settings, **more):
    return list(scoring.windows(np.arange(targets + 1), *settings, **more))


def test_the_example_of_windows():
    """The numbers of the docstring, n = 8, length 4, stride 2."""
    (block,) = layout(8, 4, 2, rows=5)
    rows = [targets[weights == 1].tolist() for targets, weights in zip(block.targets, block.weights)]
    assert rows == [[1, 2, 3, 4], [5, 6], [7, 8], [], []]
    assert block.tokens[:3, 0].tolist() == [0, 2, 4]
    assert block.tokens.shape == block.targets.shape == block.weights.shape == (5, 4)
    assert (block.tokens.dtype, block.targets.dtype, block.weights.dtype) == (np.int32, np.int32, np.float32)
    assert block.reset.tolist() == [True] * 5


@pytest.mark.parametrize("targets", [1, 2, 7, 8, 13, 99, 100, 257])
@pytest.mark.parametrize(("length", "stride"), [(7, 7), (7, 1), (7, 3), (13, 12), (1, 1), (99, 50), (300, 5)])
@pytest.mark.parametrize("rows", [1, 5, 32])
@pytest.mark.parametrize("like_documents", [False, True])
def test_windows_score_each_target_once(targets, length, stride, rows, like_documents):
    blocks = layout(targets, length, stride, rows=rows, like_documents=like_documents)
    assert each_once(blocks, targets)
    assert {block.tokens.shape for block in blocks} == {(rows, length + like_documents)}


def test_windows_that_begin_like_documents():
    """The same targets with the same tokens before them, but for the end-of-document token, here 0."""
    plain, (block,) = layout(8, 4, 2, rows=3), layout(8, 4, 2, rows=3, like_documents=True)
    assert block.tokens.tolist() == [[0, 1, 2, 3, 4], [0, 2, 3, 4, 5], [0, 4, 5, 6, 7]]
    assert block.weights[1:].tolist() == [[0, 0, 0, 1, 1]] * 2
    assert block.weights[0].tolist() == [1, 1, 1, 1, 0]
    assert scored([block]).tolist() == scored(plain).tolist()


def test_the_check_of_targets_can_fail():
    blocks = layout(99, 7, 3, rows=5)
    assert not each_once(blocks, 98)
    assert not each_once(blocks[:-1], 99)
    assert not each_once(blocks + blocks[:1], 99)
    blocks[0].targets[:] += 1
    assert not each_once(blocks, 99)


@pytest.mark.parametrize("stride", [0, -1, 8, 99])
def test_a_stride_that_would_skip_targets_is_refused(stride):
    with pytest.raises(InputError) as caught:
        layout(99, 7, stride)
    assert str(caught.value) == f"stride={stride}: expected 1 to 7, the length of a window"


def contexts(blocks):
    """For each target how many tokens of its row come before it, its input included."""
    return {
        int(block.targets[place]): place[1] + 1
        for block in blocks
        for place in zip(*np.nonzero(block.weights))
    }


@pytest.mark.parametrize(("length", "stride"), [(7, 7), (7, 1), (7, 3), (13, 4)])
def test_every_target_has_the_context_that_the_stride_leaves(length, stride):
    found = contexts(layout(99, length, stride))
    for target, context in found.items():
        assert context == target if target <= length else length - stride < context <= length
    if stride == 1:
        assert set(list(found.values())[length:]) == {length}


def test_the_number_of_rows_changes_no_context():
    assert contexts(layout(257, 13, 4, rows=5)) == contexts(layout(257, 13, 4, rows=32))
    assert contexts(layout(257, 13, 4)) != contexts(layout(257, 13, 5))


def stream_layout(targets, documents=(1,)):
    return list(scoring.streams(np.arange(targets + 1), np.array(documents)))


@pytest.fixture
def small_streams(monkeypatch):
    """At most 5 streams of 30 targets or more, so that a few hundred tokens show what thousands do."""
    monkeypatch.setattr(scoring, "STREAM_TARGETS", 30)
    monkeypatch.setattr(scoring, "MAX_STREAMS", 5)
    monkeypatch.setattr(scoring, "BURN_IN", 11)
    monkeypatch.setattr(scoring, "MAX_BURN_IN", 11)
    monkeypatch.setattr(scoring, "BLOCK_LENGTH", 8)


STREAM_SIZES = [1, 7, 8, 9, 29, 30, 59, 60, 61, 64, 99, 149, 150, 151, 300, 1000, 1001, 1003]


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("targets", STREAM_SIZES)
def test_streams_score_each_target_once(targets):
    blocks = stream_layout(targets)
    assert each_once(blocks, targets)
    count = max(1, min(5, targets // 30))
    assert {block.tokens.shape for block in blocks} == {(count, 8)}


def test_streams_at_their_real_size():
    for targets in (100, 4095, 4097, 140_001):
        assert each_once(stream_layout(targets), targets)


def goes_on(blocks):
    """Whether carried state is right: a row's tokens follow its row of the block before, which no reset
    forgets.
    """
    resets = [block.reset.tolist() for block in blocks]
    count = len(resets[0])
    followed = [
        np.array_equal(after.tokens[used, 0], before.targets[used, -1])
        for before, after in itertools.pairwise(blocks)
        for used in [after.weights.any(axis=1)]
    ]
    return all(followed) and resets == [[True] * count] + [[False] * count] * (len(blocks) - 1)


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("targets", STREAM_SIZES)
def test_a_stream_goes_on_where_it_ended(targets):
    assert goes_on(stream_layout(targets))


@pytest.mark.usefixtures("small_streams")
def test_the_check_of_carried_state_can_fail():
    blocks = stream_layout(300)
    assert not goes_on(blocks[::-1])
    assert not goes_on(blocks[:2] + blocks[3:])
    assert not goes_on(layout(99, 8, 3, rows=1))
    blocks[1].reset[3] = True
    assert not goes_on(blocks)


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("targets", [150, 151, 300, 1003])
def test_every_stream_but_the_first_reads_before_it_scores(targets):
    blocks = stream_layout(targets)
    tokens = np.concatenate([block.tokens for block in blocks], axis=1)
    weights = np.concatenate([block.weights for block in blocks], axis=1)
    burnt_in = weights.argmax(axis=1)
    assert burnt_in.tolist() == [0] + [11] * 4
    assert tokens[0, 0] == 0
    # Each begins 11 tokens before the first target that the stream before does not score.
    ends = [row[row_weights == 1].max() for row, row_weights in zip(tokens, weights)]
    assert (tokens[1:, 11] == np.array(ends[:-1]) + 1).all()


def begins(blocks):
    """Where each stream begins to read, and to score. Each begins with the end-of-document token, here 0."""
    assert (blocks[0].tokens[:, 0] == 0).all()
    assert all((block.tokens > 0).all() for block in blocks[1:])
    places = np.concatenate([block.targets for block in blocks], axis=1) - 1
    weights = np.concatenate([block.weights for block in blocks], axis=1)
    return places[:, 0].tolist(), [int(row[w == 1][0]) for row, w in zip(places, weights)]


def test_the_example_of_streams(monkeypatch):
    """The numbers of the docstring."""
    for name, value in {"STREAM_TARGETS": 10, "BURN_IN": 3, "MAX_BURN_IN": 8, "BLOCK_LENGTH": 4}.items():
        monkeypatch.setattr(scoring, name, value)
    blocks = stream_layout(30, [1, 6, 14])
    assert begins(blocks) == ([0, 5, 13], [0, 10, 20])
    assert each_once(blocks, 30)


@pytest.mark.usefixtures("small_streams")
@pytest.mark.parametrize("documents", [[1, 20, 52], [1, 2, 3, 190, 191, 243], [1, *range(3, 300, 7)]])
def test_a_stream_begins_with_a_document_that_is_near(documents, monkeypatch):
    monkeypatch.setattr(scoring, "MAX_BURN_IN", 25)
    blocks = stream_layout(300, documents)
    assert each_once(blocks, 300)
    assert goes_on(blocks)
    read, score = begins(blocks)
    assert score == [0, 60, 120, 180, 240]
    for begin, first in zip(read[1:], score[1:]):
        near = [d - 1 for d in documents if first - 25 <= d - 1 <= first - 11]
        assert begin == (near[-1] if near else first - 11)


def test_a_split_without_targets_has_nothing_to_score():
    assert stream_layout(0) == []
    assert scored(layout(0, 7, 3)).size == 0


@pytest.mark.usefixtures("small_streams")
def test_streams_and_windows_score_the_same_targets():
    assert sorted(scored(stream_layout(99))) == sorted(scored(layout(99, 7, 3)))
