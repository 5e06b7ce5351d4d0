"""What an attacker finds out: secrets that were planted in a text, and which documents were in it.

Exposure: a secret with a number is planted. How many of all numbers does the network find likelier?
Membership: how well does the loss tell documents of the training text from others? Nothing here needs
TensorFlow: networks are functions from texts to nats.

Reference: Carlini et al. (2019), "The secret sharer", sections 4.2 and 4.3; Yeom et al. (2018), "Privacy risk
in machine learning", on the attack by the loss; Hanley and McNeil (1982) on the error of an AUC.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

DIGITS = 5
NUMBERS = 10**DIGITS
"""Numbers that a secret may have."""

LARGEST_EXPOSURE = math.log2(NUMBERS)
"""Exposure in bits of a secret that the network is surest of; chance gives 1.4 on average."""

NAMES = tuple(f"{first}{last}" for first in ("ada", "bob", "cyd", "dan", "eve") for last in ("ly", "ton"))

Nats = Callable[[Sequence[str]], np.ndarray]
"""Texts of the same number of tokens -> the nats of each."""


@dataclasses.dataclass(frozen=True)
class Canary:
    """A secret.

    Attributes:
        name: whose it is.
        number: what is secret.
        copies: documents that hold it.
    """

    name: str
    number: int
    copies: int

    def text(self, number: int | None = None) -> str:
        """Return the secret, or what it would be with another number."""
        return f"\nThe PIN of {self.name} is {self.number if number is None else number:0{DIGITS}d}.\n"


def canaries(seed: int, copies: Sequence[int] = (1, 8)) -> list[Canary]:
    """Return secrets with random numbers, as many with each number of copies."""
    numbers = np.random.default_rng(seed).integers(0, NUMBERS, len(NAMES))
    each = len(NAMES) // len(copies)
    return [
        Canary(name, int(number), copies[min(place // each, len(copies) - 1)])
        for place, (name, number) in enumerate(zip(NAMES, numbers))
    ]


def planted(documents: Sequence[str], secrets: Sequence[Canary], seed: int, place: int = 20) -> list[str]:
    """Return documents, and copies of random ones in which a secret stands in place of some characters.

    Example:
        >>> planted(["abcdefghijklmnopqrstuvwxyz0123456789"], [Canary("bob", 7, 1)], seed=0, place=2)[1]
        'ab\\nThe PIN of bob is 00007.\\n4567890123456789'[:36]
    """
    random, found = np.random.default_rng(seed), list(documents)
    for secret in secrets:
        for _ in range(secret.copies):
            base, text = documents[int(random.integers(len(documents)))], secret.text()
            found.append(base[:place] + text + base[place + len(text) :])
    return found


def exposure(secret: Canary, nats: Nats, seed: int, samples: int = 2048) -> float:
    """Return the exposure of a secret in bits: log2 of all numbers over its rank among them.

    The rank is estimated from random numbers; below one of them it is taken for 1.

    Args:
        secret: that was planted.
        nats: of the network.
        seed: of the numbers.
        samples: how many.
    """
    others = np.random.default_rng(seed).integers(0, NUMBERS, samples)
    found = nats([secret.text(int(number)) for number in (secret.number, *others)])
    rank = 1 + (found[1:] < found[0]).mean() * NUMBERS
    return LARGEST_EXPOSURE - math.log2(min(rank, NUMBERS))


@dataclasses.dataclass(frozen=True)
class Membership:
    """How well losses tell members from others.

    Attributes:
        auc: probability that a member has less loss than another document; 0.5 is chance.
        low, high: between which it lies with 95 % confidence.
    """

    auc: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.auc:.3f} ({self.low:.3f} to {self.high:.3f})"


def membership(members: np.ndarray, others: np.ndarray) -> Membership:
    """Return how well losses tell members of the training text from other documents.

    Args:
        members: [m] losses of documents that were learnt.
        others: [n] losses of documents of the same kind that were not.

    Example:
        >>> membership(np.array([1.0, 2.0]), np.array([3.0, 4.0])).auc
        1.0
    """
    count = len(members) * len(others)
    below = (members[:, None] < others[None]).sum() + 0.5 * (members[:, None] == others[None]).sum()
    auc = float(below / count)
    both, shared = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (len(members) - 1) * (both - auc**2) + (len(others) - 1) * (shared - auc**2)
    error = 1.96 * math.sqrt(max(0.0, variance) / count)
    return Membership(auc, max(0.0, auc - error), min(1.0, auc + error))
