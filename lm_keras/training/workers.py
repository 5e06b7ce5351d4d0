"""The processes of a run: who they are, and how they stay together.

Several processes train as one, each with the same command and with its place in the environment variable
`TF_CONFIG`. All carry out the same steps; worker 0, the chief, is the only one that writes and shows
anything.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from lm_keras.errors import InputError, reason_of

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
    tf.errors.UnknownError,
    tf.errors.InvalidArgumentError,
)
"""What TensorFlow raises in the workers that remain when one is gone."""


LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of the machine on which a process runs."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Where the workers are.

    Attributes:
        addresses: `host:port` of each worker; the first is the chief.
        index: which of them this process is.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def me(self) -> str:
        """Return this worker's name, for people."""
        return f"worker {self.index} of {len(self.addresses)} at {self.addresses[self.index]}"

    @classmethod
    def of_environment(cls) -> "Cluster | None":
        """Return the cluster that `TF_CONFIG` describes, or None if it is not set or empty.

        Raises:
            InputError: it is not what TensorFlow documents, lists an address twice, or has parameter servers
                or an evaluator.
        """
        text = os.environ.get("TF_CONFIG", "").strip()
        if text in ("", "{}"):
            return None
        try:
            content = json.loads(text)
            jobs, task = dict(content["cluster"]), content["task"]
            kind, place = task["type"], task["index"]
            if isinstance(place, bool | float):
                raise ValueError(f"index {place} is not a whole number")
            place = int(place)
            lists = [list(jobs.pop(name, [])) for name in ("chief", "worker")]
            if jobs or kind not in ("chief", "worker") or len(lists[0]) > 1:
                raise ValueError("only the tasks chief (one) and worker are known")
            addresses = [*lists[0], *lists[1]]
            taken = {}
            for address in addresses:
                host, port = host_and_port(address)
                key = ("localhost" if host in LOOPBACK else host.lower(), port)
                if key in taken:
                    also = "" if taken[key] == address else f", also as {taken[key]}"
                    raise ValueError(f"{address} is listed twice{also}")
                taken[key] = address
            if not 0 <= place < len(lists[kind == "worker"]):
                raise ValueError(f"{kind} {place} is missing")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(
                f"the environment variable TF_CONFIG is not valid ({reason}); expected "
                '{"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", "index": 0}}, '
                "or unset it to train with this process alone"
            ) from None
        return cls(tuple(addresses), place + (len(lists[0]) if kind == "worker" else 0))


def host_and_port(address: str) -> tuple[str, int]:
    """Return the two parts of an address.

    Raises:
        ValueError: it has not these two parts.

    Example:
        >>> host_and_port("[::1]:2222")
        ('::1', 2222)
    """
    host, _, port = address.rpartition(":")
    if (
        re.search(r"[\s/]", host)
        or not host
        or not re.fullmatch("[0-9]{1,5}", port)
        or not 0 < int(port) < 2**16
    ):
        raise ValueError(f"{address!r} is not host:port")
    return host.removeprefix("[").removesuffix("]"), int(port)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C end this process at once while it waits in TensorFlow's code, where Python would not see it.

    Where somebody else handles the signal nothing is changed.
    """
    waits = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if waits:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)


class Workers:
    """The processes of this run, seen from one of them.

    Args:
        strategy: the strategy that joins them.
        cluster: where they are; None for this process alone.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None = None):
        self.count = len(cluster.addresses) if cluster else 1
        self.index = cluster.index if cluster else 0
        self._strategy = strategy
        self._reduced = tf.function(self._reduce, autograph=False)

    @property
    def chief(self) -> bool:
        """Tell whether this process writes and shows what the run does."""
        return self.index == 0

    def total(self, *values: float) -> list[float]:
        """Return the sum of each value over all workers; every worker has to call this."""
        if self.count == 1:
            return list(values)
        local = len(self._strategy.extended.worker_devices)

        def of_replica(context: tf.distribute.ReplicaContext) -> tf.Tensor:
            once = context.replica_id_in_sync_group % local == 0
            return tf.constant(values if once else [0.0] * len(values), tf.float64)

        shares = self._strategy.experimental_distribute_values_from_function(of_replica)
        with interruptible():
            return self._reduced(shares).numpy().tolist()

    def _reduce(self, values: Any) -> tf.Tensor:
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    def from_chief(self, *values: float | None) -> list[float | None]:
        """Return the values that the chief gave; every worker has to call this, with as many."""
        present = [value is not None and self.chief for value in values]
        sums = self.total(*present, *(value if here else 0.0 for here, value in zip(present, values)))
        return [value if here else None for here, value in zip(sums[: len(values)], sums[len(values) :])]

    def scattered(self, values: Any) -> Any:
        """Return the rows of the global batch as the compiled step takes them: each replica has its own.

        Args:
            values: a structure of variables or tensors [B, ...].
        """
        strategy = self._strategy

        def part(value: tf.Variable | tf.Tensor) -> Any:
            rows = value.shape[0] // strategy.num_replicas_in_sync

            def of_replica(context: tf.distribute.ReplicaContext) -> tf.Tensor:
                first = context.replica_id_in_sync_group * rows
                return tf.identity(value[first : first + rows])

            return strategy.experimental_distribute_values_from_function(of_replica)

        parts = tf.nest.map_structure(part, values)
        # With one replica `run` returns plain tensors. Passing through it gives the type that it returns.
        return strategy.run(lambda state: state, args=(parts,))

    def gathered(self, value: Any) -> tf.Tensor:
        """Return the rows of all replicas, of all workers; every worker has to call this."""
        if self.count > 1:
            return self._strategy.gather(value, axis=0)
        return tf.concat(self._strategy.experimental_local_results(value), axis=0)

    def meet(self) -> None:
        """Wait for all workers; every worker has to call this."""
        self.total(0.0)

    def check_same(self, what: bytes) -> bool:
        """Tell whether this worker and the chief gave the same; every worker has to call this."""
        digest = hashlib.sha256(what).digest()
        numbers = [float(int.from_bytes(digest[place : place + 6])) for place in range(0, 30, 6)]
        return self.from_chief(*numbers) == numbers

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end for all workers; what happens in here must succeed in each of them.

        Raises:
            InputError: another worker met with one.
        """
        try:
            yield
        except InputError:
            self.total(1.0)
            raise
        if self.total(0.0)[0]:
            raise InputError(
                f"worker {self.index} of {self.count} ends because another one could not go on, which says"
                " why; when that is mended, start all of them again"
            )

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turn the loss of another worker into an InputError."""
        try:
            yield
        except LOST as error:
            if self.count == 1:
                raise
            reason = reason_of(error)
            raise InputError(
                f"worker {self.index} of {self.count} lost another one ({type(error).__name__}: {reason});"
                " what was saved is kept: start all of them again with the same command"
            ) from None
