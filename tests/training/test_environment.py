"""What is written down of the machine and the code."""

import datetime
import platform
import shutil
import subprocess

import keras
import pytest
import tensorflow as tf

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.training import environment


def test_a_run_tells_on_what_it_was_carried_out(finished):
    (launch,) = RunFolder(finished.path).launches
    assert launch["step"] == 0
    assert (launch["python"], launch["tensorflow"], launch["keras"]) == (
        platform.python_version(), tf.__version__, keras.__version__,
    )  # fmt: skip
    assert finished.ended.err.splitlines()[0] == f"devices: {launch['devices']}"
    assert launch["machine"] == environment.machine()
    began = datetime.datetime.fromisoformat(launch["began"])
    assert datetime.timedelta() < datetime.datetime.now(datetime.UTC) - began < datetime.timedelta(days=1)


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_commit(tmp_path):
    def git(*arguments):
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
        ended = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        )
        return ended.stdout.strip()

    assert environment.commit(tmp_path) is None
    git("init")
    assert environment.commit(tmp_path) is None  # no commit yet
    (tmp_path / "a.txt").write_text("a")
    git("add", "a.txt")
    git("commit", "-m", "a")
    git("tag", "v1")  # does not hide the commit
    assert environment.commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "a.txt").write_text("b")
    assert environment.commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    (tmp_path / "packages").mkdir()
    assert environment.commit(tmp_path / "packages") is None  # of another project


def test_lives_are_added(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.launches == []
    for step in (0, 7, 13):
        folder.add_launch({"step": step})
    assert folder.launches == [{"step": 0}, {"step": 7}, {"step": 13}]
