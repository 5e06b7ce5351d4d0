"""Checkpoints: whole or not at all, checked when read, the last and the best kept."""

import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from lm_keras.checkpoints.records import unsealed
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.errors import InputError
from lm_keras.models.lstm import LSTMLanguageModel
from lm_keras.models.saving import SavableModel


def variables(value, count=3):
    """Two groups of variables, of Keras and of TensorFlow; all have a value of their own."""
    return {
        "model": [
            keras.Variable(np.full([2 + n, 5], value + n, np.float32), name="kernel") for n in range(count)
        ],
        "carried": [tf.Variable(tf.fill([3, 7], value + 0.25)), tf.Variable(tf.constant(value, tf.float32))],
    }


def values_of(tensors):
    return [np.array(variable).tolist() for group in tensors.values() for variable in group]


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def checkpoints(tmp_path, warnings):
    return Checkpoints(tmp_path / "checkpoints", keep=2, warn=warnings.append)


def reopened(checkpoints, warn=lambda line: None):
    return Checkpoints(checkpoints.folder, keep=2, warn=warn)


def list_variables(prefix):
    return tf.train.list_variables(str(prefix))


def flip(path, place):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x04
    path.write_bytes(content)


def test_what_was_saved_comes_back(checkpoints):
    checkpoints.save(8, variables(1.5), {"seconds": 2.5, "valid_loss": 3.25})
    other = variables(-4.0)
    again = reopened(checkpoints)
    assert (again.steps(), again.newest(), again.best()) == ([8], 8, 8)
    again.restore(8, other)
    assert values_of(other) == values_of(variables(1.5)) != values_of(variables(-4.0))
    progress = again.progress(8)
    assert (progress["step"], progress["seconds"], progress["valid_loss"]) == (8, 2.5, 3.25)


def test_a_part_can_be_read_alone(checkpoints):
    checkpoints.save(8, variables(1.5), {})
    model = {"model": variables(0.0)["model"]}
    with pytest.raises(InputError, match="does not fit"):
        checkpoints.restore(8, model)
    checkpoints.restore(8, model, everything=False)
    assert values_of(model) == values_of(variables(1.5))[:3]


def test_another_network_does_not_fit(checkpoints):
    checkpoints.save(8, variables(1.5), {})
    shaped = variables(0.0)
    shaped["model"][1] = keras.Variable(np.zeros([3, 6]), name="kernel")
    for tensors in (variables(0.0, count=4), shaped):
        with pytest.raises(InputError) as caught:
            checkpoints.restore(8, tensors, everything=False)
        assert str(caught.value).startswith(f"checkpoint {checkpoints.folder}/step-00000008 does not fit")
        assert str(caught.value).endswith("was the run folder put together from two runs?")


def test_the_last_and_the_best_are_kept(checkpoints):
    losses = {2: 3.0, 4: 2.0, 6: 2.5, 8: None, 10: 2.25, 12: 2.75}
    for step, loss in losses.items():
        checkpoints.save(step, variables(float(step)), {"valid_loss": loss})
    assert checkpoints.steps() == [4, 10, 12]
    assert (checkpoints.best(), checkpoints.newest()) == (4, 12)
    best = variables(0.0)
    checkpoints.restore(4, best)
    assert values_of(best) == values_of(variables(4.0))
    checkpoints.save(14, variables(14.0), {"valid_loss": 1.0})
    assert checkpoints.steps() == [12, 14]


def test_the_best_by_a_measure_that_is_better_when_it_is_high(checkpoints):
    for step, value in {2: 0.25, 4: 0.5, 6: 0.375}.items():
        validated = {"measure": "accuracy", "better": "high", "value": value}
        checkpoints.save(step, variables(float(step)), {"validated": validated})
    assert checkpoints.best() == 4
    checkpoints.save(8, variables(8.0), {"valid_loss": -0.75})  # As older versions kept an accuracy.
    assert checkpoints.best() == 8


def test_equal_losses_keep_the_first(checkpoints):
    for step in (2, 4):
        checkpoints.save(step, variables(0.0), {"valid_loss": 3.0})
    assert checkpoints.best() == 2


def test_nothing_was_validated(checkpoints):
    checkpoints.save(2, variables(0.0), {"valid_loss": None})
    assert checkpoints.best() is None
    assert Checkpoints(checkpoints.folder / "nowhere").newest() is None


@pytest.mark.parametrize("name", ["state.index", "state.data-00000-of-00001", "progress.json"])
def test_every_damaged_byte_is_found(checkpoints, warnings, name):
    checkpoints.save(2, variables(2.0), {"seconds": 1.0, "valid_loss": 3.0})
    checkpoints.save(4, variables(4.0), {"seconds": 2.0, "valid_loss": 2.0})
    path = checkpoints.folder / "step-00000004" / name
    sound = path.read_bytes()
    number = sound.find(b'"seconds": 2') + 11  # a digit: the file is still sound JSON
    places = [0, len(sound) // 2, len(sound) - 3, *([number] if name == "progress.json" else [])]
    for place in places:
        path.write_bytes(sound)
        assert reopened(checkpoints, warnings.append).newest() == 4
        flip(path, place)
        again = reopened(checkpoints, warnings.append)
        assert again.problem(4).startswith(name)
        assert (again.newest(), again.best()) == (2, 2)
        assert (
            warnings.pop()
            == f"checkpoint {checkpoints.folder}/step-00000004 is damaged ({again.problem(4)}); using the one"
            " before it"
        )
        assert warnings == []


def replace(path, make):
    """Put something else into the place of a file or folder, which stands beside it from now on."""
    path.rename(path.with_name(f"aside-{path.name}"))
    make(path)


DATA, CHANGED = "state.data-00000-of-00001", "has other content than was written"
HARM = {
    "an index that is gone": (lambda folder: (folder / "state.index").unlink(), "state.index is missing"),
    "a shard that is gone": (lambda folder: (folder / DATA).unlink(), f"{DATA} is missing"),
    "progress that is gone": (lambda folder: (folder / "progress.json").unlink(), "progress.json is missing"),
    "other JSON": (lambda folder: (folder / "progress.json").write_text("[]"), f"progress.json {CHANGED}"),
    "deep JSON": (lambda folder: (folder / "progress.json").write_text("[" * 10**5), f"progress.json "
        f"{CHANGED}"),
    "no UTF-8": (lambda folder: (folder / "progress.json").write_bytes(b"\xff"), f"progress.json {CHANGED}"),
    "an empty index": (lambda folder: (folder / "state.index").write_bytes(b""), f"state.index {CHANGED}"),
    "a short shard": (lambda folder: os.truncate(folder / DATA, (folder / DATA).stat().st_size - 1),
        f"{DATA} {CHANGED}"),
    "a folder for a file": (lambda folder: replace(folder / DATA, Path.mkdir), f"{DATA} cannot be read: no "
        f"regular file"),
    "a pipe for a file": (lambda folder: replace(folder / "progress.json", os.mkfifo), "progress.json cannot "
        "be read: no regular file"),
    "a device for a file": (lambda folder: replace(folder / DATA, lambda path: path.symlink_to("/dev/zero")),
        f"{DATA} cannot be read: no regular file"),
    "a link to nowhere": (lambda folder: replace(folder, lambda path: path.symlink_to("nowhere")),
        "a link to nowhere"),
    "a link to itself": (lambda folder: replace(folder, lambda path: path.symlink_to(path.name)),
        "a link to nowhere"),
    "a file for the folder": (lambda folder: replace(folder, Path.touch), "no folder"),
    "an empty folder": (lambda folder: replace(folder, Path.mkdir), "an empty folder"),
    "another step": (lambda folder: replace(folder,
        lambda path: shutil.copytree(folder.parent / "step-00000002", path)), "progress.json is of step 2"),
}  # fmt: skip


@pytest.mark.parametrize("what", HARM)
def test_what_is_wrong_is_said_and_mended(checkpoints, warnings, what):
    harm, problem = HARM[what]
    for step in (2, 4):
        checkpoints.save(step, variables(float(step)), {})
    harm(checkpoints.folder / "step-00000004")
    again = reopened(checkpoints, warnings.append)
    assert again.newest() == 2
    assert warnings == [
        f"checkpoint {checkpoints.folder}/step-00000004 is damaged ({problem}); using the one before it"
    ]
    again.save(4, variables(4.5), {})
    other = variables(0.0)
    assert reopened(checkpoints).newest() == again.newest() == 4
    again.restore(4, other)
    assert values_of(other) == values_of(variables(4.5))
    again.save(4, variables(5.0), {})  # a sound one stays
    again.restore(4, other)
    assert values_of(other) == values_of(variables(4.5))


def test_no_changed_bit_of_the_progress_goes_unnoticed(checkpoints):
    checkpoints.save(8, variables(8.0), {"seconds": 1e-05, "name": "é", "meter": {"nats": 0.1, "steps": 3}})
    text = (checkpoints.folder / "step-00000008" / "progress.json").read_bytes()
    assert unsealed(text)["name"] == "é"
    for place in range(8 * len(text)):
        changed = bytearray(text)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match=CHANGED):
            unsealed(bytes(changed))
    # The control: that JSON can be read and says the same is not enough.
    assert json.loads(text.replace(b"1e-05", b"1E-05")) == json.loads(text)


def test_a_failed_save_touches_nothing(checkpoints, monkeypatch, contents_of):
    checkpoints.save(2, variables(2.0), {})
    before = contents_of(checkpoints.folder)

    def fail(self, path, options=None):
        (checkpoints.folder / path).write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device\nsecond line")

    monkeypatch.setattr(tf.train.Checkpoint, "write", fail)
    with pytest.raises(InputError) as caught:
        checkpoints.save(4, variables(4.0), {})
    assert (
        str(caught.value)
        == f"cannot write {checkpoints.folder}/step-00000004: No space left on device; the checkpoints before"
        " are as they were; free space there or make it writable, and the same command goes on"
    )
    assert contents_of(checkpoints.folder) == before
    assert checkpoints.steps() == [2]


def test_other_names_are_no_checkpoints(checkpoints):
    checkpoints.save(2, variables(2.0), {})
    for name in ("step-x", "step-", "step-7", "step-000000009", "step-٠٠٠٠٠٠٠٣", "other"):
        (checkpoints.folder / name).mkdir()
    assert checkpoints.steps() == [2]


def test_every_variable_of_a_network_is_in_the_file(checkpoints, monkeypatch):
    model = LSTMLanguageModel(19, embedding_dim=7, hidden_units=13, num_layers=2, dropout=0.1)
    checkpoints.save(2, {"model": model.variables}, {})

    def shapes(prefix):
        held = {
            name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): shape for name, shape in list_variables(prefix)
        }
        return sorted(shape for name, shape in held.items() if name[:1] != "_" and "save_counter" not in name)

    everything = sorted(list(variable.shape) for variable in model.variables)
    assert len(everything) == 9 + 3 * 2  # and of each dropout layer its rate and its seed
    assert shapes(checkpoints.folder / "step-00000002" / "state") == everything
    # The control: TensorFlow alone does not see the layers that a Keras model holds in lists; ours tell it of
    # them.
    monkeypatch.delattr(SavableModel, "_trackable_children")
    alone = tf.train.Checkpoint(model=model).write(str(checkpoints.folder / "alone"))
    assert [7, 4 * 13] in everything
    assert [7, 4 * 13] not in shapes(alone)


@pytest.mark.parametrize("in_the_way", [lambda path: path.mkdir(), lambda path: path.write_text("thesis")])
def test_what_is_no_checkpoint_is_replaced(checkpoints, in_the_way):
    checkpoints.save(2, variables(2.0), {})
    in_the_way(checkpoints.folder / "step-00000004")
    (checkpoints.folder / "step-²").mkdir()  # a digit, and no number
    again = reopened(checkpoints)
    assert (again.steps(), again.newest()) == ([2, 4], 2)
    again.save(4, variables(4.0), {})
    assert reopened(checkpoints).newest() == 4


def test_progress_is_json(checkpoints):
    checkpoints.save(2, variables(2.0), {"meter": {"nats": 0.1 + 0.2, "steps": 3}, "best": None, "name": "é"})
    progress = json.loads((checkpoints.folder / "step-00000002" / "progress.json").read_text())
    assert progress["meter"] == {"nats": 0.1 + 0.2, "steps": 3}
    shutil.copytree(checkpoints.folder, checkpoints.folder.with_name("copy"))
    assert Checkpoints(checkpoints.folder.with_name("copy")).newest() == 2  # a copy is as good


def test_a_link_to_a_whole_checkpoint_is_one(checkpoints, tmp_path):
    checkpoints.save(2, variables(2.0), {})
    (checkpoints.folder / "step-00000002").rename(tmp_path / "elsewhere")
    (checkpoints.folder / "step-00000002").symlink_to(tmp_path / "elsewhere")
    again = reopened(checkpoints)
    assert again.newest() == 2
    for step in (4, 6):
        again.save(step, variables(float(step)), {})
    assert reopened(checkpoints).steps() == [4, 6]
    assert sorted(os.listdir(checkpoints.folder)) == ["step-00000004", "step-00000006"]
    assert (
        tmp_path / "elsewhere" / "progress.json"
    ).exists()  # The link is deleted, and not what it leads to.


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("group", "place", "name"), [("model", 1, "model variable kernel"), ("carried", 0, "carried variable 0")]
)
def test_what_is_not_finite_is_not_saved(checkpoints, contents_of, group, place, name, bad):
    checkpoints.save(2, variables(2.0), {})
    before, tensors = contents_of(checkpoints.folder), variables(4.0)
    values = np.array(tensors[group][place])
    values[1, 4] = bad
    tensors[group][place].assign(values)
    tensors["carried"][1].assign(np.nan)  # The first one is named.
    with pytest.raises(InputError) as caught:
        checkpoints.save(1234, tensors, {})
    assert (
        str(caught.value)
        == f"{name} holds a number that is not finite at step 1,234, which is not saved; the checkpoints"
        " before are kept; begin a new run in another --run_dir with a lower --learning_rate or a"
        " --clip_norm"
    )
    assert contents_of(checkpoints.folder) == before


def test_integers_and_short_numbers_are_saved(checkpoints):
    tensors = {"model": [tf.Variable([2**31, -1], dtype=tf.int64), tf.Variable([1.5], dtype=tf.bfloat16)]}
    checkpoints.save(2, tensors, {})
    assert checkpoints.newest() == 2
    tensors["model"][1].assign([float("nan")])
    with pytest.raises(InputError, match="not finite"):
        checkpoints.save(4, tensors, {})


def test_what_is_deleted_is_never_half_there(checkpoints, monkeypatch):
    """A process that is killed while it deletes an old checkpoint leaves none that looks damaged."""

    def killed(path, ignore_errors):
        if path.exists():
            (path / "state.index").unlink()
            raise KeyboardInterrupt

    for step in (2, 4):
        checkpoints.save(step, variables(float(step)), {})
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(6, variables(6.0), {})
    assert reopened(checkpoints).steps() == [4, 6]
    (left,) = checkpoints.folder.glob(".unfinished-*")
    assert sorted(os.listdir(left)) == ["progress.json", DATA]
