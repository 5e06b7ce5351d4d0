"""The settings of a GGUF file as the config.json of the same model."""

from typing import Any

import numpy as np

from lm_keras.checkpoints.foreign.keys import shown
from lm_keras.checkpoints.gguf.content import Content
from lm_keras.checkpoints.gguf.names import FIXED, OPTIONAL, ROPE_FREQUENCIES, Architecture
from lm_keras.errors import InputError
from lm_keras.rotary_scaling import parse, text_of

LLAMA3 = {"low_freq_factor": 1, "high_freq_factor": 4, "original_context_length": 8192}
"""Settings of the scaling of LLaMA 3 beside `factor`, which a file does not hold."""


def config_of(content: Content, architecture: Architecture) -> dict[str, Any]:
    """Return the config.json of the same model.

    Raises:
        InputError: a setting is unknown here or has a value that is not supported.
    """
    name = content.values["general.architecture"]
    given = {
        key.removeprefix(f"{name}."): v for key, v in content.values.items() if key.startswith(f"{name}.")
    }
    given = {key: _rounded(value) for key, value in given.items()}
    for key in architecture.keys.keys() & given.keys():
        if type(given[key]) not in (int, float):
            raise _not_supported(content, name, key)
    config = {theirs: given.pop(ours) for ours, theirs in architecture.keys.items() if ours in given}
    for key, theirs in architecture.keys.items():
        if theirs not in config and key not in OPTIONAL:
            raise InputError(f"{content.path} has no {f'{name}.{key}'!r}; restore it from a copy")
    embedding = content.tensors.get("token_embd.weight")
    config.setdefault("vocab_size", None if embedding is None else int(embedding.shape[-1]))
    config["model_type"] = architecture.model_type
    config["tie_word_embeddings"] = "output.weight" not in content.tensors
    if architecture.model_type != "gpt2":
        config.setdefault("num_key_value_heads", config["num_attention_heads"])
        width = config.get("head_dim")
        if width is None:
            width = config["head_dim"] = int(config["hidden_size"] // max(config["num_attention_heads"], 1))
        for key in ("rope.dimension_count", "attention.value_length"):
            if given.pop(key, width) != width:
                raise _not_supported(content, name, key)
        window = given.get("attention.sliding_window")
        if type(window) is int and window >= config["max_position_embeddings"]:
            del given["attention.sliding_window"]
        scaling = {
            key: given.pop(key) for key in list(given) if key.startswith("rope.scaling.") and key not in FIXED
        }
        config |= _rotary(content, name, scaling, config, width)
    for key, value in given.items():
        if not any(value == known and type(value) is type(known) for known in FIXED.get(key, ())):
            raise _not_supported(content, name, key)
    return config


def _rounded(value: Any) -> Any:
    """Return a float32 as the shortest number that is it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _not_supported(content: Content, name: str, key: str) -> InputError:
    value = content.values[f"{name}.{key}"]
    return InputError(f"{content.path} has {shown(value)} for '{name}.{key}', which is not supported here")


def _rotary(
    content: Content, name: str, scaling: dict[str, Any], config: dict[str, Any], width: int
) -> dict[str, Any]:
    """Return the keys of a config.json for scaled rotary positions."""
    kind = scaling.pop("rope.scaling.type", "none")
    theirs = {
        "rope.scaling.factor": "factor",
        "rope.scaling.original_context_length": "original_max_position_embeddings",
        "rope.scaling.yarn_beta_fast": "beta_fast",
        "rope.scaling.yarn_beta_slow": "beta_slow",
    }
    inside = {theirs[key]: scaling.pop(key) for key in list(scaling) if key in theirs}
    if scaling or kind not in ("none", "linear", "yarn"):
        raise _not_supported(content, name, next(iter(scaling), "rope.scaling.type"))
    if ROPE_FREQUENCIES in content.tensors:
        if kind != "none":
            raise InputError(f"{content.path} has both {ROPE_FREQUENCIES} and a scaling of type {kind!r}")
        inside = _llama3(content, config.get("rope_theta", 10_000.0), width)
        return {"rope_scaling": inside} if inside else {}
    if kind == "none":
        return {}
    if kind == "linear":
        inside.pop("original_max_position_embeddings", None)
    return {"rope_scaling": {"rope_type": kind, **inside}}


def _llama3(content: Content, base: float, width: int) -> dict[str, Any]:
    """Return `rope_scaling` of the numbers by which frequencies are divided; nothing if all are 1.

    Raises:
        InputError: they are not those of LLaMA 3.
    """
    there = content.tensors[ROPE_FREQUENCIES]
    divisors = np.asarray(there.data, np.float64).reshape(-1)
    if (divisors == 1).all():
        return {}
    if there.tensor_type.name == "F32" and len(divisors) == width // 2 and divisors.max() > 1:
        factor = float(divisors.max())
        text = text_of("llama3", {"factor": _rounded(factor), **LLAMA3})
        expected = 1 / np.array(parse(text).multipliers(width, base)) if factor < 1e6 else divisors * 2
        if np.allclose(divisors, expected, rtol=1e-4):
            names = {"original_context_length": "original_max_position_embeddings"}
            numbers = {names.get(key, key): value for key, value in LLAMA3.items()}
            return {"rope_type": "llama3", "factor": _rounded(factor), **numbers}
    raise InputError(
        f"{content.path}: {ROPE_FREQUENCIES} has other numbers than those of LLaMA 3, which is not supported"
    )
