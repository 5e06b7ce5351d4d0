"""Several workers of one run on this machine, each a process; nothing here imports TensorFlow."""

import contextlib
import ctypes
import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import IO

from lm_keras.errors import InputError
from lm_keras.training.signals import MEANING, caught

WORKER = re.compile(r"(error: )?worker ")
"""How lines begin that say themselves whose they are."""

GRACE_SECONDS = 60
"""How long the other workers may take to end after one has."""


def launch(command: list[str], count: int) -> int:
    """Start workers and wait until all have ended.

    Args:
        command: what each of them carries out, with its own `TF_CONFIG`.
        count: how many.

    Returns:
        The exit code of the first that failed, else 0.

    Raises:
        InputError: there are GPUs, but fewer than workers.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    gpus = visible_gpus()
    each = len(gpus) // count
    if gpus and not each:
        raise InputError(
            f"--workers={count}: this machine shows {len(gpus)} GPUs; take at most that many workers, or "
            "set CUDA_VISIBLE_DEVICES= to use the CPU"
        )
    workers: list[Worker] = []
    with passed_on(workers) as sent:
        for index in range(count):
            environment = {**os.environ, "TF_CONFIG": task(addresses, index)}
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index * each : (index + 1) * each])
            workers.append(Worker(command, environment, index))
            for number in sent:  # Came while they were being started.
                workers[-1].send(number)
        return wait(workers, sent)


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def visible_gpus() -> list[str]:
    """Return the GPUs that TensorFlow would see, as `CUDA_VISIBLE_DEVICES` names them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(glob.glob("/dev/nvidia[0-9]*")))]


def task(addresses: list[str], index: int) -> str:
    """Return the `TF_CONFIG` of one worker."""
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


class Worker:
    """A process in a session of its own; a key at the terminal reaches it through this process alone.

    The chief writes to where this process writes; what others say comes with their number in front.

    Args:
        command: what it carries out.
        environment: its environment variables.
        index: its number; the chief has 0.
        log: an open file that it writes everything to instead.
    """

    def __init__(self, command: list[str], environment: dict[str, str], index: int, log: IO | None = None):
        own = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE} if index else {}
        if log:
            own = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        self.index, self.ended = index, 0.0
        self.process = subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=_end_with_the_parent, **own
        )
        self._repeating = threading.Thread(target=self._repeat, daemon=True)
        self._repeating.start()

    def _repeat(self) -> None:
        for line in self.process.stderr or ():
            text = line.decode(errors="replace").rstrip()
            if text:
                sys.stderr.write(f"{'' if WORKER.match(text) else f'worker {self.index}: '}{text}\n")

    def send(self, number: int) -> None:
        """Send it a signal if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def code(self) -> int | None:
        """Return its exit code, or None while it runs."""
        code = self.process.poll()
        if code is not None and not self.ended:
            self.ended = time.monotonic()
            self._repeating.join(1.0)
        return code


def _end_with_the_parent() -> None:
    """Ask Linux to end this process when the one that started it is gone, even if that was killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def passed_on(workers: list[Worker]) -> Iterator[list[int]]:
    """Send the signals that ask this process to stop on to all workers, and leave none behind.

    Yields:
        As what the signals count that were sent on so far.
    """
    sent: list[int] = []

    def send(number: int, frame: FrameType | None) -> None:
        sent.append(MEANING[number])
        for worker in workers:
            worker.send(number)

    before = {number: signal.signal(number, send) for number in caught()}
    try:
        yield sent
    finally:
        for worker in workers:
            if worker.code() is None:
                worker.process.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(workers: list[Worker], sent: list[int]) -> int:
    """Wait for all workers and return the exit code of the first that failed, else 0."""
    while None in {worker.code() for worker in workers}:
        failed = [worker.ended for worker in workers if worker.code()]
        if failed and time.monotonic() - min(failed) > GRACE_SECONDS:
            break  # The caller ends what is left.
        time.sleep(0.05)
    # Those that a signal ended come first: the others only lost them.
    failed = sorted(
        (worker for worker in workers if worker.code()), key=lambda one: (one.code() > 0, one.ended)
    )
    if not failed:
        return 0
    if sent:
        return 128 + sent[0]
    code = failed[0].code()
    if code < 0:
        name = signal.Signals(-code).name
        sys.stderr.write(
            f"worker {failed[0].index} was ended by {name}; the same command goes on from what was saved\n"
        )
        return 1
    return code
