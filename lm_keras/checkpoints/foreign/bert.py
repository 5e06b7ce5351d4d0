"""How BERT names and lays out what ours has."""

from typing import Any

from lm_keras.checkpoints.foreign.keys import COMMON, free, only, used
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config
from lm_keras.models.bert import SEGMENTS
from lm_keras.text.tokenizer import Tokenizer

HEAD = "cls.predictions."
"""Prefix of the names of the tensors in the head that predicts masked tokens."""

BIASES = (f"{HEAD}bias", f"{HEAD}decoder.bias")
"""Two names of the bias of the output."""


KEYS = (
    used("vocab_size", 30522, "tokens of the network"),
    used("hidden_size", 768, "`--embedding_dim`"),
    used("num_hidden_layers", 12, "`--num_layers`"),
    used("num_attention_heads", 12, "`--num_heads`"),
    used("intermediate_size", 3072, "`--hidden_units`"),
    used("max_position_embeddings", 512, "`--context_length`"),
    used("layer_norm_eps", 1e-12, "`--norm_epsilon`", (float, int)),
    used("tie_word_embeddings", True, "`--tie_embeddings`", (bool,)),
    only("hidden_act", "gelu", "gelu_python", what="the feed-forward part"),
    only("position_embedding_type", "absolute", what="learned positions"),
    only("type_vocab_size", SEGMENTS, what="segments"),
    only("is_decoder", False, what="a network that sees the tokens before only"),
    only("is_causal", False, what="a network that sees the tokens before only"),
    only("add_cross_attention", False, what="a second network"),
    *free("training only", hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
        classifier_dropout=None),
    *free("read with the tokenizer, or only there", pad_token_id=0, bos_token_id=None, eos_token_id=None),
    *free("the pooler, which is left out", "directionality", "pooler_fc_size", "pooler_num_attention_heads",
          "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type"),
    *COMMON,
)  # fmt: skip
"""The keys of its config.json."""


def _settings(values: dict[str, Any]) -> dict[str, Any]:
    length = values["max_position_embeddings"]
    return {
        "num_layers": values["num_hidden_layers"],
        "embedding_dim": values["hidden_size"],
        "num_heads": values["num_attention_heads"],
        "hidden_units": values["intermediate_size"],
        "context_length": length,
        "sequence_length": length,
        "norm_epsilon": values["layer_norm_eps"],
        "tie_embeddings": values["tie_word_embeddings"],
    }


TASKS = {"classification": "BertForSequenceClassification", "tagging": "BertForTokenClassification"}
"""Tasks with labels, and the classes that have such a head."""


def _dense(ours: str, theirs: tuple[str, ...], columns: int) -> list[Part]:
    names = [tuple(f"{name}.{part}" for name in theirs) for part in ("weight", "bias")]
    widths = (columns,) * len(theirs)
    return [Part(f"{ours}_kernel", names[0], widths, True), Part(f"{ours}_bias", names[1], widths)]


def _classes(config: Config, labels: int) -> list[Part]:
    pooler = _dense("pooler", ("pooler.dense",), config.model.embedding_dim)
    return [*pooler, *_dense("class", ("classifier",), labels)]


def _parts(config: Config, vocab_size: int) -> list[Part]:
    width, wide = config.model.embedding_dim, config.model.units

    def norm(ours: str, theirs: str) -> list[Part]:
        parts = (("gain", "weight"), ("bias", "bias"))
        return [Part(f"{ours}_{a}", (f"{theirs}.LayerNorm.{b}",), (width,)) for a, b in parts]

    tables = {
        "embedding/embeddings": "word_embeddings", "places": "position_embeddings",
        "segments": "token_type_embeddings",
    }  # fmt: skip
    parts = [Part(ours, (f"embeddings.{theirs}.weight",), (width,)) for ours, theirs in tables.items()]
    parts += norm("embedding_norm", "embeddings")
    for n in range(config.model.num_layers):
        here, there = f"block_{n}/", f"encoder.layer.{n}."
        projections = tuple(f"{there}attention.self.{name}" for name in ("query", "key", "value"))
        parts += [
            *_dense(f"{here}query_key_value", projections, width),
            *_dense(f"{here}attention_output", (f"{there}attention.output.dense",), width),
            *norm(f"{here}attention_norm", f"{there}attention.output"),
            *_dense(f"{here}feed_forward", (f"{there}intermediate.dense",), wide),
            *_dense(f"{here}feed_forward_output", (f"{there}output.dense",), width),
            *norm(f"{here}feed_forward_norm", f"{there}output"),
        ]
    if config.model.prediction_head and config.task not in TASKS:
        parts += _dense("head", (f"{HEAD}transform.dense",), width)
        parts += norm("head_norm", f"{HEAD}transform")
        parts.append(Part("output_bias", (BIASES[0],), (vocab_size,)))
        if not config.model.tied:
            parts.append(Part("output_kernel", (f"{HEAD}decoder.weight",), (vocab_size,), True))
    return parts


def _config(config: Config, vocab_size: int, tokenizer: Tokenizer) -> dict[str, Any]:
    model = config.model
    name = TASKS.get(config.task, "BertForMaskedLM" if model.prediction_head else "BertModel")
    return {
        "architectures": [name], "model_type": "bert",
        "vocab_size": vocab_size, "max_position_embeddings": config.context_length,
        "hidden_size": model.embedding_dim,
        "num_hidden_layers": model.num_layers, "num_attention_heads": model.num_heads,
        "intermediate_size": model.units,
        "hidden_act": "gelu", "layer_norm_eps": model.norm_epsilon, "type_vocab_size": SEGMENTS,
        "hidden_dropout_prob": model.dropout, "attention_probs_dropout_prob": model.dropout,
        "tie_word_embeddings": model.tied,
        "pad_token_id": 0,
    }  # fmt: skip


KINDS = {
    "bert": Kind("bert", "bert.",
        r"embeddings\.(position|token_type)_ids",
        "embeddings.word_embeddings.weight",
        f"{HEAD}decoder.weight",
        KEYS,
        _settings,
        _parts,
        _config,
        {},
        bare=("cls.", "classifier."),
        head=HEAD,
        unused=r"pooler\.dense\.(weight|bias)|cls\.seq_relationship\.(weight|bias)",
        renamed=((".gamma", ".weight"), (".beta", ".bias")),
        bias=BIASES,
        classes=_classes,
        tasks=TASKS,
    )
}  # fmt: skip
"""By their `model_type`."""
