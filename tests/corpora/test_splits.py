import hashlib
import random

import numpy as np
import pytest

from lm_keras.corpora import Corpus, Document, describe, file_corpus, make_splits, open_corpus, text_files
from lm_keras.corpora import description as description_module
from lm_keras.corpora.description import LineStarts
from lm_keras.errors import InputError


class Memory(Corpus):
    """A corpus of given texts that counts how often its text is read."""

    def __init__(self, texts, spec="memory"):
        self.texts = list(texts)
        self.spec = spec
        self.passes = 0

    def documents(self):
        self.passes += 1
        for number, text in enumerate(self.texts):
            yield Document.from_text(f"{self.spec}:{number}", text)


def lines(count, seed=7):
    draw = random.Random(seed)
    return "".join("".join(draw.choices("abcä月 ", k=draw.randint(0, 60))) + "\n" for _ in range(count))


def texts(split):
    return ["".join(document.pieces()) for document in split.documents()]


def read(splits):
    return {name: texts(split) for name, split in splits.items()}


def check_partition(whole, parts):
    """Every document is in exactly one part, as often as in the whole."""
    assert sorted(whole) == sorted(text for part in parts.values() for text in part)


def check_cut(whole, parts):
    """The parts of each document follow each other and give the document back, cut after line feeds."""
    assert ["".join(column) for column in zip(*parts.values())] == whole
    for part in list(parts.values())[:-1]:
        assert all(text.endswith("\n") for text in part)


MANY = [f"document {number}\n" * (number % 5 + 1) for number in range(613)]


def test_documents_are_dealt_out_by_count():
    splits = make_splits(Memory(MANY))
    parts = read(splits)
    assert {name: len(part) for name, part in parts.items()} == {"train": 551, "valid": 31, "test": 31}
    check_partition(MANY, parts)
    for name, split in splits.items():
        assert split.name == name
        assert split.num_documents == len(parts[name])
        assert split.num_bytes == sum(len(text.encode()) for text in parts[name])
        assert parts[name] == [text for text in MANY if text in set(parts[name])]  # in the corpus's order
    with pytest.raises(AssertionError):
        check_partition(MANY, {**parts, "test": parts["test"][1:]})


@pytest.mark.parametrize(("count", "expected"), [(20, [18, 1, 1]), (21, [19, 1, 1]), (57, [51, 3, 3])])
def test_smallest_shares(count, expected):
    assert [len(part) for part in read(make_splits(Memory(MANY[:count]))).values()] == expected


def test_the_split_depends_on_content_alone():
    shuffled = MANY.copy()
    random.Random(3).shuffle(shuffled)
    first, second = read(make_splits(Memory(MANY))), read(make_splits(Memory(shuffled, "other")))
    assert {name: set(part) for name, part in first.items()} == {
        name: set(part) for name, part in second.items()
    }


def held_out(parts):
    return set(parts["valid"]), set(parts["test"])


def test_equal_documents_stay_together():
    doubled = MANY[:97] * 3
    parts = read(make_splits(Memory(doubled)))
    check_partition(doubled, parts)
    sets = [set(part) for part in parts.values()]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert all(part.count(text) == 3 for part in parts.values() for text in part)
    assert [len(part) for part in parts.values()] == [261, 15, 15]
    assert [len(part) for part in read(make_splits(Memory(MANY[:10] * 2))).values()] == [16, 2, 2]


@pytest.mark.parametrize("repeated", range(7))  # One of them would be in valid, or in test, by its hash.
def test_documents_that_occur_more_than_once_belong_to_train(repeated):
    once = [f"text {number}\n" for number in range(700)]
    whole = once + [f"removed {repeated}\n"] * 300
    random.Random(repeated).shuffle(whole)
    splits = make_splits(Memory(whole))
    parts = read(splits)
    assert [len(part) for part in parts.values()] == [900, 50, 50]
    check_partition(whole, parts)
    assert set.union(*held_out(parts)) <= set(once)
    assert (
        splits["valid"].rule
        == "documents that occur once by a hash of their content, all others to train, 90/5/5 per cent"
    )


def test_too_few_documents_that_occur_once():
    """Those that occur twice are dealt out, too, those that occur ten times are not."""
    whole = MANY[:5] + MANY[5:50] * 2 + MANY[50:60] * 10
    parts = read(make_splits(Memory(whole)))
    check_partition(whole, parts)
    assert all(10 <= len(parts[name]) <= 11 for name in ("valid", "test"))
    assert set.union(*held_out(parts)) <= set(MANY[:50])


@pytest.mark.parametrize("repeated", range(7))  # By its hash it would be in valid, or in test, or in neither.
def test_what_makes_up_most_of_a_corpus_is_never_held_out(repeated):
    """Valid and test share what occurs less often, even if that is less than they should have."""
    whole = [f"removed {repeated}\n"] * 960 + MANY[:40]
    parts = read(make_splits(Memory(whole)))
    assert [len(part) for part in parts.values()] == [960, 20, 20]
    assert set.union(*held_out(parts)) == set(MANY[:40])


def test_a_run_that_was_begun_goes_on_with_its_own_division():
    whole = [f"text {number}\n" for number in range(200)] + ["text 7\n", "text 8\n"] * 3
    rule = "documents by a hash of their content, 90/5/5 per cent"
    before, now = make_splits(Memory(whole), earlier_rule=rule), make_splits(Memory(whole))
    by_hash = sorted(whole, key=lambda text: hashlib.sha256(text.encode()).digest())
    assert sorted(read(before)["test"]) == sorted(by_hash[-10:])
    assert before["test"].rule == rule != now["test"].rule
    assert before["test"].fingerprint() != now["test"].fingerprint()
    once = make_splits(Memory(MANY))
    assert once["test"].rule == rule  # Nothing changed for a corpus without repeated documents.
    assert read(once) == read(make_splits(Memory(MANY), earlier_rule=rule))


def test_only_equal_documents():
    with pytest.raises(InputError) as caught:
        make_splits(Memory(["same\n"] * 33))
    assert (
        str(caught.value)
        == "no document of memory is left for the train split, because equal documents stay together: "
        "expected more different documents; add some, or pass --valid_corpus"
    )


@pytest.mark.parametrize("count", [1, 3, 19])
def test_few_documents_are_cut_at_line_ends(count):
    whole = [lines(401 + 13 * number, seed=number) for number in range(count)]
    splits = make_splits(Memory(whole))
    parts = read(splits)
    check_cut(whole, parts)
    for text, train, valid in zip(whole, parts["train"], parts["valid"]):
        longest = max(len(line.encode()) for line in text.splitlines(keepends=True))
        size = len(text.encode())
        assert 0 <= len(train.encode()) - 0.90 * size <= longest
        assert 0 <= len((train + valid).encode()) - 0.95 * size <= longest
    for name, split in splits.items():
        assert split.num_documents == count
        assert split.num_bytes == sum(len(text.encode()) for text in parts[name])
    with pytest.raises(AssertionError):
        check_cut(whole, {**parts, "test": parts["valid"]})


def test_cut_across_pieces():
    whole = lines(60_011)
    assert len(whole) > 3 * 2**19
    splits = make_splits(Memory([whole]), fractions=(50, 30, 20))
    check_cut([whole], read(splits))
    (document,) = splits["valid"].documents()
    assert document.source.startswith("memory:0 (bytes ")
    pieces = list(document.pieces())
    assert all(piece.endswith("\n") for piece in pieces)
    assert list(document.pieces()) == pieces


def test_exact_boundaries():
    parts = read(
        make_splits(Memory(["0123456\n90\n\nx\n"]), fractions=(50, 30, 20))
    )  # starts 0 8 11 12, end 14
    assert parts == {"train": ["0123456\n"], "valid": ["90\n\n"], "test": ["x\n"]}


def test_line_starts():
    starts = LineStarts()
    starts.add(b"ab\nc\n")
    starts.add(b"d\n")
    assert [starts.first_from(boundary, 7) for boundary in (0, 1.5, 3, 5.1, 99)] == [3, 3, 3, 7, 7]
    assert starts.any_before(7)
    assert not LineStarts().any_before(7)


def test_line_starts_are_thinned(monkeypatch):
    monkeypatch.setattr(description_module, "MAX_LINE_STARTS", 100)
    starts = LineStarts()
    for number in range(97):
        starts.add(b"x\n" * (number % 11))
    kept = np.concatenate(starts._kept)
    assert 50 <= len(kept) <= 100
    assert len(set(np.diff(kept))) == 1  # evenly spaced, since lines are equally long
    assert kept[0] == 2


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_single_line_is_cut_before_blanks(end):
    """As text8 is given, with the same split: 90 million characters, 5 and 5."""
    whole = [lines(301), "to be or not to be that is the question" * 9 + end]
    splits = make_splits(Memory(whole))
    parts = read(splits)
    assert ["".join(column) for column in zip(*parts.values())] == whole
    check_cut(whole[:1], {name: part[:1] for name, part in parts.items()})
    (train, valid, test), size = (part[1] for part in parts.values()), len(whole[1])
    assert valid[0] == test[0] == " "
    assert 0 <= 0.9 * size - len(train) < 9 and 0 <= 0.95 * size - len(train + valid) < 9
    rule = "each document cut at line ends, or within its single line, 90/5/5 per cent"
    assert splits["valid"].rule == rule
    assert make_splits(Memory(whole[:1]))["valid"].rule == rule.replace(", or within its single line", "")


def test_a_single_line_without_blanks_is_cut_before_characters():
    line = "e\u0301月👍" * 30
    for place in range(3, len(line.encode())):
        parts = read(make_splits(Memory([line]), fractions=(100 * place / 300, 100 - 100 * place / 300, 0)))
        assert "".join(parts["train"] + parts["valid"]) == line
        assert not parts["valid"][0].startswith("\u0301")
        assert 0 <= place - len(parts["train"][0].encode()) < 7


@pytest.mark.parametrize(
    ("within", "expected"), [(2**16, ["a", " " + "x" * 999]), (100, ["a " + "x" * 497, "x" * 502])]
)
def test_a_blank_that_is_far_away_is_none(monkeypatch, within, expected):
    monkeypatch.setattr("lm_keras.corpora.splits.SPACE_WITHIN_BYTES", within)
    parts = read(make_splits(Memory(["a " + "x" * 999]), fractions=(50, 50, 0)))
    assert [part[0] for part in parts.values()] == expected


def test_a_single_line_is_cut_across_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(file_corpus, "PIECE_BYTES", 7)
    monkeypatch.setattr(text_files, "LONGEST_LINE", 19)
    (tmp_path / "a.txt").write_text("to be or not to be that is the question " * 9)
    corpus = open_corpus(f"text:{tmp_path}/a.txt", text_field="text", on_bad_text="error")
    parts = read(make_splits(corpus, fractions=(50, 30, 20)))
    assert "".join(text for part in parts.values() for text in part) == (tmp_path / "a.txt").read_text()
    assert [len(part[0]) // 10 for part in parts.values()] == [17, 10, 7]
    assert [part[0][0] for part in parts.values()] == ["t", " ", " "]


def test_a_split_that_comes_out_empty():
    with pytest.raises(InputError) as caught:
        make_splits(Memory(["a\nb\nc\n"]))
    expected = (
        "the valid split of memory comes out empty: expected enough lines, or words of a single line, to cut"
        " 6 bytes there; use more text, or pass --valid_corpus"
    )
    assert str(caught.value) == expected
    with pytest.raises(InputError) as caught:
        make_splits(Memory(["x y"]))
    assert str(caught.value) == expected.replace("6", "3")


def test_no_text():
    with pytest.raises(InputError, match="the corpus memory has no text: expected at least one document"):
        make_splits(Memory([]))


def test_given_splits_take_nothing_from_train():
    corpus, valid, test = Memory(MANY), Memory(["v\n"] * 2, "v"), Memory(["t\n"], "t")
    splits = make_splits(corpus, valid=valid)
    assert read(splits) == {"train": MANY, "valid": ["v\n", "v\n"]}
    assert read(make_splits(Memory(["no line end"]), valid=valid)) == {
        "train": ["no line end"],
        "valid": ["v\n", "v\n"],
    }
    splits = make_splits(corpus, valid=valid, test=test)
    assert list(splits) == ["train", "valid", "test"]
    assert read(splits)["test"] == ["t\n"]
    assert splits["test"].description == describe(test)
    assert splits["train"].rule == "the whole corpus"
    parts = read(make_splits(corpus, test=test))
    assert {name: len(part) for name, part in parts.items()} == {"train": 582, "valid": 31, "test": 1}
    check_partition(MANY, {name: parts[name] for name in ("train", "valid")})


def test_a_fraction_of_zero_leaves_a_split_out():
    assert list(make_splits(Memory(MANY), fractions=(97, 3, 0))) == ["train", "valid"]
    assert list(make_splits(Memory([lines(301)]), fractions=(97, 0, 3))) == ["train", "test"]
    parts = read(make_splits(Memory([lines(301)]), fractions=(80, 20, 0)))
    check_cut([lines(301)], parts)
    assert read(make_splits(Memory(["x"]), fractions=(100, 0, 0))) == {"train": ["x"]}


@pytest.mark.parametrize("fractions", [(90, 5, 4), (0, 50, 50), (110, -5, -5), (90, 10), (0.9, 0.05, 0.05)])
def test_wrong_fractions(fractions):
    with pytest.raises(InputError) as caught:
        make_splits(Memory(MANY), fractions=fractions)
    assert (
        str(caught.value)
        == f"the split fractions are {', '.join(map(str, fractions))}: expected three numbers (train, valid,"
        " test) that sum to 100, train above 0, the others 0 or more"
    )


def test_one_pass_to_describe_and_split_and_one_for_each_reading():
    corpus = Memory(MANY)
    splits = make_splits(corpus)
    assert corpus.passes == 1
    texts(splits["train"])
    assert corpus.passes == 2


def test_description():
    first = describe(Memory(["ab\n", "ä月\n"]))
    assert (first.spec, first.licence) == ("memory", None)
    assert (first.documents, first.characters, first.bytes) == (2, 6, 9)
    digests = [hashlib.sha256(text.encode()).digest() for text in ("ab\n", "ä月\n")]
    assert first.sha256 == hashlib.sha256(b"".join(digests)).hexdigest()
    others = [["ab\nä月\n"], ["ä月\n", "ab\n"], ["ab\n", "ä月"], ["ab\n", "", "ä月\n"]]
    assert len({first.sha256, *(describe(Memory(other)).sha256 for other in others)}) == 5


def test_fingerprints_of_splits():
    prints = [
        split.fingerprint()
        for fractions in ((90, 5, 5), (80, 10, 10))
        for split in make_splits(Memory(MANY), fractions=fractions).values()
    ]
    assert len(set(prints)) == 6
    again = make_splits(Memory(MANY, "elsewhere"))
    assert [split.fingerprint() for split in again.values()] == prints[:3]


@pytest.mark.parametrize("change", [lambda texts: texts.append("new\n"), lambda texts: texts.pop()])
@pytest.mark.parametrize("count", [2, 31])
def test_a_corpus_that_changes_meanwhile(change, count):
    corpus = Memory([lines(101 + number, seed=number) for number in range(count)])
    splits = make_splits(corpus)
    change(corpus.texts)
    with pytest.raises(InputError, match="memory has changed while it was read: expected the same text"):
        for document in splits["test"].documents():
            "".join(document.pieces())


def test_a_document_that_shrinks_meanwhile():
    corpus = Memory([lines(101)])
    splits = make_splits(corpus)
    corpus.texts = [lines(5)]
    with pytest.raises(InputError, match="memory:0 has changed while it was read: expected the same text"):
        texts(splits["test"])


def test_a_file_that_changes_after_the_last_piece_of_a_split(tmp_path):
    """The part after the split is read all the same: the change is noticed there."""
    path = tmp_path / "a.txt"
    path.write_text("a line of text\n" * 2**18)  # several pieces
    corpus = open_corpus(f"text:{path}", text_field="text", on_bad_text="error")
    split = make_splits(corpus)["train"]
    (count,) = [len(list(document.pieces())) for document in split.documents()]
    (document,) = split.documents()
    pieces = document.pieces()
    for _ in range(count):
        next(pieces)
    with path.open("a") as file:
        file.write("more\n")
    with pytest.raises(InputError, match=r"a\.txt has changed while it was read"):
        next(pieces)
