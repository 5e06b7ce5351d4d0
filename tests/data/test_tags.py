"""Every scheme of tags is read, and IOB2 is kept."""

import random

import pytest

from lm_keras.data import tags

IOB2 = ["B-per", "I-per", "O", "B-per", "B-per", "O", "B-loc", "I-loc", "I-loc", "B-per"]
SCHEMES = {
    "IOB2": IOB2,
    "IOB1": ["I-per", "I-per", "O", "I-per", "B-per", "O", "I-loc", "I-loc", "I-loc", "I-per"],
    "IOBES": ["B-per", "E-per", "O", "S-per", "S-per", "O", "B-loc", "I-loc", "E-loc", "S-per"],
    "BMES": ["B-per", "E-per", "O", "S-per", "S-per", "O", "B-loc", "M-loc", "E-loc", "S-per"],
    "BILOU": ["B-per", "L-per", "O", "U-per", "U-per", "O", "B-loc", "I-loc", "L-loc", "U-per"],
    "IOE": ["I-per", "E-per", "O", "E-per", "E-per", "O", "I-loc", "I-loc", "E-loc", "E-per"],
}


@pytest.mark.parametrize("name", SCHEMES)
def test_all_schemes_become_the_same(name):
    scheme = tags.Scheme()
    kept, alone = tags.iob2(SCHEMES[name], scheme)
    assert kept == IOB2
    assert alone == {"IOB1": [0, 3, 6, 9], "IOE": [0, 3, 4, 6, 9]}.get(name, [])
    assert scheme.name() == (name if name in ("IOB1", "IOB2", "IOE") else "IOBES, BMES or BILOU")


def test_the_check_can_fail():
    assert tags.iob2(["I-per", "I-loc", "O", "I-loc"])[0] != ["B-per", "I-loc", "O", "B-loc"]


@pytest.mark.parametrize(
    ("given", "kept", "alone"),
    [
        ("O I-per", "O B-per", [1]),
        ("B-per I-loc", "B-per B-loc", [1]),
        ("S-per I-per", "B-per B-per", [1]),
        ("B-per E-per I-per", "B-per I-per B-per", [2]),
        ("O E-per O", "O B-per O", [1]),
        ("B M E S", "B I I B", []),
        ("NN VB", "NN VB", []),
        ("B-a-b I-a-b", "B-a-b I-a-b", []),
        ("B_per I_per O", "B-per I-per O", []),
    ],
)
def test_what_continues_nothing_begins_a_span(given, kept, alone):
    assert tags.iob2(given.split()) == (kept.split(), alone)


def test_words_without_tags_end_a_span():
    assert tags.iob2(["B-per", None, "I-per"]) == (["B-per", None, "B-per"], [2])


def test_iob2_is_a_fixed_point():
    drawn = random.Random(3)
    names = [f"{prefix}-{kind}" for prefix in "BIESMLU" for kind in ("a", "b")] + ["O", "O"]
    for _ in range(300):
        kept, _ = tags.iob2(drawn.choices(names, k=drawn.randint(1, 9)))
        assert tags.iob2(kept) == (kept, [])
        assert {tag[0] for tag in kept} <= set("BIO")


def spans_of(names):
    """Begin, end and type of the spans as seqeval's default reads them, written once more."""
    found = []
    for number, name in enumerate(names):
        kind = name.partition("-")[2]
        before = names[number - 1] if number else "O"
        if name != "O":
            is_new = name[0] in "BS" or before == "O" or before[0] in "ES" or before.partition("-")[2] != kind
            if is_new:
                found.append([number, number, kind])
            found[-1][1] = number
    return found


def test_the_spans_are_those_of_conlleval():
    drawn = random.Random(4)
    names = [f"{prefix}-{kind}" for prefix in "BIES" for kind in ("a", "b")] + ["O", "O", "O"]
    for _ in range(300):
        given = drawn.choices(names, k=drawn.randint(1, 9))
        assert spans_of(tags.iob2(given)[0]) == spans_of(given)


def test_which_tags_are_of_spans():
    assert tags.are_of_spans({"O", "B-per", "I-per"}) and tags.are_of_spans({"S-per"})
    assert tags.are_of_spans({"B", "M", "E", "S"}) and tags.are_of_spans({"B", "I", "O"})
    assert not tags.are_of_spans({"NN", "VB", "O"}) and not tags.are_of_spans({"S", "NP"})
    assert not tags.are_of_spans({"O"}) and not tags.are_of_spans({"B-per", "NN"})
    assert tags.odd_tag({"O", "B-per", "per"}) == "per" and tags.odd_tag({"NN", "VB", "O"}) is None


def test_both_tags_of_a_type():
    assert tags.with_continuations({"O", "B-per"}) == {"O", "B-per", "I-per"}
    assert tags.with_continuations({"B", "I"}) == {"B", "I"}
