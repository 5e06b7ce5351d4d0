"""Every setting of sampling, with its meaning, default and check. Standard library only."""

import dataclasses
import math
import numbers

from lm_keras.errors import InputError, nearest
from lm_keras.fields import setting

_LARGEST_INT32 = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """How a model is turned into text.

    Attributes:
        max_new_tokens: tokens after the prompt at which a continuation ends at the latest.
        temperature: logits are divided by it. 1 = the model's own distribution, 0 = greedy.
        top_k: sample among the k likeliest tokens only. 0 = off.
        top_p: sample among the fewest tokens whose probability reaches p. 1 = off.
        seed: any integer. The same seed gives the same text.
        num_samples: continuations for each prompt.
        stop: strings that end a continuation. They are not part of it. One string, several, or None.

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
    seed: int = setting(0, "same seed, same text")
    num_samples: int = setting(1, "continuations of the prompt")
    stop: str | list[str] | tuple[str, ...] | None = setting(None, "end before this text")

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
        if not _is_whole(self.seed):
            raise InputError(f"seed={self.seed!r} is not an integer; use for example seed=0")
        _check_whole(
            "num_samples", self.num_samples, 1, "how many continuations of each prompt to give, for example 1"
        )
        object.__setattr__(self, "stop", _checked_stop(self.stop))


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
            f"{name} has the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, which is "
            "no text; read the text as UTF-8, or drop such characters with text.encode('utf-8', 'ignore').decode()"
        ) from None


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
            f"stop={stop!r} has an empty string, which would end every text at once; leave it out, or use stop=None"
        )
    return tuple(strings)


def _check_whole(name: str, value, smallest: int, remedy: str) -> None:
    if not _is_whole(value) or not smallest <= value <= _LARGEST_INT32:
        raise InputError(
            f"{name}={value!r} is not an integer from {smallest} to {_LARGEST_INT32}; use {remedy}"
        )


def _is_whole(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_real(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
