"""Models as GGUF files, there and back, with the networks of folders_of_models.py."""

import json

import folders_of_models as models
import gguf
import numpy as np
import pytest
from gguf_files import LLAMA3, TEMPLATE, written

import lm_keras
from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.gguf import reading
from lm_keras.training import conversion

KINDS = ["gpt2", "llama", "mistral", "qwen2", "qwen3"]
ROPES = {
    "llama3": LLAMA3,
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 500.0},
    "yarn": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 16.0,
        "rope_theta": 500.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_laid_out_as_llama_cpp_reads_it(kind, tmp_path):
    """Written by hand from llama.cpp's convert_hf_to_gguf.py."""
    written(kind, tmp_path)
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    value = {name: field.contents() for name, field in reader.fields.items()}
    name = {"mistral": "llama"}.get(kind, kind)
    assert value["general.architecture"] == name and value["general.file_type"] == 0
    assert [value[f"{name}.{key}"] for key in (
        "context_length", "embedding_length", "block_count", "feed_forward_length", "attention.head_count"
    )] == [models.PLACES, models.D, models.L, models.F, models.H]  # fmt: skip
    there = {
        n.removeprefix("transformer.").removeprefix("model."): w for n, w in models.tensors(kind).items()
    }
    if kind == "gpt2":
        np.testing.assert_array_equal(found["blk.1.attn_qkv.weight"], there["h.1.attn.c_attn.weight"].T)
        np.testing.assert_array_equal(found["blk.0.ffn_down.weight"], there["h.0.mlp.c_proj.weight"].T)
        np.testing.assert_array_equal(found["position_embd.weight"], there["wpe.weight"])
        assert "output.weight" not in found and value["gpt2.attention.layer_norm_epsilon"] == np.float32(1e-5)
    else:
        width = models.CONFIGS[kind].get("head_dim", 6)
        assert value[f"{name}.attention.head_count_kv"] == models.K
        assert value[f"{name}.rope.freq_base"] == 500 and value[f"{name}.rope.dimension_count"] == width
        assert value.get(f"{name}.attention.key_length", 6) == width
        rows = there["layers.1.self_attn.k_proj.weight"]
        if name == "llama":  # The pairs of rotary positions are neighbours there.
            order = [h * width + i + half * (width // 2)
                for h in range(models.K) for i in range(width // 2) for half in (0, 1)]  # fmt: skip
            assert order[:4] == [0, width // 2, 1, width // 2 + 1]
            rows = rows[order]
        np.testing.assert_array_equal(found["blk.1.attn_k.weight"], rows)
        np.testing.assert_array_equal(found["blk.0.ffn_gate.weight"], there["layers.0.mlp.gate_proj.weight"])
        np.testing.assert_array_equal(found["output.weight"], there["lm_head.weight"])
        own = {"qwen2": ["attn_q.bias", "attn_k.bias", "attn_v.bias"],
            "qwen3": ["attn_q_norm.weight", "attn_k_norm.weight"]}  # fmt: skip
        assert {f"blk.0.{name}" for name in own.get(kind, [])} == {
            n for n in found if "blk.0" in n and ("bias" in n or "q_norm" in n or "k_norm" in n)
        }
    assert value["tokenizer.ggml.model"] == "gpt2" and value["tokenizer.ggml.pre"] == "gpt-2"
    assert value["tokenizer.ggml.tokens"][:2] == ["<|endoftext|>", '"']
    assert value["tokenizer.ggml.token_type"][:2] == [3, 1]
    assert value["tokenizer.chat_template"] == TEMPLATE


@pytest.mark.parametrize(
    ("kind", "rope"), [*((kind, None) for kind in KINDS), *(("llama", r) for r in ROPES)]
)
def test_there_and_back(kind, rope, tmp_path, capfd):
    """Weights bit by bit, settings, tokens and the template; and on to a folder."""
    config = {"rope_parameters": ROPES[rope], "rope_theta": ROPES[rope]["rope_theta"]} if rope else None
    before = written(kind, tmp_path, config=config)
    conversion.gguf_to_run(str(tmp_path / "m.gguf"), str(tmp_path / "run"))
    lm = lm_keras.load(tmp_path / "run")
    for ours, theirs in zip(lm.model.weights, before.build().weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(lm.logits(models.IDS), before.build()(np.array(models.IDS)), atol=2e-5)
    flat, then = lm.config.flat(), before.config.flat()
    assert {name for name in flat if flat[name] != then[name]} == {"tokenizer"}
    assert flat["rotary_scaling"] is None or rope
    assert lm.tokenizer.encode("AB~<|endoftext|>") == before.tokenizer.encode("AB~<|endoftext|>")
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    beside = json.loads((tmp_path / "back" / "tokenizer_config.json").read_text())
    assert beside["chat_template"] == TEMPLATE and beside["eos_token"] == "<|endoftext|>"
    for ours, theirs in zip(lm.model.weights, exchange.read(tmp_path / "back").build().weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    conversion.gguf_from_run(str(tmp_path / "run"), "last", str(tmp_path / "again.gguf"), "f32")
    first, second = (gguf.GGUFReader(tmp_path / name) for name in ("m.gguf", "again.gguf"))
    for one, other in zip(first.tensors, second.tensors, strict=True):
        assert one.name == other.name
        np.testing.assert_array_equal(one.data, other.data)
    changed = {n for n in first.fields.keys() | second.fields.keys() if n not in first.fields
        or n not in second.fields or first.fields[n].contents() != second.fields[n].contents()}  # fmt: skip
    assert changed <= {"GGUF.kv_count", "general.name"}


def test_the_script(script, tmp_path, capfd):
    written("qwen3", tmp_path)
    path, run = tmp_path / "m.gguf", tmp_path / "run"
    assert script("convert.py", f"--from_gguf={path}", f"--run_dir={run}").code == 0
    assert (
        script("convert.py", f"--to_gguf={tmp_path / 'b.gguf'}", "--gguf_type=f32", f"--run_dir={run}").code
        == 0
    )
    assert reading.read(tmp_path / "b.gguf").settings == reading.read(path).settings
    ended = script("convert.py", f"--from_gguf={path}", f"--to_hf={tmp_path / 'x'}", f"--run_dir={run}")
    assert ended.code != 0 and "give one of --from_hf=FOLDER and --from_gguf=FILE" in ended.err
