"""Rows of whole examples: n 5, T 8, frames of one and two tokens."""

import numpy as np
import pytest

from lm_keras.data.example_rows import Example, ExampleRows, Frame, Texts, within
from lm_keras.data.labels import NO_TAG, NO_WORD
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError

EXAMPLES = [[11, 12, 13], [21], [31, 32, 33, 34, 35], [41, 42], [51, 52, 53, 54]]
LABELS = np.array([2, 0, 1, -1, 0], np.int32)


def store_of(examples, unscored=None, **columns):
    between = [0] if unscored is None else [0, unscored]
    tokens, begins = [0], []
    for example in examples:
        tokens += between if begins else []
        begins.append(len(tokens))
        tokens += example
    counts = TextCounts(len(tokens) - 1, 9, 9, 9, len(examples))
    return TokenStore(np.array(tokens, np.uint16), np.array(begins), counts, unscored, columns)


BEGIN = Frame(7)


def rows_of(frame=BEGIN, last=True, too_long="error", length=8):
    texts = Texts.in_store(store_of(EXAMPLES, label=LABELS))
    return ExampleRows.of(texts, frame, length, too_long, last)


def found_in(rows, count=2):
    """Return the examples of all rows: number -> (tokens with their frame, place within them, target)."""
    found = {}
    for block in rows.blocks(count):
        assert block.tokens.shape == block.document.shape == (count, rows.length)
        for r, k in zip(*np.nonzero(block.numbers >= 0)):
            place, document = block.positions[r, k], block.document[r]
            own = np.flatnonzero(document == document[place])
            assert own.tolist() == list(range(own[0], own[-1] + 1)) and document[place] == k
            found[int(block.numbers[r, k])] = (
                block.tokens[r, own].tolist(),
                int(place - own[0]),
                int(block.targets[r, k]),
            )
    return found


@pytest.mark.parametrize(("frame", "last", "place"), [(Frame(7), True, -1), (Frame(7, 9), False, 0)])
def test_every_example_is_there_once_with_its_frame_and_its_label(frame, last, place):
    found = found_in(rows_of(frame, last))
    end = [] if frame.end_id is None else [9]
    for number, example in enumerate(EXAMPLES):
        whole = [7, *example, *end]
        assert found[number] == (whole, len(whole) - 1 if place else 0, LABELS[number])
    assert len(found) == len(EXAMPLES)


def test_what_no_example_fills_has_a_document_of_its_own():
    for block in rows_of().blocks(2):
        assert (np.diff(block.document, axis=1) >= 0).all()
        beyond = block.document == (block.numbers >= 0).sum(1)[:, None]
        assert (block.tokens[beyond] == 7).all()
        none = block.numbers < 0
        assert (block.targets[none] == -1).all() and (block.positions[none] == 0).all()


def test_examples_in_memory_and_in_a_store_have_the_same_rows():
    in_memory = Texts.of([Example(np.array(example, np.int32)) for example in EXAMPLES])
    rows = ExampleRows.of(in_memory, Frame(7), 8, "error")
    there = found_in(rows_of())
    assert {n: row[:2] for n, row in found_in(rows).items()} == {n: row[:2] for n, row in there.items()}
    other = ExampleRows.of(Texts.in_store(store_of(EXAMPLES, 5, label=LABELS)), Frame(7), 8, "error")
    assert found_in(other) == there


def test_a_block_of_many_rows_has_empty_ones():
    (block,) = rows_of().blocks(64)
    assert block.tokens.shape == (64, 8) and (block.numbers >= 0).sum() == len(EXAMPLES)
    assert (block.document[-1] == 0).all() and (block.numbers[-1] == -1).all()


def test_no_examples_have_no_rows():
    rows = ExampleRows.of(Texts.of([]), Frame(7), 8, "error")
    assert rows.count == rows.predicted == 0 and list(rows.blocks(3)) == []


@pytest.mark.parametrize(
    ("too_long", "kept"), [("cut_end", [31, 32, 33, 34]), ("cut_start", [32, 33, 34, 35])]
)
def test_an_example_that_is_too_long_is_cut(too_long, kept):
    found = found_in(rows_of(too_long=too_long, length=5))
    assert found[2][0] == [7, *kept] and found[4][0] == [7, *EXAMPLES[4]]
    with pytest.raises(InputError, match="example 3 has 5 tokens, and a row has room for 4"):
        rows_of(length=5)


TAGS = [[4, -1, 0], [-2], [1, 2, -1, 3, 0], [-1, 5], [0, 0, 0, 0]]
"""Tags of the tokens of `EXAMPLES`: one begins within a word, one word has no tag."""

WORDS = [tag for tags in TAGS for tag in tags if tag != NO_WORD]


def tagged(length, too_long):
    tags = np.full(len(store_of(EXAMPLES).tokens), NO_WORD, np.int32)
    store = store_of(EXAMPLES)
    for begin, own in zip(store.documents, TAGS):
        tags[begin : begin + len(own)] = own
    return ExampleRows.of(Texts.in_store(store_of(EXAMPLES, tag=tags)), Frame(7), length, too_long)


@pytest.mark.parametrize("length", [3, 4, 5, 8, 30])
def test_every_word_is_predicted_once_at_its_first_token_whatever_the_windows(length):
    rows, found = tagged(length, "windows"), {}
    pairs = [pair for example, tags in zip(EXAMPLES, TAGS) for pair in zip(example, tags)]
    tokens = [token for token, tag in pairs if tag != NO_WORD]
    for block in rows.blocks(3):
        for r, k in zip(*np.nonzero(block.numbers >= 0)):
            number = int(block.numbers[r, k])
            assert number not in found
            found[number] = block.tokens[r, block.positions[r, k]], block.targets[r, k]
    assert rows.predicted == len(WORDS)
    assert found == dict(enumerate(zip(tokens, WORDS)))


def test_a_cut_loses_the_words_behind_it():
    numbers = np.concatenate([block.numbers.ravel() for block in tagged(4, "cut_end").blocks(3)])
    lost = {5, 6, 11}  # The last two words of the third example, and the last one of the last.
    assert {*numbers[numbers >= 0].tolist()} == {*range(len(WORDS))} - lost


def test_words_in_memory_have_no_tags():
    texts = Texts.of([Example(np.array([11, 12, 13]), np.array([0, 2]))])
    assert texts.tags.tolist() == [NO_TAG, NO_WORD, NO_TAG]
    (block,) = ExampleRows.of(texts, Frame(7, 9), 6, "error").blocks(1)
    assert block.tokens.tolist() == [[7, 11, 12, 13, 9, 7]] and block.positions.tolist() == [[1, 3]]
    assert block.targets.tolist() == [[-2, -2]] and block.numbers.tolist() == [[0, 1]]


def test_numbers_within_groups():
    assert within(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
