"""How a worker waits until all others have started: it says for whom, compares with them who is who, and ends
at once when it is asked to.

TensorFlow waits for the others, too, but in code that Python does not reach: no line could be said meanwhile,
and it puts a handler of its own for SIGTERM there, with which nothing happens. So all meet here first, at the
ports that TensorFlow takes afterwards.
"""

import contextlib
import errno
import json
import signal
import socket
import sys
import threading
import time
from typing import Self

from lm_keras.errors import InputError
from lm_keras.training.workers import Cluster, host_and_port, interruptible

MEETING_SECONDS = 600
"""How long a worker waits until all others have started."""

SAYING_SECONDS = 20
"""How long it waits until it says again for whom."""

ANSWER_SECONDS = 2
"""How long another machine may take to answer."""

LINGERING_SECONDS = 1
"""How long a worker that has seen all others may wait to be seen by them; after that TensorFlow answers in
its place.
"""

MOST_NAMED = 5
"""Workers that a line names at most."""


def meet(cluster: Cluster) -> None:
    """Wait until every other worker has started.

    Raises:
        InputError: this worker's port is taken, another worker has another `TF_CONFIG`, or not all came in
            time.
    """
    said = began = time.monotonic()
    with _Desk(cluster) as desk:
        peers = [_Peer(desk, index) for index in range(len(cluster.addresses)) if index != cluster.index]
        for peer in peers:
            peer.start()
        while missing := [peer for peer in peers if not peer.seen]:
            time.sleep(0.02)
            desk.check()
            now = time.monotonic()
            if now - began > MEETING_SECONDS:
                raise InputError(
                    f"{cluster.me} waited {MEETING_SECONDS // 60} minutes in vain for {_named(missing)};"
                    " start all of them within that time, or look why they ended"
                )
            if now - said > SAYING_SECONDS:
                said = now
                sys.stderr.write(f"{cluster.me} still waits for {_named(missing)}\n")
                sys.stderr.flush()
        complete = time.monotonic()
        while len(desk.asked) < len(peers) and time.monotonic() - complete < LINGERING_SECONDS:
            time.sleep(0.02)
        desk.check()


def _named(peers: list["_Peer"]) -> str:
    more = f" and {len(peers) - MOST_NAMED} more" if len(peers) > MOST_NAMED else ""
    return ", ".join(map(str, peers[:MOST_NAMED])) + more


class _Desk:
    """Listens at this worker's port and tells those who ask which worker it is.

    Attributes:
        cluster: where the workers are.
        asked: the workers that know that this one is here.
        open: whether it still listens.
    """

    def __init__(self, cluster: Cluster):
        self.cluster, self.asked, self.open, self._contradiction = cluster, set(), True, ""
        self.hello = json.dumps({"worker": cluster.index, "of": len(cluster.addresses)}).encode() + b"\n"
        _, port = host_and_port(cluster.addresses[cluster.index])
        try:
            self._socket = _listening(port)
        except OSError as error:
            taken = "another process uses it, perhaps this very worker, started twice"
            reason = taken if error.errno == errno.EADDRINUSE else error.strerror
            raise InputError(
                f"{cluster.me} cannot listen at port {port} ({reason}); end that process, or give this worker"
                " another port in the TF_CONFIG of all workers"
            ) from None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.open = False
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # Ends `accept`, which would keep the port.
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while self.open:
            with contextlib.suppress(OSError):
                guest, _ = self._socket.accept()
                threading.Thread(target=self._greet, args=(guest,), daemon=True).start()

    def _greet(self, guest: socket.socket) -> None:
        with guest, contextlib.suppress(OSError):
            guest.settimeout(ANSWER_SECONDS)
            guest.sendall(self.hello)
            other = _hello_of(guest)
            if other and (other[1] != len(self.cluster.addresses) or other[0] == self.cluster.index):
                self.contradict(f"was asked by worker {other[0]} of {other[1]}")
            elif other:
                self.asked.add(other[0])

    def contradict(self, what: str) -> None:
        """Remember that another worker has another `TF_CONFIG`."""
        self._contradiction = (
            f"{self.cluster.me} {what}; TF_CONFIG has to list the same addresses in the same order for all"
            " workers, with another index for each"
        )

    def check(self) -> None:
        """Raise InputError if another worker has another `TF_CONFIG`."""
        if self._contradiction:
            raise InputError(self._contradiction)


class _Peer(threading.Thread):
    """Asks at another worker's port until somebody is there.

    Attributes:
        seen: whether the other worker has started.
    """

    def __init__(self, desk: _Desk, index: int):
        super().__init__(daemon=True)
        self._desk, self._index, self._address = desk, index, desk.cluster.addresses[index]
        self.seen, self._reason = False, "not asked yet"

    def __str__(self) -> str:
        return f"worker {self._index} at {self._address} ({self._reason})"

    def run(self) -> None:
        while self._desk.open and not self.seen:
            try:
                with socket.create_connection(host_and_port(self._address), ANSWER_SECONDS) as found:
                    # A port of this machine that nobody has may be connected to itself.
                    self.seen = found.getsockname() != found.getpeername() and self._is_the_one(found)
            except socket.gaierror:
                self._reason = "this name is not known"
            except TimeoutError:
                self._reason = "no answer"
            except OSError as error:
                self._reason = error.strerror or str(error)
            if not self.seen:
                time.sleep(0.1)

    def _is_the_one(self, found: socket.socket) -> bool:
        other = _hello_of(found)
        if other is None:
            return True  # TensorFlow answers there already.
        with contextlib.suppress(OSError):
            found.sendall(self._desk.hello)
        if good := other == (self._index, len(self._desk.cluster.addresses)):
            return good
        self._desk.contradict(
            f"found worker {other[0]} of {other[1]} at {self._address}, where its own TF_CONFIG has worker"
            f" {self._index} of {len(self._desk.cluster.addresses)}"
        )
        return False


def _listening(port: int) -> socket.socket:
    """Return a socket that listens at a port of all networks."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    return socket.create_server(("", port), backlog=128)


def _hello_of(other: socket.socket) -> tuple[int, int] | None:
    """Return who is at the other end, and of how many workers; None if that is not one that waits here."""
    text = b""
    try:
        while not text.endswith(b"\n") and len(text) < 100 and (part := other.recv(100)):
            text += part
        said = json.loads(text)
        return int(said["worker"]), int(said["of"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


@contextlib.contextmanager
def joining():
    """Let TensorFlow join the workers in here; all are there, so that this takes no time unless one ends just
    now.

    Should one end just now, the signals of a terminal end this process, and so does an alarm after
    `MEETING_SECONDS`. What TensorFlow does with SIGTERM is undone afterwards. Outside of the main thread
    nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(MEETING_SECONDS)
    try:
        with interruptible():
            yield
    finally:
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
