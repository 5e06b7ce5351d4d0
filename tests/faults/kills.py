"""What can end a run before it is done."""

import dataclasses
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faults

TEXT = {"text.txt": "".join(faults.ENGLISH[i:] + faults.ENGLISH[:i] for i in range(0, 900, 28))}

COMMON = [
    "--run_dir=run", "--cache_dir=cache", "--corpus=text:text.txt", "--tokenizer=char", "--embedding_dim=8",
    "--hidden_units=16", "--sequence_length=8", "--batch_size=16", "--dropout=0.2",
    "--dropout_schedule=linear:initial=0,final=1", "--weight_decay=0.1", "--spike_sigma=2",
    "--spike_window=20",
    "--learning_rate_schedule=plateau:factor=0.7,patience=1", "--early_stopping_evals=1000", "--log_every=3",
    "--eval_every=100", "--checkpoint_every=20", "--sample_every=300", "--steps_per_call=5",
]  # fmt: skip
"""Everything that a run can have a memory of, on a network that is traced in little time."""

GONE_SECONDS = 60
"""In which all workers have to be gone after one was killed."""


@dataclasses.dataclass(frozen=True)
class Kills:
    """A run that is ended again and again at random moments, a third of them in the middle of a save.

    Attributes:
        name: what is ended, in words; unique.
        flags: flags after `COMMON`.
        kills: how often at least.
        workers: processes of the run; one of them is ended.
        signals: which one ends it, drawn each time.
        steps: length of the run; with too few ends it is begun anew until there were so many.
        start_seconds: how long a launch takes to its first step, about: one end of four falls into that time
            if nobody waits for others meanwhile.
        start: starts a script with its arguments and in a folder; None for a new interpreter.
    """

    name: str
    flags: tuple[str, ...]
    kills: int = 20
    times: int = 1
    workers: int = 1
    signals: tuple[signal.Signals, ...] = (signal.SIGKILL,)
    steps: int = 3000
    start: Callable[..., Any] | None = None
    slow: bool = True
    before: tuple[str, ...] = ()
    at_once: int = 1
    start_seconds: float = 8.0

    @property
    def how(self) -> str:
        """Return how it is made, in words."""
        names = " or ".join(f"`{number.name}`" for number in self.signals)
        of_which = f" to one of {self.workers} workers" if self.workers > 1 else ""
        return (
            f"{names}{of_which} at random moments, also in the middle of a save; then the same command again"
        )

    def execute(self, whole: Callable[[Path, list[str]], object] | None = None) -> faults.Result:
        """Carry out the run once whole and once in pieces, and compare everything that both came to.

        Args:
            whole: carries out the whole run in a folder by the flags of `scripts/train.py`, with two replicas
                where there are two workers, which is the same to the bit; None for a process like the others.
        """
        from comparison import differing, everything_of

        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            faults.files(TEXT)(folder)
            if whole:
                replicas = [f"--replicas={self.workers}"] if self.workers > 1 else []
                whole(folder, [*self._flags("whole"), *replicas])
            else:
                process = self._process(folder, "whole")
                _, err = process.communicate()
                if process.returncode:
                    return faults.Result(process.returncode, err[-200:], ["the whole run failed"])
            expected, problems, ends, pieces = everything_of(folder / "whole"), [], 0, 0
            while ends < self.kills and not problems:
                pieces += 1
                more, problems = self._in_pieces(folder, f"run{pieces}", self.kills - ends)
                ends += more
                if not problems:
                    differ = differing(everything_of(folder / f"run{pieces}"), expected)
                    problems = [f"{what} differ" for what in sorted(differ)]
        return faults.Result(
            0, f"ended {ends} times, then as the run that was not ended, bit for bit", problems
        )

    def _in_pieces(self, folder: Path, run: str, wanted: int) -> tuple[int, list[str]]:
        """Carry out a run to its end; return how often it was ended, and problems."""
        ends = 0
        while True:
            process = self._process(folder, run)
            number = random.choice(self.signals)
            if ends < wanted:
                ended = self._end(process, folder / run, number)
            else:
                ended = False
            began = time.monotonic()
            _, err = process.communicate()
            if "Traceback" in err:
                return ends, [f"a traceback: {err[-300:]!r}"]
            if process.returncode == 0:
                return ends, []
            if not ended:
                return ends, [f"exit code {process.returncode}: {err[-300:]!r}"]
            ends += 1
            if time.monotonic() - began > GONE_SECONDS:
                return ends, [f"not gone after {GONE_SECONDS} seconds"]
            if problem := self._wrong(process.returncode, err, number):
                return ends, [problem]

    def _wrong(self, code: int, err: str, number: signal.Signals) -> str:
        if number != signal.SIGKILL:
            # Ended while nothing was trained yet, Python's own handlers answer.
            early = "going on from" not in err.split("model:")[-1] and "step" not in err.split("model:")[-1]
            saved = re.search(r"stopped at step [\d,]+, everything is saved", err)
            return (
                "" if code in (128 + number, -number) and (saved or early) else f"code {code}: {err[-300:]!r}"
            )
        if self.workers == 1:
            return "" if code == -number else f"exit code {code}: {err[-300:]!r}"
        if code != 1 or "was ended by SIGKILL" not in err:
            return f"exit code {code}: {err[-300:]!r}"
        # The other one says why it ends: a reason, and not where in TensorFlow's graph that was.
        lost = re.findall(
            r"^error: worker \d of \d lost another one \(\w+Error: (.*)\); what was saved", err, re.M
        )
        good = len(lost) == self.workers - 1 and not any("raph execution" in reason for reason in lost)
        return "" if good else f"it does not say what it lost: {err[-400:]!r}"

    def _flags(self, run: str) -> list[str]:
        return [*COMMON, f"--steps={self.steps}", *self.flags, f"--run_dir={run}"]

    def _process(self, folder: Path, run: str) -> Any:
        launcher = ["launch_local.py", f"--workers={self.workers}", "--"]
        script, *words = [*(launcher if self.workers > 1 else ["train.py"]), *self._flags(run)]
        if self.start:
            return self.start(script, *words, folder=folder)
        environment = {**os.environ, "PYTHONPATH": str(faults.ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
        return subprocess.Popen(
            [sys.executable, str(faults.ROOT / "scripts" / script), *words], cwd=folder, env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _end(self, process: Any, run: Path, number: signal.Signals) -> bool:
        """Send the signal at a random moment: while it starts, after its first step, or in the middle of a
        save.
        """
        if self.workers == 1 and self.signals == (signal.SIGKILL,) and random.random() < 1 / 4:
            time.sleep(random.uniform(0, self.start_seconds))
            process.send_signal(number)
            return process.poll() in (None, -number)
        before = last_step(run)
        while process.poll() is None and last_step(run) in (None, before):
            time.sleep(0.002)
        if random.random() < 1 / 3:
            while process.poll() is None and not any((run / "checkpoints").glob(".unfinished-*")):
                pass
        else:
            time.sleep(random.expovariate(5))
        if process.poll() is not None:
            return False
        if self.workers == 1:
            process.send_signal(number)
        else:
            os.kill(random.choice(children(process.pid)), number)
        return True


@dataclasses.dataclass(frozen=True)
class FastResume:
    """How much longer it takes until the first step when a run goes on than when it begins, in turn."""

    name: str = "a run that goes on late"
    how: str = (
        "seconds from the command to the first step, of a new run and of one stopped after 3,000 steps, in"
        " turn"
    )
    times: int = 1
    repeats: int = 5
    most: float = 2.0
    slow: bool = True
    before: tuple[str, ...] = ()
    at_once: int = 1

    def execute(self, start=None) -> faults.Result:
        """Measure both, and find a problem if the median of the differences is above `most` seconds."""
        command = Kills(
            "", ("--log_every=1", "--eval_every=100000", "--checkpoint_every=100000"), steps=10**6
        )
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            faults.files(TEXT)(folder)
            self._until(command, folder, "late", 3000)
            more = []
            for repeat in range(self.repeats):
                fresh, _ = self._until(command, folder, f"fresh{repeat}", 1)
                late, out = self._until(command, folder, "late", 1)
                if "going on from step" not in out:
                    return faults.Result(0, "", [f"it did not go on: {out[-200:]!r}"])
                more.append(late - fresh)
        line = f"{statistics.median(more):.1f} s more (from {min(more):.1f} to {max(more):.1f})"
        return faults.Result(0, line, [line] if statistics.median(more) > self.most else [])

    def _until(self, command: Kills, folder: Path, run: str, steps: int) -> tuple[float, str]:
        """Carry out so many steps and stop; return how long it took, and what was said."""
        last, began = (last_step(folder / run) or 0) + steps, time.monotonic()
        process = command._process(folder, run)
        while process.poll() is None and (last_step(folder / run) or 0) < last:
            time.sleep(0.01)
        seconds = time.monotonic() - began
        process.send_signal(signal.SIGTERM)
        return seconds, process.communicate()[1]


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def last_step(run: Path) -> int | None:
    try:
        lines = (run / "metrics.jsonl").read_bytes().split(b"\n")
        return json.loads(lines[-2])["step"]
    except (OSError, IndexError, ValueError):
        return None


FAULTS = [
    Kills("a killed LSTM run", ()),
    Kills("a killed run with loss scaling and micro-batches", ("--precision=mixed_float16",
        "--micro_batches=2")),
    Kills("a killed n-gram run on two replicas", (
        "--model=ngram", "--batching=stream", "--token_noise=0.2",
        "--token_noise_schedule=linear:initial=0,final=1",
        "--replicas=2",
    )),
    Kills("a killed worker of two", ("--state_reset=0.05", "--token_noise=0.1", "--precision=mixed_float16"),
        workers=2),
    Kills("a killed worker of two, n-gram by SGD with micro-batches", (
        "--model=ngram", "--batching=window", "--optimizer=sgd", "--learning_rate=0.5", "--micro_batches=2",
    ), workers=2, kills=3),
    Kills("a run that is asked to stop", (), signals=(signal.SIGINT, signal.SIGTERM), kills=10),
    Kills("a worker of two that is asked to stop", ("--precision=mixed_bfloat16",), signals=(signal.SIGINT,
        signal.SIGTERM), kills=6, workers=2),
    Kills("a killed GPT run with separate documents", (
        "--model=gpt", "--num_heads=2", "--positions=rotary", "--separate_documents", "--micro_batches=2",
    )),
    FastResume(),
]  # fmt: skip
