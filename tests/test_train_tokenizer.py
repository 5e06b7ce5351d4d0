"""scripts/train_tokenizer.py and the measurements of text in scripts/benchmark.py."""

import json
import re

import pytest

from lm_keras.text import load_tokenizer


@pytest.fixture
def corpus_flags(corpus, tmp_path):
    return [f"--corpus=text:{corpus}", f"--cache_dir={tmp_path}/cache"]


def test_train_and_take(script, corpus_flags, tmp_path):
    out = tmp_path / "a tokenizer"
    arguments = [*corpus_flags, "--tokenizer=word", "--vocab_size=20", f"--output_dir={out}"]
    first = script("train_tokenizer.py", *arguments)
    assert first.code == 0
    tokenizer = load_tokenizer(out)
    summary = re.fullmatch(
        r"word tokenizer: 20 tokens in the vocabulary, (0\.\d+) tokens a byte of the training text, "
        r"fingerprint (\w{64})\n",
        first.out,
    )
    assert summary[2] == tokenizer.fingerprint()
    assert 0.1 < float(summary[1]) < 0.3
    lines = first.err.splitlines()
    assert [line.split()[0] for line in lines] == ["reading", "training", "tokenizing", "next:"]
    assert lines[-1] == f"next: scripts/train.py --tokenizer='{out}' ..."
    again = script("train_tokenizer.py", *arguments)
    assert (again.code, again.out) == (0, first.out)
    other = script("train_tokenizer.py", *arguments, "--vocab_size=21")
    assert (other.code, other.out) == (1, "")
    assert (
        other.err.splitlines()[-1]
        == f"error: {out} holds another tokenizer; choose another --output_dir, or delete that one"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            [],
            (
                "--output_dir is missing: expected a folder for the tokenizer, such as"
                " --output_dir=tokenizers/first"
            ),
        ),
        (
            ["--output_dir=out", "--normalize=nfx"],
            "--normalize=nfx is unknown (did you mean 'nfd'?); choose one of ",
        ),
        (
            ["--output_dir=out", "--tokenizer=out"],
            "--tokenizer=out can't be trained; choose one of char, byte, word,",
        ),
        (["--output_dir=out", "--vocab_size=9999"], "vocab_size is 9999, but this corpus allows at most "),
    ],
)
def test_bad_input_is_one_line(script, corpus_flags, tmp_path, monkeypatch, arguments, error):
    monkeypatch.chdir(tmp_path)
    ended = script("train_tokenizer.py", *corpus_flags, *arguments)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.splitlines()[-1].startswith("error: " + error)
    assert not (tmp_path / "out").exists()


def test_the_rate_of_every_tokenizer(script, monkeypatch, tmp_path):
    from benchmarks.commands import text as text_benchmark

    monkeypatch.setattr(text_benchmark, "VOCAB_SIZES", {"word": 50, "sentencepiece": 310})
    monkeypatch.setattr(text_benchmark, "MEASURED_CHARACTERS", 30_000)
    (tmp_path / "a.txt").write_text("Der Fuchs läuft. 明月 The fox runs.\n" * 1500)
    ended = script("benchmark.py", "tokenize", f"--corpus=text:{tmp_path}/a.txt", "--repeats=3")
    results = [json.loads(line) for line in ended.out.splitlines()]
    assert [result["tokenizer"] for result in results] == [
        "char", "byte", "word", "sentencepiece", "sentencepiece library",
    ]  # fmt: skip
    for result in results:
        assert 0 < result["lowest"] <= result["megabytes_per_second"] <= result["highest"]
        assert result["repeats"] == 3
    assert results[3]["share_of_library"] > 0


def test_a_generated_text_is_prepared(script, monkeypatch):
    from benchmarks.commands import text as text_benchmark

    monkeypatch.setattr(text_benchmark, "GENERATE", _SMALL + text_benchmark.GENERATE)
    ended = script("benchmark.py", "prepare", "--gigabytes=0.00004", "--tokenizers=byte")
    (result,) = [json.loads(line) for line in ended.out.splitlines()]
    assert result["tokenizer"] == "byte"
    assert result["tokens"] == round(result["gigabytes"] * 1e9) > 40_000
    assert 20 < result["peak_mebibytes"] < 1000


_SMALL = """
from benchmarks.commands import text as small
small.GENERATED_WORDS, small.WORDS_AT_ONCE, small.LONG_LINE_CHARACTERS = 500, 3000, 1000
"""


def test_a_tokenizer_that_is_unknown(script):
    ended = script("benchmark.py", "prepare", "--tokenizers=byte,bite")
    assert (
        ended.err
        == "error: --tokenizers: 'bite' is unknown; expected some of char, byte, word, sentencepiece\n"
    )


def test_a_process_that_fails_is_one_line(script, monkeypatch):
    from benchmarks.commands import text as text_benchmark

    monkeypatch.setattr(text_benchmark, "GENERATE", "raise SystemExit('the disk is full')")
    ended = script("benchmark.py", "prepare")
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.err
        == "error: the measuring process failed: the disk is full; free memory or disk space, or measure less"
        " text\n"
    )


@pytest.mark.slow
def test_a_large_text_is_prepared_in_a_gigabyte(script):
    """300 MB; from there on nothing grows with the text. The command's own default is 2 GB."""
    results = [
        json.loads(line) for line in script("benchmark.py", "prepare", "--gigabytes=0.3").out.splitlines()
    ]
    assert {result["tokenizer"] for result in results} == {
        "char",
        "byte",
        "word",
        "sentencepiece",
        "sentencepiece (unigram)",
    }
    assert all(result["peak_mebibytes"] * 2**20 < 1e9 for result in results), results
