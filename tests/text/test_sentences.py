"""Sentences of texts, and parts of whole sentences."""

from lm_keras.text.sentences import parts_of, sentences_of, together


def test_sentences():
    assert sentences_of('He left. "Why?" he said.\nNo 3.5 here!') == [
        "He left.", '"Why?"', "he said.", "No 3.5 here!",
    ]  # fmt: skip
    assert sentences_of("他很好。我也是！“走吧。”他说。") == ["他很好。", "我也是！", "“走吧。”他说。"]
    assert sentences_of("  ") == []


def test_parts_hold_as_many_sentences_as_fit():
    words = lambda text: len(text.split())  # noqa: E731
    text = "a b. c d. e f g h i j. k."
    assert parts_of(text, words, 4) == ["a b. c d.", "e f g h i j.", "k."]
    assert parts_of(text, words, 100) == [text]
    assert together(parts_of("他好。我好。", len, 3)) == "他好。我好。"
    assert together(["", "a", "b"]) == "a b"
