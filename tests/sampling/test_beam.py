"""Beam search against every text there is. V 13, the tiny networks and tokenizer of this folder."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow

from lm_keras.errors import InputError
from lm_keras.sampling import beam
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.network import DecodingNetwork
from lm_keras.sampling.rules import RuleSettings

V, EOD = 13, 0


@pytest.fixture(scope="module")
def allowed():
    tokens = np.ones(V, bool)
    tokens[1] = False  # the unknown token
    return tokens


@pytest.fixture(scope="module")
def search(tiny, allowed):
    return beam.BeamSearch(DecodingNetwork(tiny), EOD, allowed)


def found_by(search, prompt, count, beams, alpha, rules, ended=None):
    """The texts that follow one prompt."""
    lengths, width = beam.Lengths([count], [0]), beam.Width(beams, alpha, wanted=beams)
    return search.search([prompt], lengths, width, rules, ended)[0]


def log_probabilities(model, prompt, allowed):
    logits = np.where(allowed, model(tf.constant([prompt]))[0, -1].numpy().astype(np.float64), -np.inf)
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


def every_text(model, prompt, count, alpha, allowed, ended=lambda text: False):
    """All texts of up to `count` tokens with their scores, the best first."""
    found = []

    def go_on(text, total):
        if text and (text[-1] == EOD or len(text) == count or ended(text)):
            found.append((text, total / ((5 + len(text)) / 6) ** alpha))
            return
        scores = log_probabilities(model, prompt + text, allowed)
        for token in np.flatnonzero(allowed):
            go_on([*text, int(token)], total + scores[token])

    go_on([], 0.0)
    return sorted(found, key=lambda pair: -pair[1])


SEARCHES = [(prompt, alpha) for prompt in ([0], [0, 5, 3, 8]) for alpha in (0.0, 0.7, 2.0, -0.5)]


@pytest.mark.parametrize(("prompt", "alpha"), others_slow(SEARCHES, [*SEARCHES[:2], *SEARCHES[6:]]))
def test_a_search_that_is_wide_enough_finds_the_best_texts(search, tiny, allowed, prompt, alpha):
    expected = every_text(tiny, prompt, 3, alpha, allowed)
    found = found_by(search, prompt, 3, V**3, alpha, RuleSettings.of())
    for ours, (text, score) in zip(found[:20], expected):
        assert ours.score == pytest.approx(score, rel=1e-4)
        assert ours.token_ids == text
    assert len(found) == len(expected)
    assert search.traces == 1


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_a_text_ends_in_the_search_where_it_holds_what_ends_it(search, tiny, allowed, alpha):
    """Two tokens one after the other, as a stop string may need."""

    def ended(text):
        return any(pair in itertools.pairwise(text) for pair in ((5, 3), (12, 12), (4, 9)))

    expected = every_text(tiny, [0, 5], 3, alpha, allowed, ended)
    found = found_by(search, [0, 5], 3, V**3, alpha, RuleSettings.of(), ended)
    assert len(found) == len(expected) < len(every_text(tiny, [0, 5], 3, alpha, allowed))
    for ours, (text, score) in zip(found[:20], expected):
        assert ours.score == pytest.approx(score, rel=1e-4)
        assert ours.token_ids == text
    assert search.traces == 1


def test_stop_strings_of_a_search(tiny, tokenizer, monkeypatch):
    """A stop string that spans tokens makes a text short and so, with a log-probability of fewer tokens,
    better.
    """
    sampler = Sampler(tiny, tokenizer)
    letters = dict.fromkeys(range(8, 13), -1000.0)  # No half characters.
    settings = {
        "max_new_tokens": 9,
        "num_beams": 6,
        "num_samples": 6,
        "length_penalty": 0.0,
        "logit_bias": letters,
    }
    free = sampler.sample(["ab"], **settings)
    stop = free[0].text[3:5]
    found = sampler.sample(["ab"], **settings, stop=["€#€", stop])
    ended = [row for row in found if row.ended_by == "stop"]
    assert ended and stop not in "".join(row.text for row in ended)
    for row in ended:
        assert tokenizer.decode(row.token_ids).endswith(stop) and len(row.token_ids) < 9
    # Where the search looks for it, what follows a stop string does not count.
    assert found[0].score > free[0].score
    assert sampler.traces == 2
    # Of few tokens there are fewer texts than beams, and those that do not exist are not asked for.
    monkeypatch.setattr(tokenizer, "vocab_size", 4)
    sampler = Sampler(tiny, tokenizer)
    assert len(sampler.sample(["a"], max_new_tokens=2, num_beams=12, num_samples=12, stop="a")) == 5


def test_more_beams_never_find_less_and_one_is_greedy(search, tiny, allowed):
    prompt = [0, 4, 4]
    best = [found_by(search, prompt, 6, beams, 0.0, RuleSettings.of())[0] for beams in (1, 2, 4, 16, 64)]
    assert best[-1].score >= best[0].score - 1e-5
    greedy, text = [], list(prompt)
    while len(greedy) < 6 and (not greedy or greedy[-1] != EOD):
        greedy.append(int(np.argmax(log_probabilities(tiny, text, allowed))))
        text.append(greedy[-1])
    assert best[0].token_ids == greedy
    # The model's own distribution gives something to the token that is not allowed.
    assert all(sum(h.log_probabilities) < h.score for h in best)


def test_scores_fall_and_texts_differ(search):
    found = found_by(search, [0, 7], 8, 5, 1.0, RuleSettings.of())
    scores = [hypothesis.score for hypothesis in found]
    assert len(found) == 5 and scores == sorted(scores, reverse=True)
    for a, b in itertools.combinations(found, 2):
        assert a.token_ids != b.token_ids


def test_rules_that_look_at_the_text_hold_in_a_search(search):
    found = found_by(search, [0], 9, 4, 0.0, RuleSettings.of(no_repeat_ngram=1))
    assert all(len(set(h.token_ids)) == len(h.token_ids) for h in found)
    free = found_by(search, [0], 9, 4, 0.0, RuleSettings.of())
    assert any(len(set(h.token_ids)) < len(h.token_ids) for h in free)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_texts_that_do_not_exist_are_not_found(tiny, alpha):
    """Of three tokens, each once, there are 5 texts that end and 2 that are as long as allowed."""
    allowed = np.arange(V) < 3
    search = beam.BeamSearch(DecodingNetwork(tiny), EOD, allowed)
    found = found_by(search, [0], 3, 40, alpha, RuleSettings.of(no_repeat_ngram=1))
    assert 1 < len(found) < 40 and all(h.score > -1e4 for h in found)
    assert len({tuple(h.token_ids) for h in found}) == len(found)


def test_texts_of_a_search(tiny, tokenizer):
    sampler = Sampler(tiny, tokenizer)
    found = sampler.sample(["ab", "c"], max_new_tokens=7, num_beams=4, num_samples=2, length_penalty=0.6)
    assert len(found) == 4 and found[0].score >= found[1].score
    assert [row.text for row in found[:2]] == sampler.generate(
        ["ab"], max_new_tokens=7, num_beams=4, num_samples=2, length_penalty=0.6
    )
    with pytest.raises(InputError, match="num_beams=2 cannot be streamed"):
        sampler.stream("a", num_beams=2)
    with pytest.raises(
        InputError, match="num_samples=3 of num_beams=2: a search gives at most as many texts"
    ):
        sampler.generate(["a"], num_beams=2, num_samples=3)
    with pytest.raises(InputError, match=r"temperature=0\.5 has no meaning with num_beams=2"):
        sampler.generate(["a"], num_beams=2, temperature=0.5)
    for settings in ({"num_beams": 2**31 - 1}, {"num_beams": 2, "max_new_tokens": 2**31 - 1}):
        with pytest.raises(InputError, match="are more numbers than the 67,108,864 that are held at once"):
            sampler.generate(["a"], **settings)
    broken = type(tiny)(scale=np.nan)
    with pytest.raises(InputError, match="logits are not finite, so there is nothing to search"):
        Sampler(broken, tokenizer).generate(["a"], num_beams=2)
