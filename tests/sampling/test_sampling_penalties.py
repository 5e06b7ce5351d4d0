"""Rules that look at the text so far, against a computation by hand. B 3 rows, V 11, L 11."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.sampling import rules
from lm_keras.sampling.rules import Past, RuleSettings

B, V, L = 3, 11, 11
RANDOM = np.random.default_rng(7)
LOGITS = RANDOM.normal(0, 2, [B, V]).astype(np.float32)
TOKENS = np.array(
    [
        [0, 5, 3, 5, 3, 7, 5, 3, 5, 9, 9],
        [9, 9, 0, 2, 8, 7, 5, 2, 8, 8, 8],
        [7, 0, 4, 10, 4, 6, 4, 10, 4, 1, 1],
    ],
    np.int32,
)
LENGTH, PROMPT_END, BEGINS = 9, 4, np.array([1, 3, 2], np.int32)
PAST = Past(*map(tf.constant, (TOKENS, LENGTH, PROMPT_END, BEGINS)))


def adjusted(**settings):
    return rules.adjusted(tf.constant(LOGITS), RuleSettings.of(**settings), PAST).numpy()


def texts():
    """For each row its text without the beginning of the document, and the generated part of it."""
    return [
        (row[begin:LENGTH].tolist(), row[PROMPT_END:LENGTH].tolist()) for row, begin in zip(TOKENS, BEGINS)
    ]


def test_repetition_penalty():
    expected = LOGITS.copy()
    for row, (text, _) in enumerate(texts()):
        for token in set(text):
            expected[row, token] *= 1 / 1.3 if expected[row, token] > 0 else 1.3
    np.testing.assert_allclose(adjusted(repetition_penalty=1.3), expected, rtol=1e-5)
    assert (expected <= LOGITS).all() and (expected != LOGITS).sum() == 3 + 4 + 3


def test_presence_and_frequency_penalties_look_at_what_was_generated():
    expected = LOGITS.copy()
    for row, (_, generated) in enumerate(texts()):
        for token in set(generated):
            expected[row, token] -= 0.4 + 0.25 * generated.count(token)
    np.testing.assert_allclose(
        adjusted(presence_penalty=0.4, frequency_penalty=0.25), expected, rtol=1e-5, atol=1e-6
    )
    # The prompt's own tokens are no reason: 3 and 5 of the first row were generated too, its 0 and 2 were
    # not.
    assert expected[1, 2] == LOGITS[1, 2] - np.float32(0.4 + 0.25)


def banned_by_hand(text, n):
    """Tokens that would complete n tokens in a row that are there already."""
    last = text[len(text) - n + 1 :] if n > 1 else []
    return {text[i + n - 1] for i in range(len(text) - n + 1) if text[i : i + n - 1] == last}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 30])
def test_no_repeated_ngram(n):
    found = adjusted(no_repeat_ngram=n)
    for row, (text, _) in enumerate(texts()):
        assert set(np.flatnonzero(np.isneginf(found[row]))) == banned_by_hand(text, n)
    kept = np.isfinite(found)
    np.testing.assert_array_equal(found[kept], LOGITS[kept])


def test_the_check_of_ngrams_is_not_empty():
    assert all(any(banned_by_hand(text, n) for text, _ in texts()) for n in (1, 2, 3))


def test_where_everything_would_be_banned_nothing_is():
    tokens = tf.constant([[0, *range(V - 1), V - 1]])
    past = Past(tokens, tf.constant(V + 1), tf.constant(1), tf.constant([1]))
    found = rules.adjusted(tf.constant(LOGITS[:1]), RuleSettings.of(no_repeat_ngram=1), past)
    np.testing.assert_array_equal(found, LOGITS[:1])


def test_bias_is_added():
    bias = np.zeros(V, np.float32)
    bias[4] = -3.5
    np.testing.assert_allclose(adjusted(logit_bias=bias), LOGITS + bias, rtol=1e-6)


def test_min_p_keeps_what_is_likely_enough():
    settings = RuleSettings.of(min_p=0.2)
    kept = np.isfinite(rules.narrow(tf.constant(LOGITS), settings))
    probabilities = tf.nn.softmax(LOGITS).numpy()
    np.testing.assert_array_equal(kept, probabilities >= 0.2 * probabilities.max(-1, keepdims=True))
    assert 0 < (~kept).sum() < kept.size
    assert rules.is_narrow(settings) and not rules.is_narrow(RuleSettings.of())


def test_rules_that_are_off_change_nothing_and_none_retraces():
    np.testing.assert_array_equal(adjusted(), LOGITS)
    compiled = tf.function(
        lambda logits, uniform, settings: rules.choose(logits, uniform, settings, [True] * V, PAST),
        input_signature=[
            tf.TensorSpec([None, V], tf.float32),
            tf.TensorSpec([None], tf.float32),
            RuleSettings.signature(),
        ],
        autograph=False,
    )
    uniform = tf.constant([0.1, 0.5, 0.9])
    for settings in (
        {}, {"min_p": 0.3}, {"repetition_penalty": 2.0, "no_repeat_ngram": 2}, {"presence_penalty": 1.0},
        {"logit_bias": np.ones(V), "temperature": 0.0}, {"frequency_penalty": -0.5, "top_k": 3},
    ):  # fmt: skip
        made = RuleSettings.of(**settings)
        np.testing.assert_array_equal(
            compiled(LOGITS, uniform, made), rules.choose(LOGITS, uniform, made, [True] * V, PAST)
        )
    assert compiled.experimental_get_tracing_count() == 1
