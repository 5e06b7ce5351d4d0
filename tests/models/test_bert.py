"""BERT: V 23, D 12, H 3, B 3, T 7."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.answers.mask_filler import MaskFiller
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.evaluation.pseudo_likelihood import PseudoLikelihood
from lm_keras.models import FAMILIES
from lm_keras.models.bert import num_parameters
from lm_keras.text.char import CharTokenizer

V, D, H, B, T = 23, 12, 3, 3, 7
SETTINGS = {
    "model": "bert",
    "num_layers": 2,
    "num_heads": H,
    "embedding_dim": D,
    "sequence_length": 12,
    "init_scale": 0.5,
}
TOKENS = np.random.default_rng(2).integers(2, V, [B, T]).astype(np.int32)


def build(**settings):
    keras.utils.set_random_seed(1)
    return FAMILIES["bert"](from_flat({**SETTINGS, **settings}), V)


def weight(model, name):
    return next(v.numpy() for v in model.weights if v.path.endswith(name)).astype(np.float64)


def layer_norm(x, gain, bias, epsilon=1e-5):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * gain + bias


def gelu(x):
    return np.asarray(x * 0.5 * (1 + tf.math.erf(tf.constant(x / np.sqrt(2.0)))))


def by_hand(model, tokens):
    """Hidden states and logits in float64."""
    w = lambda name: weight(model, name)  # noqa: E731
    norm = lambda x, name: layer_norm(x, w(f"{name}_gain"), w(f"{name}_bias"))  # noqa: E731
    x = w("embedding/embeddings")[tokens] + w("places")[: tokens.shape[1]] + w("segments")[0]
    x = norm(x, "embedding_norm")
    for block in range(2):
        b = lambda name: w(f"block_{block}/{name}")  # noqa: E731, B023
        together = x @ b("query_key_value_kernel") + b("query_key_value_bias")
        heads = together.reshape(*tokens.shape, 3, H, D // H).transpose(2, 0, 3, 1, 4)
        scores = heads[0] @ heads[1].swapaxes(-1, -2) / np.sqrt(D // H)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ heads[2]
        mixed = mixed.transpose(0, 2, 1, 3).reshape(*tokens.shape, D)
        x = norm(
            x + mixed @ b("attention_output_kernel") + b("attention_output_bias"),
            f"block_{block}/attention_norm",
        )
        wide = gelu(x @ b("feed_forward_kernel") + b("feed_forward_bias"))
        x = norm(
            x + wide @ b("feed_forward_output_kernel") + b("feed_forward_output_bias"),
            f"block_{block}/feed_forward_norm",
        )
    head = norm(gelu(x @ w("head_kernel") + w("head_bias")), "head_norm")
    return x, head @ w("embedding/embeddings").T + w("output_bias")


def test_equals_a_computation_by_hand():
    model = build()
    hidden, logits = by_hand(model, TOKENS)
    np.testing.assert_allclose(model.hidden_states({"tokens": tf.constant(TOKENS)}), hidden, atol=1e-5)
    np.testing.assert_allclose(model(tf.constant(TOKENS)), logits, atol=1e-5)


def test_logits_at_some_positions_are_those_of_all():
    model, positions = build(), tf.constant([[3, 0], [6, 2], [1, 1]])
    features, state = model.forward({"tokens": tf.constant(TOKENS), "predicted": positions}, {})
    everywhere = model(tf.constant(TOKENS))
    np.testing.assert_allclose(
        model.project(features), tf.gather(everywhere, positions, batch_dims=1), atol=1e-5
    )
    assert features.shape == (B, 2, D) and state == {}


def influence(model, document=None):
    """[T, T] bool: which embedded tokens change the logits of which positions, by gradient."""
    tokens = tf.constant(TOKENS[:1])
    inputs = {"tokens": tokens} if document is None else {"tokens": tokens, "document": document}
    rows = []
    for position in range(T):
        with tf.GradientTape() as tape:
            logits = model.project(model.forward(inputs, {})[0])[0, position]
            best = tf.reduce_sum(logits * tf.random.stateless_normal([V], [1, 2]))
        slopes = tape.gradient(best, model.places.value)
        rows.append(tf.reduce_any(tf.abs(slopes[:T]) > 1e-9, -1).numpy())
    return np.array(rows)


def test_every_position_sees_both_sides_and_no_other_document():
    """Law 5 for a network that reads both sides: the attention mask forbids other documents only."""
    model = build()
    assert influence(model).all()
    document = tf.constant([[0, 0, 0, 1, 1, -1, -1]])
    np.testing.assert_array_equal(
        influence(model, document), np.equal.outer(document[0].numpy(), document[0].numpy())
    )


def test_a_masked_token_does_not_leak_into_its_own_prediction():
    """Where a token became the mask, the logits do not depend on which one it was."""
    model, masked = build(), TOKENS.copy()
    masked[:, 4] = 1
    at = lambda tokens: model(tf.constant(tokens))[:, 4].numpy()  # noqa: E731
    np.testing.assert_array_equal(at(masked), at(np.where(np.arange(T) == 4, 1, TOKENS)))
    assert np.abs(at(masked) - at(TOKENS)).max() > 0.01  # The control: shown, it does.


@pytest.mark.parametrize("settings", [{}, {"tie_embeddings": False, "num_layers": 1, "context_length": 20}])
def test_parameters_are_counted(settings):
    config = from_flat({**SETTINGS, **settings})
    assert sum(np.prod(v.shape) for v in build(**settings).trainable_variables) == num_parameters(config, V)


def test_products_of_the_output_are_those_of_the_masked_positions():
    products = build().products(5, 12, 2)
    assert products["output"][0].m == products["head"][0].m == 5 * 2
    assert products["block_0"][0].m == 60


@pytest.mark.parametrize("chunk", [2, 3])
def test_attention_in_chunks_sees_both_sides(chunk):
    whole, parts = build(), build(attention_chunk=chunk)

    def gradients(model):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(tf.constant(TOKENS)) ** 2)
        return [
            loss,
            *map(tf.convert_to_tensor, tape.gradient(loss, [v.value for v in model.trainable_variables])),
        ]

    for one, other in zip(gradients(whole), gradients(parts)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def tokenizer():
    return CharTokenizer("abcdefghijklmnopqrst ", normalization="none")


def test_masks_are_filled_with_the_likeliest_tokens(tokenizer):
    model = build()
    filled = MaskFiller(model, tokenizer).fill("ab[MASK]de [MASK]", 3)
    ids = [0, *tokenizer.encode("ab"), 1, *tokenizer.encode("de "), 1, 0]
    logits = model(tf.constant([ids]))[0].numpy()
    for place, words in zip((3, 7), filled.words):
        allowed = np.exp(logits[place, 2:] - logits[place, 2:].max())
        best = np.argsort(-allowed)[:3] + 2
        assert [text for text, _ in words] == [tokenizer.decode([token]) for token in best]
        np.testing.assert_allclose([p for _, p in words], allowed[best - 2] / allowed.sum(), atol=1e-4)
    assert filled.text == f"ab{filled.words[0][0][0]}de {filled.words[1][0][0]}"


def test_pseudo_log_likelihood_masks_every_token_in_turn(tokenizer):
    model, text = build(), "cab de"
    (found,) = PseudoLikelihood(model, tokenizer).score([text])
    ids, total = tokenizer.encode(text), 0.0
    for place, token in enumerate(ids):
        row = [0, *(1 if i == place else other for i, other in enumerate(ids)), 0]
        total -= tf.nn.log_softmax(model(tf.constant([row])))[0, place + 1, token].numpy()
    assert found["pseudo"] and found["tokens"] == 6
    np.testing.assert_allclose(found["nats"], total, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"), [("no blank", "no [MASK]"), ("[MASK]" * 11, "sees 10 at a time")]
)
def test_bad_texts_end_in_one_line(tokenizer, text, message):
    with pytest.raises(InputError) as error:
        MaskFiller(build(), tokenizer).fill(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_settings_without_a_meaning_are_refused(tokenizer):
    filler = MaskFiller(build(), tokenizer)
    with pytest.raises(
        InputError, match=r"temperature=0\.5 has no meaning for a model that predicts single masked"
    ):
        filler.fill("a[MASK]", temperature=0.5)
    with pytest.raises(InputError, match="'heat' is not a sampling setting"):
        filler.generate(["a[MASK]"], heat=1)


def test_what_the_vocabulary_lacks_is_no_mask(tokenizer):
    filler = MaskFiller(build(), tokenizer)
    filled = filler.fill("aXb[MASK]")
    assert len(filled.words) == 1 and filler.unknown_parts("aXb[MASK]") == ["X"]
    assert filler.fill("abcdefghijklmnop[MASK]q", long_prompt="keep_end").text.startswith("ijklmnop")
    assert filler.generate(["[MASK]" + "a" * 30], long_prompt="keep_end") == ["a" * 10]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sequence_length": 2}, "--sequence_length=2 is too short for --model=bert"),
        ({"token_noise": 0.1}, "--token_noise=0.1 has no meaning for --model=bert"),
        ({"batching": "stream"}, "--model=bert does not have"),
        ({"positions": "rotary"}, "--positions=rotary has no meaning for --model=bert"),
    ],
)
def test_settings_that_it_has_not(settings, message):
    with pytest.raises(InputError) as error:
        from_flat({**SETTINGS, **settings})
    assert message in str(error.value)
