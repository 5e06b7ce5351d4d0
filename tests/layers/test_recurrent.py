"""Batch B 3, input width D 5, units H 7; the time T goes over every edge of the chunks of the loop."""

import time as clock

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers import LSTM, recurrence

B, D, H = 3, 5, 7
CHUNK = recurrence.STEPS_PER_CHUNK
TIMES = [1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 40]
RANDOM = np.random.default_rng(13)


def normal(*shape, scale=0.5):
    return tf.constant(RANDOM.normal(0, scale, shape), tf.float32)


WEIGHTS = [normal(D, 4 * H), normal(H, 4 * H), normal(4 * H)]
STATE = {"h": normal(B, H), "c": normal(B, H)}


@pytest.fixture(autouse=True)
def same_numbers_whatever_ran_before():
    RANDOM.bit_generator.state = np.random.default_rng(14).bit_generator.state


def layer_with(weights=WEIGHTS, **settings):
    layer = LSTM(H, **settings)
    layer.build((None, None, D))
    layer.set_weights(weights)
    return layer


def keras_layer(weights=WEIGHTS):
    layer = keras.layers.LSTM(H, return_sequences=True, return_state=True)
    layer.build((None, None, D))
    layer.set_weights(weights)

    def run(x, state):
        y, h, c = layer(tf.transpose(x, [1, 0, 2]), initial_state=[state["h"], state["c"]])
        return tf.transpose(y, [1, 0, 2]), {"h": h, "c": c}

    run.trainable_variables = layer.trainable_variables
    return run


def gradients(layer, x, state):
    """Outputs, last state, and the gradients of a weighted sum of all of them."""
    random = np.random.default_rng(x.shape[0])
    with tf.GradientTape() as tape:
        tape.watch([x, state])
        y, after = layer(x, state)
        pull = [random.normal(size=part.shape) for part in (y, after["h"], after["c"])]
        parts = zip(pull, (y, after["h"], after["c"]))
        total = tf.add_n([tf.reduce_sum(tf.cast(weight, tf.float32) * part) for weight, part in parts])
    sources = [x, *layer.trainable_variables, state["h"], state["c"]]
    return [y, after["h"], after["c"]], tape.gradient(total, sources)


def close(ours, theirs, relative=1e-5):
    """Whether every tensor is there and equal, relative to its largest value."""
    return all(
        a is not None and np.abs(a - b).max() <= relative * np.abs(b).max()
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("time", TIMES)
def test_equals_the_keras_layer_with_its_gradients(time):
    x = normal(time, B, D)
    values, slopes = gradients(layer_with(), x, STATE)
    keras_values, keras_slopes = gradients(keras_layer(), x, STATE)
    assert close(values, keras_values)
    assert close(slopes, keras_slopes)


@pytest.mark.parametrize("time", [3, 4, 9])
def test_a_graph_gives_the_same(time, monkeypatch):
    monkeypatch.setattr(recurrence, "STEPS_PER_CHUNK", 4)  # traced in little time
    x, layer = normal(time, B, D), layer_with()
    eager, compiled = gradients(layer, x, STATE), tf.function(gradients)(layer, x, STATE)
    assert close(compiled[0], eager[0], 1e-6)
    assert close(compiled[1], eager[1], 1e-6)


def test_xla_gives_the_same(monkeypatch):
    monkeypatch.setattr(recurrence, "STEPS_PER_CHUNK", 2)  # a loop and a rest, compiled in little time
    x, layer = normal(5, B, D), layer_with()
    eager, compiled = gradients(layer, x, STATE), tf.function(gradients, jit_compile=True)(layer, x, STATE)
    assert close(compiled[0], eager[0])
    assert close(compiled[1], eager[1])


def no_gradient_of_the_last_cell(x, u, h, c):
    y, cell = recurrence.lstm(x, u, h, c)
    return y, tf.stop_gradient(cell)


def no_gradient_of_the_recurrent_matrix(x, u, h, c):
    return recurrence.lstm(x, tf.stop_gradient(u), h, c)


def no_gradient_of_the_first_state(x, u, h, c):
    return recurrence.lstm(x, u, tf.stop_gradient(h), c)


def no_gradient_of_the_first_cell(x, u, h, c):
    return recurrence.lstm(x, u, h, tf.stop_gradient(c))


def no_gradient_of_the_second_input(x, u, h, c):
    return recurrence.lstm(tf.concat([x[:1], tf.stop_gradient(x[1:2]), x[2:]], 0), u, h, c)


@pytest.mark.parametrize(
    "broken",
    [
        no_gradient_of_the_last_cell,
        no_gradient_of_the_recurrent_matrix,
        no_gradient_of_the_first_state,
        no_gradient_of_the_first_cell,
        no_gradient_of_the_second_input,
    ],
)
def test_a_wrong_gradient_is_found(broken):
    x, variables = normal(5, B, D), layer_with().trainable_variables

    def layer(x, state):
        projected = tf.tensordot(x, variables[0], 1) + variables[2]
        y, cell = broken(projected, tf.convert_to_tensor(variables[1]), state["h"], state["c"])
        return y, {"h": y[-1], "c": cell}

    layer.trainable_variables = variables
    values, slopes = gradients(layer, x, STATE)
    keras_values, keras_slopes = gradients(keras_layer(), x, STATE)
    assert close(values, keras_values)
    assert not close(slopes, keras_slopes)


def test_a_wrong_forward_pass_is_found():
    x = normal(5, B, D)
    swapped = [WEIGHTS[0], WEIGHTS[1], tf.roll(WEIGHTS[2], H, 0)]
    assert not close(gradients(layer_with(swapped), x, STATE)[0], gradients(keras_layer(), x, STATE)[0])


def in_float64(projected, recurrent_kernel, h, c):
    """The equations of the LSTM, step by step, in plain numpy."""
    outputs = []
    for gates in projected:
        i, f, g, o = np.split(gates + h @ recurrent_kernel, 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


def differences(arguments, pull):
    """The gradient by central differences in float64, one value at a time."""

    def total():
        outputs, cell = in_float64(*arguments)
        return np.sum(outputs * pull[0]) + np.sum(cell * pull[1])

    slopes = []
    for argument in arguments:
        slope = np.empty_like(argument)
        for place in np.ndindex(*argument.shape):
            kept = argument[place]
            argument[place] = kept + 1e-5
            above = total()
            argument[place] = kept - 1e-5
            slope[place] = (above - total()) / 2e-5
            argument[place] = kept
        slopes.append(slope)
    return slopes


def test_the_kernel_equals_finite_differences():
    time = 4
    tensors = [normal(time, B, 4 * H), WEIGHTS[1], STATE["h"], STATE["c"]]
    pull = [RANDOM.normal(size=[time, B, H]), RANDOM.normal(size=[B, H])]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        outputs, cell = recurrence.lstm(*tensors)
        total = tf.reduce_sum(outputs * tf.constant(pull[0], tf.float32))
        total += tf.reduce_sum(cell * tf.constant(pull[1], tf.float32))
    arguments = [tensor.numpy().astype(np.float64) for tensor in tensors]
    assert close([outputs, cell], in_float64(*arguments), 1e-6)
    slopes = tape.gradient(total, tensors)
    assert close(slopes, differences(arguments, pull), 1e-6)
    pull[1] = pull[1] * 1.001
    assert not close(slopes, differences(arguments, pull), 1e-6)  # the comparison is that sharp


@pytest.mark.parametrize(("first", "second"), [(8, 13), (1, 20), (CHUNK, CHUNK + 1)])
def test_two_runs_with_carried_state_equal_one(first, second):
    x, layer = normal(first + second, B, D), layer_with()
    whole, after = layer(x, STATE)
    y1, between = layer(x[:first], STATE)
    y2, last = layer(x[first:], between)
    assert close([y1, y2, last["h"], last["c"]], [whole[:first], whole[first:], after["h"], after["c"]], 1e-6)
    for name in ("h", "c"):  # a state that is dropped is found, and so is half of one
        forgotten, _ = layer(x[first:], between | {name: tf.zeros([B, H])})
        assert not close([forgotten], [whole[first:]], 1e-3)


def test_gradients_flow_through_the_carried_state():
    x, layer = normal(13, B, D), layer_with()

    def in_two(x, state):
        y1, between = layer(x[:6], state)
        y2, after = layer(x[6:], between)
        return tf.concat([y1, y2], 0), after

    in_two.trainable_variables = layer.trainable_variables
    assert close(gradients(in_two, x, STATE)[1], gradients(layer, x, STATE)[1])


def test_time_comes_first_and_rows_do_not_mix():
    x, layer = normal(13, B, D), layer_with()
    whole, after = layer(x, STATE)
    assert whole.shape == (13, B, H)
    for row in range(B):
        state = {name: value[row : row + 1] for name, value in STATE.items()}
        alone, state = layer(x[:, row : row + 1], state)
        assert close([alone[:, 0], state["c"][0]], [whole[:, row], after["c"][row]], 1e-6)
        assert not close([alone[:, 0]], [whole[:, (row + 1) % B]], 1e-2)
    # Read as batch-major, the same numbers give something else.
    square = x[:B]
    turned, _ = layer(tf.transpose(square, [1, 0, 2]), STATE)
    assert not close([tf.transpose(turned, [1, 0, 2])], [whole[:B]], 1e-2)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_keeps_a_float32_state(policy):
    x, layer = normal(13, B, D), layer_with(dtype=policy)
    half = tf.bfloat16 if policy == "mixed_bfloat16" else tf.float16
    values, slopes = gradients(with_float32_outputs(layer), x, STATE)
    exact_values, exact_slopes = gradients(layer_with(), x, STATE)
    y, after = layer(x, STATE)
    assert y.dtype == half
    assert {value.dtype for value in after.values()} == {tf.float32}
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    assert {slope.dtype for slope in slopes} == {tf.float32}
    # The products are rounded, the state is not: it needs more bits than the compute dtype has.
    assert close(values, exact_values, 0.03)
    assert close(slopes, exact_slopes, 0.05)
    assert not close(values, exact_values, 1e-5)
    for value in after.values():
        assert np.mean(tf.cast(tf.cast(value, half), tf.float32) == value) < 0.2


def with_float32_outputs(layer):
    """The layer with outputs in float32, for `gradients`."""

    def run(x, state):
        y, after = layer(x, state)
        return tf.cast(y, tf.float32), after

    run.trainable_variables = layer.trainable_variables
    return run


def test_a_state_that_comes_in_is_not_rounded():
    """Two cell states nearer to each other than bfloat16 can tell."""
    x = normal(1, B, D)
    near = {"h": STATE["h"], "c": STATE["c"] * (1 + 2.0**-12)}
    layer = layer_with(dtype="mixed_bfloat16")
    assert np.all(layer(x, STATE)[1]["c"] != layer(x, near)[1]["c"])
    # Keras's own layer, whose call casts every argument, takes them for the same.
    rounding = keras.layers.LSTM(H, return_state=True, dtype="mixed_bfloat16")
    states = [[tf.transpose(x, [1, 0, 2]), [state["h"], state["c"]]] for state in (STATE, near)]
    first, second = (rounding(inputs, initial_state=state)[2] for inputs, state in states)
    assert np.mean(first == second) > 0.5


def test_one_layer_takes_batches_and_times_of_any_size():
    layer, reference = layer_with(), keras_layer()
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([9, None, D]), tf.TensorSpec([None, H])])
    def open_batch(x, state):
        traces.append(x.shape)
        y, after = layer(x, {"h": state, "c": -state})
        assert (y.shape[0], y.shape[2]) == (9, H)
        return y, after["c"]

    for time, batch in [(9, 2), (4, 11), (9, 13), (17, 1)]:
        x, state = normal(time, batch, D), normal(batch, H)
        y, after = reference(x, {"h": state, "c": -state})
        ours, own = layer(x, {"h": state, "c": -state})
        assert close([ours, own["h"], own["c"]], [y, after["h"], after["c"]])
        if time == 9:
            assert close(open_batch(x, state), [y, after["c"]])
    assert len(traces) == 1


def test_the_initial_state_is_zero():
    state = layer_with().initial_state(13)
    assert {name: (value.shape, value.dtype) for name, value in state.items()} == dict.fromkeys(
        ("h", "c"), ((13, H), tf.float32)
    )
    assert not any(np.any(value) for value in state.values())


@pytest.mark.parametrize("forget_bias", [1.0, 0.0, 2.5])
def test_the_forget_bias_is_the_bias_of_the_second_gate(forget_bias):
    layer = LSTM(H, forget_bias)
    layer.build((None, None, D))
    assert layer.bias.numpy().tolist() == [0.0] * H + [forget_bias] * H + [0.0] * 2 * H
    # At zero weights a cell keeps sigmoid(forget bias) of itself.
    layer.set_weights([np.zeros([D, 4 * H]), np.zeros([H, 4 * H]), layer.bias.numpy()])
    _, after = layer(normal(1, B, D), STATE)
    assert close([after["c"]], [STATE["c"] * tf.sigmoid(forget_bias)], 1e-6)


def test_matrices_are_drawn_as_in_keras_or_uniformly():
    def built(scale, seed=0):
        keras.utils.set_random_seed(seed)
        layer = LSTM(32, init_scale=scale)
        layer.build((None, None, 24))
        return [weight.numpy() for weight in (layer.kernel, layer.recurrent_kernel)]

    def is_uniform(matrix, scale):
        inside = np.abs(matrix).max() <= scale and np.abs(matrix).max() > 0.98 * scale
        return bool(inside and abs(matrix.std() * np.sqrt(3) / scale - 1) < 0.05)

    def is_orthogonal(matrix):
        return np.allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-5)

    kernel, recurrent_kernel = built(None)
    assert is_uniform(kernel, np.sqrt(6 / (24 + 4 * 32)))
    assert is_orthogonal(recurrent_kernel)
    assert not is_uniform(recurrent_kernel, 0.04)
    scaled = built(0.04)
    assert all(is_uniform(matrix, 0.04) for matrix in scaled)
    assert not any(is_orthogonal(matrix) for matrix in scaled)
    # Two matrices, two draws; the same seed, the same draw.
    assert not np.any(scaled[0][:24] == scaled[1][:24])
    np.testing.assert_array_equal(scaled[0], built(0.04)[0])
    assert np.all(scaled[0] != built(0.04, seed=1)[0])


def test_a_layer_is_rebuilt_from_its_configuration():
    layer = LSTM(H, 0.5, 0.07, dtype="mixed_bfloat16", name="third")
    again = LSTM.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert (again.units, again.forget_bias, again.init_scale) == (H, 0.5, 0.07)
    assert (again.compute_dtype, again.name) == ("bfloat16", "third")


def test_gradients_are_what_finite_differences_say_in_float64():
    """The gradient of `recurrence.lstm` by its definition: (f(x + e) - f(x - e)) / 2e, along random
    directions.
    """
    random = np.random.default_rng(8)
    shapes = [(20, B, 4 * H), (H, 4 * H), (B, H), (B, H)]
    at = [tf.constant(random.normal(0, 0.5, shape)) for shape in shapes]
    pull = [random.normal(size=shape) for shape in [(20, B, H), (B, H)]]

    def objective(values):
        outputs, cell = recurrence.lstm(*values)
        return tf.reduce_sum(outputs * pull[0]) + tf.reduce_sum(cell * pull[1])

    with tf.GradientTape() as tape:
        tape.watch(at)
        total = objective(at)
    gradients = tape.gradient(total, at)
    for place, shape in enumerate(shapes):
        direction = random.normal(size=shape)
        moved = [[v + e * direction if k == place else v for k, v in enumerate(at)] for e in (1e-6, -1e-6)]
        expected = (objective(moved[0]) - objective(moved[1])) / 2e-6
        found = tf.reduce_sum(gradients[place] * direction)
        assert abs(found / expected - 1) < 1e-7


def operations_at(time, layer):
    """How many operations a traced gradient has at a length."""

    @tf.function(input_signature=[tf.TensorSpec([time, B, D])], autograph=False)
    def slope(x):
        with tf.GradientTape() as tape:
            outputs, _ = layer(x, layer.initial_state(B))
            total = tf.reduce_sum(outputs)
        return tape.gradient(total, [v.value for v in layer.trainable_variables])

    began = clock.perf_counter()
    graph = slope.get_concrete_function().graph
    slope(tf.zeros([time, B, D]))
    seconds = clock.perf_counter() - began
    inside = sum(len(f.graph.get_operations()) for f in graph._functions.values() if hasattr(f, "graph"))
    return len(graph.get_operations()) + inside, seconds


def test_a_long_row_compiles_as_fast_as_a_short_one(monkeypatch):
    layer = layer_with()
    (short, _), (long, seconds) = operations_at(4 * CHUNK, layer), operations_at(512, layer)
    assert long < 1.1 * short
    assert seconds < 10
    # The control: everything unrolled.
    monkeypatch.setattr(recurrence, "STEPS_PER_CHUNK", 10**6)
    assert operations_at(8 * CHUNK, layer)[0] > 1.8 * operations_at(4 * CHUNK, layer)[0]


@pytest.mark.parametrize("time", [1, 5, CHUNK, 40])
def test_a_length_that_is_not_known_when_traced(time):
    layer = layer_with()

    @tf.function(input_signature=[tf.TensorSpec([None, B, D])], autograph=False)
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs, state = layer(x, STATE)
            total = tf.reduce_sum(outputs * outputs) + tf.reduce_sum(state["c"])
        return [
            outputs,
            state["h"],
            state["c"],
            *tape.gradient(total, [x, *(v.value for v in layer.trainable_variables)]),
        ]

    x = normal(time, B, D)
    for found, expected in zip(slope(x), slope.python_function(x), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def in_two(layer, x, state, at, **settings):
    """Run a layer over two parts of the time, the second from a state of zeros."""
    first, _ = layer(x[:at], state, **settings)
    zeros = {name: tf.zeros_like(value) for name, value in state.items()}
    second, after = layer(x[at:], zeros, **settings)
    return tf.concat([first, second], 0), after


@pytest.mark.parametrize("time", [5, CHUNK + 3])
@pytest.mark.parametrize("compiled", [False, True])
def test_a_state_that_begins_anew_within_a_row_is_that_of_two_rows(time, compiled):
    layer, x, at = layer_with(), normal(time, B, D), 3
    keep = tf.concat([tf.ones([at, B]), tf.zeros([1, B]), tf.ones([time - at - 1, B])], 0)

    @tf.function(autograph=False)
    def whole(x, state):
        if not compiled:
            return layer(x, state, keep=keep)
        rows = tf.transpose(x, [1, 0, 2])
        y, after = layer.compiled(rows, state, layer.recurrent_matrix(None, False), tf.transpose(keep))
        return tf.transpose(y, [1, 0, 2]), after

    found = gradients(whole_of(layer, whole), x, STATE)
    expected = gradients(whole_of(layer, lambda x, state: in_two(layer, x, state, at)), x, STATE)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), found, expected)
    other = gradients(layer, x, STATE)  # The check can fail.
    assert not np.allclose(found[0][0], other[0][0], 1e-4, 1e-5)


def whole_of(layer, run):
    """Return a function with the weights of a layer, for `gradients`."""
    run_layer = lambda x, state: run(x, state)  # noqa: E731
    run_layer.trainable_variables = layer.trainable_variables
    return run_layer
