"""Cloze items of whole words, filled by models that say what the test tells them."""

import types

import pytest

from lm_keras.answers import ANSWERS
from lm_keras.evaluation import cloze
from lm_keras.sampling.masks import MASK, Filled
from lm_keras.text.char import CharTokenizer

TEXT = "It is the first line of all.\nA second one comes here, with a few words more in it.\nx\n"


def test_items_are_words_between_words():
    for words in cloze.WORDS:
        found = cloze.cloze_items(TEXT, words, 100, 1, 30, 15)
        assert found
        for item in found:
            assert item.removed.count(" ") == words and item.removed.startswith(" ")
            whole = item.before + item.removed + item.after
            assert whole in TEXT and item.before[-1].isalpha() and item.after[0] == " "
            assert len(item.before) <= 30 and len(item.after) <= 15
    assert (
        len(cloze.cloze_items(TEXT, 1, 100, 1, 30, 15))
        == len(set(cloze.cloze_items(TEXT, 1, 100, 1, 30, 15)))
        == 13
    )


def test_items_are_drawn_by_seed():
    one = cloze.cloze_items(TEXT, 2, 4, 1, 30, 15)
    assert len(one) == 4 and one == cloze.cloze_items(TEXT, 2, 4, 1, 30, 15)
    assert {item.removed for item in one} != {
        item.removed for item in cloze.cloze_items(TEXT, 2, 4, 2, 30, 15)
    }
    assert cloze.cloze_items("no", 1, 4, 1, 30, 15) == []


def model(kind, knows):
    """A model that knows a text, whose blanks it fills as `knows` says."""
    tokenizer = CharTokenizer("\n " + "".join(sorted(set(TEXT) - {"\n", " "})), normalization="none")

    def removed(before):
        begin = TEXT.index(before) + len(before)
        return lambda count: knows(TEXT[begin : begin + count])

    def fill(text, words=1, **settings):
        before, *_, after = text.split(MASK)
        if kind == "bert":
            filling = removed(before)(text.count(MASK))
        else:
            begin = TEXT.index(before) + len(before)
            filling = knows(TEXT[begin : TEXT.index(after, begin)])
        return Filled(before + filling + after, (((filling, 1.0),),))

    def generate(prompts, **settings):
        return [removed(prompts[0])(60)]

    kinds = {"bert": "masked_lm", "glm": "infilling"}
    answer = object.__new__(ANSWERS[kinds.get(kind, "causal_lm")])
    answer.fill, answer.generate, answer._tokenizer = fill, generate, tokenizer
    network = types.SimpleNamespace(context_length=None if kind == "lstm" else 64)
    return types.SimpleNamespace(model=network, tokenizer=tokenizer, answer=answer)


@pytest.mark.parametrize("kind", ["bert", "glm", "gpt", "lstm"])
def test_who_knows_the_text_fills_all_and_who_does_not_none(kind):
    all_of_them = dict.fromkeys("12345", 1.0)
    assert cloze.exact_matches(model(kind, lambda text: text), TEXT, 50) == all_of_them
    wrong = cloze.exact_matches(model(kind, lambda text: "q" * len(text)), TEXT, 50)
    assert wrong == dict.fromkeys("12345", 0.0)


def test_what_sees_any_length_is_shown_all_and_what_knows_the_count_more():
    shown = []
    for kind in ("gpt", "bert", "lstm"):
        lm = model(kind, lambda text: text)
        lm.model.context_length = lm.model.context_length and 40
        (item,) = cloze.cloze_items(TEXT, 1, 1, 3, 64, 32)
        short = cloze._short(lm, item)
        shown.append(len(short.before) + len(short.after))
    assert shown[0] < shown[1] < shown[2] == len(item.before) + len(item.after)


@pytest.mark.parametrize("kind", ["glm", "gpt"])
def test_behind_as_many_words_as_were_hidden_a_text_is_cut(kind):
    lm = model(kind, lambda text: text)
    fill, generate = lm.answer.fill, lm.answer.generate

    def more(text, **settings):
        found = fill(text, **settings)
        return found._replace(words=(((f"{found.words[0][0][0]} and more\nlines", 1.0),),))

    lm.answer.fill, lm.answer.generate = more, lambda *args, **how: [f"{generate(*args)[0]} and more"]
    assert cloze.exact_matches(lm, TEXT, 50) == dict.fromkeys("12345", 1.0)


def test_around_an_item_is_no_more_than_the_model_sees():
    lm = model("gpt", lambda text: text)
    lm.model.context_length = 40
    for item in cloze.cloze_items(TEXT, 2, 50, 1, 64, 32):
        short = cloze._short(lm, item)
        assert len(short.before) + len(short.after) <= 40 - cloze.MAX_FILLED - 4
        assert item.before.endswith(short.before) and item.after.startswith(short.after)


def test_some_are_right():
    found = cloze.exact_matches(model("glm", lambda text: text if "e" in text else "q"), TEXT, 50)
    words = [item.removed for item in cloze.cloze_items(TEXT, 1, 50, 1, 64, 32)]
    assert found["1"] == round(sum("e" in word for word in words) / len(words), 4) and 0 < found["1"] < 1
