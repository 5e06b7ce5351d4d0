"""What plain compressors and letter counts make of a text, to compare a model with."""

import gzip
import lzma
import math
from collections.abc import Iterator

import numpy as np

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError


def baselines(run_dir: str, split: str) -> Iterator[dict]:
    """Measure what simple means need for a split of a run, in bits per byte.

    `unigram`: the run's own tokens with their frequencies in the training text, plus one each. `gzip -9` and
    `xz -9`: the split alone, as those programs would compress it. `xz -9 after train`: what the split adds
    to the training text, so that the compressor has seen what the model has seen.

    Raises:
        InputError: the run or the split is missing.
    """
    folder = RunFolder(run_dir)
    data = prepare(folder.config().data, folder.tokenizer())
    if split not in data.splits:
        raise InputError(f"split {split!r} is absent in {run_dir}; it has {', '.join(data.splits)}")
    store, train = data.splits[split], data.splits["train"]
    counts = train.frequencies(data.tokenizer.vocab_size) + 1.0
    nats = -np.log(counts / counts.sum())[store.tokens[1:]].sum()
    text, before = (data.tokenizer.decode(part.tokens[1:].tolist()).encode() for part in (store, train))
    best = {"format": lzma.FORMAT_XZ, "preset": 9}
    sizes = {
        "unigram": nats / math.log(2) / 8,
        "gzip -9": len(gzip.compress(text, 9)),
        "xz -9": len(lzma.compress(text, **best)),
        "xz -9 after train": len(lzma.compress(before + text, **best)) - len(lzma.compress(before, **best)),
    }
    for name, size in sizes.items():
        yield {
            "baseline": name,
            "split": split,
            "bits_per_byte": round(8 * float(size) / store.counts.bytes, 3),
        }
