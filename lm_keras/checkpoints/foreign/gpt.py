"""How GPT-2 and LLaMA name and lay out what a GPT of ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.kind import Kind, Part, only, value_of
from lm_keras.config import Config, from_flat
from lm_keras.errors import InputError
from lm_keras.models.gpt import block_settings
from lm_keras.text.tokenizer import Tokenizer


def _common(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings of a GPT, checked."""
    flat = {"model": "gpt", **settings}
    flat["sequence_length"] = flat["context_length"]
    from_flat(flat)
    return flat


def _gpt2_settings(config: dict[str, Any]) -> dict[str, Any]:
    only(
        config,
        {
            "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "tie_word_embeddings": (True,),
            "add_cross_attention": (False,),
        },
    )
    width = value_of(config, "n_embd")
    return _common(
        {
            "num_layers": value_of(config, "n_layer"),
            "embedding_dim": width,
            "num_heads": value_of(config, "n_head"),
            "hidden_units": value_of(config, "n_inner", 4 * width),
            "context_length": value_of(config, "n_positions", config.get("n_ctx")),
            "norm_epsilon": value_of(config, "layer_norm_epsilon", 1e-5, (float, int)),
        }
    )


def _gpt2_parts(config: Config, vocab_size: int) -> list[Part]:
    block = block_settings(config.model)
    width, wide = block.width, block.hidden_units
    parts = [
        Part("embedding/embeddings", ("wte.weight",), (width,)),
        Part("places", ("wpe.weight",), (width,)),
    ]
    for n in range(config.model.num_layers):
        for ours, theirs, columns in (
            ("attention_norm", "ln_1", width),
            ("query_key_value", "attn.c_attn", 3 * width),
            ("attention_output", "attn.c_proj", width),
            ("feed_forward_norm", "ln_2", width),
            ("feed_forward", "mlp.c_fc", wide),
            ("feed_forward_output", "mlp.c_proj", width),
        ):
            weight = "gain" if "norm" in ours else "kernel"
            parts += [
                Part(f"block_{n}/{ours}_{weight}", (f"h.{n}.{theirs}.weight",), (columns,)),
                Part(f"block_{n}/{ours}_bias", (f"h.{n}.{theirs}.bias",), (columns,)),
            ]
    return [
        *parts,
        Part("norm_gain", ("ln_f.weight",), (width,)),
        Part("norm_bias", ("ln_f.bias",), (width,)),
    ]


def _gpt2_config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocab_size,
        "n_positions": config.context_length, "n_embd": model.embedding_dim, "n_layer": model.num_layers,
        "n_head": model.num_heads, "n_inner": model.units, "activation_function": "gelu_new",
        "layer_norm_epsilon": model.norm_epsilon, "tie_word_embeddings": True, "bos_token_id": tokenizer.begin_id,
        "eos_token_id": tokenizer.eod_id,
        "resid_pdrop": model.dropout, "embd_pdrop": model.dropout, "attn_pdrop": model.dropout,
    }  # fmt: skip


def _llama_settings(config: dict[str, Any]) -> dict[str, Any]:
    only(
        config,
        {
            "hidden_act": ("silu",), "attention_bias": (False,), "mlp_bias": (False,), "rope_scaling": (None,),
            "pretraining_tp": (1,), "sliding_window": (None,),
        },
    )  # fmt: skip
    rope = config.get("rope_parameters") or {}
    if not isinstance(rope, dict) or rope.get("rope_type", "default") != "default":
        raise InputError(
            f"config.json has {rope!r} for 'rope_parameters', which is not supported; known is the type 'default'"
        )
    width, heads = value_of(config, "hidden_size"), value_of(config, "num_attention_heads")
    if config.get("head_dim") not in (None, width // heads):
        raise InputError(
            f"config.json has {config['head_dim']!r} for 'head_dim', which is not supported; known is hidden_size over "
            "num_attention_heads"
        )
    return _common(
        {
            "num_layers": value_of(config, "num_hidden_layers"),
            "embedding_dim": width,
            "num_heads": heads,
            "num_kv_heads": value_of(config, "num_key_value_heads", heads),
            "hidden_units": value_of(config, "intermediate_size"),
            "context_length": value_of(config, "max_position_embeddings", 2048),
            "rotary_base": float(value_of({**config, **rope}, "rope_theta", 10_000.0, (float, int))),
            "norm_epsilon": value_of(config, "rms_norm_eps", 1e-6, (float, int)),
            "tie_embeddings": value_of(config, "tie_word_embeddings", False, (bool,)),
            "positions": "rotary",
            "norm": "rms",
            "activation": "swiglu",
            "biases": False,
        }
    )


def _llama_parts(config: Config, vocab_size: int) -> list[Part]:
    block = block_settings(config.model)
    width, keys = block.width, block.num_kv_heads * block.head_width
    parts = [Part("embedding/embeddings", ("embed_tokens.weight",), (width,))]
    for n in range(config.model.num_layers):
        there, here = f"layers.{n}.", f"block_{n}/"
        projections = tuple(f"{there}self_attn.{name}_proj.weight" for name in "qkv")
        both = (f"{there}mlp.gate_proj.weight", f"{there}mlp.up_proj.weight")
        parts += [
            Part(f"{here}attention_norm_gain", (f"{there}input_layernorm.weight",), (width,)),
            Part(f"{here}query_key_value_kernel", projections, (width, keys, keys), True),
            Part(f"{here}attention_output_kernel", (f"{there}self_attn.o_proj.weight",), (width,), True),
            Part(f"{here}feed_forward_norm_gain", (f"{there}post_attention_layernorm.weight",), (width,)),
            Part(f"{here}feed_forward_kernel", both, (block.hidden_units,) * 2, True),
            Part(f"{here}feed_forward_output_kernel", (f"{there}mlp.down_proj.weight",), (width,), True),
        ]
    parts.append(Part("norm_gain", ("norm.weight",), (width,)))
    if not config.model.tied:
        parts.append(Part("output_kernel", ("lm_head.weight",), (vocab_size,), True))
    return parts


def _llama_config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": vocab_size,
        "max_position_embeddings": config.context_length, "hidden_size": model.embedding_dim,
        "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads,
        "num_key_value_heads": model.kv_heads, "intermediate_size": model.units, "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon, "rope_theta": model.rotary_base,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rotary_base},
        "tie_word_embeddings": model.tied, "attention_bias": False, "mlp_bias": False,
        "bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.eod_id,
    }  # fmt: skip


KINDS = {
    "gpt2": Kind(
        "gpt", "transformer.", r"h\.\d+\.attn\.(bias|masked_bias)", "lm_head.weight", _gpt2_settings, _gpt2_parts, _gpt2_config,
        {
            "positions": "learned", "norm": "layer", "activation": "gelu", "num_kv_heads": "num_heads",
            "tie_embeddings": True,
        },
    ),
    "llama": Kind(
        "gpt", "model.", r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq", "lm_head.weight", _llama_settings, _llama_parts,
        _llama_config, {"positions": "rotary", "norm": "rms", "activation": "swiglu", "biases": False},
    ),
}  # fmt: skip
"""By their `model_type`."""
