"""How much of one text is also in another: passages compared by a hash of their content.

A passage is a line without its end, that of Windows too, or a part of a line of more than `LONG_LINE` bytes:
that is cut behind each place where a sum of the four bytes before it, modulo 256, is 0, so equal text is
divided in the same way wherever it is. Up to `MOST_PASSAGES` of a corpus are kept. Of more, only those
are kept whose content gives a key with zeros at its beginning, so that equal passages of two texts are kept
both or not at all, and the share is that of a sample chosen by content.
"""

import array

import numpy as np

MOST_PASSAGES = 2**13
"""Passages of a corpus that are kept."""

MANY_COPIES = 64

BLOCK_BYTES = 2**19
"""Text that is divided at once; documents are often much shorter."""

LONG_LINE = 2**13
"""Bytes; a line of more is cut."""

CUT_BY = np.array([151, 89, 37, 1], np.uint8)
"""Factors of the four bytes before a cut. They are odd, so that every bit of a byte counts."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)


class Passages:
    """A sample of the passages of a corpus, with the place of each; memory does not grow with the corpus."""

    def __init__(self):
        self._hashes, self._numbers = array.array("q"), array.array("q")
        self._offsets, self._sizes, self._keys = array.array("q"), array.array("q"), array.array("Q")
        self._letters, self._is_feed = np.empty(0, np.uint8), np.empty(0, bool)
        self._forget_waiting()
        self.rate = 0  # of 2^rate passages one is kept

    def _forget_waiting(self) -> None:
        self._waiting: list[bytes] = []
        self._waiting_numbers, self._waiting_offsets = array.array("q"), array.array("q")
        self._waiting_bytes = 0

    def add(self, number: int, offset: int, content: bytes) -> None:
        """Take the next part of a document.

        Args:
            number: of the document.
            offset: bytes of it before this part.
            content: the part, best a number of whole lines.
        """
        self._waiting.append(content)
        self._waiting_numbers.append(number)
        self._waiting_offsets.append(offset)
        self._waiting_bytes += len(content)
        if self._waiting_bytes >= BLOCK_BYTES:
            self._divide()

    def _padded(self, content: bytes) -> np.ndarray:
        """Return the bytes with eight line feeds before and nine behind them, so that eight can be read at
        once anywhere.

        The memory is used again each time, because new memory of such a size costs more than what is done
        with it.
        """
        size = len(content) + 17
        if size > len(self._letters):
            self._letters, self._is_feed = np.empty(size * 5 // 4, np.uint8), np.empty(size * 5 // 4, bool)
        letters = self._letters[:size]
        letters[:8] = letters[-9:] = ord("\n")
        letters[8:-9] = np.frombuffer(content, np.uint8)
        return letters

    def thin(self, rate: int) -> None:
        """Keep one of 2^rate passages, as another corpus has."""
        self._divide()
        if rate > self.rate:
            self.rate = rate
            kept = _chosen(np.array(self._keys, np.uint64), rate)
            for name in ("_hashes", "_numbers", "_offsets", "_sizes", "_keys"):
                values = getattr(self, name)
                setattr(
                    self,
                    name,
                    array.array(values.typecode, np.array(values, values.typecode)[kept].tobytes()),
                )

    def _halve_copies(self) -> None:
        """Let one of two copies stand for both where a passage has many: thinning would keep all of them, or
        none.
        """
        hashes, sizes = np.array(self._hashes), np.array(self._sizes)
        order = np.argsort(hashes, kind="stable")
        _, first, places, counts = np.unique(hashes[order], True, True, True)
        rank = np.arange(len(order)) - first[places]
        dropped = np.flatnonzero((counts[places] > MANY_COPIES) & (rank % 2 == 1))
        sizes[order[dropped - 1]] += sizes[order[dropped]]
        self._sizes = array.array("q", sizes.tobytes())
        kept = np.ones(len(order), bool)
        kept[order[dropped]] = False
        self._keep(kept)

    def _keep(self, kept: np.ndarray) -> None:
        for name in ("_hashes", "_numbers", "_offsets", "_sizes", "_keys"):
            values = getattr(self, name)
            setattr(self, name, array.array(values.typecode, np.array(values)[kept].tobytes()))

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return hashes, numbers of documents, offsets and sizes of the passages that are kept, each int64
        [n].
        """
        self._divide()
        columns = (self._hashes, self._numbers, self._offsets, self._sizes)
        return tuple(np.array(column, np.int64) for column in columns)

    def _divide(self) -> None:
        if not self._waiting:
            return
        content = self._waiting[0] if len(self._waiting) == 1 else b"\n".join(self._waiting)
        letters = self._padded(content)
        sizes = np.array([len(part) + 1 for part in self._waiting], np.int64)
        begins = 8 + np.concatenate([[0], np.cumsum(sizes[:-1])])
        starts, ends = _passages(letters, self._is_feed)
        keys = _keys(letters, starts, ends)
        kept = _chosen(keys, self.rate)
        starts, ends, keys = starts[kept], ends[kept], keys[kept]
        parts = np.searchsorted(begins, starts, "right") - 1
        numbers, offsets = (np.array(each)[parts] for each in (self._waiting_numbers, self._waiting_offsets))
        self._hashes.extend(
            [hash(content[start:end]) for start, end in zip((starts - 8).tolist(), (ends - 8).tolist())]
        )
        self._numbers.frombytes(numbers.tobytes())
        self._offsets.frombytes((offsets + starts - begins[parts]).tobytes())
        self._sizes.frombytes((ends - starts).tobytes())
        self._keys.frombytes(keys.tobytes())
        self._forget_waiting()
        while (count := len(self._keys)) > MOST_PASSAGES:
            # About a half is kept, unless there are many copies of few passages.
            kept = np.count_nonzero(_chosen(np.array(self._keys), self.rate + 1))
            if not 2 * count < 5 * kept < 3 * count:
                self._halve_copies()
            if len(self._keys) == count:
                self.thin(self.rate + 1)


def _passages(letters: np.ndarray, is_feed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where passages begin and end, [n] int64 each; blank lines are none. `is_feed` is memory to work
    in.
    """
    found = np.equal(letters[8:-8], ord("\n"), out=is_feed[: len(letters) - 16])
    ends = np.flatnonzero(found) + 8
    starts = np.concatenate([[8], ends[:-1] + 1])
    if (ends - starts).max(initial=0) > LONG_LINE:
        starts, ends = _cut(letters, starts, ends)
    ends = ends - (letters[ends - 1] == ord("\r"))
    longer = ends > starts
    return starts[longer], ends[longer]


def _cut(letters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut the long ones of these lines."""
    total = letters[4:-12] * CUT_BY[0]
    for place, factor in enumerate(CUT_BY[1:], 5):
        total += letters[place : place - 16] * factor
    cuts = np.flatnonzero(total == 0) + 8
    lines = np.searchsorted(ends, cuts)
    within = np.minimum(lines, len(ends) - 1)
    good = (ends - starts)[within] > LONG_LINE
    good &= (lines < len(ends)) & (cuts - starts[within] >= len(CUT_BY))  # Else the line before would count.
    cuts = cuts[good]
    return np.sort(np.concatenate([starts, cuts])), np.sort(np.concatenate([ends, cuts]))


def _keys(letters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return a number for each passage, from its first and last eight bytes and its length, [n] uint64."""
    words = np.ndarray((len(letters) - 7,), "<u8", letters, strides=(1,))
    sizes = ends - starts
    short = np.minimum(sizes, 8)
    first = words[starts] & _MASKS[short]
    last = words[ends - 8] >> (np.uint64(8) * (np.uint64(8) - short.astype(np.uint64)))
    keys = (first ^ (last * _MIX) ^ sizes.astype(np.uint64)) * _MIX
    return (keys ^ (keys >> np.uint64(29))) * _MIX


def _chosen(keys: np.ndarray, rate: int) -> np.ndarray:
    return keys >> np.uint64(64 - min(rate, 63)) == 0 if rate else np.ones(len(keys), bool)


def share_in(sizes: np.ndarray, hashes: np.ndarray, others: np.ndarray) -> float | None:
    """Return the share of the bytes of passages that are in another text, too; None where there are none.

    Args:
        sizes, hashes: of the passages, [n].
        others: hashes of the passages of the other text, [m].
    """
    total = int(sizes.sum())
    return float(sizes[np.isin(hashes, others)].sum()) / total if total else None
