"""What is wrong with a GGUF file, or has no counterpart there, is told in one line."""

import os
import sys

import folders_of_models as models
import gguf
import numpy as np
import pytest
from gguf_files import LLAMA3, rewritten, written

from lm_keras.checkpoints.gguf import package, reading, writing
from lm_keras.errors import InputError
from lm_keras.training import conversion


def test_a_damaged_file_is_refused_in_one_line(tmp_path):
    written("llama", tmp_path)
    content = (tmp_path / "m.gguf").read_bytes()
    random = np.random.default_rng(4)
    cut = [content[:size] for size in (0, 3, 4, 11, 23, 24, 40, 500, len(content) // 2, len(content) - 9)]
    huge = [content[:at] + b"\xff" * 7 + content[at + 7 :] for at in (8, 16, 24, 32)]
    swapped = [content[:4] + content[4:8][::-1] + content[8:], b"GGUF" + bytes(random.bytes(999)), b"[]"]
    for number, damaged in enumerate([*cut, *huge, *swapped]):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(damaged)
        with pytest.raises(InputError) as caught:
            reading.read(path).build()
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    os.mkfifo(tmp_path / "pipe.gguf")
    for name, message in (("pipe", "no regular file"), ("none", "No such file"), ("folder", "")):
        with pytest.raises(InputError, match=rf"cannot read .*{name}.*: .*{message}"):
            reading.read(tmp_path / (name if name == "folder" else f"{name}.gguf"))


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (
            "llama",
            {"general.architecture": "gemma"},
            "the architecture 'gemma'; known are llama, qwen2, qwen3, gpt2",
        ),
        ("llama", {"llama.expert_count": 8}, "8 for 'llama.expert_count', which is not supported here"),
        ("llama", {"llama.logit_scale": 0.5}, "0.5 for 'llama.logit_scale', which is not supported here"),
        ("llama", {"llama.attention.sliding_window": 15}, "15 for 'llama.attention.sliding_window'"),
        ("llama", {"llama.rope.dimension_count": 4}, "4 for 'llama.rope.dimension_count'"),
        ("llama", {"llama.rope.scaling.type": "longrope"}, "'longrope' for 'llama.rope.scaling.type'"),
        ("llama", {"llama.rope.scaling.attn_factor": 2.0}, "2.0 for 'llama.rope.scaling.attn_factor'"),
        ("llama", {"llama.block_count": 3}, "the tensor 'layers.2.input_layernorm.weight' is missing"),
        ("llama", {"llama.block_count": 10**6}, "--num_layers=1000000 is out of range"),
        (
            "llama",
            {"llama.embedding_length": 48, "llama.rope.dimension_count": 12},
            "has the shape [24], expected [48]",
        ),
        ("llama", {"llama.feed_forward_length": 2**30}, "bytes of weights, and there are"),
        ("gpt2", {"gpt2.attention.head_count": 5}, "--num_heads=5 do not divide --embedding_dim=24"),
        ("gpt2", {"split.count": 2}, "is one of several files; join them with llama-gguf-split --merge"),
        (
            "gpt2",
            {"tokenizer.ggml.model": "bert"},
            "a tokenizer of the kind 'bert'; known are gpt2 and llama",
        ),
        ("gpt2", {"tokenizer.ggml.pre": "odd"}, "its tokenizer cuts texts as 'odd' does"),
        ("gpt2", {"tokenizer.ggml.eos_token_id": 99}, "99 for the token that begins or ends a text"),
        ("gpt2", {"tokenizer.ggml.tokens": ["a", "b"]}, "2 tokens, and 60 of 'tokenizer.ggml.token_type'"),
        (
            "gpt2",
            {"tokenizer.ggml.merges": ["ab"]},
            "its tokenizer merges 'ab', which is not a pair of tokens",
        ),
    ],
    ids=str,
)
def test_what_does_not_exist_here_is_refused(kind, fields, message, tmp_path):
    written(kind, tmp_path)
    path = rewritten(tmp_path / "m.gguf", tmp_path / "other.gguf", fields=dict(fields))
    if "general.architecture" not in fields:
        reading.read(rewritten(tmp_path / "m.gguf", tmp_path / "same.gguf")).build()  # The control.
    with pytest.raises(InputError) as caught:
        reading.read(path).build()
    assert message in str(caught.value) and "\n" not in str(caught.value)


ROPE_NUMBERS = "rope_freqs.weight has other numbers than those of LLaMA 3"


def test_what_a_file_lacks_or_has_too_much(tmp_path):
    written("llama", tmp_path, config={"rope_parameters": LLAMA3, "rope_theta": 500_000.0})
    source, kind = tmp_path / "m.gguf", gguf.GGMLQuantizationType.F32
    for number, (dropped, tensors, message) in enumerate([
        (("llama.attention.head_count",), {}, "has no 'llama.attention.head_count'"),
        (("tokenizer.ggml.eos_token_id",), {}, "has no 'tokenizer.ggml.eos_token_id': nothing tells"),
        (("blk.1.ffn_up.weight",), {}, "the tensor 'layers.1.mlp.up_proj.weight' is missing"),
        ((), {"blk.1.attn_q.bias": (np.ones(24, np.float32), kind)}, "belongs to no such network"),
        ((), {"odd": (np.ones(24, np.float32), kind)}, "the tensor 'odd' belongs to no such network"),
        ((), {"rope_freqs.weight": (np.array([1, 2, 3], np.float32), kind)}, ROPE_NUMBERS),
        ((), {"rope_freqs.weight": (np.array([1, 32], np.float32), kind)}, ROPE_NUMBERS),
        ((), {"output.weight": (np.full([60, 24], np.nan, np.float32), kind)}, "numbers that are not finite"),
    ]):  # fmt: skip
        path = rewritten(source, tmp_path / f"{number}.gguf", tensors, dropped=dropped)
        with pytest.raises(InputError) as caught:
            reading.read(path).build()
        assert message in str(caught.value) and "\n" not in str(caught.value)
    ones = {"rope_freqs.weight": (np.ones(3, np.float32), kind)}
    path = rewritten(source, tmp_path / "ones.gguf", ones)
    assert reading.read(path).settings["rotary_scaling"] is None


def test_networks_and_tokenizers_without_a_counterpart(tmp_path):
    folder = models.write(tmp_path / "model", "bert")
    conversion.to_run(str(folder), str(tmp_path / "run"))
    with pytest.raises(
        InputError, match="--to_gguf writes llama, mistral, qwen2, qwen3, gpt2, and this network"
    ):
        conversion.gguf_from_run(str(tmp_path / "run"), "last", str(tmp_path / "m.gguf"), "f16")
    imported = written("gpt2", tmp_path)
    with pytest.raises(InputError, match=r"m\.gguf exists already; choose another file, or delete that one"):
        writing.write(tmp_path / "m.gguf", "f16", None, imported.config, imported.tokenizer)
    yarn = {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.5, "rope_theta": 500.0}
    with pytest.raises(InputError, match="GGUF has no attention_factor of yarn's"):
        written("llama", tmp_path / "yarn", config={"rope_parameters": yarn})


def test_without_the_package(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(InputError, match=r"needs the package gguf: pip install 'lm_keras\[gguf\]'"):
        package.imported()
