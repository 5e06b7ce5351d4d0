"""Files of word vectors: word2vec's and GloVe's text, and what is wrong with one."""

import numpy as np
import pytest

from lm_keras.checkpoints.vectors import header_of, read_vectors, write_vectors
from lm_keras.errors import InputError


def read(path, wanted=None, most=None):
    found = list(read_vectors(path, header_of(path), wanted, most))
    return [word.decode() for word, _ in found], np.array([vector for _, vector in found])


def test_every_float32_comes_back(tmp_path):
    bits = np.random.default_rng(1).integers(0, 2**32, 3_000, np.uint32).view(np.float32)
    table = np.where(np.isfinite(bits), bits, np.float32(0)).reshape(600, 5)
    table[0] = [0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3]
    names = [f"w{i}" for i in range(600)]
    write_vectors(tmp_path / "v.txt", names, table)
    assert (tmp_path / "v.txt").read_text().startswith("600 5\nw0 0.1")
    words, again = read(tmp_path / "v.txt")
    assert words == names
    assert again.dtype == np.float32 and again.tobytes() == table.tobytes()


@pytest.mark.parametrize("ending", ["\n", " \n", "\r\n", "\t\n"])
@pytest.mark.parametrize("head", ["3 2\n", ""])
def test_both_formats(tmp_path, head, ending):
    text = head + ending.join(["the 1 -2.5", ". . 3e-1 4", "of 5 6", ""])
    (tmp_path / "v.txt").write_bytes(text.encode())
    words, table = read(tmp_path / "v.txt")
    assert words == ["the", ". .", "of"]
    np.testing.assert_array_equal(table, np.array([[1, -2.5], [0.3, 4], [5, 6]], np.float32))
    assert read(tmp_path / "v.txt", most=2)[0] == ["the", ". ."]
    assert read(tmp_path / "v.txt", lambda word: word == b"of")[0] == ["of"]


@pytest.mark.parametrize("head", ["2 2\n", ""])
def test_a_byte_order_mark_at_the_start_is_no_letter(tmp_path, head):
    (tmp_path / "v.txt").write_text(f"\ufeff{head}the 1 2\n\ufeffof 3 4\n")
    assert read(tmp_path / "v.txt")[0] == ["the", "\ufeffof"]
    (tmp_path / "v.txt").write_text("the 1 2\n", encoding="utf-16")
    with pytest.raises(InputError, match=r"v\.txt is in UTF-16; expected UTF-8, convert it"):
        read(tmp_path / "v.txt")


def test_a_last_line_without_line_feed(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 2\nof 3 4")
    assert read(tmp_path / "v.txt")[0] == ["the", "of"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "v.txt is empty; expected word vectors as text"),
        (b" \n\n", "v.txt is empty; expected word vectors as text"),
        (b"2 2\nthe \x00\x01\x02\x03", "v.txt, line 1: a binary file; expected word vectors as text, which "
            "word2vec writes with"),
        (b"\x1f\x8b\x08\x00", "v.txt is compressed; unpack it first"),
        (b"word\n", "v.txt, line 1: 'word' is neither a word with its numbers nor WORDS WIDTH; correct"),
        (b"2 0\n", "v.txt, line 1: '2 0' is neither a word with its numbers nor WORDS WIDTH"),
        (b"the 1 2 3\nof 1 2\n", "v.txt, line 2: 'of 1 2' has 2 numbers, expected 3; correct the line, or "
            "copy the file"),
        (b"2 3\nthe 1 2 3\n\n", "v.txt, line 3: '' has 0 numbers, expected 3"),
        (b"2 3\nthe 1 2 3\n1 2 3\n", "v.txt, line 3: '1 2 3' has 2 numbers, expected 3"),
        (b"the 1 2 3\nof 1 x 3\n", "v.txt, line 2: 'x' of 'of' is not a number; correct the line"),
        (b"the 1 2 3\nan old man 1 2\n", "v.txt, line 2: 'man' of 'an old' is not a number" ),
        (b"the 1 nan 3\n", "v.txt, line 1: 'nan' of 'the' is not a finite float32"),
        (b"the 1 2 1e39\n", "v.txt, line 1: '1e39' of 'the' is not a finite float32"),
        (b"a 1 2\nthe 1 2\na 3 4\n", "v.txt, line 3: 'a' has a vector in line 1 already; delete one of both"),
        (b"3 2\nthe 1 2\nof 1 2\n", "v.txt, line 3: the file ends after 2 words, and its first line says 3; "
            "was it cut off?"),
        (b"1 2\nthe 1 2\nof 1 2\n", "v.txt, line 3: the file ends after 2 words, and its first line says 1"),
        (b"the " + b"1" * 2**20, "v.txt, line 1: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(tmp_path, content, problem):
    path = tmp_path / "v.txt"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{tmp_path}/{problem}")
    assert "\n" not in str(caught.value)


def test_no_file_and_no_regular_file(tmp_path):
    for path, problem in ((tmp_path / "no.txt", "no file "), (tmp_path, "cannot read ")):
        with pytest.raises(InputError, match=f"^{problem}{path}"):
            header_of(path)


def test_what_nobody_wants_is_checked_for_its_fields_only(tmp_path):
    (tmp_path / "v.txt").write_text("the 1 2\nof x nan\nof 3 4\n")
    assert read(tmp_path / "v.txt", lambda word: word == b"the")[0] == ["the"]
    (tmp_path / "v.txt").write_text("the 1 2\nof 3\n")
    with pytest.raises(InputError, match="line 2: 'of 3' has 1 numbers, expected 2"):
        read(tmp_path / "v.txt", lambda word: word == b"the")
