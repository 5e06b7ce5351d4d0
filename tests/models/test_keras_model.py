"""The networks as Keras models: all that Keras's guides do with a model, see docs/reference/keras.md.

V 13, rows 5, time 6.
"""

import copy
import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import slow

from lm_keras import optimizers
from lm_keras.callbacks import Checkpoint
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.errors import InputError
from lm_keras.layers import LSTM, ScheduledDropout, TokenNoise, recurrence, recurrent
from lm_keras.layers.transformer import BlockSettings, TransformerBlock
from lm_keras.models.bert import BERTLanguageModel
from lm_keras.models.glm import GLMLanguageModel
from lm_keras.models.gpt import GPTLanguageModel
from lm_keras.models.lstm import LSTMLanguageModel
from lm_keras.models.ngram import NGramLanguageModel
from lm_keras.models.saving import SavableModel

V, B, T = 13, 5, 6
TOKENS = np.random.default_rng(3).integers(0, V, [B, T]).astype("int32")
SAVED = Path(__file__).parent / "saved"


def block(dropout, **settings):
    return BlockSettings(8, 2, settings.pop("kv", 2), 11, dropout=dropout, **settings)


def build(family, dropout=0.0, **given):
    keras.utils.set_random_seed(5)
    given = {"name": "network", **given}
    if family == "ngram":
        return NGramLanguageModel(V, 3, 8, 10, 1, dropout, direct_connections=True, **given)
    if family == "lstm":
        return LSTMLanguageModel(V, 8, 10, 2, dropout, weight_drop=dropout, tie_embeddings=True, **given)
    if family == "gpt":
        rotary = {"norm": "rms", "activation": "swiglu", "biases": False, "kv": 1}
        return GPTLanguageModel(V, 2, T, block(dropout, **rotary), positions="rotary", **given)
    if family == "bert":
        return BERTLanguageModel(V, 1, T, block(dropout, activation="gelu_erf", post_norm=True), **given)
    return GLMLanguageModel(V, 1, T, block(dropout), **given)


FAMILIES = ("ngram", "lstm", "gpt", "bert", "glm")
every_family = pytest.mark.parametrize("family", FAMILIES)


def compiled(model, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(**{"optimizer": optimizers.Adam(0.01), "loss": loss, "run_eagerly": True, **settings})
    return model


def equal(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


# Saving


@every_family
def test_saved_and_loaded(family, tmp_path):
    """Weights, slots, number format, dropout and what is frozen; no `custom_objects`."""
    model = compiled(build(family, dropout=0.2, dtype="mixed_bfloat16"))
    model.layers[1].trainable = False
    model.fit(TOKENS, TOKENS, verbose=0)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert type(again) is type(model)
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(TOKENS), model(TOKENS))
    assert [v.path for v in again.trainable_variables] == [v.path for v in model.trainable_variables]
    assert not again.layers[1].trainable and again.layers[0].trainable
    for ours, theirs in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    again.fit(TOKENS, TOKENS, verbose=0)
    assert np.abs(again(TOKENS, training=True) - again(TOKENS)).max() > 0  # dropout is there


@every_family
def test_files_of_before_are_read(family):
    """The files in `saved` were written when the names were registered; whoever renames something has to go
    on reading them.
    """
    model = keras.saving.load_model(SAVED / f"{family}.keras")
    expected = json.loads((SAVED / "logits.json").read_text())[family]
    np.testing.assert_allclose(model(TOKENS[:2, :3]), expected, atol=1e-5)
    with zipfile.ZipFile(SAVED / f"{family}.keras") as file:
        names = json.loads(file.read("config.json"))
    assert names["registered_name"] == f"lm_keras>{type(model).__name__}"


def test_registered_names():
    kinds = (
        LSTM,
        ScheduledDropout,
        TokenNoise,
        TransformerBlock,
        optimizers.SGD,
        optimizers.Adam,
        optimizers.AdamW,
    )
    names = [keras.saving.get_registered_name(kind) for kind in kinds]
    assert names == [f"lm_keras>{name}" for name in ("LSTM", "ScheduledDropout", "TokenNoise",
        "TransformerBlock", "SGD", "Adam", "AdamW")]  # fmt: skip
    layers = [
        LSTM(3, weight_drop=0.1, index=2),
        ScheduledDropout(0.3, index=2, seed=1),
        TokenNoise(0.3, [0.0, 1.0]),
        build("gpt").blocks[1],
        build("gpt").embedding,
    ]
    for layer in layers:
        content = keras.saving.serialize_keras_object(layer)
        again = keras.saving.deserialize_keras_object(json.loads(json.dumps(content)))
        assert again.get_config() == layer.get_config()


@every_family
def test_copies(family, tmp_path):
    model = build(family, dropout=0.2)
    model.embedding.trainable = False
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    fresh = [
        type(model).from_config(model.get_config()),
        keras.models.model_from_json(model.to_json()),
        keras.models.clone_model(model),
        build(family, dropout=0.2),
    ]
    model.set_weights([value + 1 for value in model.get_weights()])  # None of them is drawn so.
    for again in fresh[:-1]:
        again.set_weights(model.get_weights())
    model.save_weights(tmp_path / "w.weights.h5")
    fresh[-1].load_weights(tmp_path / "w.weights.h5")
    assert all(equal(again, model) for again in fresh) and not any(equal(again, model) for again in copies)
    assert not any(again.embedding.trainable for again in [*copies, *fresh[:-1]])
    fresh[0].set_weights([value - 1 for value in model.get_weights()])
    model.save_weights(tmp_path / "shards.weights.json", max_shard_size=2e-6)
    fresh[0].load_weights(tmp_path / "shards.weights.json")
    assert equal(fresh[0], model)
    tf.train.Checkpoint(model=copies[0]).restore(tf.train.Checkpoint(model=model).save(tmp_path / "c"))
    assert equal(copies[0], model)


def test_every_layer_is_in_a_checkpoint_of_tensorflow(monkeypatch, tmp_path):
    """The control of the last lines of `test_copies`."""
    monkeypatch.delattr(SavableModel, "_trackable_children")
    model, other = build("gpt"), build("gpt")
    model.set_weights([value + 1 for value in model.get_weights()])
    tf.train.Checkpoint(model=other).restore(tf.train.Checkpoint(model=model).save(tmp_path / "c"))
    assert not equal(other, model)


def test_a_checkpoint_of_fit_is_restored_in_the_same_process(tmp_path):
    """Models without a name have another number each time, which stands in the names of an
    optimizer's slots.
    """
    folder = Checkpoints(tmp_path)
    build_one = lambda: compiled(build("lstm", dropout=0.1, name=None))  # noqa: E731
    model = build_one()
    model.fit(TOKENS, TOKENS, verbose=0, callbacks=[Checkpoint(folder, every=1)])
    again = build_one()
    again.optimizer.build(again.trainable_variables)
    names = [[v.path for v in m.optimizer.variables] for m in (model, again)]
    assert names[0] != names[1]  # else this would show nothing
    tensors = {"model": again.variables, "optimizer": again.optimizer.variables}
    folder.restore(1, tensors)
    assert equal(again, model)
    for ours, theirs in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    # Slots of another kind have the same shapes, and are no place for these.
    other = compiled(build("lstm", dropout=0.1), optimizer=keras.optimizers.Adadelta())
    other.optimizer.build(other.trainable_variables)
    with pytest.raises(InputError, match="does not fit this network"):
        folder.restore(1, {"model": other.variables, "optimizer": other.optimizer.variables})


# Exporting

SERVED = """
import sys
import numpy as np
import tensorflow as tf
folder, worst = sys.argv[1], 0.0
given = np.load(folder + "/given.npz")
for name in sorted({name.split("|")[0] for name in given}):
    loaded = tf.saved_model.load(f"{folder}/{name}")
    for key in given:
        if key.startswith(name + "|in"):
            worst = max(worst, np.abs(loaded.serve(given[key]) - given[key.replace("|in", "|out")]).max())
assert not any(module.startswith("lm_keras") for module in sys.modules)
print(worst)
"""


def test_saved_models_do_not_need_lm_keras(tmp_path):
    """Each family, before anything has called it, and a network within a functional model; several sizes of
    batches.
    """
    given = {}
    models = {family: build(family, dropout=0.2) for family in FAMILIES}
    tokens = keras.Input([None], dtype="int32")
    models["around"] = keras.Model(tokens, keras.layers.Softmax()(models["lstm"](tokens)))
    for name, model in models.items():
        model.export(tmp_path / name, verbose=False)
        for rows, length in ((B, T), (2, 3), (1, 1)):
            given[f"{name}|in{rows}"] = TOKENS[:rows, :length]
            given[f"{name}|out{rows}"] = np.asarray(model(TOKENS[:rows, :length]))
    np.savez(tmp_path / "given.npz", **given)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", SERVED, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-6


def test_a_gradient_of_its_own_could_not_be_exported(monkeypatch, tmp_path):
    """The control: why the LSTM has one only where a tape is recording."""
    monkeypatch.setattr(recurrence.record, "could_possibly_record", lambda: True)
    with pytest.raises(KeyError, match="internal_grad_fn"):
        build("lstm").export(tmp_path / "e", verbose=False)


def test_gradients_of_the_lstm_without_a_tape_at_its_forward_pass():
    """TensorFlow's own differentiation of a traced function, whose tape begins outside."""
    model = build("lstm")
    traced = tf.function(lambda tokens: model(tokens))
    traced(TOKENS)  # Traced without a tape.
    found = []
    for call in (traced, model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(call(tf.constant(TOKENS))))
        found.append(tape.gradient(loss, [v.value for v in model.trainable_variables]))
    for ours, theirs in zip(*map(tf.nest.flatten, found), strict=True):
        np.testing.assert_allclose(*map(tf.convert_to_tensor, (ours, theirs)), rtol=1e-4, atol=1e-5)


# What goes in and comes out


@every_family
def test_tokens_of_every_kind(family):
    model = build(family)
    expected = model(TOKENS)
    for kind in ("int8", "uint8", "int16", "uint16", "uint32", "int64", "uint64", "float32", "float64"):
        np.testing.assert_array_equal(model(TOKENS.astype(kind)), expected)
    np.testing.assert_array_equal(model(keras.ops.convert_to_tensor(TOKENS)), expected)
    refused = {
        "tokens came with the shape (6,): expected [rows, tokens]": TOKENS[0],
        "tokens came as RaggedTensor: expected a matrix [rows, tokens]; pad": tf.ragged.constant(
            [[1, 2], [3]]
        ),
        "tokens came as bfloat16, which rounds large ones; put keras.Input": tf.constant(TOKENS, tf.bfloat16),
    }
    if model.context_length:
        refused["a row has 7 tokens, and this network was built for context_length=6"] = np.ones([2, 7], int)
    for message, tokens in refused.items():
        with pytest.raises(InputError) as caught:
            model(tokens)
        assert message in str(caught.value)


@every_family
def test_shapes(family):
    model = build(family, dtype="mixed_bfloat16")
    size = model.vocab_size
    assert size == V
    assert model.compute_output_shape((None, T)) == (None, T, size)
    logits = model(keras.Input([None], dtype="int32"))
    assert (logits.shape, logits.dtype) == ((None, None, size), "float32")  # whatever the products are in
    assert model(keras.Input(batch_shape=(B, T), dtype="uint16")).shape == (B, T, size)
    with pytest.raises(InputError, match="tokens came with the shape"):
        model(keras.Input([], dtype="int32"))
    assert model(TOKENS).dtype == tf.float32
    counted = sum(np.prod(v.shape) for v in model.trainable_variables)
    assert model.count_params() == counted
    lines = io.StringIO()
    model.summary(print_fn=lambda line, **_: lines.write(line))
    assert f"{counted:,}" in lines.getvalue()
    assert model.get_layer("embedding") is model.embedding


@every_family
def test_within_other_models(family, tmp_path):
    model = build(family)
    tokens, weights = keras.Input([T], dtype="int32"), keras.Input([T, 1])
    mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Multiply()([model(tokens), weights]))
    functional = keras.Model([tokens, weights], keras.layers.Dense(3)(mean))
    sequence = keras.Sequential([model, keras.layers.Softmax()])  # makes its own Input, of floats
    np.testing.assert_allclose(sequence(TOKENS), tf.nn.softmax(model(TOKENS)), atol=1e-6)
    given = [TOKENS, np.ones([B, T, 1], "float32")]
    functional.compile("sgd", "mse", run_eagerly=True)
    functional.fit(given, np.zeros([B, 3]), verbose=0)
    for number, outer in enumerate((functional, sequence)):
        outer.save(tmp_path / f"{number}.keras")
        again = keras.saving.load_model(tmp_path / f"{number}.keras")
        inputs = given if outer is functional else TOKENS
        np.testing.assert_array_equal(again(inputs), outer(inputs))


# What is refused


def refuse_number_format(folder):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("bfloat16")
    try:
        build("ngram")
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("does", "kind", "message"),
    [
        (
            refuse_number_format,
            InputError,
            (
                "a network with dtype=bfloat16: expected float32, mixed_bfloat16, mixed_float16; where no"
                " dtype is given, keras.config.dtype_policy() decides"
            ),
        ),
        (
            lambda folder: build("gpt").quantize("int8"),
            NotImplementedError,
            (
                "the networks of lm_keras cannot be quantized: Keras quantizes its own Dense and Embedding"
                " layers, and their matrices are in neither; build the network with dtype='mixed_bfloat16'"
                " for products in half precision"
            ),
        ),
        (
            lambda folder: build("gpt").save("m.h5"),
            InputError,
            (
                "m.h5: Keras's format .h5 holds functional models only; take a name that ends in .keras, or"
                " save_weights and a name that ends in .weights.h5"
            ),
        ),
        (
            lambda folder: build("bert", prediction_head=False).export(folder, verbose=False),
            InputError,
            "this BERT was imported without the head that predicts masked tokens",
        ),
    ],
)
def test_what_a_network_is_not(does, kind, message, tmp_path):
    with pytest.raises(kind) as caught:
        does(str(tmp_path / "e"))
    assert message in str(caught.value)


def test_a_model_around_a_network_is_quantized_without_it():
    model, tokens = build("ngram"), keras.Input([T], dtype="int32")
    outer = keras.Model(tokens, keras.layers.Dense(3)(model(tokens)))
    before = model(TOKENS).numpy()
    with pytest.warns(UserWarning, match="cannot be quantized"):
        outer.quantize("int8")
    np.testing.assert_array_equal(model(TOKENS), before)
    assert outer.layers[-1].quantization_mode == "int8"


# Training


class Own(GPTLanguageModel):
    """A network with a training step of its own."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        self.optimizer.apply(tape.gradient(loss, self.trainable_weights), self.trainable_weights)
        return {"own": loss}


def test_a_training_step_of_ones_own():
    model = compiled(Own.from_config(build("gpt").get_config()))
    losses = model.fit(TOKENS, TOKENS, epochs=5, verbose=0).history["own"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("family", ["lstm", "gpt", *slow("ngram", "bert", "glm")])
def test_callbacks_of_keras(family, tmp_path):
    model = compiled(build(family, dropout=0.1), metrics=["accuracy"], weighted_metrics=["accuracy"])
    kinds = keras.callbacks
    listed = [
        kinds.ModelCheckpoint(tmp_path / "m.keras"),
        kinds.ModelCheckpoint(
            tmp_path / "m.weights.h5", save_weights_only=True, save_best_only=True, monitor="val_loss"
        ),
        kinds.BackupAndRestore(tmp_path / "backup"),
        kinds.EarlyStopping("val_loss", restore_best_weights=True),
        kinds.ReduceLROnPlateau("val_loss", patience=0),
        kinds.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        kinds.CSVLogger(tmp_path / "log.csv"),
        kinds.TensorBoard(tmp_path / "events", histogram_freq=1, write_graph=False),
        kinds.TerminateOnNaN(),
    ]
    weights = np.ones([B, T], "float32")
    for _ in range(2):
        history = model.fit(
            TOKENS,
            TOKENS,
            sample_weight=weights,
            validation_data=(TOKENS, TOKENS),
            epochs=2,
            callbacks=listed,
            verbose=0,
        ).history
        assert len(history["loss"]) == 2
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert np.isfinite(again.evaluate(TOKENS, TOKENS, verbose=0)).all()
    assert model.predict(TOKENS, verbose=0, batch_size=2).shape == (B, T, model.vocab_size)
    model.train_on_batch(TOKENS, TOKENS)
    model.test_on_batch(TOKENS, TOKENS)
    np.testing.assert_array_equal(model.predict_on_batch(TOKENS), model(TOKENS))


def test_optimizers_of_keras():
    """Accumulated gradients, moving averages, loss scaling."""
    accumulating = keras.optimizers.Adam(0.1, gradient_accumulation_steps=2)
    averaging = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    for settings, optimizer, listed in (
        ({}, accumulating, []),
        ({}, averaging, [swap]),
        ({"dtype": "mixed_float16"}, keras.optimizers.SGD(0.1), []),
    ):
        model = compiled(build("ngram", **settings), optimizer=optimizer)
        losses = model.fit(TOKENS, TOKENS, batch_size=1, epochs=3, verbose=0, callbacks=listed)
        assert losses.history["loss"][-1] < losses.history["loss"][0]


@every_family
def test_parts_that_learn(family):
    """Low-rank adaption of the embedding; a frozen network; a penalty."""
    model = build(family)
    model.embedding.enable_lora(2)
    before = model(TOKENS).numpy()
    names = [v.name for v in model.trainable_variables]
    assert "lora_embeddings_b" in names and "embeddings" not in names
    compiled(model, optimizer=keras.optimizers.SGD(1.0)).fit(TOKENS, TOKENS, verbose=0)
    assert np.abs(model(TOKENS) - before).max() > 0
    model.trainable = False
    assert not model.trainable_variables
    before = model.get_weights()
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        compiled(model).fit(TOKENS, TOKENS, verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.trainable = True
    model.output_penalty = keras.layers.ActivityRegularization(l2=0.1)
    model.output_penalty(model(TOKENS))
    assert len(model.losses) == 1 and float(model.losses[0]) > 0


def test_xla_is_left_out_where_cudnn_computes(monkeypatch):
    """`compile(jit_compile="auto")` asks each layer."""
    assert all(layer.supports_jit for layer in build("lstm").layers)
    monkeypatch.setattr(recurrent.cudnn, "available", lambda: True)
    assert not all(layer.supports_jit for layer in build("lstm").layers)
    assert all(layer.supports_jit for layer in build("lstm", jit="on").layers)


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("jit", [True, False])
def test_compiled_training(family, jit):
    """With XLA and without, several steps an execution; in a distribution strategy and in tf.data."""
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope():
        model = compiled(
            build(family, dropout=0.1), run_eagerly=False, jit_compile=jit, steps_per_execution=2
        )
    data = tf.data.Dataset.from_tensor_slices((TOKENS, TOKENS)).batch(2)
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    by_map = data.map(lambda x, y: model(x))
    expected = model.predict(data, verbose=0)
    np.testing.assert_allclose(np.concatenate(list(by_map.as_numpy_iterator())), expected, atol=1e-5)


def test_the_page_names_tests_there_are():
    root = Path(__file__).parents[2]
    named = set(
        re.findall(r"`(test_\w+)`", (root / "docs" / "reference" / "keras.md").read_text(encoding="utf-8"))
    )
    files = (
        "models/test_keras_model.py", "models/test_encoder_decoder.py",
        "callbacks/test_callbacks_in_fit.py", "test_surroundings.py",
    )  # fmt: skip
    there = "".join((root / "tests" / name).read_text(encoding="utf-8") for name in files)
    assert {name for name in named if f"def {name}(" not in there} == {"test_on_batch"}  # of Keras
