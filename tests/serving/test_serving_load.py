"""A server as a process under load: speed, wrong requests among good ones, memory, kill -9. Takes minutes."""

import concurrent.futures
import contextlib
import http.client
import itertools
import json
import random
import re
import signal
import socket
import statistics
import threading
import time
from pathlib import Path

import pytest
from running_server import Client
from test_serving_safety import WRONG, is_error

import lm_keras

pytestmark = pytest.mark.slow

GPT = {"model": "gpt", "tokenizer": "char", "embedding_dim": 192, "num_layers": 4,
       "num_heads": 4, "hidden_units": None, "sequence_length": 256, "positions": "rotary", "batch_size": 4,
       "steps": 60, "learning_rate": 0.003,
       "eval_every": 60, "checkpoint_every": 60}  # fmt: skip


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, tiny_config, train):
    """A small GPT that was trained for some steps."""
    path = tmp_path_factory.mktemp("runs") / "small_gpt"
    ended = train(tiny_config(**GPT), path)
    assert ended.code == 0, ended.err
    return path


@contextlib.contextmanager
def process_of(start, *words):
    """Start the script, and yield a client and the process."""
    process = start("serve.py", "--port=0", *words)
    said, end = "", time.monotonic() + 120
    while "listening at " not in said:
        assert process.poll() is None and time.monotonic() < end, said
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            said = process.said()
    yield Client(port=int(re.search(r"listening at http://[\d.]+:(\d+)/", said)[1]), log=[]), process
    process.send_signal(signal.SIGTERM)
    process.communicate()


def streamed(client, prompt, tokens, seed):
    """Stream a completion; return its text, its tokens and the seconds until the first of them."""
    sent = {"model": "small_gpt", "prompt": prompt, "max_tokens": tokens, "seed": seed, "temperature": 0.9}
    sent |= {"logit_bias": {"0": -1000}, "stream_options": {"include_usage": True}}
    began, first, text, count = time.monotonic(), None, "", 0
    for event in client.events("/v1/completions", sent):
        first = first or time.monotonic() - began
        text += "".join(choice["text"] for choice in event["choices"])
        count = event.get("usage", {}).get("completion_tokens", count)
    return text, count, first


def load(client, clients, seconds):
    """Let clients stream one completion after the other; return tokens a second, and times to the first."""
    end, lock, numbers = time.monotonic() + seconds, threading.Lock(), itertools.count()
    found, firsts = [], []

    def one(number):
        pick = random.Random(number)
        while time.monotonic() < end:
            with lock:
                seed = next(numbers)
            _, tokens, first = streamed(
                client, "The old cat sees"[: pick.randint(0, 16)], pick.randint(32, 96), seed
            )
            found.append(tokens)
            firsts.append(first)

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(clients)))
    return sum(found) / (time.monotonic() - began), sorted(firsts)


def test_eight_clients_at_once(start, run_dir, capsys):
    with process_of(start, f"--run_dir={run_dir}") as (client, _):
        load(client, 2, 3)
        alone, first_alone = load(client, 1, 15)
        together, firsts = load(client, 8, 60)
    p50, p95 = statistics.median(firsts), firsts[int(0.95 * len(firsts))]
    with capsys.disabled():
        print(
            f"\none client {alone:.0f} tokens/s, first token after {statistics.median(first_alone):.3f} s;"
            f" eight {together:.0f} tokens/s, {len(firsts)} requests, first token p50 {p50:.3f} s,"
            f" p95 {p95:.3f} s"
        )
    assert together >= 2 * alone


def memory(process):
    """Return the bytes of a process."""
    (kilobytes,) = re.findall(r"VmRSS:\s*(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    return 1024 * int(kilobytes)


BAD = {
    name: (sent, status)
    for name, (sent, status, _) in WRONG.items()
    if name not in ("long prompt", "a long body", "n", "texts")
}


def bad_request(client, number):
    """Send one of the wrong requests; tell whether it got a 4xx in the form of the protocol."""
    name = [*BAD, "10 MB", "half open", "slow"][number % (len(BAD) + 3)]
    if name == "10 MB":
        status, found = client.ask("/v1/completions", {"model": "small_gpt", "prompt": "a" * 10_000_000})
        return status == 413 and is_error(found)
    if name in ("half open", "slow"):
        with socket.create_connection(("127.0.0.1", client.port), timeout=30) as connection:
            if name == "half open":
                return True  # Nothing can be answered: the client has left.
            connection.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json"
            )
            reply = connection.makefile("rb").read()
            return reply.startswith(b"HTTP/1.1 408 ") and is_error(
                json.loads(reply.partition(b"\r\n\r\n")[2])
            )
    sent, status = BAD[name]
    if isinstance(sent, dict):
        sent = {**sent, **({"model": "small_gpt"} if sent.get("model") == "gpt" else {})}
    else:
        sent = sent.replace(b'"gpt"', b'"small_gpt"')
    found = client.ask("/v1/completions", sent)
    return 400 <= found[0] < 500 and found[0] == status and is_error(found[1])


def test_a_thousand_requests_of_which_a_third_is_wrong(start, run_dir, capsys):
    lm, asked = lm_keras.load(run_dir), []
    for number in range(20):
        settings = {"max_new_tokens": 16 + number, "temperature": 0.0 if number % 2 else 0.8, "seed": number}
        prompt = "The old cat sees the bird."[: 1 + number]
        asked.append((prompt, settings, lm.generate([prompt], **settings)))
    with process_of(start, f"--run_dir={run_dir}", "--max_batch=8", "--max_queue=64") as (client, process):

        def one(number):
            if number % 3 == 0:
                return bad_request(client, number // 3)
            prompt, settings, expected = asked[number % len(asked)]
            sent = {
                **settings,
                "model": "small_gpt",
                "prompt": prompt,
                "max_tokens": settings["max_new_tokens"],
            }
            del sent["max_new_tokens"]
            status, found = client.ask("/v1/completions", sent)
            return status == 200 and [choice["text"] for choice in found["choices"]] == expected

        def many(numbers):
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                return list(pool.map(one, numbers))

        assert all(first := many(range(300))), [number for number, good in enumerate(first) if not good]
        before = memory(process)
        right = many(range(1000))
        time.sleep(1)
        after = memory(process)
    with capsys.disabled():
        print(
            f"\n{len(right)} requests; memory {before / 2**20:.0f} MiB before, {after / 2**20:.0f} MiB after"
        )
    assert all(right), [number for number, good in enumerate(right) if not good]
    assert after <= 1.05 * before


def test_kill_9_in_a_stream_changes_nothing_on_disk(start, run_dir, contents_of):
    before = contents_of(run_dir)
    expected = None
    for _ in range(2):
        with process_of(start, f"--run_dir={run_dir}") as (client, process):
            if expected is None:
                expected = client.complete("The", "small_gpt", max_tokens=100, seed=1)
            else:
                assert client.complete("The", "small_gpt", max_tokens=100, seed=1) == expected
            sent = {"model": "small_gpt", "prompt": "The", "max_tokens": 2000, "logit_bias": {"0": -1000}}
            events = client.events("/v1/completions", sent)
            next(events)
            process.send_signal(signal.SIGKILL)
            with contextlib.suppress(OSError, http.client.HTTPException):
                list(events)
            process.communicate()
            assert process.returncode == -signal.SIGKILL
    assert contents_of(run_dir) == before


def test_greedy_texts_are_those_of_the_script_under_load(start, run_dir, script):
    prompts = ["The old cat sees"[:length] for length in range(1, 17)]
    flags = ("--temperature=0", "--max_new_tokens=60")
    expected = lm_keras.load(run_dir).generate(prompts, temperature=0, max_new_tokens=60)
    for prompt, text in list(zip(prompts, expected))[::8]:
        assert (
            script("sample.py", f"--run_dir={run_dir}", f"--prompt={prompt}", *flags).out
            == f"{prompt}{text}\n"
        )
    with process_of(start, f"--run_dir={run_dir}") as (client, _):

        def ask(prompt):
            return client.complete(prompt, "small_gpt", temperature=0, max_tokens=60)[0]

        assert [ask(prompt) for prompt in prompts] == expected
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for _ in range(5):
                assert list(pool.map(ask, prompts)) == expected


def test_newer_checkpoints_come_without_a_dropped_request(start, tmp_path, tiny_config, train):
    """A run goes on while it is served: every request has the text of one of its checkpoints."""
    path, short = tmp_path / "trains", {**GPT, "embedding_dim": 24, "num_layers": 2}
    assert train(tiny_config(**{**short, "steps": 20, "checkpoint_every": 20}), path).code == 0
    with process_of(start, f"--run_dir={path}", "--reload") as (client, _):
        steps, ends, failed = [], threading.Event(), []

        def ask():
            while not ends.is_set():
                status, found = client.ask(
                    "/v1/completions", {"model": "trains", "prompt": "The", "temperature": 0}
                )
                (steps if status == 200 else failed).append(found.get("system_fingerprint"))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert train(tiny_config(**{**short, "steps": 60, "checkpoint_every": 20}), path).code == 0
        end = time.monotonic() + 60
        while "step-60" not in steps and time.monotonic() < end:
            time.sleep(0.1)
        ends.set()
        for thread in threads:
            thread.join()
    assert failed == [] and steps[0] == "step-20" and "step-60" in steps
