"""Checkpoints in folders of any name, and checkpoints that a run which trains deletes while somebody reads
them.
"""

import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras import paths
from lm_keras.checkpoints import variables
from lm_keras.checkpoints.state import ATTEMPTS, GONE, Checkpoints, Gone
from lm_keras.errors import InputError

ODD = [
    "x=[1,2]",
    "[a-c]",
    "a\\b",
    "a*b",
    "a?b",
    "{a,b}",
    "-x",
    "#c",
    "%41",
    "'q\"",
    "two words",
    "two\nlines",
    "grün",
    "~",
]


def tensors(value):
    return {"model": [keras.Variable(np.full([3, 5], value, np.float32), name="kernel")]}


def value_of(checkpoints, step):
    read = tensors(-1.0)
    checkpoints.restore(step, read)
    return float(read["model"][0][0, 0])


@pytest.fixture(params=["Linux", "others"])
def system(request, monkeypatch):
    if request.param == "others":
        monkeypatch.setattr(paths, "_DESCRIPTORS", "/nowhere")


def test_a_folder_of_any_name_can_be_read_again(tmp_path, monkeypatch, system):
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(ODD, 1):
        checkpoints = Checkpoints(Path(name) / "checkpoints")
        checkpoints.save(4, tensors(float(number)), {})
    for number, name in enumerate(ODD, 1):
        again = Checkpoints(Path(name) / "checkpoints")
        assert (again.newest(), value_of(again, 4), again.size(4) > 60) == (4, float(number), True)


def test_what_a_pattern_would_match_is_not_read(tmp_path):
    """`a*b` is a folder like any other, also beside `aab`, which comes before it."""
    for name, value in (("aab", 1.0), ("a*b", 2.0)):
        Checkpoints(tmp_path / name).save(4, tensors(value), {})
    assert [value_of(Checkpoints(tmp_path / name), 4) for name in ("aab", "a*b")] == [1.0, 2.0]


def test_tensorflow_still_reads_patterns(tmp_path):
    """The control: by its own path such a checkpoint cannot be read."""
    Checkpoints(tmp_path / "[a-c]").save(4, tensors(1.0), {})
    with pytest.raises(tf.errors.NotFoundError):
        variables.tracked(tensors(0.0)).read(f"{tmp_path}/[a-c]/step-00000004/state")


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Checkpoints 2 and 4, and a function that lets a run replace them by newer ones when a method is about
    to read.
    """
    writer = Checkpoints(tmp_path / "run" / "checkpoints", keep=2)
    for step in (2, 4):
        writer.save(step, tensors(float(step)), {"valid_loss": 9.0 - step})

    def replace_before(name, times=1, end=lambda step: step + 4):
        original, left = getattr(Checkpoints, name), [times]

        def first_replaced(self, step, *args, **kwargs):
            if left[0] and self is not writer:
                left[0] -= 1
                for new in range(step + 2, end(step) + 1, 2):
                    writer.save(new, tensors(float(new)), {"valid_loss": 9.0 - new})
                assert not self._path(step).exists()
            return original(self, step, *args, **kwargs)

        monkeypatch.setattr(Checkpoints, name, first_replaced)
        return writer.folder

    return replace_before


@pytest.mark.parametrize("chosen", ["newest", "best"])
@pytest.mark.parametrize("moment", ["_check", "progress"])
def test_a_checkpoint_deleted_while_it_is_looked_at_is_no_damaged_one(training, moment, chosen):
    warnings = []
    checkpoints = Checkpoints(training(moment), warn=warnings.append)
    found = getattr(checkpoints, chosen)()
    assert found == max(checkpoints.steps()) > 4  # Each checkpoint of this run is better than those before.
    assert (warnings, checkpoints.damaged(), value_of(checkpoints, found)) == ([], {}, float(found))


def test_a_checkpoint_deleted_before_it_is_read(training):
    checkpoints = Checkpoints(training("restore"))
    step = checkpoints.newest()
    with pytest.raises(Gone):
        checkpoints.restore(step, tensors(0.0))
    assert checkpoints.problem(step) == ""  # Read once; a reader lists again.
    again = Checkpoints(checkpoints.folder)
    assert again.problem(step) == GONE
    with pytest.raises(Gone):
        again.size(step)


def test_a_checkpoint_deleted_while_its_files_are_listed(training, monkeypatch):
    """An open folder without files any more is an empty one, and its path leads nowhere."""
    checkpoints = Checkpoints(training("save", times=0))
    glob = Path.glob

    def emptied(self, pattern):
        shutil.rmtree(self)
        return glob(self, pattern)

    assert checkpoints.size(4) > 60
    monkeypatch.setattr(Path, "glob", emptied)
    with pytest.raises(Gone):
        checkpoints.size(4)


def test_a_checkpoint_replaced_while_it_is_read(training, monkeypatch):
    """The files are deleted when TensorFlow has begun: an error of whatever kind is no fault of the user."""
    checkpoints = Checkpoints(training("save", times=0))

    def read(*args):
        shutil.rmtree(checkpoints.folder / "step-00000004")
        raise tf.errors.DataLossError(None, None, "truncated")

    monkeypatch.setattr(tf.train.Checkpoint, "read", read)
    with pytest.raises(Gone):
        checkpoints.restore(4, tensors(0.0))
    # The control: of a checkpoint that stays it is said that it does not fit.
    monkeypatch.setattr(shutil, "rmtree", lambda path: None)
    with pytest.raises(InputError, match="step-00000002 does not fit this network \\(truncated\\)"):
        checkpoints.restore(2, tensors(0.0))


@pytest.mark.parametrize("chosen", ["newest", "best"])
def test_checkpoints_deleted_faster_than_they_are_read(training, chosen):
    checkpoints = Checkpoints(training("_check", times=10**6))
    with pytest.raises(Gone) as caught:
        getattr(checkpoints, chosen)()
    assert (
        str(caught.value)
        == f"the run that trains in {checkpoints.folder.parent} deletes its checkpoints faster than they can"
        " be read; wait until it ends, or let it go on with a larger --checkpoint_every or"
        " --keep_checkpoints"
    )
    assert max(checkpoints.steps()) <= 4 + 4 * 3 * ATTEMPTS
