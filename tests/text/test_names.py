"""Tokens as words of a file of vectors."""

import random

import pytest

from lm_keras.text.names import name_of, token_of


@pytest.mark.parametrize(
    ("token", "name"),
    [
        (b"cat", "cat"), ("Häuser-\u200d".encode(), "Häuser-\u200d"), (b" the", "▁the"), (b"a b", "a▁b"),
        (b"\n", "<U+000A>"),
        ("▁".encode(), "<U+2581>"), (b"\xe2\x96", "<0xE2><0x96>"), (b"<U+000A>", "<U+003C>U+000A>"),
        (b"<0x41>", "<U+003C>0x41>"),
        (b"<unk>", "<unk>"), ("\u3000".encode(), "<U+3000>"), (b"\0", "<U+0000>"), (b"\xff", "<0xFF>"),
        (b"<", "<"),
    ],
)  # fmt: skip
def test_a_token_has_a_name_without_white_space_and_back(token, name):
    assert name_of(token) == name
    assert token_of(name) == token


def test_any_bytes_round_trip():
    pick = random.Random(5)
    parts = [b" ", b"<", b"U+", b"0x", b"41", b">", b"\n", b"a", "▁".encode(), "é".encode(), b"\xe2", b"\x85"]
    tokens = [b"".join(pick.choices(parts, k=pick.randrange(1, 7))) for _ in range(3000)]
    names = {}
    for token in tokens:
        name = name_of(token)
        assert token_of(name) == token and not set(name) & set(" \n\x85")
        assert names.setdefault(name, token) == token
