"""What little knowledge of a text reaches: baselines beside the scores of a network with labels.

n examples, p predictions (examples or words), C labels, V tokens of the vocabulary.
"""

from collections.abc import Iterator

import numpy as np

from lm_keras.data.example_rows import NO_WORD, Texts, within

EXAMPLES_AT_ONCE = 4_096
"""Examples whose tokens are looked up at a time."""

MOST_WORDS = 1_000_000
"""Words of the training text that the baseline for tags learns from."""


def baselines(train: Texts, split: Texts, labels: int, vocab_size: int) -> dict[str, np.ndarray]:
    """Return the log-probabilities of two baselines for a split, [p, C] each.

    `majority` knows how often each label comes in the training text. `bag_of_words` knows which tokens come
    with which class, but not their order (multinomial naive Bayes with one count added), or which tags a word
    has, but not what stands around it.

    Args:
        train: the training text.
        split: the text that is predicted.
        labels: C.
        vocab_size: V.

    Reference: McCallum and Nigam (1998), section 2.2, for the naive Bayes classifier.
    """
    true = train.labels if train.tags is None else train.tags[train.tags != NO_WORD]
    counts = np.bincount(true[true >= 0], minlength=labels) + 1.0
    prior = np.log(counts / counts.sum())
    if train.tags is None:
        informed = _of_tokens(train, split, prior, vocab_size)
        majority = np.broadcast_to(prior, informed.shape)
    else:
        informed = _of_words(train, split, np.exp(prior))
        majority = np.broadcast_to(prior, informed.shape)
    return {"majority": majority.astype(np.float32), "bag_of_words": informed.astype(np.float32)}


def _of_tokens(train: Texts, split: Texts, prior: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return the log-probability of each class for each example of a split, [n, C]."""
    classes = len(prior)
    counts = np.ones(classes * vocab_size)
    for tokens, example in _tokens_of(train):
        label = train.labels[example].astype(np.int64)
        known = label >= 0
        counts += np.bincount(label[known] * vocab_size + tokens[known], minlength=len(counts))
    likely = np.log(counts.reshape(classes, vocab_size))
    likely -= np.log(np.exp(likely).sum(1, keepdims=True))
    found = np.tile(prior, [len(split.begins), 1])
    for tokens, example in _tokens_of(split):
        first = example[0] if len(example) else 0
        for label in range(classes):
            own = np.bincount(example - first, likely[label, tokens])
            found[first : first + len(own), label] += own
    return found - np.logaddexp.reduce(found, axis=1, keepdims=True)


def _tokens_of(texts: Texts) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the tokens of some examples at a time, and the number of the example of each token."""
    for first in range(0, len(texts.begins), EXAMPLES_AT_ONCE):
        begins, ends = (bounds[first : first + EXAMPLES_AT_ONCE] for bounds in (texts.begins, texts.ends))
        sizes = ends - begins
        positions = np.repeat(begins, sizes) + within(sizes)
        yield np.asarray(texts.tokens[positions], np.int64), first + np.repeat(np.arange(len(sizes)), sizes)


def _of_words(train: Texts, split: Texts, prior: np.ndarray) -> np.ndarray:
    """Return the log-probability of each tag for each word of a split, [p, C]: that of the same word in
    training, and as much of the prior as one word has.
    """
    seen: dict[bytes, np.ndarray] = {}
    for number, (word, tag) in enumerate(_words_of(train)):
        if number == MOST_WORDS:
            break
        if tag >= 0:
            seen.setdefault(word, prior.copy())[tag] += 1
    found = [seen.get(word, prior) for word, _ in _words_of(split)]
    rows = np.array(found).reshape(-1, len(prior))
    return np.log(rows / rows.sum(1, keepdims=True))


def _words_of(texts: Texts) -> Iterator[tuple[bytes, int]]:
    """Yield the tokens of each word as bytes, and its tag."""
    for begin, end in zip(texts.begins.tolist(), texts.ends.tolist()):
        tokens, tags = texts.tokens[begin:end], texts.tags[begin:end]
        (firsts,) = np.nonzero(tags != NO_WORD)
        for word, tag in zip(np.split(tokens, firsts[1:]), tags[firsts].tolist()):
            yield word.tobytes(), tag
