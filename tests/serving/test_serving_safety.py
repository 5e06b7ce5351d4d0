"""What a server refuses and survives: wrong requests, other names, missing keys, clients that leave."""

import contextlib
import json
import signal
import socket
import threading
import time
import urllib.request

import pytest
from running_server import served

from lm_keras.errors import InputError
from lm_keras.serving import app, models, server
from lm_keras.serving.guard import host_of
from lm_keras.serving.models import Models
from lm_keras.serving.settings import ServeOptions

GOOD = {"model": "gpt", "prompt": "The", "max_tokens": 3}


def is_error(found):
    """Tell whether a reply has the protocol's form of an error, with one line."""
    error = found["error"]
    line = error["message"]
    return set(error) == {"message", "type", "param", "code"} and line.isprintable() and len(line) < 500


WRONG = {
    "no JSON": (b"{", 400, "the body is not JSON"),
    "no object": (b"[]", 400, "no object"),
    "no UTF-8": (b'{"a": "\xff"}', 400, "not UTF-8 at byte 7"),
    "NaN": (b'{"model": "gpt", "prompt": "x", "temperature": NaN}', 400, "NaN, which is not finite"),
    "too large a number": (b'{"model": "gpt", "prompt": "x", "top_p": 1e999}', 400, "not finite"),
    "too many digits": (b'{"seed": ' + b"9" * 5000 + b"}", 400, "the body is not JSON"),
    "nested": (b"[" * 15_000, 400, "the body is not JSON"),
    "no model": ({"prompt": "x"}, 400, "model is missing"),
    "another model": ({**GOOD, "model": "other"}, 404, "there is no such model; known are gpt"),
    "no prompt": ({"model": "gpt"}, 400, "prompt is missing"),
    "numbers as prompt": ({**GOOD, "prompt": [1, 2]}, 400, "prompt is a list of 2; expected a text"),
    "no prompts": ({**GOOD, "prompt": []}, 400, "prompt has 0 texts; expected from 1 to 6"),
    "a text as number": ({**GOOD, "max_tokens": "5"}, 400, "max_tokens is '5'; expected a whole number"),
    "a boolean as number": ({**GOOD, "max_tokens": True}, 400, "max_tokens is true"),
    "too many tokens": ({**GOOD, "max_tokens": 10**9}, 400, "expected a whole number from 1 to 4096"),
    "no tokens": ({**GOOD, "max_tokens": 0}, 400, "max_tokens is 0"),
    "temperature": ({**GOOD, "temperature": -1}, 400, "temperature=-1 is not a number of at least 0"),
    "a huge whole number": ({**GOOD, "top_k": 10**30}, 400, "top_k="),
    "a list": ({**GOOD, "top_p": [1]}, 400, "top_p=[1] is not"),
    "an object": ({**GOOD, "long_prompt": {"a": 1}}, 400, "long_prompt="),
    "n": ({**GOOD, "n": 5}, 400, "n is 5; expected a whole number from 1 to 4"),
    "best_of": ({**GOOD, "best_of": 3}, 400, "best_of=3 has no meaning here"),
    "texts": ({**GOOD, "prompt": ["a"] * 3, "n": 3}, 400, "asks for 9 texts, and 6 may wait"),
    "suffix": ({**GOOD, "suffix": "end"}, 400, "suffix='end' has no meaning here"),
    "stop": ({**GOOD, "stop": [3]}, 400, "stop=[3] is not a string"),
    "many stops": ({**GOOD, "stop": ["x"] * 99}, 400, "stop is too long"),
    "bias": ({**GOOD, "logit_bias": {"a": 1}}, 400, "logit_bias has a key that is no token id"),
    "bias beyond": ({**GOOD, "logit_bias": {"99999": 1}}, 400, "the vocabulary goes from 0 to"),
    "bias of a text": ({**GOOD, "logit_bias": {"5": "x"}}, 400, "expected a token id, and a number"),
    "unknown field": ({**GOOD, "max_tokenz": 1}, 400, "did you mean 'max_tokens'?"),
    "surrogate": (b'{"model": "gpt", "prompt": "\\ud800"}', 400, "lone surrogate"),
    "long prompt": ({**GOOD, "prompt": "a" * 280}, 400, "the text has 281 tokens, and this server reads 200"),
    "beyond the context": ({**GOOD, "prompt": "a" * 500}, 400, "the model looks back on 300 at most"),
    "a long body": ({**GOOD, "prompt": "a" * 30_000}, 413, "more than 20,000 bytes"),
    "beams in a stream": ({**GOOD, "num_beams": 2, "stream": True}, 400, "cannot be streamed"),
    "stream_options": ({**GOOD, "stream_options": {"include_usage": True}}, 400, "needs stream=true"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_request_gets_one_line(small, what):
    sent, status, message = WRONG[what]
    found = small.ask("/v1/completions", sent)
    assert found[0] == status and message in found[1]["error"]["message"] and is_error(found[1]), found


@pytest.mark.parametrize(
    ("path", "sent", "status", "message"),
    [
        ("/v1/chat/completions", {"model": "gpt", "messages": []}, 400, "ask it /v1/completions, /v1/score"),
        ("/v1/classify", {"model": "gpt", "input": "x"}, 400, "/v1/classify is not for it"),
        ("/v1/score", {"model": "gpt", "input": "x", "top_logprobs": 99}, 400, "top_logprobs from 0 to 20"),
        ("/v1/embeddings", {}, 404, "the address does not exist"),
        ("/v1/completions", None, 405, "the address has no such method"),
        ("/", {}, 405, "the address has no such method"),
    ],
)
def test_an_address_that_is_not_for_it(small, path, sent, status, message):
    found = small.ask(path, sent)
    assert found[0] == status and message in found[1]["error"]["message"] and is_error(found[1]), found


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:80", "", "[::2]:80", "localhost@evil"]
)
def test_another_name_is_refused(small, host):
    status, found = small.ask("/v1/completions", GOOD, host=host)
    assert status == 403 and found["error"]["code"] == "wrong_host" and is_error(found)
    assert small.ask("/v1/completions", GOOD, host="LocalHost:99")[0] == 200


def test_names_of_a_host_header():
    known = {"LocalHost:8000": "localhost", "[::1]:80": "::1", "[::1]": "::1", "a.b": "a.b", "a.b.": "a.b"}
    assert {value: host_of(value) for value in known} == known


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example"])
def test_pages_of_others_are_refused(small, origin):
    status, found = small.ask("/v1/completions", GOOD, origin=origin)
    assert status == 403 and found["error"]["code"] == "wrong_origin"
    assert small.ask("/v1/completions", GOOD, origin=f"http://localhost:{small.port}")[0] == 200
    kind = {"content-type": "text/plain"}  # What a page may send without asking.
    assert small.ask("/v1/completions", GOOD, **kind)[0] == 415


def test_a_key_is_needed_where_one_is_asked_for(gpt):
    with served({"gpt": gpt}, keys=(b"first-key", b"second-key")) as client:
        for key in ("first-key", "second-key"):
            assert client.ask("/v1/models", authorization=f"Bearer {key}")[0] == 200
        for wrong in ("Bearer first-ke", "Bearer ", "first-key", "Basic first-key", "Bearer \xe9"):
            status, found = client.ask("/v1/models", authorization=wrong)
            assert status == 401 and found["error"]["type"] == "authentication_error" and is_error(found)
        assert client.ask("/v1/models")[0] == 401
        with urllib.request.urlopen(f"http://127.0.0.1:{client.port}/") as page:  # It holds no secrets.
            assert page.status == 200


def test_other_machines_are_let_in_with_keys_only(tmp_path):
    said, path = [], tmp_path / "keys"
    assert ServeOptions().keys(said.append) == ServeOptions(host="::1").keys(said.append) == ()
    with pytest.raises(InputError, match=r"^--host=0\.0\.0\.0 lets other machines in; give --api_key_file"):
        ServeOptions(host="0.0.0.0").keys(said.append)
    options = ServeOptions(host="0.0.0.0", api_key_file=str(path), allowed_host=["Models.example."])
    assert "models.example" in options.names
    for content in (None, b"", b"\n", b"short\n", b"two words are none\n"):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=r"^--api_key_file=.*(cannot be read|needs a key a line)"):
            options.keys(said.append)
    path.write_bytes(b"a-good-key\nanother-key\n")
    path.chmod(0o644)
    assert options.keys(said.append) == (b"a-good-key", b"another-key")
    assert len(said) == 1 and "chmod 600" in said[0]


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


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_row(small, stream):
    sent = json.dumps({**GOOD, "max_tokens": 4000, "logit_bias": {"0": -1000}, "stream": stream}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", small.port)) as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(sent) + sent)
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
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        connection.sendall(sent)
        reply = b""
        while not reply.endswith(b"}}"):
            reply += connection.recv(9999)
    assert reply.startswith(b"HTTP/1.1 408 ")
    assert is_error(json.loads(reply.partition(b"\r\n\r\n")[2]))


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
    assert "error: MemoryError while a request was computed" in small.log
    monkeypatch.undo()
    assert small.ask("/v1/completions", {**GOOD, "top_k": 3})[0] == 200


def test_runs_with_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="two runs are called 'a'"):
        Models([str(tmp_path / "x" / "a"), str(tmp_path / "y" / "a")], "last", print)


def test_a_newer_checkpoint_is_taken(gpt, monkeypatch):
    """With `--reload`; one that cannot be read changes nothing, and is told once."""
    steps, said, newer = [8], [], object()
    monkeypatch.setattr(Models, "_steps", lambda self, name: tuple(steps))
    monkeypatch.setattr(models.api, "load", lambda folder, checkpoint: gpt)
    found = Models(["/runs/gpt"], "last", said.append)
    before = found.named("gpt")
    found._reload("gpt", before)
    assert found.named("gpt") is before and len(said) == 1

    def fails(folder, checkpoint):
        raise InputError("the checkpoint is damaged")

    steps.append(16)
    monkeypatch.setattr(models.api, "load", fails)
    for _ in range(3):
        found._reload("gpt", found.named("gpt"))
    assert found.named("gpt").lm is gpt and len(said) == 2 and "step 7 stays" in said[1]
    steps.append(24)
    monkeypatch.setattr(Models, "_load", lambda self, name: newer)
    thread = found.watch(0.01)
    while found.all != [newer]:
        assert thread.is_alive()
    found.stop_watching()
    thread.join()


def test_a_model_without_an_address_is_refused(gpt, monkeypatch):
    monkeypatch.setattr(models.ServedModel, "endpoints", [])
    monkeypatch.setattr(models.api, "load", lambda folder, checkpoint: gpt)
    with pytest.raises(InputError, match="has --task=causal_lm, which no address of this server is for"):
        Models(["/runs/gpt"], "last", print)


def test_the_script(script, finished, tmp_path):
    for words, line in [
        ((), "--run_dir is missing"),
        ((f"--run_dir={tmp_path}",), "holds no run"),
        ((f"--run_dir={finished.path}", "--host=0.0.0.0"), "lets other machines in; give --api_key_file"),
        ((f"--run_dir={finished.path}", "--port=x"), "--port=x: expected a whole number"),
    ]:
        ended = script("serve.py", "--port=0", *words)
        assert ended.code == 1 and line in ended.err and ended.err.count("\n") == 1, ended
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = script("serve.py", f"--port={port}", f"--run_dir={finished.path}")
        assert ended.code == 1 and f"cannot listen at --host=127.0.0.1 --port={port}" in ended.err


def test_a_process_finishes_what_it_writes(start, finished, script, contents_of):
    """SIGTERM in the middle of a stream: its text is whole, and that of the script."""
    before = contents_of(finished.path)
    flags = ("--prompt=The", "--max_new_tokens=400", "--seed=3", "--logit_bias=0:-1000")
    expected = script("sample.py", f"--run_dir={finished.path}", *flags).out[len("The") : -1]
    sent = {"model": finished.path.name, "prompt": "The", "max_tokens": 400, "seed": 3, "stream": True}
    process, said = start("serve.py", f"--run_dir={finished.path}", "--port=0"), ""
    end = time.monotonic() + 90
    while "listening at " not in said:
        assert process.poll() is None and time.monotonic() < end, said
        time.sleep(0.05)
        with contextlib.suppress(OSError):  # It has not begun to write.
            said = process.said()
    address = said.partition("listening at ")[2].split(";")[0]
    body = json.dumps({**sent, "logit_bias": {"0": -1000}}).encode()
    request = urllib.request.Request(f"{address}v1/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        lines = [reply.readline()]
        process.send_signal(signal.SIGTERM)
        lines += reply.readlines()
    events = [json.loads(line[len(b"data: ") :]) for line in lines if line.startswith(b"data: {")]
    assert "".join(event["choices"][0]["text"] for event in events) == expected
    assert lines[-2] == b"data: [DONE]\n"
    out, err = process.communicate()
    assert (process.returncode, out) == (143, "") and "generated=400" in err and "Traceback" not in err
    assert contents_of(finished.path) == before
