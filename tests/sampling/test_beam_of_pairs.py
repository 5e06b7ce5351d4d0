"""Beam search for several sources at once: N 3, V 13, D 5, a network with an encoder made by hand."""

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.sampling.beam import BeamSearch
from lm_keras.sampling.hypotheses import Lengths, Width
from lm_keras.sampling.network import DecodingNetwork
from lm_keras.sampling.rules import RuleSettings

V, EOD, UNKNOWN = 13, 0, 1
SOURCES = [[5, 3, 8, 2, 9], [4], [7, 7, 12]]


def with_encoder(kind):
    """Return a network of a kind that adds the mean of its source to every token, and counts the rows that it
    has computed.
    """

    class TinyPairs(kind):
        def __init__(self, scale=2.0):
            super().__init__(scale)
            self.rows = tf.Variable(0)

        def encode(self, source, source_document):
            there = tf.cast(tf.equal(source_document, 0), tf.float32)[..., None]
            x = tf.gather(self.table, source) * there
            return {"mean": tf.reduce_sum(x, 1) / tf.reduce_sum(there, 1)}

        def forward(self, inputs, state, draw=None):
            self.rows.assign_add(tf.size(inputs["tokens"]))
            features, state = super().forward(inputs, state)
            mean = inputs["memory"]["mean"]
            beams = tf.shape(features)[0] // tf.shape(mean)[0]
            return features + tf.repeat(mean, beams, 0)[:, None], state

    return TinyPairs()


@pytest.fixture(scope="module")
def network(tiny):
    return DecodingNetwork(with_encoder(type(tiny)))


def search_with(network):
    allowed = np.ones(V, bool)
    allowed[UNKNOWN] = False
    return BeamSearch(network, EOD, allowed, apart=True)


@pytest.fixture(scope="module")
def search(network):
    return search_with(network)


def padded(sources):
    tokens = np.zeros([len(sources), 8], np.int32)
    for row, source in enumerate(sources):
        tokens[row, : len(source)] = source
    return tokens, (np.arange(8) >= np.array([len(s) for s in sources])[:, None]).astype(np.int32)


def found_for(network, search, sources, most, least=0, beams=V**3, alpha=0.0, wanted=None, **rules):
    lengths = Lengths(np.broadcast_to(most, len(sources)), np.broadcast_to(least, len(sources)))
    width = Width(beams, alpha, wanted or beams)
    memory = network.encoded(*padded(sources))
    return search.search([[EOD]] * len(sources), lengths, width, RuleSettings.of(**rules), memory=memory)


def every_text(model, source, most, alpha):
    """All texts of up to `most` tokens with their scores, the best first."""
    found, memory = [], model.encode([source], [[0] * len(source)])

    def go_on(text, total):
        if text and (text[-1] == EOD or len(text) == most):
            found.append((text, total / ((5 + len(text)) / 6) ** alpha))
            return
        inputs = {"tokens": tf.constant([[EOD, *text]]), "memory": memory}
        features, _ = model.forward(inputs, model.initial_state(1, 9))
        logits = model.project(features)[0, -1].numpy().astype(np.float64)
        scores = logits - np.log(np.exp(logits).sum())
        for token in range(V):
            if token != UNKNOWN:
                go_on([*text, token], total + scores[token])

    go_on([], 0.0)
    return sorted(found, key=lambda pair: -pair[1])


@pytest.mark.parametrize("alpha", [0.0, 0.8, -0.5])
def test_a_search_that_is_wide_enough_finds_the_best_texts_of_each_source(network, search, alpha):
    """Each of three sources has a limit of its own."""
    found = found_for(network, search, SOURCES, [3, 2, 3], alpha=alpha)
    for ours, source, most in zip(found, SOURCES, [3, 2, 3]):
        expected = every_text(network.model, source, most, alpha)
        assert len(ours) == len(expected)
        for hypothesis, (text, score) in zip(ours[:20], expected):
            assert hypothesis.token_ids == text and hypothesis.score == pytest.approx(score, rel=1e-4)
            if not alpha:  # The score is the text's own log-probability, though one token is not allowed.
                assert sum(hypothesis.log_probabilities) == pytest.approx(hypothesis.score, rel=1e-4)
    assert search.traces == 1


@pytest.mark.parametrize("beams", [1, 4])
def test_a_batch_gives_what_its_sources_give_alone(network, search, beams):
    sources = [*SOURCES, [2], [9, 9, 9, 9, 9, 9, 11], [12, 3]]
    how = {"beams": beams, "alpha": 0.7, "wanted": 1}
    together = found_for(network, search, sources, [9, 8, 7, 6, 5, 9], **how)
    for row, source, most in zip(together, sources, [9, 8, 7, 6, 5, 9]):
        (alone,) = found_for(network, search, [source], most, **how)
        assert [h.token_ids for h in alone] == [h.token_ids for h in row]
        assert row[0].score == pytest.approx(alone[0].score, rel=1e-5)
    assert len({tuple(row[0].token_ids) for row in together}) > 2  # Sources matter.
    assert search.traces == 1


def test_the_check_of_batches_can_fail(network, search):
    """With the memory of another source the texts are others."""
    first = found_for(network, search, SOURCES, 7, beams=4, wanted=1)
    turned = found_for(network, search, SOURCES[1:] + SOURCES[:1], 7, beams=4, wanted=1)
    assert [row[0].token_ids for row in first] != [row[0].token_ids for row in turned]


def test_beams_of_a_source_that_has_ended_are_dropped(network, search):
    """The network computes the rows of each source until that one ends, and not until the last one does."""
    rows, most = network.model.rows, [2, 9, 4]

    def computed(*sources):
        rows.assign(0)
        found_for(network, search, list(sources), most[: len(sources)], least=most[: len(sources)], beams=4)
        return int(rows)

    assert computed(*SOURCES) == 4 * sum(most) < 4 * len(SOURCES) * max(most)


def test_a_text_has_as_many_tokens_as_it_must(network, search):
    how = {"beams": 60, "alpha": -5.0}  # Short texts are better.
    assert all(len(row[0].token_ids) < 5 for row in found_for(network, search, SOURCES, 9, **how))
    for least, row in zip([5, 6, 7], found_for(network, search, SOURCES, 9, least=[5, 6, 7], **how)):
        assert all(len(h.token_ids) > least for h in row if h.token_ids[-1] == EOD)
        assert all(EOD not in h.token_ids[:-1] for h in row)


def test_rules_look_at_the_text_alone(tiny):
    """A bigram of the prompt, which a text that is apart may repeat."""

    def found(apart):
        search = BeamSearch(DecodingNetwork(tiny), EOD, np.isin(np.arange(V), [3, 4]), apart=apart)
        rules = RuleSettings.of(no_repeat_ngram=2)
        (row,) = search.search([[3, 4, 3]], Lengths([1], [0]), Width(2, 0.0, 2), rules)
        return {token for h in row for token in h.token_ids}

    assert found(apart=True) == {3, 4} and found(apart=False) == {3}


def test_one_beam_is_greedy(network, search):
    """Also where an end is the second best token, whose text would have the higher log-probability."""
    table = np.where(np.arange(V) == EOD, 4.0, 0.0).astype(np.float32)
    for found, source in zip(found_for(network, search, SOURCES, 6, beams=1, logit_bias=table), SOURCES):
        memory, text = network.encoded(*padded([source])), []
        while len(text) < 6 and EOD not in text:
            inputs = {"tokens": tf.constant([[EOD, *text]]), "memory": memory}
            features, _ = network.model.forward(inputs, network.model.initial_state(1, 9))
            logits = network.model.project(features)[0, -1].numpy() + table
            text.append(int(np.argmax(np.where(np.arange(V) == UNKNOWN, -np.inf, logits))))
        assert found[0].token_ids == text
