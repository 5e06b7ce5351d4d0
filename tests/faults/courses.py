"""What takes several commands: numbers that go wrong, signals, other workers, files of others"""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from faults import ENGLISH, ROOT, SMALL, Ended, Result
from faults.kills import GONE_SECONDS, children, last_step

TRAIN = (
    "train.py",
    *SMALL,
    "--corpus=text:a.txt",
    "--run_dir=run",
    "--steps=12",
    "--checkpoint_every=4",
    "--log_every=1",
    "--batch_size=4",
)
AGAIN = "start all of them again with the same command"
DONE = ["next:", "  "]


@dataclasses.dataclass(frozen=True)
class Command:
    """A script that is carried out, and how it has to end.

    Attributes:
        words: the script and its flags.
        says: a pattern of the line that the user reads: with exit code 1 the last line, else any.
        code: the exit code, 128 and the number of the signal for a process that one ended.
        env: more of its environment.
        meanwhile: called with the process and the folder while it runs.
    """

    words: tuple[str, ...]
    says: str
    code: int = 0
    env: tuple[tuple[str, str], ...] = ()
    meanwhile: Callable[[subprocess.Popen, Path], object] = lambda process, folder: None

    def execute(self, folder: Path) -> tuple[Ended, str]:
        """Return how it ended, and a problem or an empty string."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1", **dict(self.env)}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / self.words[0]), *self.words[1:]], cwd=folder,
            env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.meanwhile(process, folder)
        out, err = process.communicate(timeout=600)
        code = (
            process.returncode if process.returncode >= 0 else 128 - process.returncode
        )  # As shells say it.
        lines = err.strip().split("\n")
        said = any(re.search(self.says, line) for line in (lines[-1:] if self.code == 1 else lines))
        problems = [f"exit code {code} where {self.code} was expected"] * (code != self.code)
        problems += ["a traceback"] * ("Traceback" in err) + [
            f"{lines[-1]!r} where {self.says!r} was expected"
        ] * (not said)
        return Ended(code, out, err), "; ".join(problems)


@dataclasses.dataclass(frozen=True)
class Course:
    """Commands one after the other in a folder with `a.txt`; the user reads what the first one says.

    Attributes:
        name: what goes wrong, in words; unique.
        how: how it is made, in words.
        commands: what is carried out; a function is called with the folder in between.
    """

    name: str
    how: str
    commands: tuple[Command | Callable[[Path], object], ...]
    times: int = 1

    slow = True
    before: tuple[str, ...] = ()
    at_once = 1

    def execute(self) -> Result:
        """Carry out all of it, and look at what came of it."""
        first, problems = None, []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "a.txt").write_text(ENGLISH)
            for command in self.commands:
                if not isinstance(command, Command):
                    problems += filter(None, [command(folder)])
                    continue
                ended, problem = command.execute(folder)
                problems += [problem] if problem else []
                if first is None and command is not MODEL:
                    first = ended
        lines = [line for line in first.err.strip().split("\n") if not line.startswith(tuple(DONE))]
        return Result(first.code, lines[-1].removeprefix("error: ").replace(name, "FOLDER"), problems)


def after_a_step(*numbers: signal.Signals) -> Callable[[subprocess.Popen, Path], None]:
    """Return a function that waits for a step of a run and sends signals one after the other."""

    def send(process: subprocess.Popen, folder: Path) -> None:
        _wait_for_a_step(process, folder)
        for number in numbers:
            process.send_signal(number)
            time.sleep(1)

    return send


def _wait_for_a_step(process: subprocess.Popen, folder: Path) -> None:
    before, until = last_step(folder / "run"), time.monotonic() + 120
    while process.poll() is None and last_step(folder / "run") in (None, before) and time.monotonic() < until:
        time.sleep(0.01)


def stop_reading(process: subprocess.Popen, folder: Path) -> None:
    """Close the other end of its standard error after a step."""
    _wait_for_a_step(process, folder)
    process.stderr.close()


def cluster(*ports: int) -> tuple[tuple[str, str], ...]:
    """Return the environment of the first worker of those at these ports of this machine."""
    addresses = [f"127.0.0.1:{port}" for port in ports]
    task = {"type": "worker", "index": 0}
    return (("TF_CONFIG", json.dumps({"cluster": {"worker": addresses}, "task": task})),)


def kill_the_launcher(process: subprocess.Popen, folder: Path) -> None:
    """Kill it after a step, and wait until its workers are gone."""
    _wait_for_a_step(process, folder)
    workers = children(process.pid)
    process.kill()
    until = time.monotonic() + GONE_SECONDS
    while any(Path(f"/proc/{pid}/stat").exists() and " Z " not in _stat(pid) for pid in workers):
        if time.monotonic() > until:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            raise TimeoutError("the workers are still there")
        time.sleep(0.05)


def _stat(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text()
    return " Z "


def forged(name: str, content: bytes | dict) -> Callable[[Path], None]:
    """Return a function that puts other content into a file of the run, or changes fields of its JSON."""

    def forge(folder: Path) -> None:
        path = folder / "run" / name
        if isinstance(content, dict):
            path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
        else:
            path.write_bytes(content)

    return forge


def piped(name: str) -> Callable[[Path], None]:
    """Return a function that puts a named pipe, to which nobody writes, in the place of a file of the run."""

    def pipe(folder: Path) -> None:
        (folder / "run" / name).unlink()
        os.mkfifo(folder / "run" / name)

    return pipe


def only_finite(folder: Path) -> str:
    """Return a problem if a checkpoint of the run holds a number that is not finite."""
    import numpy as np

    from faults.runs import comparison

    floats = {n: t for n, t in comparison().tensors_of(folder / "run").items() if t.dtype.kind == "f"}
    bad = [name for name, tensor in floats.items() if not np.isfinite(tensor).all()]
    return f"{bad[0]} is not finite" if bad else ""


def two(*more: str) -> tuple[str, ...]:
    """Return the words that start the run with two workers."""
    return ("launch_local.py", "--workers=2", "--", *TRAIN[1:], *more)


WILD = (
    "--embedding_dim=16",
    "--hidden_units=32",
    "--sequence_length=16",
    "--batch_size=16",
    "--optimizer=sgd",
    "--learning_rate=1e37",
    "--clip_norm=0",
    "--checkpoint_every=1",
)
LONG = ("--steps=2000", "--log_every=1", "--checkpoint_every=200")
MODEL = Command(TRAIN, "next:")
SAMPLE = ("sample.py", "--run_dir=run", "--prompt=The")

FAULTS = [
    Course("a loss that is not finite", "SGD with a learning rate of 1e37, and a checkpoint at each "
        "step", (
        Command((*TRAIN, *WILD), r"error: the loss or its gradient is not finite at step \d+, which "
            r"was left out; the checkpoints before are kept", 1), only_finite,
    )),
    Course("the same with --on_nonfinite=skip", "the same", (
        Command((*TRAIN, *WILD, "--on_nonfinite=skip"), r"^steps left out: \d+ nonfinite"), only_finite,
    )),
    Course("a loss that jumps", "`--spike_sigma=0.3` on an untroubled run", (
        Command((*TRAIN, "--spike_sigma=0.3", "--spike_window=10"), r"^steps left out: \d+ spiked"),
        only_finite,
    )),
    Course("Ctrl-C twice", "`SIGINT` twice after a step, then the same command until it is done", (
        Command((*TRAIN, *LONG), "stopping after this step; once more ends at once, without saving", 130,
            meanwhile=after_a_step(signal.SIGINT, signal.SIGINT)),
        Command((*TRAIN, *LONG), "^next:"),
    )),
    Course("Ctrl-C once", "`SIGINT` after a step, then the same command", (
        Command((*TRAIN, *LONG), r"^stopped at step [\d,]+, everything is saved; the same command goes on "
            r"from there", 130, meanwhile=after_a_step(signal.SIGINT)),
        Command((*TRAIN, *LONG), r"^going on from step [\d,]+ of 2,000"),
    )),
    Course("a terminal that is closed", "`SIGHUP` after a step, then the same command", (
        Command((*TRAIN, *LONG), r"^stopped at step [\d,]+, everything is saved; the same command goes on "
            r"from there", 129, meanwhile=after_a_step(signal.SIGHUP)),
        Command((*TRAIN, *LONG), r"^going on from step [\d,]+ of 2,000"),
    )),
    Course("a job whose time is nearly over", "`SIGUSR1` after a step, as by `--signal=USR1@90` of SLURM, "
        "then the same command", (
        Command((*TRAIN, *LONG), r"^stopped at step [\d,]+, everything is saved; the same command goes on "
            r"from there", 143, meanwhile=after_a_step(signal.SIGUSR1)),
        Command((*TRAIN, *LONG), r"^going on from step [\d,]+ of 2,000"),
    )),
    Course("a reader of the progress that is gone", "standard error is closed at its other end after a step; "
        "the run goes on, and the same command shows what it reached", (
        Command((*TRAIN, *LONG), "^$", meanwhile=stop_reading),
        Command((*TRAIN, *LONG), "^the run in run is finished; this is what it reached"),
    )),
    Course("a TPU that is not there", "`--strategy=tpu`", (
        Command((*TRAIN, "--strategy=tpu"), r"^error: --strategy=tpu: TensorFlow finds no TPU here", 1),
    )),
    Course("workers without a cluster", "`--strategy=multi_worker` without `TF_CONFIG`", (
        Command((*TRAIN, "--strategy=multi_worker"), "^error: --strategy=multi_worker needs the environment "
            "variable TF_CONFIG", 1),
    )),
    Course("a cluster that is none", "`TF_CONFIG={`", (
        Command(TRAIN, r"^error: the environment variable TF_CONFIG is not valid \(", 1, env=(("TF_CONFIG",
            "{"),)),
    )),
    Course("a cluster with an address twice", "`TF_CONFIG` with two times the same address", (
        Command(TRAIN, r"^error: the environment variable TF_CONFIG is not valid \(127.0.0.1:23456 is listed "
            r"twice\)", 1, env=cluster(23456, 23456)),
    )),
    Course("a worker that is alone and asked to stop", "`SIGTERM` to the first of two workers while it waits "
        "for the other one", (
        Command(TRAIN, r"^worker 0 of 2 \(127.0.0.1:23456\): waiting for all to start", 143, cluster(23456,
            23457), lambda process, folder: (time.sleep(15), process.terminate())),
    )),
    Course("a killed launcher", "`kill -9` after a step of its two workers, which have to be gone within a "
        "minute; then the same command", (
        Command(two(*LONG), "", 137, meanwhile=kill_the_launcher),
        Command(two(*LONG), r"^going on from step [\d,]+ of 2,000"),
    )),
    Course("another number of replicas and workers", "stopped with one replica, then two, then two workers", (
        Command((*TRAIN, *LONG), "^stopped at step", 143, meanwhile=after_a_step(signal.SIGTERM)),
        Command((*TRAIN, *LONG, "--replicas=2"), "^the run goes on with .*; before it had ", 143,
            meanwhile=after_a_step(signal.SIGTERM)),
        Command(two(*LONG), "^the run goes on with .*; before it had "),
    )),
    Course("a forged tokenizer", "`tokenizer.json` names `os.system`", (
        MODEL, forged("tokenizer/tokenizer.json", {"tokenizer": "os.system"}),
        Command(SAMPLE, "^error: .*unknown tokenizer 'os.system'", 1),
    )),
    Course("forged settings", "`config.json` has a key `../../x`", (
        MODEL, forged("config.json", {"../../x": 1}),
        Command(SAMPLE, r"^error: run/config.json: setting '../../x' is unknown", 1),
    )),
    Course("absurd settings", "`config.json` has 10^12 units", (
        MODEL, forged("config.json", {"hidden_units": 10**12}),
        Command(SAMPLE, "^error: run/config.json: --hidden_units=1000000000000 is out of range", 1),
    )),
    Course("a pickle for a file of a run", "`config.json` is a pickle that runs a command", (
        MODEL, forged("config.json", b"cos\nsystem\n(S'touch owned'\ntR."),
        Command(SAMPLE, "^error: run/config.json cannot be read", 1),
        lambda folder: "the pickle was carried out" if (folder / "owned").exists() else "",
    )),
    Course("a named pipe for a file of a run", "`mkfifo config.json`, to which nobody writes", (
        MODEL, piped("config.json"),
        Command(SAMPLE, r"^error: run/config.json cannot be read \(no regular file\)", 1),
    )),
]  # fmt: skip
