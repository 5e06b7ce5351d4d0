"""Networks of an encoder and a decoder. Vocabulary V 99, width D 12, H 3 heads, B 3 sentences, S 7, T 5, n 2
hypotheses.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import slow

from lm_keras import optimizers
from lm_keras.config import from_flat
from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.layers.transformer import BlockSettings
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.models.lstm_seq2seq import LSTMSeq2Seq
from lm_keras.models.positions import sinusoids
from lm_keras.models.transformer import TransformerSeq2Seq
from lm_keras.objectives.losses import next_token_loss

V, D, B, S, T, N = 99, 12, 3, 7, 5, 2
LLAMA = {"norm": "rms", "activation": "swiglu", "biases": False, "positions": "rotary"}
TRANSFORMERS = {
    "learned": {"positions": "learned", "post_norm": True, "activation": "relu"},
    "sinusoidal": {"positions": "sinusoidal", "kv": 1},
    "rotary": LLAMA,
}
KINDS = (*TRANSFORMERS, "lstm", "lstm_tied")
RANDOM = np.random.default_rng(13)


def build(kind, dropout=0.0, num_layers=2, **given):
    """A network whose weights all differ from what they are at first, biases and gains included."""
    keras.utils.set_random_seed(5)
    if kind in TRANSFORMERS:
        settings = dict(TRANSFORMERS[kind])
        positions, kv = settings.pop("positions"), settings.pop("kv", 3)
        block = BlockSettings(D, 3, kv, 10, dropout=dropout, **settings)
        tied = kind != "rotary"
        depths = num_layers, 20, block, num_layers + 1
        model = TransformerSeq2Seq(V, *depths, positions, tie_embeddings=tied, **given)
    else:
        model = LSTMSeq2Seq(
            V, D, 8, num_layers, 1, dropout, weight_drop=dropout, tie_embeddings=kind == "lstm_tied", **given
        )
    random = np.random.default_rng(6)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    return model


def ids(*shape):
    return RANDOM.integers(0, V, shape).astype("int32")


def pair(kind="whole"):
    """Sources of 7, 5 and 1 tokens with padding behind them, and n rows of targets each."""
    lengths = np.array([S, 5, 1])
    document = (np.arange(S) >= lengths[:, None]).astype("int32")
    return tf.constant(ids(B, S)), tf.constant(document), tf.constant(ids(B * N, T))


def whole(model, source, document, tokens):
    """Logits without a memory or a state: sources repeated, rows whole."""
    inputs = {
        "source": tf.repeat(source, N, 0), "source_document": tf.repeat(document, N, 0), "tokens": tokens,
    }  # fmt: skip
    return model.project(model.forward(inputs, {})[0]).numpy()


every_kind = pytest.mark.parametrize("kind", [*KINDS[:-1], *slow(KINDS[-1])])
"""A tied LSTM differs in its output alone."""


@every_kind
def test_cached_logits_equal_those_of_whole_rows(kind):
    """Law 1, eager and in graphs, and the hypotheses of a sentence share its memory. Another source changes
    them.
    """
    model = build(kind)
    source, document, tokens = pair()
    expected = whole(model, source, document, tokens)

    def one_by_one(encode, step, source):
        memory, state = encode(source, document), model.initial_state(B * N, T)
        logits = []
        for t in range(T):
            found, state = step({"tokens": tokens[:, t : t + 1], "memory": memory}, state)
            logits.append(found)
        return np.concatenate(logits, 1)

    def step(inputs, state):
        features, state = model.forward(inputs, state)
        return model.project(features), state

    parts = model.encode, step
    traced = [tf.function(part, autograph=False) for part in parts]
    np.testing.assert_allclose(one_by_one(*parts, source), expected, atol=2e-5)
    np.testing.assert_allclose(one_by_one(*traced, source), expected, atol=2e-5)
    several = {"tokens": tokens[:, :3], "memory": model.encode(source, document)}
    in_parts, _ = step(several, model.initial_state(B * N, T))
    np.testing.assert_allclose(in_parts, expected[:, :3], atol=2e-5)
    other = one_by_one(*traced, tf.roll(source, 1, 1))
    assert np.abs(other - expected).max() > 1e-2


@every_kind
def test_states_are_taken_by_row(kind):
    """After `reorder` each hypothesis goes on where the one that it comes of stood; a wrong order shows."""
    model = build(kind)
    source, document, tokens = pair()
    memory, state = model.encode(source, document), model.initial_state(B * N, T)
    _, state = model.forward({"tokens": tokens[:, :4], "memory": memory}, state)
    rows, sentences = np.array([1, 1, 4, 5]), np.array([0, 2])  # The second sentence is done.
    last = {"tokens": tf.gather(tokens[:, 4:], rows), "memory": model.reorder(memory, sentences)}
    expected = whole(model, source, document, tokens)[rows, 4]
    features, _ = model.forward(last, model.reorder(state, rows))
    np.testing.assert_allclose(model.project(features)[:, 0], expected, atol=2e-5)
    features, _ = model.forward(last, model.reorder(state, rows[::-1]))
    assert np.abs(model.project(features)[:, 0] - expected).max() > 1e-3


@every_kind
def test_no_gradient_from_the_future_or_of_another_document(kind):
    """Law 5; the source is read as a whole, and padding and other documents are not."""
    model = build(kind)
    width = model.embedding.output_dim
    given = tf.constant(RANDOM.normal(size=[2 * S, width]).astype("float32"))
    table = model.embedding.embeddings
    source = tf.range(S)[None]
    tokens = tf.range(S, 2 * S)[None]
    documents = tf.constant([[0, 0, 0, 1, 1, 1, 2]]), tf.constant([[0, 0, 1, 1, 1, 1, 3]])
    table.assign(tf.concat([given, table[2 * S :]], 0))
    with tf.GradientTape(persistent=True) as tape:
        inputs = dict(zip(("source_document", "document"), documents), source=source, tokens=tokens)
        features, _ = model.forward(inputs, {})
        features = [tf.reduce_sum(features[0, t] * tf.range(1.0, features.shape[-1] + 1)) for t in range(S)]
    reached = np.zeros([S, 2 * S], bool)
    for t in range(S):
        gradient = tf.convert_to_tensor(tape.gradient(features[t], table.value))
        reached[t] = np.abs(gradient[: 2 * S]).max(1) > 1e-9
    of_source, of_target = documents[0].numpy()[0], documents[1].numpy()[0]
    seen = np.tri(S, dtype=bool) & (of_target[:, None] == of_target)
    expected = np.concatenate([of_target[:, None] == of_source, seen], 1)
    assert (reached[:6] == expected[:6]).all()  # The last one is padding.


def packed(examples):
    """One row of some examples, each a source and the input of its target, as a batch has them."""
    length, inputs = 16, {}
    for side, (name, document) in enumerate((("source", "source_document"), ("tokens", "document"))):
        row, numbers = np.zeros(length, "int32"), np.full(length, len(examples) + side, "int32")
        values = [example[side] for example in examples]
        row[: sum(map(len, values))] = np.concatenate(values)
        owners = [np.full(len(value), number) for number, value in enumerate(values)]
        numbers[: sum(map(len, values))] = np.concatenate(owners)
        inputs[name], inputs[document] = tf.constant(row[None]), tf.constant(numbers[None])
    return inputs


@every_kind
def test_packing_is_invisible(kind):
    """Law 10: loss, gradients and logits of examples side by side are the sums of those alone. With the
    documents of the targets mixed up they are not.
    """
    model = build(kind)
    examples = [(ids(4), ids(3)), (ids(5), ids(6)), (ids(1), ids(2))]
    targets = [ids(len(target)) for _, target in examples]

    def run(inputs, wanted):
        values = np.zeros([1, 16], "int32")
        values[0, : len(wanted)] = wanted
        weights = (np.arange(16) < len(wanted)).astype("float32")[None]
        with tf.GradientTape() as tape:
            features, _ = model.forward(inputs, {})
            loss = next_token_loss(
                features, model.output_weights(), tf.constant(values), tf.constant(weights)
            )
        gradients = tape.gradient(loss.objective, [v.value for v in model.trainable_variables])
        found = [tf.convert_to_tensor(gradient).numpy() for gradient in gradients]
        return model.project(features).numpy()[0, : len(wanted)], loss.objective.numpy(), found

    alone = [run(packed([example]), target) for example, target in zip(examples, targets)]
    together = run(packed(examples), np.concatenate(targets))
    np.testing.assert_allclose(together[0], np.concatenate([one[0] for one in alone]), atol=2e-5)
    np.testing.assert_allclose(together[1], sum(one[1] for one in alone), rtol=1e-5)
    for number, gradient in enumerate(together[2]):
        np.testing.assert_allclose(gradient, sum(one[2][number] for one in alone), atol=5e-5, rtol=1e-4)
    inputs = packed(examples)
    wrong = {**inputs, "document": tf.where(inputs["document"] == 1, 0, inputs["document"])}
    assert np.abs(run(wrong, np.concatenate(targets))[0] - together[0]).max() > 1e-2


def test_the_transformer_by_hand():
    """One layer each, post-norm, as section 3 of Vaswani et al. (2017) writes it, in float64."""
    keras.utils.set_random_seed(3)
    block = BlockSettings(D, 1, 1, 10, activation="relu", post_norm=True)
    model = TransformerSeq2Seq(V, 1, 20, block, positions="sinusoidal")
    random = np.random.default_rng(4)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    of = [
        {v.path.split("/")[-1]: v.numpy().astype(float) for v in layer.trainable_variables}
        for layer in (model.encoder[0], model.decoder[0], model.decoder[0].cross_attention)
    ]
    table = model.embedding.embeddings.numpy().astype(float)

    def norm(x, w, name):
        centered = x - x.mean(-1, keepdims=True)
        scaled = centered / np.sqrt(centered.var(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}_gain"] + w[f"{name}_bias"]

    def product(x, w, name):
        return x @ w[f"{name}_kernel"] + w[f"{name}_bias"]

    def attended(q, k, v, seen):
        scores = np.where(seen, q @ k.T / np.sqrt(D), -np.inf)
        share = np.exp(scores - scores.max(1, keepdims=True))
        return share / share.sum(1, keepdims=True) @ v

    def embedded(tokens):
        places = np.arange(len(tokens))[:, None] / 10_000 ** (2 * np.arange(D // 2) / D)
        return table[tokens] * np.sqrt(D) + np.concatenate([np.sin(places), np.cos(places)], 1)

    def own(x, w, causal):
        seen = np.tri(len(x)) > 0 if causal else np.ones([len(x)] * 2, bool)
        mixed = attended(*np.split(product(x, w, "query_key_value"), 3, 1), seen)
        return norm(x + product(mixed, w, "attention_output"), w, "attention_norm")

    def wide(x, w):
        inner = np.maximum(product(x, w, "feed_forward"), 0)
        return norm(x + product(inner, w, "feed_forward_output"), w, "feed_forward_norm")

    source, tokens = ids(S), ids(T)
    read = wide(own(embedded(source), of[0], False), of[0])
    x = own(embedded(tokens), of[1], True)
    keys, values = np.split(product(read, of[2], "key_value"), 2, 1)
    mixed = attended(product(x, of[2], "query"), keys, values, np.ones([T, S], bool))
    x = wide(norm(x + product(mixed, of[2], "output"), of[2], "norm"), of[1])
    expected = x @ table.T + model.output_bias.numpy()
    found = model({"source": source[None], "tokens": tokens[None]})
    np.testing.assert_allclose(found[0], expected, atol=2e-4)


@every_kind
def test_attention_to_the_source(kind):
    """Shares of each source that sum to 1, none of them for padding."""
    model = build(kind)
    source, document, tokens = pair()
    weights = model.attention_to_source(
        {"source": source, "source_document": document, "tokens": tokens[:B]}
    ).numpy()
    assert weights.shape == (B, T, S) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(2), 1, atol=1e-5)
    assert (weights.transpose(0, 2, 1)[document.numpy() == 1] == 0).all()
    np.testing.assert_allclose(weights[2, :, 0], 1, atol=1e-6)  # A source of one token.
    assert weights[0].std() > 1e-3


def test_sinusoids():
    """Position 3 of width 4: angles 3 and 3 / 100, sines before cosines."""
    expected = [np.sin(3), np.sin(0.03), np.cos(3), np.cos(0.03)]
    np.testing.assert_allclose(sinusoids(tf.constant([[3]]), 4)[0, 0], expected, rtol=1e-6)


@every_kind
def test_dropout_belongs_to_the_row(kind):
    """The draw of a step gives the rows of a batch the masks that they have in two halves of it."""
    model = build(kind, dropout=0.3)
    source, document, tokens = pair()
    inputs = {"source": source, "source_document": document, "tokens": tokens[:B]}

    def run(first, end, step=7):
        draw = Draw(1, tf.constant(step, tf.int64), tf.constant(0.3), tf.constant(first, tf.int64))
        part = {name: value[first:end] for name, value in inputs.items()}
        return model.project(model.forward(part, {}, draw)[0]).numpy()

    np.testing.assert_allclose(np.concatenate([run(0, 1), run(1, 3)]), run(0, 3), atol=2e-5)
    assert np.abs(run(0, 3, step=8) - run(0, 3)).max() > 1e-2
    dropouts = [layer for layer in model._flatten_layers() if type(layer).__name__ == "ScheduledDropout"]
    assert len({layer.index for layer in dropouts}) == len(dropouts) > 3


@pytest.mark.parametrize("kind", ["sinusoidal", "lstm"])
@pytest.mark.parametrize("eager", [True, *slow(False)])
def test_as_keras_model(kind, eager):
    """`compile`, `fit` and `predict`, eager and with XLA."""
    model = build(kind, dropout=0.1, num_layers=1)
    source, _, tokens = pair()
    inputs = {"source": source.numpy(), "tokens": tokens[:B].numpy()}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizers.Adam(0.01), loss=loss, run_eagerly=eager)
    losses = model.fit(inputs, ids(B, T), epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(model.predict(inputs, verbose=0), model(inputs), atol=2e-5)


@every_kind
def test_what_was_saved_computes_the_same(kind, tmp_path):
    """With padding in the sources, and without."""
    model = build(kind, dropout=0.1, name="network")
    source, document, tokens = pair()
    inputs = {"source": source.numpy(), "tokens": tokens[:B].numpy()}
    expected = model(inputs)
    model.save(tmp_path / "saved.keras")
    again = keras.models.load_model(tmp_path / "saved.keras")
    np.testing.assert_array_equal(again(inputs), expected)
    masked = {**inputs, "source": np.where(document, -1, source)}
    shorter = {"source": source[1:2, :5].numpy(), "tokens": inputs["tokens"][1:2]}
    np.testing.assert_allclose(model(masked)[1], model(shorter)[0], atol=2e-5)
    assert np.abs(model(masked)[1] - expected[1]).max() > 1e-3
    with pytest.raises(InputError, match="expected \\[rows, tokens\\]"):
        model({"source": source[0], "tokens": tokens})


def test_a_block_of_the_decoder_as_a_layer():
    block = build("sinusoidal").decoder[1]
    content = keras.saving.serialize_keras_object(block)
    again = keras.saving.deserialize_keras_object(content)
    assert again.get_config() == block.get_config() and type(again) is type(block)
    assert [v.shape for v in again.weights] == [v.shape for v in block.weights]


def config_of(kind, **settings):
    base = {"embedding_dim": D, "num_layers": 2, "hidden_units": 10, "sequence_length": 20, "task": "seq2seq"}
    if kind in TRANSFORMERS:
        own = {**TRANSFORMERS[kind], "num_heads": 3}
        own = {("num_kv_heads" if name == "kv" else name): value for name, value in own.items()}
        return from_flat({**base, "model": "transformer", "encoder_layers": 3, **own, **settings})
    return from_flat({**base, "model": "lstm", "tie_embeddings": kind == "lstm_tied", **settings})


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_and_costs_are_counted(kind):
    config = config_of(kind)
    model = FAMILIES[config.model.model](config, V)
    number = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert NUM_PARAMETERS[config.model.model](config, V) == number
    assert len({weight.path for weight in model.weights}) == len(model.weights)
    again = type(model).from_config(model.get_config())
    assert [v.shape for v in again.weights] == [v.shape for v in model.weights]
    parts = model.products(3, 7)
    matrices = [v for v in model.trainable_variables if "kernel" in v.name]
    shapes = {(product.k, product.n) for part in parts.values() for product in part}
    assert {tuple(v.shape) for v in matrices} <= shapes
    assert model.activation_bytes(6, 7) == 2 * model.activation_bytes(3, 7) > 0
