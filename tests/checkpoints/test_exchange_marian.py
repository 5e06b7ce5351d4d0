"""A Marian of Hugging Face's: V 60, 3 and 2 layers, H 4, 16 positions."""

import importlib.util
import json

import folders_of_models as models
import numpy as np
import pytest
import safetensors.numpy

from lm_keras.checkpoints import exchange, export
from lm_keras.errors import InputError

needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")),
    reason="transformers and torch are not installed",
)


def ours(folder):
    model = exchange.read(folder).build()
    there = np.arange(max(models.LENGTHS)) < np.array(models.LENGTHS)[:, None]
    inputs = {"source": np.where(there, models.SOURCES, -1), "tokens": np.array(models.TARGETS)}
    return model(inputs).numpy()


def test_logits_are_those_that_transformers_computed(tmp_path):
    golden = np.array(json.loads(models.GOLDEN.read_text())["marian"])
    folder = models.write(tmp_path / "model", "marian")
    found = ours(folder)[:, -2:]
    assert np.abs(found - golden).max() < 1e-4 < np.abs(golden).max() / 1e3
    for name in ("decoder.layers.1.encoder_attn.k_proj.weight", "encoder.layers.2.fc1.bias"):
        changed = {f"model.{name}": models.tensors("marian")[f"model.{name}"] * 1.1}
        other = ours(models.write(tmp_path / name, "marian", changed))
        assert np.abs(other[:, -2:] - golden).max() > 1e-4  # The control.


@needs_transformers
@pytest.mark.parametrize("activation", ["gelu", "swish", "relu", "gelu_new"])
@pytest.mark.parametrize("tied", [True, False])
def test_logits_equal_those_of_transformers(activation, tied, tmp_path):
    changed = {} if tied else {"lm_head.weight": models.numbers((models.V, models.D), 77).astype(np.float32)}
    config = {"activation_function": activation, "tie_word_embeddings": tied}
    folder = models.write(tmp_path / "model", "marian", changed, config)
    assert np.abs(ours(folder) - models.theirs(folder, None)).max() < 1e-4


def test_written_and_read_again(tmp_path):
    """Tensors come back bit by bit, and config.json with its keys."""
    folder = models.write(tmp_path / "model", "marian", config={"num_beams": 6, "max_length": 512})
    read = exchange.read(folder)
    model = read.build()
    export.write(tmp_path / "out", model, read.config, read.tokenizer, read.files)
    before = safetensors.numpy.load_file(folder / "model.safetensors")
    after = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config | {"architectures": None, "dtype": None} == {
        **json.loads((folder / "config.json").read_text()), "architectures": None, "dtype": None,
    }  # fmt: skip
    assert read.tokenizer.begin_id == 59
    del before["final_logits_bias"]
    models.write(tmp_path / "new", "marian")
    export.write(tmp_path / "alone", model, read.config, read.tokenizer)
    found = ours(tmp_path / "alone")
    np.testing.assert_array_equal(found, ours(folder))


def test_copies_of_the_embedding_have_to_be_equal(tmp_path):
    table = models.tensors("marian")["model.shared.weight"]
    names = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    positions = {"model.encoder.embed_positions.weight": np.ones([16, models.D], np.float32)}
    folder = models.write(tmp_path / "same", "marian", {**dict.fromkeys(names, table), **positions})
    np.testing.assert_array_equal(ours(folder), ours(models.write(tmp_path / "one", "marian")))
    with pytest.raises(InputError, match=r"'decoder.embed_tokens.weight' differs from 'shared.weight'"):
        ours(models.write(tmp_path / "other", "marian", {names[1]: table + 1}))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"decoder_ffn_dim": 44}, "40 for 'encoder_ffn_dim' and 44 for 'decoder_ffn_dim'"),
        ({"decoder_vocab_size": 61}, "61 for 'decoder_vocab_size'"),
        ({"scale_embedding": False}, "no 'scale_embedding' that is true"),
        ({"activation_function": "tanh"}, "'tanh' for 'activation_function'"),
        ({"normalize_before": True}, "True for 'normalize_before'"),
        ({"share_encoder_decoder_embeddings": False}, "False for 'share_encoder_decoder_embeddings'"),
        ({"decoder_start_token_id": None}, "no 'decoder_start_token_id'"),
        ({"unheard_of": 1}, "unknown here, 'unheard_of'"),
    ],
)
def test_refused(config, message, tmp_path):
    with pytest.raises(InputError, match=message):
        exchange.read(models.write(tmp_path / "model", "marian", config=config))
