"""BLEU and chrF: which tokenizer is chosen, what the signature says, and several references."""

import pytest

from lm_keras.errors import InputError
from lm_keras.objectives import bleu

HYPOTHESES = ["Ein Mann schläft auf einer Bank.", "Zwei Hunde spielen im Schnee."]
REFERENCES = [["Ein Mann schläft auf einer grünen Bank."], ["Zwei Hunde spielen im tiefen Schnee."]]


def test_scores_are_those_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu")
    found = bleu.bleu_and_chrf(HYPOTHESES, REFERENCES)
    streams = [[own[0] for own in REFERENCES]]
    assert found["bleu"] == sacrebleu.corpus_bleu(HYPOTHESES, streams).score
    assert found["chrf"] == sacrebleu.corpus_chrf(HYPOTHESES, streams).score
    assert "bleu|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:" in found["signature"]
    assert "chrf|nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:" in found["signature"]


def test_texts_may_have_different_numbers_of_references():
    more = [[*REFERENCES[0], HYPOTHESES[0]], REFERENCES[1]]
    found = bleu.bleu_and_chrf(HYPOTHESES, more)
    assert found["bleu"] > bleu.bleu_and_chrf(HYPOTHESES, REFERENCES)["bleu"]
    assert "nrefs:var" in found["signature"]


def test_the_text_chooses_the_tokenizer(monkeypatch):
    def chosen(text):
        return bleu.tokenizer_for([[text], ["ok 5"]])

    assert chosen("他很好。我们去看电影。") == "zh"
    assert chosen("Ein Mann schläft auf einer Bank.") == "13a"
    assert chosen("") == "13a"
    monkeypatch.setattr(bleu, "_has_mecab", lambda name: True)
    assert chosen("これは本です。映画を見ます。") == "ja-mecab"
    monkeypatch.setattr(bleu, "_has_mecab", lambda name: False)
    assert chosen("これは本です。映画を見ます。") == "char"
    assert "tok:zh" in bleu.bleu_and_chrf(["他很好。"], [["他很好。"]])["signature"]
    with pytest.raises(InputError, match=r"--bleu_tokenize=ja-mecab needs MeCab.*sacrebleu\[ja\]"):
        bleu.bleu_and_chrf(["a"], [["a"]], "ja-mecab")


def test_without_sacrebleu(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(InputError, match="need sacrebleu, which is not installed; pip install sacrebleu"):
        bleu.bleu_and_chrf(["a"], [["a"]])
