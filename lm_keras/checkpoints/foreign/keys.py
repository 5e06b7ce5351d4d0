"""The keys of a config.json: which decide the network, which may have one value only, and which have no
effect.

Every key of a file is one of these, or the file is refused: a key that nobody knows may change every number.
The defaults are those of the config classes of `transformers`, for a missing key counts like its default.
"""

import sys
from typing import Any, NamedTuple

from lm_keras.errors import InputError

USED, ONLY, FREE = "used", "only", "no effect"
"""What is done with a key: its value is read; another value is refused; its value is kept and changes nothing
here.
"""

ABSENT = object()
"""The default of a key that the config classes do not have."""

LONGEST_VALUE = 60
"""Characters of a value that a message repeats."""


class Key(NamedTuple):
    """A key of a config.json.

    Attributes:
        name: the key.
        rule: `USED`, `ONLY` or `FREE`.
        default: what a missing key means.
        what: the flag that it becomes, or why it has no effect, in words.
        values: with `ONLY`, those that are accepted; `[x]` stands for a list in which every item is x.
        kinds: with `USED`, the types of its values.
        may_be_null: with `USED`, whether null is a value.
        alias: another name of the same key.
        remedy: with `ONLY`, what to do about another value.
    """

    name: str
    rule: str
    default: Any = ABSENT
    what: str = ""
    values: tuple = ()
    kinds: tuple[type, ...] = (int,)
    may_be_null: bool = False
    alias: str | None = None
    remedy: str = ""


def used(name: str, default: Any, what: str, kinds: tuple[type, ...] = (int,), **more) -> Key:
    """Return a key whose value decides the network."""
    return Key(name, USED, default, what, kinds=kinds, **more)


def only(name: str, *values: Any, what: str = "", remedy: str = "", default: Any = ABSENT) -> Key:
    """Return a key of which these values are accepted; a missing one means the first of them."""
    return Key(name, ONLY, values[0] if default is ABSENT else default, what, values, remedy=remedy)


def free(what: str, *names: str, **defaults: Any) -> tuple[Key, ...]:
    """Return keys that change no number, for the same reason."""
    return tuple(
        Key(name, FREE, default, what) for name, default in (dict.fromkeys(names, ABSENT) | defaults).items()
    )


_UNQUANTIZED = "save the model with weights of float32, float16 or bfloat16"

COMMON = (
    only("dtype", None, "float32", "float16", "bfloat16", "float64", what="weights are read as float32",
        remedy=_UNQUANTIZED),
    only("torch_dtype", None, "float32", "float16", "bfloat16", "float64", what="older name of `dtype`",
        remedy=_UNQUANTIZED),
    only("quantization_config", None, {}, what="weights in few bits", remedy=_UNQUANTIZED),
    only("quantization", None, {}, what="weights in few bits", remedy=_UNQUANTIZED),
    only("compression_config", None, {}, what="weights in few bits", remedy=_UNQUANTIZED),
    only("auto_map", None, {}, what="code that comes with the model", remedy="code of a model is not run "
        "here"),
    only("transformers_weights", None, what="weights in a file of another name"),
    only("configuration_files", None, [], what="other files of settings"),
    only("is_encoder_decoder", False, what="a second network"),
    only("sliding_window", None, what="attention to the nearest tokens only"),
    only("use_sliding_window", False, what="attention to the nearest tokens only"),
    only("attention_chunk_size", None, what="attention within parts of a row"),
    only("layer_types", None, ["full_attention"], what="attention of each layer"),
    only("per_layer_config", None, {}, what="other settings for single layers"),
    only("kv_sharing_modes", None, what="keys and values of another layer"),
    only("pruned_heads", None, {}, what="heads that are left out"),
    only("fusion_config", None, what="another layout of the weights"),
    *free("names what was written", "_name_or_path", "name_or_path", "transformers.js_config",
        "unsloth_version", "unsloth_fixed",
          "is_llama_config", "language", model_type=ABSENT, architectures=None, transformers_version=None),
    *free("training only", "gradient_checkpointing", "tokenizer_padding_side", "tokenizer_model_max_length",
        "xla_device",
          initializer_range=0.02),
    *free("what the library returns, and how it computes it", "output_attentions", "torchscript",
        "tie_last_hidden_states",
          "output_past", "use_bfloat16", "tf_legacy_loss", "attn_implementation", "experts_implementation",
          "distributed_config",
          "tie_encoder_decoder", "cross_attention_hidden_size", output_hidden_states=False, return_dict=True,
          use_cache=True,
          chunk_size_feed_forward=0),
    *free("tasks with labels", "num_labels", "finetuning_task", "task_specific_params", id2label=None,
        label2id=None,
          problem_type=None),
    *free("read with the tokenizer, or only there", "sep_token_id", "cls_token_id", "mask_token_id",
        "unk_token_id", "decoder_start_token_id",
          "tokenizer_class", "prefix"),
    *free("how the library generates, if nobody says otherwise", "max_length", "min_length", "max_new_tokens",
        "do_sample",
          "early_stopping", "num_beams", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty",
          "length_penalty",
          "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences",
          "output_scores",
          "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values",
          "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens", "epsilon_cutoff",
          "eta_cutoff",
          "encoder_repetition_penalty", "num_assistant_tokens", "num_assistant_tokens_schedule",
          "assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind", "num_beam_groups",
          "diversity_penalty"),
)  # fmt: skip
"""Keys that every type may have."""


def read_values(config: dict[str, Any], keys: tuple[Key, ...]) -> dict[str, Any]:
    """Return the values of the `USED` keys, with the defaults of those that are missing.

    Args:
        config: the content of a config.json.
        keys: those of its type.

    Raises:
        InputError: a key is unknown, has a value that is not supported here, or contradicts its other name.
    """
    known = {key.name: key for key in keys}
    for name, value in config.items():
        key = known.get(name)
        if key and key.rule == ONLY and not any(_accepts(expected, value) for expected in key.values):
            raise _not_supported(name, value, key)
    aliases = {key.alias for key in keys if key.alias}
    unknown = [name for name in config if name not in known and name not in aliases and name[:1] != "_"]
    if unknown:
        raise _unknown(unknown)
    return {key.name: value_of(config, key) for key in keys if key.rule == USED}


def value_of(config: dict[str, Any], key: Key) -> Any:
    """Return the value of a `USED` key, or its default.

    Raises:
        InputError: it has another type, is a number that is not positive, or its two names have two values.
    """
    names = [name for name in (key.name, key.alias) if name in config]
    if not names:
        return key.default
    value = config[names[-1]]
    if len(names) == 2 and not _same(config[key.name], value):
        raise InputError(
            f"config.json has {shown(config[key.name])} for {key.name!r} and {shown(value)} for"
            f" {key.alias!r}, which are two names of one setting; delete the wrong one"
        )
    if value is None and key.may_be_null:
        return None
    if type(value) not in key.kinds or (type(value) in (int, float) and not 0 < value <= sys.float_info.max):
        raise InputError(f"config.json has {shown(value)} for {names[-1]!r}")
    return value


def overlaid(
    original: dict[str, Any], before: dict[str, Any], now: dict[str, Any], keys: tuple[Key, ...]
) -> dict[str, Any]:
    """Return a config.json with what has changed since it was read.

    Args:
        original: what was read.
        before: what would have been written for the network that it describes.
        now: what would be written for the network as it is.
        keys: those of its type.
    """
    changed = {
        name: value for name, value in now.items() if name not in before or not _same(before[name], value)
    }
    other_names = {key.alias for key in keys if key.alias and key.name in changed}
    return {name: value for name, value in original.items() if name not in other_names} | changed


def _same(one: Any, other: Any) -> bool:
    """Tell whether two JSON values are the same; true is not 1."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _accepts(expected: Any, value: Any) -> bool:
    if isinstance(expected, list) and expected:  # [x] stands for a list in which every item is x.
        return isinstance(value, list) and bool(value) and all(_same(item, expected[0]) for item in value)
    return _same(value, expected)


def _not_supported(name: str, value: Any, key: Key) -> InputError:
    known = " or ".join(map(repr, key.values))
    return InputError(
        f"config.json has {shown(value)} for {name!r}, which is not supported; known is {known}"
        + (f": {key.remedy}" if key.remedy else "")
    )


def _unknown(names: list[str]) -> InputError:
    several = len(names) > 1
    return InputError(
        f"config.json has {'keys that are' if several else 'a key that is'} unknown here,"
        f" {', '.join(map(shown, names[:5]))}{' and more' if len(names) > 5 else ''}: nothing tells whether"
        " the network depends on"
        f" {'them; delete those that change' if several else 'it; delete it if it changes'} no number"
    )


def shown(value: Any) -> str:
    """Return a JSON value as a message repeats it."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
