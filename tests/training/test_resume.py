"""Law 4: a run that was interrupted, however often, ends bit by bit where the uninterrupted one ends."""

import os
import shutil
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from comparison import differing, everything_of
from opt_in import slow

import lm_keras
from lm_keras import optimizers
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError
from lm_keras.training import run as training_run
from lm_keras.training.trainer import Trainer


class Crash(BaseException):
    """Stands for a kill: nothing of the package is asked what to do about it."""


class Interrupt(keras.callbacks.Callback):
    """Crashes, or sends itself a signal, when a step was done and before it is saved."""

    def __init__(self, step, how):
        super().__init__()
        self.at, self.how = step, how

    def on_train_batch_end(self, batch, logs=None):
        if logs["step"] == self.at:
            if self.how == "crash":
                raise Crash
            os.kill(os.getpid(), self.how)


@pytest.fixture
def live(train, monkeypatch):
    """A function that begins or goes on with a run and ends it early if asked to."""
    original = training_run.Run._callbacks

    def execute(config, path, step=None, how=None):
        def with_interrupt(self, *args):
            listed = original(self, *args)
            return [*listed[:-1], Interrupt(step, how), listed[-1]]

        monkeypatch.setattr(training_run.Run, "_callbacks", with_interrupt)
        if how != "crash":
            return train(config, path)
        with pytest.raises(Crash):
            train(config, path)
        return None

    return execute


FULL = {
    "sequence_length": 3, "steps_per_call": 4, "log_every": 5, "eval_every": 6, "checkpoint_every": 6,
    "dropout": 0.2, "dropout_schedule": "linear:initial=0,final=1", "sample_every": 10**6,
    "learning_rate_schedule": "plateau:factor=0.5,patience=0,min_delta=1,warmup=3", "early_stopping_evals": 3,
    "weight_decay": 0.1, "spike_sigma": 1.0, "spike_window": 10,
}  # fmt: skip


NGRAM = {
    "model": "ngram", "batching": "stream", "token_noise": 0.3,
    "token_noise_schedule": "linear:initial=0,final=1",
}  # fmt: skip


GPT = {
    "model": "gpt", "embedding_dim": 8, "num_heads": 2, "separate_documents": True, "jit": "off",
    "sample_prompt": "more than the context has, which must end no run",
}  # fmt: skip
HIDING = {"embedding_dim": 8, "num_heads": 2}
BERT = {**HIDING, "model": "bert", "sequence_length": 12, "whole_words": True, "sample_prompt": "a [MASK] b"}
GLM = {
    **HIDING,
    "model": "glm",
    "sample_prompt": "a [MASK] b|more than the context has, which must end no run",
}


@pytest.mark.parametrize(
    "settings",
    [{}, NGRAM, GPT, BERT, *slow({**GPT, "jit": "on"}, GLM)],
    ids=["lstm", "ngram", "gpt", "bert", "compiled gpt", "glm"],
)
def test_an_interrupted_run_equals_the_whole(tiny_config, live, tmp_path, settings):
    config = tiny_config(**{**FULL, **settings})
    assert live(config, tmp_path / "whole").code == 0
    whole = everything_of(tmp_path / "whole")

    stopped = live(config, tmp_path / "parts", 5, signal.SIGINT)
    assert stopped.code == 130
    assert stopped.out == ""
    assert stopped.err.endswith(
        "stopped at step 5, everything is saved; the same command goes on from there\n"
    )
    live(
        config, tmp_path / "parts", 15, "crash"
    )  # goes on from 5, and then from 12, where the rate was lowered
    ended = live(config, tmp_path / "parts")
    assert ended.code == 0
    assert "\ngoing on from step 12 of 24\n" in ended.err
    parts = everything_of(tmp_path / "parts")
    assert differing(parts, whole) == set()

    # It is worth comparing: there are slots, a carried state, lowered rates, and lines of both kinds.
    names = " ".join(whole["tensors"])
    assert "velocity" in names
    assert ("carried" in names) == (settings not in (GPT, BERT, GLM))
    assert whole["progress"]["learning_rate_scale"] < 1
    assert whole["progress"]["callbacks"]["PlateauDecay"]["best"] < 9
    assert [line["step"] for line in whole["metrics"]] == [5, 6, 10, 12, 15, 18, 20, 24, 24]
    assert {step for step, _, _ in whole["train"]} == {5, 10, 15, 20, 24}
    assert {step for step, _, _ in whole["valid"]} == {6, 12, 18, 24}
    noise = [line["token_noise"] for line in whole["metrics"] if "token_noise" in line]
    shown = [value for _, tag, value in whole["train"] if tag == "token_noise"]
    wanted = [0.3 * (step - 1) / 24 for step in (5, 10, 15, 20, 24)] if settings is NGRAM else []
    assert noise == pytest.approx(wanted)
    assert shown == pytest.approx(wanted)
    # No measure of a trained network has noise.
    loaded = lm_keras.load(tmp_path / "whole")
    assert loaded.evaluate("valid") == whole["results"]["splits"]["valid"]
    if settings:
        assert whole["results"]["splits"]["test"]["context"] == (
            4 if settings is NGRAM else settings.get("sequence_length", 3)
        )
    if settings is NGRAM:
        with pytest.raises(InputError) as caught:
            loaded.evaluate("valid", stride=2)
        assert (
            str(caught.value)
            == "stride=2 has no meaning for a model that looks back 4 tokens: every target has its whole"
            " context without it; leave it out"
        )


def forget(what):
    """Break resuming: one thing is not taken from the checkpoint."""
    original = Trainer.restore

    def restore(self, step, progress):
        if what == "the carried state":
            for variable in tf.nest.flatten(self._carried):
                variable.assign(tf.zeros_like(variable))
        if what == "the slots":
            for variable in self.model.optimizer.variables[2:]:
                variable.assign(tf.zeros_like(variable))
        if what == "the callbacks":
            progress["callbacks"] = {}
        if what == "the meter":
            progress["meter"] = {}
        if what == "what the guard knows":
            progress["recent"] = []
        if what == "that the rate was lowered":
            progress["learning_rate_set"] = float(self.model.optimizer.learning_rate.numpy())
        original(self, step, progress)
        if what == "the step":
            self.step -= 1

    return restore


WEAKER = {**FULL, "learning_rate": 0.3, "steps": 18}


@pytest.fixture(scope="module")
def interrupted(tiny_config, train, small_network, tmp_path_factory):
    """A run that crashed three steps after the checkpoint of step 12, and the same run whole."""
    folder = tmp_path_factory.mktemp("interrupted")
    with small_network() as patch:
        train(tiny_config(**WEAKER), folder / "whole")
        original = training_run.Run._callbacks

        def with_crash(self, *args):
            listed = original(self, *args)
            return [*listed[:-1], Interrupt(15, "crash"), listed[-1]]

        patch.setattr(training_run.Run, "_callbacks", with_crash)
        with pytest.raises(Crash):
            train(tiny_config(**WEAKER), folder / "parts")
    return folder


LOST = {
    "nothing": set(),
    "the carried state": {"tensors", "metrics", "train", "valid", "results"},
    "the slots": {"tensors", "metrics", "train", "valid", "results"},
    "the callbacks": {"progress"},
    "the meter": {"metrics", "train"},
    "that the rate was lowered": {"tensors", "metrics", "train", "valid", "progress", "results"},
    "what the guard knows": {"metrics", "train", "progress"},
    "the step": {"tensors", "metrics", "train"},
}


@pytest.mark.parametrize("what", LOST)
def test_the_comparison_of_runs_can_fail(interrupted, tiny_config, live, small, tmp_path, monkeypatch, what):
    shutil.copytree(interrupted / "parts", tmp_path / "parts")
    monkeypatch.setattr(Trainer, "restore", forget(what))
    assert live(tiny_config(**WEAKER), tmp_path / "parts").code == 0
    whole, parts = everything_of(interrupted / "whole"), everything_of(tmp_path / "parts")
    assert differing(parts, whole) - {"checkpoints"} >= LOST[what]
    if what == "nothing":
        assert differing(parts, whole) == set()


def test_another_split_goes_on_to_the_same_numbers(interrupted, tiny_config, live, small, tmp_path):
    """But for rounding."""
    shutil.copytree(interrupted / "parts", tmp_path / "parts")
    assert live(tiny_config(**WEAKER, replicas=2, micro_batches=3), tmp_path / "parts").code == 0
    whole, parts = everything_of(interrupted / "whole"), everything_of(tmp_path / "parts")

    def far(name):
        kind = np.int64 if any(part in name for part in ("iteration", "seed", "save_counter")) else np.float32
        a, b = (np.frombuffer(run["tensors"][name], kind) for run in (parts, whole))
        return np.linalg.norm(a - b) > 1e-5 * np.linalg.norm(b)

    assert not [name for name in whole["tensors"] if far(name)]
    assert parts["tensors"] != whole["tensors"]


@pytest.mark.slow  # test_kills.py kills real processes.
def test_a_run_that_crashes_again_and_again(tiny_config, live, small, tmp_path):
    """Before the first checkpoint, between two, at one, and with everything done but the results."""
    config = tiny_config(**FULL)
    live(config, tmp_path / "whole")
    for step in (4, 10, 18, 24):
        live(config, tmp_path / "parts", step, "crash")
        assert not (tmp_path / "parts" / "results.json").exists()
    assert live(config, tmp_path / "parts").code == 0
    whole, parts = everything_of(tmp_path / "whole"), everything_of(tmp_path / "parts")
    assert differing(parts, whole) == set()


def test_early_stopping_is_resumed(tiny_config, live, small, tmp_path):
    settings = {
        **FULL,
        "optimizer": "sgd",
        "learning_rate": 30.0,
        "clip_norm": 0.0,
        "early_stopping_evals": 2,
    }
    config = tiny_config(**{**settings, "learning_rate_schedule": "constant", "steps": 60})
    live(config, tmp_path / "whole")
    whole = everything_of(tmp_path / "whole")
    last = whole["results"]["step"]
    assert 12 < last < 60
    for step in (last - 6, last):  # with one evaluation waited for, and when it was to stop
        live(config, tmp_path / "parts", step, "crash")
    assert live(config, tmp_path / "parts").code == 0
    assert differing(everything_of(tmp_path / "parts"), whole) == set()
    # What was to stop stops again, however many steps there are to go.
    again = live(tiny_config(**{**config.flat(), "steps": 90}), tmp_path / "parts")
    assert again.code == 0
    assert everything_of(tmp_path / "parts")["results"]["step"] == last


@pytest.mark.parametrize("stretches", [False, True])
def test_a_longer_run_goes_on(tiny_config, live, small, tmp_path, stretches, lines_of):
    """As if it had been planned so from the beginning where no rate depends on the length; else it says which
    ones jump.
    """
    schedule = "linear:initial=0,final=1" if stretches else "constant"
    short, long = (
        tiny_config(**{**FULL, "dropout_schedule": schedule, "steps": steps}) for steps in (18, 30)
    )
    if stretches:
        short, long = (
            tiny_config(**{**config.flat(), "learning_rate_schedule": "linear"}) for config in (short, long)
        )
    live(long, tmp_path / "whole")
    live(short, tmp_path / "parts")
    longer = live(long, tmp_path / "parts")
    assert longer.code == 0
    jumps = (
        "; its schedules stretch over the new length from here on: the learning rate was 0.00111 at step 18"
        " and is 0.008 at the next, the dropout was 0.189 at step 18 and is 0.12 at the next"
    )
    assert f"the run now has 30 steps instead of 18{jumps if stretches else ''}\n" in longer.err
    if stretches:
        lines = {
            line["step"]: line
            for line in lines_of(tmp_path / "parts" / "metrics.jsonl")
            if "learning_rate" in line
        }
        assert lines[18]["learning_rate"] == pytest.approx(0.02 / 18)
        assert lines[20]["learning_rate"] == pytest.approx(0.02 * (1 - 19 / 30))
        return
    whole, parts = everything_of(tmp_path / "whole"), everything_of(tmp_path / "parts")
    assert parts["tensors"] == whole["tensors"]
    assert parts["results"] == whole["results"]
    with pytest.raises(InputError) as caught:
        live(short, tmp_path / "parts")
    assert (
        str(caught.value)
        == f"the run in {tmp_path}/parts has 30 steps and can't be cut to 18; raise --steps or --epochs, "
        "or begin a new run with another --run_dir"
    )


def test_slots_of_another_version(tiny_config, live, small, tmp_path, monkeypatch):
    """Muon once took more matrices for its own; such a run does not go on with another rule in silence."""
    config = tiny_config(**{**FULL, "optimizer": "muon"})
    monkeypatch.setattr(optimizers, "NOT_BY_MUON", "nothing")
    live(config, tmp_path / "run", 10, signal.SIGTERM)
    monkeypatch.setattr(optimizers, "NOT_BY_MUON", "matrix")
    with pytest.raises(InputError) as caught:
        live(config, tmp_path / "run")
    assert (
        str(caught.value)
        == "the checkpoint of step 10 was written by another version of lm_keras, in which --optimizer=muon"
        " treated some weights in another way; go on with that version, or begin a new run with"
        " --init_from this one"
    )
    monkeypatch.setattr(optimizers, "NOT_BY_MUON", "nothing")
    assert live(config, tmp_path / "run").code == 0


def test_a_damaged_checkpoint_is_passed_over(interrupted, tiny_config, live, small, tmp_path):
    shutil.copytree(interrupted / "parts", tmp_path / "parts")
    checkpoints = RunFolder(tmp_path / "parts").checkpoints()
    assert checkpoints.steps() == [6, 12]
    path = tmp_path / "parts" / "checkpoints" / "step-00000012" / "state.index"
    path.write_bytes(path.read_bytes()[:-1])
    ended = live(tiny_config(**WEAKER), tmp_path / "parts")
    assert (
        f"checkpoint {path.parent} is damaged (state.index has other content than was written); using the one"
        " before it\ngoing on from step 6 of 18\n" in ended.err
    )
    whole, parts = everything_of(interrupted / "whole"), everything_of(tmp_path / "parts")
    assert differing(parts, whole) == set()


def test_all_checkpoints_damaged(interrupted, tiny_config, live, small, tmp_path, contents_of):
    shutil.copytree(interrupted / "parts", tmp_path / "parts")
    for path in (tmp_path / "parts" / "checkpoints").glob("step-*/progress.json"):
        path.write_text("{}")
    before = {
        **contents_of(tmp_path / "parts"),
        "flags.txt": None,
    }  # which names the folder that it was copied from
    with pytest.raises(InputError) as caught:
        live(tiny_config(**WEAKER), tmp_path / "parts")
    assert (
        str(caught.value)
        == f"every checkpoint in {tmp_path}/parts/checkpoints is damaged; restore one from a copy, "
        "or begin a new run with another --run_dir"
    )
    assert {**contents_of(tmp_path / "parts"), "flags.txt": None} == before


def test_checkpoints_of_unknown_settings(interrupted, tiny_config, live, small, tmp_path, contents_of):
    shutil.copytree(interrupted / "parts", tmp_path / "parts")
    (tmp_path / "parts" / "config.json").unlink()
    before = contents_of(tmp_path)
    with pytest.raises(InputError) as caught:
        live(tiny_config(**{**WEAKER, "seed": 2}), tmp_path / "parts")
    assert (
        str(caught.value)
        == f"--run_dir={tmp_path}/parts holds checkpoints and no config.json; restore that from a copy, or"
        " choose another folder"
    )
    assert contents_of(tmp_path) == before


def test_a_run_that_was_killed_before_it_began(tiny_config, live, small, tmp_path):
    (tmp_path / "parts" / "tokenizer").mkdir(parents=True)
    (tmp_path / "parts" / "tokenizer" / "tokenizer.json").write_text("{half")
    (tmp_path / "parts" / "data.json").write_text("{half")
    (tmp_path / "parts" / "lock").touch()
    assert live(tiny_config(**FULL), tmp_path / "parts").code == 0
