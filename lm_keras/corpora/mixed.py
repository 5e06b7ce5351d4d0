"""Several corpora as one: `--corpus='A B'`."""

import dataclasses
import re
from collections.abc import Iterator, Sequence

from lm_keras.corpora.documents import Corpus, Document
from lm_keras.registry import SOURCES

_NAMES = [f"{name}:" for name, source in SOURCES.items() if source.takes(True)]
_ALONE = [rf"{name}(?=\s|$)" for name, source in SOURCES.items() if source.takes(False)]
_BETWEEN = re.compile(rf"\s+(?={'|'.join([*_NAMES, *_ALONE])})")


class MixedCorpus(Corpus):
    """The documents of several corpora, those of the first one first. Each document knows its corpus.

    Args:
        parts: the corpora.
    """

    def __init__(self, parts: Sequence[Corpus]):
        self._parts = parts
        self.spec = " ".join(part.spec for part in parts)
        self.licence, self.citation = (
            "; ".join(dict.fromkeys(filter(None, (getattr(part, name) for part in parts)))) or None
            for name in ("licence", "citation")
        )

    def documents(self) -> Iterator[Document]:
        """Yield the documents of each corpus in turn."""
        for number, part in enumerate(self._parts):
            for document in part.documents():
                yield dataclasses.replace(document, corpus=number)

    def held_out(self) -> dict[str, Corpus]:
        """Return the corpora to validate and test on, where all parts come with some of their own."""
        own = [part.held_out() for part in self._parts]
        everywhere = [name for name in own[0] if all(name in found for found in own)]
        return {name: MixedCorpus([found[name] for found in own]) for name in everywhere}

    def report(self) -> dict[str, int]:
        """Return the sums of what all parts report."""
        reports = [part.report() for part in self._parts]
        names = dict.fromkeys(name for report in reports for name in report)
        return {name: sum(report.get(name, 0) for report in reports) for name in names}

    def remarks(self) -> list[str]:
        """Return the remarks on all parts."""
        return [line for part in self._parts for line in part.remarks()]


def specs_in(text: str) -> list[str]:
    """Return the specifications in a value of `--corpus`. White space parts two of them where the name of a
    source follows; any other belongs to the name of a file.

    Example:
        >>> specs_in("text:my notes.txt tsv:a.tsv python-docs")
        ['text:my notes.txt', 'tsv:a.tsv', 'python-docs']
    """
    return _BETWEEN.split(text.strip())
