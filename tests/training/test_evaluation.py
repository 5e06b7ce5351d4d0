"""Law 7: one measure. A split's value depends on the split and the weights, and every target counts once."""

import itertools

import keras
import numpy as np
import pytest

from lm_keras.data import scoring
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.models.lstm import LSTMLanguageModel
from lm_keras.models.ngram import NGramLanguageModel
from lm_keras.objectives.losses import OF_TARGETS
from lm_keras.objectives.measures import likelihood_measures
from lm_keras.tasks.causal_lm import CausalLM

V, T, TARGETS = 17, 11, 9001
"""9,001 targets are four streams of 2,251, the last of which is three targets shorter."""


def evaluator(model, batching, length, stride=None):
    task = CausalLM(
        vocab_size=V,
        sequence_length=length,
        batching=batching,
        stride=stride,
        context_tokens=model.context_tokens,
    )
    return Evaluator(model, task)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return LSTMLanguageModel(V, embedding_dim=7, hidden_units=13, forget_bias=2.0, init_scale=0.4)


@pytest.fixture(scope="module")
def store(store_of):
    return store_of(TARGETS, V)


def nats_of(model, tokens):
    """The nats of each target, one token after the other, in NumPy and float64."""
    layer = model.recurrent[0]
    table, kernel, recurrent, bias, output, output_bias = (
        variable.numpy().astype(np.float64)
        for variable in (
            model.embedding.embeddings, layer.kernel, layer.recurrent_kernel, layer.bias, model.output_kernel,
            model.output_bias,
        )
    )  # fmt: skip
    h = c = np.zeros(len(recurrent))
    nats = []
    for token, target in itertools.pairwise(tokens):
        i, f, g, o = np.split(table[token] @ kernel + h @ recurrent + bias, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        logits = h @ output + output_bias
        nats.append(np.log(np.exp(logits).sum()) - logits[target])
    return np.array(nats)


@pytest.fixture(scope="module")
def one_row(model, store):
    return nats_of(model, store.tokens)


def test_a_new_sum_reaches_the_task(model, store, one_row, monkeypatch):
    monkeypatch.setitem(OF_TARGETS, "likely", lambda found: found.losses < 3.0)
    monkeypatch.setitem(OF_TARGETS, "squares", lambda found: found.losses**2)
    monkeypatch.setattr(CausalLM, "measures", lambda self, sums, counts: dict(sums))
    sums = evaluator(model, "stream", T)(store, "valid", 24)
    assert sums["targets"] == TARGETS and 0 < sums["likely"] < TARGETS
    assert abs(sums["likely"] - np.sum(one_row < 3)) < 9 and isinstance(sums["likely"], int)
    assert sums["squares"] == pytest.approx(np.sum(one_row**2), rel=1e-4)


def test_streams_equal_one_row_carried_through_the_split(model, store, one_row, monkeypatch):
    def value():
        return evaluator(model, "stream", T)(store, "valid", 24)

    result = value()
    assert len(one_row) == result["tokens"] == TARGETS
    assert result["nats_per_token"] == pytest.approx(one_row.mean(), abs=1e-4)
    assert (result["context"], result["stride"]) == (None, None)
    # The control: streams that begin without their past.
    monkeypatch.setattr(scoring, "BURN_IN", 0)
    assert abs(value()["nats_per_token"] - one_row.mean()) > 2e-4


def test_a_window_longer_than_the_text_takes_no_more_memory(model, store_of):
    store = store_of(43, V)
    whole = evaluator(model, "window", 43)(store, "valid", 24)
    longer = evaluator(model, "window", 10**12, 10**11)(store, "valid", 24)
    assert (longer.pop("context"), longer.pop("stride")) == (10**12, 10**11)
    assert longer == {name: value for name, value in whole.items() if name not in ("context", "stride")}


@pytest.fixture(scope="module")
def ngram():
    keras.utils.set_random_seed(3)
    return NGramLanguageModel(V, 6, embedding_dim=7, hidden_units=13, init_scale=0.6)


@pytest.mark.parametrize("batching", ["stream", "window"])
def test_a_bounded_context_is_whole_for_every_target(ngram, store, monkeypatch, batching):
    """However the network was trained: what one pass from the beginning gives, and nothing else."""

    def value():
        return evaluator(ngram, batching, T)(store, "valid", 24)

    logits = ngram(store.tokens[None, :-1].astype(np.int32))[0].numpy().astype(np.float64)
    one_pass = np.log(np.exp(logits).sum(-1)) - logits[np.arange(TARGETS), store.tokens[1:]]
    result = value()
    assert result["tokens"] == TARGETS
    assert result["nats_per_token"] == pytest.approx(one_pass.mean(), abs=1e-6)
    assert (result["context"], result["stride"]) == (5, None)
    # The control: three of the four streams begin a document.
    monkeypatch.setattr(scoring, "BURN_IN", 0)
    assert abs(value()["nats_per_token"] - one_pass.mean()) > 1e-5


@pytest.mark.parametrize(("batching", "stride"), [("window", None), ("window", 4), ("stream", 4)])
def test_windows_equal_a_direct_computation(model, store_of, batching, stride):
    """Those of a network that was trained on streams begin with the end-of-document token."""
    store = store_of(397, V, seed=8)  # 397 = 36 * 11 + 1
    store.tokens[0] = 2  # end of document
    result = evaluator(model, batching, T, stride)(store, "test", 24)
    taken, done = [], 0
    while done < 397:
        end = min(max(done + (stride or T), T), 397)
        window = store.tokens[max(end - T, 0) : end + 1]
        if batching == "stream" and done:
            window = np.concatenate([store.tokens[:1], window])
        taken.append(nats_of(model, window)[done - end :])
        done = end
    direct = np.concatenate(taken)
    assert len(direct) == result["tokens"] == 397
    assert result["nats_per_token"] == pytest.approx(direct.mean(), abs=2e-6)
    assert (result["context"], result["stride"]) == (T, stride or T)
    other = evaluator(model, batching, T, 7)(store, "test", 24)
    assert abs(other["nats_per_token"] - direct.mean()) > 1e-4


@pytest.mark.parametrize("batching", ["stream", "window"])
def test_the_value_does_not_depend_on_where_the_variables_are(model, store, tiny_config, batching):
    """A network whose variables are mirrored on two devices gives the same value."""
    from lm_keras.training.distribution import set_up

    with set_up(tiny_config(replicas=2)).strategy.scope():
        mirrored = LSTMLanguageModel(V, embedding_dim=7, hidden_units=13)
    mirrored.set_weights(model.get_weights())
    one, two = (evaluator(network, batching, T)(store, "valid", 1) for network in (model, mirrored))
    assert one == two


def test_every_measure_comes_from_the_same_two_sums(model, store, one_row):
    result = evaluator(model, "stream", T)(store, "valid", 24)
    counts, nats = store.counts, result["nats_per_token"] * TARGETS
    assert result["perplexity"] == pytest.approx(np.exp(nats / TARGETS))
    assert result["word_perplexity"] == pytest.approx(np.exp(nats / counts.words), rel=1e-9)
    assert result["bits_per_byte"] == pytest.approx(nats / np.log(2) / counts.bytes)
    assert result["bits_per_character"] == pytest.approx(nats / np.log(2) / counts.characters)
    assert {**result, **likelihood_measures(nats, TARGETS, counts)}.keys() == result.keys()
    assert list(result)[:7] == ["step", "split", "tokens", "bytes", "words", "characters", "unknown"]


def test_accuracy(model, store_of):
    store = store_of(230, V)
    logits = model(store.tokens[None, :-1].astype(np.int32))[0].numpy()
    hits = np.mean(logits.argmax(-1) == store.tokens[1:])
    assert evaluator(model, "stream", T)(store, "valid", 1)["accuracy"] == pytest.approx(hits)
    assert 0 < hits < 1


def test_lost_text_has_no_measure_of_text(model, store_of):
    store = store_of(60, V)
    counts = TextCounts(tokens=60, bytes=120, words=20, characters=60, unknown=3)
    result = evaluator(model, "stream", T)(TokenStore(store.tokens, store.documents, counts), "valid", 1)
    assert result["unknown"] == 3
    nothing = ("word_perplexity", "bits_per_byte", "bits_per_character")
    assert [result[name] for name in nothing] == [None] * 3
    assert result["perplexity"] > 1


def test_what_is_not_finite_is_null(store_of):
    broken = LSTMLanguageModel(V, embedding_dim=7, hidden_units=13)
    broken.output_bias.assign(broken.output_bias * np.nan)
    result = evaluator(broken, "stream", T)(store_of(60, V), "valid", 1)
    assert [result[name] for name in ("nats_per_token", "perplexity", "bits_per_byte")] == [None] * 3


@pytest.mark.parametrize("batching", ["stream", "window"])
@pytest.mark.parametrize("targets", [1, T - 1])
def test_a_split_shorter_than_a_sequence(model, store_of, batching, targets):
    store = store_of(targets, V)
    result = evaluator(model, batching, T)(store, "valid", 1)
    assert result["tokens"] == targets
    assert result["nats_per_token"] == pytest.approx(nats_of(model, store.tokens).mean(), abs=2e-6)
