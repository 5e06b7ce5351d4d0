"""Four CPU devices in one process, a text to learn, and small settings: every dimension another number."""

import json
import os
import random
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

# The replicas of these tests are CPU devices, on machines with GPUs too.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import in_process
import pytest
import tensorflow as tf
import warm
from small_disk import SmallDisk
from tiny import TINY

from lm_keras.config import Config, from_flat

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
)


def sentences(count: int, seed: int = 3) -> list[str]:
    """Return lines of plain English that a small network can learn something from."""
    pick = random.Random(seed).choice
    words = [
        ["The", "A", "This", "That"],
        ["old", "red", "quiet", "happy", "small"],
        ["cat", "dog", "bird", "tree", "house", "river", "king", "child"],
        ["sees", "likes", "finds", "keeps", "follows"],
        ["the cat", "a dog", "the bird", "a tree", "this house", "that river", "the king"],
    ]
    return [" ".join(map(pick, words)) + ".\n" for _ in range(count)]


@pytest.fixture(scope="session", autouse=True)
def hangup():
    """Heed SIGHUP as from a terminal: under `nohup` this process and the runs that it starts ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep tokenized text of all tests, and of the processes that they start, in one folder."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LM_KERAS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def english():
    """The text of all small runs: 300 lines, 9 KB."""
    return "".join(sentences(300))


@pytest.fixture(scope="session")
def shared_corpus(tmp_path_factory, english):
    """A file with that text that no test changes."""
    path = tmp_path_factory.mktemp("text") / "english.txt"
    path.write_text(english)
    return path


@pytest.fixture
def corpus(tmp_path, english):
    """A file with that text for a test of its own."""
    path = tmp_path / "english.txt"
    path.write_text(english)
    return path


@pytest.fixture(scope="session")
def tiny_config(shared_corpus):
    """A function from settings to a `Config` of a run of a few seconds; None takes the default."""

    def make(**settings) -> Config:
        together = {"corpus": f"text:{shared_corpus}", **TINY, **settings}
        return from_flat({name: value for name, value in together.items() if value is not None})

    return make


@pytest.fixture(scope="session")
def train():
    """A function that carries out a run within this process, as `scripts/train.py` does."""
    return in_process.train


@pytest.fixture
def up_to_training(monkeypatch):
    """Let a run end where it would train."""
    from lm_keras.training.run import Run

    monkeypatch.setattr(Run, "__init__", lambda self, *args: None)
    monkeypatch.setattr(Run, "execute", lambda self: 0)


@pytest.fixture(scope="session")
def script():
    """A function that runs a script within this process."""
    return in_process.script


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB, really: what fills it gets the errors of a full disk."""
    try:
        disk = SmallDisk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield disk
    disk.unmount()


@pytest.fixture(scope="session")
def start():
    """A function that starts a script as a process, with its arguments and in a folder."""
    server = warm.Server()
    yield server.start
    server.close()


class Finished(NamedTuple):
    """A run that was carried out once for many tests, which must not change its folder."""

    path: Path
    config: Config
    ended: in_process.Ended


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_config, train):
    """A finished run: dropout with a schedule, a cosine, 24 steps, three evaluations."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    config = tiny_config(
        dropout=0.1, dropout_schedule="linear:initial=0,final=1", learning_rate_schedule="cosine"
    )
    return Finished(path, config, train(config, path))


@pytest.fixture(scope="session")
def lines_of():
    """A function that reads a file of JSON lines."""
    return lambda path: [json.loads(line) for line in Path(path).read_text().splitlines()]


@pytest.fixture(scope="session")
def contents_of():
    """A function that reads every file below a folder: relative path -> bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        files = (path for path in sorted(Path(folder).rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    return read
