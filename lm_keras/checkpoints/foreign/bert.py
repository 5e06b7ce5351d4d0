"""How BERT names and lays out what ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.kind import Kind, Part, only, value_of
from lm_keras.config import Config, from_flat
from lm_keras.models.bert import SEGMENTS
from lm_keras.text.tokenizer import Tokenizer

HEAD = "cls.predictions."
"""What the names of the tensors begin with that say what a hidden token was."""


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    only(
        config,
        {
            "hidden_act": ("gelu",), "position_embedding_type": ("absolute",), "is_decoder": (False,),
            "add_cross_attention": (False,), "tie_word_embeddings": (True,), "type_vocab_size": (SEGMENTS,),
        },
    )  # fmt: skip
    width = value_of(config, "hidden_size", 768)
    length = value_of(config, "max_position_embeddings", 512)
    flat = {
        "model": "bert",
        "num_layers": value_of(config, "num_hidden_layers", 12),
        "embedding_dim": width,
        "num_heads": value_of(config, "num_attention_heads", 12),
        "hidden_units": value_of(config, "intermediate_size", 3072),
        "context_length": length,
        "sequence_length": length,
        "norm_epsilon": value_of(config, "layer_norm_eps", 1e-12, (float, int)),
    }
    from_flat(flat)
    return flat


def _parts(config: Config, vocab_size: int) -> list[Part]:
    width, wide = config.model.embedding_dim, config.model.units

    def dense(ours: str, theirs: tuple[str, ...], columns: int) -> list[Part]:
        names = [tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")]
        widths = (columns,) * len(theirs)
        return [Part(f"{ours}_kernel", names[0], widths, True), Part(f"{ours}_bias", names[1], widths)]

    def norm(ours: str, theirs: str) -> list[Part]:
        parts = (("gain", "weight"), ("bias", "bias"))
        return [Part(f"{ours}_{a}", (f"{theirs}.LayerNorm.{b}",), (width,)) for a, b in parts]

    tables = {
        "embedding/embeddings": "word_embeddings", "places": "position_embeddings", "segments": "token_type_embeddings",
    }  # fmt: skip
    parts = [Part(ours, (f"embeddings.{theirs}.weight",), (width,)) for ours, theirs in tables.items()]
    parts += norm("embedding_norm", "embeddings")
    for n in range(config.model.num_layers):
        here, there = f"block_{n}/", f"encoder.layer.{n}."
        projections = tuple(f"{there}attention.self.{name}" for name in ("query", "key", "value"))
        parts += [
            *dense(f"{here}query_key_value", projections, width),
            *dense(f"{here}attention_output", (f"{there}attention.output.dense",), width),
            *norm(f"{here}attention_norm", f"{there}attention.output"),
            *dense(f"{here}feed_forward", (f"{there}intermediate.dense",), wide),
            *dense(f"{here}feed_forward_output", (f"{there}output.dense",), width),
            *norm(f"{here}feed_forward_norm", f"{there}output"),
        ]
    if config.model.prediction_head:
        parts += dense("head", (f"{HEAD}transform.dense",), width)
        parts += norm("head_norm", f"{HEAD}transform")
        parts.append(Part("output_bias", (f"{HEAD}bias",), (vocab_size,)))
    return parts


def _config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    return {
        "architectures": ["BertForMaskedLM" if model.prediction_head else "BertModel"], "model_type": "bert",
        "vocab_size": vocab_size, "max_position_embeddings": config.context_length, "hidden_size": model.embedding_dim,
        "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads, "intermediate_size": model.units,
        "hidden_act": "gelu", "layer_norm_eps": model.norm_epsilon, "type_vocab_size": SEGMENTS,
        "hidden_dropout_prob": model.dropout, "attention_probs_dropout_prob": model.dropout, "tie_word_embeddings": True,
        "pad_token_id": 0,
    }  # fmt: skip


KINDS = {
    "bert": Kind(
        "bert",
        "bert.",
        rf"embeddings\.(position|token_type)_ids|{HEAD}decoder\.bias",  # The latter is another name of the bias.
        f"{HEAD}decoder.weight",
        _settings,
        _parts,
        _config,
        {"tie_embeddings": True},
        bare=("cls.",),
        head=HEAD,
        unused=r"pooler\.dense\.(weight|bias)|cls\.seq_relationship\.(weight|bias)",
        renamed=((".gamma", ".weight"), (".beta", ".bias")),
    )
}
"""By their `model_type`."""
