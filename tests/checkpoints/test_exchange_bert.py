"""A BERT of Hugging Face's: V 60, L 2, H 4, 16 places, with a vocabulary of letters."""

import importlib.util
import json

import folders_of_models as models
import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints import exchange, export
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.training import conversion

needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")),
    reason="transformers and torch are not installed",
)
HEAD = {name: None for name in models.tensors("bert") if name.startswith("cls.")}
WIDTH = models.D


def built(folder):
    return exchange.read(folder).build()


def test_logits_are_those_that_transformers_computed(tmp_path):
    golden = np.array(json.loads(models.GOLDEN.read_text())["bert"])
    found = built(models.write(tmp_path / "model", "bert"))(np.array(models.IDS)).numpy()
    assert np.abs(found[:, -2:] - golden).max() < 1e-4 < np.abs(golden).max() / 1e3
    name = "bert.encoder.layer.1.attention.self.key.weight"  # The control: another weight gives other logits.
    changed = models.write(tmp_path / "other", "bert", {name: models.tensors("bert")[name] * 1.01})
    assert np.abs(built(changed)(np.array(models.IDS)).numpy()[:, -2:] - golden).max() > 1e-4


@needs_transformers
@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_states_and_logits_equal_those_of_transformers(seed, tmp_path):
    """With two segments."""
    import torch
    import transformers

    random = np.random.default_rng(seed)
    whole = models.tensors("bert")
    changed = {
        name: (value + random.normal(0, 0.3, value.shape)).astype(np.float32) for name, value in whole.items()
    }
    folder = models.write(tmp_path / "model", "bert", changed)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    ids = random.integers(0, models.V, [3, models.PLACES])
    segments = random.integers(0, 2, ids.shape)
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    with torch.no_grad():
        hidden = theirs(torch.tensor(ids), token_type_ids=torch.tensor(segments)).last_hidden_state.numpy()
    assert np.abs(lm.features(ids, segments) - hidden).max() < 1e-4
    assert np.abs(lm.features(ids) - hidden).max() > 1e-2  # The control: segments count.
    assert np.abs(lm.logits(ids) - models.theirs(folder, ids)).max() < 1e-4


def test_old_names_buffers_and_parts_without_use(tmp_path, capfd):
    """No prefix, gamma and beta, the pooler, the second task's head, and the output under a name
    of its own.
    """
    whole = models.tensors("bert")
    expected = built(models.write(tmp_path / "whole", "bert"))(np.array(models.IDS)).numpy()

    def old(name):
        name = name.removeprefix("bert.")
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    tensors = {old(name): value for name, value in whole.items()}
    tensors |= {
        "embeddings.position_ids": np.arange(16)[None],
        "pooler.dense.weight": np.ones([WIDTH, WIDTH], np.float32),
        "pooler.dense.bias": np.ones(WIDTH, np.float32),
        "cls.seq_relationship.weight": np.ones([2, WIDTH], np.float32),
        "cls.seq_relationship.bias": np.ones(2, np.float32),
        "cls.predictions.decoder.weight": whole["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": whole["cls.predictions.bias"],
    }
    folder = models.write(tmp_path / "old", "bert")
    models.safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    np.testing.assert_array_equal(built(folder)(np.array(models.IDS)), expected)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    said = capfd.readouterr().err
    assert "left out, since nothing here uses them: cls.seq_relationship.bias, " in said
    assert "pooler.dense.weight" in said and "without the head" not in said


def test_without_the_head_there_are_features_and_no_predictions(tmp_path, capfd, tiny_config, train):
    folder = models.write(tmp_path / "model", "bert", HEAD)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    assert "imported without the head" in capfd.readouterr().err
    lm = lm_keras.load(tmp_path / "run")
    whole = built(models.write(tmp_path / "whole", "bert"))
    np.testing.assert_allclose(
        lm.features(models.IDS), whole.hidden_states({"tokens": np.array(models.IDS)}), atol=1e-5
    )
    for use in (
        lambda: lm.fill("a [MASK]"),
        lambda: lm.score(["ab"]),
        lambda: lm.logits(models.IDS),
        lambda: lm.generate(["a [MASK]"]),
    ):
        with pytest.raises(InputError, match="imported without the head that predicts masked tokens"):
            use()
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    np.testing.assert_array_equal(
        built(tmp_path / "back").hidden_states({"tokens": np.array(models.IDS)}), lm.features(models.IDS)
    )
    # Training gives it a new head, from the folder as from the run.
    settings = {
        **tiny_config().flat(),
        **exchange.read(folder).settings,
        "tokenizer": "wordpiece",
        "sequence_length": 7,
    }
    settings |= {"steps": 1, "optimizer": "sgd", "learning_rate": 1e-9}
    with pytest.raises(InputError, match="--prediction_head=false leaves nothing to train"):
        train(from_flat({**settings, "tokenizer": "char"}), tmp_path / "none")
    for name in ("model", "run"):
        config = {
            **settings,
            "prediction_head": True,
            "init_from": str(tmp_path / name),
            "tokenizer": str(tmp_path / "run"),
        }
        assert train(from_flat(config), tmp_path / f"tuned_{name}").code == 0
        tuned = lm_keras.load(tmp_path / f"tuned_{name}")
        np.testing.assert_allclose(tuned.features(models.IDS), lm.features(models.IDS), atol=1e-4)
        assert tuned.fill("a [MASK]").words


def test_a_run_of_it_and_back(tmp_path):
    folder = models.write(tmp_path / "model", "bert")
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    assert lm.tokenizer.name == "wordpiece"
    assert lm.tokenizer.encode("The ab, \u00c4C") == [6, 7, 34, 5, 7, 35]
    filled = lm.fill("the [MASK], ab", words=3)
    assert len(filled.words) == 1 and len(filled.words[0]) == 3 and filled.text.startswith("the")
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    again = models.tensors("bert")
    with models.safetensors.safe_open(tmp_path / "back" / "model.safetensors", framework="np") as file:
        assert sorted(file.keys()) == sorted(again)
        for name, value in again.items():
            np.testing.assert_array_equal(file.get_tensor(name), value)
    conversion.to_run(str(tmp_path / "back"), str(tmp_path / "second"))
    second = lm_keras.load(tmp_path / "second")
    assert second.tokenizer.encode("The ab.") == lm.tokenizer.encode("The ab.")
    assert second.fill("the [MASK], ab", words=3) == filled


@needs_transformers
def test_a_text_is_filled_as_transformers_does(tmp_path):
    import torch

    folder = models.write(tmp_path / "model", "bert")
    conversion.to_run(str(folder), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    ids = [
        [2, *lm.tokenizer.encode("the "), 4, *lm.tokenizer.encode(", ab"), 3]
    ]  # [CLS] ... [MASK] ... [SEP]
    logits = models.theirs(folder, ids)[0, 2]
    logits[[0, 1, 2, 3, 4]] = -np.inf
    shares = torch.softmax(torch.tensor(logits), 0).numpy()
    words = lm.fill("the [MASK], ab", words=3).words[0]
    np.testing.assert_allclose([share for _, share in words], np.sort(shares)[::-1][:3], rtol=1e-3)


@needs_transformers
def test_transformers_loads_what_is_written(tmp_path):
    import transformers

    config = from_flat(
        {"model": "bert", "num_layers": 2, "embedding_dim": 24, "num_heads": 4, "sequence_length": 16}
    )
    model = FAMILIES["bert"](config, models.V)
    random = np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    tokenizer = exchange.read(models.write(tmp_path / "model", "bert")).tokenizer
    export.write(tmp_path / "made", model, config, tokenizer)
    ids = random.integers(0, models.V, [2, 16])
    assert np.abs(models.theirs(tmp_path / "made", ids) - model(ids)).max() < 1e-4
    read = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    assert read("The ab, cd.", add_special_tokens=False).input_ids == tokenizer.encode("The ab, cd.")
    assert (read.mask_token, read.cls_token, read.sep_token) == ("[MASK]", "[CLS]", "[SEP]")


@pytest.mark.parametrize(
    ("changed", "config", "message"),
    [
        (
            {"bert.encoder.layer.1.output.dense.bias": None},
            {},
            "'encoder.layer.1.output.dense.bias' is missing",
        ),
        ({"cls.predictions.bias": None}, {}, "'cls.predictions.bias' is missing"),
        (
            {"classifier.weight": np.ones([2, 24], np.float32)},
            {},
            "'classifier.weight' belongs to no such network",
        ),
        ({}, {"type_vocab_size": 4}, "config.json has 4 for 'type_vocab_size'"),
        ({}, {"hidden_act": "relu"}, "config.json has 'relu' for 'hidden_act'"),
        (
            {},
            {"position_embedding_type": "relative_key"},
            "config.json has 'relative_key' for 'position_embedding_type'",
        ),
        ({}, {"num_attention_heads": 5}, "--num_heads=5 do not divide --embedding_dim=24"),
        ({}, {"vocab_size": 59}, "the tokenizer has 60 tokens, and the network only 59"),
    ],
    ids=str,
)
def test_what_is_none_is_refused_in_one_line(changed, config, message, tmp_path):
    folder = models.write(tmp_path, "bert", changed, config)
    with pytest.raises(InputError) as caught:
        built(folder)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_vocabulary_without_mask_is_refused(tmp_path):
    folder = models.write(tmp_path, "bert")
    path = folder / "vocab.txt"
    path.write_text(path.read_text().replace("[MASK]", "[OTHER]"))
    with pytest.raises(
        InputError, match=r"the vocabulary of .* has no \[MASK\], which a BERT was trained with"
    ):
        exchange.read(folder)
