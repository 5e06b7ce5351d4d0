"""Which trials there are, what they are called, and what is refused before the first begins."""

import doctest

import pytest

from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.sweeps import search
from lm_keras.sweeps.search import name_of, trials_of
from lm_keras.sweeps.settings import SweepOptions


@pytest.fixture
def found(tiny_config):
    """A function from what is varied to the trials."""
    return lambda **options: trials_of(tiny_config(), SweepOptions(**options))


def names(trials):
    return [trial.name for trial in trials]


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(search) == (0, 5)


def test_a_grid_has_every_combination_and_nothing_else_changes(found, tiny_config):
    trials = found(vary="embedding_dim=5,9,33 dropout=0,0.25")
    assert [(t.settings["embedding_dim"], t.settings["dropout"]) for t in trials] == [
        (5, 0.0), (5, 0.25), (9, 0.0), (9, 0.25), (33, 0.0), (33, 0.25),
    ]  # fmt: skip
    base = tiny_config().flat()
    for trial in trials:
        changed = {name for name, value in trial.config.flat().items() if value != base[name]}
        assert changed <= {"embedding_dim", "dropout"}
        assert {name: trial.config.flat()[name] for name in trial.settings} == trial.settings


def test_values_of_every_kind(found):
    (trial,) = found(vary="tie_embeddings=false learning_rate_schedule=constant num_layers=3 vocab_size=40")
    assert trial.settings == {
        "tie_embeddings": False, "learning_rate_schedule": "constant", "num_layers": 3, "vocab_size": 40,
    }  # fmt: skip
    schedules = [t.settings["learning_rate_schedule"] for t in found(
        vary="learning_rate_schedule=constant,staircase:every=5,factor=0.5,cosine:final=0.1"
    )]  # fmt: skip
    assert schedules == ["constant", "staircase:every=5,factor=0.5", "cosine:final=0.1"]


def test_cases_are_tried_with_every_combination(found):
    trials = found(cases="none; dropout=0.3; --dropout=0.3  l2=1e-5;", vary="seed=4,6")
    assert [(t.case, t.settings) for t in trials] == [
        (case, {**settings, "seed": seed})
        for case, settings in {
            "none": {}, "dropout=0.3": {"dropout": 0.3},
            "--dropout=0.3 l2=1e-5": {"dropout": 0.3, "l2": 1e-5},
        }.items()
        for seed in (4, 6)
    ]  # fmt: skip
    assert names(found(cases="none; dropout=0.3")) == ["none", "dropout=0.3"]


def test_random_trials_depend_on_the_seed_and_their_number_alone(found):
    what = "learning_rate=log:1e-4..1e-2 dropout=0..0.5 num_layers=2..6 embedding_dim=5,9"
    ten = found(vary=what, random_trials=10)
    assert names(found(vary=what, random_trials=10)) == names(ten)
    assert names(found(vary=what, random_trials=4)) == names(ten)[:4]
    assert not set(names(found(vary=what, random_trials=10, search_seed=2))) & set(names(ten))


def test_random_numbers_fill_their_range(found):
    trials = found(
        vary="learning_rate=log:1e-4..1e-2 dropout=0.1..0.5 num_layers=2..6 hidden_units=log:4..4096",
        random_trials=300,
    )
    drawn = {name: [trial.settings[name] for trial in trials] for name in trials[0].settings}
    assert set(drawn["num_layers"]) == {2, 3, 4, 5, 6}
    for name, low, high, middle in (
        ("learning_rate", 1e-4, 1e-2, 1e-3), ("dropout", 0.1, 0.5, 0.3), ("hidden_units", 4, 4096, 128),
    ):  # fmt: skip
        assert low <= min(drawn[name]) and max(drawn[name]) <= high
        assert 0.4 < sum(value < middle for value in drawn[name]) / 300 < 0.6, name
    assert all(type(units) is int for units in drawn["hidden_units"])
    assert all(float(f"{rate:.3g}") == rate for rate in drawn["learning_rate"])


def test_names_are_names_of_folders():
    assert name_of({}) == "none"
    assert name_of({"dropout": 0.0, "hidden_units": None}) == "dropout=0,hidden_units="
    assert (
        name_of({"dropout_schedule": "linear:initial=0,final=1"})
        == "dropout_schedule=linear:initial=0,final=1"
    )
    odd = [name_of({"corpus": f"text:../{part}/*.txt"}) for part in ("a b", "a  b", "ä")]
    assert len(set(odd)) == 3
    assert all("/" not in name and " " not in name and name.isascii() for name in odd)
    long = [name_of({"sample_prompt": 300 * "x" + end}) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 200


REFUSED = {
    "nothing is varied; give --vary='embedding_dim=8,32,128', or --cases, see --help": {},
    "--vary: --embeding_dim is unknown (did you mean 'embedding_dim'?); see --help for all flags":
        {"vary": "embeding_dim=8"},
    "--vary: --embedding_dim=x: expected a whole number of at least 1": {"vary": "embedding_dim=8,x"},
    "--vary: --dropout=1.0 is out of range; expected a number of at least 0 and below 1":
        {"vary": "dropout=0,1"},
    "--cases: --optimizer=adm is unknown (did you mean 'adam'?); choose one of sgd, momentum,":
        {"cases": "none; optimizer=adm"},
    "--vary has 'embedding_dim'; expected NAME=VALUE, with spaces between flags and none within them":
        {"vary": "embedding_dim 8"},
    "--vary has embedding_dim twice; list all its values in one place": {"vary": "embedding_dim=8 "
        "embedding_dim=9"},
    "--vary has dropout=0.0 twice; leave one of them out": {"vary": "dropout=0,0.0"},
    "--vary=\"a='\" cannot be read (No closing quotation); close the quotation": {"vary": "a='"},
    "--vary: dropout has a range, of which numbers are drawn; say how many trials with --random_trials":
        {"vary": "dropout=0..0.5"},
    "--vary has dropout=0.5..0.1; expected two numbers in rising order": {"vary": "dropout=0.5..0.1",
        "random_trials": 3},
    "--vary has l2=log:0..1; expected two numbers in rising order, above 0": {"vary": "l2=log:0..1",
        "random_trials": 3},
    "--random_trials=4: only 3 different ones were found; take fewer": {"vary": "num_layers=1..3",
        "random_trials": 4},
    "--vary and --cases have 12,000 combinations; draw some": {"vary": " ".join(
        f"{name}={','.join(map(str, range(1, count + 1)))}"
        for name, count in (("seed", 100), ("num_layers", 12), ("warmup_steps", 10))
    )},
    "--cases has 'none' twice; leave one of them out": {"cases": "none;none"},
    "--cases has dropout twice in 'dropout=0.1 dropout=0.2'; write ; between two cases":
        {"cases": "dropout=0.1 dropout=0.2"},
    "--dropout is set by --cases and by --vary; leave it out of one of them": {"cases": "dropout=0.1",
        "vary": "dropout=0.2"},
    "the trials none and dropout=0 have the same settings; leave one of them out":
        {"cases": "none; dropout=0"},
    "the trial embedding_dim=9,model=gpt: --num_heads=4 do not divide --embedding_dim=9":
        {"vary": "embedding_dim=8,9 model=gpt"},
    "the trial epochs=2: --steps=24 and --epochs=2 contradict each other": {"vary": "epochs=2"},
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused(found, message):
    with pytest.raises(InputError) as caught:
        found(**REFUSED[message])
    assert str(caught.value).startswith(message)


def test_defaults_are_checked_too():
    assert names(trials_of(Config(), SweepOptions(vary="steps=5,7"))) == ["steps=5", "steps=7"]
