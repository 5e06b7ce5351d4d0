"""Which random number a generated token gets: laws, and statistics with a control for each."""

import itertools
from unittest import mock

import numpy as np
import pytest

from lm_keras.sampling import generate, uniforms
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.uniforms import key_of, uniform_numbers

V = 13
WORDS = ["".join(letters) for letters in itertools.product("abc #N", repeat=4)]  # 1,296 prompts.


def test_numbers_depend_on_the_key_and_the_position_alone():
    key = key_of(7, [0, 5, 3], sample=3)
    whole = uniform_numbers(key, first=0, count=50)
    for first in range(11):
        np.testing.assert_array_equal(uniform_numbers(key, first, 6), whole[first : first + 6])
    np.testing.assert_array_equal(uniform_numbers(key, -4, 10), np.r_[np.zeros(4), whole[:6]])
    np.testing.assert_array_equal(uniform_numbers(key, -9, 4), np.zeros(4))
    assert whole.dtype == np.float32 and whole.min() > 0 and whole.max() < 1


def test_every_part_of_a_key_matters():
    """Also where the parts have the same sum, or the same digits one after the other."""
    ids = [0, 5, 3]
    keys = [
        key_of(7, ids), key_of(8, ids), key_of(-7, ids), key_of(7 + 2**64, ids), key_of(7, ids, 1),
        key_of(7, ids, 0, 1),
        key_of(6, ids, 1), key_of(71, ids), key_of(7, ids, 11), key_of(7, ids, 1, 1), key_of(7, []),
        key_of(7, [0, 5]),
        key_of(7, [0, 5, 3, 0]), key_of(7, [5, 0, 3]),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys) and all(0 <= key < 2**128 for key in keys)
    assert key_of(np.int64(7), np.array(ids, np.int32)) == keys[0]


def test_numbers_are_these():
    """Texts of earlier versions can be had again only while these numbers stay."""
    expected = [8558191 / 2**24, 11214995 / 2**24, 8166755 / 2**24]
    np.testing.assert_array_equal(
        uniform_numbers(key_of(1, [0, 70_000], sample=2), 0, 3), np.float32(expected)
    )


def unevenness(numbers):
    """How many standard deviations the worst of three statistics of numbers [N] in (0, 1) is away from its
    mean.

    Their counts in 20 intervals (chi-square), their mean, and the correlation of each with the next.
    """
    count = len(numbers)
    seen = np.histogram(numbers, 20, (0, 1))[0]
    chi_square = ((seen - count / 20) ** 2).sum() / (count / 20)
    centred = (numbers.astype(np.float64) - 0.5) * np.sqrt(12)
    return max(
        abs(chi_square - 19) / np.sqrt(2 * 19),
        abs(centred.mean()) * np.sqrt(count),
        abs((centred[1:] * centred[:-1]).mean()) * np.sqrt(count - 1),
    )


SERIES = {
    "seeds": lambda n: [uniform_numbers(key_of(seed, [0, 5]), 0, 1)[0] for seed in range(n)],
    "samples": lambda n: [uniform_numbers(key_of(0, [0, 5], sample), 0, 1)[0] for sample in range(n)],
    "blanks": lambda n: [uniform_numbers(key_of(0, [0, 5], 0, blank), 0, 1)[0] for blank in range(n)],
    "prompts": lambda n: [uniform_numbers(key_of(0, [0, token]), 0, 1)[0] for token in range(n)],
    "longer prompts": lambda n: [uniform_numbers(key_of(0, [0] * length), 0, 1)[0] for length in range(n)],
    "positions": lambda n: uniform_numbers(key_of(0, [0, 5]), 0, n),
    "seeds and samples": lambda n: [uniform_numbers(key_of(k, [0], -k), 0, 1)[0] for k in range(n)],
    "positions of seeds": lambda n: [uniform_numbers(key_of(k, [0]), k, 1)[0] for k in range(n)],
}


@pytest.mark.parametrize("series", SERIES)
def test_numbers_are_even_and_have_nothing_to_do_with_their_neighbours(series):
    assert unevenness(np.array(SERIES[series](2000), np.float32)) < 5


def test_the_statistics_can_fail():
    shared = np.full(2000, uniform_numbers(key_of(0, [0]), 0, 1)[0])
    few = np.tile(uniform_numbers(key_of(0, [0]), 0, 40), 50)
    slow = np.repeat(uniform_numbers(key_of(0, [0]), 0, 1000), 2)
    for numbers in (shared, few, slow, np.sqrt(uniform_numbers(key_of(0, [0]), 0, 2000))):
        assert unevenness(numbers) > 6


def surprise(sampler, model, tokenizer, **settings):
    """How many standard deviations the worst count of a token is away from what the model says, over many
    prompts.
    """
    rows = sampler.sample(WORDS, max_new_tokens=1, **settings)
    counts = np.bincount([row.token_ids[0] for row in rows], minlength=V)
    logits = (
        model(np.array([[0, *tokenizer.encode(word)] for word in WORDS]))[:, -1].numpy().astype(np.float64)
    )
    logits[:, tokenizer.unknown_id] = -np.inf
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)  # [words, V]
    deviation = np.sqrt((shares * (1 - shares)).sum(0))
    known = np.arange(V) != tokenizer.unknown_id
    return (abs(counts - shares.sum(0))[known] / deviation[known]).max()


def test_first_tokens_of_many_prompts_follow_the_model_with_one_seed(tiny, tokenizer):
    tiny = type(tiny)(scale=0.5)  # Whose distribution hardly depends on the prompt.
    sampler = Sampler(tiny, tokenizer)
    for settings in ({"seed": 0}, {"seed": 1}, {"seed": list(range(len(WORDS)))}):
        assert surprise(sampler, tiny, tokenizer, **settings) < 4
    # The control: a key that knows nothing of the prompt gives all prompts the same number.
    with mock.patch.object(
        generate, "key_of", lambda seed, prompt_ids, sample: uniforms.key_of(seed, [], sample)
    ):
        assert surprise(sampler, tiny, tokenizer, seed=0) > 20


def test_samples_are_as_many_texts_as_their_keys(tiny, tokenizer):
    """The same prompt twice in a batch is the same text twice; its number within the batch means nothing."""
    sampler, how = Sampler(tiny, tokenizer), {"max_new_tokens": 20, "seed": 5}
    a, b, c, again = sampler.generate(["ab", "b", "ab ", "ab"], **how)
    assert a == again and len({a, b, c}) == 3
    assert (
        sampler.generate(["ab"], num_samples=3, **how)[:2]
        == sampler.generate(["b", "ab"], num_samples=2, **how)[2:]
    )
    assert sampler.generate(["ab", "ab"], max_new_tokens=20, seed=[5, 6])[1] != a
