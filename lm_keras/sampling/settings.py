"""Every setting of sampling, with its meaning, default and check. Standard library only."""

import dataclasses
import math
import numbers

from lm_keras.errors import InputError, nearest
from lm_keras.fields import setting

MOST_LOGPROBS = 1000
"""Tokens that are told with each chosen one."""

_LARGEST_INT32 = 2**31 - 1
_LARGEST_BIAS = 1000
"""No logit is larger: a token with the negative of it is never chosen."""


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How a model is turned into text.

    Attributes:
        max_new_tokens: tokens after the prompt at which a continuation ends at the latest.
        temperature: logits are divided by it. 1 = the model's own distribution, 0 = greedy.
        top_k: sample among the k likeliest tokens only. 0 = off.
        top_p: sample among the fewest tokens whose probability reaches p. 1 = off.
        min_p: sample among the tokens that are at least p times as likely as the likeliest one. 0 = off.
        repetition_penalty: makes tokens of the text so far, prompt included, less likely. 1 = off.
        presence_penalty: subtracted from the logit of each token that was generated before. 0 = off.
        frequency_penalty: subtracted as often as it was generated. 0 = off.
        no_repeat_ngram: never have the same n tokens in a row twice. 0 = off.
        logit_bias: token id -> what is added to its logit, as a dictionary or as text, "262:-5,11:2".
        seed: any integer, or one for each prompt. The same seed and prompt give the same text, whatever the
            other prompts are.
        num_samples: continuations for each prompt; with beams, the best ones.
        num_beams: search for the likeliest text with so many beams instead of sampling. 1 = off.
        length_penalty: alpha of beam search: a text of n tokens is ranked by its log-probability over ((5 +
            n) / 6)^alpha.
        top_logprobs: how many of the likeliest tokens to return with each chosen one.
        long_prompt: what to do with a prompt that is longer than the model's context: "error", or "keep_end".
        stop: strings that end a continuation, in a search each text that holds one. They are not part of it.
            One string, several, or None.

    Raises:
        InputError: a value is outside of what its setting allows.

    Example:
        >>> SamplingSettings(temperature=0.8, stop="###").stop
        ('###',)
    """

    max_new_tokens: int = setting(100, "tokens to generate at most")
    temperature: float = setting(1.0, "below 1 is safer, above 1 is wilder, 0 is greedy")
    top_k: int = setting(0, "choose among so many tokens; 0: among all")
    top_p: float = setting(1.0, "choose among the likeliest tokens with this share of probability; 1: all")
    seed: int | list[int] | tuple[int, ...] = setting(0, "same seed, same text")
    num_samples: int = setting(1, "continuations of the prompt; with --num_beams the best ones")
    stop: str | list[str] | tuple[str, ...] | None = setting(
        None,
        "end before this text; may be given several times, the text that comes first counts. It is taken as"
        " it stands; bash writes a line end as --stop=$'\\n'",
        several=True,
    )
    min_p: float = setting(
        0.0, "choose among tokens at least so many times as likely as the likeliest; 0: all"
    )
    repetition_penalty: float = setting(1.0, "above 1 makes tokens that were there before less likely")
    presence_penalty: float = setting(0.0, "lowers the logit of each token that was generated before")
    frequency_penalty: float = setting(0.0, "lowers it as often as the token was generated")
    no_repeat_ngram: int = setting(0, "never generate the same so many tokens in a row twice; 0: off")
    logit_bias: str | dict[int, float] | None = setting(
        None, "ID:BIAS,...: added to the logits of these token ids"
    )
    num_beams: int = setting(1, "search for the likeliest text with so many beams; 1: sample")
    length_penalty: float = setting(1.0, "of beam search: the higher, the longer the texts it prefers")
    top_logprobs: int = setting(0, "how many of the likeliest tokens to tell with each chosen one")
    long_prompt: str = setting(
        "error",
        "a prompt longer than the context of the model: stop, or use its end",
        choices=("error", "keep_end"),
    )

    def __post_init__(self):
        _check_whole("max_new_tokens", self.max_new_tokens, 1, "how many tokens to generate, for example 100")
        if not _is_real(self.temperature) or not 0 <= self.temperature < math.inf:
            raise InputError(
                f"temperature={self.temperature!r} is not a finite number of at least 0; "
                "use 0 for the likeliest token every time, 1 for the model's own distribution"
            )
        _check_whole(
            "top_k", self.top_k, 0, "0 to switch it off, or how many tokens to choose from, for example 40"
        )
        if not _is_real(self.top_p) or not 0 < self.top_p <= 1:
            raise InputError(
                f"top_p={self.top_p!r} is not a number above 0 and at most 1; "
                "use 1 to switch it off, or a probability, for example 0.95"
            )
        _check_between("min_p", self.min_p, 0, 1, "0 to switch it off, or a probability, for example 0.05")
        for name in ("presence_penalty", "frequency_penalty", "length_penalty"):
            _check_between(name, getattr(self, name), -100, 100, "0 to switch it off, for example 0.5")
        if not _is_real(self.repetition_penalty) or not 0 < self.repetition_penalty <= 100:
            raise InputError(
                f"repetition_penalty={self.repetition_penalty!r} is not a number above 0 and at most 100; "
                "use 1 to switch it off, or for example 1.2"
            )
        _check_whole("no_repeat_ngram", self.no_repeat_ngram, 0, "0 to switch it off, or for example 3")
        object.__setattr__(self, "logit_bias", _checked_bias(self.logit_bias))
        seeds = self.seed if isinstance(self.seed, (list, tuple)) else [self.seed]
        if not seeds or not all(map(_is_whole, seeds)):
            raise InputError(
                f"seed={self.seed!r} is not an integer; use for example seed=0, or a list with one for each"
                " prompt"
            )
        # Those of NumPy would overflow where a seed is taken modulo 2^64.
        object.__setattr__(self, "seed", tuple(map(int, seeds)) if seeds is self.seed else int(self.seed))
        _check_whole(
            "num_samples", self.num_samples, 1, "how many continuations of each prompt to give, for example 1"
        )
        _check_whole("num_beams", self.num_beams, 1, "1 to sample, or for example 4")
        _check_between(
            "top_logprobs", self.top_logprobs, 0, MOST_LOGPROBS, "how many tokens to tell, for example 5"
        )
        _check_whole("top_logprobs", self.top_logprobs, 0, "how many tokens to tell, for example 5")
        if self.long_prompt not in ("error", "keep_end"):
            raise InputError(
                f"long_prompt={self.long_prompt!r} is unknown; use 'error', or 'keep_end' to drop the"
                " beginning of a prompt"
            )
        if self.num_beams > 1:
            self._check_beams()
        elif self.length_penalty != 1:
            raise InputError(
                f"length_penalty={self.length_penalty!r} has no meaning without a search; give num_beams too,"
                " or leave it out"
            )
        object.__setattr__(self, "stop", _checked_stop(self.stop))

    def _check_beams(self) -> None:
        if self.num_samples > self.num_beams:
            raise InputError(
                f"num_samples={self.num_samples} of num_beams={self.num_beams}: a search gives at most as"
                " many texts as it has beams; use more beams"
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if (
                field.name in ("temperature", "top_k", "top_p", "min_p", "top_logprobs")
                and value != field.default
            ):
                raise InputError(
                    f"{field.name}={value!r} has no meaning with num_beams={self.num_beams}, which searches"
                    " for the likeliest text; leave one of both out"
                )


def settings_from(changes: dict) -> SamplingSettings:
    """Return the defaults with `changes`, or an error that names what is not a setting.

    Args:
        changes: setting name -> value.

    Raises:
        InputError: a name is unknown, or a value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(SamplingSettings)]
    for name in changes:
        if name not in names:
            hint = nearest(name, names)
            raise InputError(f"{name!r} is not a sampling setting{hint}; the settings are {', '.join(names)}")
    return SamplingSettings(**changes)


def check_prompts(prompts: list[str]) -> list[str]:
    """Return `prompts` as a list, or raise an error that says what is wrong with it.

    Raises:
        InputError: not a list or tuple of str, or a text that no encoding to bytes exists for.
    """
    if isinstance(prompts, str) or not isinstance(prompts, (list, tuple)):
        raise InputError(
            f"prompts is a {type(prompts).__name__}, not a list of strings; "
            'for one prompt write ["..."], for the start of a document [""]'
        )
    for index, prompt in enumerate(prompts):
        check_text(f"prompts[{index}]", prompt)
    return list(prompts)


def check_text(name: str, text: str) -> None:
    """Raise an `InputError` that names `name` unless `text` is a str of Unicode scalar values."""
    if not isinstance(text, str):
        raise InputError(
            f"{name} is a {type(text).__name__}, not a string; decode bytes with .decode('utf-8') first"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} has the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, which"
            " is no text; read the text as UTF-8, or drop such characters with text.encode('utf-8',"
            " 'ignore').decode()"
        ) from None


def check_texts(texts: list[str]) -> None:
    """Raise an `InputError` unless `texts` is a list of texts."""
    if isinstance(texts, str) or not isinstance(texts, (list, tuple)):
        raise InputError(
            f'texts is a {type(texts).__name__}, not a list of strings; for one text write ["..."]'
        )
    for index, text in enumerate(texts):
        check_text(f"texts[{index}]", text)


def _checked_stop(stop) -> tuple[str, ...]:
    if stop is None:
        return ()
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, (list, tuple)) or not all(isinstance(string, str) for string in strings):
        raise InputError(
            f"stop={stop!r} is not a string or a list of strings; use for example stop='###' or None"
        )
    if "" in strings:
        raise InputError(
            f"stop={stop!r} has an empty string, which would end every text at once; leave it out, or use"
            " stop=None"
        )
    return tuple(strings)


def _checked_bias(bias) -> tuple[tuple[int, float], ...]:
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
                f"logit_bias={{{token!r}: {value!r}}}: expected a token id, and a number from"
                f" -{_LARGEST_BIAS} to {_LARGEST_BIAS}; {form}"
            )
    return tuple(bias.items())


def _check_between(name: str, value, smallest: float, largest: float, remedy: str) -> None:
    if not _is_real(value) or not smallest <= value <= largest:
        raise InputError(f"{name}={value!r} is not a number from {smallest} to {largest}; use {remedy}")


def _check_whole(name: str, value, smallest: int, remedy: str) -> None:
    if not _is_whole(value) or not smallest <= value <= _LARGEST_INT32:
        raise InputError(
            f"{name}={value!r} is not an integer from {smallest} to {_LARGEST_INT32}; use {remedy}"
        )


def _is_whole(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
