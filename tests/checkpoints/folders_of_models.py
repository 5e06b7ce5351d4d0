"""Folders as `transformers` writes them, with weights that a formula makes: V 60, L 2 blocks, H 4 heads, 16
places.

`python tests/checkpoints/folders_of_models.py` writes what `transformers` computes for them into
golden_logits.json.
"""

import json
import sys
from pathlib import Path

import numpy as np
import safetensors.numpy
import tokenizers as library

V, D, F, L, H, K, PLACES = 60, 24, 40, 2, 4, 2, 16
GOLDEN = Path(__file__).with_name("golden_logits.json")
SOURCES, LENGTHS = [[5, 17, 59, 0, 3, 3, 41], [9, 8, 7, 6, 0, 59, 59]], [7, 5]
TARGETS = [[59, 2, 44, 3, 9], [59, 1, 30, 30, 0]]
IDS = [[5, 17, 59, 0, 3, 3, 41, 22, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]]

CONFIGS = {
    "gpt2": {
        "model_type": "gpt2", "vocab_size": V, "n_positions": PLACES, "n_embd": D, "n_layer": L, "n_head": H,
        "n_inner": F,
        "eos_token_id": 0, "bos_token_id": 0, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    },
    "llama": {
        "model_type": "llama", "vocab_size": V, "max_position_embeddings": PLACES, "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K, "rms_norm_eps": 1e-5,
        "rope_theta": 500.0,
        "hidden_act": "silu", "eos_token_id": 0, "bos_token_id": 0, "tie_word_embeddings": False,
    },
    "mistral": {
        "model_type": "mistral", "vocab_size": V, "max_position_embeddings": PLACES, "hidden_size": D,
        "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K,
        "head_dim": 10, "rms_norm_eps": 1e-5, "rope_theta": 500.0, "sliding_window": None,
        "hidden_act": "silu", "eos_token_id": 0, "bos_token_id": 0, "tie_word_embeddings": False,
    },
    "qwen2": {
        "model_type": "qwen2", "vocab_size": V, "max_position_embeddings": PLACES, "hidden_size": D,
        "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K,
        "rms_norm_eps": 1e-6, "rope_theta": 500.0, "use_sliding_window": False, "sliding_window": 4,
        "max_window_layers": 1, "hidden_act": "silu", "eos_token_id": 0, "bos_token_id": 0,
        "tie_word_embeddings": False,
    },
    "qwen3": {
        "model_type": "qwen3", "vocab_size": V, "max_position_embeddings": PLACES, "hidden_size": D,
        "intermediate_size": F, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K,
        "head_dim": 10, "rms_norm_eps": 1e-6, "rope_theta": 500.0, "use_sliding_window": False,
        "hidden_act": "silu", "eos_token_id": 0, "bos_token_id": 0, "tie_word_embeddings": False,
    },
    "bert": {
        "model_type": "bert", "vocab_size": V, "max_position_embeddings": PLACES, "hidden_size": D,
        "intermediate_size": F,
        "num_hidden_layers": L, "num_attention_heads": H, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "pad_token_id": 0,
    },
    "marian": {
        "model_type": "marian", "vocab_size": V, "max_position_embeddings": PLACES, "d_model": D,
        "encoder_layers": L + 1, "decoder_layers": L, "encoder_attention_heads": H,
        "decoder_attention_heads": H, "encoder_ffn_dim": F, "decoder_ffn_dim": F,
        "activation_function": "swish", "scale_embedding": True, "is_encoder_decoder": True,
        "decoder_start_token_id": V - 1, "pad_token_id": V - 1, "eos_token_id": 0, "forced_eos_token_id": 0,
    },
}  # fmt: skip


PREFIXES = {
    "gpt2": "transformer.", "llama": "model.", "mistral": "model.", "qwen2": "model.", "qwen3": "model.",
    "bert": "bert.", "marian": "model.",
}  # fmt: skip

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    ",",
    "the",
    *LETTERS,
    *(f"##{letter}" for letter in LETTERS),
    ".",
]


def shapes(kind):
    """The tensors of a model with their shapes, without a prefix."""
    found = {}
    if kind == "gpt2":
        found |= {"wte.weight": (V, D), "wpe.weight": (PLACES, D)}
        for n in range(L):
            for name, shape in (
                ("ln_1", (D,)), ("attn.c_attn", (D, 3 * D)), ("attn.c_proj", (D, D)), ("ln_2", (D,)),
                ("mlp.c_fc", (D, F)),
                ("mlp.c_proj", (F, D)),
            ):  # fmt: skip
                found |= {f"h.{n}.{name}.weight": shape, f"h.{n}.{name}.bias": shape[-1:]}
        return found | {"ln_f.weight": (D,), "ln_f.bias": (D,)}
    if kind == "bert":
        return bert_shapes()
    if kind == "marian":
        return marian_shapes()
    found["embed_tokens.weight"] = (V, D)
    width = CONFIGS[kind].get("head_dim", D // H)
    for n in range(L):
        for name, shape in (
            ("input_layernorm", (D,)), ("self_attn.q_proj", (H * width, D)),
            ("self_attn.k_proj", (K * width, D)),
            ("self_attn.v_proj", (K * width, D)), ("self_attn.o_proj", (D, H * width)),
            ("post_attention_layernorm", (D,)),
            ("mlp.gate_proj", (F, D)), ("mlp.up_proj", (F, D)), ("mlp.down_proj", (D, F)),
        ):  # fmt: skip
            found[f"layers.{n}.{name}.weight"] = shape
        for name, heads in (("q", H), ("k", K), ("v", K)):
            if kind == "qwen2":
                found[f"layers.{n}.self_attn.{name}_proj.bias"] = (heads * width,)
            if kind == "qwen3" and name != "v":
                found[f"layers.{n}.self_attn.{name}_norm.weight"] = (width,)
    return found | {"norm.weight": (D,), "lm_head.weight": (V, D)}


def bert_shapes():
    def dense(name, rows, columns):
        return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}

    def norm(name):
        return {f"{name}.LayerNorm.weight": (D,), f"{name}.LayerNorm.bias": (D,)}

    found = {
        "embeddings.word_embeddings.weight": (V, D), "embeddings.position_embeddings.weight": (PLACES, D),
        "embeddings.token_type_embeddings.weight": (2, D), **norm("embeddings"),
    }  # fmt: skip
    for n in range(L):
        there = f"encoder.layer.{n}."
        for name in ("query", "key", "value"):
            found |= dense(f"{there}attention.self.{name}", D, D)
        found |= dense(f"{there}attention.output.dense", D, D) | norm(f"{there}attention.output")
        found |= dense(f"{there}intermediate.dense", F, D) | dense(f"{there}output.dense", D, F)
        found |= norm(f"{there}output")
    found |= dense("cls.predictions.transform.dense", D, D) | norm("cls.predictions.transform")
    return found | {"cls.predictions.bias": (V,)}


def marian_shapes():
    def dense(name, rows, columns):
        return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}

    found = {"shared.weight": (V, D), "final_logits_bias": (1, V)}
    for side, layers in (("encoder", L + 1), ("decoder", L)):
        for n in range(layers):
            there = f"{side}.layers.{n}."
            for part in ("self_attn", "encoder_attn") if side == "decoder" else ("self_attn",):
                for name in ("k", "v", "q", "out"):
                    found |= dense(f"{there}{part}.{name}_proj", D, D)
                found |= {f"{there}{part}_layer_norm.{name}": (D,) for name in ("weight", "bias")}
            found |= dense(f"{there}fc1", F, D) | dense(f"{there}fc2", D, F)
            found |= {f"{there}final_layer_norm.{name}": (D,) for name in ("weight", "bias")}
    return found


def numbers(shape, number):
    """Numbers between -1/2 and 1/2 that look random."""
    values = np.sin(np.arange(np.prod(shape)) * 12.9898 + 78.233 * number) * 43_758.5453
    return (values - np.floor(values) - 0.5).reshape(shape)


def tensors(kind):
    """Weights that look random and are the same everywhere, named as a whole model names them."""
    prefix, made = PREFIXES[kind], {}
    for number, (name, shape) in enumerate(shapes(kind).items()):
        values = numbers(shape, number)
        bare = name.startswith(("lm_head.", "cls.", "final_logits_bias"))
        full = name if bare else prefix + name
        made[full] = (values + (1 if len(shape) == 1 and "weight" in name else 0)).astype(np.float32)
    return made


def tokenizer():
    """As many tokens as the model has."""
    letters = {chr(0x21 + n): n for n in range(1, V)}
    made = library.Tokenizer(library.models.BPE(vocab={"<|endoftext|>": 0, **letters}, merges=[]))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>"])
    return made


def write(folder, kind, changed=None, config=None):
    """Write a model's folder; `changed` are tensors that differ, None for those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value for name, value in {**tensors(kind), **(changed or {})}.items() if value is not None
    }
    safetensors.numpy.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({**CONFIGS[kind], **(config or {})}))
    if kind == "bert":
        (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    else:
        tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def _own(*shape):
    return numbers(shape, 99).astype(np.float32)


OUTPUTS = {
    "an output matrix of its own, gpt2": ("gpt2", {"lm_head.weight": _own(V, D)}, {}),
    "an output matrix of its own, llama": ("llama", {"lm_head.weight": _own(V, D)},
        {"tie_word_embeddings": True}),
    "an output matrix of its own, bert": ("bert", {"cls.predictions.decoder.weight": _own(V, D)}, {}),
    "a bias of its own, bert": ("bert", {"cls.predictions.decoder.bias": _own(V)}, {}),
    "output and bias of its own, bert": (
        "bert",
        {"cls.predictions.decoder.weight": _own(V, D), "cls.predictions.decoder.bias": _own(V)},
        {"tie_word_embeddings": False},
    ),
    "an output matrix and no embedding, llama": (
        "llama", {"model.embed_tokens.weight": None, "lm_head.weight": _own(V, D)},
        {"tie_word_embeddings": True},
    ),
    "an output matrix that is none of the embedding, gpt2": (
        "gpt2", {"lm_head.weight": _own(V, D)}, {"tie_word_embeddings": False},
    ),
}  # fmt: skip
"""Models whose output is not the one that config.json tells of, or has other names: kind, tensors and
settings that differ.
"""


ROTARY = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn with all settings": {
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 12, "beta_fast": 2.0,
        "beta_slow": 0.25, "mscale": 0.5, "mscale_all_dim": 1.5,
    },
    "yarn with an attention factor": {"rope_type": "yarn", "factor": 2.0, "attention_factor": 1.75},
}  # fmt: skip
"""Scalings of rotary positions."""

SCALED = {
    f"{name}, {kind}": (kind, {}, {"rope_parameters": {"rope_theta": 500.0, **inside}})
    for name, inside in ROTARY.items()
    for kind in (("llama", "qwen3") if name == "yarn" else ("llama",))
}
"""Models with such positions, as `OUTPUTS`."""


def theirs(folder, ids):
    """Logits of `transformers`."""
    import torch
    import transformers

    family = json.loads((folder / "config.json").read_text())["model_type"]
    kinds = {"bert": transformers.AutoModelForMaskedLM, "marian": transformers.MarianMTModel}
    model = kinds.get(family, transformers.AutoModelForCausalLM).from_pretrained(folder).eval()
    with torch.no_grad():
        if family != "marian":
            return model(torch.tensor(ids)).logits.numpy()
        there = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
        inputs = {"input_ids": torch.tensor(SOURCES), "attention_mask": there.int()}
        return model(**inputs, decoder_input_ids=torch.tensor(TARGETS)).logits.numpy()


if __name__ == "__main__":
    import tempfile

    made = {}
    for name, (kind, changed, config) in (
        {kind: (kind, {}, {}) for kind in CONFIGS} | OUTPUTS | SCALED
    ).items():
        with tempfile.TemporaryDirectory() as folder:
            logits = theirs(write(Path(folder), kind, changed, config), IDS)
            made[name] = np.round(logits[:, -2:].astype(float), 5).tolist()
    GOLDEN.write_text(json.dumps(made) + "\n")
    print(GOLDEN, file=sys.stderr)
