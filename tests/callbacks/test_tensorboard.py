"""TensorBoard by global step: read back over HTTP from the real one, and curves that a resumed run continues."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import tensorflow as tf

from lm_keras.callbacks.tensorboard import TensorBoard, forget_after

SCALARS = {
    "train": {
        "loss", "perplexity", "bits_per_byte", "accuracy", "learning_rate", "dropout", "gradient_norm",
        "tokens_per_second", "data_wait",
    },
    "valid": {"loss", "perplexity", "word_perplexity", "bits_per_byte", "bits_per_character", "accuracy"},
}  # fmt: skip


@contextlib.contextmanager
def served(folder):
    """Start TensorBoard on a folder and yield a function that asks it for JSON."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        folder,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path, **query):
        url = f"http://127.0.0.1:{port}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        with opener.open(url, timeout=20) as answer:
            return json.load(answer)

    def patiently(path, enough, **query):
        """Ask until the answer is enough: the server begins to listen late, and reads one run after the other."""
        for _ in range(300):
            assert process.poll() is None
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                answer = ask(path, **query)
                if enough(answer):
                    return answer
            time.sleep(0.2)
        raise AssertionError(f"TensorBoard did not show {path}")

    try:
        yield patiently
    finally:
        process.kill()
        process.wait(timeout=20)


@pytest.fixture(scope="module")
def runs(finished, train, tmp_path_factory):
    """A folder with the finished run, and with the same run resumed after its first checkpoint but one."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("whole", "resumed"):
        shutil.copytree(finished.path, folder / name)
    (folder / "resumed" / "results.json").unlink()
    shutil.rmtree(folder / "resumed" / "checkpoints" / "step-00000024")
    ended = train(finished.config, folder / "resumed")
    assert "going on from step 16 of 24" in ended.err
    return folder


def steps_of(curves):
    return {tag: [step for step, _ in values] for tag, values in curves.items()}


def test_a_resumed_run_draws_one_curve(runs, scalars_of, texts_of):
    for part in ("train", "valid"):
        whole, resumed = (scalars_of(runs / name / "events" / part) for name in ("whole", "resumed"))
        for measured in ("tokens_per_second", "data_wait"):
            whole.pop(measured, None), resumed.pop(measured, None)
        assert resumed == whole
        assert set(map(tuple, steps_of(resumed).values())) == {
            (4, 8, 12, 16, 20, 24) if part == "train" else (8, 16, 24)
        }
    samples = [texts_of(runs / name / "events" / "valid") for name in ("whole", "resumed")]
    assert samples[0] == samples[1]
    assert [step for step, _ in samples[0]["sample_0"]] == [8, 16, 24]


def test_tensorboard_shows_everything(runs, finished, lines_of):
    everything = {f"{run}/events/{part}" for run in ("whole", "resumed") for part in SCALARS}
    with served(runs) as ask:
        tags = ask("scalars/tags", lambda answer: set(answer) >= everything)
        assert set(tags) == everything
        for run in everything:
            assert set(tags[run]) == SCALARS[run.split("/")[-1]]
        lines = [line for line in lines_of(finished.path / "metrics.jsonl") if "split" not in line]
        for run in ("whole", "resumed"):
            for tag in ("loss", "learning_rate", "dropout", "gradient_norm", "bits_per_byte"):
                points = ask("scalars/scalars", bool, run=f"{run}/events/train", tag=tag)
                assert [step for _, step, _ in points] == [4, 8, 12, 16, 20, 24]
                assert [value for _, _, value in points] == pytest.approx(
                    [line[tag] for line in lines], rel=1e-6
                )
            points = ask("scalars/scalars", bool, run=f"{run}/events/valid", tag="perplexity")
            assert [step for _, step, _ in points] == [8, 16, 24]
            texts = ask("text/text", bool, run=f"{run}/events/valid", tag="sample_0")
            assert [text["step"] for text in texts] == [8, 16, 24]
            (flags,) = ask("text/text", bool, run=f"{run}/events/train", tag="flags")
            assert flags["step"] == 0
            assert "--hidden_units=13" in flags["text"]


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
    assert records_of(run) == [VERSION]
    forget_after(run.parent / "nowhere", 0)


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
    """Let the callback write some steps as the own loop does, and return it; it is not told that the run ends."""
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
