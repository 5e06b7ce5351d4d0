"""Law 9: every bad input ends in one line that names what was wrong, what was expected and what to do."""

import gzip
import json
import os
import re
import shutil

import pytest

import lm_keras
from lm_keras import InputError
from lm_keras.checkpoints.records import OWN_SUM
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.data.preparation import prepare
from lm_keras.registry import OF_WHOLE_TEXT


@pytest.fixture
def refused(train, tiny_config, tmp_path, monkeypatch, contents_of):
    """A function that returns the text of the error in which a new run ends; nothing of the run
    may remain.
    """
    monkeypatch.chdir(tmp_path)

    def message(run_dir="run", resume="auto", **settings):
        before = contents_of(tmp_path)
        with pytest.raises(InputError) as caught:
            train(tiny_config(**settings), run_dir, resume)
        assert contents_of(tmp_path) == before
        assert (
            run_dir is None or not os.path.exists(run_dir) or os.path.isfile(run_dir) or os.listdir(run_dir)
        )
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return message


SENTENCES = [f"The {word} cat sees the tree.\n" for word in ("old", "red", "quiet", "happy", "small") * 12]
TEXT = "".join(SENTENCES).encode()


def corpora(folder):
    """What can be wrong with a corpus: name -> (file name, its content, what is said)."""
    packed = gzip.compress(TEXT, mtime=0)
    records = b'{"text": "The cat."}\n{"title": "The dog.", "texts": "The bird."}\n'
    return {
        "missing": (
            "text:poem.txt", "poems.txt", TEXT,
            "no file poem.txt (did you mean 'poems.txt'?): expected a file or glob, looked from the folder "
            "{folder}",
        ),
        "no match": (
            "text:deep/*.txt", "deep/a.text", TEXT,
            "no file matches deep/*.txt: looked from the folder {folder}/deep, which has a.text; expected at "
            "least one file",
        ),
        "folder": (
            "text:deep", "deep/a.txt", TEXT,
            "deep is a folder: expected files; write deep/*.txt or deep/**/*.txt",
        ),
        "empty": ("text:a.txt", "a.txt", b"", "a.txt is empty: expected text; leave it out of the corpus or "
            "fill it"),
        "blank": (
            "text:a.txt", "a.txt", b" \n\t\r\n\n",
            "a.txt is empty: expected text; leave it out of the corpus or fill it",
        ),
        "bad UTF-8": (
            "text:a.txt", "a.txt", TEXT + b"caf\xe9\n",
            f"a.txt: bad UTF-8 (byte 0xE9) at byte {len(TEXT) + 3}, line 61: expected UTF-8 text; "
            "it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)",
        ),
        "NUL": (
            "text:a.txt", "a.txt", b"a\nb\0\n" + TEXT,
            "a.txt: a NUL byte at byte 3, line 2: expected UTF-8 text; "
            "fix the file, or pass --on_bad_text=replace or --on_bad_text=skip",
        ),
        "truncated": (
            "text:a.txt.gz", "a.txt.gz", packed[:-9],
            "a.txt.gz is a truncated gzip file: its end is missing; fetch or pack it again",
        ),
        "no field": (
            "text:a.jsonl", "a.jsonl", records,
            "a.jsonl:2: no field 'text' (did you mean 'texts'?): the fields there are 'texts', 'title'; "
            "name the one with the text with --text_field; --on_bad_text=skip leaves such lines out",
        ),
        "one line": (
            "text:a.txt", "a.txt", b"The cat sees the tree.",
            "the valid split of text:a.txt comes out empty: expected enough lines, or words of a single "
            "line, to cut 22 "
            "bytes there; use more text, or pass --valid_corpus",
        ),
        "unknown": (
            "txt:a.txt", "a.txt", TEXT,
            "unknown corpus 'txt:a.txt' (did you mean 'text:a.txt'?): expected "
            "python-docs[:libraries|:names|:signatures|:questions], "
            "text:GLOB such as text:data/*.txt, tsv:GLOB, "
            "csv:GLOB, jsonl:GLOB, lines:SOURCE,TARGET such as lines:train.de,train.en, conll:GLOB, or "
            "tfds:NAME[/CONFIG][:SPLIT] such as tfds:tiny_shakespeare",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", corpora(None))
def test_corpus(refused, tmp_path, name):
    corpus, path, content, expected = corpora(tmp_path)[name]
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_bytes(content)
    assert refused(corpus=corpus) == expected.replace("{folder}", str(tmp_path))


@pytest.mark.parametrize("bad", [b"caf\xe9\n", b"a\0b\n"])
def test_bad_text_may_be_replaced_or_skipped(tiny_config, tmp_path, bad):
    path = tmp_path / "a.txt"
    path.write_bytes(TEXT + bad)

    def tokens(policy):
        data = prepare(tiny_config(corpus=f"text:{path}", on_bad_text=policy, split="100/0/0").data)
        return data.tokenizer.decode(data.splits["train"].tokens[1:].tolist()), data.report["bad_text"]

    replaced = bad.replace(b"\xe9", "\ufffd".encode()).replace(b"\0", "\ufffd".encode())
    assert tokens("replace") == ((TEXT + replaced).decode(), {"train": {"replaced_sequences": 1}})
    assert tokens("skip") == (TEXT.decode(), {"train": {"skipped_lines": 1}})


def test_repaired_text_is_said(train, tiny_config, tmp_path, monkeypatch):
    from lm_keras.training import run as training_run

    (tmp_path / "a.txt").write_bytes(TEXT + b"caf\xe9\nnoch \xe9\xe9\n")
    monkeypatch.setattr(training_run.Run, "__init__", lambda self, *args: None)
    monkeypatch.setattr(training_run.Run, "execute", lambda self: 0)
    ended = train(tiny_config(corpus=f"text:{tmp_path}/a.txt", on_bad_text="replace"), tmp_path / "run")
    assert "\nbad text in train: 3 replaced sequences\n" in ended.err
    assert (
        f"\n{tmp_path}/a.txt: it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)\n"
        in ended.err
    )


def test_nothing_left_after_skipping(refused, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")
    assert (
        refused(corpus="text:a.txt", on_bad_text="skip")
        == "a.txt: nothing is left after skipping bad text: expected UTF-8 text; convert the file, "
        "or leave it out of the corpus"
    )


def test_a_text_shorter_than_a_sequence(refused, tmp_path):
    (tmp_path / "a.txt").write_text("cat\n" * 20)  # 72 bytes of it are for training
    assert (
        refused(corpus="text:a.txt", sequence_length=73)
        == "the training text has 72 tokens, fewer than one sequence of --sequence_length=73; "
        "give more text or a smaller --sequence_length"
    )
    assert refused(corpus="text:a.txt", sequence_length=10**6).startswith("the training text has 72 tokens")


@pytest.mark.parametrize("best_by", OF_WHOLE_TEXT)
def test_a_measure_that_text_with_unknown_tokens_does_not_have(
    refused, train, tiny_config, tmp_path, monkeypatch, best_by
):
    from lm_keras.training import run as training_run

    (tmp_path / "a.txt").write_bytes(TEXT)
    (tmp_path / "valid.txt").write_text("The zebra sees the tree.\n" * 5)
    settings = {"corpus": "text:a.txt", "valid_corpus": "text:valid.txt", "tokenizer": "word"}
    assert refused(**settings, best_by=best_by) == (
        f"--best_by={best_by}: 5 tokens of the text to validate on are unknown to the tokenizer, so that "
        "it has no such measure; take nats_per_token, perplexity or accuracy"
    )
    # The control: the same text has the other measures, and text without unknown tokens has this one.
    monkeypatch.setattr(training_run.Run, "__init__", lambda self, *args: None)
    monkeypatch.setattr(training_run.Run, "execute", lambda self: 0)
    train(tiny_config(**settings, best_by="accuracy"), tmp_path / "other")
    (tmp_path / "valid.txt").write_text("The old cat sees the tree.\n" * 5)
    train(tiny_config(**settings, best_by=best_by), tmp_path / "known")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"tokenizer": "char"},
            r"vocab_size is 999, but this corpus has 20 different characters: expected 3 to (\d+) "
            r"\(with <eod> and <unk>\); leave vocab_size out to keep every character",
        ),
        (
            {"tokenizer": "sentencepiece", "byte_fallback": False},
            r"vocab_size is 999, but this corpus allows at most (\d+) pieces: set vocab_size to \d+ or less, "
            r"or use a larger corpus",
        ),
    ],
    ids=["char", "sentencepiece"],
)  # fmt: skip
def test_a_vocabulary_larger_than_the_text_allows(refused, tiny_config, tmp_path, settings, expected):
    (tmp_path / "a.txt").write_bytes(TEXT)
    settings["corpus"] = f"text:{tmp_path}/a.txt"
    message = refused(**settings, vocab_size=999)
    largest = int(re.fullmatch(expected, message)[1])
    # What it names is possible, and one more is not.
    assert prepare(tiny_config(**settings, vocab_size=largest).data).tokenizer.vocab_size == largest
    assert str(largest) in refused(**settings, vocab_size=largest + 1)


def test_no_run_dir(refused):
    expected = "--run_dir is missing: expected the folder for this run, such as --run_dir=runs/first"
    assert refused(run_dir=None) == expected
    assert refused(run_dir="") == expected


def test_a_run_dir_that_is_no_folder(refused, tmp_path):
    (tmp_path / "file").write_text("thesis")
    assert (
        refused(run_dir="file")
        == "cannot write to --run_dir=file: File exists; choose a folder that can be written"
    )
    assert (
        refused(run_dir="file/run")
        == "cannot write to --run_dir=file/run: Not a directory; choose a folder that can be written"
    )


def test_a_run_dir_with_something_else_in_it(refused, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("my life's work")
    assert refused() == "--run_dir=run is not empty and holds no run; choose another folder"


def test_resume_must_without_a_run(refused):
    assert (
        refused(resume="must")
        == "--resume=must, but --run_dir=run holds no run; begin one with --resume=auto"
    )


def test_rows_that_cannot_be_shared(refused):
    assert (
        refused(replicas=5)
        == "--batch_size=12 rows can't be shared evenly by 5 replicas x 1 micro-batches; take a multiple of 5"
    )
    assert (
        refused(replicas=6)
        == "--replicas=6: TensorFlow already runs with 4 CPU devices in this process; start a new process"
    )


@pytest.fixture
def again(finished, train, tmp_path, contents_of):
    """A function that goes on with a copy of the finished run and returns the text of the error."""
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)

    def message(resume="auto", **settings):
        before = contents_of(path)
        with pytest.raises(InputError) as caught:
            train(from_flat({**finished.config.flat(), **settings}), path, resume)
        assert contents_of(path) == before
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(path), "RUN")

    return message


def test_a_run_of_other_settings(again):
    assert (
        again(hidden_units=14, dropout=0.2, valid_corpus="text:a.txt")
        == "--run_dir=RUN holds a run with other settings: --valid_corpus: None in the run, text:a.txt now; "
        "--hidden_units: 13 in the run, 14 now; --dropout: 0.1 in the run, 0.2 now. "
        "Use the same settings to go on, or another --run_dir"
    )


def test_resume_never_with_a_run(again):
    assert (
        again(resume="never")
        == "--resume=never, but --run_dir=RUN holds a run; choose another folder, or go on with --resume=auto"
    )


def test_fewer_steps(again):
    assert (
        again(steps=23) == "the run in RUN has 24 steps and can't be cut to 23; raise --steps or --epochs, "
        "or begin a new run with another --run_dir"
    )


def test_another_process_trains_there(again, tmp_path):
    with RunFolder(tmp_path / "run").writing():
        assert (
            again(steps=30)
            == "another process is training in --run_dir=RUN; wait for it, stop it, or choose another folder"
        )


@pytest.mark.parametrize("name", ["config.json", "data.json"])
def test_a_damaged_file_of_the_run(again, tmp_path, name):
    path = tmp_path / "run" / name
    path.write_text(path.read_text()[:-5])
    settings = {"steps": 30} if name == "data.json" else {}
    message = again(**settings)
    assert message.startswith(f"RUN/{name} cannot be read (")
    assert message.endswith("; restore it from a copy")


def test_damaged_results_are_computed_again(finished, train, tmp_path, contents_of):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    content = (path / "results.json").read_text()
    (path / "results.json").write_text(content.replace('"step": 24', '"step": 25'))
    ended = train(finished.config, path)
    assert (ended.code, ended.out) == (0, finished.ended.out)
    assert ended.err.count("results.json") == 1
    assert ended.err.startswith(
        f"{path}/results.json has other content than was written; the results are computed again from the"
        " last checkpoint\n"
    )
    assert "\ngoing on from step 24 of 24\n" in ended.err
    measured = {"saving_seconds": 0}
    assert {**RunFolder(path).results, **measured} == {**RunFolder(finished.path).results, **measured}
    after = contents_of(path)
    again = train(finished.config, path)
    assert again.err.startswith(f"the run in {path} is finished; this is what it reached\n")
    assert contents_of(path) == after


def test_a_damaged_tokenizer_of_the_run(again, tmp_path):
    path = tmp_path / "run" / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text()[:-5])
    assert again(steps=30).startswith(
        "RUN/tokenizer/tokenizer.json is damaged or no tokenizer: not valid JSON"
    )


def without_sum(content):
    """The fields of a JSON file of a run, but for its sum."""
    return {name: value for name, value in json.loads(content).items() if name != OWN_SUM}


@pytest.fixture
def with_own_text(finished, tmp_path, english):
    """A copy of the finished run that says it was trained on a file of its own, and that file."""
    path, text = tmp_path / "run", tmp_path / "own.txt"
    shutil.copytree(finished.path, path)
    text.write_text(english)
    for name in ("config.json", "data.json"):
        content = (path / name).read_text().replace(finished.config.data.corpus, f"text:{text}")
        RunFolder(path).write_json(name, without_sum(content))
    return path, text


def test_a_text_that_changed_since_the_run_began(with_own_text, train, contents_of):
    path, text = with_own_text
    lm = lm_keras.load(path)
    assert lm.evaluate("valid")["tokens"] > 400  # the same text at another place is the same text
    text.write_text(text.read_text().replace("happy", "merry"))
    before = contents_of(path)
    with pytest.raises(InputError) as caught:
        train(from_flat({**lm.config.flat(), "steps": 30}), path)
    assert (
        str(caught.value) == f"the train text of text:{text} has changed since the run in {path} began; "
        "restore it, or begin a new run with another --run_dir"
    )
    assert contents_of(path) == before
    with pytest.raises(InputError) as caught:
        lm.evaluate("valid")
    assert (
        str(caught.value) == f"the valid text of text:{text} has changed since the run began; "
        "restore it, or score other text with --corpus=text:GLOB"
    )


def test_a_split_that_is_absent(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    data = without_sum((path / "data.json").read_text())
    del data["splits"]["test"]
    (path / "data.json").write_text(json.dumps(data))  # as somebody would by hand
    with pytest.raises(InputError) as caught:
        lm_keras.load(path).evaluate("test")
    assert (
        str(caught.value)
        == "split 'test' is absent in this run; it has train, valid; other text is scored with"
        " --corpus=text:GLOB"
    )


@pytest.fixture
def damaged(finished, tmp_path):
    """A function that damages some checkpoints of a copy of the finished run and returns its folder."""

    def harm(*steps):
        path = tmp_path / "run"
        shutil.copytree(finished.path, path)
        for step in steps or RunFolder(path).checkpoints().steps():
            data = path / "checkpoints" / f"step-{step:08d}" / "state.data-00000-of-00001"
            content = bytearray(data.read_bytes())
            content[len(content) // 2] ^= 1
            data.write_bytes(content)
        return path

    return harm


def test_the_last_checkpoint_is_damaged(damaged, capsys):
    path = damaged(24)
    assert lm_keras.load(path).step == 16
    assert (
        capsys.readouterr().err == f"checkpoint {path}/checkpoints/step-00000024 is damaged "
        "(state.data-00000-of-00001 has other content than was written); using the one before it\n"
    )


def test_the_best_checkpoint_is_damaged(damaged, capsys):
    assert lm_keras.load(damaged(24), checkpoint="best").step == 16
    assert (
        capsys.readouterr().err
        == "the checkpoint of step 24 is damaged (state.data-00000-of-00001 has other content than was"
        " written); using the best of the others\n"
    )


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_every_checkpoint_is_damaged(damaged, checkpoint):
    path = damaged()
    with pytest.raises(InputError) as caught:
        lm_keras.load(path, checkpoint)
    assert (
        str(caught.value) == f"every checkpoint in {path}/checkpoints is damaged; restore one from a copy, "
        "or begin a new run with another --run_dir"
    )


def test_no_checkpoint_yet(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path, ignore=shutil.ignore_patterns("step-*"))
    with pytest.raises(InputError) as caught:
        lm_keras.load(path)
    assert str(caught.value) == f"the run in {path} has no checkpoint yet; go on training it first"


def test_no_run(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError) as caught:
            lm_keras.load(path)
        assert (
            str(caught.value)
            == f"--run_dir={path} holds no run (no config.json); train one with scripts/train.py"
            f" --run_dir={path}"
        )


def test_checkpoints_of_another_network(finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    settings = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**settings, "hidden_units": 14}))
    with pytest.raises(InputError) as caught:
        lm_keras.load(path)
    assert str(caught.value).startswith(
        f"checkpoint {path}/checkpoints/step-00000024 does not fit this network ("
    )


NO_RUN_DIR = "--run_dir is missing: expected the folder of a run, such as --run_dir=runs/quickstart"

COMMANDS = {
    "train.py --run_dir=run --corpus=text:empty.txt": "empty.txt is empty: expected text",
    "train.py --run_dir=run --corpus=text:gone.txt": "no file gone.txt",
    "train.py": "--run_dir is missing: expected the folder for this run",
    "train.py --run_dir=RUN": "--run_dir=RUN holds a run with other settings: --corpus: text:",
    "train.py --flagfile=RUN/flags.txt --steps=9": "the run in RUN has 24 steps and can't be cut to 9",
    "train.py --run_dir=run --steps=3 --epochs=2": "--steps=3 and --epochs=2 contradict each other",
    "train.py --run_dir=run --hiden_units=3": "--hiden_units is unknown (did you mean --hidden_units?)",
    "train.py --dry_run --resume=must": "--run_dir is missing: expected the folder for this run",
    "train.py --run_dir=run --dryrun": "--dryrun is unknown (did you mean --dry_run?)",
    "train.py --run_dir=run --dry_run --corpus=text:gone.txt": "no file gone.txt",
    "train.py --run_dir=. --dry_run": "--run_dir=. is not empty and holds no run; choose another folder",
    "train.py --run_dir=empty.txt/run --dry_run": "cannot write to --run_dir=empty.txt/run: Not a directory",
    "train.py --run_dir=/proc/x/run --dry_run": (
        "cannot write to --run_dir=/proc/x/run: No such file or directory"
    ),
    "train.py --run_dir=run --dry_run --replicas=3 --batch_size=10": (
        "--batch_size=10 rows can't be shared evenly"
    ),
    "train.py --flagfile=RUN/flags.txt --steps=9 --dry_run": (
        "the run in RUN has 24 steps and can't be cut to 9"
    ),
    "evaluate.py": NO_RUN_DIR,
    "evaluate.py --run_dir=nowhere": "--run_dir=nowhere holds no run (no config.json); train one with",
    "evaluate.py --run_dir=RUN --stride=12": "stride=12: expected 1 to 11, the most tokens that the model "
    "sees at once",
    "evaluate.py --run_dir=RUN --checkpoint=newest": (
        "--checkpoint=newest is unknown (did you mean 'best'?); choose one of last, best"
    ),
    "evaluate.py --run_dir=RUN --corpus=text:gone.txt": "no file gone.txt",
    "sample.py": NO_RUN_DIR,
    "sample.py --run_dir=nowhere": "--run_dir=nowhere holds no run (no config.json); train one with",
    "sample.py --run_dir=RUN --temperature=-1": "--temperature=-1.0 is out of range; expected a number of at",
    "sample.py --run_dir=RUN The": "'The' is left over on the command line; every setting is a flag",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_scripts_say_it_in_one_line(script, finished, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").touch()
    ended = script(*command.replace("RUN", str(finished.path)).split())
    lines = ended.err.splitlines()
    assert (ended.code, ended.out) == (1, "")
    assert lines.pop().startswith("error: " + COMMANDS[command].replace("RUN", str(finished.path)))
    assert not [line for line in lines if not line.startswith(("devices: ", "reading "))]  # progress
    assert os.listdir(tmp_path) == ["empty.txt"]
