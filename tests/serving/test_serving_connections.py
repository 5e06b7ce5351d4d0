"""Clients that leave, are slow or are many, calls that take long, and errors: what the server survives."""

import contextlib
import json
import re
import socket
import threading
import time

import pytest
from test_serving_safety import GOOD, is_error

from lm_keras.serving import app, models, server
from lm_keras.serving.jobs import CallJob
from lm_keras.serving.scheduler import Scheduler


def test_a_full_queue_says_so(small):
    """Four texts are generated, six may wait, and all others are told to come again."""
    sent, found = {**GOOD, "max_tokens": 250, "logit_bias": {"0": -1000}}, []

    def ask():
        found.append(small.ask("/v1/completions", sent))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 429} and statuses.count(200) >= 10 - 3
    refused = [reply for status, reply in found if status == 429]
    assert all(is_error(reply) and reply["error"]["type"] == "rate_limit_error" for reply in refused)
    assert len({reply["choices"][0]["text"] for status, reply in found if status == 200}) == 1


HEAD = b"POST /v1/%s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@contextlib.contextmanager
def asking(client, sent, path=b"completions"):
    """Send a request, and leave at the end."""
    body = json.dumps(sent).encode()
    with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
        connection.sendall(HEAD % path + b"content-length: %d\r\n\r\n" % len(body) + body)
        yield connection


def test_clients_that_leave_free_their_places_in_the_queue(small):
    """Four texts are generated and one waits; the five behind it leave, and others can come."""
    sent = {**GOOD, "max_tokens": 4000, "logit_bias": {"0": -1000}}
    with contextlib.ExitStack() as stay:
        for _ in range(5):
            stay.enter_context(asking(small, sent))
        small.wait(lambda: small.scheduler.texts == (4, 1))
        with contextlib.ExitStack() as leave:
            for _ in range(5):
                leave.enter_context(asking(small, sent))
            small.wait(lambda: small.scheduler.texts == (4, 6))
            assert small.ask("/v1/completions", GOOD)[0] == 429
        small.wait(lambda: small.scheduler.texts == (4, 1), seconds=5)
        with asking(small, GOOD) as connection:
            small.wait(lambda: small.scheduler.texts == (4, 2))
            stay.close()
            assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_calls_leave_time_to_others(small, gpt, monkeypatch):
    """Five texts are scored one by one: a completion need not wait for them, and nobody scores for nobody."""
    scores, scored = gpt.token_scores, []

    def slowly(*arguments):
        scored.append(time.sleep(0.2))
        return scores(*arguments)

    monkeypatch.setattr(gpt, "token_scores", slowly)
    with asking(small, {"model": "gpt", "input": ["The old cat"] * 5}, b"score") as connection:
        small.wait(lambda: scored)
        assert small.scheduler.texts[1] > 1
        small.complete("The", max_tokens=3)
        assert len(scored) < 5
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ") and len(scored) == 5
    with asking(small, {"model": "gpt", "input": ["The old cat"] * 5}, b"score"):
        small.wait(lambda: len(scored) > 5)
    small.wait(lambda: small.scheduler.texts == (0, 0))
    small.complete("The", max_tokens=3)
    assert len(scored) < 10


def test_the_end_does_not_wait_for_ever():
    called, may_end, said = threading.Event(), threading.Event(), []
    scheduler = Scheduler(2, 5, 0, said.append)
    scheduler.start()
    scheduler.add([CallJob(lambda texts: [called.set(), may_end.wait()][:1], ["a"], None, said.append)])
    assert called.wait(10)
    scheduler.stop(0.1)
    assert not scheduler.has_ended
    may_end.set()
    scheduler.stop()
    assert scheduler.has_ended and said == [[None]]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_row(small, stream):
    with asking(
        small, {**GOOD, "max_tokens": 4000, "logit_bias": {"0": -1000}, "stream": stream}
    ) as connection:
        small.wait(lambda: small.scheduler.texts[0] == 1)
        if stream:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert small.scheduler.texts[0] == 1
    small.wait(lambda: small.scheduler.texts == (0, 0), seconds=5)
    assert small.complete("The", max_tokens=3, temperature=0) != []


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /v1/completions HTTP/1.1\r\nhost: loc",
        b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json\r\ncontent-length: 99\r\n\r\n{"],
    ids=["nothing", "half a head", "half a body"],
)  # fmt: skip
def test_a_slow_sender_is_told_so(small, monkeypatch, sent):
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.3)
    monkeypatch.setattr(app, "BODY_SECONDS", 0.3)
    before = len(small.log)
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(sent)
        reply = connection.makefile("rb").read()  # Until it is closed.
    assert reply.startswith(b"HTTP/1.1 408 ") and reply.count(b"HTTP/1.1") == 1
    if b"{" in sent:
        time.sleep(0.4)
        assert [" 408 " in line for line in small.log[before:]] == [True]
    assert is_error(json.loads(reply.partition(b"\r\n\r\n")[2]))


def test_a_client_that_leaves_within_its_body(small, caplog):
    before = len(small.log)
    with socket.create_connection(("127.0.0.1", small.port)) as connection:
        connection.sendall(HEAD % b"completions" + b'content-length: 99\r\n\r\n{"prompt": "my sec')
    small.wait(lambda: len(small.log) > before)
    (line,) = small.log[before:]
    assert "POST /v1/completions 499 " in line and caplog.records == []


def test_an_error_of_the_server_is_told_without_its_text(small, caplog, monkeypatch):
    before = len(small.log)
    monkeypatch.setattr(models.ServedModel, "to_json", lambda self: int("the text of a client"))
    status, found = small.ask("/v1/models")
    assert status == 500 and is_error(found)
    small.wait(lambda: len(small.log) > before + 1)
    error, line = small.log[before:]
    place = r"\S+test_serving_connections.py:\d+"
    assert re.fullmatch(rf"error: ValueError at {place} while a request was answered", error)
    assert "GET /v1/models 500 " in line and caplog.records == []


def test_a_method_may_be_anything(small):
    before = len(small.log)
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(b"X" * 5000 + b" /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 405 ")
    small.wait(lambda: len(small.log) > before)
    assert f" {'X' * 10} /v1/models 405 " in small.log[-1]


def test_connections_are_limited(small, monkeypatch):
    assert small.ask("/v1/models")[0] == 200
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 0)
    monkeypatch.setattr(server, "CROWDED_SECONDS", 0.1)
    status, found = small.ask("/v1/models")
    assert status == 503 and is_error(found)
    with socket.create_connection(("127.0.0.1", small.port), timeout=5) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")  # It says nothing, and is closed soon.


def test_a_client_that_does_not_read_is_cut_off(small, monkeypatch):
    monkeypatch.setattr(server, "STALL_SECONDS", 0.3)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", small.port))
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                connection.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n" * 100)
                time.sleep(0.02)


@pytest.mark.parametrize(
    "sent", [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 99_999]
)
def test_what_is_no_http(small, sent):
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(sent)
        reply = connection.recv(9999)
    assert reply.startswith(b"HTTP/1.1 400 ") and is_error(json.loads(reply.partition(b"\r\n\r\n")[2]))


def test_a_network_that_fails_ends_no_server(small, gpt, monkeypatch):
    def fails(*arguments):
        raise MemoryError("the text of a client")

    monkeypatch.setattr(gpt.answer, "batch_for", fails)
    status, found = small.ask("/v1/completions", {**GOOD, "top_k": 3})
    assert status == 500 and is_error(found) and "text of a client" not in json.dumps(found)
    (line,) = [line for line in small.log if line.startswith("error: MemoryError at ")]
    assert line.endswith(" while a request was computed") and "text of a client" not in line
    monkeypatch.undo()
    assert small.ask("/v1/completions", {**GOOD, "top_k": 3})[0] == 200
