"""The laws of sampling over the networks themselves: an LSTM, an n-gram model and a GPT, V 13, with the
tokenizer of this folder; and with a token's work compiled by XLA, also with 8-bit weights.
"""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.config import from_flat
from lm_keras.evaluation.text_scorer import TextScorer
from lm_keras.layers.casting import Int8Matrices
from lm_keras.models import FAMILIES
from lm_keras.sampling.generate import Sampler

V, EOD, UNKNOWN = 13, 0, 1
COMMON = {"embedding_dim": 12, "hidden_units": 10, "num_layers": 2, "sequence_length": 20, "dropout": 0.0}
SETTINGS = {
    "lstm": {**COMMON, "num_layers": 1},
    "ngram": {**COMMON, "num_layers": 1, "ngram_order": 4},
    "gpt": {**COMMON, "num_heads": 3, "positions": "rotary", "num_kv_heads": 1},
}
PROMPTS = ["ab", "", "a€ #b cab", "c"]  # 3, 1, 12 and 2 tokens with the one that begins a document.


def build(name):
    """A network whose weights are large enough that what comes next depends on all that it sees."""
    keras.utils.set_random_seed(3)
    model = FAMILIES[name](from_flat({"model": name, **SETTINGS[name]}), V)
    random = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.7, variable.shape))
    return model


@pytest.fixture(scope="module", params=[*SETTINGS, "gpt jit", "gpt int8"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return build(kind.split()[0])


@pytest.fixture(scope="module")
def int8(model, kind):
    return Int8Matrices(model) if kind.endswith("int8") else None


@pytest.fixture(scope="module")
def sampler(model, tokenizer, kind, int8):
    return Sampler(model, tokenizer, jit="jit" in kind, int8=int8)


@pytest.fixture(autouse=True)
def weights(int8):
    """What is computed beside a sampler is computed with the same weights."""
    with int8.used(int8.made()) if int8 else contextlib.nullcontext():
        yield


def log_probabilities(model, text, allowed=slice(None)):
    """Log-probabilities [V] of what follows, in float64, of a pass over the whole text."""
    logits = np.full(V, -np.inf)
    logits[allowed] = model(tf.constant([text]))[0, -1].numpy()[allowed]
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def sampled(sampler, prompts, **settings):
    rows = sampler.sample(prompts, seed=4, **settings)
    return [row.token_ids for row in rows], np.concatenate([row.log_probabilities for row in rows])


def batch_error(sampler):
    """How far the log-probabilities of prompts of different lengths are from those of each alone, beyond the
    context of the GPT.
    """
    settings = {"max_new_tokens": 30, "logit_bias": {EOD: -1000.0}}
    tokens, together = sampled(sampler, PROMPTS, **settings)
    alone = [sampled(sampler, [prompt], **settings) for prompt in PROMPTS]
    if tokens != [ids for (ids,), _ in alone]:
        return np.inf
    return np.abs(together - np.concatenate([scores for _, scores in alone])).max()


def cache_error(model, sampler, tokenizer):
    """How far log-probabilities of a text are from those of a pass over the whole of it, within
    the context.
    """
    (row,) = sampler.sample(["ab#"], max_new_tokens=15, seed=2)
    text, errors = [EOD, *tokenizer.encode("ab#")], []
    for token, score in zip(row.token_ids, row.log_probabilities):
        errors.append(abs(score - log_probabilities(model, text)[token]))
        text.append(token)
    return max(errors)


def test_a_prompt_has_the_same_text_and_log_probabilities_in_every_batch(sampler):
    assert batch_error(sampler) < 1e-4


def test_log_probabilities_are_those_of_the_whole_text(model, sampler, tokenizer):
    assert cache_error(model, sampler, tokenizer) < 1e-4
    text = sampler.generate(["ab"], max_new_tokens=9, seed=6)[0]
    ids = tokenizer.encode("ab" + text)
    nats = -sum(log_probabilities(model, [EOD, *ids[:n]])[token] for n, token in enumerate(ids))
    assert TextScorer(model, tokenizer).score(["ab" + text])[0]["nats"] == pytest.approx(nats, abs=1e-3)


def test_streaming_equals_generate(sampler):
    for seed in range(5):
        settings = {"max_new_tokens": 25, "seed": seed, "temperature": 1.3, "stop": ["ab#", "c c"]}
        (whole,) = sampler.generate(["b#"], **settings)
        assert "".join(sampler.stream("b#", **settings)) == whole


def test_the_first_token_follows_the_softmax(model, sampler, tokenizer):
    rows = sampler.sample(["b#"], max_new_tokens=1, num_samples=3000, seed=3, temperature=1.4)
    counts = np.bincount([row.token_ids[0] for row in rows], minlength=V)
    known = np.arange(V) != UNKNOWN
    scores = log_probabilities(model, [EOD, *tokenizer.encode("b#")], known)

    def error(temperature):
        powers = np.exp(scores / temperature)
        return abs(counts / 3000 - powers / powers.sum()).max()

    assert error(1.4) < 4 * 0.5 / np.sqrt(3000) < error(0.5)


def test_a_search_that_is_wide_enough_finds_the_best_texts(model, sampler, tokenizer):
    known, prompt = np.arange(V) != UNKNOWN, [EOD, *tokenizer.encode("ab")]
    first = log_probabilities(model, prompt, known)
    expected = {(EOD,): first[EOD]}
    for one in np.flatnonzero(known)[1:].tolist():
        second = log_probabilities(model, [*prompt, one], known)
        expected |= {(one, two): first[one] + second[two] for two in np.flatnonzero(known).tolist()}
    best = sorted(expected, key=expected.get, reverse=True)[:20]
    found = sampler.sample(["ab"], max_new_tokens=2, num_beams=V**2, num_samples=V**2, length_penalty=0.0)
    assert [row.token_ids for row in found[:20]] == best and len(found) == len(expected)
    np.testing.assert_allclose([row.score for row in found[:20]], [expected[ids] for ids in best], atol=1e-4)


def test_nothing_was_traced_twice(sampler, kind):
    """Last: after prompts of many lengths, settings, samples, streams and a search."""
    sampler.generate(["abc" * 5], max_new_tokens=3, top_k=3, top_p=0.8, min_p=0.1, repetition_penalty=1.3)
    sampler.generate(["a"] * 5, max_new_tokens=3, num_beams=2, no_repeat_ngram=2)
    assert sampler.traces == (4 if kind.endswith("jit") else 3)  # One row has a trace of its own there.


def broken(monkeypatch, change):
    """An n-gram model of which `change(features, after, before)` changes what a call returns."""
    model = build("ngram")
    forward = model.forward

    def wrong(inputs, state, *rest, **more):
        return change(*forward(inputs, state, *rest, **more), state)

    monkeypatch.setattr(model, "forward", wrong)
    return model


def test_the_checks_can_fail(tokenizer, monkeypatch):
    """A network that carries no state, and one whose rows see each other."""
    forgetful = broken(monkeypatch, lambda features, after, before: (features, before))
    assert cache_error(forgetful, Sampler(forgetful, tokenizer), tokenizer) > 0.01
    mixing = broken(
        monkeypatch, lambda features, after, before: (features + tf.reduce_mean(features, 0), after)
    )
    assert batch_error(Sampler(mixing, tokenizer)) > 0.01
