"""Schedules: plain functions from the step to a factor.

A schedule is a closure `step -> float`. It multiplies a base value: the learning rate, or the dropout rate.
`step` counts optimizer steps from 0; `total_steps` is the length of the run. Nothing here imports TensorFlow:
the values of the coming steps go into the compiled step as a table.

A schedule is written as one flag value, a name with optional settings:

    cosine                       decay to 0 over the whole run
    cosine:final=0.1             decay to a tenth of the base value
    staircase:every=1000,factor=0.5,start=4000
    linear:initial=0,final=1     rise instead of decay (for dropout)

Every schedule also takes `warmup=STEPS`, a linear rise from 0 before anything else happens.
"""

import dataclasses
import math
from collections.abc import Callable

from lm_keras.errors import InputError, nearest

Schedule = Callable[[int], float]


def constant(total_steps: int) -> Schedule:
    """Return the factor 1 at every step."""
    del total_steps
    return lambda step: 1.0


def linear(total_steps: int, initial: float = 1.0, final: float = 0.0) -> Schedule:
    """Go from `initial` at step 0 to `final` at the run's end on a straight line.

    Example:
        >>> [linear(4)(step) for step in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return lambda step: initial + (final - initial) * _progress(step, total_steps)


def cosine(total_steps: int, initial: float = 1.0, final: float = 0.0, start: int = 0) -> Schedule:
    """Hold `initial` until step `start`, then go to `final` along half a cosine wave.

    With `start` at the end of the warm-up this is what GPT-2's descendants are trained with.

    Reference: Loshchilov and Hutter (2017), SGDR, equation 5, without restarts.
    """

    def curve(step: int) -> float:
        done = _progress(max(0, step - start), total_steps - start)
        return final + (initial - final) * 0.5 * (1 + math.cos(math.pi * done))

    return curve


def exponential(total_steps: int, final: float = 0.01) -> Schedule:
    """Multiply by the same number every step, from 1 down to `final` at the run's end."""
    return lambda step: final ** _progress(step, total_steps)


def inverse_sqrt(total_steps: int, timescale: int = 1000) -> Schedule:
    """Hold 1 for `timescale` steps, then decay with one over the square root of the step.

    With `warmup=timescale` this is the Transformer's schedule, with its peak scaled to 1.

    Reference: Vaswani et al. (2017), Attention is all you need, equation 3.
    """
    del total_steps
    return lambda step: math.sqrt(timescale / max(step, timescale))


def staircase(total_steps: int, every: int = 0, factor: float = 0.5, start: int = 0) -> Schedule:
    """Hold 1 until step `start`, then multiply by `factor` at once and again after every `every` steps.

    `every=0` means a tenth of the run, `start=0` the end of the first stair. Both count steps: Zaremba's
    small model halves each epoch after the fourth, so with 2,000 steps an epoch it is
    `staircase:start=8000,every=2000,factor=0.5`.

    Example:
        >>> [staircase(8, every=2, factor=0.5, start=4)(step) for step in range(8)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]

    Reference: Zaremba, Sutskever and Vinyals (2014), section 4.1.
    """
    width = every or max(1, total_steps // 10)
    begin = start or width
    return lambda step: 1.0 if step < begin else factor ** (1 + (step - begin) // width)


def wsd(total_steps: int, decay: float = 0.2, final: float = 0.0) -> Schedule:
    """Hold 1, then fall on a straight line to `final` over the last `decay` share of the run.

    Together with a warm-up: warm-up, stable, decay.

    Reference: Hu et al. (2024), MiniCPM, section 4.2.
    """
    width = max(1, round(decay * total_steps))
    return lambda step: 1.0 + (final - 1.0) * min(1.0, max(0.0, (step - (total_steps - width)) / width))


def with_warmup(schedule: Schedule, warmup_steps: int) -> Schedule:
    """Rise linearly from 0 over `warmup_steps`; from there on follow `schedule`, at its own step.

    Step 0 already has 1 / warmup_steps, so that no step is wasted on a rate of zero. A warm-up longer
    than the run is allowed: the run then ends within it.
    """
    if warmup_steps <= 0:
        return schedule
    return lambda step: schedule(step) * min(1.0, (step + 1) / warmup_steps)


def _progress(step: int, total_steps: int) -> float:
    return min(1.0, max(0.0, step / max(1, total_steps)))


SCHEDULES = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "exponential": exponential,
    "inverse_sqrt": inverse_sqrt,
    "staircase": staircase,
    "wsd": wsd,
}
"""The curves by name. `plateau` depends on results, not on the step: see `Plateau`."""


@dataclasses.dataclass(frozen=True)
class Plateau:
    """What to do when the validation loss stops falling.

    Attributes:
        factor: what the learning rate is multiplied with.
        patience: evaluations without improvement before that happens.
        min_delta: nats per token that count as an improvement.
        floor: share of the base learning rate below which it never goes.
    """

    factor: float = 0.25
    patience: int = 1
    min_delta: float = 0.0
    floor: float = 0.001


_BOUNDS = {
    "initial": (0.0, math.inf),
    "final": (0.0, math.inf),
    "factor": (0.0, 1.0),
    "decay": (0.0, 1.0),
    "timescale": (1, math.inf),
    "every": (0, math.inf),
    "start": (0, math.inf),
    "warmup": (0, math.inf),
    "patience": (0, math.inf),
    "min_delta": (0.0, math.inf),
    "floor": (0.0, 1.0),
}


def parse(text: str) -> tuple[str, dict[str, float | int]]:
    """Read `name:key=value,key=value` and check it.

    Returns:
        The name and its settings, numbers of the type that the schedule expects.

    Raises:
        InputError: for an unknown name or key, or a value that is not a number or out of range.

    Example:
        >>> parse("cosine:final=0.1,warmup=20")
        ('cosine', {'final': 0.1, 'warmup': 20})
    """
    name, _, rest = text.partition(":")
    names = [*SCHEDULES, "plateau"]
    if name not in names:
        raise InputError(
            f"schedule {name!r} is unknown{nearest(name, names)}; choose one of {', '.join(names)}"
        )
    allowed = _settings_of(name)
    settings: dict[str, float | int] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals or key not in allowed:
            raise InputError(
                f"schedule {text!r}: {item!r} is not a setting of {name}{nearest(key, list(allowed))}; "
                f"write KEY=NUMBER with one of {', '.join(allowed)}"
            )
        try:
            number = allowed[key](value)
        except ValueError:
            kind = "a whole number" if allowed[key] is int else "a number"
            raise InputError(f"schedule {text!r}: {key}={value!r} is not {kind}") from None
        if key in settings:
            raise InputError(f"schedule {text!r}: {key} is given twice; keep one of the two")
        low, high = _BOUNDS[key]
        if not low <= number <= high or number == math.inf:
            raise InputError(f"schedule {text!r}: {key}={value} is out of range; expected {low} to {high}")
        settings[key] = number
    return name, settings


def _settings_of(name: str) -> dict[str, type]:
    if name == "plateau":
        return {field.name: type(field.default) for field in dataclasses.fields(Plateau)} | {"warmup": int}
    function = SCHEDULES[name]
    parameters = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    return {key: type(value) for key, value in zip(parameters, function.__defaults__ or ())} | {"warmup": int}


def build(text: str, total_steps: int, warmup_steps: int = 0) -> Schedule:
    """Return the schedule that `text` describes, for a run of `total_steps`.

    Args:
        text: as `parse` reads it.
        total_steps: length of the run in optimizer steps.
        warmup_steps: the flag `--warmup_steps`; a `warmup=` in `text` is the same thing said at another
            place, so both at once is an error.

    Raises:
        InputError: see `parse`; also when the warm-up is given twice.
    """
    name, settings = parse(text)
    warmup = settings.pop("warmup", 0)
    if warmup and warmup_steps:
        raise InputError(
            f"the warm-up is given twice: --warmup_steps={warmup_steps} and warmup={warmup} in {text!r}"
        )
    curve = constant(total_steps) if name == "plateau" else SCHEDULES[name](total_steps, **settings)
    return with_warmup(curve, int(warmup or warmup_steps))


def largest(text: str) -> float:
    """Return the largest factor that the schedule `text` can reach; every curve goes one way only."""
    name, settings = parse(text)
    settings = {key: value for key, value in settings.items() if key not in ("warmup", "start")}
    if name == "plateau":
        return 1.0
    curve = SCHEDULES[name](1, **settings)
    return max(curve(0), curve(1))


SMALLEST = 2.0**-126
"""The smallest rate: TensorFlow computes in float32 and takes numbers below for 0."""


def when_nothing(text: str, base: float, total_steps: int, warmup_steps: int = 0) -> str:
    """Return from when on a schedule leaves nothing of a rate, or an empty string.

    A rate may end at 0, or begin there, but it has to be above 0 at one step at least beside the first one.

    Args:
        text: as `parse` reads it.
        base: what the schedule multiplies.
        total_steps: length of the run.
        warmup_steps: the flag `--warmup_steps`.

    Example:
        >>> when_nothing("exponential:final=0", 0.001, 500)
        'from the second step on'
        >>> when_nothing("linear:initial=0,final=1", 0.001, 500)
        ''
    """
    plateau, curve = plateau_of(text), build(text, total_steps, warmup_steps)
    if plateau and base * max(plateau.factor, plateau.floor) < SMALLEST:
        return "once the validation loss stops falling"
    # Every curve goes one way only.
    some = [base * curve(step) >= SMALLEST for step in (0, min(1, total_steps - 1), total_steps - 1)]
    if any(some[1:]):
        return ""
    return "from the second step on" if some[0] else "at every step"


def first_stair_to_nothing(text: str, base: float, total_steps: int) -> int | None:
    """Return the step from which on a staircase, which goes down to 0 at once, leaves nothing of a rate, or
    None.
    """
    name, settings = parse(text)
    settings.pop("warmup", None)
    if name != "staircase" or base * settings.get("factor", 0.5) >= SMALLEST:
        return None
    step = settings.get("start") or settings.get("every") or max(1, total_steps // 10)
    return step if step < total_steps else None


def plateau_of(text: str) -> Plateau | None:
    """Return the settings of a `plateau` schedule, or None when `text` names another."""
    name, settings = parse(text)
    settings.pop("warmup", None)
    return Plateau(**settings) if name == "plateau" else None
