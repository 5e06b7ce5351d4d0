"""Every setting of sampling, with its meaning, default and check. Standard library only."""

import dataclasses
import numbers
from typing import Any, Literal

from lm_keras.errors import InputError, nearest
from lm_keras.fields import LARGEST, expected, kind_of, setting, within

MOST_LOGPROBS = 1000
"""Tokens that are told with each chosen one."""

_LARGEST_BIAS = 1000
"""No logit is larger: a token with the negative of it is never chosen."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a setting takes part in the choice of a token.

    Attributes:
        kind: `logits`: in the computation of every token; `past`: it changes logits by the text so far;
            `sorted`: it rejects some of the logits that are sorted from the likeliest token down.
        function: its name in `lm_keras.sampling.rules`; empty for a part of what is always computed.
    """

    kind: Literal["logits", "past", "sorted"]
    function: str = ""


@dataclasses.dataclass(frozen=True)
class AllowedRange:
    """Which numbers a setting may be.

    Attributes:
        low, high: the smallest and the largest; None for no limit.
        above: a limit that is not allowed itself.
        remedy: what to use instead of another value, for messages.
    """

    remedy: str
    low: float | None = None
    high: float | None = None
    above: float | None = None


def _sampled(
    default: Any,
    help: str,
    allowed: AllowedRange | None = None,
    rule: Rule | None = None,
    searching: bool = True,
    **described: Any,
) -> Any:
    """Describe one sampling setting, as `lm_keras.fields.setting` does, with what sampling asks of it.

    Args:
        default: its value where nobody sets it, with which a rule is off.
        help: one sentence with the unit.
        allowed: the numbers that it may be; None where it is not a number.
        rule: how it takes part in the choice of a token; None for other settings.
        searching: whether it has a meaning for a beam search; a `sorted` rule has none.
        **described: see `lm_keras.fields.Description`.
    """
    searching = searching and (rule is None or rule.kind != "sorted")
    bounds = {} if allowed is None else {"low": allowed.low, "high": allowed.high, "above": allowed.above}
    known = setting(default, help, **bounds, **described).metadata
    more = {"allowed": allowed, "rule": rule, "searching": searching}
    return dataclasses.field(default=default, metadata={**known, **more})


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How a model is turned into text.

    This is the one table of sampling settings, and of the rules that choose a token. To add a rule, add its
    setting here and its function to `lm_keras.sampling.rules`.

    Attributes:
        stop: one string, several, or None; kept as a tuple.
        logit_bias: a dictionary of token ids, or the same as text, "262:-5,11:2"; kept as pairs.

    Raises:
        InputError: a value is outside of what its setting allows.

    Example:
        >>> SamplingSettings(temperature=0.8, stop="###").stop
        ('###',)
    """

    max_new_tokens: int = _sampled(
        100,
        "tokens to generate at most; an answer of --chat has 512 where it is not given",
        AllowedRange("how many tokens to generate, for example 100", low=1),
    )
    temperature: float = _sampled(
        1.0,
        "logits are divided by it: below 1 is safer, above 1 is wilder, 0 is greedy",
        AllowedRange("0 for the likeliest token every time, 1 for the model's own distribution", low=0),
        Rule("logits"),
        searching=False,
    )
    top_k: int = _sampled(
        0,
        "choose among the k likeliest tokens; 0: among all",
        AllowedRange("0 to switch it off, or how many tokens to choose from, for example 40", low=0),
        Rule("sorted"),
    )
    top_p: float = _sampled(
        1.0,
        "choose among the fewest tokens whose probability reaches p; 1: among all",
        AllowedRange("1 to switch it off, or a probability, for example 0.95", above=0, high=1),
        Rule("sorted", "top_p"),
    )
    seed: int | list[int] | tuple[int, ...] = _sampled(
        0,
        "same seed and prompt, same text, whatever the other prompts are; in Python also one for each prompt",
    )
    num_samples: int = _sampled(
        1,
        "continuations of each prompt; with --num_beams the best ones",
        AllowedRange("how many continuations of each prompt to give, for example 1", low=1),
    )
    stop: str | list[str] | tuple[str, ...] | None = _sampled(
        None,
        "end before this text; may be given several times, the first match counts. It is taken "
        "literally; bash writes a line end as --stop=$'\\n'",
        several=True,
    )
    min_p: float = _sampled(
        0.0,
        "choose among the tokens with at least this share of the top probability; 0: among all",
        AllowedRange("0 to switch it off, or a probability, for example 0.05", low=0, high=1),
        Rule("sorted", "min_p"),
    )
    repetition_penalty: float = _sampled(
        1.0,
        "above 1 makes tokens of the text so far, prompt included, less likely; 1: off",
        AllowedRange("1 to switch it off, or for example 1.2", above=0, high=100),
        Rule("past", "repetition_penalty"),
    )
    presence_penalty: float = _sampled(
        0.0,
        "subtracted from the logit of each token that was generated before; 0: off",
        AllowedRange("0 to switch it off, for example 0.5", low=-100, high=100),
        Rule("past", "count_penalties"),
    )
    frequency_penalty: float = _sampled(
        0.0,
        "subtracted from the logit of a token as often as it was generated; 0: off",
        AllowedRange("0 to switch it off, for example 0.5", low=-100, high=100),
        Rule("past", "count_penalties"),
    )
    no_repeat_ngram: int = _sampled(
        0,
        "never generate the same n tokens in a row twice; 0: off",
        AllowedRange("0 to switch it off, or for example 3", low=0),
        Rule("past", "no_repeat_ngram"),
    )
    logit_bias: str | dict[int, float] | None = _sampled(
        None, "ID:BIAS,...: added to the logits of these token ids", rule=Rule("logits")
    )
    num_beams: int = _sampled(
        1,
        "beams of the search for the likeliest text; 1: sample",
        AllowedRange("1 to sample, or for example 4", low=1),
    )
    length_penalty: float = _sampled(
        1.0,
        "alpha of beam search: a text of n tokens is ranked by its log-probability over ((5 + n) / "
        "6)^alpha, so a higher alpha gives longer texts",
        AllowedRange("0 to switch it off, for example 0.5", low=-100, high=100),
    )
    top_logprobs: int = _sampled(
        0,
        "number of likeliest tokens to print with each chosen one",
        AllowedRange("how many tokens to tell, for example 5", low=0, high=MOST_LOGPROBS),
        searching=False,
    )
    long_prompt: str = _sampled(
        "error",
        "a prompt longer than the context of the model: stop, or use its end",
        choices=("error", "keep_end"),
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))
        seeds = self.seed if isinstance(self.seed, (list, tuple)) else [self.seed]
        if not seeds or not all(map(_is_whole, seeds)):
            raise InputError(
                f"seed={self.seed!r} is not an integer; use for example seed=0, or a list with one for each "
                "prompt"
            )
        # Those of NumPy would overflow where a seed is taken modulo 2^64.
        object.__setattr__(self, "seed", tuple(map(int, seeds)) if seeds is self.seed else int(self.seed))
        if self.num_beams > 1:
            self._check_beams()
        elif self.length_penalty != 1:
            raise InputError(
                f"length_penalty={self.length_penalty!r} has no meaning without a search; give num_beams "
                "too, or leave it out"
            )
        object.__setattr__(self, "stop", _checked_stop(self.stop))

    def _check_beams(self) -> None:
        if self.num_samples > self.num_beams:
            raise InputError(
                f"num_samples={self.num_samples} of num_beams={self.num_beams}: a search gives at most as "
                "many texts as it has beams; use more beams"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.metadata["searching"] and value != field.default:
                raise InputError(
                    f"{field.name}={value!r} has no meaning with num_beams={self.num_beams}, which searches "
                    "for the likeliest text; leave one of both out"
                )


RULES = {field.name: field for field in dataclasses.fields(SamplingSettings) if field.metadata["rule"]}
"""The settings that take part in the choice of a token, by name, in the order in which their rules apply."""


def settings_from(changes: dict[str, Any]) -> SamplingSettings:
    """Return the defaults with `changes`, setting name -> value.

    Raises:
        InputError: a name is unknown, or a value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(SamplingSettings)]
    for name in changes:
        if name not in names:
            hint = nearest(name, names)
            raise InputError(f"{name!r} is not a sampling setting{hint}; the settings are {', '.join(names)}")
    return SamplingSettings(**changes)


def _checked_stop(stop: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    if stop is None:
        return ()
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, (list, tuple)) or not all(isinstance(string, str) for string in strings):
        raise InputError(
            f"stop={stop!r} is not a string or a list of strings; use for example stop='###' or None"
        )
    if "" in strings:
        raise InputError(
            f"stop={stop!r} has an empty string, which would end every text at once; leave it out, or use "
            "stop=None"
        )
    return tuple(strings)


def _checked_bias(bias: Any) -> tuple[tuple[int, float], ...]:
    """Return pairs of token id and bias."""
    form = "use for example logit_bias={262: -5.0}, or --logit_bias=262:-5"
    if isinstance(bias, str):
        pairs = [pair.partition(":") for pair in bias.split(",")] if bias else []
        try:
            given = [(int(token), float(value)) for token, _, value in pairs]
        except ValueError:
            raise InputError(f"logit_bias={bias!r} is not ID:BIAS,...; {form}") from None
        if len(dict(given)) < len(given):
            raise InputError(f"logit_bias={bias!r} has a token twice; give each token one bias")
        bias = dict(given)
    bias = dict(bias or {}) if bias is None or isinstance(bias, tuple) else bias
    if not isinstance(bias, dict):
        raise InputError(f"logit_bias={bias!r} is not a dictionary; {form}")
    for token, value in bias.items():
        if not _is_whole(token) or token < 0 or not _is_real(value) or not abs(value) <= _LARGEST_BIAS:
            raise InputError(
                f"logit_bias={{{token!r}: {value!r}}}: expected a token id, and a number from "
                f"-{_LARGEST_BIAS} to {_LARGEST_BIAS}; {form}"
            )
    return tuple(bias.items())


def _check(field: dataclasses.Field, value: Any) -> None:
    """Raise InputError unless a value is one of the names or numbers that a setting may be."""
    meta, whole = field.metadata, kind_of(field)[0] is int
    if meta["choices"] and value not in meta["choices"]:
        raise InputError(f"{field.name}={value!r} is unknown; use one of {', '.join(meta['choices'])}")
    if not meta["allowed"]:
        return
    remedy = meta["allowed"].remedy
    if not (_is_whole(value) if whole else _is_real(value)) or not within(meta, value):
        raise InputError(f"{field.name}={value!r} is not {expected(field)}; use {remedy}")
    if whole and value > LARGEST:
        raise InputError(f"{field.name}={value!r} is not {expected(field)}, {LARGEST} at most; use {remedy}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
