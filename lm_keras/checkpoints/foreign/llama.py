"""How LLaMA and the decoders that followed it, Mistral, Qwen2 and Qwen3, name and lay out what a GPT has."""

from collections.abc import Callable
from typing import Any

from lm_keras.checkpoints.foreign import rope
from lm_keras.checkpoints.foreign.gpt import output_parts
from lm_keras.checkpoints.foreign.keys import ABSENT, COMMON, Key, free, only, shown, used
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.models.gpt import block_settings
from lm_keras.text.tokenizer import Tokenizer


def _keys(own: tuple[Key, ...], **defaults: Any) -> tuple[Key, ...]:
    """Return the keys of a config.json.

    Args:
        own: those that the others do not have; they take the place of one of `COMMON`.
        defaults: of keys whose defaults differ.
    """
    length, width = defaults["max_position_embeddings"], defaults["intermediate_size"]
    heads, head_dim = defaults.get("num_key_value_heads"), defaults.get("head_dim")
    named = {key.name for key in own}
    return (
        used("vocab_size", defaults["vocab_size"], "tokens of the network"),
        used("hidden_size", 4096, "`--embedding_dim`"),
        used("intermediate_size", width, "`--hidden_units`"),
        used("num_hidden_layers", 32, "`--num_layers`"),
        used("num_attention_heads", 32, "`--num_heads`"),
        used("num_key_value_heads", heads, "`--num_kv_heads`; null: `num_attention_heads`", may_be_null=True),
        used("head_dim", head_dim, "`--head_dim`; null: `hidden_size` over `num_attention_heads`",
            may_be_null=True),
        used("max_position_embeddings", length, "`--context_length`"),
        used("rms_norm_eps", 1e-6, "`--norm_epsilon`", rope.NUMBER),
        *rope.CONFIG_KEYS,
        used("tie_word_embeddings", False, "`--tie_embeddings`", (bool,)),
        only("hidden_act", "silu", "swish", what="the gate of the feed-forward part"),
        *own,
        only("add_cross_attention", False, what="a second network", default=ABSENT),
        only("is_causal", True, what="tokens see those before them", default=ABSENT),
        *free("training only", attention_dropout=0.0),
        *free("read with the tokenizer, or only there", pad_token_id=None,
            bos_token_id=defaults.get("bos_token_id"), eos_token_id=defaults.get("eos_token_id")),
        *free("older files; nothing reads it", "max_sequence_length", "is_decoder"),
        *(key for key in COMMON if key.name not in named),
    )  # fmt: skip


_QWEN_WINDOW = (
    *free("with `use_sliding_window` only, which is refused", sliding_window=4096, max_window_layers=28),
)

LLAMA_KEYS = _keys(
    (
        only("attention_bias", False, what="biases of the attention"),
        only("mlp_bias", False, what="biases of the feed-forward part"),
        *free("parts of a product, whose sum is the same", pretraining_tp=1),
    ),
    vocab_size=32000, intermediate_size=11008, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2,
)  # fmt: skip

MISTRAL_KEYS = _keys(
    (
        used("sliding_window", 4096, "must be null or at least `max_position_embeddings`: attention to the "
            "nearest tokens only", may_be_null=True),
    ),
    vocab_size=32000, intermediate_size=14336, max_position_embeddings=131072, num_key_value_heads=8,
    bos_token_id=1, eos_token_id=2,
)  # fmt: skip

QWEN2_KEYS = _keys(
    _QWEN_WINDOW,
    vocab_size=151936, intermediate_size=22016, max_position_embeddings=32768, num_key_value_heads=32,
    head_dim=ABSENT,
)  # fmt: skip

QWEN3_KEYS = _keys(
    (only("attention_bias", False, what="biases of the attention"), *_QWEN_WINDOW),
    vocab_size=151936, intermediate_size=22016, max_position_embeddings=32768, num_key_value_heads=32,
    head_dim=128,
)  # fmt: skip


def _settings(qkv_biases: bool | None = None, qk_norm: bool = False) -> Callable[..., dict[str, Any]]:
    """Return what reads our settings of the values of the keys."""

    def read(values: dict[str, Any]) -> dict[str, Any]:
        width, heads, length = (
            values[name] for name in ("hidden_size", "num_attention_heads", "max_position_embeddings")
        )
        head_dim, window = values["head_dim"], values.get("sliding_window")
        if window is not None and window < length:
            raise InputError(
                f"config.json has {shown(window)} for 'sliding_window' (4096 where it is missing), which is "
                f"not supported; known is null, or a window of all {length} tokens"
            )
        settings = {
            "num_layers": values["num_hidden_layers"],
            "embedding_dim": width,
            "num_heads": heads,
            "num_kv_heads": values["num_key_value_heads"] or heads,
            "hidden_units": values["intermediate_size"],
            "context_length": length,
            "norm_epsilon": values["rms_norm_eps"],
            "tie_embeddings": values["tie_word_embeddings"],
            "positions": "rotary",
            "norm": "rms",
            "activation": "swiglu",
            "biases": False,
            **rope.settings_of(values),
        }
        if head_dim not in (ABSENT, None) and head_dim * heads != width:
            settings["head_dim"] = head_dim
        if qkv_biases is not None:
            settings["qkv_biases"] = qkv_biases
        return {**settings, "qk_norm": qk_norm} if qk_norm else settings

    return read


def _parts(config: Config, vocab_size: int) -> list[Part]:
    block = block_settings(config.model)
    width, keys = block.width, block.num_kv_heads * block.head_width
    columns = (block.num_heads * block.head_width, keys, keys)
    parts = [Part("embedding/embeddings", ("embed_tokens.weight",), (width,))]
    for n in range(config.model.num_layers):
        there, here = f"layers.{n}.", f"block_{n}/"
        projections = tuple(f"{there}self_attn.{name}_proj" for name in "qkv")
        both = (f"{there}mlp.gate_proj.weight", f"{there}mlp.up_proj.weight")
        parts += [
            Part(f"{here}attention_norm_gain", (f"{there}input_layernorm.weight",), (width,)),
            Part(f"{here}query_key_value_kernel", tuple(f"{p}.weight" for p in projections), columns, True),
            Part(f"{here}attention_output_kernel", (f"{there}self_attn.o_proj.weight",), (width,), True),
            Part(f"{here}feed_forward_norm_gain", (f"{there}post_attention_layernorm.weight",), (width,)),
            Part(f"{here}feed_forward_kernel", both, (block.hidden_units,) * 2, True),
            Part(f"{here}feed_forward_output_kernel", (f"{there}mlp.down_proj.weight",), (width,), True),
        ]
        if config.model.has_qkv_biases:
            parts.append(
                Part(f"{here}query_key_value_bias", tuple(f"{p}.bias" for p in projections), columns)
            )
        if block.qk_norm:
            parts += [
                Part(
                    f"{here}{ours}_norm_gain",
                    (f"{there}self_attn.{theirs}_norm.weight",),
                    (block.head_width,),
                )
                for ours, theirs in (("query", "q"), ("key", "k"))
            ]
    parts.append(Part("norm_gain", ("norm.weight",), (width,)))
    return parts + output_parts(config, vocab_size)


def _config(name: str, class_name: str, **own: Any) -> Callable[..., dict[str, Any]]:
    """Return what writes a config.json of our settings."""

    def write(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
        model = config.model
        return {
            "architectures": [class_name], "model_type": name, "vocab_size": vocab_size,
            "max_position_embeddings": config.context_length, "hidden_size": model.embedding_dim,
            "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads,
            "num_key_value_heads": model.kv_heads, "intermediate_size": model.units, "hidden_act": "silu",
            "rms_norm_eps": model.norm_epsilon, **rope.config_of(model),
            "tie_word_embeddings": model.tied, **own,
            **({"head_dim": model.head_width} if model.head_dim or name == "qwen3" else {}),
            "bos_token_id": tokenizer.begin_id, "eos_token_id": tokenizer.eod_id,
        }  # fmt: skip

    return write


def _kind(
    name: str, class_name: str, keys: tuple[Key, ...], own: dict[str, Any], needed: dict[str, Any], **settings
) -> Kind:
    usual = {"positions": "rotary", "norm": "rms", "activation": "swiglu", "biases": False}
    return Kind(
        "gpt", "model.", r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq", "embed_tokens.weight",
        "lm_head.weight", keys, _settings(**settings), _parts, _config(name, class_name, **own),
        {**usual, "qkv_biases": settings.get("qkv_biases", False), "qk_norm": settings.get("qk_norm", False),
            **needed},
    )  # fmt: skip


KINDS = {
    # The library refuses to read a LLaMA whose heads do not divide its width.
    "llama": _kind("llama", "LlamaForCausalLM", LLAMA_KEYS, {"attention_bias": False, "mlp_bias": False},
        {"num_heads": "a divisor of --embedding_dim"}),
    "mistral": _kind("mistral", "MistralForCausalLM", MISTRAL_KEYS, {"sliding_window": None}, {}),
    "qwen2": _kind("qwen2", "Qwen2ForCausalLM", QWEN2_KEYS, {}, {}, qkv_biases=True),
    "qwen3": _kind("qwen3", "Qwen3ForCausalLM", QWEN3_KEYS, {"attention_bias": False}, {}, qk_norm=True),
}  # fmt: skip
"""By their `model_type`."""
