import doctest
import json
import math

import pytest

from lm_keras.data.store import TextCounts
from lm_keras.objectives import measures
from lm_keras.objectives.measures import finite, likelihood_measures

NATS = 8 * math.log(2)  # 8 bits

COUNTS = TextCounts(tokens=4, bytes=16, words=2, characters=5)


def test_literal_numbers():
    assert likelihood_measures(NATS, 4, COUNTS) == pytest.approx(
        {
            "nats_per_token": 1.3862943611198906,  # 2 bits a token
            "perplexity": 4.0,
            "word_perplexity": 16.0,  # 4 bits a word
            "bits_per_byte": 0.5,
            "bits_per_character": 1.6,
        }
    )


def test_the_comparison_can_fail():
    for counts in (TextCounts(4, 17, 2, 5), TextCounts(4, 16, 3, 5), TextCounts(4, 16, 2, 6)):
        assert likelihood_measures(NATS, 4, counts) != pytest.approx(likelihood_measures(NATS, 4, COUNTS))
    assert likelihood_measures(NATS, 5, COUNTS) != pytest.approx(likelihood_measures(NATS, 4, COUNTS))


def absent(values):
    return {name for name, value in values.items() if value is None}


OF_THE_TEXT = {"word_perplexity", "bits_per_byte", "bits_per_character"}
OF_THE_TOKENS = {"nats_per_token", "perplexity"}


@pytest.mark.parametrize(
    ("nats", "tokens", "counts", "missing"),
    [
        (NATS, 4, COUNTS, set()),
        (0.0, 4, COUNTS, set()),
        (NATS, 4, None, OF_THE_TEXT),
        (NATS, 4, TextCounts(4, 16, 2, 5, unknown=1), OF_THE_TEXT),
        (NATS, 4, TextCounts(4, 16, 2, 5, unknown=0), set()),
        (NATS, 0, None, OF_THE_TEXT | OF_THE_TOKENS),
        (NATS, 4, TextCounts(4, 0, 2, 0), {"bits_per_byte", "bits_per_character"}),
        (NATS, 4, TextCounts(4, 16, 0, 5), {"word_perplexity"}),
        # exp overflows first where the divisor is smallest.
        (1500.0, 2, COUNTS, {"perplexity", "word_perplexity"}),
        (1500.0, 4, COUNTS, {"word_perplexity"}),
        (math.inf, 4, COUNTS, OF_THE_TEXT | OF_THE_TOKENS),
        (math.nan, 4, COUNTS, OF_THE_TEXT | OF_THE_TOKENS),
    ],
)
def test_what_cannot_be_said_is_absent(nats, tokens, counts, missing):
    values = likelihood_measures(nats, tokens, counts)
    assert list(values) == [
        *("nats_per_token", "perplexity"),
        *("word_perplexity", "bits_per_byte", "bits_per_character"),
    ]
    assert absent(values) == missing
    json.dumps(values, allow_nan=False)


def test_finite():
    assert [finite(value) for value in (1.5, 0, None, math.inf, -math.inf, math.nan)] == [1.5, 0] + [None] * 4


def test_the_example_in_the_docstring_runs():
    found = doctest.testmod(measures, extraglobs={"TextCounts": TextCounts})
    assert found.attempted == 2
    assert found.failed == 0
