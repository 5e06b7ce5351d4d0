import numpy as np
import pytest
import tensorflow as tf

from lm_keras.sampling import network as network_module
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.network import DecodingNetwork, state_specs
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.uniforms import key_of

V = 13
ALLOWED = [True] * V
PROMPTS = [[0, 5, 3, 8, 2, 2, 7], [0, 4], [0, 11, 12, 6]]
NEVER = V + 1  # an end-of-document token that never comes, so that rows have their full length


def decode(loop, prompts, count, seed=3, settings=None, chunk=99, samples=None, prefill=True):
    """Run to the end; return for each row its tokens and their log-probabilities."""
    settings = RuleSettings.of() if settings is None else settings
    samples = [0] * len(prompts) if samples is None else samples
    keys = [key_of(seed, *given) for given in zip(prompts, samples)]
    batch, carry = loop.start(prompts, count, prefill)
    tokens, scores = [], []
    while not carry.finished.numpy().all():
        uniforms = loop.uniforms(batch, carry, keys, chunk)
        chosen, carry = loop.advance(batch, carry, uniforms, settings)
        tokens.append(chosen.tokens)
        scores.append(chosen.log_probabilities)
    tokens, scores = np.concatenate(tokens, 1), np.concatenate(scores, 1)
    return [(row[row != NOTHING].tolist(), score[row != NOTHING]) for row, score in zip(tokens, scores)]


def uncached(model, prompt, tokens):
    """Log-probabilities of `tokens` after `prompt`, from the whole sequence at once."""
    logits = model(tf.constant([prompt + tokens]))[0, len(prompt) - 1 : -1]
    return np.take_along_axis(tf.nn.log_softmax(logits).numpy(), np.array(tokens)[:, None], 1)[:, 0]


def cache_error(model):
    loop = DecodeLoop(DecodingNetwork(model), NEVER, ALLOWED)
    rows = zip(PROMPTS, decode(loop, PROMPTS, 17))
    return max(abs(scores - uncached(model, prompt, tokens)).max() for prompt, (tokens, scores) in rows)


def batch_error(model):
    loop = DecodeLoop(DecodingNetwork(model), NEVER, ALLOWED)
    together = decode(loop, PROMPTS, 11)
    alone = [decode(loop, [prompt], 11)[0] for prompt in PROMPTS]
    if [tokens for tokens, _ in together] != [tokens for tokens, _ in alone]:
        return np.inf
    return max(abs(a[1] - b[1]).max() for a, b in zip(together, alone))


def prefill_error(model, lengths):
    loop = DecodeLoop(DecodingNetwork(model), NEVER, ALLOWED)
    random = np.random.default_rng(1)
    prompts = [random.integers(0, V, length).tolist() for length in lengths]
    fast, slow = (decode(loop, prompts, 9, prefill=prefill) for prefill in (True, False))
    if [tokens for tokens, _ in fast] != [tokens for tokens, _ in slow]:
        return np.inf
    return max(abs(a[1] - b[1]).max() for a, b in zip(fast, slow))


def test_cached_logits_equal_uncached_ones(tiny, forgetful):
    assert cache_error(tiny) < 1e-5
    assert cache_error(forgetful) > 0.1


def test_a_batch_of_prompts_gives_what_each_gives_alone(tiny, mixing):
    assert batch_error(tiny) < 1e-5
    assert batch_error(mixing) > 0.1


@pytest.mark.parametrize("lengths", [(6, 6, 9), (65, 65, 66), (129, 200, 131)])
def test_prefill_equals_token_by_token(tiny, hasty, monkeypatch, lengths):
    monkeypatch.setattr(network_module, "PREFILL_TOKENS", 50)
    assert prefill_error(tiny, lengths) < 1e-5
    assert prefill_error(hasty, lengths) > 0.01


def test_prefill_takes_all_but_the_last_token_of_every_prompt(tiny, monkeypatch):
    loop = DecodeLoop(DecodingNetwork(tiny), NEVER, ALLOWED)
    passes, prefill = [], loop.network._prefill
    monkeypatch.setattr(loop.network, "_prefill", lambda *given: passes.append(given) or prefill(*given))
    for lengths, expected in [((1, 30), [29]), ((64, 300), [236, 63]), ((129, 129), [128])]:
        prompts, position = [list(np.arange(length) % V) for length in lengths], max(lengths) - 1
        passes.clear()
        _, carry = loop.start(prompts, 5)
        assert int(carry.position) == position
        assert carry.tokens.numpy()[:, position].tolist() == [prompt[-1] for prompt in prompts]
        assert [tokens.shape[1] for tokens, *_ in passes] == expected
        if lengths[0] > 1:  # Else the row begins in the loop.
            assert carry.state["cache"][1].numpy().tolist() == [length - 1 for length in lengths]


@pytest.mark.parametrize(("context", "expected"), [(None, [100, 49]), (2048, [83, 66]), (4096, [70, 70, 9])])
def test_prefill_takes_fewer_tokens_at_once_for_many_slots(tiny, monkeypatch, context, expected):
    """The weights of attention are a number for each row, token and slot."""
    model, passes = type(tiny)(), []
    model.context_length = context
    network = DecodingNetwork(model)
    for name, value in (("PREFILL_TOKENS", 100), ("PREFILL_ROWS", 17), ("LEAST_PREFILLED", 70)):
        monkeypatch.setattr(network_module, name, value)
    monkeypatch.setattr(network, "_prefill", lambda tokens, *_: passes.append(tokens.shape[1]))
    network.prefilled(np.zeros([1, 149], np.int32), np.zeros(1, np.int32), context or 4096, [])
    assert passes == expected


def test_calls_of_any_length_give_the_same_text(tiny):
    loop = DecodeLoop(DecodingNetwork(tiny), 0, ALLOWED)
    whole = decode(loop, PROMPTS, 23)
    for chunk in (1, 5, 8):
        pieces = decode(loop, PROMPTS, 23, chunk=chunk)
        assert [tokens for tokens, _ in whole] == [tokens for tokens, _ in pieces]


def test_rows_end_at_the_token_that_ends_them_or_at_the_limit(scripted):
    loop = DecodeLoop(DecodingNetwork(scripted([4, 6, 4, 6, 6, 4, 7])), 6, ALLOWED)
    rows = decode(loop, [[0], [0, 5, 5], [0, 5]], 3)
    # The script goes by position: the longer the prompt, the later in the script the text begins.
    assert [tokens for tokens, _ in rows] == [[4, 6], [4, 6], [6]]
    loop = DecodeLoop(DecodingNetwork(scripted([4] * 20)), 6, ALLOWED)
    assert [tokens for tokens, _ in decode(loop, [[0], [0, 5, 5]], 3)] == [[4, 4, 4], [4, 4, 4]]


def test_rows_that_the_caller_finishes_stay_finished(tiny):
    loop = DecodeLoop(DecodingNetwork(tiny), NEVER, ALLOWED)
    batch, carry = loop.start(PROMPTS, 50)
    carry = carry._replace(finished=tf.constant([False, True, False]))
    (tokens, scores, *_), carry = loop.advance(batch, carry, np.full([3, 9], 0.3), RuleSettings.of())
    assert (tokens[1] == NOTHING).all() and (scores[1] == 0).all()
    assert (tokens[[0, 2]] >= 0).all()
    assert carry.finished.numpy().tolist() == [False, True, False]


def test_the_loop_stops_early_when_all_rows_have_ended(scripted):
    loop = DecodeLoop(DecodingNetwork(scripted([4, 4, 6])), 6, ALLOWED)
    batch, carry = loop.start([[0], [0]], 500)
    (tokens, *_), carry = loop.advance(batch, carry, np.full([2, 500], 0.5), RuleSettings.of())
    assert tokens.tolist() == [[4, 4, 6]] * 2 and int(carry.position) == 3


def test_nothing_retraces(tiny):
    loop = DecodeLoop(DecodingNetwork(tiny), 0, ALLOWED)
    for prompts, count, chunk, setting in [
        (PROMPTS, 5, 3, (1.0, 0, 1.0)),
        (PROMPTS[:1], 9, 7, (0.0, 0, 1.0)),
        ([[0] * 70] * 5, 6, 64, (0.7, 5, 0.9)),
        ([[0] * 150, [0, 3] * 40], 4, 9, (0.7, 0, 0.9)),
    ]:
        decode(loop, prompts, count, chunk=chunk, settings=RuleSettings.of(*setting))
    assert loop.traces == loop.network.traces == 1
    # The control: a function without a fixed signature traces for each of these shapes.
    free = tf.function(lambda tokens: tiny.forward({"tokens": tokens}, tiny.initial_state(3))[0])
    for time in (2, 4):
        free(tf.zeros([3, time], tf.int32))
    assert free.experimental_get_tracing_count() == 2


def test_state_specs_leave_open_what_varies(tiny):
    specs = state_specs(tiny)
    assert specs["h"].shape.as_list() == [None, 5]
    assert specs["cache"][0].shape.as_list() == [None, None, 5]
    assert specs["cache"][1].shape.as_list() == [None] and specs["cache"][1].dtype == tf.int32


def test_a_limit_that_no_text_reaches_takes_no_memory(tiny):
    """Only as many columns are held as the text has, or twice as many."""
    loop = DecodeLoop(DecodingNetwork(tiny), NEVER, ALLOWED)
    batch, carry = loop.start([[0, 5, 3]], 100)
    limits = batch.limits._replace(max_new_tokens=tf.constant(2**31 - 1))
    limitless = batch._replace(limits=limits)
    widths = []
    for _ in range(4):
        uniforms = loop.uniforms(limitless, carry, [1], 7)
        _, carry = loop.advance(limitless, carry, uniforms, RuleSettings.of())
        widths.append(carry.tokens.shape[1])
    assert int(carry.position) == 2 + 28 and widths == [10, 20, 40, 40]
