"""The real TensorBoard, read back over HTTP: what it shows of a whole run and of one that was resumed."""

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.checkpoints.run_folder import RunFolder

SCALARS = {
    "train": {
        "loss", "perplexity", "bits_per_byte", "accuracy", "learning_rate", "dropout", "gradient_norm",
        "tokens_per_second", "data_wait",
    },
    "valid": {"loss", "perplexity", "word_perplexity", "bits_per_byte", "bits_per_character", "accuracy"},
}  # fmt: skip


@contextlib.contextmanager
def served(folder):
    """Start TensorBoard on a folder and yield a function that asks it for JSON, or for bytes."""
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

    def ask(path, read, **query):
        url = f"http://127.0.0.1:{port}/data/plugin/{path}?{urllib.parse.urlencode(query)}"
        with opener.open(url, timeout=20) as answer:
            return read(answer.read())

    def patiently(path, enough, read=json.loads, **query):
        """Ask until the answer is enough: the server begins to listen late, and reads one run after the
        other.
        """
        for _ in range(300):
            assert process.poll() is None
            with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
                answer = ask(path, read, **query)
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


def test_a_resumed_run_draws_one_curve(runs, scalars_of, texts_of, hparams_of, lines_of):
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
    for name, lives in (("whole", [0]), ("resumed", [0, 16])):
        assert [settings["hidden_units"] for settings in hparams_of(runs / name / "events" / "valid")] == [13]
        assert [launch["step"] for launch in RunFolder(runs / name).launches] == lives
        drawn = [step for step, _ in samples[0]["sample_0"]]
        assert [line["step"] for line in lines_of(runs / name / "samples.jsonl")] == drawn


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
        check_hparams(ask, finished, lines_of)
        check_projector(ask, finished)


def check_hparams(ask, finished, lines_of):
    """Every run is a row with all its settings and what its last validation said."""
    request = json.dumps({"allowedStatuses": ["STATUS_UNKNOWN"], "startIndex": 0, "sliceSize": 9})
    groups = ask("hparams/session_groups", lambda answer: len(answer["sessionGroups"]) == 2, request=request)[
        "sessionGroups"
    ]
    assert {group["name"] for group in groups} == {"whole/events/valid", "resumed/events/valid"}
    last = [line for line in lines_of(finished.path / "metrics.jsonl") if "split" in line][-1]
    for group in groups:
        settings = {
            name: value
            for name, value in RunFolder(finished.path).config().flat().items()
            if value is not None
        }
        assert group["hparams"] == settings
        shown = {value["name"]["tag"]: value["value"] for value in group["sessions"][0]["metricValues"]}
        for tag, field in (("loss", "nats_per_token"), ("perplexity",) * 2, ("bits_per_byte",) * 2):
            assert shown[tag] == pytest.approx(last[field], rel=1e-6)


def check_projector(ask, finished):
    """Every token that occurs stands at its embedding, with a printable name."""
    run = "whole/events/train"
    assert run in ask("projector/runs", bool)
    (info,) = ask("projector/info", bool, run=run)["embeddings"]
    points = ask("projector/tensor", bool, bytes, run=run, name=info["tensorName"])
    head, *lines = (
        ask("projector/metadata", bool, bytes, run=run, name=info["tensorName"]).decode().splitlines()
    )
    assert head == "token\tid\tcount"
    tokens, ids, counts = zip(*[line.split("\t") for line in lines])
    reader = tf.train.load_checkpoint(str(finished.path / "checkpoints" / "step-00000024" / "state"))
    (name,) = [
        name for name in reader.get_variable_to_shape_map() if "_embeddings/" in name and name[:5] == "model"
    ]
    table = reader.get_tensor(name)
    assert table.shape == (30, 7)
    np.testing.assert_array_equal(
        np.frombuffer(points, np.float32).reshape(info["tensorShape"]), table[np.array(ids, int)]
    )
    assert tokens[0] == "␣"
    assert "\\n" in tokens
    tokenizer = RunFolder(finished.path).tokenizer()
    assert list(tokens) == [tokenizer.label(int(i)) for i in ids]
    data = json.loads((finished.path / "data.json").read_text())
    assert sum(map(int, counts)) == data["splits"]["train"]["tokens"]
