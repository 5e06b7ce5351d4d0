"""Disks that are full or gone: said before a run if it can be known, else in one line that costs no
checkpoint.
"""

import os
import re
import shutil
import signal

import keras
import numpy as np
import pytest
from comparison import differing, everything_of
from faults import ENGLISH, SMALL, runs

from lm_keras import callbacks, optimizers
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.config import from_flat
from lm_keras.errors import GO_ON, InputError
from lm_keras.models import FAMILIES
from lm_keras.training import estimates, memory, preflight
from lm_keras.training import run as training_run

MISHAPS = {mishap.name: mishap for mishap in runs.FAULTS if isinstance(mishap, runs.Mishap)}

LIVES = [
    "a disk that is full when the projector's files are due",
    "a disk that is full when metrics are due",
    "a disk that is full when a checkpoint is due",
    "a run folder that is moved",
    "a file in the place of the checkpoints",
    "a weight that is not finite",
    "a disk that is full when the results are due",
]
"""What happens to one and the same run, in this order; each time it has a checkpoint of step 6."""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings_of(flags):
    """Return the settings that the flags of a mishap stand for."""
    parted = (flag.removeprefix("--").partition("=") for flag in flags)
    return {name: int(value) if value.isdigit() else value or True for name, _, value in parted}


def test_a_run_to_which_everything_happens(
    here, small, small_disk, train, tiny_config, monkeypatch, contents_of
):
    base = {
        "steps": 12, "checkpoint_every": 6, "eval_every": 6, "log_every": 2, "steps_per_call": 4,
        "dropout": 0.2, "projector": False, "sequence_length": 3,
    }  # fmt: skip
    assert train(tiny_config(**base), "whole").code == 0
    ended = []
    monkeypatch.setattr(callbacks.Progress, "end_line", lambda self: ended.append(self))
    checkpoint = None
    for name in LIVES:
        mishap = MISHAPS[name]
        with runs.happening(mishap), pytest.raises(InputError) as caught:
            train(tiny_config(**{**base, **settings_of(mishap.flags)}), "disk/run")
        expected = mishap.line.replace("lstm_language_model/output_kernel", "leaky/table")
        assert str(caught.value) == expected
        assert ended.pop()  # What comes next has a line of its own.
        ended.clear()
        mishap.mend(here)
        saved = contents_of(here / "disk" / "run" / "checkpoints" / "step-00000006")
        checkpoint = checkpoint or saved
        assert saved == checkpoint, name
        assert not list((here / "disk").rglob(".*")), name
    last = train(tiny_config(**base), "disk/run")
    assert last.code == 0
    assert "\ngoing on from step 12 of 12\n" in last.err
    assert differing(everything_of(here / "disk" / "run"), everything_of(here / "whole")) == set()


@pytest.fixture(scope="module")
def short(small_network, train, tiny_config, tmp_path_factory):
    """A finished run of 12 steps, and its settings."""
    settings = {"steps": 12, "checkpoint_every": 6, "log_every": 2, "sequence_length": 3, "projector": False}
    config, path = tiny_config(**settings, sample_every=99), tmp_path_factory.mktemp("short") / "run"
    with small_network():
        assert train(config, path).code == 0
    return path, config


@pytest.fixture
def unfinished(here, small, train, short):
    """A function that goes on with a copy of that run of which only the results are missing."""
    path, config = short
    shutil.copytree(path, here / "run", ignore=shutil.ignore_patterns("results.json"))
    return lambda: train(config, "run")


def test_where_no_checkpoints_can_be_read_nothing_is_cut_off(unfinished, here, contents_of):
    runs.aside(here / "run" / "checkpoints")
    (here / "run" / "checkpoints").touch()
    before = contents_of(here)
    with pytest.raises(InputError) as caught:
        unfinished()
    assert str(caught.value) == f"cannot write run/checkpoints: File exists; {GO_ON}"
    changed = {name for name, content in contents_of(here).items() if content != before[name]}
    assert changed <= {"run/README.md", "run/flags.txt"}  # which are written at each start


def test_a_run_without_checkpoints_says_that_it_begins_again(unfinished, here, short):
    shutil.rmtree(here / "run" / "checkpoints")
    again = unfinished()
    assert again.code == 0
    assert "\nrun/checkpoints holds no checkpoint: the run begins again at step 0\n" in again.err
    assert differing(everything_of(here / "run"), everything_of(short[0])) == set()


def test_a_folder_that_is_lost_while_the_network_is_validated(unfinished, here, monkeypatch):
    """TensorFlow would make it again for the first event of this launch."""
    shutil.rmtree(here / "run" / "checkpoints" / "step-00000012")
    original = training_run.Run._validate

    def lose(run, step):
        runs.aside(here / "run")
        return original(run, step)

    monkeypatch.setattr(training_run.Run, "_validate", lose)
    with pytest.raises(InputError) as caught:
        unfinished()
    assert str(caught.value) == f"run {runs.IN_PLACE}"
    assert os.listdir(here) == ["run-aside"]


def test_a_folder_that_is_lost_before_the_results_are_written(unfinished, here, monkeypatch):
    original = training_run.Run._results

    def lose(run):
        results = original(run)
        runs.aside(here / "run")
        return results

    monkeypatch.setattr(training_run.Run, "_results", lose)
    with pytest.raises(InputError) as caught:
        unfinished()
    assert str(caught.value) == f"run {runs.IN_PLACE}"
    assert sorted(os.listdir(here)) == ["run-aside"]
    assert not (here / "run-aside" / "results.json").exists()


def test_killed_in_a_save(here, script, start):
    """A process, for nothing but a kill leaves behind what a kill leaves behind."""
    killed = MISHAPS["killed while a checkpoint is written"]
    (here / "disk").mkdir()
    assert killed.start(here, start).code == -signal.SIGKILL
    (left,) = (here / "disk" / "run" / "checkpoints").glob(".unfinished-*")
    assert sorted(path.name.split(".")[0] for path in left.iterdir()) == ["state", "state"]
    assert RunFolder("disk/run").checkpoints().steps() == [6]
    again = script("train.py", *SMALL, *runs.RUN)
    assert again.code == 0
    assert "\ngoing on from step 6 of 12\n" in again.err
    assert not list((here / "disk").rglob(".*"))
    assert (here / "a.txt").read_text() == ENGLISH
    assert script("train.py", *SMALL, *runs.RUN, "--run_dir=whole").code == 0
    assert differing(everything_of(here / "disk" / "run"), everything_of(here / "whole")) == set()


# Before a run


def network(config, vocab_size=30):
    model = FAMILIES["lstm"](config, vocab_size)
    model.optimizer = optimizers.build(config.learning, model.trainable_variables)
    return model


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_a_checkpoint_has_the_size_that_is_expected(tiny_config, tmp_path, optimizer):
    config = tiny_config(optimizer=optimizer, hidden_units=101, batch_size=32, dropout=0.1)
    model = network(config)
    state = [keras.ops.convert_to_tensor(part) for part in model.initial_state(32, 11)[0].values()]
    tensors = {"model": model.variables, "optimizer": model.optimizer.variables, "carried": state}
    tensors["carried"] = [keras.Variable(part) for part in state]
    Checkpoints(tmp_path).save(3, tensors, {"meter": {"steps": 1}})
    size = sum(path.stat().st_size for path in (tmp_path / "step-00000003").iterdir())
    expected = estimates.disk(model, config, 24).checkpoint
    assert size <= expected < 1.1 * size + 2 * estimates.SMALL_FILES


def test_as_many_checkpoints_as_there_will_be(tiny_config):
    config = tiny_config(steps=100, keep_checkpoints=3, checkpoint_every=10, eval_every=25, projector=False)
    model = network(config)

    def count(total, done=0, present=0):
        return estimates.disk(model, config, total, done, present).count

    assert [count(100), count(None)] == [5, 5]  # 3, the best one and the one that is being written
    assert [count(100, 50, present) for present in (1, 4, 5, 9)] == [4, 1, 1, 1]
    assert [count(30, 0), count(30, 20, 2), count(30, 30, 3)] == [5, 2, 0]
    assert estimates.disk(model, config, 100).needed == 5 * estimates.disk(
        model, config, 100
    ).checkpoint + estimates.SMALL_FILES + estimates.LOGGED * (100 // 4 + 100 // 25)


def test_what_else_is_asked_for_takes_space(tiny_config):
    """The projector's two files in two states, and histograms of the six weights."""

    def curves(**settings):
        config = tiny_config(**{"projector": False, **settings})
        return estimates.disk(network(config), config, 24).curves

    assert curves(projector=True) - curves() == 2 * 30 * (4 * 7 + estimates.LABEL)
    assert len(network(tiny_config()).trainable_variables) == 6
    assert curves(histogram_every=5) - curves() == 4 * 6 * estimates.HISTOGRAM


def test_curves_take_what_is_expected_at_most(finished):
    path = finished.path
    disk = estimates.disk(network(finished.config), finished.config, 24)
    files = [file for file in path.rglob("*") if file.is_file() and "checkpoints" not in file.parts]
    size = sum(file.stat().st_size for file in files)
    assert size < disk.curves < 5 * size


def test_too_little_space_is_said_before_anything_is_written(
    here, small_disk, train, tiny_config, monkeypatch
):
    config = tiny_config(hidden_units=150, checkpoint_every=2)
    with pytest.raises(InputError) as caught:
        train(config, "disk/run")
    assert re.fullmatch(
        r"the disk of --run_dir=disk/run has 1\.0 MiB free, and the run still writes 4\.\d MiB \(4 x 1\.2 of"
        r" checkpoints "
        r"and 0\.\d of curves\); free space there, choose another --run_dir, or lower --keep_checkpoints=2",
        str(caught.value),
    )
    assert os.listdir("disk") == []
    monkeypatch.setattr(preflight.Plan, "fits", False)  # No timing steps.
    dry = train(config, "disk/run", dry_run=True)
    assert re.search(
        r"on disk +4\.\d  still to write, 4 x 1\.2 .* curves; 1\.0 MiB are free, TOO LITTLE\n", dry.out
    )


def test_a_run_that_goes_on_needs_less(finished, train, up_to_training, tmp_path, monkeypatch):
    shutil.copytree(finished.path, tmp_path / "run")
    config = from_flat({**finished.config.flat(), "steps": 240})
    model = network(config)
    new, more = estimates.disk(model, config, 240).needed, estimates.disk(model, config, 240, 24, 2).needed
    assert new - more == 2 * estimates.disk(model, config, 240).checkpoint + estimates.LOGGED * (6 + 3)
    monkeypatch.setattr(memory, "free_disk", lambda path: more)
    assert train(config, tmp_path / "run").code == 0
    for free, run in ((more - 1, "run"), (new - 1, "new")):
        monkeypatch.setattr(memory, "free_disk", lambda path, free=free: free)
        with pytest.raises(InputError, match="MiB free, and the run still writes"):
            train(config, tmp_path / run)
    assert not (tmp_path / "new").exists()


def test_where_the_space_is_looked_for(small_disk, tmp_path):
    """On the disk of the checkpoints, which may be another one."""
    small_disk.fill()
    assert memory.free_disk(tmp_path / "deep" / "run") > 0
    assert memory.free_disk(small_disk.path / "deep" / "run") == 0
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(small_disk.path)
    assert memory.free_disk(tmp_path / "run") == 0
    small_disk.free()
    assert 0 < memory.free_disk(tmp_path / "run") <= 2**20


def test_what_saving_takes_is_written_down(finished):
    results = RunFolder(finished.path).results
    assert 0 < results["saving_seconds"] < 60
    progress = RunFolder(finished.path).checkpoints().progress(24)
    assert 0 < progress["callbacks"]["Checkpoint"]["seconds"] < results["saving_seconds"]
    assert np.isfinite(results["seconds"])
