"""The OpenAI protocol: what goes in, what comes out, and that it is what the model itself says."""

import concurrent.futures
import json

import pytest

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
    texts, tokens, reasons = [""] * 4, [0] * 4, [None] * 4
    *pieces, last = client.events("/v1/completions", sent)
    for piece in pieces:
        (choice,) = piece["choices"]
        number = choice["index"]
        assert reasons[number] is None
        texts[number] += choice["text"]
        tokens[number] += len(choice["logprobs"]["tokens"])
        reasons[number] = choice["finish_reason"]
    assert texts == loaded["gpt"].generate(["The", "A"], max_new_tokens=30, num_samples=2)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == sum(tokens)
    assert last["usage"]["prompt_tokens"] == 4 + 2 and set(reasons) <= {"stop", "length"}
    assert len(pieces) > 4


def test_log_probabilities(client, loaded):
    sent = {"model": "gpt", "prompt": "The ", "max_tokens": 12, "temperature": 0, "logprobs": 3, "echo": True}
    _, found = client.ask("/v1/completions", sent)
    (choice,) = found["choices"]
    told, lm = choice["logprobs"], loaded["gpt"]
    (text,) = lm.generate(["The "], max_new_tokens=12, temperature=0)
    assert choice["text"] == "The " + text == "".join(told["tokens"])
    assert told["text_offset"] == list(range(16)) and len(told["top_logprobs"][0]) == 3
    scores = lm.token_scores("The " + text)
    assert told["token_ids"] == [one.id for one in scores]
    assert told["token_logprobs"] == pytest.approx([one.log_probability for one in scores], abs=1e-4)
    assert all(one.rank <= 2 for one in scores[4:])  # The unknown token may be likelier.
    _, nothing = client.ask("/v1/completions", {**sent, "max_tokens": 0})
    assert nothing["choices"][0]["logprobs"]["tokens"] == list("The ")
    assert nothing["choices"][0]["text"] == "The " and nothing["usage"]["completion_tokens"] == 0


def test_a_conversation(client, loaded):
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    sent = {"model": "chat", "messages": messages, "max_completion_tokens": 25, "temperature": 0}
    expected = loaded["chat"].chat(messages, temperature=0, max_new_tokens=25)
    status, found = client.ask("/v1/chat/completions", {**sent, "logprobs": True, "top_logprobs": 2})
    assert status == 200, found
    assert found["choices"][0]["message"] == {"role": "assistant", "content": expected, "refusal": None}
    content = found["choices"][0]["logprobs"]["content"]
    said = "".join(one["token"] for one in content)
    assert expected.startswith(said) and set(expected[len(said) :]) <= {"\ufffd"}  # Half a character.
    assert all(len(one["top_logprobs"]) == 2 for one in content)
    pieces = list(client.events("/v1/chat/completions", sent))
    assert "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == expected
    assert pieces[-1]["choices"][0]["finish_reason"] in ("stop", "length")


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
    openai = pytest.importorskip("openai")
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
