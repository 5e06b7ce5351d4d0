"""Paths of users: `~`, what a shell and a flag read, and what no library takes for a pattern."""

import dataclasses
import importlib.util
import os
import pwd
import re
import subprocess
from pathlib import Path

import pytest

from lm_keras import config, paths
from lm_keras.data.cache import cache_folder
from lm_keras.embeddings import settings as embeddings
from lm_keras.errors import InputError
from lm_keras.sweeps import comparison
from lm_keras.sweeps import settings as sweeps

ROOT = Path(__file__).parents[1]

ODD = [
    "plain", "two words", " leading", "x=[1,2]", "[a-c]", "a\\b", "a*b", "a?b", "{a,b}", "-x", "--steps=3",
    "#c", "%41", "a:b",
    "'single'", '"double"', "$HOME", "`id`", "a;b|c&d", "!x", "~root", "~", "~/x", "grün/月", "tab\tbed",
    "two\nlines", "esc\x1b[1m",
    "new\u2028line", os.fsdecode(b"\xff\xfe"), "x" * 300,
]  # fmt: skip


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")


@pytest.fixture
def no_home(monkeypatch):
    """A user without an entry in passwd, and without HOME, as in a container with any number of a user."""

    def unknown(number):
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_a_tilde_is_the_home_folder(home):
    root = pwd.getpwnam("root").pw_dir
    expected = {
        "~": "/home/anna", "~/runs/a": "/home/anna/runs/a", "~root/a": f"{root}/a", "a~/b": "a~/b",
        "./~/a": "./~/a",
        "runs/~": "runs/~", "": "", " ~/a": " ~/a",
    }  # fmt: skip
    assert {path: paths.expanded(path) for path in expected} == expected


def test_no_such_user(home):
    with pytest.raises(InputError) as caught:
        paths.expanded("~nobody-at-all/x", "run_dir")
    assert (
        str(caught.value)
        == "--run_dir=~nobody-at-all/x: user 'nobody-at-all' is unknown; write ./~nobody-at-all/x for a path"
        " that begins with ~, or the whole path"
    )


@pytest.mark.parametrize("empty", [False, True], ids=["no HOME", "an empty HOME"])
def test_no_home(no_home, monkeypatch, empty):
    if empty:
        monkeypatch.setenv("HOME", "")
    for path in ("~", "~/x"):
        with pytest.raises(
            InputError, match=r"^--run_dir=.*: this user has no home folder, and HOME is not set"
        ):
            paths.expanded(path, "run_dir")
    monkeypatch.delenv("LM_KERAS_CACHE")
    for given in ("", None):
        with pytest.raises(InputError) as caught:
            cache_folder(given)
        assert (
            str(caught.value)
            == "tokenized text has no folder (this user has no home folder, and HOME is not set);"
            " name one with --cache_dir or the environment variable LM_KERAS_CACHE"
        )
    monkeypatch.setenv("LM_KERAS_CACHE", "/tmp/c")
    assert (cache_folder(None), cache_folder("here")) == (Path("/tmp/c"), Path("here"))


def test_where_the_cache_is(home, monkeypatch):
    monkeypatch.setenv("LM_KERAS_CACHE", "")
    assert cache_folder(None) == Path("/home/anna/.cache/lm_keras")
    monkeypatch.setenv("LM_KERAS_CACHE", "~/c")
    assert (cache_folder(None), cache_folder("~/d")) == (Path("/home/anna/c"), Path("/home/anna/d"))


def test_a_shell_reads_a_printed_path_as_it_is():
    """Each word alone, and behind `--run_dir=`, as commands are printed; `quoted` alone would let a flag
    expand ~.
    """
    words = [paths.as_word(path) for path in ODD]
    assert all(word.isprintable() for word in words)
    script = "printf '%s\\0' " + " ".join([*words, *(f"--run_dir={word}" for word in words)])
    read = subprocess.run(["bash", "-c", script], capture_output=True, check=True).stdout
    read = [os.fsdecode(word) for word in read.split(b"\0")[:-1]]
    values = [word.removeprefix("--run_dir=") for word in read[len(ODD) :]]
    assert read[: len(ODD)] == values == [paths.spelled(path) for path in ODD]
    assert [os.path.normpath(paths.expanded(value)) for value in values] == [
        os.path.normpath(path) for path in ODD
    ]
    with pytest.raises(InputError):
        paths.expanded(
            "~nobody-at-all"
        )  # What the control would come to: without ./ it is no folder of that name.


@pytest.mark.parametrize("name", [name for name in ODD if len(name) < 255 and "/" not in name])
@pytest.mark.parametrize("system", ["Linux", "others"])
def test_what_is_opened_has_a_plain_name(tmp_path, monkeypatch, name, system):
    if system == "others":
        monkeypatch.setattr(paths, "_DESCRIPTORS", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    folder = Path(name)
    folder.mkdir()
    (folder / "file").write_text("content")
    before = set(os.listdir("/proc/self/fd"))
    with paths.literally(folder) as place:
        assert re.fullmatch(r"[\w/.-]+", place)
        assert Path(place, "file").read_text() == "content"
        Path(place, "other").write_text("more")
        if system == "Linux":  # It is this very folder, whatever is now called so.
            folder.rename("aside")
            folder.mkdir()
            assert Path(place, "file").read_text() == "content"
            folder.rmdir()
            Path("aside").rename(folder)
    assert (folder / "other").read_text() == "more"
    assert set(os.listdir("/proc/self/fd")) == before
    assert not os.path.lexists(place)
    with pytest.raises(FileNotFoundError), paths.literally("nowhere"):
        pass


def classes_of_scripts():
    """Every class of settings: those of the package, and the options of each script."""
    found = [
        *config.GROUPS.values(),
        config.RunOptions,
        *embeddings.GROUPS.values(),
        embeddings.EmbeddingRunOptions,
    ]
    found += [sweeps.SweepOptions, comparison.CompareOptions]
    for script in sorted((ROOT / "scripts").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"script_{script.stem}", script)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [kind for kind in vars(module).values() if dataclasses.is_dataclass(kind)]
    return list(dict.fromkeys(found))


def test_every_setting_that_is_a_path_says_so():
    """By their names and their help; a new one that is a path has one of these words."""
    marked, unmarked = set(), set()
    for kind in classes_of_scripts():
        for field in dataclasses.fields(kind):
            if "path" in field.metadata:
                (marked if field.metadata["path"] else unmarked).add((field.name, field.metadata["help"]))
    names = {name for name, _ in marked}
    assert names == {
        "run_dir", "cache_dir", "tokenizer", "init_from", "embedding_init", "sweep_dir", "compare_dir",
        "page", "from_hf", "to_hf", "from_gguf", "to_gguf", "input",
        "prompt_file", "vectors", "output", "output_dir", "predictions", "references", "api_key_file", "data",
    }  # fmt: skip
    words = re.compile(r"(?i)^(the )?(html )?(folder|file)\b|\bfolder (of|with|to|for)\b")
    assert [name for name, text in unmarked if words.search(text) or re.search("_(dir|file)$", name)] == []
    assert any(words.search(text) for _, text in marked)  # The control.
