import numpy as np
import pytest
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.evaluation.text_scorer import BLOCK, ROWS, TextScorer, score
from lm_keras.sampling.generate import Sampler

TEXTS = ["ab €é", "", "c", "abc " * 60, "é" * 32, "#" * 63, "a" * 65, "N" * 128, "b a", "c#c#", "€"]


@pytest.fixture(scope="module")
def scorer(tiny, tokenizer):
    return TextScorer(tiny, tokenizer)


def direct_nats(model, tokenizer, text):
    """The whole text through the model at once, in float64."""
    ids = [0, *tokenizer.encode(text)]
    logits = model(tf.constant([ids]))[0, :-1].numpy().astype(np.float64)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return -logits[np.arange(len(ids) - 1), ids[1:]].sum()


def test_scores_equal_the_whole_text_at_once(scorer, tiny, forgetful, tokenizer):
    assert len(TEXTS) > ROWS
    results = scorer.score(TEXTS)
    for text, result in zip(TEXTS, results):
        expected = direct_nats(tiny, tokenizer, text) if text else 0.0
        assert result["nats"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert result["tokens"] == result["bytes"] == len(text.encode())
    broken = score(forgetful, tokenizer, TEXTS)
    wrong = [len(text) for a, b, text in zip(results, broken, TEXTS) if abs(a["nats"] - b["nats"]) > 0.1]
    assert min(wrong) == BLOCK + 1  # without a state, texts beyond one block show it


def test_a_score_does_not_depend_on_the_other_texts(scorer, mixing, tokenizer):
    def differences(scorer):
        together = scorer.score(TEXTS)
        alone = [scorer.score([text])[0] for text in TEXTS]
        return [abs(a["nats"] - b["nats"]) for a, b in zip(together, alone)]

    assert max(differences(scorer)) < 1e-3
    assert max(differences(TextScorer(mixing, tokenizer))) > 1


def test_a_generated_text_scores_what_its_tokens_had(scorer, tiny, tokenizer):
    row = Sampler(tiny, tokenizer).sample([""], max_new_tokens=80, seed=2)[0]
    ids = [token for token in row.token_ids if token != 0]
    nats = scorer._nats_of(scorer._windows(ids))[0]
    assert nats == pytest.approx(-sum(row.log_probabilities[: len(ids)]), rel=1e-5)


def test_logits_and_features_are_those_of_the_whole_sequence(scorer, tiny, forgetful, tokenizer):
    ids = np.random.default_rng(2).integers(0, 13, [3, 150])
    expected = tiny(tf.constant(ids, tf.int32)).numpy()
    logits, features = scorer.logits(ids), scorer.features(ids.tolist())
    assert logits.shape == (3, 150, 13) and logits.dtype == np.float32
    assert features.shape == (3, 150, 5) and features.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(tiny.project(tf.constant(features)), logits, atol=1e-5)
    assert abs(TextScorer(forgetful, tokenizer).logits(ids) - expected).max() > 0.1


def test_no_length_retraces(scorer):
    for texts in (["a"], ["ab" * 99, "c"], TEXTS):
        scorer.score(texts)
    for shape in ([3, 2], [1, 64], [2, 65]):
        scorer.logits(np.zeros(shape, int))
        scorer.features(np.zeros(shape, int))
    assert scorer.traces == 3


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (
            [[3, 13]],
            "ids has the token 13, but the vocabulary goes from 0 to 12; make ids with the encode of",
        ),
        ([[3, -1]], "ids has the token -1, but"),
        ([[3, 2**40]], "ids has the token 1099511627776, but"),
        (
            [3, 4],
            (
                "ids has shape [2] and type int64, not [B, T] with integers; for one sequence of tokens write"
                " [ids]"
            ),
        ),
        ([[0.5, 1]], "ids has shape [1, 2] and type float64, not [B, T] with integers"),
        ([[]], "ids has shape [1, 0] and type float64, not [B, T]"),
        ([[1, 2], [3]], "ids has rows of different lengths; give rows of one length, or one row at a time"),
    ],
)
def test_bad_ids_are_named(scorer, ids, text):
    for function in (scorer.logits, scorer.features):
        with pytest.raises(InputError) as error:
            function(ids)
        assert str(error.value).startswith(text)


def test_bad_texts_are_named(scorer):
    with pytest.raises(
        InputError, match=r'texts is a str, not a list of strings; for one text write \["..."\]'
    ):
        scorer.score("a")
    with pytest.raises(InputError, match=r"texts\[1\] has the lone surrogate U\+D801 at character 2"):
        scorer.score(["a", "bc\ud801"])
    assert scorer.score([]) == []


def test_a_model_that_diverged_is_an_error(tokenizer, tiny):
    model = type(tiny)()
    model.output_matrix.assign(model.output_matrix * np.nan)
    with pytest.raises(
        InputError, match=r"loss on texts\[1\] is nan, not a finite number; its training has diverged"
    ):
        score(model, tokenizer, ["", "a"])
