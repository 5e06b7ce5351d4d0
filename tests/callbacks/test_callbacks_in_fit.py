"""Every callback of the package in plain `compile` and `fit`."""

import io
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import callbacks, schedules
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.errors import InputError
from lm_keras.layers import ScheduledDropout, TokenNoise
from lm_keras.models.lstm import LSTMLanguageModel
from lm_keras.text import CharTokenizer

TOKENIZER = CharTokenizer("abcdefghijk\n", "none")
V, T, ROWS, BATCH, PER_EPOCH = TOKENIZER.vocab_size, 5, 51, 17, 3


def batches(seed=0):
    """Rows in which each token decides the next one."""
    tokens = (np.random.default_rng(seed).integers(0, V, [ROWS, 1]) + 3 * np.arange(T + 1)) % V
    return tokens[:, :-1], tokens[:, 1:]


def compiled(model, learning_rate=0.02):
    model.compile(
        keras.optimizers.Adam(learning_rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def small(*layers, learning_rate=0.02):
    """Embedding, what is given, and the output."""
    return compiled(
        keras.Sequential([keras.layers.Embedding(V, 7), *layers, keras.layers.Dense(V)]), learning_rate
    )


def fit(model, listed, epochs=3):
    x, y = batches()
    validation = batches(1)
    return model.fit(
        x, y, batch_size=BATCH, epochs=epochs, validation_data=validation, callbacks=listed, verbose=0
    )


class Seen(keras.callbacks.Callback):
    """Writes down what `look` returns before each batch is computed."""

    def __init__(self, look):
        super().__init__()
        self.look, self.values = look, []

    def on_train_batch_begin(self, batch, logs=None):
        self.values.append(self.look(self.model))


def rate_of(model):
    return float(model.optimizer.learning_rate)


def test_learning_rate_schedule():
    curve = schedules.build("cosine:final=0.1", 12, warmup_steps=2)
    model, seen = small(), Seen(rate_of)
    listed = [callbacks.LearningRateSchedule(0.5, curve), seen]
    fit(model, listed, epochs=3)
    fit(model, listed, epochs=1)  # goes on where the optimizer is
    np.testing.assert_allclose(seen.values, [0.5 * curve(step) for step in range(12)], rtol=1e-6)
    assert len(set(seen.values)) > 9


class Share(keras.layers.Layer):
    """Writes down the share of zeros that comes in while training."""

    def build(self, shape):
        self.share = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def call(self, x, training=False):
        if training:
            self.share.assign(tf.reduce_mean(tf.cast(x == 0, tf.float32)))
        return x


@pytest.mark.parametrize("schedule", ["linear:initial=0,final=1", "constant"])
def test_dropout_schedule_changes_what_is_dropped(schedule):
    curve, share, dropout = schedules.build(schedule, 9), Share(), ScheduledDropout(0.6)
    ends = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: shares.append(float(share.share))
    )
    shares = []
    within = keras.Sequential([dropout])  # layers within layers are found
    fit(small(within, share), [callbacks.DropoutSchedule(0.6, curve), ends])
    np.testing.assert_allclose(shares, [0.6 * curve(step) for step in range(9)], atol=0.09)
    assert (shares[0] == 0) == (schedule != "constant")
    assert float(dropout.rate) == pytest.approx(0.6 * curve(8))


def test_dropout_schedule_without_a_layer_to_change():
    callback = callbacks.DropoutSchedule(0.3, schedules.build("constant", 3))
    with pytest.raises(InputError) as caught:
        fit(small(keras.layers.Dropout(0.3)), [callback])
    assert (
        str(caught.value)
        == "a dropout schedule needs lm_keras.layers.ScheduledDropout layers, and the model has none; "
        "keras.layers.Dropout keeps the rate with which it was compiled"
    )


def test_noise_schedule_changes_what_is_replaced():
    """By token 0, which is one of V in the text too; its embedding is 0 and stays so."""
    curve, share, shares = schedules.build("linear:initial=0,final=1", 9), Share(), []
    table = keras.layers.Embedding(V, 7, embeddings_initializer="ones", trainable=False)
    noise = TokenNoise(0.6, np.arange(V) == 0, seed=5)
    model = compiled(
        keras.Sequential([keras.Input([T], dtype="int32"), noise, table, share, keras.layers.Dense(V)])
    )
    table.embeddings.assign(tf.cast(tf.range(V)[:, None] > 0, tf.float32) * tf.ones([V, 7]))
    ends = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: shares.append(float(share.share))
    )
    fit(model, [callbacks.TokenNoiseSchedule(0.6, curve), ends])
    wanted = np.array([0.6 * curve(step) for step in range(9)])
    np.testing.assert_allclose(shares, wanted + (1 - wanted) / V, atol=0.15)  # 85 tokens each
    assert np.abs(shares - wanted - (1 - wanted) / V).mean() < 0.06
    with pytest.raises(InputError) as caught:
        fit(small(ScheduledDropout(0.3)), [callbacks.TokenNoiseSchedule(0.6, curve)])
    assert (
        str(caught.value)
        == "a noise schedule needs a lm_keras.layers.TokenNoise layer, and the model has none; "
        "put one before the embedding"
    )


def test_keras_dropout_is_why():
    """The control: a rate that is assigned to Keras's layer while it trains changes nothing."""
    share, dropout = Share(), keras.layers.Dropout(0.5)
    shares = []

    def change(batch, logs):
        shares.append(float(share.share))
        dropout.rate = 0.0

    fit(small(dropout, share), [keras.callbacks.LambdaCallback(on_train_batch_end=change)])
    np.testing.assert_allclose(shares, 0.5, atol=0.09)


def test_a_dropout_rate_of_one_is_refused():
    callback = callbacks.DropoutSchedule(0.6, lambda step: 2.0)
    with pytest.raises(
        InputError, match=r"reaches 1\.2 at step 0 or soon after; .* must stay between 0 and 1"
    ):
        fit(small(ScheduledDropout(0.6)), [callback])


def test_plateau_decay():
    """A bar of 99 nats that no epoch clears but the first; a floor of a tenth."""
    plateau = schedules.Plateau(factor=0.4, patience=0, min_delta=99.0, floor=0.1)
    model, seen = small(learning_rate=0.5), Seen(rate_of)
    fit(model, [callbacks.PlateauDecay(plateau, 0.5), seen], epochs=5)
    np.testing.assert_allclose(seen.values[::PER_EPOCH], [0.5, 0.5, 0.2, 0.08, 0.05], rtol=1e-6)


@pytest.mark.parametrize(("patience", "calls"), [(0, [0.1, 0.1, 0.05, 0.025]), (2, [0.1, 0.1, 0.1, 0.1])])
def test_patience_of_plateau_decay(patience, calls):
    callback = callbacks.PlateauDecay(schedules.Plateau(factor=0.5, patience=patience), 0.1)
    callback.set_model(types.SimpleNamespace(optimizer=keras.optimizers.SGD(0.1)))
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.5):
        callback.on_test_end({"loss": loss})
        rates.append(rate_of(callback.model))
    assert rates == pytest.approx(calls)


def test_early_stopping():
    history = fit(small(learning_rate=0.0), [callbacks.EarlyStopping(2)], epochs=6)
    assert len(history.epoch) == 3


def test_another_measure_can_decide_what_is_better(tmp_path):
    """One that is better when it is higher; of the loss the last evaluation would be the best, and none would
    stop.
    """
    found = [(4.0, 0.2), (3.0, 0.5), (2.0, 0.4), (1.0, 0.3)]
    stopping, plain = callbacks.EarlyStopping(2, ("accuracy", "high")), callbacks.EarlyStopping(2)
    checkpoints = Checkpoints(tmp_path, keep=9)
    model = small()
    saving = callbacks.Checkpoint(checkpoints, 1, lambda: {"model": model.variables}, by=("accuracy", "high"))
    for callback in (stopping, plain, saving):
        callback.set_model(model)
        callback.set_params({"own_loop": True})
    stopped = []
    for step, (loss, accuracy) in enumerate(found, 1):
        model.stop_training, logs = False, {"step": step, "loss": loss, "accuracy": accuracy}
        stopping.on_test_end(logs)
        stopped.append(model.stop_training)
        model.stop_training = False
        for callback in (plain, saving):
            callback.on_test_end(logs)
        assert not model.stop_training
        saving.on_train_batch_end(0, logs)
    assert stopped == [False, False, False, True]
    assert checkpoints.best() == 2


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A language model after four epochs of `fit` with all callbacks that write something."""
    folder = tmp_path_factory.mktemp("fitted")
    keras.utils.set_random_seed(3)
    model = compiled(LSTMLanguageModel(V, embedding_dim=7, hidden_units=13, dropout=0.2))
    stream, samples, weights, checkpoints = io.StringIO(), [], {}, Checkpoints(folder / "checkpoints", keep=2)
    listed = [
        callbacks.LearningRateSchedule(0.05, schedules.build("linear", 12)),
        callbacks.DropoutSchedule(0.2, schedules.build("linear", 12)),
        callbacks.MetricsFile(folder / "metrics.jsonl", every=2),
        callbacks.TensorBoard(folder / "events", every=2, flags="--steps=12\n"),
        callbacks.TextSamples(TOKENIZER, ["ab", ""], 2, lambda step, texts: samples.append((step, texts))),
        callbacks.Progress(12, stream, plain_seconds=0.0),
        callbacks.Checkpoint(checkpoints, every=2),
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: weights.update({3 * epoch + 3: model.get_weights()})
        ),
    ]
    history = fit(model, listed, epochs=4).history
    return types.SimpleNamespace(
        folder=folder, model=model, history=history, stream=stream, samples=samples, weights=weights,
        checkpoints=checkpoints,
    )  # fmt: skip


def test_it_learns(fitted):
    assert fitted.history["val_loss"][-1] < fitted.history["val_loss"][0] - 0.3


def test_metrics_file(fitted, lines_of):
    lines = lines_of(fitted.folder / "metrics.jsonl")
    training = [line for line in lines if "split" not in line]
    evaluations = [line for line in lines if "split" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 8, 10, 12]
    assert set(training[0]) == {"step", "loss", "accuracy"}
    assert [line["step"] for line in evaluations] == [3, 6, 9, 12]
    assert [line["loss"] for line in evaluations] == pytest.approx(fitted.history["val_loss"])
    assert training[2]["loss"] == pytest.approx(
        fitted.history["loss"][1]
    )  # Keras's logs are means of an epoch
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps)


def test_tensorboard(fitted, scalars_of):
    train, valid = (
        scalars_of(fitted.folder / "events" / "train"),
        scalars_of(fitted.folder / "events" / "valid"),
    )
    assert set(train) == {"loss", "accuracy", "learning_rate"}
    assert [step for step, _ in train["loss"]] == [2, 4, 6, 8, 10, 12]
    rates = [value for _, value in train["learning_rate"]]
    assert rates == pytest.approx([0.05 * (1 - (step - 1) / 12) for step in range(2, 13, 2)])
    assert [step for step, _ in valid["loss"]] == [3, 6, 9, 12]
    assert [value for _, value in valid["loss"]] == pytest.approx(fitted.history["val_loss"])


def test_text_samples(fitted):
    assert [step for step, _ in fitted.samples] == [3, 6, 9, 12]
    for _, texts in fitted.samples:
        assert list(texts) == ["ab", ""]
        assert all(set(text) <= set("abcdefghijk\n") for text in texts.values())
    assert (
        len({texts["ab"] for _, texts in fitted.samples}) > 1
    )  # the model changes, the random numbers do not


def test_progress(fitted):
    lines = fitted.stream.getvalue().splitlines()
    assert lines[0].startswith("step 1/12  loss 2.")
    assert sum(line.startswith("step ") for line in lines) == 12
    valid = [line for line in lines if line.startswith("valid at step ")]
    assert [line.split(":")[0] for line in valid] == [f"valid at step {step}" for step in (3, 6, 9, 12)]
    assert f"loss {fitted.history['val_loss'][3]:.4f}" in valid[3]


def test_checkpoint_keeps_the_last_and_the_best(fitted):
    losses, checkpoints = fitted.history["val_loss"], fitted.checkpoints
    best = 3 * int(np.argmin(losses)) + 3
    assert checkpoints.newest() == 12
    assert checkpoints.best() == best
    assert checkpoints.steps() == sorted({9, 12, best})
    for step in checkpoints.steps():
        model = LSTMLanguageModel(V, embedding_dim=7, hidden_units=13, dropout=0.2)
        checkpoints.restore(step, {"model": model.variables}, everything=False)
        for weight, saved in zip(model.get_weights(), fitted.weights[step], strict=True):
            np.testing.assert_array_equal(weight, saved)


def test_checkpoint_keeps_the_slots(fitted):
    variables = fitted.model.optimizer.variables
    before = [variable.numpy() for variable in variables]
    for variable in variables:
        variable.assign(variable * 0)
    fitted.checkpoints.restore(12, {"model": fitted.model.variables, "optimizer": variables})
    assert int(before[0]) == 12
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


def test_what_is_not_finite_is_null(tmp_path, lines_of, scalars_of):
    model = small(learning_rate=0.0)
    model.build((None, T))
    model.layers[-1].bias.assign(np.full(V, np.nan))
    metrics = callbacks.MetricsFile(tmp_path / "metrics.jsonl", every=3)
    stopping, checkpoints = callbacks.EarlyStopping(2), Checkpoints(tmp_path / "checkpoints")
    written = callbacks.TensorBoard(tmp_path / "events", every=3)
    history = fit(model, [metrics, written, stopping], epochs=4)
    assert np.isnan(history.history["loss"]).all()
    assert [line["loss"] for line in lines_of(tmp_path / "metrics.jsonl")] == [None] * 4
    assert "loss" not in scalars_of(tmp_path / "events" / "train")
    assert len(history.epoch) == 2  # no finite loss is no improvement
    with pytest.raises(InputError, match="not finite at step 9, which is not saved"):
        fit(model, [callbacks.Checkpoint(checkpoints, every=1)], epochs=1)
    assert checkpoints.steps() == []


def test_losses_in_bfloat16_are_written(tmp_path, lines_of):
    """With that floatx Keras's logs have tensors, which JSON lacks."""
    stopping, checkpoints = callbacks.EarlyStopping(2), Checkpoints(tmp_path / "checkpoints")
    listed = [
        callbacks.MetricsFile(tmp_path / "metrics.jsonl", every=1), stopping,
        callbacks.Checkpoint(checkpoints, every=1),
    ]  # fmt: skip
    keras.config.set_floatx("bfloat16")
    try:
        fit(eager(small()), listed, epochs=1)
    finally:
        keras.config.set_floatx("float32")
    losses = [line["loss"] for line in lines_of(tmp_path / "metrics.jsonl")]
    assert all(isinstance(loss, float) for loss in [*losses, stopping.state()["best"]])
    assert checkpoints.steps() == [PER_EPOCH]


# Several fits, one after the other


def eager(model):
    model.run_eagerly = True  # Traced, these few steps would take longer.
    return model


def test_early_stopping_begins_anew_with_each_fit():
    stopping = callbacks.EarlyStopping(2)
    for _ in range(2):
        assert len(fit(eager(small(learning_rate=0.0)), [stopping], epochs=6).epoch) == 3


def test_plateau_decay_begins_anew_with_each_fit():
    plateau = callbacks.PlateauDecay(schedules.Plateau(factor=0.4, patience=1, min_delta=99.0), 0.5)
    for _ in range(2):
        seen = Seen(rate_of)
        fit(eager(small(learning_rate=0.5)), [plateau, seen], epochs=4)
        np.testing.assert_allclose(seen.values[::PER_EPOCH], [0.5, 0.5, 0.5, 0.2], rtol=1e-6)


def language_model(seed):
    keras.utils.set_random_seed(seed)
    return eager(compiled(LSTMLanguageModel(V, embedding_dim=7, hidden_units=5, init_scale=2.0), 0.0))


def names_in_place_of_texts(monkeypatch):
    """Let a sampler return its model's number, which takes no time."""

    def answer_for(task, model, tokenizer):
        return types.SimpleNamespace(generate=lambda prompts, **settings: [model.name] * len(prompts))

    monkeypatch.setattr(callbacks.samples, "answer_for", answer_for)


def test_samples_are_of_the_model_that_is_trained(monkeypatch):
    names_in_place_of_texts(monkeypatch)
    first, second, samples = language_model(1), language_model(2), []
    listed = [callbacks.TextSamples(TOKENIZER, ["ab"], 1, lambda step, texts: samples.append(texts["ab"]))]
    for model in (first, second, first):
        fit(model, listed, epochs=1)
    assert samples == [first.name, second.name, first.name] and first.name != second.name


def test_checkpoints_of_another_model_take_the_place_of_those_before(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    saving = callbacks.Checkpoint(checkpoints, every=1)
    models = [language_model(1), language_model(2)]
    for model in models:
        fit(model, [saving], epochs=3)
        assert checkpoints.steps() == [3, 6, 9]
        again = language_model(3)
        checkpoints.restore(checkpoints.newest(), {"model": again.variables}, everything=False)
        for weight, saved in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, saved)
    fit(models[1], [saving], epochs=1)  # goes on: those before are of the same course
    assert checkpoints.steps()[-2:] == [9, 12]
    model = language_model(4)
    model.layers[0].embeddings.assign(np.full([V, 7], np.nan))
    with pytest.raises(InputError, match="not finite"):
        fit(model, [saving], epochs=1)
    assert checkpoints.steps()[-2:] == [9, 12]  # nothing was written that could replace them


def test_a_profile_that_was_interrupted(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: calls.append("start"))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: calls.append("stop"))
    said = []
    profile = callbacks.Profile(tmp_path, 2, 5, said.append)

    def interrupt(batch, logs):
        if batch == 2 and len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(eager(small()), [profile, keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)])
    fit(eager(small()), [profile])
    assert calls == ["start", "stop", "start", "stop"] and not said
    model = eager(small())
    fit(model, [profile])
    fit(model, [profile], epochs=1)
    assert said == ["no profile: steps 2 to 5 were not among those done now"]


@pytest.mark.parametrize("kind", ["LearningRateSchedule", "PlateauDecay"])
def test_a_schedule_of_the_optimizers_own_is_refused(kind):
    callback = {
        "LearningRateSchedule": lambda: callbacks.LearningRateSchedule(0.1, schedules.build("linear", 9)),
        "PlateauDecay": lambda: callbacks.PlateauDecay(schedules.Plateau(), 0.1),
    }[kind]()
    model = small(learning_rate=keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.9))
    with pytest.raises(InputError) as caught:
        fit(eager(model), [callback])
    assert (
        str(caught.value)
        == f"{kind} sets the learning rate, and the optimizer has a schedule of its own; compile the model"
        " with a number as learning_rate"
    )


def test_every_callback_in_everything_that_takes_callbacks(tmp_path, monkeypatch):
    """Two models, fitted twice each from another epoch on, evaluated and asked for predictions."""
    names_in_place_of_texts(monkeypatch)
    stream, checkpoints, shown = io.StringIO(), Checkpoints(tmp_path / "checkpoints"), []
    noise = keras.Sequential([keras.Input([T], dtype="int32"), TokenNoise(0.1, np.ones(V), seed=1)])
    board = callbacks.TensorBoard(tmp_path / "events", every=2, flags="--steps=12\n")
    listed = [
        callbacks.LearningRateSchedule(0.05, schedules.build("linear", 12)),
        callbacks.PlateauDecay(schedules.Plateau(patience=3), 0.05),
        callbacks.EarlyStopping(9),
        callbacks.MetricsFile(tmp_path / "metrics.jsonl", every=2),
        board,
        callbacks.Histograms(2, board.histograms),
        callbacks.Progress(12, stream, plain_seconds=0.0),
        callbacks.Projector(tmp_path / "projector", TOKENIZER, np.arange(V), 2),
        callbacks.Checkpoint(checkpoints, every=2),
    ]
    of_networks = callbacks.TextSamples(TOKENIZER, ["ab"], 2, lambda step, texts: shown.append(step))
    of_rates = [
        callbacks.DropoutSchedule(0.2, schedules.build("linear", 12)),
        callbacks.TokenNoiseSchedule(0.1, schedules.build("linear", 12)),
    ]
    plain = eager(compiled(keras.Sequential([noise, *small(ScheduledDropout(0.2)).layers])))
    x, y = batches()
    for model, own in ((language_model(1), [of_networks]), (plain, of_rates)):
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).repeat()
        for first in (0, 2):
            history = model.fit(
                data, initial_epoch=first, epochs=first + 2, steps_per_epoch=3, validation_data=(x, y),
                callbacks=[*listed, *own], verbose=0,
            )  # fmt: skip
            assert history.epoch == [first, first + 1]
        model.evaluate(x, y, callbacks=[*listed, *own], verbose=0)
        model.predict(x, callbacks=[*listed, *own], verbose=0)
        assert int(model.optimizer.iterations) == 12
        assert checkpoints.newest() == 12
    assert shown == [3, 6, 9, 12]
    assert "step 12/12" in stream.getvalue()
