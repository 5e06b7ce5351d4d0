import functools
import io
import json
import sys
import types

import pytest

from lm_keras.errors import InputError
from lm_keras.sampling import console, prompts
from lm_keras.sampling.continuation import unknown_parts
from lm_keras.sampling.generate import Sampler
from lm_keras.text import ByteTokenizer, CharTokenizer, WordTokenizer


@pytest.fixture
def lm(tiny, tokenizer):
    sampler = Sampler(tiny, tokenizer)
    members = {name: getattr(sampler, name) for name in ("generate", "sample", "stream", "unknown_parts")}

    class Model(types.SimpleNamespace):
        tokens_generated = property(lambda self: sampler.tokens_generated)

    return Model(tokenizer=tokenizer, answer=types.SimpleNamespace(fills=lambda prompt: False), **members)


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
        text="aé#b",
        token_ids=(2, 8, 9, 6, 3, 0),
        log_probabilities=(-0.1, -1.0, -1.0, -3.0, -9.0, 0.0),
        ended_by="eod",
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
    assert prompts.given_prompt("", str(path)) == "two\nlines"
    assert prompts.given_prompt("x\n", None) == "x\n"
    for content, text in (("é\n", "é"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a\r", "a\r")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert prompts.given_prompt("", "-") == text
    monkeypatch.setattr(prompts, "PROMPT_BYTES", 5)
    for size in (5, 6):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a" * size)))
        path.write_bytes(b"a" * size)
        for file in ("-", str(path)):
            if size == 5:
                assert prompts.given_prompt("", file) == "aaaaa"
            else:
                with pytest.raises(
                    InputError, match=rf"--prompt_file={file} cannot be read: more than 5 bytes"
                ):
                    prompts.given_prompt("", file)
    path.write_bytes("a".encode("utf-16"))
    with pytest.raises(
        InputError, match=r"is not UTF-8 at byte 0; it is UTF-16, convert it \(iconv -f UTF-16 -t UTF-8\)"
    ):
        prompts.given_prompt("", str(path))
    path.write_bytes(b"ab\xff")
    for prompt, file, message in (
        ("x", str(path), "--prompt and --prompt_file contradict each other"),
        ("", str(path), "is not UTF-8 at byte 2"),
        ("", str(tmp_path / "nowhere"), "cannot be read: No such file"),
        ("", str(tmp_path), "cannot be read: no regular file"),
    ):
        with pytest.raises(InputError, match=message):
            prompts.given_prompt(prompt, file)


MARK = "\ufeff"
DROPPED = "byte order marks (U+FEFF) within the prompt were dropped:"
LACKING = "the vocabulary has no carriage return: those in the prompt were read as line ends ({})"
READ = "the prompt has carriage returns (1), and the model reads them"
AS_READ = [
    (f"{MARK}ab", "ab", []),
    (MARK, "", []),
    (f"{MARK}a{MARK}{MARK}b", "ab", [f"{DROPPED} 2"]),
    ("a\r\nb\rc", "a\nb\nc", [LACKING.format(2)]),
    (f"a{MARK}\r\n", "a\n", [f"{DROPPED} 1", LACKING.format(1)]),
]


@pytest.mark.parametrize(("given", "text", "said"), AS_READ)
def test_what_is_no_text_is_not_read(given, text, said):
    letters = CharTokenizer("\nabc", "none")
    assert prompts.as_read(given, letters, functools.partial(unknown_parts, letters)) == (text, said)


def test_carriage_returns_are_read_where_the_vocabulary_has_them():
    """Words know none: they are white space there."""
    for tokenizer, text, lines in (
        (CharTokenizer("\n\rab", "none"), "a\r\nb", [READ]),
        (ByteTokenizer("none"), "a\r\nb", [READ]),
        (WordTokenizer(["a", "b"], "none"), "a\nb", []),
    ):
        found, said = prompts.as_read("a\r\nb", tokenizer, functools.partial(unknown_parts, tokenizer))
        assert found == text and [line[: len(READ)] for line in said] == lines


def test_a_prompt_with_a_mark_is_continued_as_without(lm, capsys, monkeypatch):
    plain, marked = shown(lm, capsys), shown(lm, capsys, prompt=f"{MARK}a{MARK}b")
    assert marked.out == plain.out and marked.err.splitlines()[:-1] == [f"{DROPPED} 1"]
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{MARK}ab\n"))
    console.converse(lm, {"max_new_tokens": 9, "seed": 4}, **HOW)
    assert capsys.readouterr().out == plain.out


def test_likeliest_tokens_that_nothing_shows_are_refused(lm):
    with pytest.raises(
        InputError, match="--top_logprobs=3 is told by --json alone; add --json, or leave it out"
    ):
        console.show(lm, "a", {"top_logprobs": 3}, **HOW)


def test_a_text_that_ends_at_once_is_told_before_its_line(scripted, tokenizer):
    """In one stream, as on a terminal: the prompt is not written before the line that says why nothing
    follows it.
    """
    out = io.StringIO()
    sampler = Sampler(scripted([]), tokenizer, lambda line: out.write(f"{line}\n"))
    console._stream(sampler.stream(""), "ab", out)
    assert out.getvalue().splitlines() == [
        "the model ended the text at once, with a probability of 1; another seed gives another text, and "
        "logit_bias=0:-1000 keeps it from ending",
        "ab",
    ]


def test_a_conversation_goes_on_after_a_bad_line(lm, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n\ud800\nb"))
    console.converse(lm, {"max_new_tokens": 3, "seed": 1}, **HOW)
    printed = capsys.readouterr()
    expected = [f"{prompt}{lm.generate([prompt], max_new_tokens=3, seed=1)[0]}" for prompt in ("a", "b")]
    assert printed.out.rstrip("\n") == "\n".join(expected)
    assert printed.err.count(" tokens in ") == 2 and "error: prompt has the lone surrogate" in printed.err
    with pytest.raises(InputError, match="--color and --json contradict each other"):
        console.show(lm, "a", {}, stream=True, color=True, as_json=True)
