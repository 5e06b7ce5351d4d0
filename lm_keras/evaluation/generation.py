"""What a network generates for pairs: its scores, also by length, and each target beside its references.

n pairs.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lm_keras.corpora.documents import Document, Pair
from lm_keras.objectives.bleu import bleu_and_chrf, chrf_of_each
from lm_keras.objectives.rouge import USUAL, RougeSettings, rouge, words_of
from lm_keras.sampling.pair_settings import PairSettings

GROUPS = 5
"""Groups of sources by length, as far as their lengths differ."""

DIGITS = 4
"""Decimals of a number that is written for a pair."""


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedTargets:
    """Targets that were generated for pairs, in their order.

    Attributes:
        places: where each pair is from: `train.de:17`.
        pairs: what was read, and the references, one at least for each source.
        outputs: what was generated.
        decoded: how, in words, and for how many pairs.
    """

    places: Sequence[str]
    pairs: Sequence[Pair]
    outputs: Sequence[str]
    decoded: str = ""

    title = "targets"

    @property
    def sources(self) -> list[str]:
        """Return the texts that were read."""
        return [pair.source for pair in self.pairs]

    @property
    def references(self) -> list[tuple[str, ...]]:
        """Return the references of each source."""
        return [pair.targets for pair in self.pairs]

    def measures(
        self,
        bleu_tokenize: str = "auto",
        rouge_settings: RougeSettings = USUAL,
    ) -> dict[str, Any]:
        """Return BLEU, chrF2 and ROUGE, with what says how they were made.

        Args:
            bleu_tokenize: see `lm_keras.objectives.bleu.bleu_and_chrf`.
            rouge_settings: see there.

        Returns:
            `bleu`, `chrf`, `rouge1`, `rouge2`, `rougeL`, `signature`, `rouge_settings` and `decoded`.
        """
        found = bleu_and_chrf(self.outputs, self.references, bleu_tokenize)
        signature = found.pop("signature")
        return {
            **found,
            **rouge(self.outputs, self.references, rouge_settings),
            "signature": signature,
            "rouge_settings": str(rouge_settings),
            **({"decoded": self.decoded} if self.decoded else {}),
        }

    @functools.cached_property
    def source_words(self) -> np.ndarray:
        """Return the words of each source, [n]."""
        return np.array([len(words_of(source)) for source in self.sources])

    def by_length(self) -> list[dict[str, Any]]:
        """Return the scores of groups of pairs, from the shortest sources to the longest.

        Returns:
            For each group its `fewest` and `most` words of a source, its `pairs`, `bleu`, `chrf`, `rougeL`,
            and the mean `length` of the output over that of the first reference, in words.
        """
        words, found = self.source_words, []
        firsts = np.unique(np.quantile(words, np.arange(GROUPS) / GROUPS, method="lower"))
        for fewest, behind in itertools.pairwise([*firsts.tolist(), int(words.max()) + 1]):
            numbers = np.flatnonzero((words >= fewest) & (words < behind)).tolist()
            outputs = [self.outputs[number] for number in numbers]
            references = [self.references[number] for number in numbers]
            scores = bleu_and_chrf(outputs, references)
            sizes = [
                sum(len(words_of(text)) for text in texts)
                for texts in (outputs, [own[0] for own in references])
            ]
            found.append({
                "fewest": int(fewest), "most": int(words[numbers].max()), "pairs": len(numbers),
                "bleu": scores["bleu"], "chrf": scores["chrf"],
                "rougeL": rouge(outputs, references)["rougeL"], "length": sizes[0] / max(1, sizes[1]),
            })  # fmt: skip
        return found

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield for each pair its `place`, `source`, `references`, `output`, and the `chrf` of the output."""
        each = chrf_of_each(self.outputs, self.references)
        for place, source, references, output, chrf in zip(
            self.places, self.sources, self.references, self.outputs, each
        ):
            yield {
                "place": place, "source": source, "references": list(references), "output": output,
                "chrf": round(chrf, DIGITS),
            }  # fmt: skip


def sample_of(documents: Iterable[Document], count: int, most: int) -> list[Document]:
    """Return some pairs of a split, evenly spaced, the same ones each time.

    Args:
        documents: of the split, in order.
        count: how many there are.
        most: how many are returned, at most.
    """
    kept = set(np.linspace(0, count - 1, min(count, most)).astype(int).tolist()) if count else set()
    return [document for number, document in enumerate(documents) if number in kept]


def generated_for(
    translate: Callable[[list[Pair], PairSettings], list[str]],
    documents: Iterable[Document],
    how: PairSettings,
    said: str = "",
) -> GeneratedTargets:
    """Generate the targets of pairs that have references.

    Args:
        translate: returns the target of each pair; see `lm_keras.answers.translator.Translator`.
        documents: the pairs.
        how: they are decoded.
        said: for how many pairs, in words.
    """
    pairs = [document for document in documents if document.pair.targets]
    outputs = translate([document.pair for document in pairs], how)
    beams = "greedy" if how.num_beams == 1 else f"{how.num_beams} beams, length penalty {how.length_penalty}"
    return GeneratedTargets(
        [document.source for document in pairs],
        [document.pair for document in pairs],
        outputs,
        f"{beams}, {said or f'{len(pairs):,} pairs'}",
    )
