"""Schedules: from a text to a factor for every step"""

import math

from hypothesis import strategies as st

from fuzz import Law
from lm_keras import schedules
from lm_keras.callbacks.schedules import LearningRateSchedule, RateSchedule
from lm_keras.config import from_flat
from lm_keras.errors import InputError

NAMES = [*schedules.SCHEDULES, "plateau"]
STEPS = st.one_of(st.integers(1, 40), st.integers(1, 2**31 - 1))
NUMBERS = {
    float: st.floats(0, 1e6) | st.floats(0, 1) | st.sampled_from([0.0, 1.0, 5e-324, 1e-300, 1.7e308]),
    int: st.integers(0, 50) | st.integers(0, 2**31 - 1) | st.sampled_from([10**400]),
}
INSIDE = {
    "factor": st.floats(0, 1),
    "decay": st.floats(0, 1),
    "floor": st.floats(0, 1),
    "timescale": st.integers(1, 2**40),
}


def texts_of(name: str) -> st.SearchStrategy:
    """Draw good texts of one schedule."""
    keys = schedules._settings_of(name)
    values = {key: INSIDE.get(key, NUMBERS[kind]) for key, kind in keys.items()}
    chosen = st.fixed_dictionaries({}, optional=values)
    return chosen.map(
        lambda settings: f"{name}:" + ",".join(f"{key}={value}" for key, value in settings.items())
    )


GOOD = st.sampled_from(NAMES).flatmap(texts_of)


def holds_curve(case) -> None:
    """Every value is finite, not negative and never above the largest, and belongs to its step alone."""
    text, total, first, count = case
    schedule, largest = schedules.build(text, total), schedules.largest(text)
    values = [schedule(step) for step in range(first, first + count)]
    assert all(type(value) is float and math.isfinite(value) and value >= 0 for value in values), values
    assert all(value <= largest * (1 + 1e-12) for value in values), (values, largest)
    again = schedules.build(text, total)
    assert [again(step) for step in reversed(range(first, first + count))] == values[::-1]
    assert schedules.parse(text) == schedules.parse(text)


def holds_table(case) -> None:
    """The table of some steps has the values of each, wherever a run goes on."""
    text, total, first, parts = case
    callback = LearningRateSchedule(0.3, schedules.build(text, total))
    whole = callback.table(first, sum(parts))
    joined, begin = [], first
    for part in parts:
        joined += callback.table(begin, part)
        begin += part
    assert joined == whole == [0.3 * schedules.build(text, total)(step) for step in range(first, begin)]


def holds_config(case) -> None:
    """What the settings allow as a rate of dropout never leaves 0 to 1."""
    text, rate, total, first, count = case
    settings = {"dropout": rate, "dropout_schedule": text, "learning_rate_schedule": text, "steps": total}
    from_flat(settings if schedules.plateau_of(text) is None else {"learning_rate_schedule": text})
    if schedules.plateau_of(text) is None:
        callback = RateSchedule(rate, schedules.build(text, total))
        callback.name = "dropout"
        try:
            assert all(0 <= value < 1 for value in callback.table(first, count))
        except InputError as error:
            raise AssertionError("allowed at first") from error


ANY_NUMBER = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(
        ["", "1e400", "1_0", "0x1", " 1", "١", "²", "-0", "inf", "-inf", "nan", "9" * 5000, "1" * 400]
    ),
    st.text(max_size=4),
)
PIECES = st.one_of(
    st.sampled_from([*NAMES, ":", ",", "=", "final", "warmup", "every", "factor", "initial", "decay", " "]),
    ANY_NUMBER,
)
JUNK = st.one_of(
    st.lists(PIECES, max_size=7).map("".join),
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["final", "warmup", "every", "start", "factor", "initial", "decay", "timescale",
            "patience"]),
        ANY_NUMBER,
    ).map(lambda parts: "{}:{}={}".format(*parts)),
)  # fmt: skip


def holds_junk(case) -> None:
    """A text is refused by all that read it, or is a good one."""
    text, total = case
    try:
        schedule = schedules.build(text, total)
    except InputError as error:
        for name in ("learning_rate_schedule", "dropout_schedule", "token_noise_schedule"):
            try:
                from_flat({name: text})
            except InputError as other:
                assert (
                    str(error) in str(other)
                    or "has no meaning" in str(other)
                    or "which no flagfile" in str(other)
                    or "which no name of a file" in str(other)
                )
            else:
                raise AssertionError(f"--{name}={text!r} is allowed") from None
        raise
    for step in (0, 1, total // 2, total - 1, total, 2**40):
        value = schedule(step)
        assert math.isfinite(value) and value >= 0, (step, value)


WHERE = (st.integers(0, 60), st.integers(1, 30))

LAWS = [
    Law("values are finite, not negative and those of their step", "a schedule with settings, the run's "
        "length, some steps", st.tuples(GOOD, STEPS, *WHERE), holds_curve, 60, 1500, False),
    Law("a table is its steps one by one", "the same, cut into parts", st.tuples(GOOD, STEPS, WHERE[0],
        st.lists(st.integers(0, 9), max_size=6)), holds_table, 30, 500, False),
    Law("an allowed rate stays below 1", "a schedule, a rate of dropout", st.tuples(GOOD, st.floats(0, 1,
        exclude_max=True), STEPS, *WHERE), holds_config, 60, 1000),
    Law("any other text is refused in one line", "texts that look a little like a schedule", st.tuples(JUNK,
        STEPS), holds_junk, 100, 1500),
]  # fmt: skip
