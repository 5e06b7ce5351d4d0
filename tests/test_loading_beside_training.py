"""A run is loaded while it trains: each load gets the weights of one checkpoint, and nobody is blamed for one
that is gone.
"""

import json
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import ATTEMPTS, Checkpoints
from lm_keras.errors import InputError

WRITER = """
import sys, time
from lm_keras import quiet
quiet.import_tensorflow()
import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder

path, seconds = sys.argv[1], float(sys.argv[2])
model = lm_keras.load(path).model
checkpoints = RunFolder(path).checkpoints(keep=1)
step, ends = 24, time.monotonic() + seconds
print("ready", flush=True)
while time.monotonic() < ends:
    step += 1
    for variable in model.variables:
        variable.assign(variable * 0 + step if variable.dtype == "float32" else variable)
    checkpoints.save(step, {"model": model.variables}, {"valid_loss": 1 / step})
print(step)
"""
"""Stands for a run: writes a checkpoint every few milliseconds, each the best so far, with its step as the
value of every weight.
"""


def check_weights(lm):
    values = {float(value) for variable in lm.model.trainable_variables for value in np.unique(variable)}
    assert values == {float(lm.step)}


@pytest.fixture
def run(finished, tmp_path):
    """A run whose only checkpoint has the value 24 in all of its weights."""
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    model = lm_keras.load(path).model
    shutil.rmtree(path / "checkpoints")
    write(model, path, 24)
    return path


def write(model, path, step, keep=1):
    for variable in model.trainable_variables:
        variable.assign(variable * 0 + step)
    RunFolder(path).checkpoints(keep).save(step, {"model": model.variables}, {"valid_loss": 1 / step})


@pytest.mark.parametrize("checkpoint", ["last", "best"])
@pytest.mark.parametrize("moment", ["size", "restore"])
def test_the_checkpoint_is_deleted_just_before_it_is_read(run, monkeypatch, moment, checkpoint):
    model, original, left = lm_keras.load(run).model, getattr(Checkpoints, moment), [3]

    def replaced(self, step, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            write(model, run, step + 1)
            assert not self._path(step).exists()
        return original(self, step, *args, **kwargs)

    monkeypatch.setattr(Checkpoints, moment, replaced)
    lm = lm_keras.load(run, checkpoint)
    assert (lm.step, left) == (27, [0])
    check_weights(lm)
    # Not for ever, and then in one line.
    left[0] = 10**6
    with pytest.raises(InputError, match="deletes its checkpoints faster than they can be read; wait until"):
        lm_keras.load(run, checkpoint)
    assert 10**6 - left[0] == ATTEMPTS


def test_a_script_beside_training(run, monkeypatch, script, finished):
    """The same through `scripts/sample.py`, whose standard error says nothing of it."""
    model, original = lm_keras.load(run).model, Checkpoints.restore

    def replaced(self, step, *args, **kwargs):
        if step == 24:
            write(model, run, 25)
        return original(self, step, *args, **kwargs)

    monkeypatch.setattr(Checkpoints, "restore", replaced)
    ended = script("sample.py", f"--run_dir={run}", "--max_new_tokens=2", "--json")
    assert ended.code == 0
    assert re.fullmatch(r"\d tokens in .*\n", ended.err)
    assert json.loads(ended.out)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_many_loads_beside_a_process_that_writes(run, checkpoint, capfd):
    """Hundreds of loads, in threads, as TensorFlow waits for the disk; the control is how many checkpoints
    were deleted meanwhile.
    """
    command = [sys.executable, "-c", WRITER, str(run), "60"]
    loads, failures = [], []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "ready\n"

        def load():
            while writer.poll() is None:
                try:
                    lm = lm_keras.load(run, checkpoint)
                    loads.append(lm.step)
                    if lm.step > 24:
                        check_weights(lm)
                except (InputError, AssertionError) as error:
                    failures.append(error)

        threads = [threading.Thread(target=load) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = int(writer.stdout.read())
    assert failures == []
    assert len(loads) > 200
    assert len(set(loads)) > 100
    assert last > 1000
    assert "damaged" not in capfd.readouterr().err
