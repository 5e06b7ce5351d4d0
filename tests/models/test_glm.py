"""GLM: V 23, D 12, H 3, texts of 12 tokens."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.answers.infiller import Infiller
from lm_keras.config import from_flat
from lm_keras.data.spans import END, EXTRA_TOKENS, GENERATE, START, Spans
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.errors import InputError
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.evaluation.infill_scorer import InfillScorer
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.glm import GLMLanguageModel
from lm_keras.tasks.infilling import Infilling
from lm_keras.text.char import CharTokenizer

V, D, H, T = 23, 12, 3, 12
SETTINGS = {
    "model": "glm", "num_layers": 2, "num_heads": H, "embedding_dim": D, "sequence_length": T,
    "init_scale": 0.5,
}  # fmt: skip
SPANS = Spans(T, V, 1, rate=0.4, long_share=0.0)
LONG = Spans(T, V, 1, long_share=1.0)
TEXT = np.random.default_rng(2).integers(2, V, T)


def build(**settings):
    keras.utils.set_random_seed(1)
    return FAMILIES["glm"](from_flat({**SETTINGS, **settings}), V + EXTRA_TOKENS)


@pytest.fixture(scope="module")
def model():
    return build()


@pytest.fixture(scope="module")
def tokenizer():
    return CharTokenizer(
        "\n abcdefghijklmnopqrs", normalization="none"
    )  # 23 with <eod> and <unk>, the blank.


def rows(*made):
    """Inputs [B, L] of rows without padding between them."""
    names = ("tokens", "position", "within", "order", "predicted")
    return {name: tf.constant(np.stack([getattr(row, name) for row in made])) for name in names}


ARRANGED = SPANS.arranged(TEXT, [(2, 4), (7, 10)], [1, 0])
"""Part A is 0 ... 8, the span of three 9 ... 12, that of two 13 ... 15."""


def test_tokens_see_what_the_attention_mask_allows(model):
    """Part A never sees B; a span sees A, and of B only what comes before it. By gradient through the values
    of each position.
    """
    inputs = rows(ARRANGED)
    length, first = int(inputs["tokens"].shape[1]), 9
    used = int(ARRANGED.weights.sum())
    base = {name: value for name, value in inputs.items() if name != "predicted"}
    whole = model.forward(base, {})[0][0].numpy()
    sees = np.zeros([length, length], bool)
    for position in range(length):
        tokens = ARRANGED.tokens.copy()
        tokens[position] = (tokens[position] + 5) % V
        changed = model.forward({**base, "tokens": tf.constant(tokens[None])}, {})[0][0].numpy()
        sees[:, position] = np.abs(changed - whole).max(-1) > 1e-6
    expected = np.zeros_like(sees)
    expected[:first, :first] = True
    for position in range(first, first + used):
        expected[position, : position + 1] = True
    np.testing.assert_array_equal(sees[: first + used], expected[: first + used])


def test_tokens_see_what_the_attention_mask_allows_by_gradient(model):
    """Law 5 by gradient: through the table of second positions, of which each position of part B has its own
    here.
    """
    row = LONG.continued(TEXT, 5)
    inputs = {name: value for name, value in rows(row).items() if name != "predicted"}
    for position in range(6):
        with tf.GradientTape() as tape:
            features, _ = model.forward(inputs, {})
            best = tf.reduce_sum(features[0, 6 + position] * tf.random.stateless_normal([D], [1, 2]))
        slopes = tape.gradient(best, model.within.value)
        seen = tf.reduce_any(tf.abs(tf.convert_to_tensor(slopes)) > 1e-9, -1).numpy()
        assert seen[: position + 2].all() and not seen[position + 2 :].any()
    with tf.GradientTape() as tape:
        features, _ = model.forward(inputs, {})
        best = tf.reduce_sum(features[0, 2] * tf.random.stateless_normal([D], [1, 2]))  # Of part A.
    slopes = tf.convert_to_tensor(tape.gradient(best, model.within.value)).numpy()
    assert np.abs(slopes[0]).max() > 1e-9 and np.abs(slopes[1:]).max() < 1e-12


def test_a_masked_token_does_not_leak_into_its_own_prediction(model):
    """Two texts that differ in one masked token have the same logits there, and other ones after it."""
    at = 8  # The second token of the span of three.
    other = TEXT.copy()
    other[at] = (other[at] + 3) % (V - 2) + 2
    one, two = (SPANS.arranged(text, [(2, 4), (7, 10)], [1, 0]) for text in (TEXT, other))
    a, b = (model.project(model.forward(rows(row), {})[0])[0].numpy() for row in (one, two))
    np.testing.assert_array_equal(a[:2], b[:2])
    assert np.abs(a[2:7] - b[2:7]).max(-1).min() > 1e-4


def test_padding_changes_nothing(model):
    longer = Spans(T + 3, V, 1, rate=0.4, long_share=0.0)
    a = model.forward(rows(ARRANGED), {})[0][0]
    b = model.forward(rows(longer.arranged(TEXT, [(2, 4), (7, 10)], [1, 0])), {})[0][0]
    count = int(ARRANGED.weights.sum())
    np.testing.assert_allclose(a[:count], b[:count], atol=1e-6)


@pytest.mark.parametrize("begin", [0, 1, 7])
def test_token_by_token_as_in_training(model, begin):
    """Part A at once and then each token of the blank, with keys and values kept."""
    row = LONG.continued(TEXT, begin)
    whole = model.forward(rows(row), {})[0][0].numpy()
    prefill = tf.function(
        lambda tokens, state: model.forward({"tokens": tokens}, state), reduce_retracing=True
    )
    state = model.initial_state(1, length=2 * T)
    shape = tf.TensorSpec([None, None], tf.int32)
    read = prefill.get_concrete_function(shape, state)
    _, state = read(tf.constant(row.tokens[None, : begin + 1]), state)
    for number in range(T - begin):
        token = row.tokens[begin + 1 + number]
        features, state = model.forward({"tokens": tf.constant([[token]])}, state)
        np.testing.assert_allclose(features[0, 0], whole[number], atol=1e-5)


@pytest.mark.parametrize(
    "settings", [{}, {"tie_embeddings": False, "context_length": 20}, {"norm": "rms", "biases": False}]
)
def test_parameters_are_counted(settings):
    config = from_flat({**SETTINGS, **settings})
    found = sum(np.prod(v.shape) for v in build(**settings).trainable_variables)
    assert found == NUM_PARAMETERS["glm"](config, V + EXTRA_TOKENS)


def test_products_are_those_of_a_row_with_its_masked_part(model):
    products = model.products(5, LONG.length, LONG.predictions)
    assert products["block_0"][0].m == 5 * LONG.length and products["output"][0].m == 5 * LONG.predictions
    assert products["output"][0].n == V + EXTRA_TOKENS


def test_settings_survive_a_round_trip(model):
    again = GLMLanguageModel.from_config(model.get_config())
    assert again.get_config() == model.get_config() and again.vocab_size == V + EXTRA_TOKENS
    assert model(tf.constant(TEXT[None].astype(np.int32))).shape == (1, T, V + EXTRA_TOKENS)


def test_attention_in_chunks():
    whole, parts = build(), build(attention_chunk=4)

    def gradients(model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.project(model.forward(rows(ARRANGED), {})[0]) ** 2)
        slopes = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [loss, *map(tf.convert_to_tensor, slopes)]

    for one, other in zip(gradients(whole), gradients(parts)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-3)


def logits_of(model, part_a, spans):
    """Logits after each token of the last of some spans, `(place, tokens)` each, in one pass."""
    tokens, position, within = list(part_a), list(range(len(part_a))), [0] * len(part_a)
    order = [0] * len(part_a)
    for at, span in spans:
        read = [V + START, *span]
        order += range(max(order) + 1, max(order) + 1 + len(read))
        tokens, position, within = (
            tokens + read,
            position + [at] * len(read),
            within + list(range(1, len(read) + 1)),
        )
    arrays = {"tokens": tokens, "position": position, "within": within, "order": order}
    features, _ = model.forward({name: tf.constant([values]) for name, values in arrays.items()}, {})
    return model.project(features[:, -1 - len(spans[-1][1]) :])[0].numpy()


def test_masks_are_filled_with_the_likeliest_tokens_one_after_the_other(tokenizer):
    model = build(sequence_length=40)
    text = "ab[MASK]de [MASK]"
    found = Infiller(model, tokenizer).fill(text, max_new_tokens=4)
    part_a = [0, *tokenizer.encode("ab"), 1, *tokenizer.encode("de "), 1, 0]
    spans, allowed = [], np.ones(V + EXTRA_TOKENS, bool)
    allowed[[0, 1, V + GENERATE, V + START]] = False
    for number, at in enumerate((3, 7)):
        span, score = [], 0.0
        while True:
            logits = logits_of(model, part_a, [*spans, (at, span)])[-1]
            token = int(np.argmax(np.where(allowed, logits, -np.inf)))
            score += tf.nn.log_softmax(logits)[token].numpy()
            if token == V + END:
                break
            span.append(token)
            if len(span) == 4:
                break
        spans.append((at, span))
        ((filling, probability),) = found.words[number]
        assert filling == tokenizer.decode(span)
        np.testing.assert_allclose(probability, np.exp(score), rtol=1e-3)
    assert found.text == f"ab{found.words[0][0][0]}de {found.words[1][0][0]}"


def test_a_text_is_continued_with_the_likeliest_tokens(tokenizer):
    model = build(sequence_length=40)
    sampler = Infiller(model, tokenizer)
    ids = [0, *tokenizer.encode("cab d")]
    span, allowed = [], np.arange(V + EXTRA_TOKENS) < V
    allowed[1] = False
    for _ in range(6):
        logits = logits_of(model, [*ids, V + GENERATE], [(len(ids), span)])[-1]
        token = int(np.argmax(np.where(allowed, logits, -np.inf)))
        if token == 0:
            break
        span.append(token)
    assert sampler.generate(["cab d"], max_new_tokens=6, temperature=0) == [tokenizer.decode(span)]


def test_prompts_of_any_length_stand_for_themselves_and_streams_are_what_is_generated(tokenizer):
    sampler = Infiller(build(sequence_length=24), tokenizer)
    prompts, how = ["cab d", "", "abc", "defg ", "q"], {"max_new_tokens": 60, "temperature": 0.9, "seed": 3}
    together = sampler.generate(prompts, **how)  # Longer than the context.
    for prompt, text in zip(prompts, together):
        assert sampler.generate([prompt], **how) == [text]
        assert "".join(sampler.stream(prompt, **how)) == text
    assert sampler.generate(prompts, **how, num_samples=2)[::2] == together
    assert sampler.traces <= 5
    mixed = sampler.generate(["a[MASK]b", "abc"], **{**how, "max_new_tokens": 5})
    assert mixed[0].startswith("a") and mixed[0].endswith("b")
    assert mixed[1] == sampler.generate(["abc"], **{**how, "max_new_tokens": 5})[0]


def test_the_end_of_a_long_text_is_filled(model, tokenizer):
    sampler = Infiller(model, tokenizer)
    text = sampler.fill("a[MASK]bcdefghijklm[MASK]", long_prompt="keep_end", max_new_tokens=1)
    assert text.text.startswith("a[MASK]bcdefghijklm") and len(text.words) == 1
    assert sampler.generate(["[MASK]" + "a" * 30], long_prompt="keep_end") == ["[MASK]" + "a" * 30]


def test_likeliest_tokens_are_those_of_the_text_and_seeds_are_one_for_each(tokenizer):
    sampler = Infiller(build(sequence_length=24), tokenizer)
    (found,) = sampler.sample(["cab"], max_new_tokens=3, top_logprobs=26)
    assert all(token < V for best in found.likeliest for token, _ in best) and len(found.likeliest[0]) == V
    both = sampler.generate(["a[MASK]b", "c"], seed=[1, 2], max_new_tokens=3)
    assert both[0] == sampler.generate(["a[MASK]b"], seed=1, max_new_tokens=3)[0]
    with pytest.raises(InputError, match="seed has 1 numbers for 2 prompts"):
        sampler.generate(["a[MASK]b", "c"], seed=[1])
    assert sampler.fill("a[MASK]b", seed=[3], max_new_tokens=3) == sampler.fill(
        "a[MASK]b", seed=3, max_new_tokens=3
    )


def test_fillings_are_drawn_by_seed(tokenizer):
    sampler = Infiller(build(sequence_length=40), tokenizer)
    how = {"max_new_tokens": 6, "temperature": 1.0}
    texts = [sampler.generate(["a[MASK]b[MASK]c"], seed=seed, **how)[0] for seed in range(6)]
    assert len(set(texts)) > 2
    assert texts[2] == sampler.fill("a[MASK]b[MASK]c", seed=2, **how).text
    both = sampler.generate(["a[MASK]b[MASK]c"], seed=2, num_samples=2, **how)
    assert both[0] == texts[2] and both[1] != both[0]


def test_what_is_drawn_has_the_model_s_distribution(tokenizer):
    model = build(sequence_length=24)
    sampler = Infiller(model, tokenizer)
    ids = [0, *tokenizer.encode("cab")]
    logits = logits_of(model, [*ids, V + GENERATE], [(len(ids), [])])[-1]
    logits[[1, V, V + 1, V + 2]] = -np.inf
    expected = tf.nn.softmax(logits).numpy()
    drawn = [found.token_ids[0] for found in sampler.sample(["cab"], num_samples=4000, max_new_tokens=1)]
    counts = np.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert np.abs(counts - expected).sum() < 0.08
    flat = np.full(len(expected), 1 / V)
    assert np.abs(counts - flat).sum() > 0.16  # The control.


def test_scores_are_those_of_windows_read_behind_the_one_before(tokenizer):
    model = build(sequence_length=12)
    text = "cab de fghi jkl mn o"
    (found,) = InfillScorer(model, tokenizer).score([text])
    ids = [0, *tokenizer.encode(text)]
    total = 0.0
    for begin in range(1, len(ids), 6):
        before, span = ids[max(0, begin - 6) : begin], ids[begin : begin + 6]
        own = tf.nn.log_softmax(logits_of(model, [*before, V + GENERATE], [(len(before), span[:-1])])).numpy()
        total -= sum(own[n, token] for n, token in enumerate(span))
    assert found["tokens"] == 20 and found["bytes"] == 20 and "pseudo" not in found
    np.testing.assert_allclose(found["nats"], total, rtol=1e-5)


def test_evaluation_with_a_stride_scores_every_token_once(tokenizer):
    model = build()
    ids = np.array([0, *np.random.default_rng(4).integers(1, V, 57)], np.uint8)
    store = TokenStore(ids, np.array([1]), TextCounts(tokens=57, bytes=57, words=9, characters=57))
    task = Infilling(vocab_size=V, sequence_length=T, spans=Spans(T, V, 1, unknown_id=1))
    found = Evaluator(model, task.in_windows(4))(store, "valid", 0)
    assert found["tokens"] == 57 and found["bits_per_byte"] > 0 and found["stride"] == 4
    total = 0.0
    for begin, end in [(0, 12)] + [(n, min(n + 4, 57)) for n in range(12, 57, 4)]:
        text = ids[1:][max(0, end - T) : end]
        before, span = text[: len(text) - (end - begin)], text[len(text) - (end - begin) :]
        own = tf.nn.log_softmax(logits_of(model, [*before, V + GENERATE], [(len(before), span[:-1])])).numpy()
        total -= sum(own[n, token] for n, token in enumerate(span))
    np.testing.assert_allclose(found["nats_per_token"] * 57, total, rtol=1e-5)
    hidden = Evaluator(model, task)(store, "valid", 0)
    assert hidden.get("bits_per_byte") is None and 0 < hidden["tokens"] < 57
    assert hidden == Evaluator(model, task)(store, "valid", 0)


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda s: s.fill("no blank"), "no [MASK]"),
        (lambda s: s.fill("[MASK]" * 9), "and 9 masks, and the model sees 12 at a time"),
        (lambda s: s.fill("a[MASK]", stop=("x",)), "stop=('x',) has no meaning where masks"),
        (lambda s: s.fill("a[MASK]", top_logprobs=2), "top_logprobs=2 has no meaning where masks"),
        (lambda s: s.fill("a[MASK]", num_samples=2), "num_samples=2 has no meaning where masks"),
        (
            lambda s: s.fill("a[MASK]", num_beams=2, temperature=1.0),
            "num_beams=2 has no meaning where masks",
        ),
        (lambda s: s.fill("a[MASK]", temperature=-1), "temperature=-1"),
        (lambda s: s.generate(["a" * 30]), "the prompt has 31 tokens"),
    ],
)
def test_bad_texts_end_in_one_line(model, tokenizer, use, message):
    with pytest.raises(InputError) as error:
        use(Infiller(model, tokenizer))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 2}, "--sequence_length=2 is too short for --model=glm"),
        ({"token_noise": 0.1}, "--token_noise=0.1 has no meaning for --model=glm"),
        ({"batching": "stream"}, "--model=glm does not have"),
        ({"positions": "rotary"}, "--positions=rotary has no meaning for --model=glm"),
        (
            {"span_length": 13.0},
            "--span_length=13.0 makes spans longer than a row of --sequence_length=12 tokens",
        ),
        ({"long_spans": 1.5}, "--long_spans=1.5"),
        ({"model": "gpt", "span_length": 2.0}, "--span_length=2.0 has no meaning for --model=gpt"),
    ],
)
def test_settings_that_it_has_not(settings, message):
    with pytest.raises(InputError) as error:
        from_flat({**SETTINGS, **settings})
    assert message in str(error.value)
