"""ROUGE against rouge-score, where that is installed, and against numbers that it gave."""

import random

import pytest

from lm_keras.errors import InputError
from lm_keras.objectives.rouge import MEASURES, RougeSettings, of_text, rouge, words_of
from lm_keras.objectives.stemming import stem_of

PREDICTION = "The models are running.\nIt's x_y: a good-looking model, 100 cats"
REFERENCE = "A model runs: it is good looking\nThe cat ran 100 miles.\nmodels"

FROM_ROUGE_SCORE = {
    (False, False): (0.5925925925925927, 0.08, 0.29629629629629634),
    (False, True): (0.5925925925925927, 0.08, 0.4444444444444445),
    (True, False): (0.7407407407407408, 0.16, 0.4444444444444445),
    (True, True): (0.7407407407407408, 0.16, 0.5925925925925927),
}
"""F1 of `MEASURES` by (stem, by line), of rouge-score 0.1.2."""

STEMS = {
    "caresses": "caress", "ponies": "poni", "ties": "tie", "feed": "feed", "agreed": "agre",
    "plastered": "plaster", "motoring": "motor", "sing": "sing", "conflated": "conflat", "sized": "size",
    "hopping": "hop", "falling": "fall", "filing": "file", "happy": "happi", "enjoy": "enjoy",
    "relational": "relat", "rationally": "ration", "hesitancy": "hesit", "vietnamization": "vietnam",
    "theology": "theolog", "sensibility": "sensibl", "electrical": "electr", "adoption": "adopt",
    "replacement": "replac", "controlling": "control", "roll": "roll", "died": "die", "spied": "spi",
    "skies": "sky", "news": "news", "probate": "probat", "rate": "rate", "cease": "ceas", "by": "by",
}  # fmt: skip
"""Stems of NLTK's Porter stemmer 3.10."""


@pytest.mark.parametrize("stem, by_line", FROM_ROUGE_SCORE)
def test_numbers_of_rouge_score(stem, by_line):
    found = of_text(PREDICTION, [REFERENCE], RougeSettings(stem=stem, by_line=by_line))
    assert list(found) == list(MEASURES)
    assert tuple(found.values()) == pytest.approx(FROM_ROUGE_SCORE[stem, by_line], abs=1e-12)


@pytest.mark.parametrize("stem", [False, True])
def test_equals_rouge_score(stem):
    scorer = pytest.importorskip("rouge_score.rouge_scorer")
    theirs = scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=stem)
    words = ["The", "model", "models", "cat", "running", "a", "it's", "x_y", "100", "--", "naming", "ties"]
    choose = random.Random(3)

    def text():
        return "".join(choose.choice(words) + choose.choice("  .\n") for _ in range(choose.randint(0, 20)))

    for _ in range(300):
        prediction, reference = text(), text()
        expected = theirs.score(reference, prediction)
        for by_line in (False, True):
            ours = of_text(prediction, [reference], RougeSettings(stem=stem, by_line=by_line))
            names = ["rouge1", "rouge2", "rougeLsum" if by_line else "rougeL"]
            assert list(ours.values()) == pytest.approx([expected[name].fmeasure for name in names])


def test_stems():
    assert {word: stem_of(word) for word in STEMS} == STEMS


def test_words_of_any_script():
    """rouge-score finds no word in these."""
    assert words_of("Él está aquí, нет") == ["él", "está", "aquí", "нет"]
    assert words_of("他很好。我 3D") == ["他", "很", "好", "我", "3d"]
    assert words_of("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert words_of("e\u0301te\u0301") == words_of("été") == ["été"]
    assert rouge(["他很好。"], [["他很好。"]])["rougeL"] == 100
    assert rouge(["他很好。"], [["我很好。"]])["rouge1"] == pytest.approx(200 / 3)


def test_several_references():
    texts, references = ["a b c"], [["x y", "a b c", "a b"]]
    assert rouge(texts, references)["rouge1"] == 100
    assert rouge(texts, references, RougeSettings(several="mean"))["rouge1"] == pytest.approx(60)
    assert rouge(texts, references, RougeSettings(references="first"))["rouge1"] == 0


def test_a_text_without_words_scores_nothing():
    assert rouge(["", "..."], [["a"], [""]]) == {"rouge1": 0, "rouge2": 0, "rougeL": 0}


def test_bad_input():
    with pytest.raises(InputError, match="there are no texts to score"):
        rouge([], [])
    with pytest.raises(InputError, match="there are 1 texts and references for 2; expected as many"):
        rouge(["a"], [["a"], ["b"]])
    with pytest.raises(InputError, match="text 2 has no reference; expected one at least"):
        rouge(["a", "b"], [["a"], []])
