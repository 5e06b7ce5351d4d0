"""The random numbers of sampling: one for each generated token, and which one is decided here alone.

A number belongs to (seed, tokens of the prompt, number of the sample, number of the mask, position). So a
batch of prompts gives the texts of its prompts one by one, and two prompts with one seed have nothing to do
with each other. The same prompt twice in a batch gives the same text twice; `num_samples`, or a seed for each
prompt, gives different ones.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def key_of(seed: int, prompt_ids: Sequence[int], sample: int = 0, mask: int = 0) -> int:
    """Return the key of the random numbers of one text.

    Args:
        seed: any integer.
        prompt_ids: the tokens that the model reads before the text, those that begin a document too.
        sample: which continuation of its prompt the text is.
        mask: which `[MASK]` of the prompt the text fills, where a model fills several.

    Returns:
        128 bits of a hash. They depend neither on the process nor on the machine.
    """
    tokens = np.asarray(prompt_ids, "<i4").tobytes()
    digest = hashlib.blake2b(f"{seed} {sample} {mask} ".encode() + tokens, digest_size=16).digest()
    return int.from_bytes(digest, "little")


def uniform_numbers(key: int, first: int, count: int) -> np.ndarray:
    """Return the uniform numbers [count] of the generated tokens `first`, `first + 1`, ... of a text.

    They depend neither on the batch nor on the device nor on the version of TensorFlow. Before token 0, in
    the prompt, a number is 0.

    Args:
        key: from `key_of`.
        first: number of the first token; negative in the prompt.
        count: how many numbers.

    Returns:
        float32 in (0, 1), 23 random bits each.

    Example:
        >>> whole = uniform_numbers(key_of(3, [0, 5]), first=0, count=9)
        >>> bool((uniform_numbers(key_of(3, [0, 5]), 5, 4) == whole[5:]).all())
        True

    Reference: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox).
    """
    in_prompt = min(count, max(0, -first))
    block, skipped = divmod(max(0, first), 4)  # A Philox block is 4 numbers.
    philox = np.random.Philox(key=key, counter=block)
    raw = philox.random_raw(skipped + count - in_prompt)[skipped:]
    # Never 0: that would choose the first token there is, however small its probability.
    numbers = (raw >> np.uint64(41)).astype(np.float32) * np.float32(2**-23) + np.float32(2**-24)
    return np.concatenate([np.zeros(in_prompt, np.float32), numbers])
