"""`--init_from`: a run begins with the weights and the tokenizer of another one, and with nothing
else of it.
"""

import contextlib
import shutil
import types
from pathlib import Path

import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError
from lm_keras.training import run as training_run
from lm_keras.training import runner, weights
from lm_keras.training.trainer import Trainer

LIKE_FINISHED = {"dropout": 0.3, "dropout_schedule": "constant", "learning_rate_schedule": "constant"}


@pytest.fixture
def other_text(tmp_path, english):
    """Other text in the same alphabet: every line backwards."""
    path = tmp_path / "backwards.txt"
    path.write_text("\n".join(line[::-1] for line in english.split("\n")))
    return f"text:{path}"


@pytest.fixture
def initial(monkeypatch):
    """A list that gets the weights with which each run begins to train."""
    seen, original = [], Trainer.train

    def recorded(self, *args):
        seen.append([variable.numpy() for variable in self.model.trainable_variables])
        return original(self, *args)

    monkeypatch.setattr(Trainer, "train", recorded)
    return seen


@pytest.fixture(scope="module")
def source(small_network, tiny_config, train, tmp_path_factory):
    """The folder of a finished run of 24 steps of a network that is traced in no time."""
    path = tmp_path_factory.mktemp("source") / "run"
    with small_network():
        assert train(tiny_config(dropout=0.1, learning_rate_schedule="cosine"), path).code == 0
    return path


def weights_of(path):
    return [variable.numpy() for variable in lm_keras.load(path).model.trainable_variables]


def equal(one, other):
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_run_begins_with_the_weights_of_another(
    finished, tiny_config, train, other_text, tmp_path, initial
):
    settings = {**LIKE_FINISHED, "corpus": other_text, "init_from": str(finished.path), "steps": 9}
    ended = train(tiny_config(**settings), tmp_path / "tuned")
    assert ended.code == 0
    assert f"beginning with the weights of {finished.path} at step 24\n" in ended.err
    trained = weights_of(finished.path)
    assert equal(initial[0], trained)
    assert not equal(weights_of(tmp_path / "tuned"), trained)  # it went on learning
    folders = RunFolder(tmp_path / "tuned"), RunFolder(finished.path)
    assert folders[0].tokenizer().fingerprint() == folders[1].tokenizer().fingerprint()
    assert folders[0].results["step"] == 9
    # The control: without the flag a run begins with other weights.
    train(tiny_config(**{**settings, "init_from": None}), tmp_path / "fresh")
    assert not equal(initial[1], trained)


def test_what_was_learnt_helps(source, small, tiny_config, train, tmp_path, lines_of):
    losses = {}
    for name, origin in (("tuned", str(source)), ("fresh", None)):
        config = tiny_config(**LIKE_FINISHED, steps=4, log_every=4, init_from=origin)
        train(config, tmp_path / name)
        losses[name] = lines_of(tmp_path / name / "metrics.jsonl")[0]["loss"]
    assert losses["tuned"] < losses["fresh"] - 0.2


class Killed(BaseException):
    """Stands for a kill."""


def test_a_run_killed_before_its_first_checkpoint_begins_with_them_again(
    source, small, tiny_config, train, tmp_path, initial, monkeypatch
):
    config = tiny_config(**LIKE_FINISHED, steps=9, init_from=str(source))
    whole = train(config, tmp_path / "whole")
    copy = weights.copy_weights

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(weights, "copy_weights", killed)
    with pytest.raises(Killed):
        train(config, tmp_path / "parts")
    assert RunFolder(tmp_path / "parts").exists
    monkeypatch.setattr(weights, "copy_weights", copy)
    parts = train(config, tmp_path / "parts")
    assert parts.out == whole.out
    assert equal(initial[0], initial[1])
    assert equal(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))


def test_a_run_that_has_weights_of_its_own_needs_the_other_no_more(
    source, small, tiny_config, train, tmp_path
):
    shutil.copytree(source, tmp_path / "source")
    settings = {**LIKE_FINISHED, "init_from": str(tmp_path / "source")}
    train(tiny_config(**settings, steps=5), tmp_path / "tuned")
    shutil.rmtree(tmp_path / "source")
    longer = train(tiny_config(**settings, steps=9), tmp_path / "tuned")
    assert longer.code == 0
    assert "\ngoing on from step 5 of 9\n" in longer.err
    assert "beginning with the weights" not in longer.err


def test_what_does_not_fit_is_refused(finished, tiny_config, train, tmp_path):
    def message(**settings):
        with pytest.raises(InputError) as caught:
            train(tiny_config(**{**LIKE_FINISHED, "init_from": str(finished.path), **settings}), run)
        assert not run.exists()
        return str(caught.value)

    run = tmp_path / "tuned"
    assert (
        message(hidden_units=17, tie_embeddings=True, normalize="nfc")
        == f"the weights of --init_from={finished.path} do not fit: --normalize: none there, nfc here; "
        "--hidden_units: 13 there, 17 here; --tie_embeddings: False there, True here. Use the same settings, "
        f"for instance with --flagfile={finished.path}/flags.txt before all other flags"
    )
    nowhere = tmp_path / "nowhere"
    assert (
        message(init_from=str(nowhere))
        == f"--init_from={nowhere} holds no run (no config.json); expected the folder of a trained run"
    )
    shutil.copytree(finished.path, tmp_path / "untrained")
    shutil.rmtree(tmp_path / "untrained" / "checkpoints")
    assert (
        message(init_from=str(tmp_path / "untrained"))
        == f"the run in {tmp_path}/untrained has no checkpoint yet; go on training it first"
    )


def with_a_better_one_before(source, path):
    """Copy a run, and let its best checkpoint be an earlier one with weights of its own."""
    shutil.copytree(source, path)
    checkpoints = RunFolder(path).checkpoints()
    model = lm_keras.load(path).model
    for variable in model.trainable_variables:
        variable.assign(variable + 1.0)
    checkpoints.save(11, {"model": model.variables}, {"valid_loss": 0.25})
    assert (checkpoints.best(), checkpoints.newest()) == (11, 24)
    return RunFolder(path)


def test_the_best_weights_of_another_run(source, small, tiny_config, train, tmp_path, initial):
    source = with_a_better_one_before(source, tmp_path / "source")
    settings, begun_with = {**LIKE_FINISHED, "init_from": str(source.path), "steps": 3}, {}
    for checkpoint, step in {"best": 11, "last": 24}.items():
        path = tmp_path / checkpoint
        ended = train(tiny_config(**settings, init_checkpoint=checkpoint), path)
        assert f"beginning with the weights of {source.path} at step {step}\n" in ended.err
        begun_with[checkpoint] = initial[-1]
        assert equal(initial[-1], weights_of_checkpoint(source.path, checkpoint))
        assert f"--init_checkpoint={checkpoint}" in (path / "flags.txt").read_text().splitlines()
        assert train(tiny_config(**{**settings, "steps": 4}, init_checkpoint=checkpoint), path).code == 0
    assert not equal(*begun_with.values())
    # A run with another choice would have begun with other weights.
    with pytest.raises(InputError, match="other settings: --init_checkpoint: best in the run, last now"):
        train(tiny_config(**settings), tmp_path / "best")


def weights_of_checkpoint(path, checkpoint):
    return [variable.numpy() for variable in lm_keras.load(path, checkpoint).model.trainable_variables]


def test_a_best_checkpoint_that_there_is_not(finished, tiny_config, train, tmp_path):
    def message(**settings):
        with pytest.raises(InputError) as caught:
            train(tiny_config(**LIKE_FINISHED, init_checkpoint="best", **settings), tmp_path / "tuned")
        return str(caught.value)

    assert (
        message()
        == "--init_checkpoint=best has no meaning without --init_from; give that too, or leave it out"
    )
    shutil.copytree(finished.path, tmp_path / "source")
    shutil.rmtree(tmp_path / "source" / "checkpoints")
    model = lm_keras.load(finished.path).model
    RunFolder(tmp_path / "source").checkpoints().save(24, {"model": model.variables}, {})
    assert (
        message(init_from=str(tmp_path / "source"))
        == f"the run in {tmp_path}/source has no validated checkpoint, so none is the best; take the last"
        " one, or go on training with text to validate on"
    )


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_a_run_that_trains_while_another_begins_with_its_weights(
    source, small, tiny_config, train, tmp_path, initial, monkeypatch, checkpoint
):
    """Its checkpoints of the moment when the new run was checked are gone when the text is prepared."""
    source = with_a_better_one_before(source, tmp_path / "source")
    prepare = runner.prepare

    def prepare_while_it_trains(*args, **kwargs):
        model = lm_keras.load(source.path).model
        for variable in model.trainable_variables:
            variable.assign(variable * 2.0)
        checkpoints = source.checkpoints(keep=1)
        checkpoints.save(25, {"model": model.variables}, {"valid_loss": 0.125})
        assert checkpoints.steps() == [25]
        return prepare(*args, **kwargs)

    monkeypatch.setattr(runner, "prepare", prepare_while_it_trains)
    config = tiny_config(**LIKE_FINISHED, steps=3, init_from=str(source.path), init_checkpoint=checkpoint)
    ended = train(config, tmp_path / "tuned")
    assert f"\nbeginning with the weights of {source.path} at step 25\n" in ended.err
    assert equal(initial[0], weights_of(source.path))
    assert "damaged" not in ended.err


@pytest.mark.parametrize("chief", [True, False])
def test_all_workers_begin_with_the_weights_of_the_step_that_the_chief_has_read(chief, capfd):
    """Each worker looks for the newest checkpoint at a time of its own, and the other run may be training."""
    asked, told = [], []

    class Workers:
        def __init__(self):
            self.chief, self.together = chief, contextlib.nullcontext

        def from_chief(self, value):
            told.append(value)
            return [11.0]

    def copy(model, step, labels):
        asked.append(step)
        return 11 if step is None else step, "; b is new"

    run = object.__new__(training_run.Run)
    run.workers, run.model, run.task = Workers(), None, types.SimpleNamespace(labels=None)
    run._begin_with(weights.Origin(Path("source"), 7, None, copy))
    assert asked == ([None] if chief else [11])
    assert told == ([11] if chief else [7])
    assert capfd.readouterr().err == "beginning with the weights of source at step 11; b is new\n"
