"""Vocabulary V 99, embedding E 5, units H 7, rows B 3 or 4."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import slow

from lm_keras.config import Config, ModelConfig, from_flat
from lm_keras.draws import Draw
from lm_keras.layers import recurrence
from lm_keras.models import FAMILIES
from lm_keras.models.lstm import LSTMLanguageModel, num_parameters

V, E, H = 99, 5, 7
B = 3
RANDOM = np.random.default_rng(13)


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RANDOM.bit_generator.state = np.random.default_rng(14).bit_generator.state


def build(vocab_size=V, embedding_dim=E, hidden_units=H, num_layers=2, **settings):
    keras.utils.set_random_seed(5)
    settings.setdefault("init_scale", 0.5)
    return LSTMLanguageModel(vocab_size, embedding_dim, hidden_units, num_layers, **settings)


def tokens_of(rows, time, vocab_size=V):
    return tf.constant(RANDOM.integers(0, vocab_size, [rows, time]), tf.int32)


def state_of(model, rows):
    return tf.nest.map_structure(
        lambda value: tf.constant(RANDOM.normal(size=value.shape), tf.float32), model.initial_state(rows)
    )


def close(ours, theirs, relative=1e-5):
    """Whether two structures of tensors are equal, each relative to its largest value."""
    pairs = zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True)
    return all(np.abs(a - b).max() <= relative * np.abs(b).max() for a, b in pairs)


def row_of(structure, row):
    return tf.nest.map_structure(lambda value: value[row : row + 1], structure)


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [
        ({"vocab_size": 1000, "embedding_dim": 16, "hidden_units": 128, "num_layers": 1}, 219_240),
        # the article's
        # embedding 99 x 5, layers 4 x 7 x (5 + 7 + 1) and 4 x 7 x (7 + 7 + 1), output 7 x 99, bias 99
        ({}, 495 + 364 + 420 + 693 + 99),
        ({"num_layers": 1}, 495 + 364 + 693 + 99),
        ({"num_layers": 3}, 495 + 364 + 2 * 420 + 693 + 99),
        # tied: a projection 7 x 5 in place of the output matrix, or nothing where the widths agree
        ({"tie_embeddings": True}, 495 + 364 + 420 + 35 + 99),
        ({"tie_embeddings": True, "embedding_dim": 7}, 693 + 2 * 420 + 99),
    ],
    ids=str,
)  # fmt: skip
def test_parameters(settings, parameters):
    model = build(**settings)
    assert model.count_params() == parameters
    assert sum(np.prod(weight.shape) for weight in model.trainable_variables) == parameters
    settings = {"embedding_dim": E, "hidden_units": H, "num_layers": 2, **settings}
    vocab_size = settings.pop("vocab_size", V)
    assert num_parameters(Config(model=ModelConfig(**settings)), vocab_size) == parameters
    assert len({weight.path for weight in model.weights}) == len(model.weights)


def test_what_is_tied_and_what_is_not():
    untied, tied, square = build(), build(tie_embeddings=True), build(tie_embeddings=True, embedding_dim=H)
    features = {
        name: tf.constant(RANDOM.normal(size=[B, 4, width]), tf.float32)
        for name, width in [("E", E), ("H", H)]
    }
    np.testing.assert_allclose(
        untied.project(features["H"]),
        features["H"].numpy() @ untied.output_kernel.numpy(),
        rtol=1e-4,
        atol=1e-5,
    )
    for model, given in [(tied, features["E"]), (square, features["H"])]:
        table = model.embedding.embeddings.numpy()
        np.testing.assert_allclose(model.project(given), given.numpy() @ table.T, rtol=1e-4, atol=1e-5)
        assert model.output_kernel is None
    assert (tied.projection is not None, square.projection, untied.projection) == (True, None, None)
    for model, width in [(untied, H), (tied, E), (square, H)]:
        logits = model.project(model.forward({"tokens": tokens_of(B, 4)}, model.initial_state(B))[0])
        assert logits.shape == (B, 4, V)
        before = logits
        model.output_bias.assign(tf.range(V, dtype=tf.float32))
        after = model.project(tf.zeros([B, 4, width]))
        np.testing.assert_array_equal(after[1, 2], np.arange(V))
        assert before.dtype == after.dtype == tf.float32


def dependencies(model, to_logits, time=5):
    """For each position t, row by row, which tokens the output at t depends on, by gradient.

    Every place of the batch holds another token, so that the rows of the embedding stand for places.

    Returns:
        {(row, t): set of (row, place)}.
    """
    tokens = tf.reshape(tf.range(B * time), [B, time])
    found = {}
    with tf.GradientTape(persistent=True) as tape:
        features, _ = model.forward({"tokens": tokens}, model.initial_state(B))
        output = model.project(features) if to_logits else features
        parts = {(row, t): tf.reduce_sum(tf.sin(output[row, t])) for row in range(B) for t in range(time)}
    for place, part in parts.items():
        slope = np.abs(tf.convert_to_tensor(tape.gradient(part, model.embedding.embeddings))).max(-1)
        found[place] = {(token // time, token % time) for token in np.flatnonzero(slope)}
    return found


def is_causal(found):
    """Whether each output depends on all tokens up to its own, and on no other."""
    return all(seen == {(row, place) for place in range(t + 1)} for (row, t), seen in found.items())


@pytest.mark.parametrize(
    ("settings", "to_logits"),
    [({}, True), ({"num_layers": 1}, False), ({"tie_embeddings": True}, False)],
    ids=str,
)
def test_no_gradient_from_the_future(settings, to_logits):
    """Law 5: causality."""
    assert is_causal(dependencies(build(**settings), to_logits))


def test_no_gradient_from_the_future_in_chunks(monkeypatch):
    monkeypatch.setattr(recurrence, "STEPS_PER_CHUNK", 2)  # a loop over two chunks, and a rest
    assert is_causal(dependencies(build(num_layers=1), to_logits=True))


class Bidirectional(LSTMLanguageModel):
    """A broken network: it also reads from the end."""

    def forward(self, inputs, state, draw=None, training=False):
        features, after = super().forward(inputs, state)
        backwards, _ = super().forward({"tokens": inputs["tokens"][:, ::-1]}, state)
        return features + backwards[:, ::-1], after


class Mixing(LSTMLanguageModel):
    """A broken network: rows see each other."""

    def forward(self, inputs, state, draw=None, training=False):
        features, after = super().forward(inputs, state)
        return features + tf.reduce_mean(features, 0), after


class Forgetful(LSTMLanguageModel):
    """A broken network: it sees its last token only."""

    def forward(self, inputs, state, draw=None, training=False):
        time = inputs["tokens"].shape[1]
        parts = [
            super(Forgetful, self).forward({"tokens": inputs["tokens"][:, t : t + 1]}, state)[0]
            for t in range(time)
        ]
        return tf.concat(parts, 1), state


@pytest.mark.parametrize("broken", [Bidirectional, Mixing, Forgetful])
def test_the_check_of_causality_can_fail(broken):
    model = broken(V, E, H, 1, init_scale=0.5)
    assert not is_causal(dependencies(model, to_logits=True))


@pytest.mark.parametrize(
    "settings", [{}, {"tie_embeddings": True}, {"num_layers": 1, "dropout": 0.4}], ids=str
)
def test_a_call_is_forward_and_project_from_the_start_state(settings):
    model, tokens = build(**settings), tokens_of(B, 6)
    features, _ = model.forward({"tokens": tokens}, model.initial_state(B))
    assert features.shape == (B, 6, E if "tie_embeddings" in settings else H)
    assert close(model(tokens), model.project(features), 1e-6)
    assert close(tf.function(model)(tokens), model.project(features), 1e-6)
    other, _ = model.forward({"tokens": tokens}, state_of(model, B))
    assert not close(model(tokens), model.project(other), 1e-2)


def test_shapes_are_known_where_the_batch_is_not():
    model = build()

    @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.int32)])
    def logits(tokens):
        result = model(tokens)
        assert result.shape.as_list() == [None, 6, V]
        return result

    for rows in (2, 11):
        tokens = tokens_of(rows, 6)
        assert close(logits(tokens), model(tokens), 1e-6)


@pytest.mark.parametrize(("first", "second"), [(5, 8), (1, 12), (16, 5)])
def test_carried_state_equals_the_whole(first, second):
    model, tokens = build(), tokens_of(B, first + second)
    start = state_of(model, B)
    whole, end = model.forward({"tokens": tokens}, start)
    one, between = model.forward({"tokens": tokens[:, :first]}, start)
    two, last = model.forward({"tokens": tokens[:, first:]}, between)
    assert close([one, two, last], [whole[:, :first], whole[:, first:], end])
    # A state that is dropped, or the layers' states exchanged, is found.
    for wrong in (model.initial_state(B), between[::-1]):
        assert not close(model.forward({"tokens": tokens[:, first:]}, wrong)[0], whole[:, first:], 1e-2)


@pytest.mark.parametrize("reset", [[True, False, False, True], [False] * 4, [True] * 4])
def test_rows_that_are_reset_begin_anew(reset):
    model, tokens = build(), tokens_of(4, 6)
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
            assert close(row_of(state, row), row_of(fresh_state if anew else kept_state, row))


def test_a_reset_also_heals_a_state_that_is_not_finite():
    model, tokens = build(), tokens_of(2, 4)
    broken = tf.nest.map_structure(lambda value: value * np.nan, state_of(model, 2))
    features, _ = model.forward({"tokens": tokens, "reset": tf.constant([True, False])}, broken)
    assert np.isfinite(features[0]).all()
    assert np.isnan(features[1]).all()


def dropout_draw(first_row, step=17):
    return Draw(3, tf.constant(step, tf.int64), tf.constant(0.4), tf.constant(first_row, tf.int64))


def test_dropout_belongs_to_the_rows():
    """Law 2 within the network: whoever computes some of the rows gets what the whole batch gets."""
    model, tokens = build(dropout=0.4), tokens_of(6, 5)
    state = state_of(model, 6)

    def forward(first, count, first_row):
        part = tf.nest.map_structure(lambda value: value[first : first + count], state)
        return model.forward({"tokens": tokens[first : first + count]}, part, draw=dropout_draw(first_row))[0]

    whole = forward(0, 6, 0)
    assert close(tf.concat([forward(0, 4, 0), forward(4, 2, 4)], 0), whole, 1e-6)
    assert not close(tf.concat([forward(0, 4, 0), forward(4, 2, 0)], 0), whole, 1e-2)
    # Three places, three masks: no unit is always dropped together with its namesake elsewhere.
    assert [layer.index for layer in model.dropouts] == [0, 1, 2]
    assert {layer.batch_axis for layer in model.dropouts} == {1}
    assert 0.3 < np.mean(whole == 0) < 0.5  # the output's own mask


def test_weight_drop_is_one_mask_of_the_matrix_for_all_rows():
    """Ports of AWD-LSTM are known in which it does nothing; it has to change the matrix, and as the step
    says.
    """
    layers, rate = 2, 0.3
    model, tokens = build(weight_drop=rate, num_layers=layers), tokens_of(6, 5)

    def forward(first, count, first_row, step=17):
        state = model.initial_state(count)
        return model.forward(
            {"tokens": tokens[first : first + count]}, state, draw=dropout_draw(first_row, step)
        )[0]

    whole = forward(0, 6, 0)
    assert close(tf.concat([forward(0, 4, 0), forward(4, 2, 4)], 0), whole, 1e-6)
    assert not close(forward(0, 6, 0, step=18), whole, 1e-3)
    evaluated = model.forward({"tokens": tokens}, model.initial_state(6))[0]
    assert not close(whole, evaluated, 1e-3)
    # What was computed is the network whose matrices were masked by hand.
    matrices = [layer.recurrent_matrix(dropout_draw(99), False) for layer in model.recurrent]
    for layer, masked in zip(model.recurrent, matrices, strict=True):
        kept = masked.numpy() != 0
        assert abs(kept.mean() - (1 - rate)) < 0.05
        assert close(masked.numpy()[kept], layer.recurrent_kernel.numpy()[kept] / (1 - rate), 1e-6)
    assert not np.array_equal(matrices[0] != 0, matrices[1] != 0)
    for layer, masked in zip(model.recurrent, matrices, strict=True):
        layer.recurrent_kernel.assign(masked)
    assert close(model.forward({"tokens": tokens}, model.initial_state(6))[0], whole, 1e-5)


def learnt(model, tokens, reset, state, draw=None, known=True):
    """Features, state and the gradients of all weights as a graph computes them, and how many programs are
    compiled by XLA.
    """
    shape = tokens.shape if known else [None, None]

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int32)], autograph=False)
    def compute(tokens):
        with tf.GradientTape() as tape:
            features, after = model.forward({"tokens": tokens, "reset": reset}, state, draw)
            pull = tf.range(tf.size(features), dtype=tf.float32) % 3.0 - 0.7
            total = tf.reduce_sum(tf.reshape(tf.cast(features, tf.float32), [-1]) * pull)
        weights = [v.value for v in model.trainable_variables if "output" not in v.path]
        return features, after, [tf.convert_to_tensor(slope) for slope in tape.gradient(total, weights)]

    operations = compute.get_concrete_function().graph.as_graph_def().node
    return compute(tokens), sum(node.attr["_XlaMustCompile"].b for node in operations)


DROPPED = {"dropout": 0.4, "weight_drop": 0.3}


@pytest.mark.parametrize(
    ("rows", "groups", "dropped"),
    [(6, 2, DROPPED), (5, 1, {}), *slow((6, 2, {}), (5, 1, DROPPED))],
    ids=["dropped-6-2", "whole-5-1", "whole-6-2", "dropped-5-1"],
)
def test_a_compiled_recurrence_changes_nothing(rows, groups, dropped):
    """Two groups of rows where they are even in number, each with its own rows' masks, and the masks of the
    matrices.
    """
    plain, ours = (build(jit=jit, **dropped) for jit in ("auto", "recurrence"))
    tokens, reset = tokens_of(rows, 4), tf.constant(RANDOM.random(rows) < 0.4)
    state, draw = state_of(ours, rows), dropout_draw(13) if dropped else None
    found, programs = learnt(ours, tokens, reset, state, draw)
    assert programs == 2 * 2 * groups  # Two directions, two layers.
    expected, none = learnt(plain, tokens, reset, state, draw)
    assert not none and close(found, expected, 4e-6)
    # Masks of other rows are found, and so is a state of other rows.
    if dropped:
        assert not close(found, learnt(plain, tokens, reset, state, dropout_draw(14))[0], 1e-2)
    turned = tf.nest.map_structure(lambda value: value[::-1], state)
    assert not close(found[0], learnt(plain, tokens, reset, turned, draw)[0][0], 1e-2)


def test_where_the_recurrence_is_compiled(monkeypatch):
    model, tokens, reset = build(jit="recurrence"), tokens_of(6, 4), tf.zeros([6], tf.bool)
    assert model.remarks == ("recurrence compiled by XLA",) and build().remarks == ()
    parts = build(jit="parts")
    assert (
        parts.remarks == ("recurrence and loss compiled by XLA",)
        and learnt(parts, tokens, reset, model.initial_state(6))[1]
    )
    assert close(model(tokens), build()(tokens), 1e-6)  # Nothing is traced here.
    state = model.initial_state(6)
    assert learnt(model, tokens, reset, state)[1]
    assert not learnt(model, tokens, reset, state, known=False)[1]
    assert not learnt(model, tokens[:, :1], reset, state)[1]
    for layer in model.recurrent:
        layer.use_cudnn = False  # There is none here.
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [kind])
    assert not learnt(model, tokens, reset, state)[1]


@pytest.mark.parametrize(
    ("old", "jit"),
    [
        ({}, "auto"),
        ({"use_cudnn": True, "compile_recurrence": False}, "auto"),
        ({"use_cudnn": True, "compile_recurrence": True}, "recurrence"),
        ({"use_cudnn": False, "compile_recurrence": False}, "on"),
    ],
)
def test_older_files_say_what_is_compiled_in_two_settings(old, jit):
    settings = build().get_config()
    del settings["jit"]
    again = LSTMLanguageModel.from_config({**settings, **old})
    assert again.get_config() == {**settings, "jit": jit}
    assert [layer.use_cudnn for layer in again.recurrent] == [jit != "on"] * 2


def test_weight_drop_outside_of_the_own_loop():
    model, tokens = build(weight_drop=0.3), tokens_of(B, 5)
    assert close(model(tokens), model(tokens), 0)
    assert not close(model(tokens, training=True), model(tokens), 1e-3)
    assert not close(model(tokens, training=True), model(tokens, training=True), 1e-3)


def test_dropout_is_for_training_only():
    model, tokens = build(dropout=0.4), tokens_of(B, 5)
    assert close(model(tokens), model(tokens), 0)
    assert not close(model(tokens, training=True), model(tokens), 1e-2)
    assert not close(model(tokens, training=True), model(tokens, training=True), 1e-2)
    assert build().dropouts == []


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_logits_and_state_are_float32_in_every_precision(policy):
    model, exact, tokens = build(dtype=policy, dropout=0.2), build(dropout=0.2), tokens_of(B, 6)
    model.set_weights(exact.get_weights())
    features, state = model.forward({"tokens": tokens}, state_of(model, B))
    assert features.dtype == model.compute_dtype
    assert {value.dtype for value in tf.nest.flatten(state)} == {tf.float32}
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


@pytest.mark.parametrize(
    "settings", [{}, {"dropout": 0.1, "dtype": "mixed_bfloat16", "tie_embeddings": True}], ids=str
)
def test_plain_compile_fit_and_summary(settings):
    model = build(vocab_size=13, embedding_dim=6, hidden_units=11, num_layers=1, init_scale=None, **settings)
    tokens = (RANDOM.integers(0, 13, [960, 1]) + 5 * np.arange(5)) % 13  # each token decides the next
    x, y = tokens[:, :-1], tokens[:, 1:]
    model.compile(
        optimizer=keras.optimizers.Adam(0.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    untrained = model.fit(x[:64], y[:64], batch_size=32, epochs=1, verbose=0).history
    assert untrained["loss"][0] == pytest.approx(np.log(13), abs=0.1)
    model.optimizer.learning_rate = 0.03
    trained = model.fit(x, y, batch_size=32, epochs=3, verbose=0).history
    assert trained["loss"][-1] < 0.6
    assert trained["accuracy"][-1] > 0.85
    lines = []
    model.summary(print_fn=lines.append)
    parameters = sum(np.prod(weight.shape) for weight in model.trainable_variables)
    assert f"Trainable params: {parameters:,} " in "\n".join(lines)


def test_the_summary_counts_what_the_article_counts():
    lines = []
    build(1000, 16, 128, 1).summary(print_fn=lines.append)
    assert "219,240" in "\n".join(lines)


def matrices_of(model):
    return [weight.numpy() for weight in model.weights if len(weight.shape) == 2]


def test_init_scale_holds_for_every_matrix():
    def is_uniform(matrix, scale):
        return (
            0.95 * scale < np.abs(matrix).max() <= scale and abs(matrix.std() * np.sqrt(3) / scale - 1) < 0.1
        )

    settings = {"vocab_size": 60, "embedding_dim": 24, "hidden_units": 20}
    for tie_embeddings, count in [(False, 6), (True, 6)]:
        matrices = matrices_of(build(**settings, tie_embeddings=tie_embeddings, init_scale=0.02))
        assert len(matrices) == count
        assert all(is_uniform(matrix, 0.02) for matrix in matrices)
    usual = matrices_of(build(**settings, init_scale=None))
    assert not any(is_uniform(matrix, 0.02) for matrix in usual)


@pytest.mark.parametrize("init_scale", [None, 0.1])
def test_no_two_matrices_begin_with_the_same_numbers(init_scale):
    """An initializer of Keras that is used twice draws the same numbers twice."""
    model = build(vocab_size=28, embedding_dim=7, hidden_units=7, init_scale=init_scale)
    numbers = [set(matrix.ravel().tolist()) for matrix in matrices_of(model)]
    assert len(numbers) == 6
    assert all(len(a & b) < 5 for i, a in enumerate(numbers) for b in numbers[:i])
    shared = keras.initializers.RandomUniform(-0.1, 0.1)
    assert np.array_equal(shared([7, 28]), shared([7, 28]))  # the control: this is why


def test_biases_begin_at_zero_but_for_the_forget_gate():
    model = build(forget_bias=0.25)
    biases = [weight.numpy() for weight in model.weights if len(weight.shape) == 1]
    assert [len(bias) for bias in biases] == [V, 4 * H, 4 * H]
    assert not biases[0].any()
    for bias in biases[1:]:
        assert bias.tolist() == [0.0] * H + [0.25] * H + [0.0] * 2 * H


def test_build_passes_every_setting_on():
    config = from_flat(
        {
            "num_layers": 3,
            "embedding_dim": 5,
            "hidden_units": 7,
            "dropout": 0.3,
            "tie_embeddings": True,
            "forget_bias": 0.5,
            "init_scale": 0.02,
            "precision": "mixed_bfloat16",
        }
    )
    model = FAMILIES["lstm"](config, 99)
    assert isinstance(model, LSTMLanguageModel)
    assert model.context_tokens is None
    assert [layer.units for layer in model.recurrent] == [7, 7, 7]
    assert model.embedding.embeddings.shape == (99, 5)
    assert [layer.initial_rate for layer in model.dropouts] == [0.3] * 4
    assert (model.tie_embeddings, model.vocab_size) == (True, 99)
    assert [layer.forget_bias for layer in model.recurrent] == [0.5] * 3
    assert all(np.abs(matrix).max() <= 0.02 for matrix in matrices_of(model))
    assert model.compute_dtype == "bfloat16"
    assert {layer.compute_dtype for layer in [*model.recurrent, *model.dropouts]} == {"bfloat16"}


def test_the_seed_decides_the_weights():
    def weights(seed):
        keras.utils.set_random_seed(seed)
        return LSTMLanguageModel(V, E, H, 2, init_scale=0.1).get_weights()

    assert close(weights(1), weights(1), 0)
    assert not close(weights(1), weights(2), 1e-2)
