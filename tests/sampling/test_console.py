import io
import json
import sys
import types

import pytest

from lm_keras.errors import InputError
from lm_keras.sampling import console
from lm_keras.sampling.generate import Sampler


@pytest.fixture
def lm(tiny, tokenizer):
    sampler = Sampler(tiny, tokenizer)
    members = {name: getattr(sampler, name) for name in ("generate", "sample", "stream", "unknown_parts")}

    class Model(types.SimpleNamespace):
        tokens_generated = property(lambda self: sampler.tokens_generated)

    model = types.SimpleNamespace(bidirectional=False)
    return Model(tokenizer=tokenizer, model=model, **members)


HOW = {"stream": True, "color": False, "as_json": False}


def shown(lm, capsys, prompt="ab", settings=None, **how):
    console.show(lm, prompt, {"max_new_tokens": 9, "seed": 4, **(settings or {})}, **{**HOW, **how})
    return capsys.readouterr()


def test_every_way_to_print_says_the_same(lm, capsys):
    text = lm.generate(["ab"], max_new_tokens=9, seed=4)[0]
    for how in ({"stream": True}, {"stream": False}):
        printed = shown(lm, capsys, **how)
        assert printed.out == f"ab{text}\n"
        assert printed.err.startswith("9 tokens in ") and printed.err.count("\n") == 1
    colored = shown(lm, capsys, color=True).out
    for code in ("\x1b[32m", "\x1b[33m", "\x1b[35m", "\x1b[31m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == f"ab{text}\n"
    line = json.loads(shown(lm, capsys, as_json=True, settings={"top_logprobs": 3}).out)
    assert (line["prompt"], line["text"], line["ended_by"]) == ("ab", text, "length")
    assert (
        len(line["token_ids"])
        == len(line["tokens"])
        == len(line["log_probabilities"])
        == len(line["likeliest"])
        == 9
    )
    for chosen, score, best in zip(line["token_ids"], line["log_probabilities"], line["likeliest"]):
        scores = [other["log_probability"] for other in best]
        assert len(best) == 3 and scores == sorted(scores, reverse=True) and scores[0] >= score - 1e-6
        assert chosen not in [o["id"] for o in best] or score in [pytest.approx(s, abs=1e-5) for s in scores]


def test_colours_tell_how_likely_a_token_was(tokenizer):
    found = types.SimpleNamespace(
        text="aé#b", token_ids=(2, 8, 9, 6, 3, 0), log_probabilities=(-0.1, -1.0, -1.0, -3.0, -9.0, 0.0)
    )
    assert console.colored(found, tokenizer, "") == (
        "\x1b[32ma\x1b[0m\x1b[33mé\x1b[0m\x1b[35m#\x1b[0m\x1b[31mb\x1b[0m"
    )
    # What a stop string cut off is not shown.
    assert console.colored(types.SimpleNamespace(**{**vars(found), "text": "aé"}), tokenizer, "").endswith(
        "é\x1b[0m"
    )


def test_prompts_of_files_and_of_standard_input(tmp_path, monkeypatch):
    path = tmp_path / "prompt.txt"
    path.write_text("two\nlines\n", encoding="utf-8")
    assert console.given_prompt("", str(path)) == "two\nlines"
    assert console.given_prompt("x\n", None) == "x\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\n".encode())))
    assert console.given_prompt("", "-") == "é"
    monkeypatch.setattr(console, "PROMPT_BYTES", 5)
    for size in (5, 6):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a" * size)))
        path.write_bytes(b"a" * size)
        for file in ("-", str(path)):
            if size == 5:
                assert console.given_prompt("", file) == "aaaaa"
            else:
                with pytest.raises(
                    InputError, match=rf"--prompt_file={file} cannot be read: more than 5 bytes"
                ):
                    console.given_prompt("", file)
    path.write_bytes(b"ab\xff")
    for prompt, file, message in (
        ("x", str(path), "--prompt and --prompt_file contradict each other"),
        ("", str(path), "is no UTF-8 at byte 2"),
        ("", str(tmp_path / "nowhere"), "cannot be read: No such file"),
        ("", str(tmp_path), "cannot be read: no regular file"),
    ):
        with pytest.raises(InputError, match=message):
            console.given_prompt(prompt, file)


def test_a_conversation_goes_on_after_a_bad_line(lm, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n\ud800\nb"))
    console.converse(lm, {"max_new_tokens": 3, "seed": 1}, **HOW)
    printed = capsys.readouterr()
    expected = [f"{prompt}{lm.generate([prompt], max_new_tokens=3, seed=1)[0]}" for prompt in ("a", "b")]
    assert printed.out.rstrip("\n") == "\n".join(expected)
    assert printed.err.count(" tokens in ") == 2 and "error: prompt has the lone surrogate" in printed.err
    with pytest.raises(InputError, match="--color and --json contradict each other"):
        console.show(lm, "a", {}, stream=True, color=True, as_json=True)
