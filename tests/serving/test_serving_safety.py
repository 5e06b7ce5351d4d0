"""What a server refuses: wrong requests, other names, missing keys."""

import json
import urllib.request

import pytest
from running_server import served

from lm_keras.errors import InputError
from lm_keras.serving.guard import host_of
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
    "a boolean as n": ({**GOOD, "n": True}, 400, "n is true; expected a whole number"),
    "best_of": ({**GOOD, "best_of": 3}, 400, "best_of=3 has no meaning here"),
    "a fraction as best_of": ({**GOOD, "best_of": 1.0}, 400, "best_of=1.0 has no meaning here"),
    "a field twice": (b'{"model": "gpt", "prompt": "x", "model": "gpt"}', 400, "'model' is given twice"),
    "beams": ({**GOOD, "prompt": ["a"] * 3, "num_beams": 4, "max_tokens": 3000}, 400, "a request may search"),
    "many characters": ({**GOOD, "prompt": "a" * 4000}, 400, "3,200 characters and 200 tokens at most"),
    "texts": ({**GOOD, "prompt": ["a"] * 3, "n": 3}, 400, "asks for 9 texts, and 6 may wait"),
    "suffix": ({**GOOD, "suffix": "end"}, 400, "suffix='end' has no meaning here"),
    "stop": ({**GOOD, "stop": [3]}, 400, "stop=[3] is not a string"),
    "many stops": ({**GOOD, "stop": ["x"] * 99}, 400, "stop is too long"),
    "bias": ({**GOOD, "logit_bias": {"a": 1}}, 400, "logit_bias has a key that is no token id"),
    "bias of no digits": ({**GOOD, "logit_bias": {"1_0": 1}}, 400, "logit_bias has a key that is no token"),
    "bias twice": ({**GOOD, "logit_bias": {"5": 1, "05": 2}}, 400, "logit_bias has a token id twice"),
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
    ("sent", "param"),
    [
        ({"length_penalty": 0.5}, "length_penalty"),
        ({"num_beams": 2, "temperature": 0.5}, "temperature"),
        ({"n": 3, "num_beams": 2}, "n"),
        ({"prompt": "a" * 500}, "prompt"),
        ({"prompt": "a" * 280}, "prompt"),
        ({"logit_bias": {"99999": 1}}, "logit_bias"),
        ({"long_prompt": ["x"]}, "long_prompt"),
    ],
)
def test_an_error_names_its_field(small, sent, param):
    status, found = small.ask("/v1/completions", {**GOOD, **sent})
    assert status == 400 and found["error"]["param"] == param, found


@pytest.mark.parametrize(
    ("path", "sent", "param", "message"),
    [
        ("classify", {"input": ["a"] * 70}, "input", "input has 70 texts; expected from 1 to 64"),
        ("classify", {"input": ["a", " "]}, "input", "text 2 of input is empty"),
        ("classify", {"input": "a", "too_long": ["x"]}, "too_long", "too_long is a list of 1; expected one"),
        ("tag", {"input": [["a"]] * 70}, "input", "is a list of 70; expected a list of 1 to 64 texts"),
        ("tag", {"input": ["a", ["a", ""]]}, "input", "text 2 of input has an empty word"),
        ("translate", {"input": "a", "length_penalty": "x"}, "length_penalty", "length_penalty='x': exp"),
        ("translate", {"input": "a", "num_beams": "x"}, "num_beams", "expected a whole number from 1 to 8"),
        ("translate", {"input": "a", "target_language": 3}, "target_language", "target_language=3: expected"),
        ("score", {"input": b"\\ud800"}, "input", "text 1 of input has the lone surrogate"),
        ("chat/completions", {"messages": "Hi"}, "messages", "expected a list of messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages", "messages has a part of type 'image_url'; expected parts of type 'text'"),
        ("chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "tool_choice": "required"},
            "tool_choice", "has no meaning here"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 900}]}, "messages", "look"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_named(client, path, sent, param, message):
    model = {"classify": "classes", "tag": "tags", "translate": "pairs"}.get(path, "chat")
    body = {"model": model, **sent}
    if isinstance(body.get("input"), bytes):
        body = json.dumps({**body, "input": "?"}).encode().replace(b"?", body["input"])
    status, found = client.ask(f"/v1/{path}", body)
    error = found["error"]
    assert status == 400 and error["param"] == param and message in error["message"], found
    assert is_error(found) and "--" not in error["message"]


@pytest.mark.parametrize(
    ("path", "sent", "status", "message"),
    [
        ("/v1/chat/completions", {"model": "gpt", "messages": []}, 400, "ask it /v1/completions, /v1/score"),
        ("/v1/classify", {"model": "gpt", "input": "x"}, 400, "/v1/classify is not for it"),
        ("/v1/score", {"model": "gpt", "input": "x", "top_logprobs": 99}, 400, "top_logprobs from 0 to 20"),
        ("/v1/embeddings", {}, 404, "the address does not exist"),
        ("/v1/models/", None, 404, "the address does not exist"),
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
    assert small.ask("/v1/completions", GOOD, host="localhost.:99")[0] == 200


def test_names_of_a_host_header():
    known = {"LocalHost:8000": "localhost", "[::1]:80": "::1", "[::1]": "::1", "a.b": "a.b", "a.b.": "a.b",
             "a.b.:8": "a.b"}  # fmt: skip
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
