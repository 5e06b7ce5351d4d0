"""What one asks word vectors: which words are near, and which is to c as b is to a."""

import difflib
import os
from pathlib import Path

import numpy as np

from lm_keras.checkpoints.vectors import header_of, read_vectors
from lm_keras.errors import InputError
from lm_keras.text.names import BLANK, name_of

COMPARED_WORDS = 50_000
"""Words, the first ones, among which one like an unknown word is looked for."""

Found = list[tuple[str, float]]


class Vectors:
    """Words and the directions of their vectors.

    Args:
        names: of the words, as in a file of vectors.
        table: [n, D] float32, as they were learnt.
    """

    def __init__(self, names: list[str], table: np.ndarray):
        self.names = names
        self._places = {name: place for place, name in enumerate(names)}
        lengths = np.linalg.norm(table, axis=1, keepdims=True)
        self._table = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)  # [n, D]

    @classmethod
    def read(cls, path: str | os.PathLike, most: int | None = None) -> "Vectors":
        """Read a file of vectors, or that of a run.

        Args:
            path: a file in the text format of word2vec or GloVe.
            most: words to read, the first ones.

        Raises:
            InputError: it cannot be read or is damaged; the line is named.
        """
        head = header_of(path)
        names, rows = [], []
        for word, vector in read_vectors(path, head, most=most):
            names.append(word.decode("utf-8", "replace"))
            rows.append(vector)
        if len(rows) < 2:
            raise InputError(f"{path} has {len(rows)} words; expected some that can be compared")
        return cls(names, np.stack(rows))

    def nearest(self, word: str, most: int) -> Found:
        """Return the words whose vectors have the smallest angle with that of a word: names and cosines.

        Raises:
            InputError: the word is unknown.
        """
        place = self._place(word)
        return self._near(self._table[place], {place}, most)

    def analogy(self, a: str, b: str, c: str, most: int) -> Found:
        """Return the words that are to c as b is to a: those nearest to b - a + c, but for these three.

        Raises:
            InputError: a word is unknown.

        Reference:
            Mikolov et al. (2013c), "Linguistic regularities in continuous space word representations",
            section 4.
        """
        places = [self._place(word) for word in (a, b, c)]
        of_a, of_b, of_c = self._table[places]
        return self._near(of_b - of_a + of_c, set(places), most)

    def _near(self, target: np.ndarray, but: set[int], most: int) -> Found:
        length = float(np.linalg.norm(target)) or 1.0
        cosines = self._table @ (target / length)
        cosines[list(but)] = -np.inf
        most = min(most, len(cosines) - len(but))
        best = np.argpartition(-cosines, most - 1)[:most] if most else np.array([], int)
        best = best[np.lexsort((best, -cosines[best]))]
        return [(self.names[place], float(cosines[place])) for place in best]

    def _place(self, word: str) -> int:
        name = name_of(word.encode("utf-8", "replace"))
        # A piece that begins a word has a space in front, and the first word of a file that was put behind
        # another, a mark.
        for known in (word, name, BLANK + name, "\ufeff" + word):
            if known in self._places:
                return self._places[known]
        names = self.names[:COMPARED_WORDS]
        same = [other for other in names if other.lower() == word.lower()]
        close = [*same, *difflib.get_close_matches(word, names, n=3, cutoff=0.6)]
        meant = f" (did you mean {' or '.join(map(repr, dict.fromkeys(close)))}?)" if close else ""
        raise InputError(f"the word {word!r} is not among the {len(self.names):,} words{meant}")


def vectors_of(run_dir: str | None, path: str | None) -> Path:
    """Return the file that one of both flags names.

    Raises:
        InputError: none is given, both are, or the run has none yet.
    """
    if bool(run_dir) == bool(path):
        raise InputError(
            "expected either --run_dir, of a run of scripts/train_embeddings.py, or --vectors, a file of"
            " word2vec or GloVe"
        )
    if path:
        return Path(path)
    found = Path(run_dir) / "vectors.txt"
    if not found.exists():
        raise InputError(
            f"--run_dir={run_dir} holds no vectors.txt; expected a finished run of"
            " scripts/train_embeddings.py"
        )
    return found
