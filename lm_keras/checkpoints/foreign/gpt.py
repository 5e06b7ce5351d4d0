"""How GPT-2 names and lays out what a GPT of ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.keys import COMMON, free, only, used
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config
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
    return parts + output_parts(config, vocab_size)


def output_parts(config: Config, vocab_size: int) -> list[Part]:
    """Return the output matrix, which is the embedding where both are tied."""
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


KINDS = {
    "gpt2": Kind(
        "gpt", "transformer.", r"h\.\d+\.attn\.(bias|masked_bias)", "wte.weight", "lm_head.weight", GPT2_KEYS,
        _gpt2_settings, _gpt2_parts, _gpt2_config,
        {
            "positions": "learned", "norm": "layer", "activation": "gelu", "num_kv_heads": "num_heads",
            "head_dim": "D / H", "qk_norm": False,
        },
    ),
}  # fmt: skip
"""By their `model_type`."""
