"""What little knowledge of pairs reaches: baselines beside the scores of a network that generates targets.

n pairs of the training text, V tokens of the vocabulary.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from lm_keras.corpora.documents import Document
from lm_keras.data.example_rows import within
from lm_keras.data.pairs import Pairs
from lm_keras.evaluation.generation import GeneratedTargets
from lm_keras.text.sentences import sentences_of

MOST_PAIRS = 100_000
"""Pairs of the training text that the baseline `nearest` looks through."""


def baselines(
    split: Pairs, train: Pairs, documents: Iterable[Document], generated: GeneratedTargets
) -> dict[str, GeneratedTargets]:
    """Return the targets of three baselines for a split.

    `copy` gives the source itself, `lead` its first sentence, and `nearest` the target of the pair of the
    training text whose source shares the most words with it (by the cosine of tf-idf over tokens).

    Args:
        split, train: the tokens of both texts.
        documents: of the training text, in order.
        generated: what a network generated for the whole split.
    """
    sources = generated.sources
    chosen = nearest(split, train)
    wanted, targets = set(chosen.tolist()), {}
    for number, document in enumerate(documents):
        if number in wanted:
            targets[number] = document.pair.targets[0]
    outputs = {
        "copy": sources,
        "lead": [(sentences_of(source) or [source])[0] for source in sources],
        "nearest": [targets[number] for number in chosen.tolist()],
    }
    return {name: dataclasses.replace(generated, outputs=own, decoded="") for name, own in outputs.items()}


def nearest(split: Pairs, train: Pairs) -> np.ndarray:
    """Return for each source of a split the number of the likest source of the training text, [m] int64."""
    count = min(len(train.begins), MOST_PAIRS)
    tokens, pair = _tokens_of(train, count)
    vocabulary = 1 + int(max(tokens.max(initial=0), split.tokens.max(initial=0)))
    # Each token of a source once; sorted by token, so that the pairs that have it stand side by side.
    keys = np.unique(tokens.astype(np.int64) * count + pair)
    tokens, pair = keys // count, keys % count
    frequency = np.bincount(tokens, minlength=vocabulary)
    weight = np.log((1 + count) / (1 + frequency)) ** 2
    length = np.sqrt(np.bincount(pair, weight[tokens], count))
    ends = np.cumsum(frequency)
    found = np.zeros(len(split.begins), np.int64)
    for number, (begin, middle) in enumerate(zip(split.begins.tolist(), split.middles.tolist())):
        own = np.unique(split.tokens[begin:middle])
        sizes = frequency[own]
        places = np.repeat(ends[own] - sizes, sizes) + within(sizes)
        shared = np.bincount(pair[places], np.repeat(weight[own], sizes), count)
        found[number] = np.argmax(shared / np.maximum(length, 1e-9))
    return found


def _tokens_of(pairs: Pairs, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the tokens of the first sources, and the number of the pair of each token."""
    sizes = pairs.source_sizes[:count]
    positions = np.repeat(pairs.begins[:count], sizes) + within(sizes)
    return np.asarray(pairs.tokens[positions]), np.repeat(np.arange(count), sizes)
