"""Vocabulary V 99, order n 4, embedding E 5, units H 7, rows B 3."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import config, text
from lm_keras.config import Config, ModelConfig, from_flat
from lm_keras.data import scoring
from lm_keras.draws import Draw
from lm_keras.models import FAMILIES, ngram
from lm_keras.models.ngram import NGramLanguageModel, num_parameters
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.network import DecodingNetwork, state_specs
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.uniforms import key_of

V, N, E, H = 99, 4, 5, 7
B = 3
RANDOM = np.random.default_rng(13)


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RANDOM.bit_generator.state = np.random.default_rng(14).bit_generator.state


def build(kind=NGramLanguageModel, vocab_size=V, **settings):
    keras.utils.set_random_seed(5)
    usual = {"ngram_order": N, "embedding_dim": E, "hidden_units": H, "num_layers": 2, "init_scale": 0.5}
    model = kind(vocab_size, **{**usual, **settings})
    for variable in model.trainable_variables:
        if len(variable.shape) == 1:
            variable.assign(RANDOM.normal(0, 0.3, variable.shape))
    return model


def tokens_of(rows, time, vocab_size=V):
    return tf.constant(RANDOM.integers(0, vocab_size, [rows, time]), tf.int32)


def state_of(model, rows):
    return {"tokens": tokens_of(rows, model.context_tokens, model.vocab_size)}


def close(ours, theirs, relative=1e-5):
    """Whether two structures of tensors are equal, each relative to its largest value."""
    pairs = zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True)
    return all(np.abs(a - b).max() <= relative * np.abs(b).max() for a, b in pairs)


def row_of(structure, row):
    return tf.nest.map_structure(lambda value: value[row : row + 1], structure)


def by_hand(model, tokens, before):
    """Logits [B, T, V] by the article's equations, one position after the other, in NumPy and float64."""
    values = {variable.name: variable.numpy().astype(np.float64) for variable in model.trainable_variables}
    table = values["embeddings"]
    layers = [(values[f"kernel_{k}"], values[f"bias_{k}"]) for k in range(len(model.kernels))]
    rows = []
    for row, context in zip(tokens.numpy(), before.numpy()):
        context, logits = list(context), []
        for token in row:
            context = [*context[1:], token]
            x = a = np.concatenate([table[seen] for seen in context])
            for kernel, bias in layers:
                z = kernel.T @ a + bias
                a = np.maximum(z, 0)
            if model.projection is not None:
                a = values["projection"].T @ a
            if model.direct_connections:
                a = np.concatenate([a, x])
            output = table if model.tie_embeddings else values["output_kernel"].T
            logits.append(output @ a + values["output_bias"])
        rows.append(logits)
    return np.array(rows)


SHAPES = [
    {}, {"num_layers": 1}, {"ngram_order": 2}, {"ngram_order": 9, "num_layers": 3}, {"tie_embeddings": True},
    {"tie_embeddings": True, "hidden_units": E}, {"direct_connections": True},
]  # fmt: skip


@pytest.mark.parametrize("settings", SHAPES, ids=str)
def test_equals_the_equations(settings):
    model, tokens = build(**settings), tokens_of(B, 6)
    state = state_of(model, B)
    features, after = model.forward({"tokens": tokens}, state)
    expected = by_hand(model, tokens, state["tokens"])
    assert close(model.project(features), expected)
    seen = np.concatenate([state["tokens"], tokens], 1)
    np.testing.assert_array_equal(after["tokens"], seen[:, -model.context_tokens :])
    # The context backwards, or another token before it, is found.
    if model.context_tokens > 1:
        assert not close(model.project(features), by_hand(model, tokens, state["tokens"][:, ::-1]), 1e-3)
    assert not close(model.project(features), by_hand(model, tokens[:, ::-1], state["tokens"]), 1e-3)


@pytest.mark.parametrize("settings", [{}, {"direct_connections": True}, {"ngram_order": 2}], ids=str)
def test_the_convolution_is_the_product_with_x(settings):
    """Value and gradients, of every weight."""
    model, tokens = build(**settings), tokens_of(B, 6)
    state, pull = state_of(model, B), tf.constant(RANDOM.normal(size=[B, 6, V]), tf.float32)

    def product(embedded):
        x = model._side_by_side(embedded)
        return tf.tensordot(x, tf.convert_to_tensor(model.kernels[0]), 1)

    def value_and_slopes():
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(pull * model.project(model.forward({"tokens": tokens}, state)[0]))
        slopes = tape.gradient(value, model.trainable_variables)
        return [value, *map(tf.convert_to_tensor, slopes)]

    ours = value_and_slopes()
    model._first_product = product
    assert close(ours, value_and_slopes())
    assert all(np.abs(slope).max() > 0 for slope in ours)
    model._first_product = lambda embedded: product(embedded[:, ::-1])
    assert not close(ours, value_and_slopes(), 1e-2)


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        # embedding 99 x 5, layers 15 x 7 + 7 and 7 x 7 + 7, output 7 x 99, bias 99
        ({}, 495 + 112 + 56 + 693 + 99),
        ({"num_layers": 1}, 495 + 112 + 693 + 99),
        ({"ngram_order": 2}, 495 + 42 + 56 + 693 + 99),
        # tied: a projection 7 x 5 in place of the output matrix, or nothing where the widths agree
        ({"tie_embeddings": True}, 495 + 112 + 56 + 35 + 99),
        ({"tie_embeddings": True, "embedding_dim": 7}, 693 + 154 + 56 + 99),
        # direct: 15 more rows of the output matrix
        ({"direct_connections": True}, 495 + 112 + 56 + 22 * 99 + 99),
    ],
    ids=str,
)
def test_parameters(settings, parameters):
    model = build(**settings)
    assert model.count_params() == parameters
    usual = {"ngram_order": N, "embedding_dim": E, "hidden_units": H, "num_layers": 2}
    config = Config(model=ModelConfig(model="ngram", **{**usual, **settings}))
    assert num_parameters(config, V) == parameters
    assert len({weight.path for weight in model.weights}) == len(model.weights)


def dependencies(model, time=6):
    """For each position t, row by row, which tokens the logits at t depend on, by gradient.

    Every place of the batch holds another token, none of them end-of-document.
    """
    tokens = 1 + tf.reshape(tf.range(B * time), [B, time])
    found = {}
    with tf.GradientTape(persistent=True) as tape:
        features, _ = model.forward({"tokens": tokens}, model.initial_state(B))
        output = model.project(features)
        parts = {(row, t): tf.reduce_sum(tf.sin(output[row, t])) for row in range(B) for t in range(time)}
    for place, part in parts.items():
        slope = np.abs(tf.convert_to_tensor(tape.gradient(part, model.embedding.embeddings))).max(-1)
        found[place] = {((token - 1) // time, (token - 1) % time) for token in np.flatnonzero(slope) if token}
    return found


def is_causal(found, context):
    """Whether each output depends on the last `context` tokens up to its own, and on no other."""
    return all(
        seen == {(row, place) for place in range(max(0, t + 1 - context), t + 1)}
        for (row, t), seen in found.items()
    )


@pytest.mark.parametrize(
    "settings", [{}, {"ngram_order": 2}, {"ngram_order": 6, "direct_connections": True}], ids=str
)
def test_no_gradient_from_the_future_nor_from_long_ago(settings):
    """Law 5: causality, and a context with an end."""
    model = build(**settings)
    assert is_causal(dependencies(model), model.context_tokens)
    assert not is_causal(dependencies(model), model.context_tokens + 1)


class Foreseeing(NGramLanguageModel):
    """A broken network: it is one position late, so that it reads what it predicts."""

    def _first_product(self, embedded):
        return super()._first_product(tf.roll(embedded, -1, 1))


class Mixing(NGramLanguageModel):
    """A broken network: rows see each other."""

    def forward(self, inputs, state, draw=None, training=False):
        features, after = super().forward(inputs, state)
        return features + tf.reduce_mean(features, 0), after


@pytest.mark.parametrize("broken", [Foreseeing, Mixing])
def test_the_check_of_causality_can_fail(broken):
    assert not is_causal(dependencies(build(broken)), N - 1)


@pytest.mark.parametrize("settings", [{}, {"tie_embeddings": True}, {"dropout": 0.4}], ids=str)
def test_a_call_is_forward_and_project_from_the_start_state(settings):
    model, tokens = build(**settings), tokens_of(B, 6)
    features, _ = model.forward({"tokens": tokens}, model.initial_state(B))
    assert features.shape == (B, 6, E if "tie_embeddings" in settings else H)
    assert close(model(tokens), model.project(features), 1e-6)
    any_shape = tf.function(model, input_signature=[tf.TensorSpec([None, None], tf.int32)])
    for rows, time in [(B, 6), (2, 1), (5, 4)]:
        assert close(any_shape(tokens[:rows, :time]), model(tokens[:rows, :time]), 1e-6)
    other, _ = model.forward({"tokens": tokens}, state_of(model, B))
    assert not close(model(tokens), model.project(other), 1e-2)


def test_a_document_begins_after_end_of_document_tokens():
    assert {tokenizer.eod_id for tokenizer in text.TOKENIZERS.values()} == {0}
    model, tokens = build(), tokens_of(B, 5)
    start = model.initial_state(B, length=7)
    assert start["tokens"].dtype == tf.int32
    np.testing.assert_array_equal(start["tokens"], np.zeros([B, N - 1]))
    longer = tf.pad(tokens, [[0, 0], [5, 0]])
    assert close(model(tokens), model(longer)[:, 5:], 1e-6)


@pytest.mark.parametrize(("first", "second"), [(5, 8), (1, 12), (2, 1), (12, 1)])
def test_carried_state_equals_the_whole(first, second):
    """Also where a part is shorter than the context."""
    model, tokens = build(), tokens_of(B, first + second)
    start = state_of(model, B)
    whole, end = model.forward({"tokens": tokens}, start)
    one, between = model.forward({"tokens": tokens[:, :first]}, start)
    two, last = model.forward({"tokens": tokens[:, first:]}, between)
    assert close([one, two], [whole[:, :first], whole[:, first:]])
    np.testing.assert_array_equal(last["tokens"], end["tokens"])
    for wrong in (model.initial_state(B), {"tokens": between["tokens"][:, ::-1]}):
        assert not close(model.forward({"tokens": tokens[:, first:]}, wrong)[0], whole[:, first:], 1e-2)


@pytest.mark.parametrize("reset", [[True, False, False, True], [False] * 4, [True] * 4])
def test_rows_that_are_reset_begin_anew(reset):
    model, tokens = build(), tokens_of(4, 2)
    carried = state_of(model, 4)
    inputs = {"tokens": tokens, "reset": tf.constant(reset)}
    kept, kept_state = model.forward({"tokens": tokens}, carried)
    fresh, fresh_state = model.forward({"tokens": tokens}, model.initial_state(4))
    for run in (model.forward, tf.function(model.forward)):
        features, state = run(inputs, carried)
        for row, anew in enumerate(reset):
            right, wrong = (fresh, kept) if anew else (kept, fresh)
            assert close(row_of(features, row), row_of(right, row))
            assert not close(row_of(features, row), row_of(wrong, row), 1e-2)
            after = fresh_state if anew else kept_state
            np.testing.assert_array_equal(state["tokens"][row], after["tokens"][row])


def test_dropout_belongs_to_the_rows():
    model, tokens = build(dropout=0.4), tokens_of(6, 5)
    state = state_of(model, 6)

    def forward(first, count, first_row):
        draw = Draw(3, tf.constant(17, tf.int64), tf.constant(0.4), tf.constant(first_row, tf.int64))
        part = {"tokens": state["tokens"][first : first + count]}
        return model.forward({"tokens": tokens[first : first + count]}, part, draw=draw)[0]

    whole = forward(0, 6, 0)
    assert close(tf.concat([forward(0, 4, 0), forward(4, 2, 4)], 0), whole, 1e-6)
    assert not close(tf.concat([forward(0, 4, 0), forward(4, 2, 0)], 0), whole, 1e-2)
    assert [layer.index for layer in model.dropouts] == [0, 1, 2]
    assert {layer.batch_axis for layer in model.dropouts} == {0}


def test_dropout_has_a_layer_of_its_own_at_every_place():
    model, seen = build(dropout=0.4), []
    model._drop = lambda place, x, draw, training: seen.append((place, x.shape[-1])) or x
    model(tokens_of(B, 5))
    assert seen == [(0, E), (1, H), (2, H)]


def test_dropout_is_for_training_only():
    model, tokens = build(dropout=0.4), tokens_of(B, 5)
    assert close(model(tokens), model(tokens), 0)
    assert not close(model(tokens, training=True), model(tokens), 1e-2)
    assert not close(model(tokens, training=True), model(tokens, training=True), 1e-2)
    assert build().dropouts == []


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_and_weights_are_float32_in_every_precision(policy):
    settings = {"dropout": 0.2, "direct_connections": True}
    model, exact, tokens = build(dtype=policy, **settings), build(**settings), tokens_of(B, 6)
    model.set_weights(exact.get_weights())
    features, state = model.forward({"tokens": tokens}, state_of(model, B))
    assert features.dtype == model.compute_dtype
    assert state["tokens"].dtype == tf.int32
    assert {weight.dtype for weight in model.trainable_variables} == {"float32"}
    logits = model(tokens)
    assert logits.dtype == tf.float32
    assert close(logits, exact(tokens), 0.03)
    assert close(logits, exact(tokens), 1e-6) == (policy == "float32")  # the products are really rounded
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(model(tokens, training=True) ** 2)
    slopes = tape.gradient(total, model.trainable_variables)
    assert all(slope.dtype == tf.float32 for slope in slopes)
    assert all(np.isfinite(tf.convert_to_tensor(slope)).all() for slope in slopes)


def test_plain_compile_fit_and_summary():
    """What comes next is the sum of the two tokens before: an order of 3 can learn it, an order of
    2 cannot.
    """

    def fitted(order):
        settings = {"embedding_dim": 6, "hidden_units": 64, "num_layers": 1, "init_scale": None}
        model = build(vocab_size=7, ngram_order=order, **settings)
        tokens = RANDOM.integers(0, 7, [960, 2])
        for _ in range(4):
            tokens = np.concatenate([tokens, tokens[:, -2:].sum(1, keepdims=True) % 7], 1)
        model.compile(
            optimizer=keras.optimizers.Adam(0.03),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        history = model.fit(tokens[:, :-1], tokens[:, 1:], batch_size=32, epochs=5, verbose=0).history
        return model, history["accuracy"][-1]

    model, accuracy = fitted(3)
    assert accuracy > 0.8  # the first of the five targets cannot be known
    assert fitted(2)[1] < 0.3
    lines = []
    model.summary(print_fn=lines.append)
    assert f"Trainable params: {7 * 6 + 12 * 64 + 64 + 64 * 7 + 7:,} " in "\n".join(lines)


def matrices_of(model):
    return [weight.numpy() for weight in model.weights if len(weight.shape) == 2]


@pytest.mark.parametrize("init_scale", [None, 0.1])
def test_initial_weights(init_scale):
    """An initializer of Keras that is used twice draws the same numbers twice."""
    keras.utils.set_random_seed(3)
    model = NGramLanguageModel(28, 3, embedding_dim=14, hidden_units=28, num_layers=2, init_scale=init_scale)
    matrices = [
        model.embedding.embeddings.numpy(),
        *map(np.array, model.kernels),
        model.output_kernel.numpy(),
    ]
    numbers = [set(matrix.ravel().tolist()) for matrix in matrices]
    assert len(numbers) == 4
    assert all(len(a & b) < 5 for i, a in enumerate(numbers) for b in numbers[:i])
    limits = (
        [0.1] * 4 if init_scale else [0.05] + [np.sqrt(6 / 56)] * 3
    )  # 28 in and 28 out, each of the three
    for matrix, limit in zip(matrices, limits):
        assert 0.95 * limit < np.abs(matrix).max() <= limit
    assert not any(weight.numpy().any() for weight in model.weights if len(weight.shape) == 1)


def test_build_passes_every_setting_on():
    settings = {
        "model": "ngram", "ngram_order": 6, "num_layers": 3, "embedding_dim": 5, "hidden_units": 7,
        "dropout": 0.3, "init_scale": 0.02, "precision": "mixed_bfloat16",
    }  # fmt: skip
    model = FAMILIES["ngram"](from_flat({**settings, "tie_embeddings": True}), V)
    assert isinstance(model, NGramLanguageModel)
    assert (model.context_tokens, model.tie_embeddings, model.vocab_size) == (5, True, V)
    assert [kernel.shape for kernel in model.kernels] == [(25, 7), (7, 7), (7, 7)]
    assert [layer.initial_rate for layer in model.dropouts] == [0.3] * 4
    assert all(np.abs(matrix).max() <= 0.02 for matrix in matrices_of(model))
    assert model.compute_dtype == "bfloat16"
    assert ngram.build(from_flat({**settings, "direct_connections": True}), V).direct_connections
    assert NGramLanguageModel.from_config(model.get_config()).get_config() == model.get_config()


def test_every_family_has_a_name():
    assert tuple(FAMILIES) == config.FIELDS["model"].metadata["choices"]


def test_evaluation_reads_the_whole_context_first():
    assert config.FIELDS["ngram_order"].metadata["high"] - 1 <= scoring.BURN_IN


class Forgetful(NGramLanguageModel):
    """A broken network: it carries no context."""

    def forward(self, inputs, state, draw=None, training=False):
        return super().forward(inputs, state)[0], state


PROMPTS = [[0, *range(3, 72)], [0, *range(5, 75), 9], [0, *range(11, 79)]]


def decoded(loop, prompts):
    """Continue prompts by 17 tokens; return for each its tokens and their log-probabilities."""
    batch, carry = loop.start(prompts, 17)
    uniforms = loop.uniforms(batch, carry, [key_of(0, prompt) for prompt in prompts], positions=99)
    (tokens, scores, *_), _ = loop.advance(batch, carry, uniforms, RuleSettings.of())
    assert loop.traces == loop.network.traces == 1
    return [(row[row != NOTHING].tolist(), score[row != NOTHING]) for row, score in zip(tokens, scores)]


def cache_error(model, rows):
    """How far log-probabilities of the decoding loop lie from those of one call."""
    errors = []
    for prompt, (tokens, scores) in zip(PROMPTS, rows, strict=True):
        logits = model(tf.constant([prompt + tokens]))[0, len(prompt) - 1 : -1]
        uncached = np.take_along_axis(tf.nn.log_softmax(logits).numpy(), np.array(tokens)[:, None], 1)[:, 0]
        errors.append(np.abs(scores - uncached).max())
    return max(errors)


def test_decoding_carries_the_context():
    """Cached equals uncached, a batch of prompts equals each prompt alone, and nothing retraces."""
    model = build()
    loop = DecodeLoop(DecodingNetwork(model), eod_id=V, allowed=[True] * V)
    together = decoded(loop, PROMPTS)
    assert cache_error(model, together) < 1e-5
    alone = [decoded(loop, [prompt])[0] for prompt in PROMPTS]
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    assert max(np.abs(a[1] - b[1]).max() for a, b in zip(together, alone)) < 1e-5
    assert state_specs(model)["tokens"] == tf.TensorSpec([None, N - 1], tf.int32)


def test_the_check_of_decoding_can_fail():
    model = build(Forgetful)
    assert cache_error(model, decoded(DecodeLoop(DecodingNetwork(model), V, [True] * V), PROMPTS)) > 0.1
