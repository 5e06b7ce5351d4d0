"""The types of numbers in GGUF files."""

import os

import folders_of_models as models
import gguf
import numpy as np
import pytest
from gguf_files import rewritten

from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.gguf import reading, writing
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES


@pytest.mark.parametrize(("gguf_type", "most"), [("f16", 5e-4), ("q8_0", 5e-3)])
def test_numbers_of_few_bits(gguf_type, most, tmp_path):
    """Of matrices only; where 32 numbers do not fill a row they have 16 bits, which a line says."""
    settings = {"model": "gpt", "num_layers": 1, "embedding_dim": 32, "hidden_units": 40, "num_heads": 2}
    config = from_flat({**settings, "sequence_length": 9})
    model = FAMILIES["gpt"](config, models.V)
    random = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(random.uniform(-1, 1, variable.shape))
    tokenizer = exchange.read(models.write(tmp_path / "folder", "gpt2")).tokenizer
    lines = writing.write(tmp_path / "m.gguf", gguf_type, model, config, tokenizer)
    assert lines[1:] == (
        ["matrices in f16 instead of q8_0, because 32 does not divide the length of their rows: 1"]
        if gguf_type == "q8_0"
        else []
    )
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "m.gguf").tensors}
    assert kinds["blk.0.attn_qkv.weight"] == gguf_type.upper() and kinds["blk.0.attn_qkv.bias"] == "F32"
    assert kinds["position_embd.weight"] == "F32" and kinds["blk.0.ffn_down.weight"] == "F16"
    again = reading.read(tmp_path / "m.gguf").build()
    differences = [
        np.abs(a.numpy() - b.numpy()).max()
        for a, b in zip(again.trainable_variables, model.trainable_variables, strict=True)
    ]
    assert 0 < max(differences) < most
    model.embedding.embeddings.assign(np.full(model.embedding.embeddings.shape, 1e5))
    with pytest.raises(InputError, match=r"beyond 65504, which f16 cannot hold; take --gguf_type=f32"):
        writing.write(tmp_path / "large.gguf", "f16", model, config, tokenizer)
    assert sorted(os.listdir(tmp_path)) == ["folder", "m.gguf"]


def from_blocks(kind, blocks):
    """The numbers of the blocks of llama.cpp's k-quants, by the loops of its ggml-quants.c."""
    found = []
    for block in blocks:
        if kind == "Q4_K":
            d, dmin = block[:4].view(np.float16).astype(np.float32)
            scales, codes, y = block[4:16].astype(int), block[16:].astype(int), []
            for j in range(8):
                if j < 4:
                    scale, least = scales[j] & 63, scales[j + 4] & 63
                else:
                    scale = (scales[j + 4] & 0xF) | ((scales[j - 4] >> 6) << 4)
                    least = (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4)
                part = codes[32 * (j // 2) : 32 * (j // 2) + 32]
                y.append(d * scale * ((part >> 4) if j % 2 else (part & 0xF)) - dmin * least)
        else:
            low, high = block[:128].astype(int), block[128:192].astype(int)
            scales, d, y = block[192:208].view(np.int8).astype(int), block[208:].view(np.float16)[0], []
            for n in range(2):
                for quarter in range(4):
                    part = low[64 * n + 32 * (quarter % 2) :][:32] >> (4 if quarter > 1 else 0) & 0xF
                    code = (part | ((high[32 * n :][:32] >> 2 * quarter & 3) << 4)) - 32
                    each = scales[8 * n + 2 * quarter :][:2].repeat(16)
                    y.append(np.float32(d) * each * code)
        found.append(np.concatenate(y))
    return np.concatenate(found).astype(np.float32)


def test_numbers_of_every_type_that_is_read(tmp_path):
    """A file with an embedding of each; those that the package cannot make are random blocks."""
    config = from_flat({"model": "gpt", "num_layers": 1, "embedding_dim": 256, "num_heads": 2,
        "hidden_units": 32, "sequence_length": 9})  # fmt: skip
    model, random = FAMILIES["gpt"](config, models.V), np.random.default_rng(2)
    tokenizer = exchange.read(models.write(tmp_path / "folder", "gpt2")).tokenizer
    writing.write(tmp_path / "m.gguf", "f32", model, config, tokenizer)
    values, size = random.uniform(-1, 1, [models.V, 256]).astype(np.float32), {"Q4_K": 144, "Q6_K": 210}
    bits = {"F32": 24, "F16": 11, "BF16": 8, "Q8_0": 7, "Q5_0": 4, "Q5_1": 5, "Q4_0": 3, "Q4_1": 4}
    assert {*bits, *size} == {*reading.FLOATS}
    for name in reading.FLOATS:
        kind = gguf.GGMLQuantizationType[name]
        if name in size:
            data = random.integers(0, 256, [models.V, size[name]]).astype(np.uint8)
            scales = random.uniform(-1e-3, 1e-3, [models.V, 2]).astype(np.float16).view(np.uint8)
            data[:, :4] = scales if name == "Q4_K" else data[:, :4]
            data[:, 208:] = scales[:, :2] if name == "Q6_K" else data[:, 208:]
            expected, most = from_blocks(name, data).reshape(values.shape), 1e-6
        else:
            data, expected, most = gguf.quants.quantize(values, kind), values, 1.1 * 2.0 ** -bits[name]
        path = rewritten(tmp_path / "m.gguf", tmp_path / f"{name}.gguf", {"token_embd.weight": (data, kind)})
        found = reading.read(path).build().embedding.embeddings.numpy()
        assert np.abs(found - expected).max() <= most, name
    data = random.integers(0, 256, [models.V, 84]).astype(np.uint8)
    kind = gguf.GGMLQuantizationType.Q2_K
    path = rewritten(tmp_path / "m.gguf", tmp_path / "other.gguf", {"token_embd.weight": (data, kind)})
    with pytest.raises(
        InputError, match=r"'token_embd.weight' has numbers of type Q2_K, expected one of F32"
    ):
        reading.read(path).build()
