import random

import pytest

from lm_keras.text import count_words
from lm_keras.text.code_points import code_points

SPACES = [chr(code) for code in range(0x110000) if chr(code).isspace()]


@pytest.mark.parametrize(
    "text", ["", " ", "a", "\n\n", " to be\n\nor\u3000not ", "a\u00a0b", "月 光", "a\U0010ffff b"]
)
def test_words_by_hand(text):
    assert count_words(text) == len(text.split())


def test_words_are_those_of_split():
    draw = random.Random(5)
    letters = ["a", "b", "é", "月", "\u200b", "\ufeff", "\0", "\U0001f44d", "\u2581", "\u3001"]
    for count in range(200):
        kinds = (SPACES, letters) if count % 2 else ([" ", "\n", "\t", "\x1c"], ["a", "b", "~"])
        text = "".join(draw.choice(draw.choice(kinds)) for _ in range(count))
        assert count_words(text) == len(text.split()), ascii(text)
        assert code_points(text).tolist() == [ord(character) for character in text]
