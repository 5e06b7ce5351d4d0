"""How GPT-2 and LLaMA name and lay out what a GPT of ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.keys import ABSENT, COMMON, free, only, read_values, shown, used
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.models.gpt import block_settings
from lm_keras.text.tokenizer import Tokenizer

_NUMBER = (float, int)

GPT2_KEYS = (
    used("vocab_size", 50257, "tokens of the network"),
    used("n_positions", 1024, "`--context_length`", alias="max_position_embeddings"),
    used("n_embd", 768, "`--embedding_dim`", alias="hidden_size"),
    used("n_layer", 12, "`--num_layers`", alias="num_hidden_layers"),
    used("n_head", 12, "`--num_heads`", alias="num_attention_heads"),
    used("n_inner", None, "`--hidden_units`; null: 4 times `n_embd`", may_be_null=True),
    used("layer_norm_epsilon", 1e-5, "`--norm_epsilon`", _NUMBER),
    used("tie_word_embeddings", True, "`--tie_embeddings`", (bool,)),
    only("activation_function", "gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast",
        "gelu_accurate",
         what="the feed-forward part; all of these are the same function"),
    only("scale_attn_weights", True, what="scores over the root of the head's width"),
    only("scale_attn_by_inverse_layer_idx", False, what="scores over the number of the layer"),
    only("add_cross_attention", False, what="a second network"),
    only("is_causal", True, what="tokens see those before them"),
    *free("training only", "summary_last_dropout", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1,
        summary_first_dropout=0.1),
    *free("read with the tokenizer, or only there", bos_token_id=50256, eos_token_id=50256,
        pad_token_id=None),
    *free("a head that is refused if it is there", summary_type="cls_index", summary_use_proj=True,
        summary_activation=None,
          summary_proj_to_labels=True),
    *free("float32 has the same numbers either way", reorder_and_upcast_attn=False),
    *free("older files; nothing reads it", "n_ctx", "n_special", "predict_special_tokens", "is_decoder"),
    *COMMON,
)  # fmt: skip
"""The keys of a config.json of GPT-2."""

LLAMA_KEYS = (
    used("vocab_size", 32000, "tokens of the network"),
    used("hidden_size", 4096, "`--embedding_dim`"),
    used("intermediate_size", 11008, "`--hidden_units`"),
    used("num_hidden_layers", 32, "`--num_layers`"),
    used("num_attention_heads", 32, "`--num_heads`"),
    used("num_key_value_heads", None, "`--num_kv_heads`; null: `num_attention_heads`", may_be_null=True),
    used("head_dim", None, "must be `hidden_size` over `num_attention_heads`; null: that", may_be_null=True),
    used("max_position_embeddings", 2048, "`--context_length`"),
    used("rms_norm_eps", 1e-6, "`--norm_epsilon`", _NUMBER),
    used("rope_parameters", None, "rotary positions: `rope_theta` is `--rotary_base`, `rope_type` (older: "
        "`type`) must be "
         "`default`, `partial_rotary_factor` must be 1; any other key is refused", (dict,), may_be_null=True),
    used("rope_scaling", ABSENT, "older name of `rope_parameters`; two that differ are refused", (dict,),
        may_be_null=True),
    used("rope_theta", ABSENT, "`--rotary_base`, 10000 if the config has none; two different values are "
        "refused", _NUMBER),
    used("tie_word_embeddings", False, "`--tie_embeddings`", (bool,)),
    only("hidden_act", "silu", "swish", what="the gate of the feed-forward part"),
    only("attention_bias", False, what="biases of the attention"),
    only("mlp_bias", False, what="biases of the feed-forward part"),
    only("partial_rotary_factor", 1.0, None, what="share of a head that is turned", default=ABSENT),
    only("rope_interleaved", False, what="neighbouring numbers of a head are turned together",
        default=ABSENT),
    only("add_cross_attention", False, what="a second network", default=ABSENT),
    only("is_causal", True, what="tokens see those before them", default=ABSENT),
    *free("training only", attention_dropout=0.0),
    *free("read with the tokenizer, or only there", bos_token_id=1, eos_token_id=2, pad_token_id=None),
    *free("parts of a product, whose sum is the same", pretraining_tp=1),
    *free("older files; nothing reads it", "max_sequence_length", "is_decoder"),
    *COMMON,
)  # fmt: skip
"""The keys of a config.json of LLaMA."""


def _gpt2_settings(values: dict[str, Any]) -> dict[str, Any]:
    width = values["n_embd"]
    return {
        "num_layers": values["n_layer"],
        "embedding_dim": width,
        "num_heads": values["n_head"],
        "hidden_units": values["n_inner"] or 4 * width,
        "context_length": values["n_positions"],
        "norm_epsilon": values["layer_norm_epsilon"],
        "tie_embeddings": values["tie_word_embeddings"],
    }


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
    parts += [
        Part("norm_gain", ("ln_f.weight",), (width,)),
        Part("norm_bias", ("ln_f.bias",), (width,)),
    ]
    return parts + _output(config, vocab_size)


def _output(config: Config, vocab_size: int) -> list[Part]:
    return [] if config.model.tied else [Part("output_kernel", ("lm_head.weight",), (vocab_size,), True)]


def _gpt2_config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": vocab_size,
        "n_positions": config.context_length, "n_embd": model.embedding_dim, "n_layer": model.num_layers,
        "n_head": model.num_heads, "n_inner": model.units, "activation_function": "gelu_new",
        "layer_norm_epsilon": model.norm_epsilon, "tie_word_embeddings": model.tied,
        "bos_token_id": tokenizer.begin_id,
        "eos_token_id": tokenizer.eod_id,
        "resid_pdrop": model.dropout, "embd_pdrop": model.dropout, "attn_pdrop": model.dropout,
    }  # fmt: skip


def _llama_settings(values: dict[str, Any]) -> dict[str, Any]:
    width, heads = values["hidden_size"], values["num_attention_heads"]
    if values["head_dim"] not in (None, width // heads):
        raise InputError(
            f"config.json has {values['head_dim']!r} for 'head_dim', which is not supported; known is"
            " hidden_size over num_attention_heads"
        )
    return {
        "num_layers": values["num_hidden_layers"],
        "embedding_dim": width,
        "num_heads": heads,
        "num_kv_heads": values["num_key_value_heads"] or heads,
        "hidden_units": values["intermediate_size"],
        "context_length": values["max_position_embeddings"],
        "rotary_base": _rotary_base(values),
        "norm_epsilon": values["rms_norm_eps"],
        "tie_embeddings": values["tie_word_embeddings"],
        "positions": "rotary",
        "norm": "rms",
        "activation": "swiglu",
        "biases": False,
    }


ROPE_KEYS = (
    only("rope_type", "default", what="how positions turn"),
    only("type", "default", what="older name of `rope_type`"),
    only("partial_rotary_factor", 1.0, None, what="share of a head that is turned"),
    used("rope_theta", ABSENT, "`--rotary_base`", _NUMBER),
)
"""The keys of `rope_parameters`."""


def _rotary_base(values: dict[str, Any]) -> float:
    """Return the base of the rotary positions, which three keys may tell of.

    Raises:
        InputError: they contradict each other, or the positions are others than the usual ones.
    """
    given = {
        name: values[name]
        for name in ("rope_parameters", "rope_scaling")
        if values[name] not in (ABSENT, None, {})
    }
    bases = {} if values["rope_theta"] is ABSENT else {"rope_theta": values["rope_theta"]}
    for name, inside in given.items():
        try:
            base = read_values(inside, ROPE_KEYS)["rope_theta"]
        except InputError:
            raise InputError(
                f"config.json has {shown(inside)} for {name!r}, which is not supported; known is "
                "{'rope_type': 'default', 'rope_theta': a number}"
            ) from None
        if base is not ABSENT:
            bases[f"{name}.rope_theta"] = base
    if len(set(bases.values())) > 1 or (
        len(given) == 2 and given["rope_parameters"] != given["rope_scaling"]
    ):
        told = bases if len(set(bases.values())) > 1 else given
        raise InputError(
            f"config.json has different values for {' and '.join(map(repr, told))}, which are names of one"
            " setting; delete the wrong one"
        )
    return float(next(iter(bases.values()), 10_000.0))


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
    return parts + _output(config, vocab_size)


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
        "gpt", "transformer.", r"h\.\d+\.attn\.(bias|masked_bias)", "wte.weight", "lm_head.weight", GPT2_KEYS,
        _gpt2_settings, _gpt2_parts, _gpt2_config,
        {"positions": "learned", "norm": "layer", "activation": "gelu", "num_kv_heads": "num_heads"},
    ),
    "llama": Kind(
        "gpt", "model.", r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq", "embed_tokens.weight",
        "lm_head.weight",
        LLAMA_KEYS, _llama_settings, _llama_parts, _llama_config,
        {"positions": "rotary", "norm": "rms", "activation": "swiglu", "biases": False},
    ),
}  # fmt: skip
"""By their `model_type`."""
