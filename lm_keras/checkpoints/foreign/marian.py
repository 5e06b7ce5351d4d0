"""How Marian names and lays out what a Transformer of ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.keys import COMMON, free, only, shown, used
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

ACTIVATIONS = {
    "gelu": "gelu_erf", "gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "relu": "relu", "silu": "silu",
    "swish": "silu",
}  # fmt: skip
"""Their names of the activations of the feed-forward part, and ours."""

NAMES = {"gelu_erf": "gelu", "gelu": "gelu_new", "relu": "relu", "silu": "swish"}
"""Ours, and the names that are written."""

SAME_ON_BOTH_SIDES = ("attention_heads", "ffn_dim")
"""What encoder and decoder have of their own there, and together here."""

TABLE = "shared.weight"
"""The embedding of source and target."""

_OWN = (
    used("vocab_size", 58101, "tokens of the network"),
    used("decoder_vocab_size", None, "has to be `vocab_size`", may_be_null=True),
    used("d_model", 1024, "`--embedding_dim`", alias="hidden_size"),
    used("encoder_layers", 12, "`--encoder_layers`", alias="num_hidden_layers"),
    used("decoder_layers", 12, "`--num_layers`"),
    used("encoder_attention_heads", 16, "`--num_heads`", alias="num_attention_heads"),
    used("decoder_attention_heads", 16, "has to be `encoder_attention_heads`"),
    used("encoder_ffn_dim", 4096, "`--hidden_units`"),
    used("decoder_ffn_dim", 4096, "has to be `encoder_ffn_dim`"),
    used("activation_function", "gelu", "`--activation`", (str,)),
    used("max_position_embeddings", 1024, "`--context_length`"),
    used("tie_word_embeddings", True, "`--tie_embeddings`", (bool,)),
    only("is_encoder_decoder", True, what="an encoder and a decoder"),
    used("scale_embedding", False, "has to be true: the embedding times the root of its width", (bool,)),
    only("share_encoder_decoder_embeddings", True, what="one table for source and target"),
    only("static_position_embeddings", True, what="sines and cosines as positions"),
    only("normalize_before", False, what="norms behind the parts of a block"),
    only("normalize_embedding", False, what="no norm of the embedding"),
    only("add_final_layer_norm", False, what="no norm behind the last block"),
    only("add_bias_logits", False, what="a bias of its own, beside `final_logits_bias`"),
    only("extra_pos_embeddings", 0, what="positions that begin at 0"),
    only("is_decoder", False, what="an encoder and a decoder"),
    *free("training only", "label_smoothing", dropout=0.1, attention_dropout=0.0, activation_dropout=0.0,
        encoder_layerdrop=0.0, decoder_layerdrop=0.0, init_std=0.02, classifier_dropout=0.0),
    *free("read with the tokenizer, or only there", "decoder_start_token_id", pad_token_id=58100,
        bos_token_id=None, eos_token_id=0),
    *free("no such head", "classif_dropout"),
)  # fmt: skip

KEYS = (*_OWN, *(key for key in COMMON if key.name not in {own.name for own in _OWN}))
"""The keys of its config.json."""


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    for name in SAME_ON_BOTH_SIDES:
        encoder, decoder = values[f"encoder_{name}"], values[f"decoder_{name}"]
        if encoder != decoder:
            raise InputError(
                f"config.json has {encoder} for 'encoder_{name}' and {decoder} for 'decoder_{name}'; here"
                " encoder and decoder have the same"
            )
    if values["decoder_vocab_size"] not in (None, values["vocab_size"]):
        raise InputError(
            f"config.json has {values['decoder_vocab_size']:,} for 'decoder_vocab_size' and"
            f" {values['vocab_size']:,} for 'vocab_size'; here source and target have one vocabulary"
        )
    if not values["scale_embedding"]:
        raise InputError(
            "config.json has no 'scale_embedding' that is true; here embedded tokens are multiplied by the "
            "root of their width"
        )
    if values["activation_function"] not in ACTIVATIONS:
        raise InputError(
            f"config.json has {shown(values['activation_function'])} for 'activation_function', which is not"
            f" supported; known are {', '.join(ACTIVATIONS)}"
        )
    return {
        "task": "seq2seq",
        "num_layers": values["decoder_layers"],
        "encoder_layers": values["encoder_layers"],
        "embedding_dim": values["d_model"],
        "num_heads": values["encoder_attention_heads"],
        "hidden_units": values["encoder_ffn_dim"],
        "activation": ACTIVATIONS[values["activation_function"]],
        "context_length": values["max_position_embeddings"],
        "sequence_length": values["max_position_embeddings"],
        "positions": "sinusoidal",
        "post_norm": True,
        "tie_embeddings": values["tie_word_embeddings"],
    }


def _dense(ours: str, theirs: tuple[str, ...], columns: int) -> list[Part]:
    names = [tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")]
    widths = (columns,) * len(theirs)
    return [Part(f"{ours}_kernel", names[0], widths, True), Part(f"{ours}_bias", names[1], widths)]


def _norm(ours: str, theirs: str, width: int) -> list[Part]:
    parts = (("gain", "weight"), ("bias", "bias"))
    return [Part(f"{ours}_{a}", (f"{theirs}.{b}",), (width,)) for a, b in parts]


def _block(here: str, there: str, width: int, wide: int) -> list[Part]:
    own = tuple(f"{there}self_attn.{name}_proj" for name in ("q", "k", "v"))
    return [
        *_dense(f"{here}query_key_value", own, width),
        *_dense(f"{here}attention_output", (f"{there}self_attn.out_proj",), width),
        *_norm(f"{here}attention_norm", f"{there}self_attn_layer_norm", width),
        *_dense(f"{here}feed_forward", (f"{there}fc1",), wide),
        *_dense(f"{here}feed_forward_output", (f"{there}fc2",), width),
        *_norm(f"{here}feed_forward_norm", f"{there}final_layer_norm", width),
    ]


def _parts(config: Config, vocab_size: int) -> list[Part]:
    model = config.model
    width, wide = model.embedding_dim, model.units
    parts = [Part("embedding/embeddings", (TABLE,), (width,))]
    for n in range(model.encoder_depth):
        parts += _block(f"encoder_{n}/", f"encoder.layers.{n}.", width, wide)
    for n in range(model.num_layers):
        here, there = f"cross_attention_{n}/", f"decoder.layers.{n}.encoder_attn"
        parts += _block(f"decoder_{n}/", f"decoder.layers.{n}.", width, wide)
        parts += _norm(f"{here}norm", f"{there}_layer_norm", width)
        parts += _dense(f"{here}query", (f"{there}.q_proj",), width)
        parts += _dense(f"{here}key_value", (f"{there}.k_proj", f"{there}.v_proj"), width)
        parts += _dense(f"{here}output", (f"{there}.out_proj",), width)
    if not model.tied:
        parts.append(Part("output_kernel", ("lm_head.weight",), (vocab_size,), True))
    return [*parts, Part("output_bias", ("final_logits_bias",), (vocab_size,), as_row=True)]


def _config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    if model.activation not in NAMES:
        raise InputError(
            f"this network is none of those that can be written: marian has no"
            f" --activation={model.activation}"
        )
    both = {"attention_heads": model.num_heads, "ffn_dim": model.units}
    return {
        "architectures": ["MarianMTModel"], "model_type": "marian",
        "vocab_size": vocab_size, "decoder_vocab_size": vocab_size,
        "max_position_embeddings": config.context_length,
        "d_model": model.embedding_dim,
        "encoder_layers": model.encoder_depth, "decoder_layers": model.num_layers,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()},
        "activation_function": NAMES[model.activation], "scale_embedding": True,
        "static_position_embeddings": True,
        "is_encoder_decoder": True, "share_encoder_decoder_embeddings": True,
        "dropout": model.dropout, "attention_dropout": model.dropout,
        "tie_word_embeddings": model.tied,
        "decoder_start_token_id": tokenizer.begin_id, "pad_token_id": tokenizer.begin_id,
        "eos_token_id": tokenizer.eod_id, "forced_eos_token_id": tokenizer.eod_id,
    }  # fmt: skip


KINDS = {
    "marian": Kind(
        "transformer",
        "model.",
        r"(encoder|decoder)\.embed_positions\.weight",
        TABLE,
        "lm_head.weight",
        KEYS,
        _settings,
        _parts,
        _config,
        {
            "positions": "sinusoidal",
            "post_norm": True,
            "norm": "layer",
            "biases": True,
            "norm_epsilon": 1e-5,
            "num_kv_heads": "num_heads",
        },
        bare=("lm_head.", "final_logits_bias"),
        copies={f"{side}.embed_tokens.weight": TABLE for side in ("encoder", "decoder")},
    )
}
"""By their `model_type`."""
