"""What a config.json says of rotary positions: base and scaling, in three keys."""

from collections.abc import Mapping
from typing import Any

from lm_keras.checkpoints.foreign.keys import ABSENT, Key, only, read_values, shown, used
from lm_keras.config import ModelConfig
from lm_keras.errors import InputError
from lm_keras.rotary_scaling import KINDS, parse, text_of, usual_attention_factor

NUMBER = (float, int)

OUR_NAMES = {"original_max_position_embeddings": "original_context_length"}
"""Settings of `--rotary_scaling` that have another name there."""

THEIR_NAMES = {ours: theirs for theirs, ours in OUR_NAMES.items()}

_TYPES = ("default", *KINDS)


def _scaling(name: str, kinds: str, what: str = "`--rotary_scaling`", may_be_null: bool = True) -> Key:
    return used(name, ABSENT, f"{what} ({kinds})", NUMBER, may_be_null=may_be_null)


ROPE_KEYS = (
    only("rope_type", *_TYPES, what="how positions turn: `--rotary_scaling`"),
    only("type", *_TYPES, what="older name of `rope_type`; two that differ are refused"),
    only("partial_rotary_factor", 1.0, None, what="share of a head that is turned"),
    only("truncate", True, what="yarn: bounds are rounded to whole pairs"),
    used("rope_theta", ABSENT, "`--rotary_base`", NUMBER),
    _scaling("factor", "linear, llama3, yarn", may_be_null=False),
    _scaling("original_max_position_embeddings", "llama3, yarn", "`--rotary_scaling`; without it "
        "`max_position_embeddings`"),
    _scaling("low_freq_factor", "llama3", may_be_null=False),
    _scaling("high_freq_factor", "llama3", may_be_null=False),
    _scaling("beta_fast", "yarn"),
    _scaling("beta_slow", "yarn"),
    _scaling("attention_factor", "yarn"),
    _scaling("mscale", "yarn", "with `mscale_all_dim`, another way to write `attention_factor`"),
    _scaling("mscale_all_dim", "yarn", "see `mscale`"),
)  # fmt: skip
"""The keys of `rope_parameters`."""

CONFIG_KEYS = (
    used("rope_parameters", None, "rotary positions, see below; any other key is refused", (dict,),
        may_be_null=True),
    used("rope_scaling", ABSENT, "older name of `rope_parameters`; two that differ are refused", (dict,),
        may_be_null=True),
    used("rope_theta", ABSENT, "`--rotary_base`, 10000 if the config has none; two different values are "
        "refused", NUMBER),
    only("partial_rotary_factor", 1.0, None, what="share of a head that is turned", default=ABSENT),
    only("rope_interleaved", False, what="neighbouring numbers of a head are turned together",
        default=ABSENT),
)  # fmt: skip
"""The keys of a config.json."""


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return our settings of rotary positions, by flag, which three keys may tell of.

    Args:
        values: those of `CONFIG_KEYS` and `max_position_embeddings`.

    Raises:
        InputError: they contradict each other, or the positions are others than those known here.
    """
    names = ("rope_parameters", "rope_scaling")
    given = {name: values[name] for name in names if values[name] not in (ABSENT, None, {})}
    bases = {} if values["rope_theta"] is ABSENT else {"rope_theta": values["rope_theta"]}
    scaling = None
    for name, inside in given.items():
        try:
            found = read_values(inside, ROPE_KEYS)
            scaling = _scaling_in(inside, found, values["max_position_embeddings"])
        except InputError as error:
            raise InputError(
                f"config.json has {shown(inside)} for {name!r}, which is not supported: "
                f"{str(error).replace('config.json', 'it')}"
            ) from None
        if found["rope_theta"] is not ABSENT:
            bases[f"{name}.rope_theta"] = found["rope_theta"]
    several = len(set(bases.values())) > 1
    if several or (len(given) == 2 and given["rope_parameters"] != given["rope_scaling"]):
        raise InputError(
            f"config.json has different values for {' and '.join(map(repr, bases if several else given))}, "
            "which are names of one setting; delete the wrong one"
        )
    return {"rotary_base": float(next(iter(bases.values()), 10_000.0)), "rotary_scaling": scaling}


def _scaling_in(inside: Mapping[str, Any], values: Mapping[str, Any], length: int) -> str | None:
    """Return `--rotary_scaling` of the content of `rope_parameters`.

    Args:
        inside: the content.
        values: those of `ROPE_KEYS` in it.
        length: `max_position_embeddings`.
    """
    kind = inside.get("rope_type", inside.get("type", "default"))
    if inside.get("type", kind) != kind:
        raise InputError(f"it has {kind!r} for 'rope_type' and {inside['type']!r} for 'type'")
    given = {OUR_NAMES.get(name, name): value for name, value in values.items() if name != "rope_theta"}
    given = {name: value for name, value in given.items() if value not in (ABSENT, None)}
    scales = [given.pop(name, None) for name in ("mscale", "mscale_all_dim")] if kind == "yarn" else []
    if wrong := [name for name in given if kind == "default" or name not in KINDS[kind]]:
        raise InputError(f"a rope_type {kind!r} has no {THEIR_NAMES.get(wrong[0], wrong[0])!r}")
    if kind == "default":
        return None
    if "original_context_length" in KINDS[kind]:
        given.setdefault("original_context_length", length)
    if all(scales) and scales and "factor" in given:
        one, other = (usual_attention_factor(given["factor"], scale) for scale in scales)
        given.setdefault("attention_factor", one / other)
    text = text_of(kind, given)
    parse(text)
    return text


def config_of(model: ModelConfig) -> dict[str, Any]:
    """Return the keys that a config.json has of rotary positions."""
    inside: dict[str, Any] = {"rope_type": "default", "rope_theta": model.rotary_base}
    if model.rotary_scaling is None:
        return {"rope_theta": model.rotary_base, "rope_parameters": inside}
    scaling = parse(model.rotary_scaling)
    inside["rope_type"] = scaling.kind
    for name, value in scaling.settings.items():
        inside[THEIR_NAMES.get(name, name)] = int(value) if name in THEIR_NAMES else value
    # Transformers before 5 read the second name.
    return {"rope_theta": model.rotary_base, "rope_parameters": inside, "rope_scaling": inside}
