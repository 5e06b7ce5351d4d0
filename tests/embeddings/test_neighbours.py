"""What one asks word vectors, by scripts/embeddings.py."""

import json
import re

import numpy as np
import pytest

from lm_keras.embeddings.neighbours import Vectors
from lm_keras.errors import InputError

NAMES = ["man", "woman", "king", "queen", "apple", "▁the"]
TABLE = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 2], [1, 1, 2], [-3, 0.1, 0], [0, 0, 0]], np.float32)


@pytest.fixture
def path(tmp_path):
    lines = [f"{name} {' '.join(map(str, row))}\n" for name, row in zip(NAMES, TABLE)]
    (tmp_path / "glove.txt").write_text("".join(lines))
    return tmp_path / "glove.txt"


def test_the_nearest_have_the_smallest_angle(path):
    vectors = Vectors.read(path)
    found = vectors.nearest("man", 99)
    lengths = np.maximum(np.linalg.norm(TABLE, axis=1), 1e-9)
    expected = dict(zip(NAMES, TABLE @ TABLE[0] / lengths))
    assert dict(found) == pytest.approx({name: expected[name] for name in NAMES if name != "man"}, abs=1e-6)
    cosines = [cosine for _, cosine in found]
    assert cosines == sorted(cosines, reverse=True) and cosines[0] == pytest.approx(0.5**0.5)
    assert vectors.nearest("man", 2) == found[:2]


def test_an_analogy_leaves_out_its_own_words(path):
    assert Vectors.read(path).analogy("man", "woman", "king", 1)[0][0] == "queen"


def test_a_piece_is_found_without_its_blank_and_a_part_of_a_file_is_enough(path):
    assert Vectors.read(path).nearest("the", 1)[0][1] == 0
    assert Vectors.read(path, most=3).names == NAMES[:3]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("Queen", " (did you mean 'queen'?)"), ("womann", " (did you mean 'woman' or 'man'?)"), ("xyz", "")],
)
def test_unknown_words(path, word, meant):
    with pytest.raises(InputError, match=f"^the word '{word}' is not among the 6 words{re.escape(meant)}$"):
        Vectors.read(path).nearest(word, 3)


def test_on_the_command_line(script, path):
    ended = script("embeddings.py", "analogy", "man", "woman", "king", f"--vectors={path}", "--num_answers=2")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"man woman king\n   0\.\d{3}  queen\n  [ -]0\.\d{3}  .+\n", ended.out)
    ended = script(
        "embeddings.py", "nearest", "man", "king", f"--vectors={path}", "--json", "--num_answers=1"
    )
    assert [json.loads(line)["words"] for line in ended.out.splitlines()] == [["man"], ["king"]]
    assert json.loads(ended.out.splitlines()[1])["answers"][0][0] == "queen"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "expected `nearest WORD ...` or `analogy A B C`"),
        (["nearest"], "expected `nearest WORD ...` or"),
        (["analogy", "man", "king"], "expected `nearest WORD ...` or"),
        (
            ["nearest", "man"],
            "expected either --run_dir, of a run of scripts/train_embeddings.py, or --vectors, a file",
        ),
        (["nearest", "man", "--run_dir=a", "--vectors=b"], "expected either --run_dir"),
        (
            ["nearest", "man", "--run_dir=nowhere"],
            "--run_dir=nowhere holds no vectors.txt; expected a finished run",
        ),
        (["nearest", "man", "--vectors=nowhere.txt"], "no file nowhere.txt: expected word vectors as text"),
        (
            ["nearest", "mann", "--vectors=PATH"],
            "the word 'mann' is not among the 6 words (did you mean 'man' or 'woman'?)",
        ),
    ],
)
def test_bad_input_is_one_line_too(script, path, words, problem):
    ended = script("embeddings.py", *(word.replace("PATH", str(path)) for word in words))
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: {problem}") and ended.err.count("\n") == 1
