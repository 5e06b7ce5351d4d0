"""Which documents are train, valid and test, by the hash of their content."""

import numpy as np

TRAIN, VALID, TEST = range(3)


def dealt(hashes: np.ndarray, num_valid: int, num_test: int) -> np.ndarray:
    """Deal out documents by their hashes: the highest to test, the next ones to valid.

    Documents that occur more than once belong to train. If the others are not enough, those that occur twice
    are dealt out, too, and so on; equal documents stay together. What occurs more often than a split has
    documents stays in train, if anything occurs less often; valid and test then share what there is.

    Args:
        hashes: of the documents, uint64 [documents].
        num_valid, num_test: documents that are held out.

    Returns:
        `TRAIN`, `VALID` or `TEST` for each document, uint8 [documents].

    Example:
        >>> dealt(np.array([9, 9, 9, 1, 7, 3, 5], np.uint64), 1, 1).tolist()
        [0, 0, 0, 0, 2, 0, 1]
    """
    contents, places, counts = np.unique(hashes, return_inverse=True, return_counts=True)  # [contents]
    wanted, levels = num_valid + num_test, np.unique(counts)
    smallest = min(filter(None, (num_valid, num_test)), default=0)
    for most in levels[levels <= max(levels[0], smallest)]:
        chosen = np.flatnonzero(counts <= most)[::-1]  # From the highest hash down.
        if counts[chosen].sum() >= wanted:
            break
    if (available := counts[chosen].sum()) < wanted:
        num_test = available * num_test // wanted
        num_valid = available - num_test
    before = np.cumsum(counts[chosen]) - counts[chosen]
    is_test = before < num_test
    is_valid = ~is_test & (before < counts[chosen][is_test].sum() + num_valid)
    owner = np.zeros(len(contents), np.uint8)
    owner[chosen[is_test]], owner[chosen[is_valid]] = TEST, VALID
    return owner[places]


def dealt_by_hash(hashes: np.ndarray, num_valid: int, num_test: int) -> np.ndarray:
    """Deal out documents as earlier versions did, whatever occurs more than once; see `dealt`."""
    ordered = np.append(np.sort(hashes), np.uint64(2**64 - 1))
    owner = np.zeros(len(hashes), np.uint8)
    if num_valid:
        owner[hashes >= ordered[max(0, len(hashes) - num_test - num_valid)]] = VALID
    if num_test:
        owner[hashes >= ordered[len(hashes) - num_test]] = TEST
    return owner
