"""Which trials a sweep has: all combinations, or some drawn at random, of what --vary and --cases say."""

import dataclasses
import hashlib
import itertools
import math
import random
import re
import shlex
from typing import Any

from lm_keras import flags
from lm_keras.config import FIELDS, Config, from_flat
from lm_keras.errors import InputError
from lm_keras.fields import kind_of
from lm_keras.sweeps.settings import SweepOptions

NO_CASE = "none"
"""The case that leaves all flags as they are."""

LONGEST_NAME = 150
"""Letters of the name of a trial, which is the name of a folder."""

DRAWS_PER_TRIAL = 100
"""How often it is drawn for a trial that is not there yet."""

MOST_TRIALS = 10_000
"""Of one command; each is checked before the first begins."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers between two bounds, which belong to it.

    Attributes:
        low, high: the bounds.
        whole: whether only whole numbers are meant.
        logarithmic: whether each order of magnitude is as likely as any other.
    """

    low: float
    high: float
    whole: bool
    logarithmic: bool

    def draw(self, source: random.Random) -> float:
        """Return a number, a fraction with three digits."""
        if self.whole and not self.logarithmic:
            return source.randint(int(self.low), int(self.high))
        ends = (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)
        number = source.uniform(*ends)
        number = math.exp(number) if self.logarithmic else number
        rounded = round(number) if self.whole else float(f"{number:.3g}")
        return min(max(rounded, self.low), self.high)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        settings: what is set for it, by the flag's name.
        case: the case of `--cases` that it belongs to, as it was written, or None where there are none.
        config: all settings.
    """

    name: str
    settings: dict[str, Any]
    case: str | None
    config: Config


def trials_of(base: Config, options: SweepOptions) -> list[Trial]:
    """Return the trials of a sweep in the order in which they are carried out.

    Args:
        base: the settings that all of them have, where nothing else is said.
        options: what differs between them.

    Raises:
        InputError: a flag is unknown or may not take a value, two contradict each other, two trials are the
            same, or nothing is varied.

    Example:
        >>> options = SweepOptions(vary="seed=8,32 dropout=0,0.2")
        >>> [trial.name for trial in trials_of(Config(), options)]
        ['seed=8,dropout=0', 'seed=8,dropout=0.2', 'seed=32,dropout=0', 'seed=32,dropout=0.2']
    """
    varied, cases = varied_of(options.vary), cases_of(options.cases)
    twice = [name for settings in cases.values() for name in settings if name in varied]
    if twice:
        raise InputError(f"--{twice[0]} is set by --cases and by --vary; leave it out of one of them")
    if not varied and not cases:
        raise InputError("nothing is varied; give --vary='embedding_dim=8,32,128', or --cases, see --help")
    chosen = _drawn(varied, cases, options) if options.random_trials else _combined(varied, cases)
    return _distinct([named_trial(base, case, {**cases.get(case, {}), **values}) for case, values in chosen])


def varied_of(text: str) -> dict[str, list | Range]:
    """Read `--vary`.

    Example:
        >>> varied_of("embedding_dim=8,32 dropout_schedule=constant,linear:initial=0,final=1")
        {'embedding_dim': [8, 32], 'dropout_schedule': ['constant', 'linear:initial=0,final=1']}
    """
    found: dict[str, list | Range] = {}
    for name, values in _words(text, "vary"):
        if name in found:
            raise InputError(f"--vary has {name} twice; list all its values in one place")
        found[name] = _range_of(name, values) or _values_of(name, values)
    return found


def cases_of(text: str) -> dict[str, dict[str, Any]]:
    """Read `--cases`: the settings of each, by its own text.

    Example:
        >>> cases_of("none; dropout=0.3; dropout=0.3 l2=1e-5")
        {'none': {}, 'dropout=0.3': {'dropout': 0.3}, 'dropout=0.3 l2=1e-5': {'dropout': 0.3, 'l2': 1e-05}}
    """
    cases: dict[str, dict[str, Any]] = {}
    for case in filter(None, (" ".join(part.split()) for part in text.split(";"))):
        if case in cases:
            raise InputError(f"--cases has {case!r} twice; leave one of them out")
        cases[case] = {}
        for name, value in [] if case == NO_CASE else _words(case, "cases"):
            if name in cases[case]:
                raise InputError(f"--cases has {name} twice in {case!r}; write ; between two cases")
            cases[case][name] = _checked("cases", name, value)
    return cases


def _words(text: str, flag: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InputError(f"--{flag}={text!r} cannot be read ({error}); close the quotation") from None
    pairs = [word.lstrip("-").partition("=") for word in words]
    for (name, equals, value), word in zip(pairs, words):
        if not (name and equals and value):
            raise InputError(
                f"--{flag} has {word!r}; expected NAME=VALUE, with spaces between flags and none within them"
            )
    return [(name, value) for name, _, value in pairs]


def _checked(flag: str, name: str, text: str) -> Any:
    try:
        return flags.value_of(name, text)
    except InputError as error:
        raise InputError(f"--{flag}: {error}") from None


def _values_of(name: str, text: str) -> list[Any]:
    pieces: list[str] = []
    for piece in text.split(","):
        if pieces and re.match(r"\w+=", piece):  # Of a schedule, linear:initial=0,final=1.
            pieces[-1] += f",{piece}"
        else:
            pieces.append(piece)
    values = [_checked("vary", name, piece) for piece in pieces]
    for number, value in enumerate(values):
        if value in values[:number]:
            raise InputError(f"--vary has {name}={value} twice; leave one of them out")
    return values


def _range_of(name: str, text: str) -> Range | None:
    """Read FROM..TO or log:FROM..TO; return None where it is a list."""
    found = re.fullmatch(r"(log:)?([^,]+?)\.\.([^,]+)", text)
    if not found or name not in FIELDS or kind_of(FIELDS[name])[0] not in (int, float):
        return None
    logarithmic, *ends = found.groups()
    low, high = (_checked("vary", name, end) for end in ends)
    if not low < high or (logarithmic and low <= 0):
        raise InputError(
            f"--vary has {name}={text}; expected two numbers in rising"
            f" order{', above 0' if logarithmic else ''}"
        )
    return Range(low, high, kind_of(FIELDS[name])[0] is int, bool(logarithmic))


def _combined(varied: dict[str, list | Range], cases: dict[str, dict]) -> list[tuple[str | None, dict]]:
    """Return all combinations: a case, or None, and values by name."""
    ranges = [name for name, values in varied.items() if isinstance(values, Range)]
    if ranges:
        raise InputError(
            f"--vary: {ranges[0]} has a range, of which numbers are drawn; say how many trials with"
            " --random_trials, or list its values"
        )
    axes = [list(cases) or [None], *varied.values()]
    count = math.prod(map(len, axes))
    if count > MOST_TRIALS:
        raise InputError(
            f"--vary and --cases have {count:,} combinations; draw some of them with --random_trials, or vary"
            " less"
        )
    return [(case, dict(zip(varied, values))) for case, *values in itertools.product(*axes)]


def _drawn(
    varied: dict[str, list | Range], cases: dict[str, dict], options: SweepOptions
) -> list[tuple[str | None, dict]]:
    """Draw trials; the i-th draw depends on the seed and i alone, and what was drawn before is left out."""
    chosen: dict[str, tuple[str | None, dict]] = {}
    for number in range(DRAWS_PER_TRIAL * options.random_trials):
        source = random.Random(f"{options.search_seed} {number}")
        case = source.choice(list(cases) or [None])
        values = {
            name: axis.draw(source) if isinstance(axis, Range) else source.choice(axis)
            for name, axis in varied.items()
        }
        chosen.setdefault(repr((case, values)), (case, values))
        if len(chosen) == options.random_trials:
            return list(chosen.values())
    raise InputError(
        f"--random_trials={options.random_trials}: only {len(chosen)} different ones were found; take fewer,"
        " or all combinations without this flag"
    )


def named_trial(base: Config, case: str | None, settings: dict[str, Any]) -> Trial:
    """Return the trial with these settings.

    Raises:
        InputError: the setting is unknown, it may not take that value, or two contradict each other.
    """
    name = name_of(settings)
    try:
        config = from_flat({**base.flat(), **settings})
    except InputError as error:
        raise InputError(f"the trial {name}: {error}") from None
    return Trial(name, settings, case, config)


def _distinct(trials: list[Trial]) -> list[Trial]:
    seen: dict[str, Trial] = {}
    for trial in trials:
        other = seen.setdefault(repr(trial.config.flat()), trial)
        if other is not trial:
            raise InputError(
                f"the trials {other.name} and {trial.name} have the same settings; leave one of them out"
            )
    return trials


def name_of(settings: dict[str, Any]) -> str:
    """Return the name of the folder of a trial.

    Example:
        >>> name_of({"embedding_dim": 8, "dropout": 0.2})
        'embedding_dim=8,dropout=0.2'
    """
    exact = ",".join(f"{name}={shortly(value)}" for name, value in settings.items())
    name = re.sub(r"[^\w.,:=+-]+", "-", exact, flags=re.ASCII) or NO_CASE
    if len(name) <= LONGEST_NAME and name in (exact, NO_CASE):
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(exact.encode()).hexdigest()[:6]}"


def shortly(value: Any) -> str:
    """Return a value as a person would write it: 0.0 as 0, what is not set as nothing."""
    return "" if value is None else str(value).removesuffix(".0")
