"""Several workers of one run on this machine, each a process; nothing here imports TensorFlow."""

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from lm_keras.errors import InputError

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
    if 0 < len(gpus) < count:
        raise InputError(
            f"--workers={count}: this machine shows {len(gpus)} GPUs; take at most that many workers, or "
            "set CUDA_VISIBLE_DEVICES= to use the CPU"
        )
    workers: list[subprocess.Popen] = []
    with passed_on(workers):
        for index in range(count):
            environment = {**os.environ, "TF_CONFIG": task(addresses, index)}
            if gpus:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index::count])
            workers.append(start(command, environment, index))
        return wait(workers)


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


def start(command: list[str], environment: dict[str, str], index: int) -> subprocess.Popen:
    """Start a worker in a session of its own; a key at the terminal reaches it through this process alone.

    The chief writes to where this process writes; what others say comes with their number in front.
    """
    if index == 0:
        return subprocess.Popen(command, env=environment, start_new_session=True)
    worker = subprocess.Popen(
        command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
    )

    def repeat() -> None:
        for line in worker.stderr:
            text = line.decode(errors="replace").rstrip()
            sys.stderr.write(f"{'' if text.startswith('worker ') else f'worker {index}: '}{text}\n")

    threading.Thread(target=repeat, daemon=True).start()
    return worker


@contextlib.contextmanager
def passed_on(workers: list[subprocess.Popen]):
    """Send SIGINT and SIGTERM on to all workers, and leave none behind."""

    def send(number, frame):
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(number)

    before = {number: signal.signal(number, send) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
        for number, handler in before.items():
            signal.signal(number, handler)


def wait(workers: list[subprocess.Popen]) -> int:
    """Wait for all workers and return the exit code of the first that failed, else 0."""
    first = None
    ended = 0.0
    while any(worker.poll() is None for worker in workers):
        if first is None:
            first = next((worker for worker in workers if worker.poll() not in (None, 0)), None)
            ended = time.monotonic()
        elif time.monotonic() - ended > GRACE_SECONDS:
            break  # The caller ends what is left.
        time.sleep(0.1)
    first = first or next((worker for worker in workers if worker.poll() not in (None, 0)), None)
    if first is None:
        return 0
    if first.returncode < 0:
        number = workers.index(first)
        name = signal.Signals(-first.returncode).name
        print(
            f"worker {number} was ended by {name}; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 1
    return first.returncode
