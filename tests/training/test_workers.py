"""Who the workers are, what they agree on, and what is refused; `test_kills.py` trains with two of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.training import distribution
from lm_keras.training.signals import MEANING
from lm_keras.training.workers import Cluster, Workers, interruptible

TWO = ["127.0.0.1:4000", "[::1]:4001"]


def config_of(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


@pytest.mark.parametrize(
    ("text", "addresses", "index"),
    [
        (config_of({"worker": TWO}), TWO, 0),
        (config_of({"worker": TWO}, index=1), TWO, 1),
        (config_of({"chief": ["a:1"], "worker": TWO}, "chief"), ["a:1", *TWO], 0),
        (config_of({"chief": ["a:1"], "worker": TWO}, "worker", "1"), ["a:1", *TWO], 2),
    ],
)
def test_the_cluster_of_the_environment(monkeypatch, text, addresses, index):
    monkeypatch.setenv("TF_CONFIG", text)
    assert Cluster.of_environment() == Cluster(tuple(addresses), index)


@pytest.mark.parametrize("text", ["", " ", "{}", None])
def test_no_cluster(monkeypatch, text, tiny_config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("TF_CONFIG", text)
    assert Cluster.of_environment() is None
    assert distribution.cluster_of(tiny_config()) is None
    with pytest.raises(
        InputError, match=r"^--strategy=multi_worker needs the environment variable TF_CONFIG"
    ):
        distribution.cluster_of(tiny_config(strategy="multi_worker"))


WRONG = {
    "{": "Expecting property name",
    "[1]": "list indices must be",
    "[" * 100_000: "recursion",
    '{"cluster": {}}': "'task' is missing",
    config_of({}): "worker 0 is missing",
    config_of({"worker": TWO}, index=2): "worker 2 is missing",
    config_of({"worker": TWO}, index=-1): "worker -1 is missing",
    config_of({"worker": TWO}, index=None): "int",
    config_of({"worker": TWO}, "chief"): "chief 0 is missing",
    config_of({"worker": TWO}, "evaluator"): "only the tasks chief (one) and worker are known",
    config_of({"worker": TWO, "ps": ["a:1"]}): "only the tasks chief (one) and worker are known",
    config_of({"chief": ["a:1", "b:1"], "worker": TWO}): "only the tasks chief (one) and worker are known",
    config_of({"worker": ["localhost"]}): "'localhost' is not host:port",
    config_of({"worker": ["http://a:1"]}): "'http://a:1' is not host:port",
    config_of({"worker": ["a:1_0"]}): "'a:1_0' is not host:port",
    config_of({"worker": ["a:1", "b:1", "a:1"]}): "a:1 is listed twice)",
    config_of({"worker": ["A:1", "a:01"]}): "a:01 is listed twice, also as A:1)",
    config_of({"worker": ["localhost:1", "[::1]:1"]}): "[::1]:1 is listed twice, also as localhost:1)",
    config_of({"chief": ["a:1"], "worker": ["a:1", "b:1"]}): "a:1 is listed twice)",
    config_of({"worker": TWO}, index=0.5): "index 0.5 is not a whole number",
    config_of({"worker": TWO}, index=True): "index True is not a whole number",
    config_of({"worker": ["a:70000"]}): "'a:70000' is not host:port",
    config_of({"worker": ["a:b"]}): "'a:b' is not host:port",
    config_of({"worker": [1]}): "no attribute",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_is_no_cluster(monkeypatch, text, tiny_config):
    monkeypatch.setenv("TF_CONFIG", text)
    for strategy in ("auto", "multi_worker"):
        with pytest.raises(InputError) as caught:
            distribution.cluster_of(tiny_config(strategy=strategy))
        assert str(caught.value).startswith("the environment variable TF_CONFIG is not valid (")
        assert WRONG[text] in str(caught.value)
        assert str(caught.value).endswith("or unset it to train with this process alone")
    assert distribution.cluster_of(tiny_config(strategy="one_device")) is None


def test_one_process_agrees_with_itself():
    alone = Workers(tf.distribute.get_strategy())
    assert (alone.count, alone.index, alone.chief) == (1, 0, True)
    assert alone.total(3.0, 1) == [3.0, 1]
    assert alone.from_chief(2.5, None) == [2.5, None]
    with alone.together():
        pass
    with pytest.raises(InputError, match=r"^as it was$"), alone.together():
        raise InputError("as it was")
    # Alone there is nobody to lose: such an error is a defect, and is not hidden.
    with pytest.raises(tf.errors.UnavailableError), alone.watched():
        raise tf.errors.UnavailableError(None, None, "gone")


@pytest.fixture
def second_of_two(monkeypatch):
    """The second of two workers, where the first one always adds what a test says."""

    def make(*of_the_first):
        workers = Workers(tf.distribute.get_strategy(), Cluster(tuple(TWO), 1))
        monkeypatch.setattr(workers, "total", lambda *own: [a + b for a, b in zip(own, of_the_first)])
        return workers

    return make


IN_A_GRAPH = "Graph execution error:\n\nDetected at node x defined at (most recent call last):\n"
FRAME = '  File "a.py", line 3, in f\n\n'
NODE = "\n\t [[{{node x}}]] [Op:__inference_f_3]"


@pytest.mark.parametrize(
    "text",
    [
        "Socket closed\nmore",
        f"{IN_A_GRAPH}<stack traces unavailable>\nSocket closed{NODE}",
        f"{IN_A_GRAPH}{FRAME}{FRAME}Socket closed{NODE}",
        (
            f"{IN_A_GRAPH}{FRAME}2 root error(s) found.\n  (0) UNAVAILABLE:  Socket closed{NODE}\n  (1)"
            f" CANCELLED:  No{NODE}"
        ),
    ],
)
def test_what_another_worker_meets_with(second_of_two, text):
    assert not second_of_two().chief
    assert second_of_two(1, 0, 2.5, 0.0).from_chief(7.0, 8.0) == [2.5, None]
    with second_of_two(0.0).together():
        pass
    with pytest.raises(InputError) as caught, second_of_two(1.0).together():
        pass
    assert (
        str(caught.value)
        == "worker 1 of 2 ends because another one could not go on, which says why; when that is mended,"
        " start all of them again"
    )
    with pytest.raises(InputError) as caught, second_of_two().watched():
        raise tf.errors.UnavailableError(None, None, text)
    assert (
        str(caught.value)
        == "worker 1 of 2 lost another one (UnavailableError: Socket closed); what was saved is kept: start"
        " all of them again with the same command"
    )


def test_no_tpu(tiny_config):
    with pytest.raises(
        InputError, match=r"^--strategy=tpu: TensorFlow finds no TPU here .*; leave --strategy out"
    ):
        distribution.set_up(tiny_config(strategy="tpu"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to start: expected the flags of scripts/train.py after two dashes"),
        (
            ["--workers=0"],
            "--workers=0 is out of range; expected a whole number of at least 1 and of at most 64",
        ),
        (
            ["--worker=2"],
            "--worker is unknown; the flags of scripts/train.py follow two dashes: launch",
        ),
        (
            ["--run_dir=x"],
            "--run_dir is unknown; the flags of scripts/train.py follow two dashes: launch",
        ),
    ],
)
def test_the_launcher_refuses(script, words, message):
    ended = script("launch_local.py", *words)
    assert ended.code == 1
    assert ended.err.startswith(f"error: {message}")


def test_the_launcher_shares_gpus(script, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    ended = script("launch_local.py", "--workers=2", "--", "--run_dir=run")
    assert (
        ended.err == "error: --workers=2: this machine shows 1 GPUs; take at most that many workers, or set"
        " CUDA_VISIBLE_DEVICES= to use the CPU\n"
    )


def test_what_all_workers_have_in_common(second_of_two, monkeypatch):
    chief = Workers(tf.distribute.get_strategy())
    given = []
    monkeypatch.setattr(chief, "from_chief", lambda *numbers: given.extend(numbers) or list(numbers))
    assert chief.check_same(b"these settings")
    present = [1.0] * len(given)
    assert len(given) == 5 and all(number < 2**53 for number in given)
    assert second_of_two(*present, *given).check_same(b"these settings")
    assert not second_of_two(*present, *given).check_same(b"those settings")


def test_ctrl_c_reaches_a_worker_that_waits():
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        own = lambda number, frame: None  # noqa: E731
        signal.signal(signal.SIGINT, own)
        with interruptible():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_agreeing_lets_ctrl_c_through(monkeypatch):
    """While a worker waits for the others it is in TensorFlow's code."""
    seen = []

    class Waiting(Workers):
        def _reduce(self, values):
            seen.append(signal.getsignal(signal.SIGINT))
            return values

    workers = Waiting(tf.distribute.OneDeviceStrategy("/cpu:0"), Cluster(tuple(TWO), 0))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        workers.total(1.0)
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_DFL]


WORKER = """
import json, os, signal, sys, time
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
if index: print("hello", file=sys.stderr, flush=True)
else: print("ready", flush=True)
def stopped(number, frame):
    open(f"got{index}", "w").write(signal.Signals(number).name)
    sys.exit(128 + number)
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1): signal.signal(number, stopped)
open(f"pid{index}", "w").write(str(os.getpid()))
time.sleep(int(sys.argv[1]))
sys.exit(index and int(sys.argv[2]))
"""
LAUNCHER = """
import sys
from lm_keras.training import launcher
sys.exit(launcher.launch([sys.executable, *sys.argv[1:]], 2))
"""


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """A function that starts a launcher with two workers that do nothing, and waits until they are there."""
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def start(seconds=60, code=0):
        command = [sys.executable, "-c", LAUNCHER, "worker.py", str(seconds), str(code)]
        process = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def pids_of(folder):
    """The processes of both workers, as soon as they can be stopped."""
    found = []
    for index in (0, 1):
        path, until = folder / f"pid{index}", time.monotonic() + 30
        while not (path.exists() and path.read_text()) and time.monotonic() < until:
            time.sleep(0.01)
        found.append(int(path.read_text()))
    return found


@pytest.mark.parametrize(
    ("number", "received"),
    [
        (signal.SIGINT, "SIGINT"),
        (signal.SIGTERM, "SIGTERM"),
        (signal.SIGHUP, "SIGHUP"),
        (signal.SIGUSR1, "SIGUSR1"),
    ],
)
def test_the_launcher_passes_signals_on(launched, tmp_path, number, received):
    process = launched()
    pids_of(tmp_path)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + MEANING[number]
    assert err == "worker 1: hello\n"
    assert {(tmp_path / f"got{index}").read_text() for index in (0, 1)} == {received}


def test_a_killed_launcher_leaves_no_worker_behind(launched, tmp_path):
    process = launched()
    pids = pids_of(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 30
    while time.monotonic() < until and not all((tmp_path / f"got{index}").exists() for index in (0, 1)):
        time.sleep(0.01)
    assert {(tmp_path / f"got{index}").read_text() for index in (0, 1)} == {"SIGTERM"}
    assert pids


def test_the_launcher_tells_which_worker_was_killed(launched, tmp_path):
    process = launched(seconds=1)
    os.kill(pids_of(tmp_path)[1], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "worker 1 was ended by SIGKILL; the same command goes on from what was saved\n" in err


@pytest.mark.parametrize("code", [0, 7])
def test_the_launcher_ends_as_its_workers_do(launched, code):
    process = launched(seconds=0, code=code)
    process.communicate(timeout=30)
    assert process.returncode == code


@pytest.mark.parametrize(("gpus", "shares"), [("0,1", ["0", "1"]), ("0,1,2", ["0", "1"]), ("", [None, None])])
def test_gpus_are_shared_out_evenly(monkeypatch, gpus, shares):
    """As many for each; one that is left over stays unused, because all workers need the same number."""
    from lm_keras.training import launcher

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    given = []

    class Started:
        def __init__(self, command, environment, index):
            given.append(environment["CUDA_VISIBLE_DEVICES"] or None)

        def code(self):
            return 0

    monkeypatch.setattr(launcher, "Worker", Started)
    assert launcher.launch(["x"], 2) == 0
    assert given == shares
