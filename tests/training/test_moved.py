"""Runs that were moved, copied, or are named from another working directory; and folders that cannot be
written.
"""

import json
import os
import shutil

import pytest

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.training import run as training_run


@pytest.fixture
def untrained(monkeypatch):
    """Let runs end where the network would be built."""
    monkeypatch.setattr(training_run.Run, "__init__", lambda self, *args: None)
    monkeypatch.setattr(training_run.Run, "execute", lambda self: 0)


def flag(path, name):
    """The value that a flagfile gives to a flag."""
    lines = (path / "flags.txt").read_text().splitlines()
    (value,) = [line.partition("=")[2] for line in lines if line.startswith(f"--{name}=")]
    return value


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory that is the home folder, too."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("how", ["b", "./b", "~/b", "../{}/b", "{}/b", "x=[1] ~#%'"])
def test_a_copied_run_goes_on_where_its_flagfile_is(finished, script, home, untrained, how, contents_of):
    where = how.format(home if how.startswith("{}") else home.name)
    path = os.path.expanduser(where)
    shutil.copytree(finished.path, path)
    original = contents_of(finished.path)
    ended = script("train.py", f"--flagfile={where}/flags.txt", "--steps=30")
    assert (ended.code, "the run now has 30 steps instead of 24" in ended.err) == (0, True)
    assert RunFolder(path).config().batches.steps == 30
    assert flag(RunFolder(path).path, "run_dir") == path
    assert contents_of(finished.path) == original
    # Of several flags that say it the last one counts, as ever.
    script("train.py", f"--flagfile={where}/flags.txt", f"--run_dir={home}/new")
    assert flag(home / "new", "run_dir") == f"{home}/new"


def test_a_run_that_is_in_its_place_is_called_as_it_was(finished, script, home, untrained):
    """Also through a link; and a file of the same name that is no run's says what it says."""
    shutil.copytree(finished.path, home / "a")
    script("train.py", "--flagfile=a/flags.txt", "--steps=30")
    (home / "link").symlink_to("a")
    script("train.py", "--flagfile=link/flags.txt", "--steps=31")
    assert (flag(home / "a", "run_dir"), RunFolder(home / "a").config().batches.steps) == ("a", 31)
    shutil.copy(home / "a" / "flags.txt", home / "flags.txt")
    for content in (None, "[]", "{}", '{"splits": {}}'):
        if content:
            (home / "data.json").write_text(content)
            (home / "config.json").write_text("{}")
        steps = RunFolder(home / "a").config().batches.steps + 1
        assert script("train.py", "--flagfile=flags.txt", f"--steps={steps}").code == 0
        assert RunFolder(home / "a").config().batches.steps == steps
    # The control: where a run is, the folder counts, and this one is none.
    (home / "data.json").write_text('{"splits": {}, "total_steps": 3}')
    assert script("train.py", "--flagfile=flags.txt").code == 1


def test_a_run_in_a_folder_that_is_called_by_a_tilde(finished, script, home, untrained):
    """Older versions took ~ for a name."""
    shutil.copytree(finished.path, home / "~" / "a")
    flagfile = home / "~" / "a" / "flags.txt"
    flagfile.write_text(flagfile.read_text().replace(f"--run_dir={finished.path}", "--run_dir=~/a"))
    assert script("train.py", "--flagfile=./~/a/flags.txt", "--steps=30").code == 0
    assert RunFolder(home / "~" / "a").config().batches.steps == 30
    assert not (home / "a").exists()


def test_the_next_commands_name_the_new_place(finished, script, home):
    shutil.copytree(finished.path, home / "two words")
    ended = script("train.py", "--flagfile=two words/flags.txt")
    assert f"the run in {'two words'} is finished" in ended.err
    assert ended.err.count("--run_dir='two words'") == 2
    assert "--logdir='two words'" in ended.err
    assert str(finished.path) not in ended.err


def test_a_copy_of_a_run_that_trains(finished, script, home, untrained):
    """Each of both has its own lock; what the other one was just writing is no checkpoint."""
    shutil.copytree(finished.path, home / "a")
    with RunFolder(home / "a").writing():
        (home / "a" / "checkpoints" / ".unfinished-1").mkdir()
        shutil.copytree(home / "a", home / "b")
        assert script("train.py", "--flagfile=b/flags.txt", "--steps=30").code == 0
        assert not (home / "b" / "checkpoints" / ".unfinished-1").exists()
        assert script("train.py", "--flagfile=a/flags.txt", "--steps=30").err.endswith(
            "error: another process is training in --run_dir=a; wait for it, stop it, or choose another"
            " folder\n"
        )
        assert (home / "a" / "checkpoints" / ".unfinished-1").exists()


@pytest.fixture
def text(home, shared_corpus):
    """A text in a folder of its own."""
    (home / "texts").mkdir()
    shutil.copy(shared_corpus, home / "texts" / "a.txt")
    return "text:texts/a.txt"


def test_a_text_may_be_named_from_elsewhere(home, text, tiny_config, train, untrained, monkeypatch):
    """A run knows its text by what is in it, wherever it lies and however it is called."""
    train(tiny_config(corpus=text), "run")
    (home / "other").mkdir()
    monkeypatch.chdir(home / "other")
    with pytest.raises(InputError, match=f"^no file texts/a.txt: .* looked from the folder {home}/other$"):
        train(tiny_config(corpus=text, steps=30), "../run")
    shutil.move(home / "texts" / "a.txt", home / "b.txt")
    train(tiny_config(corpus="text:../b.txt", steps=30), "../run")
    assert RunFolder("../run").config().data.corpus == "text:../b.txt"
    (home / "b.txt").write_text((home / "b.txt").read_text() + "More.\n")
    with pytest.raises(
        InputError, match=r"^the train text of text:\.\./b\.txt has changed since the run in \.\./run began"
    ):
        train(tiny_config(corpus="text:../b.txt", steps=31), "../run")
    # Text of another kind is another setting, and so is one more text.
    for more in ({"corpus": "python-docs"}, {"valid_corpus": "text:../b.txt"}):
        with pytest.raises(InputError, match=r"^--run_dir=\.\./run holds a run with other settings: --"):
            train(tiny_config(**{"corpus": "text:../b.txt", "steps": 31, **more}), "../run")


def test_results_of_a_finished_run_are_not_shown_for_another_text(finished, home, text, train):
    config = finished.config
    shutil.copytree(finished.path, home / "run")
    same = from_flat({**config.flat(), "corpus": text})
    ended = train(same, "run")
    assert (ended.code, ended.out) == (0, finished.ended.out)
    assert RunFolder("run").config().data.corpus == text
    (home / "texts" / "b.txt").write_text("Something else entirely.\n" * 400)
    other = from_flat({**config.flat(), "corpus": "text:texts/b.txt"})
    with pytest.raises(InputError, match=r"^the train text of text:texts/b\.txt has changed"):
        train(other, "run")


def test_a_tokenizer_may_be_named_from_elsewhere(finished, home, tiny_config, train, untrained):
    shutil.copytree(finished.path / "tokenizer", home / "first")
    train(tiny_config(tokenizer="./first"), "run")
    shutil.move("first", "second")
    train(tiny_config(tokenizer="./second", steps=30), "run")
    assert RunFolder("run").config().data.tokenizer == "./second"
    content = json.loads((home / "second" / "tokenizer.json").read_text())
    content["characters"] += "é"
    (home / "second" / "tokenizer.json").write_text(json.dumps(content))
    train(tiny_config(tokenizer="./second", steps=31), "run")  # The same words: the run has a copy.
    with pytest.raises(InputError) as caught:
        train(tiny_config(tokenizer="second", steps=32), "run")
    assert (
        str(caught.value)
        == "--run_dir=run holds a run with another tokenizer than --tokenizer=second; use the same one to go"
        " on, or another --run_dir"
    )


def test_an_imported_model_that_was_moved(finished, home, tiny_config, train, untrained):
    """Its settings name the tokenizer by the place where it was; the run has it wherever it is."""
    shutil.copytree(finished.path, home / "a")
    settings = json.loads((home / "a" / "config.json").read_text()) | {"tokenizer": "a/tokenizer"}
    (home / "a" / "config.json").write_text(json.dumps(settings))
    shutil.move("a", "b")
    like = {
        name: settings[name]
        for name in ("dropout", "dropout_schedule", "learning_rate_schedule", "tokenizer")
    }
    assert train(tiny_config(**like, init_from="b", steps=3), "tuned").code == 0
    fingerprints = {RunFolder(name).tokenizer().fingerprint() for name in ("tuned", "b")}
    assert len(fingerprints) == 1
    # The control: any other folder that is not there is asked for.
    with pytest.raises(InputError, match=r"^unknown tokenizer 'c/tokenizer'"):
        train(tiny_config(**{**like, "tokenizer": "c/tokenizer"}, init_from="b", steps=3), "more")
    shutil.copytree(finished.path / "tokenizer", "c/tokenizer")
    content = json.loads((home / "c" / "tokenizer" / "tokenizer.json").read_text())
    content["characters"] += "é"
    (home / "c" / "tokenizer" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="--tokenizer=c/tokenizer holds another tokenizer than that of the"):
        train(tiny_config(**{**like, "tokenizer": "c/tokenizer"}, init_from="b", steps=3), "more")


def test_a_run_is_loaded_by_a_tilde_and_scored_with_another_cache(finished, home, script):
    """In Python as on the command line; the cache of the run may be on another machine."""
    shutil.copytree(finished.path, home / "b")
    settings = json.loads((home / "b" / "config.json").read_text()) | {"cache_dir": "/proc/none"}
    (home / "b" / "config.json").write_text(json.dumps(settings))
    lm = lm_keras.load("~/b")
    with pytest.raises(InputError, match=r"^cannot write /proc/none: .* with --cache_dir or LM_KERAS_CACHE$"):
        lm.evaluate("valid")
    lm.cache_dir = "~/c"
    expected = lm_keras.load(finished.path).evaluate("valid")
    assert lm.evaluate("valid") == expected
    assert (home / "c" / "tokens").is_dir()
    ended = script("evaluate.py", "--run_dir=~/b", "--cache_dir=~/d", "--json")
    assert (json.loads(ended.out), (home / "d" / "tokens").is_dir()) == (expected, True)
    with pytest.raises(InputError, match="user 'nobody-at-all' is unknown"):
        lm_keras.load("~nobody-at-all/b")


def test_a_path_that_is_too_long_is_refused_at_once(home, tiny_config, train, untrained):
    """Its files would have names that no system call takes; the run would find out with its first
    checkpoint.
    """
    most = os.pathconf("/", "PC_PATH_MAX")
    deep = "/".join(["x" * 200] * (most // 201))
    path = deep + "/" + "y" * (most - len(deep) - 1 - 100)
    with pytest.raises(InputError, match=r"^cannot write to --run_dir=x+/.*: File name too long; choose a "):
        train(tiny_config(), path)
    assert os.listdir(home) == []
    fits = "/".join(["x" * 200] * 3)
    assert train(tiny_config(), fits).code == 0
