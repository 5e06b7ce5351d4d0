"""How workers wait for each other: in threads of this process, at free ports of 127.0.0.1."""

import contextlib
import ctypes
import os
import signal
import socket
import threading
import time

import pytest

from lm_keras.errors import InputError
from lm_keras.training import meeting
from lm_keras.training.launcher import free_ports
from lm_keras.training.workers import Cluster


@pytest.fixture
def addresses():
    return tuple(f"127.0.0.1:{port}" for port in free_ports(3))


@pytest.fixture
def together():
    """A function that lets clusters meet, each in a thread and so many seconds later; it returns
    the errors.
    """

    def meet(*clusters, after=()):
        said = [None] * len(clusters)

        def one(number):
            time.sleep(dict(enumerate(after)).get(number, 0))
            try:
                meeting.meet(clusters[number])
            except InputError as error:
                said[number] = str(error)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(len(clusters))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return said

    return meet


def test_all_meet_and_leave_their_ports_free(together, addresses, monkeypatch, capsys):
    """The last one comes late, and the others say that they wait for it."""
    monkeypatch.setattr(meeting, "SAYING_SECONDS", 0.2)
    clusters = [Cluster(addresses, index) for index in range(3)]
    assert together(*clusters, after=(0, 0.5, 0)) == [None] * 3
    said = set(capsys.readouterr().err.splitlines())
    where = f"worker 1 at {addresses[1]} (Connection refused)"
    assert said == {f"worker {i} of 3 at {addresses[i]} still waits for {where}" for i in (0, 2)}
    assert together(*clusters) == [None] * 3


RULE = (
    "; TF_CONFIG has to list the same addresses in the same order for all workers, with another index for"
    " each"
)


def test_another_number_of_workers(together, addresses):
    of_three, of_two = together(Cluster(addresses, 0), Cluster(addresses[:2], 1))
    assert of_three in (
        (
            f"worker 0 of 3 at {addresses[0]} found worker 1 of 2 at {addresses[1]}, where its own TF_CONFIG"
            f" has worker 1 of 3{RULE}"
        ),
        f"worker 0 of 3 at {addresses[0]} was asked by worker 1 of 2{RULE}",
    )
    assert of_two.startswith(f"worker 1 of 2 at {addresses[1]} ") and of_two.endswith(RULE)


def test_another_order(together, addresses):
    """Both take themselves for the chief, and would wait for ever."""
    for line in together(Cluster(addresses[:2], 0), Cluster(addresses[1::-1], 0)):
        assert line.startswith("worker 0 of 2 at ") and line.endswith(RULE)


def test_a_port_in_use(addresses):
    port = int(addresses[0].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InputError) as caught:
        meeting.meet(Cluster(addresses, 0))
    assert (
        str(caught.value)
        == f"worker 0 of 3 at {addresses[0]} cannot listen at port {port} (another process uses it, perhaps"
        " this very worker, started twice); end that process, or give this worker another port in the"
        " TF_CONFIG of all workers"
    )


def test_nobody_comes(addresses, monkeypatch):
    """Many names that are not known: some are named."""
    monkeypatch.setattr(meeting, "MEETING_SECONDS", 0.5)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: (_ for _ in ()).throw(socket.gaierror()))
    with pytest.raises(InputError) as caught:
        meeting.meet(Cluster((addresses[0], *(f"host{i}:1" for i in range(1, 9))), 0))
    found = str(caught.value)
    assert "minutes in vain for worker 1 at host1:1 (this name is not known), worker 2 at" in found
    assert "worker 5 at host5:1 (this name is not known) and 3 more; start all of them within" in found


def test_who_does_not_say_its_name_is_there(addresses, monkeypatch):
    """TensorFlow's own server, which listens there already; a port that is connected to itself is not."""
    monkeypatch.setattr(meeting, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(meeting, "LINGERING_SECONDS", 0.1)
    monkeypatch.setattr(meeting, "MEETING_SECONDS", 1)
    port = int(addresses[1].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        meeting.meet(Cluster(addresses[:2], 0))
    with contextlib.closing(socket.socket()) as alone:
        alone.bind(("127.0.0.1", port))
        alone.connect(("127.0.0.1", port))
        monkeypatch.setattr(socket, "create_connection", lambda *args: alone)
        with pytest.raises(InputError, match="in vain"):
            meeting.meet(Cluster(addresses[:2], 0))


def test_a_signal_ends_who_waits_at_once(addresses):
    class Stop(Exception):
        pass

    def stop(number, frame):
        raise Stop

    before = signal.signal(signal.SIGTERM, stop)
    try:
        began = time.monotonic()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Stop):
            meeting.meet(Cluster(addresses, 0))
        assert time.monotonic() - began < 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_tensorflow_does_with_a_signal_is_undone():
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with meeting.joining():
            ctypes.CDLL(None).signal(signal.SIGTERM, 1)  # SIG_IGN
            assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == [signal.SIGTERM]
        assert signal.alarm(0) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
