"""A run of scripts/train_embeddings.py: its folder, and a run in several launches."""

import json
import os
import signal

import numpy as np
import pytest

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.vectors import header_of, read_vectors
from lm_keras.embeddings.tables import Tables
from lm_keras.errors import InputError

TINY = ["--embedding_dim=7", "--batch_size=3", "--sequence_length=30", "--epochs=3", "--log_every=7",
    "--min_count=2"]  # fmt: skip


@pytest.fixture(scope="session")
def embed(script, shared_corpus):
    """A function that carries out a small run of 66 steps."""

    def execute(path, *flags):
        corpus = f"--corpus=text:{shared_corpus}"
        return script("train_embeddings.py", corpus, f"--run_dir={path}", *TINY, *flags)

    return execute


@pytest.fixture(scope="session")
def embedded(embed, tmp_path_factory):
    """A finished run, and what it wrote."""
    path = tmp_path_factory.mktemp("runs") / "embedded"
    return path, embed(path)


def table_of(path):
    return {word.decode(): vector.tobytes() for word, vector in read_vectors(path, header_of(path))}


def test_a_run_writes_vectors_and_says_what_is_near(embedded, lines_of):
    path, ended = embedded
    assert ended.code == 0
    vectors = table_of(path / "vectors.txt")
    head = header_of(path / "vectors.txt")
    assert (len(vectors), head.width) == (head.words, 7)
    assert {"The", "cat", "likes"} < set(vectors) and not {"", "<eod>", "<unk>", "<U+000A>"} & set(vectors)
    lines = ended.out.splitlines()
    assert 1 < len(lines) <= 8 and all(line.split(": ")[0] in vectors for line in lines)
    metrics = lines_of(path / "metrics.jsonl")
    assert [line["step"] for line in metrics] == [7, 14, 21, 28, 35, 42, 49, 56, 63, 66]
    assert (
        metrics[0]["loss"] == pytest.approx(6 * np.log(2), rel=0.01)
        and metrics[-2]["loss"] < metrics[0]["loss"]
    )
    rates = [line["learning_rate"] for line in metrics]
    assert rates[0] == pytest.approx(0.025 * (1 - 6 / 66), rel=1e-3) and 0 < rates[-1] < 0.001
    assert f"model: skipgram, {head.words} words of 7 numbers; 66 steps\n" in ended.err


def test_the_projector_shows_the_vectors(embedded):
    folder = embedded[0] / "events" / "train"
    text = (folder / "projector_config.pbtxt").read_text()
    labels = (folder / "tokens.tsv").read_text().splitlines()
    vectors = table_of(embedded[0] / "vectors.txt")
    assert "embedding.bytes" in text and labels[0] == "token\tid\tcount"
    points = np.fromfile(folder / "embedding.bytes", "<f4").reshape(-1, 7)
    assert [line.split("\t")[0] for line in labels[1:]] == list(vectors)
    assert [point.tobytes() for point in points] == list(vectors.values())


def test_stopped_and_resumed_is_the_run_that_was_not(embed, embedded, tmp_path, monkeypatch, lines_of):
    """Three launches: stopped at step 9, killed after step 25 (whose last checkpoint is that of 20), and to
    the end.
    """
    path, original, steps = tmp_path / "parts", Tables.step, []

    def stopped(self, batch, rate):
        steps.append(rate)
        if len(steps) == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        if len(steps) == 25:
            raise KeyboardInterrupt
        return original(self, batch, rate)

    monkeypatch.setattr(Tables, "step", stopped)
    ended = embed(path, "--checkpoint_every=5")
    assert ended.code == 143 and ended.out == ""
    stopped_at = len(steps)
    assert 9 <= stopped_at < 25
    assert ended.err.endswith(
        f"stopped at step {stopped_at}, everything is saved; the same command goes on from there\n"
    )
    assert embed(path, "--checkpoint_every=5").code == 130  # Killed, for all that the run can do.
    assert RunFolder(path).checkpoints().newest() == 20
    monkeypatch.setattr(Tables, "step", original)
    ended = embed(path, "--log_every=7")
    assert "going on from step 20 of 66\n" in ended.err
    assert ended.out == embedded[1].out
    assert (path / "vectors.txt").read_bytes() == (embedded[0] / "vectors.txt").read_bytes()
    measured = {"seconds", "tokens_per_second"}
    parts, whole = (
        [{k: v for k, v in line.items() if k not in measured} for line in lines_of(folder / "metrics.jsonl")]
        for folder in (path, embedded[0])
    )
    assert parts == whole
    last = [RunFolder(folder).checkpoints() for folder in (path, embedded[0])]
    assert [each.newest() for each in last] == [66, 66]


def test_a_finished_run_says_it_again(embed, embedded, monkeypatch):
    monkeypatch.setattr(Tables, "step", None)
    assert embed(embedded[0]).out == embedded[1].out


def test_another_seed_and_cbow_give_other_vectors(embed, embedded, tmp_path):
    for number, flag in enumerate(("--seed=2", "--method=cbow")):
        assert embed(tmp_path / str(number), flag).code == 0
        assert (
            table_of(tmp_path / str(number) / "vectors.txt").keys()
            == table_of(embedded[0] / "vectors.txt").keys()
        )
        assert table_of(tmp_path / str(number) / "vectors.txt") != table_of(embedded[0] / "vectors.txt")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--window=3"], "--run_dir=RUN holds a run with other settings: --window: 5 in the run, 3 now. Use "
            "the same"),
        (["--min_count=999"],
            "of 36 tokens 0 come at least --min_count=999 times in the training text; give"),
        (["--method=glove"], "--method=glove is unknown; choose one of skipgram, cbow"),
        (["--subsample=-1"], "--subsample=-1.0 is out of range; expected a number of at least 0 and of at "
            "most 1"),
        (["--run_dir="], "--run_dir is missing: expected the folder for this run"),
        (["--learning_rate=1e30"], "the loss is not finite at step "),
        (["--embedding_dim=2000000000"], "two tables of 36 tokens x --embedding_dim=2000000000 take"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(embed, embedded, tmp_path, flags, problem):
    same = flags[0].startswith("--window")
    ended = embed(embedded[0] if same else tmp_path / "run", *flags)
    error = ended.err.splitlines()[-1].replace(str(embedded[0]), "RUN")
    assert (ended.code, ended.out) == (1, "")
    assert error.startswith(f"error: {problem}")


def test_the_folders_of_both_scripts_are_not_mixed_up(embed, embedded, finished, script):
    ended = script("sample.py", f"--run_dir={embedded[0]}")
    assert ended.err.startswith(f"error: --run_dir={embedded[0]} holds word embeddings and no language model")
    ended = script("train.py", f"--run_dir={embedded[0]}")
    assert ended.err.startswith(f"error: --run_dir={embedded[0]} holds word embeddings and no language model")
    ended = embed(finished.path)
    assert ended.err.startswith(f"error: --run_dir={finished.path} holds no word embeddings but a run of")


def test_changed_text(embed, embedded, tmp_path, english):
    (tmp_path / "a.txt").write_text(english)
    assert embed(tmp_path / "run", f"--corpus=text:{tmp_path}/a.txt", "--epochs=1").code == 0
    (tmp_path / "a.txt").write_text(english.replace("cat", "cow"))
    ended = embed(tmp_path / "run", f"--corpus=text:{tmp_path}/a.txt", "--epochs=1")
    assert ended.err.splitlines()[-1].startswith(
        f"error: the train text of text:{tmp_path}/a.txt has changed since"
    )


def test_a_small_text_is_used_whole(embed, tmp_path):
    """Nothing is validated, so nothing has to be held out."""
    (tmp_path / "a.txt").write_text("hello world\nhow are you\nhello you\n")
    flags = [f"--corpus=text:{tmp_path}/a.txt", "--epochs=1", "--min_count=1"]
    ended = embed(tmp_path / "run", *flags)
    assert ended.code == 0
    assert (
        f"\ntext:{tmp_path}/a.txt is too small to hold any of it out, which word vectors don't need: "
        in ended.err
    )
    assert set(table_of(tmp_path / "run" / "vectors.txt")) == {"hello", "world", "how", "are", "you"}
    assert embed(tmp_path / "run", *flags).code == 0


@pytest.mark.parametrize("tokenizer", ["char", "byte"])
def test_tokens_that_are_no_words_have_names(embed, tmp_path, tokenizer):
    assert embed(tmp_path / "run", f"--tokenizer={tokenizer}", "--epochs=1").code == 0
    vectors = table_of(tmp_path / "run" / "vectors.txt")
    assert {"▁", "<U+000A>", "a"} < set(vectors)
    ended = embed(tmp_path / "run", f"--tokenizer={tokenizer}", "--epochs=1", "--within_lines")
    assert "--within_lines: False in the run, True now" in ended.err


def test_its_settings_are_a_flagfile(embedded, script):
    assert json.loads((embedded[0] / "config.json").read_text())["kind"] == "word embeddings"
    ended = script("train_embeddings.py", f"--flagfile={embedded[0]}/flags.txt")
    assert (ended.code, ended.out) == (0, embedded[1].out)
    with pytest.raises(InputError, match="holds word embeddings"):
        RunFolder(embedded[0]).config()
