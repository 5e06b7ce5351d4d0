"""Folders that are there whole or not at all; those of the cache are checked and made again."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from lm_keras.config import DataConfig
from lm_keras.data.preparation import prepare
from lm_keras.disk import folders as module
from lm_keras.disk.folders import SWEEP_AFTER_SECONDS, cached_folder, write_folder
from lm_keras.errors import InputError


def test_unfinished_folders(tmp_path):
    cache = tmp_path / "cache"
    old, new = cache / ".unfinished-old", cache / ".unfinished-new"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "tokens").write_bytes(b"half")
    day = SWEEP_AFTER_SECONDS
    slow = cache / ".unfinished-slow"
    slow.mkdir()
    (slow / "tokens").write_bytes(b"still growing")
    for path in (old / "tokens", old, slow):
        os.utime(path, (time.time() - day - 60,) * 2)
    os.utime(new, (time.time() - day + 60,) * 2)
    write_folder(cache / "whole", lambda path: (path / "file").write_text("x"))
    assert not old.exists()  # killed long ago
    assert new.exists()  # perhaps another process is at it
    assert slow.exists()  # likewise
    assert sorted(os.listdir(cache)) == [".unfinished-new", ".unfinished-slow", "whole"]


def test_a_folder_is_there_whole_or_not_at_all(tmp_path):
    def fail(path):
        (path / "file").write_text("x")
        raise OSError(28, "No space left on device", str(path / "file"))

    with pytest.raises(InputError) as caught:
        write_folder(tmp_path / "cache" / "whole", fail)
    assert (
        str(caught.value) == f"cannot write {tmp_path}/cache/whole: No space left on device; "
        "free space there or choose another folder with --cache_dir or LM_KERAS_CACHE"
    )
    assert os.listdir(tmp_path / "cache") == []


def test_who_comes_second_leaves_the_folder_of_the_first(tmp_path):
    def fill(path):
        write_folder(tmp_path / "whole", lambda other: (other / "file").write_text("first"))
        (path / "file").write_text("second")

    write_folder(tmp_path / "whole", fill)
    assert (tmp_path / "whole" / "file").read_text() == "first"
    assert os.listdir(tmp_path) == ["whole"]


def test_a_folder_can_be_read_by_those_who_share_it(tmp_path):
    before = os.umask(0o027)
    try:
        write_folder(tmp_path / "whole", lambda path: (path / "file").write_text("x"))
    finally:
        os.umask(before)
    assert (tmp_path / "whole").stat().st_mode & 0o777 == 0o750


@pytest.fixture
def prepared(tmp_path):
    """A function that prepares a text of two documents and returns the lines said and everything that came
    out.
    """
    for number, text in enumerate(["one fish\n\ntwo fish", "red fish\n"]):
        (tmp_path / f"{number}.txt").write_text(text)
    config = DataConfig(
        corpus=f"text:{tmp_path}/*.txt", tokenizer="char", split="100/0/0", cache_dir=str(tmp_path / "cache")
    )

    def prepare_again():
        said = []
        data = prepare(config, say=said.append)
        store = data.splits["train"]
        content = (store.tokens.tolist(), store.documents.tolist(), store.counts, data.tokenizer.characters)
        return said[1:], content

    return prepare_again


def flip(path):
    """Change one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "flip": (flip, "other content than was written"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "other content than was written"),
    "longer": (lambda path: path.open("ab").write(b"x"), "other content than was written"),
    "empty": (lambda path: os.truncate(path, 0), "other content than was written"),
    "gone": (lambda path: path.unlink(), "No such file or directory"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "no regular file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_made_again_and_this_is_said_once(prepared, tmp_path, damage):
    harm, reason = DAMAGE[damage]
    said, expected = prepared()
    making = {"tokenizers": said[0], "tokens": said[1]}
    files = [path for path in sorted((tmp_path / "cache").rglob("*")) if path.is_file()]
    assert [path.name for path in files] == [
        "sums.json", "tokenizer.json", "documents", "store.json", "sums.json", "tokens",
    ]  # fmt: skip
    for file in files:
        harm(file)
        said, content = prepared()
        problem = f"{file.parent} is damaged ({file.name}"
        assert len(said) == 2
        assert said[0].startswith(problem)
        assert reason in said[0]
        assert said[0].endswith("); it is made again from the text")
        assert said[1] == making[file.parts[-3]]
        assert content == expected
        assert prepared() == ([], expected)
    assert not list((tmp_path / "cache").rglob(".unfinished-*"))


@pytest.mark.parametrize("sums", ["[]", "{}", "3", '{"tokens": 3}', '{"..": [1, 2]}', "[" * 10**5])
def test_sums_that_are_none(prepared, tmp_path, sums):
    _, expected = prepared()
    (path,) = (tmp_path / "cache" / "tokens").glob("*/sums.json")
    path.write_text(sums)
    said, content = prepared()
    assert "is damaged (" in said[0]
    assert content == expected


def test_a_folder_without_sums_as_older_versions_wrote_it(prepared, tmp_path):
    _, expected = prepared()
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    (folder / "sums.json").unlink()
    (folder / "tokens").write_bytes(b"something else")
    said, content = prepared()
    assert (
        said[0]
        == f"{folder} is damaged (sums.json: No such file or directory); it is made again from the text"
    )
    assert content == expected


def test_a_file_in_the_place_of_a_folder(prepared, tmp_path):
    _, expected = prepared()
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("no folder")
    said, content = prepared()
    assert said[0].startswith(f"{folder} is damaged (sums.json: Not a directory)")
    assert content == expected
    assert os.listdir(tmp_path / "cache" / "tokens") == [folder.name]


def test_who_finds_the_same_damage_later_does_not_throw_away_what_was_mended(tmp_path, monkeypatch):
    folder, filled, said = tmp_path / "cache", [], []

    def fill(path):
        filled.append(path)
        (path / "file").write_text("content")

    cached_folder(folder, fill, said.append)
    flip(folder / "file")
    original = module._problem

    def meanwhile(path):
        problem = original(path)
        monkeypatch.setattr(module, "_problem", original)
        cached_folder(folder, fill, said.append)  # another process, from beginning to end
        return problem

    monkeypatch.setattr(module, "_problem", meanwhile)
    mended = []
    cached_folder(folder, lambda path: (fill(path), mended.append(folder.stat().st_ino)), said.append)
    assert len(said) == 2  # both say it
    assert len(filled) == 3
    assert mended == [folder.stat().st_ino]  # the other one's folder stayed where it was
    assert (folder / "file").read_text() == "content"
    assert os.listdir(tmp_path) == ["cache"]


def test_a_damaged_folder_that_cannot_be_replaced(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    cached_folder(folder, lambda path: (path / "file").write_text("content"), print)
    flip(folder / "file")

    def refuse(self, target):
        raise OSError(30, "Read-only file system", str(self))

    monkeypatch.setattr(Path, "rename", refuse)
    said = []
    with pytest.raises(InputError) as caught:
        cached_folder(folder, lambda path: None, said.append)
    assert len(said) == 1
    assert (
        str(caught.value)
        == f"cannot replace {folder}: Read-only file system; delete it, or choose another folder with"
        " --cache_dir or LM_KERAS_CACHE"
    )


def test_checking_is_cheap_beside_reading_the_text(tmp_path):
    """The reason to check every byte at every start. Seconds of the processor, because others may
    use it too.
    """
    content = np.arange(2**22, dtype=np.uint64).tobytes()
    (tmp_path / "file").write_bytes(content)
    times = []
    for work in (lambda: module._sum(tmp_path / "file"), lambda: hashlib.sha256(content).digest()):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    assert times[0] < 2 * times[1]


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    """Else a machine that loses its power may keep the name and lose what is in it."""
    done, fsync, rename = [], os.fsync, Path.rename

    def recorded_fsync(descriptor):
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def recorded_rename(self, target):
        done.append("renamed")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    write_folder(
        tmp_path / "place" / "folder", lambda path: [(path / name).write_text(name) for name in "ab"]
    )
    before, after = done[: done.index("renamed")], done[done.index("renamed") + 1 :]
    assert sorted(before[:2]) == ["a", "b"]
    assert before[2].startswith(".unfinished-")
    assert after == ["place"]
