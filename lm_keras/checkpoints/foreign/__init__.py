"""Models of Hugging Face: how they name and lay out what ours have; settings and weights, both ways.

Theirs are read from `config.json` and `model.safetensors`; a weight of ours may be several of theirs side by
side.
"""

from typing import Any

from lm_keras.checkpoints.foreign import bert, gpt, llama, marian
from lm_keras.checkpoints.foreign.keys import overlaid, read_values
from lm_keras.checkpoints.foreign.kind import Kind, Part
from lm_keras.config import Config, ModelConfig, from_flat
from lm_keras.errors import InputError
from lm_keras.registry import WITH_LABELS
from lm_keras.text.tokenizer import Tokenizer

__all__ = ["KINDS", "Kind", "Part", "config_of", "kind_for", "kind_of"]

KINDS = gpt.KINDS | llama.KINDS | bert.KINDS | marian.KINDS
"""By their `model_type`."""


def kind_of(config: dict[str, Any]) -> Kind:
    """Return the family that a config.json names.

    Raises:
        InputError: it is none that is known here.
    """
    name = config.get("model_type")
    if not isinstance(name, str) or name not in KINDS:
        raise InputError(f"config.json has model_type {name!r}; known are {', '.join(KINDS)}")
    return KINDS[name]


def kind_for(config: Config, usual: str | None = None) -> tuple[str, Kind]:
    """Return the name of the family that a network of ours can be written as, and the family.

    Args:
        config: settings of the network.
        usual: the `model_type` that its run began with, which is taken where several fit.

    Raises:
        InputError: none can hold it; the line says why.
    """
    family, reasons = config.model.model, []
    if config.task in WITH_LABELS:
        has_head = any(kind.family == family and config.task in kind.tasks for kind in KINDS.values())
        if not has_head or config.pooling not in (None, "first"):
            raise InputError(
                f"--task={config.task} of a {family}"
                + (f" with --pooling={config.pooling}" if config.pooling else "")
                + " has no counterpart there; that of a bert has, with --pooling=first where texts are "
                "classified"
            )
    for name, kind in sorted(KINDS.items(), key=lambda item: item[0] != usual):
        if kind.family != family:
            continue
        flat = {**config.flat(), **_filled_in(config.model)}
        needed = {name: _needed(config.model, value) for name, value in kind.needed.items()}
        wrong = [f"--{k}={flat[k]} instead of {v}" for k, v in needed.items() if flat[k] != v]
        if not wrong:
            return name, kind
        reasons.append(f"{name} has no {', '.join(wrong)}")
    if not reasons:
        *known, last = sorted({kind.family for kind in KINDS.values()})
        raise InputError(f"--model={family} has no counterpart there; {', '.join(known)} and {last} have")
    raise InputError(f"this network is none of those that can be written: {'; '.join(reasons)}")


def _needed(model: ModelConfig, value: Any) -> Any:
    """Return the value that a setting needs, where `Kind.needed` says it by others."""
    if value == "a divisor of --embedding_dim" and model.embedding_dim % model.num_heads == 0:
        return model.num_heads
    by_others = {"num_heads": model.num_heads, "D / H": model.embedding_dim // model.num_heads}
    return by_others.get(value, value)


def _filled_in(model: ModelConfig) -> dict[str, Any]:
    """Return the settings whose defaults depend on others."""
    return {
        "num_kv_heads": model.kv_heads, "qkv_biases": model.has_qkv_biases, "head_dim": model.head_width,
    }  # fmt: skip


def config_of(
    original: dict[str, Any], kind: Kind, config: Config, vocab_size: int, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Return the config.json of a network of ours.

    Args:
        original: the one that its run began with; its keys come back, but for those that the run has changed.
            Empty for a run that began with none.
        kind: the family that it is written as.
        config: settings of the run.
        vocab_size: V.
        tokenizer: of the run.
    """
    now = content = kind.config(config, vocab_size, tokenizer)
    if original.get("model_type") == now["model_type"]:
        values = read_values(original, kind.keys)
        before = kind.config(from_flat(kind.settings(values)), values["vocab_size"], tokenizer)
        content = overlaid(original, before, now, kind.keys)
    content = {name: value for name, value in content.items() if name != "torch_dtype"}
    return {**content, "architectures": now["architectures"], "dtype": "float32"}
