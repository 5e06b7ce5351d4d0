import doctest
from fractions import Fraction

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.sampling import rules
from lm_keras.sampling.continuation import find_stop, held_back
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.sampling.uniforms import key_of, uniform_numbers

B, V, ROWS = 3, 13, 20_000
ALL = np.ones(V, bool)
LOGITS = np.random.default_rng(4).normal(0, 1.5, [B, V]).astype(np.float32)
LIMIT = 39.1  # chi-square, 12 degrees of freedom, probability 1e-4


def softmax(logits):
    exp = np.exp(logits - logits.max())
    return exp / exp.sum()


def expected_probabilities(logits, temperature=1.0, top_k=0, top_p=1.0):
    """The rules written a second time, for one row, in plain numpy."""
    p = softmax(logits.astype(np.float64) / temperature)
    order = sorted(range(V), key=lambda token: (-p[token], token))
    if top_k:
        p[order[top_k:]] = 0
        p /= p.sum()
    total = 0.0
    for token in order:
        if total >= top_p:
            p[token] = 0
        total += p[token]
    return p / p.sum()


def frequencies(logits, settings, allowed=ALL):
    """Counts [V] of ROWS tokens chosen from one row of logits."""
    uniform = uniform_numbers(key_of(5, [2]), first=0, count=ROWS)
    tokens = rules.choose(tf.tile(logits[None], [ROWS, 1]), tf.constant(uniform), settings, allowed)
    return np.bincount(tokens.numpy(), minlength=V)


def chi_square(counts, probabilities):
    assert counts[probabilities == 0].sum() == 0
    wanted = ROWS * probabilities[probabilities > 0]
    return ((counts[probabilities > 0] - wanted) ** 2 / wanted).sum()


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"temperature": 0.7},
        {"temperature": 1.8},
        {"top_k": 4},
        {"top_p": 0.6},
        {"temperature": 0.8, "top_k": 7, "top_p": 0.75},
    ],
    ids=str,
)
def test_tokens_follow_the_distribution_of_the_rules(setting):
    counts = frequencies(LOGITS[1], RuleSettings.of(**setting))
    assert chi_square(counts, expected_probabilities(LOGITS[1], **setting)) < LIMIT


def test_the_distribution_check_can_fail():
    counts = frequencies(LOGITS[1], RuleSettings.of(temperature=1.1))
    assert chi_square(counts, expected_probabilities(LOGITS[1])) > LIMIT
    # Neighbours of one stream must be independent too, not only each number uniform.
    uniform = uniform_numbers(key_of(5, [2]), first=0, count=ROWS)
    assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < 4 / np.sqrt(ROWS)


@pytest.mark.parametrize("top_k", [1, 2, 5, V, 99])
def test_top_k_keeps_the_k_likeliest(top_k):
    kept = np.isfinite(rules.narrow(tf.constant(LOGITS), RuleSettings.of(top_k=top_k)))
    for row in range(B):
        assert set(np.flatnonzero(kept[row])) == set(np.argsort(-LOGITS[row])[:top_k])


@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.6, 0.95, 1.0])
def test_top_p_keeps_the_smallest_nucleus(top_p):
    kept = np.isfinite(rules.narrow(tf.constant(LOGITS), RuleSettings.of(top_p=top_p)))
    for row in range(B):
        p, order = softmax(LOGITS[row]), np.argsort(-LOGITS[row])
        size = 1 + np.sum(np.cumsum(p[order])[:-1] < top_p)
        assert set(np.flatnonzero(kept[row])) == set(order[:size])


def test_top_k_of_one_is_greedy_also_among_equals():
    logits = np.float32([[1, 3, 3, 2], [5, 5, 5, 5], [0, 1, 2, 2]])
    for uniform in (0.0, 0.5, 0.999999):
        u = tf.fill([B], tf.constant(uniform, tf.float32))
        for settings in (
            RuleSettings.of(temperature=0),
            RuleSettings.of(top_k=1),
            RuleSettings.of(top_p=1e-9),
        ):
            assert rules.choose(logits, u, settings, [True] * 4).numpy().tolist() == [1, 0, 2]
        assert uniform == 0 or rules.choose(logits, u, RuleSettings.of(top_k=2), [True] * 4).numpy()[1] > 0


def test_rules_that_reject_nothing_change_no_token():
    uniform = tf.constant(uniform_numbers(key_of(0, []), 0, B))
    plain = rules.choose(LOGITS, uniform, RuleSettings.of(), ALL)
    np.testing.assert_array_equal(plain, rules.choose(LOGITS, uniform, RuleSettings.of(top_k=V), ALL))
    np.testing.assert_array_equal(plain, rules.choose(LOGITS, uniform, RuleSettings.of(top_p=0.9999999), ALL))


def test_tokens_that_are_not_allowed_are_never_chosen():
    best = int(LOGITS[0].argmax())
    allowed = np.arange(V) != best
    for settings in (RuleSettings.of(), RuleSettings.of(top_k=3), RuleSettings.of(temperature=0)):
        assert frequencies(LOGITS[0], settings)[best] > 0
        assert frequencies(LOGITS[0], settings, allowed)[best] == 0


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_a_token_of_probability_zero_is_never_chosen_at_the_edges(uniform):
    logits = np.float32([[-np.inf, 0, 0, -np.inf], [-200, -200, 7, -200], [-np.inf, -np.inf, -np.inf, 1]])
    tokens = rules.choose(logits, tf.fill([B], uniform), RuleSettings.of(), [True] * 4).numpy()
    assert tokens.tolist() == ([1, 2, 3] if uniform == 0 else [2, 2, 3])


def test_a_temperature_beyond_float32_makes_all_tokens_alike():
    allowed = np.arange(V) != 4
    counts = frequencies(LOGITS[1], RuleSettings.of(1e308), allowed)
    assert chi_square(counts, allowed / allowed.sum()) < LIMIT


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-3])
def test_a_tiny_temperature_is_greedy_and_stays_finite(temperature):
    tokens = rules.choose(LOGITS * 1e4, tf.fill([B], 0.7), RuleSettings.of(temperature), ALL)
    np.testing.assert_array_equal(tokens, LOGITS.argmax(-1))


def test_one_trace_for_all_settings_and_equal_results_inside():
    compiled = tf.function(
        rules.choose,
        input_signature=[
            tf.TensorSpec([None, None]),
            tf.TensorSpec([None]),
            RuleSettings.signature(),
            tf.TensorSpec([None], tf.bool),
        ],
    )
    for number, setting in enumerate([(0.0, 0, 1.0), (1.0, 0, 1.0), (0.5, 3, 0.9), (2.0, 99, 0.2)]):
        uniform = tf.constant(uniform_numbers(key_of(number, []), 0, B))
        args = (tf.constant(LOGITS), uniform, RuleSettings.of(*setting), tf.constant(ALL))
        np.testing.assert_array_equal(compiled(*args), rules.choose(*args))
    assert compiled.experimental_get_tracing_count() == 1


@pytest.mark.parametrize(
    ("name", "tiny"), [("top_p", True), ("min_p", False), ("temperature", True), ("repetition_penalty", None)]
)
def test_what_float32_cannot_hold_does_what_the_nearest_does(name, tiny):
    """What is above 0 stays so: `tiny` tells whether that keeps the likeliest token alone, or all."""
    uniform = tf.constant(uniform_numbers(key_of(3, []), 0, 60))
    logits = np.tile(LOGITS, [20, 1])
    past = rules.Past(
        tf.tile(tf.range(V)[None], [60, 1]), *map(tf.constant, (4, 0)), tf.zeros([60], tf.int32)
    )

    def chosen(**settings):
        return (
            rules.choose(tf.constant(logits), uniform, RuleSettings.of(**settings), ALL, past)
            .numpy()
            .tolist()
        )

    expected = chosen(**{name: 1e-30})
    for value in (1e-46, 1e-40, 1e-38, Fraction(1, 10**46), np.float64(1e-300)):
        assert chosen(**{name: value}) == expected
    if tiny is not None:
        assert (expected == logits.argmax(-1).tolist()) == tiny and (expected == chosen()) == (not tiny)
    assert chosen(temperature=1e39) == chosen(temperature=3e38) == chosen(temperature=10**400)
    # The control: the tensor without the rounding.
    cast = RuleSettings.of()._replace(top_p=tf.constant(1e-46))
    assert (
        rules.choose(tf.constant(logits), uniform, cast, ALL, past).numpy().tolist()
        != logits.argmax(-1).tolist()
    )


def test_a_penalty_leaves_numbers_at_any_size():
    logits = tf.constant([[1e8, -1e8, 3.0, -3.0, 0.0, *[1.0] * (V - 5)]])
    past = rules.Past(tf.range(V)[None], tf.constant(5), tf.constant(0), tf.zeros([1], tf.int32))
    for penalty in (1e-46, 1e-30, 1e-3, 100.0):
        found = rules.adjusted(logits, RuleSettings.of(repetition_penalty=penalty), past).numpy()
        assert np.isfinite(found).all()


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(rules)
    assert found.attempted == 2 and found.failed == 0
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner()
    for function in (uniform_numbers, find_stop, held_back, SamplingSettings):
        (example,) = finder.find(function, function.__name__, globs=globals())
        assert runner.run(example).attempted > 0
    assert runner.summarize(verbose=False).failed == 0
