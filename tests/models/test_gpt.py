"""Vocabulary V 99, width D 12, H 3 heads, L 2 blocks, rows B 3, T 7."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow, slow

from lm_keras.config import Config, from_flat
from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.evaluation.text_scorer import TextScorer
from lm_keras.layers.casting import CastOnce
from lm_keras.models import FAMILIES
from lm_keras.models.gpt import GPTLanguageModel, num_parameters
from lm_keras.models.positions import positions_within
from lm_keras.objectives.losses import next_token_loss
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.network import DecodingNetwork, cache_size_for, state_specs
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.uniforms import key_of
from lm_keras.text.char import NUM_SPECIAL, CharTokenizer

V, D, H, B, T = 99, 12, 3, 3, 7
GPT2 = {"num_layers": 2, "embedding_dim": D, "num_heads": H, "hidden_units": 10, "sequence_length": 20}
LLAMA = {
    **GPT2, "positions": "rotary", "norm": "rms", "activation": "swiglu", "num_kv_heads": 1, "biases": False,
    "tie_embeddings": False,
}  # fmt: skip
KINDS = {
    "gpt2": GPT2, "llama": LLAMA, "rotary": {**LLAMA, "num_kv_heads": H},
    "qwen2": {
        **LLAMA, "qkv_biases": True, "head_dim": 6, "rotary_base": 50.0,
        "rotary_scaling": "yarn:factor=4,original_context_length=40,beta_fast=4",
    },
    "qwen3": {
        **LLAMA, "num_kv_heads": H, "qk_norm": True, "head_dim": 10, "rotary_base": 50.0,
        "rotary_scaling": "llama3:factor=4,low_freq_factor=1,high_freq_factor=3,original_context_length=30",
    },
}  # fmt: skip
RANDOM = np.random.default_rng(13)


def config_of(**settings):
    return from_flat({"model": "gpt", **GPT2, **settings})


def build(**settings):
    """A network whose weights all differ from what they are at first, biases and gains included."""
    keras.utils.set_random_seed(5)
    model = FAMILIES["gpt"](config_of(**settings), V)
    random = np.random.default_rng(6)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    return model


def tokens_of(rows, time):
    return tf.constant(RANDOM.integers(0, V, [rows, time]), tf.int32)


def numbers(config, vocab_size=V):
    return num_parameters(config, vocab_size)


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        # tables 99 x 12 and 20 x 12; a block: 12 x 36 + 36, 12 x 12 + 12, 12 x 10 + 10, 10 x 12 + 12, four of
        # 12; norm 24
        (GPT2, 1188 + 240 + 2 * (468 + 156 + 130 + 132 + 48) + 24),
        ({**GPT2, "context_length": 30, "biases": False}, 1188 + 360 + 2 * (432 + 144 + 120 + 120 + 24) + 12),
        # two tables; 12 x (3 + 1 + 1) 4, 12 x 12, 12 x 20, 10 x 12, two of 12; 12
        (LLAMA, 2 * 1188 + 2 * (240 + 144 + 240 + 120 + 24) + 12),
        # heads of 6: 12 x (3 + 1 + 1) 6, a bias of 30, 18 x 12
        (KINDS["qwen2"], 2 * 1188 + 2 * (360 + 30 + 216 + 240 + 120 + 24) + 12),
        # heads of 10: 12 x 9 10, 30 x 12, two gains of 10
        (KINDS["qwen3"], 2 * 1188 + 2 * (1080 + 360 + 240 + 120 + 24 + 20) + 12),
    ],
    ids=["gpt2", "long", "llama", "qwen2", "qwen3"],
)
def test_parameters(settings, parameters):
    model = build(**settings)
    assert sum(np.prod(weight.shape) for weight in model.trainable_variables) == parameters
    assert numbers(config_of(**settings)) == parameters
    assert len({weight.path for weight in model.weights}) == len(model.weights)
    again = GPTLanguageModel.from_config(model.get_config())
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]


def test_parameters_of_the_models_of_the_papers():
    """GPT-2 small, and LLaMA 7B as its checkpoints have it."""
    small = {
        "model": "gpt", "num_layers": 12, "embedding_dim": 768, "num_heads": 12, "sequence_length": 1024,
    }  # fmt: skip
    assert numbers(from_flat(small), 50_257) == 124_439_808
    large = {
        **LLAMA, "model": "gpt", "num_layers": 32, "embedding_dim": 4096, "num_heads": 32,
        "num_kv_heads": None,
        "hidden_units": 11_008,
    }  # fmt: skip
    assert numbers(from_flat(large), 32_000) == 6_738_415_616


def scaled(scaling, frequencies, base):
    """Frequencies and the factor of cosines and sines, as YaRN's paper and Meta's code say them."""
    settings, wavelengths = scaling.settings, 2 * np.pi / frequencies
    factor, length = settings["factor"], settings["original_context_length"]
    if scaling.kind == "llama3":
        low, high = settings["low_freq_factor"], settings["high_freq_factor"]
        found = []
        for frequency, wavelength in zip(frequencies, wavelengths):
            smooth = (length / wavelength - low) / (high - low)
            mixed = (1 - smooth) * frequency / factor + smooth * frequency
            long, short = wavelength > length / low, wavelength < length / high
            found.append(frequency / factor if long else frequency if short else mixed)
        return np.array(found), 1.0
    # Pair i turns length / (2 pi base^(i / pairs)) times.
    pairs = len(frequencies)
    first, last = (
        np.log(length / (2 * np.pi * turns)) / np.log(base) * pairs for turns in (settings["beta_fast"], 1)
    )
    first, last = max(np.floor(first), 0), min(np.ceil(last), 2 * pairs - 1)
    ramp = np.clip((np.arange(pairs) - first) / max(last - first, 0.001), 0, 1)
    return frequencies * (1 - ramp) + frequencies / factor * ramp, 0.1 * np.log(factor) + 1


def by_hand(model, tokens):
    """GPT-2, LLaMA and Qwen in float64, as their papers write them."""
    settings, weights = model.block_settings, {}
    for number, block in enumerate(model.blocks):
        weights[number] = {name: v.numpy().astype(np.float64) for name, v in block.by_name.items()}

    def norm(x, gain, bias):
        if settings.norm == "rms":
            return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * gain
        centered = x - x.mean(-1, keepdims=True)
        return centered / np.sqrt(centered.var(-1, keepdims=True) + 1e-5) * gain + bias

    def product(w, name, x):
        return x @ w[f"{name}_kernel"] + w.get(f"{name}_bias", 0)

    def turned(x):
        width = x.shape[-1]
        frequencies = model.rotary_base ** (-2 * np.arange(width // 2) / width)
        factor = 1.0
        if model.rotary_scaling:
            frequencies, factor = scaled(model.rotary_scaling, frequencies, model.rotary_base)
        angles = np.arange(len(x))[:, None] * frequencies
        x = x * factor
        a, b = x[:, : width // 2], x[:, width // 2 :]
        return np.concatenate(
            [a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], 1
        )

    def activated(x):
        if settings.activation == "gelu":
            return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
        a, b = np.split(x, 2, -1)
        return a / (1 + np.exp(-a)) * b

    results = []
    for row in np.asarray(tokens):
        table = model.embedding.embeddings.numpy().astype(np.float64)
        x = table[row] + (0 if model.places is None else model.places.numpy()[: len(row)])
        for w in weights.values():
            mixed = product(
                w, "query_key_value", norm(x, w["attention_norm_gain"], w.get("attention_norm_bias", 0))
            )
            width = settings.head_width
            parts = np.split(mixed, mixed.shape[1] // width, 1)
            outputs = []
            for h in range(settings.num_heads):
                kv = h * settings.num_kv_heads // settings.num_heads
                q, k = parts[h], parts[settings.num_heads + kv]
                v = parts[settings.num_heads + settings.num_kv_heads + kv]
                if settings.qk_norm:
                    q, k = norm(q, w["query_norm_gain"], 0), norm(k, w["key_norm_gain"], 0)
                if model.rotary_base:
                    q, k = turned(q), turned(k)
                scores = np.where(np.tri(len(row)) > 0, q @ k.T / np.sqrt(width), -np.inf)
                share = np.exp(scores - scores.max(1, keepdims=True))
                outputs.append(share / share.sum(1, keepdims=True) @ v)
            x = x + product(w, "attention_output", np.concatenate(outputs, 1))
            inner = product(
                w, "feed_forward", norm(x, w["feed_forward_norm_gain"], w.get("feed_forward_norm_bias", 0))
            )
            x = x + product(w, "feed_forward_output", activated(inner))
        x = norm(x, model.norm_gain.numpy(), 0 if model.norm_bias is None else model.norm_bias.numpy())
        output = table.T if model.tie_embeddings else model.output_kernel.numpy()
        results.append(x @ output)
    return np.stack(results)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_the_papers_equations(kind):
    model, tokens = build(**KINDS[kind]), tokens_of(B, T)
    expected = by_hand(model, tokens)
    np.testing.assert_allclose(model(tokens), expected, atol=1e-5 * np.abs(expected).max())
    for name in ("attention_norm_gain", "query_norm_gain", "key_norm_gain", "query_key_value_bias"):
        variable = model.blocks[1].by_name.get(name)
        if variable is not None:
            before = variable.numpy()
            variable.assign(before + 0.02 * np.arange(len(before)))
            assert np.abs(model(tokens) - expected).max() > 1e-4 * np.abs(expected).max(), name
            variable.assign(before)


def test_initial_weights_are_those_of_gpt2():
    model = FAMILIES["gpt"](config_of(embedding_dim=96, hidden_units=384), V)
    weights = {v.path.removeprefix("gpt_language_model/"): v.numpy() for v in model.trainable_variables}
    for name, value in weights.items():
        if value.ndim == 2:
            expected = 0.02 / (2.0 if "output" in name else 1.0)  # Over the root of twice two blocks.
            assert value.std() == pytest.approx(expected, rel=0.05), name
        else:
            assert (value == (1.0 if "gain" in name else 0.0)).all(), name
    assert len({value.tobytes() for value in weights.values() if value.ndim == 2}) == 10
    uniform = FAMILIES["gpt"](config_of(init_scale=0.3), V)
    assert all(
        np.abs(v.numpy()).max() == pytest.approx(0.3, rel=0.1)
        for v in uniform.trainable_variables
        if v.ndim == 2
    )


def dependencies(model):
    """For each place, row by row, which tokens its features depend on, by gradient; every place has another
    token.
    """
    tokens, found = tf.reshape(tf.range(B * T), [B, T]), {}
    document = tf.constant([[0, 0, 0, 1, 1, 2, 2]] * B)
    with tf.GradientTape(persistent=True) as tape:
        features, _ = model.forward({"tokens": tokens, "document": document}, model.initial_state(B))
        parts = {(b, t): tf.reduce_sum(tf.sin(features[b, t])) for b in range(B) for t in range(T)}
    for place, part in parts.items():
        slope = tf.convert_to_tensor(tape.gradient(part, model.embedding.embeddings))
        found[place] = {divmod(token, T) for token in np.flatnonzero(np.abs(slope).max(-1) > 0)}
    return found


def seen(first):
    """Every token from `first(t)` on up to its own, of its own row."""
    return {(b, t): {(b, s) for s in range(first(t), t + 1)} for b in range(B) for t in range(T)}


CAUSAL = seen(lambda t: 0)


CHUNKS = list(itertools.product((None, 3), KINDS))


@pytest.mark.parametrize(
    ("chunk", "kind"),
    others_slow(CHUNKS, [(None, "gpt2"), (None, "llama"), (None, "qwen3"), (3, "gpt2"), (3, "qwen2")]),
)
def test_no_gradient_from_the_future(chunk, kind):
    """Law 5: causality."""
    assert dependencies(build(**KINDS[kind], attention_chunk=chunk)) == CAUSAL


def test_no_gradient_from_another_document():
    assert dependencies(build(separate_documents=True)) == seen(lambda t: [0, 0, 0, 3, 3, 5, 5][t])
    assert dependencies(build(separate_documents=False)) == CAUSAL


class Bidirectional(GPTLanguageModel):
    """A broken network: it also reads from the end."""

    def forward(self, inputs, state, draw=None, training=False):
        features, after = super().forward(inputs, state)
        backwards, _ = super().forward({"tokens": inputs["tokens"][:, ::-1]}, state)
        return features + backwards[:, ::-1], after


class Mixing(GPTLanguageModel):
    """A broken network: rows see each other."""

    def forward(self, inputs, state, draw=None, training=False):
        features, after = super().forward(inputs, state)
        return features + tf.reduce_mean(features, 0), after


@pytest.mark.parametrize("broken", [Bidirectional, Mixing])
def test_the_check_of_causality_can_fail(broken):
    assert dependencies(broken.from_config(build().get_config())) != CAUSAL


@pytest.mark.parametrize("positions", ["learned", "rotary"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_a_document_in_a_row_is_what_it_is_alone(positions, chunk):
    packed = np.array([[5, 6, 7, 0, 8, 9, 0, 3, 4, 4, 4, 2]])
    document = np.cumsum(packed == 0, 1)

    def logits(model):
        features, _ = model.forward({"tokens": packed, "document": document}, model.initial_state(1))
        return model.project(features).numpy()[0]

    settings = {"positions": positions, "attention_chunk": chunk}
    separate, together = build(separate_documents=True, **settings), build(**settings)
    alone = np.concatenate([separate(packed[:, part])[0] for part in (np.s_[:3], np.s_[3:6], np.s_[6:])])
    np.testing.assert_allclose(logits(separate), alone, atol=1e-4)
    assert np.abs(logits(together) - alone).max() > 0.1


def test_positions_of_the_docstring():
    assert positions_within(tf.constant([[0, 0, 1, 1, 1, 2]])).numpy().tolist() == [[0, 1, 0, 1, 2, 0]]
    documents = np.sort(RANDOM.integers(0, 5, [B, 30]))
    expected = [[list(row[:t]).count(d) for t, d in enumerate(row)] for row in documents]
    assert positions_within(tf.constant(documents)).numpy().tolist() == expected


PROMPTS = [[0, 5, 3, 8, 2, 2, 7], [0, 4], [0, 11, 12, 6]]


def loop_of(model, jit=False):
    return DecodeLoop(DecodingNetwork(model, jit), V, [True] * V)


def decoded(model, prompts, count=9, settings=None, loop=None):
    """Continue prompts; return for each its tokens and their log-probabilities."""
    loop = loop or loop_of(model)
    batch, carry = loop.start(prompts, count)
    keys, parts = [key_of(0, prompt) for prompt in prompts], []
    while not carry.finished.numpy().all():
        uniforms = loop.uniforms(batch, carry, keys, 4)
        chosen, carry = loop.advance(batch, carry, uniforms, settings or RuleSettings.of())
        parts.append(chosen[:2])
    assert loop.network.traces == 1
    tokens, scores = (np.concatenate(part, 1) for part in zip(*parts))
    return [(row[row != NOTHING].tolist(), score[row != NOTHING]) for row, score in zip(tokens, scores)]


def cache_error(model, rows, prompts=PROMPTS):
    """How far log-probabilities of the decoding loop lie from those of one call."""
    errors = []
    for prompt, (tokens, scores) in zip(prompts, rows, strict=True):
        logits = model(tf.constant([prompt + tokens]))[0, len(prompt) - 1 : -1]
        uncached = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), np.array(tokens)[:, None], 1)[:, 0]
        errors.append(np.abs(scores - uncached).max())
    return max(errors)


class Forgetful(GPTLanguageModel):
    """A broken network: it writes nothing into its cache."""

    def forward(self, inputs, state, draw=None, training=False, cache_apart=False):
        features, after = super().forward(inputs, state, cache_apart=cache_apart)
        return features, {**after, "keys": state["keys"]} if state and not cache_apart else after

    def append_to_cache(self, state, addition):
        return {**super().append_to_cache(state, addition), "keys": state["keys"]}


@pytest.mark.parametrize(
    ("kind", "jit"),
    [
        *(("gpt2", False), ("qwen2", False), ("qwen3", True)),
        *slow(("llama", False), ("qwen3", False), ("gpt2", True)),
    ],
)
def test_cached_logits_equal_uncached_ones(kind, jit):
    model = build(**KINDS[kind])
    loop = loop_of(model, jit)
    together = decoded(model, PROMPTS, loop=loop)
    assert cache_error(model, together) < 1e-4
    alone = [decoded(model, [prompt], loop=loop)[0] for prompt in PROMPTS]
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert max(np.abs(a[1] - b[1]).max() for a, b in zip(together, alone)) < 1e-5
    assert loop.traces == (2 if jit else 1)  # A row alone has another program.


@pytest.mark.parametrize("jit", [False, True])
def test_the_check_of_the_cache_can_fail(jit):
    model = build()
    broken = Forgetful.from_config(model.get_config())
    for own, other in zip(broken.weights, model.weights, strict=True):
        own.assign(other)
    assert cache_error(broken, decoded(broken, PROMPTS, loop=loop_of(broken, jit))) > 0.1


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("rows", [1, 2])
def test_what_is_compiled(precision, rows):
    """With `jit` a token's work is one program of XLA's, in bfloat16 on a CPU that of one row;
    else none is.
    """
    model = build(precision=precision, num_layers=1)
    pays = rows == 1 or precision == "float32" or bool(tf.config.list_physical_devices("GPU"))
    for jit in (False, True):
        loop = DecodeLoop(DecodingNetwork(model, jit), V, [True] * V)
        batch, carry = loop.start([[0, 4]] * rows, 2)
        loop.advance(batch, carry, np.zeros([rows, 2], np.float32), RuleSettings.of())
        programs = loop.network._compiled.values()
        traced = any(program.experimental_get_tracing_count() for program in programs)
        assert loop.network.compiles(rows) == traced == (jit and pays)


def test_the_cache_has_as_many_slots_as_the_text_needs():
    model = build(sequence_length=200)
    assert [cache_size_for(model, n) for n in (1, 64, 65, 129, 10_000)] == [64, 64, 128, 200, 200]
    specs = state_specs(model)
    assert specs["keys"][0].shape.as_list() == [None, H, None, D // H] and specs["length"].shape == []
    assert model.initial_state(B) == {}


def test_a_text_goes_on_beyond_the_context():
    """When all 20 cache slots are taken, the last 10 tokens are all that a prediction sees, then up to
    20 again.
    """
    model, prompts = build(), [[0, 5, 3, 8, 2, 2, 7], [0, 4]]
    rows = decoded(model, prompts, 40, RuleSettings.of(temperature=0.0))
    for prompt, (tokens, _) in zip(prompts, rows):
        text, expected = list(prompt), []
        while len(expected) < 40:
            # The token in column 20 is the first that finds no slot.
            begin = 0 if len(text) <= 20 else (len(text) - 11) // 10 * 10
            logits = model(tf.constant([text[begin:]]))[0, -1]
            expected.append(int(np.argmax(logits)))
            text.append(expected[-1])
        assert tokens == expected
    # Beside another text it is the same; were they moved together, the shorter would be moved too soon.
    assert rows[1][0] == decoded(model, prompts[1:], 40, RuleSettings.of(temperature=0.0))[0][0]


def objective(model, tokens, draw=None):
    """The loss of some rows and its gradients."""
    with tf.GradientTape() as tape:
        features, _ = model.forward({"tokens": tokens[:, :-1]}, model.initial_state(tokens.shape[0]), draw)
        weights = tf.ones([tokens.shape[0], tokens.shape[1] - 1])
        loss = next_token_loss(features, model.output_weights(), tokens[:, 1:], weights)
    return [loss.sums["nats"], *tape.gradient(loss.objective, [v.value for v in model.trainable_variables])]


def differ(ours, theirs):
    pairs = [map(tf.convert_to_tensor, pair) for pair in zip(ours, theirs, strict=True)]
    return max(float(tf.reduce_max(tf.abs(a - b)) / (1e-6 + tf.reduce_max(tf.abs(b)))) for a, b in pairs)


def draw_at(first_row=0, rate=0.3):
    return Draw(3, tf.constant(5, tf.int64), tf.constant(rate), tf.constant(first_row, tf.int64))


SAVING = list(itertools.product(KINDS, ("rematerialize", "attention_chunk")))
OF_TWO = [*SAVING[:2], ("qwen2", "attention_chunk")]


@pytest.mark.parametrize(("kind", "setting"), others_slow(SAVING, OF_TWO))
def test_what_saves_memory_changes_nothing(kind, setting):
    common, tokens = {**KINDS[kind], "dropout": 0.3}, tokens_of(B, T + 1)
    value = True if setting == "rematerialize" else 3
    draw = draw_at() if setting == "rematerialize" else None
    plain, saving = build(**common), build(**common, **{setting: value})
    compiled = tf.function(lambda tokens: objective(saving, tokens, draw), autograph=False)
    assert differ(compiled(tokens), objective(plain, tokens, draw)) < 1e-4
    plain.norm_gain.assign_add([0.1] * D)
    assert differ(objective(saving, tokens, draw), objective(plain, tokens, draw)) > 1e-3


@pytest.mark.parametrize("chunk", [None, 3])
def test_masks_of_dropout_belong_to_the_row(chunk):
    model, tokens = build(dropout=0.3, attention_chunk=chunk), tokens_of(B, T + 1)
    whole = objective(model, tokens, draw_at())
    parts = [objective(model, tokens[k : k + 1], draw_at(first_row=k)) for k in range(B)]
    summed = [tf.add_n([tf.convert_to_tensor(part) for part in same]) for same in zip(*parts)]
    assert differ(whole, summed) < 1e-4
    wrong = [objective(model, tokens[k : k + 1], draw_at()) for k in range(B)]
    assert differ(whole, [tf.add_n([tf.convert_to_tensor(p) for p in same]) for same in zip(*wrong)]) > 0.01
    assert differ(objective(model, tokens, draw_at(rate=0.0)), objective(model, tokens)) < 1e-5


def test_every_place_for_dropout_has_a_mask_of_its_own():
    model = build(dropout=0.3)
    layers = [*model.dropouts, *(dropout for block in model.blocks for dropout in block.dropouts)]
    assert sorted(layer.index for layer in layers) == list(range(1 + 3 * 2))


def test_dropout_in_plain_fit():
    model = build(dropout=0.4, num_layers=1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    tokens = tokens_of(B, T + 1).numpy()
    model.fit(tokens[:, :-1], tokens[:, 1:], epochs=2, verbose=0)
    assert np.abs(model(tokens, training=True) - model(tokens, training=True)).max() > 0.01
    assert np.abs(model(tokens) - model(tokens)).max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_products_in_bfloat16(kind):
    single, mixed = build(**KINDS[kind]), build(**KINDS[kind], precision="mixed_bfloat16")
    tokens = tokens_of(B, T)
    features, state = mixed.forward({"tokens": tokens}, mixed.initial_state(B, 9))
    assert (
        features.dtype == state["keys"][1].dtype == tf.bfloat16
        and mixed.project(features).dtype == tf.float32
    )
    assert all(v.dtype == "float32" for v in mixed.trainable_variables)
    assert 1e-5 < differ([mixed(tokens)], [single(tokens)]) < 0.1
    loss, *gradients = objective(mixed, tokens)
    assert loss.dtype == tf.float32 and all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_a_row_that_is_too_long_is_refused():
    with pytest.raises(
        ValueError, match="a row has 21 tokens, and this network was built for context_length=20"
    ):
        build().forward({"tokens": tokens_of(B, 21)}, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"num_heads": 5},
            "--num_heads=5 do not divide --embedding_dim=12; take a number of heads that does",
        ),
        ({"num_kv_heads": 2}, "--num_kv_heads=2 do not divide --num_heads=3; take a number that does"),
        (
            {"positions": "rotary", "num_heads": 4},
            "--positions=rotary turns pairs of numbers, and a head has 3 of them",
        ),
        (
            {"positions": "rotary", "head_dim": 3},
            "--positions=rotary turns pairs of numbers, and a head has 3 of them (--head_dim); make",
        ),
        (
            {"rotary_scaling": "linear:factor=2"},
            "--rotary_scaling=linear:factor=2 has no meaning for --positions=learned; leave it out, or take",
        ),
        *[
            ({"positions": "rotary", "rotary_scaling": text}, f"--rotary_scaling={text}: {message}")
            for text, message in (
                ("ntk:factor=2", "scaling 'ntk' is unknown; choose one of linear, llama3, yarn"),
                ("linear", "linear needs factor: write linear:factor=NUMBER,..."),
                ("linear:factor=0.5", "factor=0.5 is out of range; expected 1 to 1e+09"),
                ("linear:factor=nan", "factor=nan is out of range"),
                ("linear:factor=x", "factor='x' is not a number"),
                ("linear:factor=2,factor=3", "factor is given twice; keep one of the two"),
                ("linear:beta_fast=2", "'beta_fast=2' is not a setting of linear; write KEY=NUMBER with one"),
                ("yarn:factor=2,original_context_length=8,beta_fast=1", "beta_slow=1 has to be less than"),
            )
        ],
        ({"context_length": 19}, "--context_length=19 is shorter than a row of --sequence_length=20 tokens"),
        (
            {"batching": "stream"},
            "--batching=stream carries a state from row to row, which --model=gpt does not have",
        ),
        (
            {"ngram_order": 3},
            "--ngram_order=3 has no meaning for --model=gpt; leave it out, or take --model=ngram",
        ),
        ({"model": "lstm", "rematerialize": True}, "--num_heads=3 has no meaning for --model=lstm"),
    ],
    ids=str,
)
def test_what_contradicts_is_refused(settings, message):
    with pytest.raises(InputError) as error:
        config_of(**settings)
    assert str(error.value).startswith(message)


def test_defaults_of_the_family():
    plain, swiglu = (
        Config(model=dataclasses.replace(config_of().model, hidden_units=None)),
        config_of(hidden_units=None, activation="swiglu"),
    )
    assert (plain.model.units, swiglu.model.units, plain.model.tied, plain.batching) == (
        48,
        32,
        True,
        "window",
    )
    assert (Config().model.units, Config().model.tied) == (256, False)


def test_products_and_flops():
    model = build(**LLAMA)
    products = model.products(B, T)
    assert (
        sum(p.flops for p in products["block_0"])
        == 2 * B * T * (240 + 144 + 240 + 120) + 2 * 2 * B * T * T * D
    )
    [forward] = products["output"]
    assert (forward.m, forward.k, forward.n) == (B * T, D, V)
    scores = products["block_1"][1]
    assert (scores.m, scores.k, scores.n, scores.batch) == (T, D // H, T, B * H)
    assert [product.flops for product in scores.backward()] == [scores.flops] * 2


def characters():
    """A tokenizer with as many tokens as the network has logits."""
    return CharTokenizer("".join(map(chr, range(0x4E00, 0x4E00 + V - NUM_SPECIAL))), normalization="none")


def text_of(length, seed=2):
    random = np.random.default_rng(seed)
    return "".join(chr(0x4E00 + n) for n in random.integers(0, V - NUM_SPECIAL, length))


def test_a_prompt_beyond_the_context_is_an_error_or_its_end_is_used():
    said = []
    sampler = Sampler(build(), characters(), said.append)
    long, settings = text_of(50), {"max_new_tokens": 5, "seed": 3}
    with pytest.raises(InputError) as caught:
        sampler.generate([long], **settings)
    assert str(caught.value).startswith(
        "the prompt has 51 tokens with the beginning of a document, and the model looks back on 20 at most;"
        " shorten it"
    )
    text = sampler.generate([long], **settings, long_prompt="keep_end")
    assert said == ["of the 51 tokens of the prompt the last 15 are used"]  # 15 and 5 new ones are 20.
    assert text == sampler.generate([text_of(70, 9) + long[-15:]], **settings, long_prompt="keep_end")
    assert text != sampler.generate([text_of(70, 9) + long[-14:]], **settings, long_prompt="keep_end")
    # A prompt that just fits says nothing: 19 characters and the beginning of a document.
    said.clear()
    sampler.generate([long[:19]], **settings)
    assert said == []


def test_prompts_of_any_length_do_not_retrace():
    sampler = Sampler(build(), characters())
    sampler.generate([text_of(3)], max_new_tokens=2)
    before = sampler.traces
    for length, count in ((4, 3), (17, 60), (1, 1)):
        sampler.generate([text_of(length), text_of(2)], max_new_tokens=count, min_p=0.1 * count / 60)
    assert before == sampler.traces == 2


def test_weights_are_cast_once_for_a_text_and_anew_for_the_next(monkeypatch):
    """A sampler in bfloat16 follows the weights, as one within a training run has to; a search
    does so, too.
    """
    model, other = (build(precision="mixed_bfloat16", init_scale=scale) for scale in (0.4, 0.6))
    sampler, prompt, times = Sampler(model, characters()), text_of(5), []
    made = CastOnce.made
    monkeypatch.setattr(CastOnce, "made", lambda self: times.append(1) or made(self))

    def said(sampler):
        greedy = list(sampler.stream(prompt, max_new_tokens=40, temperature=0))
        return greedy, sampler.generate([prompt], max_new_tokens=9, num_beams=3)

    before = said(sampler)
    assert len(before[0]) > 1 and len(times) == 2
    for own, their in zip(model.weights, other.weights, strict=True):
        own.assign(their)
    assert said(sampler) == said(Sampler(other, characters())) != before


@pytest.mark.parametrize(
    ("kind", "jit"),
    [
        *(("qwen2", False), ("gpt2", True)),
        *slow(("gpt2", False), ("llama", False), ("qwen3", False), ("qwen3", True)),
    ],
)
def test_a_sampler_computes_with_the_cast_matrices(kind, jit, monkeypatch):
    """With zeros in their place nothing is written into a cache, and all tokens are equally likely."""
    sampler = Sampler(build(**KINDS[kind], precision="mixed_bfloat16"), characters(), jit=jit)
    made = CastOnce.made
    prompt, settings = [text_of(5)], {"max_new_tokens": 4, "logit_bias": {CharTokenizer.eod_id: -1000.0}}

    def log_probabilities():
        sampled = sampler.sample(prompt, **settings)[0].log_probabilities
        found = sampler.sample(prompt, **settings, num_beams=2)[0].log_probabilities
        return np.concatenate([sampled, found])

    assert np.ptp(log_probabilities()) > 0.1
    monkeypatch.setattr(CastOnce, "made", lambda self: [tf.zeros_like(each) for each in made(self)])
    np.testing.assert_allclose(log_probabilities(), -np.log(V), rtol=1e-5)
    _, carry = sampler._loop.start([[1, 2, 3, 4]], 5)
    biased = "biases" not in KINDS[kind] or "qkv_biases" in KINDS[kind]
    assert biased or not any(np.any(tf.cast(part, tf.float32)) for part in carry.state["values"])
    assert sampler.traces == 3


@pytest.mark.parametrize(("tie", "rows"), [(True, 1), (False, 2), *slow((False, 1))])
def test_texts_from_transposed_matrices_are_as_likely_as_said(tie, rows):
    """Within what bfloat16 rounds; with the matrices of another network they are not."""
    model, other = (
        build(precision="mixed_bfloat16", init_scale=scale, tie_embeddings=tie) for scale in (0.1, 0.4)
    )
    said = []
    found = Sampler(model, characters(), said.append, jit=True).sample(
        [text_of(5)], max_new_tokens=12, seed=1, num_samples=rows
    )
    compiled = rows == 1 or bool(tf.config.list_physical_devices("GPU"))
    assert [line.partition(":")[0] for line in said] == ([] if compiled else ["jit"])

    def error(model):
        errors = []
        for row in found:
            text = [CharTokenizer.eod_id, *characters().encode(text_of(5)), *row.token_ids]
            logits = tf.nn.log_softmax(model(tf.constant([text]))[0, 5:-1]).numpy()
            expected = np.take_along_axis(logits, np.array(row.token_ids)[:, None], 1)[:, 0]
            errors.append(np.abs(expected - row.log_probabilities).max())
        return max(errors)

    assert error(model) < 0.1 < error(other)


def test_a_text_beyond_the_context_is_scored_in_windows():
    """20 tokens of context: the first window scores 20, each of the others the last 10 that it reads."""
    model, tokenizer = build(), characters()
    scorer = TextScorer(model, tokenizer)
    for length in (1, 20, 21, 30, 47):
        text = text_of(length)
        ids = tokenizer.encode(text)
        expected, done = 0.0, 0
        while done < length:
            end = min(length, done + (10 if done else 20))
            begin = max(0, end - 20)
            logits = model(tf.constant([[0, *ids][begin:end]]))[0].numpy().astype(np.float64)
            scores = (
                logits
                - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True))
                - logits.max(-1, keepdims=True)
            )
            expected -= sum(scores[place - begin, ids[place]] for place in range(done, end))
            done = end
        [found] = scorer.score([text])
        assert found["nats"] == pytest.approx(expected, rel=1e-4) and found["tokens"] == length
    together = scorer.score([text_of(length) for length in (1, 20, 21, 30, 47)])
    assert together[-1]["nats"] == pytest.approx(found["nats"], rel=1e-5)
    assert scorer.traces == 1
    assert scorer.logits([[5] * 20]).shape == (1, 20, V)
    with pytest.raises(InputError, match="ids has rows of 21 tokens, and the model looks back on 20 at most"):
        scorer.logits([[5] * 21])


@pytest.mark.parametrize("rows", [1, 3, 4, 64, 65])
def test_logits_of_few_rows_are_those_of_many(rows):
    model = build(dropout=0.0)
    features = tf.random.stateless_normal([rows, D], [1, 2])
    logits = tf.function(model.project, input_signature=[tf.TensorSpec([None, D])], autograph=False)(features)
    np.testing.assert_allclose(logits, features @ tf.transpose(model.output_weights()[0]), atol=1e-5)
    np.testing.assert_allclose(logits, model.project(features[:, None])[:, 0], atol=1e-5)
