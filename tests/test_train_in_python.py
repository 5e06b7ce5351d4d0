"""`lm_keras.train`: the run of the script with the same flags, and the model that `load` returns."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY

import lm_keras
from lm_keras import InputError
from lm_keras.training import machine, runner

IDS = [[5, 3, 7, 11, 2]]


@pytest.fixture(scope="module")
def settings(shared_corpus):
    return {"corpus": f"text:{shared_corpus}", **TINY}


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    """The folder of a run that `lm_keras.train` made, and what it returned."""
    path = tmp_path_factory.mktemp("runs") / "python"
    return path, lm_keras.train(run_dir=path, model="ngram", ngram_order=4, **settings)


def test_it_returns_what_load_returns(trained):
    path, lm = trained
    loaded = lm_keras.load(path)
    assert type(lm) is type(loaded) and lm.config == loaded.config and lm.step == TINY["steps"]
    np.testing.assert_array_equal(lm.logits(IDS), loaded.logits(IDS))
    text = lm.generate(["The "], max_new_tokens=9, seed=3)
    assert text == loaded.generate(["The "], max_new_tokens=9, seed=3) and len(text[0]) == 9
    assert lm.score(["The old cat."])[0]["bytes"] == 12
    assert lm.evaluate("valid")["step"] == TINY["steps"]


def test_the_run_is_that_of_the_flags(trained, tiny_config, train, tmp_path):
    config = tiny_config(model="ngram", ngram_order=4)
    train(config, tmp_path / "flags")
    by_flags = lm_keras.load(tmp_path / "flags")
    np.testing.assert_array_equal(trained[1].logits(IDS), by_flags.logits(IDS))


def test_a_new_run_does_not_divide_the_cores(settings, tiny_config, train, tmp_path, monkeypatch):
    """The script may, and a run that it began keeps what it has."""
    monkeypatch.setattr(machine, "_pays_in_two", lambda config: True)
    short = {"model": "ngram", "split": "100/0/0", "projector": False, "steps": 4}
    lm = lm_keras.train(run_dir=tmp_path / "python", **{**settings, **short})
    assert lm.config.running.replicas is None
    train(tiny_config(**short), tmp_path / "flags")
    for _ in range(2):
        assert lm_keras.load(tmp_path / "flags").config.running.replicas == 2
        lm_keras.train(run_dir=tmp_path / "flags", **{**settings, **short, "steps": 8})


def test_another_seed_gives_another_run(trained, settings, tmp_path):
    """The test above can fail."""
    other = lm_keras.train(run_dir=tmp_path / "run", model="ngram", ngram_order=4, seed=2, **settings)
    assert not np.array_equal(trained[1].logits(IDS), other.logits(IDS))


def test_the_same_call_loads_a_finished_run(trained, settings, capfd):
    path, lm = trained
    again = lm_keras.train(run_dir=str(path), model="ngram", ngram_order=4, **settings)
    assert f"the run in {path} is finished" in capfd.readouterr().err
    np.testing.assert_array_equal(lm.logits(IDS), again.logits(IDS))


def test_a_home_folder_is_expanded(trained, settings, monkeypatch):
    path, lm = trained
    monkeypatch.setenv("HOME", str(path.parent))
    again = lm_keras.train(run_dir="~/python", model="ngram", ngram_order=4, **settings)
    np.testing.assert_array_equal(lm.logits(IDS), again.logits(IDS))


def test_without_a_folder_one_is_made_and_named(settings, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    lm = lm_keras.train(model="ngram", **settings)
    said = capfd.readouterr().err
    (path,) = re.findall(r"^run_dir is not given; the run is kept in (.*)$", said, re.MULTILINE)
    assert path.startswith(str(tmp_path))
    np.testing.assert_array_equal(lm.logits(IDS), lm_keras.load(path).logits(IDS))


BAD = {
    "a name that is nearly one": ({"step": 3}, "setting 'step' is unknown (did you mean 'steps'?)"),
    "a name of the command line": (
        {"run-dir": "x"},
        "setting 'run-dir' is unknown (did you mean 'run_dir'?)",
    ),
    "a number out of range": (
        {"steps": 0},
        "--steps=0 is out of range; expected a whole number of at least 1",
    ),
    "a text for a number": ({"steps": "3"}, "--steps='3': expected a whole number of at least 1"),
    "an unknown family": ({"model": "gptt"}, "--model=gptt is unknown (did you mean 'gpt'?)"),
    "an unknown way to resume": ({"resume": "maybe"}, "--resume=maybe is unknown"),
    "settings that contradict": ({"epochs": 1}, "--steps=24 and --epochs=1 contradict each other"),
    "a corpus that is missing": ({"corpus": "text:no/such/*.txt"}, "no file matches no/such/*.txt"),
    "no run to continue": ({"resume": "must"}, "holds no run"),
    "a trial": ({"dry_run": True}, "dry_run=True trains no model to return; use scripts/train.py --dry_run"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("folder", [{}, {"run_dir": "run"}], ids=["no folder", "a folder"])
def test_bad_input_is_one_line_and_leaves_nothing(settings, tmp_path, monkeypatch, name, folder):
    bad, expected = BAD[name]
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        lm_keras.train(**{**settings, **folder, **bad})
    assert expected in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


def test_a_run_of_other_settings_stays_as_it_is(trained, settings, contents_of):
    path, _ = trained
    before = contents_of(path)
    with pytest.raises(InputError, match=r"holds a run with other settings: .*ngram_order"):
        lm_keras.train(run_dir=path, model="ngram", ngram_order=5, **settings)
    assert contents_of(path) == before


@pytest.mark.parametrize(("code", "error"), [(130, KeyboardInterrupt), (143, SystemExit), (129, SystemExit)])
def test_a_signal_ends_the_program_as_it_ends_the_script(settings, tmp_path, monkeypatch, code, error):
    monkeypatch.setattr(runner, "train", lambda config, options, own_process: code)
    with pytest.raises(error) as caught:
        lm_keras.train(run_dir=tmp_path / "run", **settings)
    assert error is KeyboardInterrupt or caught.value.code == code


def test_its_example_names_settings():
    called = re.search(r"lm_keras\.train\((.*)\)", inspect.getdoc(lm_keras.train)).group(1)
    assert set(re.findall(r"(\w+)=", called)) == {"run_dir", "corpus", "model", "steps"}
    assert Path(inspect.getfile(lm_keras.train)).name == "api.py"
