"""Law 8 for texts that begin at different times: each is what it would be alone, and a control."""

import keras
import numpy as np
import pytest
from test_sampling_laws import EOD, SETTINGS, build

from lm_keras.answers.generator import Generator
from lm_keras.config import from_flat
from lm_keras.sampling import shared_batch
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.sampling.shared_batch import FixedBatch, SharedBatch

PROMPTS = ["ab", "", "cab bca cab", "c", "abcabcabcabcabcab", "b"]
"""3, 1, 12, 2, 18 and 2 tokens with the one that begins a document; a GPT here looks back on 20."""

JOINS = [0, 1, 1, 3, 4, 9]
"""Calls before which each of them begins."""


@pytest.fixture(scope="module", params=SETTINGS)
def answer(request, tokenizer):
    return Generator(build(request.param), tokenizer)


def settings(number: int, **more) -> SamplingSettings:
    """Lengths that pass the context, and end at different times."""
    return SamplingSettings(max_new_tokens=5 + 7 * number, seed=number, **more)


def together(answer, prompts, joins, **more):
    """Generate prompts side by side, each joining before its call; return tokens and scores of each."""
    batch, rows, call = answer.batch_for(settings(0, **more)), [], 0
    while len(rows) < len(prompts) or batch.rows:
        for number in range(len(rows), len(prompts)):
            if joins[number] <= call:
                rows += answer.asked(prompts[number], settings(number, **more))
                batch.join(rows[-1:])
        assert batch.advance(3) == []
        call += 1
    return [(row.ids, row.scores) for row in rows]


def alone(answer, prompts, **more):
    found = []
    for number, prompt in enumerate(prompts):
        own = {"max_new_tokens": 5 + 7 * number, "seed": number, **more}
        (one,) = answer.sample([prompt], **own)
        found.append((list(one.token_ids), list(one.log_probabilities)))
    return found


@pytest.mark.parametrize(
    "more",
    [{}, {"temperature": 0.0}, {"top_k": 4, "repetition_penalty": 1.3, "no_repeat_ngram": 3}],
    ids=["drawn", "greedy", "rules of the past"],
)
def test_a_text_is_what_it_would_be_alone(answer, more):
    found, expected = together(answer, PROMPTS, JOINS, **more), alone(answer, PROMPTS, **more)
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    for (_, scores), (_, known) in zip(found, expected):
        assert np.allclose(scores, known, atol=1e-5)


def test_likely_tokens_are_told_to_those_who_ask(answer):
    goes_on = {"logit_bias": {EOD: -1000.0}}
    batch = answer.batch_for(settings(0, **goes_on))
    (one,) = answer.asked("ab", settings(1, top_logprobs=3, **goes_on))
    (other,) = answer.asked("ca", settings(1, **goes_on))
    batch.join([one])
    batch.join([other])
    batch.advance(4)
    assert [len(best) for best in one.likeliest] == 4 * [3]
    assert [len(best) for best in other.likeliest] == 4 * [0]


def test_the_columns_do_not_grow_with_the_time(answer):
    """A batch that never rests forgets the texts that have ended."""
    goes_on = {"max_new_tokens": 9, "logit_bias": {EOD: -1000.0}}
    batch = answer.batch_for(SamplingSettings(**goes_on))
    for number in range(40):
        batch.join(answer.asked("abc", SamplingSettings(seed=number, **goes_on)))
        batch.advance(2)
    assert batch._carry.tokens.shape[1] < 60
    assert 3 <= len(batch.rows) <= 5


def test_a_row_that_is_forgotten_leaves(answer):
    goes_on = settings(3, logit_bias={EOD: -1000.0})
    batch = answer.batch_for(goes_on)
    rows = [row for _ in range(3) for row in answer.asked("ab", goes_on)]
    batch.join(rows)
    batch.advance(2)
    rows[1].ended_by = "gone"
    batch.advance(2)
    assert batch.rows == [rows[0], rows[2]]
    assert [len(row.ids) for row in rows] == [4, 2, 4]


def test_count_penalties_need_rows_that_begin_together(answer):
    more = {"presence_penalty": 2.0, "max_new_tokens": 12}
    batch = answer.batch_for(SamplingSettings(**more))
    assert isinstance(batch, FixedBatch) and batch.takes_rows
    rows = [row for prompt in PROMPTS for row in answer.asked(prompt, SamplingSettings(**more))]
    batch.join(rows)
    while batch.rows:
        assert batch.advance(8) == []
    assert not batch.takes_rows
    assert [row.continuation().text for row in rows] == answer.generate(PROMPTS, **more)


def test_the_check_can_fail(answer, monkeypatch):
    """With the numbers of another position a text is another one."""
    numbers = shared_batch.uniform_numbers
    monkeypatch.setattr(shared_batch, "uniform_numbers", lambda key, first, count: numbers(key, 0, count))
    goes_on = {"logit_bias": {EOD: -1000.0}}
    assert together(answer, PROMPTS, JOINS, **goes_on) != alone(answer, PROMPTS, **goes_on)


def test_logits_that_are_not_finite_end_their_row(tokenizer):
    keras.utils.set_random_seed(1)
    model = build("gpt")
    model.embedding.embeddings.assign(model.embedding.embeddings * np.nan)
    answer = Generator(model, tokenizer)
    rows = answer.asked("ab", settings(1))
    batch = answer.batch_for(settings(1))
    assert isinstance(batch, SharedBatch)
    batch.join(rows)
    assert batch.advance(3) == rows and batch.rows == []


def test_a_larger_cache_is_made_for_a_longer_text(tokenizer):
    """A text of few slots is joined by one that needs more than those of its cache."""
    from lm_keras.models import FAMILIES

    keras.utils.set_random_seed(3)
    config = from_flat({"model": "gpt", **SETTINGS["gpt"], "sequence_length": 300})
    answer = Generator(FAMILIES["gpt"](config, 13), tokenizer)
    lengths, prompts = (20, 150), ("ab", "abc" * 30)
    rows, batch = [], answer.batch_for(SamplingSettings(temperature=0.0))
    for prompt, length in zip(prompts, lengths):
        rows += answer.asked(prompt, SamplingSettings(temperature=0.0, max_new_tokens=length))
        batch.join(rows[-1:])
        batch.advance(4)
    while batch.rows:
        batch.advance(8)
    for row, prompt, length in zip(rows, prompts, lengths):
        (one,) = answer.sample([prompt], temperature=0.0, max_new_tokens=length)
        assert tuple(row.ids) == one.token_ids
