"""How a server starts, takes newer checkpoints, and ends."""

import contextlib
import json
import logging
import re
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from lm_keras.errors import InputError
from lm_keras.serving import models, server
from lm_keras.serving.models import Models
from lm_keras.serving.settings import ServeOptions

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "serve.md"


def test_runs_with_one_name_are_refused(tmp_path):
    with pytest.raises(InputError, match="two runs are called 'a'"):
        Models([str(tmp_path / "x" / "a"), str(tmp_path / "y" / "a")], "last", print)


def test_a_newer_checkpoint_is_taken(gpt, monkeypatch):
    """With `--reload`; one that cannot be read changes nothing, is told once, and is tried again."""
    steps, said, newer, times = [8], [], object(), []
    monkeypatch.setattr(Models, "_steps", lambda self, name: tuple(steps))
    monkeypatch.setattr(models.api, "load", lambda folder, checkpoint: gpt)
    found = Models(["/runs/gpt"], "last", said.append)
    before = found.named("gpt")
    found._reload("gpt", before)
    assert found.named("gpt") is before and len(said) == 1

    def fails(folder, checkpoint):
        times.append(1)
        if len(times) > 3:
            raise RuntimeError("of a kind that nobody expects")
        raise InputError("the checkpoint is damaged")

    steps.append(16)
    monkeypatch.setattr(models.api, "load", fails)
    for _ in range(5):
        found._reload("gpt", found.named("gpt"))
    assert found.named("gpt") is before and len(said) == 3 and len(times) == 5
    assert "the checkpoint is damaged" in said[1] and all("step 7 stays" in line for line in said[1:])
    thread = found.watch(0.01)
    monkeypatch.setattr(Models, "_steps", lambda self, name: [].pop())  # The run is gone.
    while "IndexError at " not in said[-1]:
        assert thread.is_alive()
    assert found.named("gpt") is before
    monkeypatch.setattr(Models, "_steps", lambda self, name: (24,))
    monkeypatch.setattr(Models, "_load", lambda self, name: newer)
    while found.all != [newer]:
        assert thread.is_alive()
    found.stop_watching()
    thread.join()


def test_a_model_without_an_address_is_refused(gpt, monkeypatch):
    monkeypatch.setattr(models.ServedModel, "endpoints", [])
    monkeypatch.setattr(models.api, "load", lambda folder, checkpoint: gpt)
    with pytest.raises(InputError, match="has --task=causal_lm, which no address of this server is for"):
        Models(["/runs/gpt"], "last", print)


def test_a_port_that_is_taken_while_models_load(gpt, monkeypatch):
    with server.bound(ServeOptions(port=0)) as other:
        options = ServeOptions(port=other.getsockname()[1])
        monkeypatch.setattr(server, "Models", lambda *given: other.listen())
        with pytest.raises(InputError, match=r"^cannot listen at --host=127\.0\.0\.1 --port=.*in use"):
            server.serve(["/runs/gpt"], options)
    logging.getLogger("uvicorn").setLevel(logging.NOTSET)


def test_what_cannot_be_interrupted_is_left_at_the_end(monkeypatch):
    """The process ends though the thread computes on; without that nothing is cut off."""
    ended, before = [], signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(server, "Models", lambda *given: None)
    monkeypatch.setattr(server.uvicorn.Server, "run", lambda self, sockets: None)
    monkeypatch.setattr(server.os, "_exit", ended.append)
    try:
        for has_ended in (True, False):
            monkeypatch.setattr(server.Scheduler, "has_ended", has_ended)
            server.serve(["/runs/gpt"], ServeOptions(port=0))
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.getLogger("uvicorn").setLevel(logging.NOTSET)
    assert ended == [143]
    most = server.LAST_SECONDS
    assert most < int(re.search(r"TimeoutStopSec=(\d+)", GUIDE.read_text())[1])


def test_a_missing_package_is_named(script, finished, monkeypatch):
    for name in ("starlette", "uvicorn"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            ended = script("serve.py", f"--run_dir={finished.path}")
        assert ended.code == 1 and f"{name} is missing; pip install 'lm_keras[serve]'" in ended.err, ended


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
