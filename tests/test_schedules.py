import doctest
import math

import numpy as np
import pytest

from lm_keras import schedules
from lm_keras.errors import InputError

HALF = math.sqrt(0.5)

CURVES = [
    ("constant", 3, 0, [1, 1, 1, 1, 1]),
    ("linear", 4, 0, [1, 0.75, 0.5, 0.25, 0, 0]),
    ("linear:final=0.2", 5, 0, [1, 0.84, 0.68, 0.52, 0.36, 0.2, 0.2]),
    ("linear:initial=0,final=1", 5, 0, [0, 0.2, 0.4, 0.6, 0.8, 1, 1]),
    ("cosine", 4, 0, [1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0]),
    ("cosine:final=0.1", 4, 0, [1, 0.1 + 0.45 * (1 + HALF), 0.55, 0.1 + 0.45 * (1 - HALF), 0.1, 0.1]),
    ("cosine:start=2", 6, 0, [1, 1, 1, (1 + HALF) / 2, 0.5, (1 - HALF) / 2, 0, 0]),
    (
        "cosine:start=2,final=0.1",
        6,
        2,
        [0.5, 1, 1, 0.1 + 0.45 * (1 + HALF), 0.55, 0.1 + 0.45 * (1 - HALF), 0.1],
    ),
    ("cosine:start=9", 3, 0, [1, 1, 1, 1]),
    ("cosine:initial=0.25,final=3", 3, 0, [0.25, 0.9375, 2.3125, 3, 3]),
    ("exponential:final=0.0625", 4, 0, [1, 0.5, 0.25, 0.125, 0.0625, 0.0625]),
    ("exponential", 2, 0, [1, 0.1, 0.01, 0.01]),
    (
        "inverse_sqrt:timescale=4",
        7,
        0,
        [1, 1, 1, 1, 1, math.sqrt(0.8), math.sqrt(2 / 3), math.sqrt(4 / 7), HALF],
    ),
    ("staircase", 20, 0, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ("staircase", 7, 0, [1, 0.5, 0.25, 0.125]),
    ("staircase:every=3,factor=0.1", 99, 0, [1, 1, 1, 0.1, 0.1, 0.1, 0.01]),
    ("staircase:every=2,factor=0.5,start=4", 8, 0, [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125]),
    ("staircase:start=5,every=1,factor=0", 7, 0, [1, 1, 1, 1, 1, 0, 0, 0]),
    ("wsd", 10, 0, [1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0, 0]),
    ("wsd:decay=0.3,final=0.4", 10, 0, [1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.4]),
    ("wsd:decay=1", 4, 0, [1, 0.75, 0.5, 0.25, 0, 0]),
    ("wsd:decay=0", 3, 0, [1, 1, 1, 0]),
    ("plateau", 3, 0, [1, 1, 1, 1, 1]),
    # A warm-up multiplies; the curve goes on at its own step.
    ("constant", 7, 4, [0.25, 0.5, 0.75, 1, 1, 1, 1]),
    ("constant:warmup=4", 7, 0, [0.25, 0.5, 0.75, 1, 1, 1, 1]),
    ("linear", 4, 2, [0.5, 0.75, 0.5, 0.25, 0]),
    ("wsd:decay=0.25,warmup=5", 8, 0, [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 0.5, 0]),
    ("inverse_sqrt:timescale=3,warmup=3", 9, 0, [1 / 3, 2 / 3, 1, 1, math.sqrt(3 / 4), math.sqrt(3 / 5)]),
    ("plateau:warmup=2", 5, 0, [0.5, 1, 1, 1]),
    ("constant", 7, 1, [1, 1, 1]),
    # Longer than the run: the run ends within it.
    ("constant", 3, 8, [0.125, 0.25, 0.375, 0.5]),
    ("linear:warmup=10", 2, 0, [0.1, 0.1, 0]),
    # A run of one step.
    ("cosine", 1, 0, [1, 0]),
    ("staircase", 1, 0, [1, 0.5, 0.25]),
    ("wsd", 1, 0, [1, 0]),
]


def follows(schedule, numbers):
    return [schedule(step) for step in range(len(numbers))] == pytest.approx(numbers, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("text", "total_steps", "warmup_steps", "numbers"), CURVES)
def test_whole_curve(text, total_steps, warmup_steps, numbers):
    assert follows(schedules.build(text, total_steps, warmup_steps), numbers)


def test_every_curve_is_among_the_curves_above():
    assert {text.partition(":")[0] for text, *_ in CURVES} == {*schedules.SCHEDULES, "plateau"}


@pytest.mark.parametrize(("text", "total_steps", "warmup_steps", "numbers"), CURVES)
def test_the_comparison_of_curves_can_fail(text, total_steps, warmup_steps, numbers):
    right = schedules.build(text, total_steps, warmup_steps)
    late = schedules.with_warmup(schedules.constant(1), 99)
    assert not follows(lambda step: right(step) * late(step), numbers)
    if len(set(numbers)) > 1:  # all but a constant
        assert not follows(lambda step: right(step + 1), numbers)


@pytest.mark.parametrize("text", [*schedules.SCHEDULES, "cosine:warmup=13"])
def test_a_value_belongs_to_its_step_whatever_was_asked_before(text):
    schedule = schedules.build(text, 99)
    forwards = [schedule(step) for step in range(120)]
    assert [schedule(step) for step in reversed(range(120))] == forwards[::-1]
    assert all(type(value) is float and math.isfinite(value) for value in forwards)


def test_the_recipe_of_nanogpt():
    """`get_lr` of its train.py, but that its warm-up divides by one more step."""
    schedule = schedules.build("cosine:start=100,final=0.1", 2000, 100)
    for step in range(2000):
        done = (step - 100) / (2000 - 100)
        theirs = (step + 1) / 100 if step < 100 else 0.1 + 0.5 * (1 + math.cos(math.pi * done)) * 0.9
        assert schedule(step) == pytest.approx(theirs, rel=1e-12)


def test_a_table_row_of_zaremba():
    """The small model: rate 1 for 4 epochs, then halved each epoch; here with 5 steps an epoch."""
    schedule = schedules.build("staircase:start=20,every=5,factor=0.5", 13 * 5)
    assert [schedule(5 * epoch) for epoch in range(8)] == [1, 1, 1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    assert schedule(19) == 1
    assert schedule(5 * 13 - 1) == 2.0**-9


PARSED = [
    ("cosine", ("cosine", {})),
    ("cosine:", ("cosine", {})),
    ("cosine:final=0.1,warmup=20", ("cosine", {"final": 0.1, "warmup": 20})),
    ("linear:initial=0,final=1", ("linear", {"initial": 0.0, "final": 1.0})),
    ("exponential:final=1e-3", ("exponential", {"final": 0.001})),
    ("inverse_sqrt:timescale=4000", ("inverse_sqrt", {"timescale": 4000})),
    ("staircase:every=7,factor=0.25,start=13", ("staircase", {"every": 7, "factor": 0.25, "start": 13})),
    ("wsd:decay=0.1,final=0", ("wsd", {"decay": 0.1, "final": 0.0})),
    ("plateau:factor=0.5,patience=3", ("plateau", {"factor": 0.5, "patience": 3})),
]


@pytest.mark.parametrize(("text", "parsed"), PARSED)
def test_parse(text, parsed):
    assert schedules.parse(text) == parsed
    assert [type(value) for value in schedules.parse(text)[1].values()] == [
        type(value) for value in parsed[1].values()
    ]


NAMES = "constant, linear, cosine, exponential, inverse_sqrt, staircase, wsd, plateau"

BAD = [
    ("cosin", f"schedule 'cosin' is unknown (did you mean 'cosine'?); choose one of {NAMES}"),
    ("", f"schedule '' is unknown; choose one of {NAMES}"),
    ("0.1", f"schedule '0.1' is unknown; choose one of {NAMES}"),
    (
        "cosine:finl=0.1",
        (
            "schedule 'cosine:finl=0.1': 'finl=0.1' is not a setting of cosine (did you mean 'final'?); "
            "write KEY=NUMBER with one of initial, final, start, warmup"
        ),
    ),
    (
        "constant:final=2",
        (
            "schedule 'constant:final=2': 'final=2' is not a setting of constant; write KEY=NUMBER with one"
            " of warmup"
        ),
    ),
    (
        "wsd:0.2",
        "schedule 'wsd:0.2': '0.2' is not a setting of wsd; write KEY=NUMBER with one of "
        "decay, final, warmup",
    ),
    (
        "staircase:total_steps=9",
        (
            "schedule 'staircase:total_steps=9': 'total_steps=9' is not a setting of staircase; "
            "write KEY=NUMBER with one of every, factor, start, warmup"
        ),
    ),
    ("cosine:final=small", "schedule 'cosine:final=small': final='small' is not a number"),
    ("cosine:warmup=1.5", "schedule 'cosine:warmup=1.5': warmup='1.5' is not a whole number"),
    ("cosine:final=", "schedule 'cosine:final=': final='' is not a number"),
    ("cosine:final=nan", "schedule 'cosine:final=nan': final=nan is out of range; expected 0.0 to inf"),
    ("cosine:final=inf", "schedule 'cosine:final=inf': final=inf is out of range; expected 0.0 to inf"),
    ("linear:final=-1", "schedule 'linear:final=-1': final=-1 is out of range; expected 0.0 to inf"),
    ("linear:initial=-1", "schedule 'linear:initial=-1': initial=-1 is out of range; expected 0.0 to inf"),
    ("linear:warmup=-1", "schedule 'linear:warmup=-1': warmup=-1 is out of range; expected 0 to inf"),
    ("wsd:decay=1.1", "schedule 'wsd:decay=1.1': decay=1.1 is out of range; expected 0.0 to 1.0"),
    ("staircase:factor=2", "schedule 'staircase:factor=2': factor=2 is out of range; expected 0.0 to 1.0"),
    ("staircase:every=-1", "schedule 'staircase:every=-1': every=-1 is out of range; expected 0 to inf"),
    ("staircase:start=-1", "schedule 'staircase:start=-1': start=-1 is out of range; expected 0 to inf"),
    (
        "inverse_sqrt:timescale=0",
        "schedule 'inverse_sqrt:timescale=0': timescale=0 is out of range; expected 1 to inf",
    ),
    ("plateau:floor=2", "schedule 'plateau:floor=2': floor=2 is out of range; expected 0.0 to 1.0"),
    ("plateau:patience=-1", "schedule 'plateau:patience=-1': patience=-1 is out of range; expected 0 to inf"),
    (
        "plateau:min_delta=-1",
        "schedule 'plateau:min_delta=-1': min_delta=-1 is out of range; expected 0.0 to inf",
    ),
    (
        "cosine:final=0.1,final=0.2",
        "schedule 'cosine:final=0.1,final=0.2': final is given twice; keep one of the two",
    ),
]


def message_of(call, *arguments):
    """The text of the InputError that the call ends in, or None."""
    try:
        call(*arguments)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("text", "message"), BAD)
def test_what_cannot_be_read_is_named(text, message):
    for function in (schedules.parse, schedules.plateau_of, schedules.largest):
        assert message_of(function, text) == message
    assert message_of(schedules.build, text, 5) == message


@pytest.mark.parametrize(("text", "_"), PARSED)
def test_what_can_be_read_gives_no_message(text, _):
    assert message_of(schedules.parse, text) is None


def test_two_warm_ups_are_one_too_many():
    message = "the warm-up is given twice: --warmup_steps=3 and warmup=7 in 'cosine:warmup=7'"
    assert message_of(schedules.build, "cosine:warmup=7", 99, 3) == message
    assert message_of(schedules.build, "cosine:warmup=0", 99, 3) is None
    assert message_of(schedules.build, "cosine:warmup=7", 99, 0) is None


def test_a_whole_number_beyond_every_float_is_no_crash():
    schedule = schedules.build("constant:warmup=" + 400 * "9", 5)
    assert 0 <= schedule(4) < 1e-300


def test_plateau():
    assert schedules.plateau_of("plateau") == schedules.Plateau(0.25, 1, 0.0, 0.001)
    assert schedules.plateau_of(
        "plateau:factor=0.5,patience=3,min_delta=0.01,floor=0.2,warmup=7"
    ) == schedules.Plateau(factor=0.5, patience=3, min_delta=0.01, floor=0.2)
    for name in schedules.SCHEDULES:
        assert schedules.plateau_of(name) is None


@pytest.mark.parametrize(
    ("text", "largest"),
    [
        ("constant", 1),
        ("linear:initial=0,final=3", 3),
        ("linear:initial=2", 2),
        ("cosine:final=0.5", 1),
        ("cosine:final=3,start=7", 3),
        ("exponential:final=5", 5),
        ("wsd:final=7,warmup=99", 7),
        ("staircase", 1),
        ("inverse_sqrt", 1),
        ("plateau:warmup=4", 1),
    ],
)
def test_largest_is_reached_and_never_passed(text, largest):
    assert schedules.largest(text) == largest
    schedule = schedules.build(text, 99)
    assert max(schedule(step) for step in range(300)) == pytest.approx(largest)


NOTHING = [
    ("exponential:final=0", "from the second step on"),
    ("exponential:final=0,warmup=9", "from the second step on"),
    ("linear:initial=0,final=0", "at every step"),
    ("linear:initial=0,final=1e-60", "at every step"),
    ("cosine:initial=0,final=0,warmup=3", "at every step"),
    ("cosine:initial=0,start=99", "at every step"),
    ("cosine:initial=0,start=99,final=1", "at every step"),
    ("staircase:start=1,factor=0", "from the second step on"),
    ("staircase:every=1,factor=1e-40", "from the second step on"),
    ("constant:warmup=" + "9" * 400, "at every step"),
    ("plateau:factor=0,floor=0", "once the validation loss stops falling"),
    *[(text, "") for text in (
        *schedules.SCHEDULES, "plateau", "plateau:factor=0", "linear:initial=0,final=1",
        "linear:initial=1e-30",
        "exponential:final=1e-300", "cosine:initial=0,start=50,final=1", "staircase:start=2,factor=0",
        "wsd:decay=1",
        "wsd:decay=0", "constant:warmup=1000000",
    )],
]  # fmt: skip


@pytest.mark.parametrize(("text", "when"), NOTHING)
def test_what_leaves_nothing_of_a_rate(text, when):
    """As a table in float32 has it, which holds all values of these steps."""
    assert schedules.when_nothing(text, 0.002, 99) == when
    if "plateau:" not in text:
        table = np.float32([0.002 * schedules.build(text, 99)(step) for step in range(99)])
        alive = table >= np.finfo(np.float32).tiny
        assert when == ("" if alive[1:].any() else "from the second step on" if alive[0] else "at every step")


def test_a_rate_that_is_nothing_itself_and_runs_of_a_step_or_two():
    assert schedules.when_nothing("constant", 1e-45, 99) == "at every step"
    assert schedules.when_nothing("constant", 1e-37, 99) == ""
    assert schedules.when_nothing("constant", 0.1, 9, 10**300) == "at every step"
    for name in schedules.SCHEDULES:
        assert [schedules.when_nothing(name, 0.1, total) for total in (1, 2)] == ["", ""]


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("staircase:factor=0", 9),
        ("staircase:factor=0,every=7", 7),
        ("staircase:factor=1e-40,start=5,every=7", 5),
        ("staircase:factor=0,start=99", None),
        ("staircase:factor=1e-30,every=1", None),
        ("exponential:final=0", None),
    ],
)
def test_a_staircase_that_goes_down_to_nothing(text, step):
    assert schedules.first_stair_to_nothing(text, 0.002, 99) == step
    if step:
        curve = schedules.build(text, 99)
        assert curve(step - 1) == 1 and 0.002 * curve(step) < 1e-38


def test_the_examples_in_the_docstrings_run():
    found = doctest.testmod(schedules)
    assert found.attempted == 5
    assert found.failed == 0
