"""TensorBoard by global step: event files, and curves that a resumed run continues."""

import os
import shutil

import pytest
import tensorflow as tf

from lm_keras.callbacks.tensorboard import TensorBoard, forget_after
from lm_keras.errors import InputError


def scalar(tag, value, step, when):
    tensor = tf.make_tensor_proto(float(value))
    event = tf.compat.v1.Event(step=step, wall_time=when)
    event.summary.value.add(tag=tag, tensor=tensor).metadata.plugin_data.plugin_name = "scalars"
    return event.SerializeToString()


VERSION = tf.compat.v1.Event(wall_time=1.0, file_version="brain.Event:2").SerializeToString()


def written(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def records_of(folder):
    files = sorted(folder.glob("events.out.tfevents.*"))
    return [record for file in files for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]


@pytest.fixture
def two_lives(tmp_path):
    """Events of steps 2 and 4, then, in a second file, of 4 again and 6, the last half-written."""
    points = {step: scalar("loss", 1 / step, step, 10.0 + step) for step in (2, 4, 6, 8)}
    run = tmp_path / "events" / "train"
    written(run / "events.out.tfevents.1", [VERSION, points[2], points[4]])
    written(run / "events.out.tfevents.2", [VERSION, points[6], points[8]])
    content = (run / "events.out.tfevents.2").read_bytes()
    (run / "events.out.tfevents.2").write_bytes(content[:-5])
    return run, points


def test_events_beyond_a_step_are_forgotten(two_lives):
    run, points = two_lives
    forget_after(run.parent, 6)
    assert records_of(run) == [VERSION, points[2], points[4], points[6]]
    forget_after(run.parent, 2)
    assert records_of(run) == [VERSION, points[2]]
    assert os.listdir(run) == ["events.out.tfevents.1"]
    forget_after(run.parent, 0)
    assert not run.exists()
    forget_after(run.parent / "nowhere", 0)
    forget_after(run.parent / "nowhere", 2)


def test_a_folder_in_the_place_of_an_event_file(two_lives):
    run, points = two_lives
    (run / "events.out.tfevents.0").mkdir()
    forget_after(run.parent, 4)
    assert sorted(os.listdir(run)) == ["events.out.tfevents.0", "events.out.tfevents.1"]
    (run / "events.out.tfevents.0").rmdir()
    assert records_of(run) == [VERSION, points[2], points[4]]


@pytest.mark.parametrize("killed_at", ["replace", "unlink"])
def test_to_be_killed_while_forgetting_does_no_harm(two_lives, monkeypatch, killed_at):
    run, points = two_lives

    class Killed(BaseException):
        pass

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("os.replace" if killed_at == "replace" else "pathlib.Path.unlink", kill)
        with pytest.raises(Killed):
            forget_after(run.parent, 6)
    forget_after(run.parent, 6)
    assert records_of(run) == [VERSION, points[2], points[4], points[6]]
    assert os.listdir(run) == ["events.out.tfevents.1"]


def draw(folder, steps, every=2):
    """Let the callback write some steps as the own loop does, and return it; it is not told that the run
    ends.
    """
    board = TensorBoard(folder, every)
    board.set_params({"own_loop": True})
    logs = {"loss": 2.5, "learning_rate": 0.25, "perplexity": None, "accuracy": float("nan")}
    for step in steps:
        board.on_train_batch_end(step, {**logs, "step": step})
    board.on_test_end({"loss": 2.0, "step": step})
    return board


def test_points_are_on_disk_at_once(tmp_path, scalars_of):
    """A process that is killed after a checkpoint has drawn its curve up to there."""
    board = draw(tmp_path, range(1, 6))
    points = {"loss": [(2, 2.5), (4, 2.5)], "learning_rate": [(2, 0.25), (4, 0.25)]}
    assert scalars_of(tmp_path / "train") == points
    assert scalars_of(tmp_path / "valid") == {"loss": [(5, 2.0)]}
    del board  # whose end would write what it held back


def begin(folder):
    """Let the callback begin as in a run of 13 hidden units; it is not told that the run ends."""
    board = TensorBoard(folder, 2, settings={"hidden_units": 13, "batching": None, "tie_embeddings": False})
    board.on_train_begin()
    return board


def test_settings_are_told_once(tmp_path, hparams_of, monkeypatch):
    lives = [begin(tmp_path)]
    told = [{"hidden_units": 13, "tie_embeddings": False}]
    assert (
        hparams_of(tmp_path / "valid") == told
    )  # at once: a process may be killed after its first checkpoint
    forget_after(tmp_path, 2)
    lives.append(begin(tmp_path))
    assert hparams_of(tmp_path / "valid") == told
    forget_after(tmp_path, 0)
    lives.append(begin(tmp_path))
    assert hparams_of(tmp_path / "valid") == told
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)  # The control.
    lives.append(begin(tmp_path))
    monkeypatch.undo()
    assert hparams_of(tmp_path / "valid") == 2 * told


@pytest.mark.parametrize("forgetting", [True, False])
def test_a_second_life_goes_on_with_the_curve(tmp_path, scalars_of, forgetting):
    draw(tmp_path, range(1, 8))
    if forgetting:
        forget_after(tmp_path, 4)
    draw(tmp_path, range(5, 11))
    steps = [step for step, _ in scalars_of(tmp_path / "train")["loss"]]
    assert steps == ([2, 4, 6, 8, 10] if forgetting else [2, 4, 6, 6, 8, 10])


@pytest.mark.parametrize("value", [1e39, -1e39, float("inf")])
def test_what_float32_cannot_hold_is_left_out(tmp_path, scalars_of, value):
    """The perplexity of a word of Chinese text, which has no blanks, is such a number."""
    board = TensorBoard(tmp_path, 2)
    board.set_params({"own_loop": True})
    board.on_test_end({"loss": 2.0, "word_perplexity": value, "step": 5})
    board.on_test_end({"loss": 1.5, "word_perplexity": 1e38, "step": 6})
    points = scalars_of(tmp_path / "valid")
    assert points["loss"] == [(5, 2.0), (6, 1.5)]
    assert [step for step, _ in points["word_perplexity"]] == [6]


GO_ON = "free space there or make it writable, and the same command goes on"


def test_a_full_disk_is_said(small_disk, scalars_of):
    folder = small_disk.path / "events"
    boards = [draw(folder, range(1, 5))]
    small_disk.fill()
    last = 4
    with pytest.raises(InputError) as caught:
        for last in range(6, 200, 2):  # What is left of the file's last block takes some points.
            boards[0].on_train_batch_end(last, {"loss": 2.5, "learning_rate": 0.25, "step": last})
    assert str(caught.value) == f"cannot write {folder}/train: No space left on device; {GO_ON}"
    with pytest.raises(InputError) as caught:
        boards.append(draw(small_disk.path / "others", [2]))  # a new file
    assert (
        str(caught.value) == f"cannot write {small_disk.path}/others/train: No space left on device; {GO_ON}"
    )
    small_disk.free()
    forget_after(folder, last)  # Whatever is half-written at the end is passed over.
    boards.append(draw(folder, range(last, last + 3)))
    assert scalars_of(folder / "train")["loss"] == [(step, 2.5) for step in range(2, last + 3, 2)]


def test_a_folder_that_is_gone_is_said(tmp_path):
    """TensorFlow says nothing when it writes to a file that was deleted."""
    board = draw(tmp_path / "events", range(1, 5))
    shutil.rmtree(tmp_path / "events" / "train")
    with pytest.raises(InputError) as caught:
        board.on_train_batch_end(6, {"loss": 2.5, "learning_rate": 0.25, "step": 6})
    assert str(caught.value) == f"cannot write {tmp_path}/events/train: No such file or directory; {GO_ON}"
    assert not (tmp_path / "events" / "train").exists()


def test_forgetting_on_a_full_disk_forgets_nothing(small_disk, scalars_of, contents_of):
    folder = small_disk.path / "events"
    board = draw(folder, range(1, 400))
    small_disk.fill()
    before = contents_of(folder)
    with pytest.raises(InputError) as caught:
        forget_after(folder, 398)
    assert str(caught.value) == f"cannot write {folder}/train: No space left on device; {GO_ON}"
    assert contents_of(folder) == before
    del board
