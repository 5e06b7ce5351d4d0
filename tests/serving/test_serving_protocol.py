"""The OpenAI protocol: what goes in, what comes out, and that it is what the model itself says."""

import concurrent.futures
import json

import openai
import pytest
from running_server import served

from lm_keras.sampling import uniforms


def test_models_are_listed(client, loaded):
    status, found = client.ask("/v1/models")
    assert status == 200 and [one["id"] for one in found["data"]] == list(loaded)
    by_name = {one["id"]: one for one in found["data"]}
    assert by_name["gpt"]["endpoints"] == ["/v1/completions", "/v1/score"]
    assert by_name["chat"]["endpoints"] == ["/v1/completions", "/v1/chat/completions", "/v1/score"]
    assert by_name["classes"]["labels"] == ["neutral", "pet", "wild"] and by_name["tags"]["task"] == "tagging"
    assert client.ask("/v1/models/gpt") == (200, by_name["gpt"])
    assert client.ask("/v1/models/other")[0] == 404


@pytest.mark.parametrize("model", ["gpt", "lstm"])
def test_a_completion_is_what_the_model_generates(client, loaded, model):
    lm = loaded[model]
    for ours, theirs in [
        ({"seed": 3, "top_p": 0.9, "temperature": 0.8}, {}),
        ({"num_samples": 3, "seed": 5}, {"n": 3}),
        ({"stop": ["t", "zz"], "temperature": 0.0}, {}),
        ({"num_beams": 3, "num_samples": 2}, {"n": 2}),
        ({"presence_penalty": 1.5, "frequency_penalty": 0.5}, {}),
        ({"repetition_penalty": 1.3, "no_repeat_ngram": 2, "logit_bias": {3: -5.0}}, {}),
    ]:
        sent = {name: value for name, value in ours.items() if name != "num_samples"}
        expected = lm.generate(["The old", ""], max_new_tokens=12, **ours)
        assert client.complete(["The old", ""], model, max_tokens=12, **sent, **theirs) == expected, ours


def test_a_model_that_fills_spans_continues_texts_too(client, loaded):
    prompts, how = ["The old", "", "A"], {"seed": 3, "temperature": 0.9}
    expected = loaded["glm"].generate(prompts, max_new_tokens=9, **how)
    assert client.complete(prompts, "glm", max_tokens=9, **how) == expected
    status, found = client.ask("/v1/completions", {"model": "glm", "prompt": "a [MASK]"})
    assert status == 400 and "[MASK]" in found["error"]["message"]


def test_a_stream_has_the_same_text(client, loaded):
    sent = {"model": "gpt", "prompt": ["The", "A"], "max_tokens": 30, "n": 2, "logprobs": 2}
    sent |= {"stream_options": {"include_usage": True}}
    _, whole = client.ask("/v1/completions", sent | {"stream_options": None})
    texts, tokens, reasons = [""] * 4, [0] * 4, [None] * 4
    *pieces, last = client.events("/v1/completions", sent)
    for piece in pieces:
        (choice,) = piece["choices"]
        number = choice["index"]
        assert piece["usage"] is None  # As every piece but the last.
        assert reasons[number] is None
        texts[number] += choice["text"]
        tokens[number] += len(choice["logprobs"]["tokens"])
        reasons[number] = choice["finish_reason"]
    assert texts == loaded["gpt"].generate(["The", "A"], max_new_tokens=30, num_samples=2)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == sum(tokens)
    assert last["usage"]["prompt_tokens"] == 4 + 2 and set(reasons) <= {"stop", "length"}
    assert last["usage"] == whole["usage"]
    assert len(pieces) > 4


def test_log_probabilities(client, loaded):
    sent = {"model": "gpt", "prompt": "The ", "max_tokens": 12, "temperature": 0, "logprobs": 3, "echo": True}
    _, found = client.ask("/v1/completions", sent)
    (choice,) = found["choices"]
    told, lm = choice["logprobs"], loaded["gpt"]
    (text,) = lm.generate(["The "], max_new_tokens=12, temperature=0)
    assert choice["text"] == "The " + text == "".join(told["tokens"])
    assert told["text_offset"] == list(range(16))
    for token, score, best in zip(told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True):
        assert best[token] == score and len(best) in (3, 4)  # The token itself may be none of the three.
    scores = lm.token_scores("The " + text)
    assert told["token_ids"] == [one.id for one in scores]
    assert told["token_logprobs"] == pytest.approx([one.log_probability for one in scores], abs=1e-4)
    assert all(one.rank <= 2 for one in scores[4:])  # The unknown token may be likelier.
    _, nothing = client.ask("/v1/completions", {**sent, "max_tokens": 0})
    assert nothing["choices"][0]["logprobs"]["tokens"] == list("The ")
    assert nothing["choices"][0]["text"] == "The " and nothing["usage"]["completion_tokens"] == 0


def test_characters_of_several_bytes(client, loaded):
    """A character stands where its last byte is, whether it is echoed, scored or generated."""
    text = "a\u00e9\u20ac\U0001f600"
    sent = {"model": "chat", "prompt": text, "max_tokens": 0, "logprobs": 5, "echo": True}
    _, found = client.ask("/v1/completions", sent)
    told = found["choices"][0]["logprobs"]
    assert told["tokens"] == ["a", "", "\u00e9", "", "", "\u20ac", "", "", "", "\U0001f600"]
    assert told["text_offset"] == [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert bytes(byte for one in told["bytes"] for byte in one) == text.encode()
    assert told["top_logprobs"][1]["bytes:\\xc3"] == told["token_logprobs"][1]
    assert all(len(best) >= 5 for best in told["top_logprobs"])  # No two of them have one name.
    _, found = client.ask("/v1/score", {"model": "chat", "input": text})
    scored = found["data"][0]["tokens"]
    assert [one["token"] for one in scored] == told["tokens"]
    assert [one["bytes"] for one in scored] == told["bytes"]
    sent |= {"max_tokens": 40, "logit_bias": {"0": -1000, **{str(byte): 5 for byte in range(180, 240)}}}
    for echo in (True, False):
        _, found = client.ask("/v1/completions", {**sent, "echo": echo})
        (choice,) = found["choices"]
        assert "".join(choice["logprobs"]["tokens"]) == choice["text"] and "\ufffd" in choice["text"]


def test_every_way_counts_the_same_tokens(client):
    sent = {"model": "gpt", "prompt": ["The old", "A"], "max_tokens": 3}
    ways = [{}, {"num_beams": 2}, {"echo": True, "logprobs": 1}, {"echo": True, "max_tokens": 0},
            {"echo": True, "max_tokens": 0, "logprobs": 1}, {"long_prompt": "keep_end"}]  # fmt: skip
    for way in ways:
        _, found = client.ask("/v1/completions", {**sent, **way})
        assert found["usage"]["prompt_tokens"] == 8 + 2, way


def test_a_conversation(client, loaded):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    sent = {"model": "chat", "messages": messages, "max_completion_tokens": 25, "temperature": 0}
    expected = loaded["chat"].chat(messages, temperature=0, max_new_tokens=25)
    status, found = client.ask("/v1/chat/completions", {**sent, "logprobs": True, "top_logprobs": 2})
    assert status == 200, found
    assert found["choices"][0]["message"] == {"role": "assistant", "content": expected, "refusal": None}
    content = found["choices"][0]["logprobs"]["content"]
    assert "".join(one["token"] for one in content) == expected
    assert all(len(one["top_logprobs"]) == 2 for one in content)
    pieces = list(client.events("/v1/chat/completions", sent))
    assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == expected
    assert pieces[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    assert [piece["choices"][0]["delta"].get("role") for piece in pieces][:2] == ["assistant", None]
    assert all("usage" not in piece for piece in pieces)
    halves = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    sent["messages"] = [messages[0], {"role": "user", "content": halves}]
    _, found = client.ask("/v1/chat/completions", {**sent, "tool_choice": "auto", "tools": []})
    assert found["choices"][0]["message"]["content"] == expected


def test_an_answer_ends_where_the_context_is_full(client, loaded):
    """It is as long as the context leaves room, though more is allowed."""
    never = {str(token): -1000 for token in loaded["chat"].answer._ends}
    sent = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], "logit_bias": never}
    _, found = client.ask("/v1/chat/completions", {**sent, "max_completion_tokens": 400})
    usage = found["usage"]
    assert found["choices"][0]["finish_reason"] == "length"
    assert usage["prompt_tokens"] + usage["completion_tokens"] == 300 + 1  # Nothing reads the last one.
    _, found = client.ask("/v1/chat/completions", {**sent, "max_completion_tokens": 5})
    assert found["usage"]["completion_tokens"] == 5


def test_what_was_not_read_is_told(client, loaded):
    turns = [{"role": "user", "content": f"question {number}"} for number in range(40)]
    sent = {"model": "chat", "messages": turns, "max_tokens": 10, "long_prompt": "keep_end"}
    reply = loaded["chat"].chat(turns, stream=True, long_prompt="keep_end", max_new_tokens=10)
    left_out = len(turns) - len(reply.messages)
    _, found = client.ask("/v1/chat/completions", sent)
    first = next(client.events("/v1/chat/completions", sent))
    for (choice,) in (found["choices"], first["choices"]):
        assert choice["truncated"] is True and choice["messages_left_out"] == left_out > 0
    _, found = client.ask("/v1/chat/completions", {**sent, "messages": turns[-1:]})
    assert "truncated" not in found["choices"][0]
    sent = {"model": "gpt", "prompt": "a" * 400, "max_tokens": 10, "long_prompt": "keep_end"}
    _, found = client.ask("/v1/completions", sent)
    assert found["choices"][0]["tokens_left_out"] == 401 - found["usage"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("path", "model"), [("classify", "classes"), ("tag", "tags"), ("translate", "pairs")]
)
def test_a_text_that_is_cut_says_so(client, loaded, path, model):
    room, texts = loaded[model].answer.room, ["a b " * 30, "a b"]
    assert 3 < room < 120
    for how, is_cut in [("cut_end", True), ("cut_start", True), ("windows", False)]:
        _, found = client.ask(f"/v1/{path}", {"model": model, "input": texts, "too_long": how})
        long, short = found["data"]
        assert long["truncated"] is is_cut and short["truncated"] is False
        assert long["tokens_read"] == (room if is_cut else long["tokens"]) and long["tokens"] >= 100
        assert short["tokens_read"] == short["tokens"] == (4 if path == "tag" else 3)
    status, found = client.ask(f"/v1/{path}", {"model": model, "input": texts, "too_long": "error"})
    assert status == 400 and f"the model reads {room}; shorten it" in found["error"]["message"]
    assert found["error"]["param"] == "input"
    with served({model: loaded[model]}, max_prompt=50) as small:
        status, found = small.ask(f"/v1/{path}", {"model": model, "input": texts})
        assert status == 400 and "and this server reads 50 at most" in found["error"]["message"]
        assert small.ask(f"/v1/{path}", {"model": model, "input": texts[1]})[0] == 200


def test_conversations_share_a_batch_and_keep_their_answers(client, loaded):
    asked = [[{"role": "user", "content": "Hello there"[:length]}] for length in range(1, 11)]
    how = {"temperature": 0, "max_tokens": 20}

    def ask(messages):
        _, found = client.ask("/v1/chat/completions", {"model": "chat", "messages": messages, **how})
        return found["choices"][0]["message"]["content"]

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        found = list(pool.map(ask, asked))
    assert found == [loaded["chat"].chat(messages, temperature=0, max_new_tokens=20) for messages in asked]


def test_scores_have_ranks(client, loaded):
    text = "The old cat sees a dog."
    _, found = client.ask("/v1/score", {"model": "lstm", "input": [text, ""], "top_logprobs": 2})
    one, empty = found["data"]
    assert empty["tokens"] == [] and empty["nats"] == 0
    (expected,) = loaded["lstm"].score([text])
    assert one["nats"] == pytest.approx(expected["nats"], rel=1e-5)
    assert "".join(token["token"] for token in one["tokens"]) == text
    for token in one["tokens"]:
        best = token["top_logprobs"]
        assert (token["rank"] == 1) == (best[0]["id"] == token["id"])
        assert token["rank"] <= 2 or token["logprob"] <= best[1]["logprob"]


def test_scores_of_a_text_longer_than_the_context(loaded):
    text = "The old cat sees a dog. " * 20
    tokens = loaded["gpt"].token_scores(text)
    (expected,) = loaded["gpt"].score([text])
    assert -sum(one.log_probability for one in tokens) == pytest.approx(expected["nats"], rel=1e-5)


def test_labels_and_targets(client, loaded):
    texts = ["a cat", "the dog sees"]
    _, found = client.ask("/v1/classify", {"model": "classes", "input": texts})
    for one, expected in zip(found["data"], loaded["classes"].classify(texts), strict=True):
        assert one["label"] == expected["label"]
        assert one["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)
    for given in (texts, [["Ada", "sees"], "a dog"]):
        _, found = client.ask("/v1/tag", {"model": "tags", "input": given})
        expected = loaded["tags"].tag(given)
        spans = [
            [(s["start"], s["end"], s["type"], s["text"]) for s in one["spans"]] for one in found["data"]
        ]
        assert spans == [[span[:4] for span in one] for one in expected]
    _, found = client.ask("/v1/translate", {"model": "pairs", "input": texts, "num_beams": 2})
    assert [one["text"] for one in found["data"]] == loaded["pairs"].translate(texts, num_beams=2)
    assert all(len(one["hypotheses"]) == 2 for one in found["data"])


def test_requests_share_a_batch_and_keep_their_texts(client, loaded, monkeypatch):
    """Law 8 under load: 24 requests at once, some with their own rules; and calls made together."""
    lm, most = loaded["gpt"], []
    advance = type(client.scheduler)._advance

    def watched(self):
        most.append(self.texts[0])
        advance(self)

    monkeypatch.setattr(type(client.scheduler), "_advance", watched)
    asked = [
        (
            {"seed": n, "max_new_tokens": 10 + 3 * n, **({"top_k": 4} if n % 5 == 0 else {})},
            "The cat"[: n % 7],
        )
        for n in range(24)
    ]

    def ask(one):
        settings, prompt = one
        sent = {**settings, "max_tokens": settings["max_new_tokens"]}
        del sent["max_new_tokens"]
        return client.complete(prompt, **sent)

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        found = list(pool.map(ask, asked))
    assert found == [lm.generate([prompt], **settings) for settings, prompt in asked]
    assert max(most) == client.options.max_batch


def test_the_check_of_shared_batches_can_fail(client, loaded, monkeypatch):
    monkeypatch.setattr("lm_keras.sampling.shared_batch.uniform_numbers", lambda key, first, count: (
        uniforms.uniform_numbers(key, 0, count)))  # fmt: skip
    assert client.complete("The", seed=1, max_tokens=40) != loaded["gpt"].generate(
        ["The"], seed=1, max_new_tokens=40
    )


def test_the_official_client(client, loaded):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{client.port}/v1", api_key="none") as official:
        assert [model.id for model in official.models.list()] == list(loaded)
        how = {"model": "gpt", "prompt": "The", "max_tokens": 20, "temperature": 0}
        (expected,) = loaded["gpt"].generate(["The"], max_new_tokens=20, temperature=0)
        assert official.completions.create(**how).choices[0].text == expected
        stream = official.completions.create(**how, stream=True)
        assert "".join(piece.choices[0].text for piece in stream) == expected
        messages = [{"role": "user", "content": "Hi"}]
        how = {"model": "chat", "messages": messages, "max_tokens": 20, "seed": 2}
        reply = official.chat.completions.create(**how, logprobs=True, top_logprobs=1)
        expected = loaded["chat"].chat(messages, max_new_tokens=20, seed=2)
        assert reply.choices[0].message.content == expected and reply.usage.completion_tokens <= 20
        stream = official.chat.completions.create(**how, stream=True)
        assert "".join(piece.choices[0].delta.content or "" for piece in stream) == expected
        with official.chat.completions.stream(**how) as events:
            assert [event.content for event in events if event.type == "content.done"] == [expected]
        messages.append(reply.choices[0].message)  # The way in which clients go on.
        messages.append({"role": "user", "content": "And?"})
        reply = official.chat.completions.create(**how)
        said = [{"role": "assistant", "content": expected}]
        expected = loaded["chat"].chat([messages[0], *said, messages[2]], max_new_tokens=20, seed=2)
        assert reply.choices[0].message.content == expected
        with pytest.raises(openai.NotFoundError, match="there is no such model"):
            official.completions.create(model="other", prompt="x")
        with pytest.raises(openai.BadRequestError) as caught:
            official.completions.create(model="gpt", prompt="x", temperature=-1)
        assert caught.value.param == "temperature" and caught.value.body["type"] == "invalid_request_error"


def test_the_log_has_a_line_a_request_and_no_text(client):
    before = len(client.log)
    client.complete("The old cat", max_tokens=5, temperature=0)
    client.ask("/v1/completions", {"model": "gpt", "prompt": "The old cat", "max_tokens": "five"})
    client.wait(lambda: len(client.log) >= before + 2)
    line, wrong = client.log[before:]
    assert line.startswith("127.0.0.1 POST /v1/completions 200 model=gpt read=12 generated=")
    assert wrong.startswith("127.0.0.1 POST /v1/completions 400 ")
    assert "old" not in json.dumps(client.log)
