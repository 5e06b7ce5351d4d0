"""The run folder: one writer at a time, nothing of others touched, and what a killed writer left behind."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from lm_keras.checkpoints.changes import CHANGEABLE, differences
from lm_keras.checkpoints.records import append_lines, truncate_lines_after
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS
from lm_keras.errors import InputError


def test_a_folder_without_a_run_is_not_left_behind(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run")
    with folder.writing():
        assert folder.path.is_dir()
    assert not folder.path.exists()
    with folder.writing():
        folder.write_json("config.json", {})
    assert sorted(os.listdir(folder.path)) == ["config.json", "lock"]


def test_one_writer_at_a_time(tmp_path):
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    with first.writing():
        first.write_json("config.json", {})
        with pytest.raises(InputError) as caught, second.writing():
            raise AssertionError("two writers")
        assert (
            str(caught.value)
            == f"another process is training in --run_dir={tmp_path}/run; wait for it, stop it, or choose"
            " another folder"
        )
        assert second.config().flat() == second.config().flat()  # readers need no lock
    with second.writing():
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path, contents_of):
    (tmp_path / "thesis.tex").write_text("my life's work")
    before = contents_of(tmp_path)
    with pytest.raises(InputError) as caught, RunFolder(tmp_path).writing():
        raise AssertionError("written into")
    assert str(caught.value) == f"--run_dir={tmp_path} is not empty and holds no run; choose another folder"
    assert contents_of(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("file", "File exists"),
        ("file/below", "Not a directory"),
        ("nowhere/" + "long" * 99, "File name too long"),
        ("link", "File exists"),
        ("/proc/deep/run", "No such file or directory"),
    ],
    ids=["file", "below a file", "long", "link", "proc"],
)
def test_where_no_folder_can_be_is_said_before_and_at_the_start(tmp_path, contents_of, path, reason):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("gone")
    path = tmp_path / path

    def begin():
        with RunFolder(path).writing():
            raise AssertionError("written into")

    for refused in (RunFolder(path).check, begin):
        with pytest.raises(InputError) as caught:
            refused()
        assert (
            str(caught.value)
            == f"cannot write to --run_dir={path}: {reason}; choose a folder that can be written"
        )
        if refused != begin:
            assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.parametrize("there", [False, True])
def test_a_check_leaves_nothing(tmp_path, there):
    folder = RunFolder(tmp_path / "deep" / "run")
    if there:
        folder.path.mkdir(parents=True)
    folder.check()
    assert list(tmp_path.rglob("*")) == ([tmp_path / "deep", folder.path] if there else [])


@pytest.fixture
def public_folder():
    """A folder that another user may look into, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _begin(folder):
    with folder.writing():
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("refused", [_begin, RunFolder.check])
def test_a_folder_that_only_others_may_write(public_folder, refused, there):
    if there:
        (public_folder / "run").mkdir()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        message = "no error"
        try:
            os.setuid(65534)
            refused(RunFolder(public_folder / "run"))
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert (
            pipe.read() == f"InputError: cannot write to --run_dir={public_folder}/run: Permission denied; "
            "choose a folder that can be written"
        )


def test_what_a_killed_writer_left_is_swept(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "checkpoints" / ".unfinished-abc").mkdir(parents=True)
    (folder.path / "checkpoints" / ".unfinished-abc" / "state.index").write_text("half")
    (folder.path / "checkpoints" / ".unfinished-link").symlink_to("nowhere")
    (folder.path / "checkpoints" / "step-00000002").mkdir()
    (folder.path / "tokenizer").mkdir()
    (folder.path / "tokenizer" / ".tokenizer.json.77.tmp").write_text("half")
    (folder.path / ".config.json.77.tmp").write_text("half")
    (folder.path / "events" / "train").mkdir(parents=True)
    for name in (".embedding.bytes.77.tmp", ".merged.tmp", "tokens.tsv"):
        (folder.path / "events" / "train" / name).write_text("half")
    (folder.path / "lock").touch()
    with folder.writing():
        found = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*")}
    assert found == {
        "lock", "tokenizer", "checkpoints", "checkpoints/step-00000002", "events", "events/train",
        "events/train/tokens.tsv",
    }  # fmt: skip


def lost(folder, path=None):
    return (
        f"{path or folder.path} is no longer in its place: it was deleted, moved or replaced while the run"
        " was training, and nothing more is written; put it back, and the same command goes on from the last"
        " checkpoint"
    )


def make_again(path):
    shutil.rmtree(path)
    path.mkdir()


LOSE = {
    "deleted": lambda path: shutil.rmtree(path),
    "moved": lambda path: path.rename(path.with_name("moved")),
    "made again": make_again,
    "copied": lambda path: (path.rename(path.with_name("old")), shutil.copytree(path.with_name("old"), path)),
    "a file": lambda path: (shutil.rmtree(path), path.write_text("thesis")),
    "a link": lambda path: (shutil.rmtree(path), path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("what", ["run", "checkpoints"])
@pytest.mark.parametrize("how", LOSE)
def test_a_folder_that_is_lost_is_noticed(tmp_path, contents_of, what, how):
    folder = RunFolder(tmp_path / "run")
    path = folder.path if what == "run" else folder.path / what
    with folder.writing():
        folder.write_json("config.json", {})
        folder.hold_checkpoints()
        folder.check_in_place()
        LOSE[how](path)
        before = contents_of(tmp_path)
        with pytest.raises(InputError) as caught:
            folder.check_in_place()
        assert str(caught.value) == lost(folder, path)
    assert contents_of(tmp_path) == before


def test_a_folder_in_the_place_of_a_new_run_is_left_alone(tmp_path, contents_of):
    """A folder in which no run was begun is deleted; this one is not the same any more."""
    folder = RunFolder(tmp_path / "run")
    with folder.writing():
        make_again(folder.path)
        (folder.path / "thesis.tex").write_text("my life's work")
    assert contents_of(tmp_path) == {"run/thesis.tex": b"my life's work"}


def test_a_moved_link_to_the_folder_is_no_loss(tmp_path):
    """Only the place counts: whoever has a run behind a link may have the folder under another
    name as well.
    """
    (tmp_path / "disk" / "run").mkdir(parents=True)
    (tmp_path / "run").symlink_to("disk/run")
    folder = RunFolder(tmp_path / "run")
    with folder.writing():
        folder.hold_checkpoints()
        (tmp_path / "other").symlink_to("disk/run")
        folder.check_in_place()


def test_results_are_those_that_were_written(tmp_path):
    folder, said = RunFolder(tmp_path), []
    assert folder.results is folder.sound_results(said.append) is None
    (tmp_path / "a file").touch()
    assert RunFolder(tmp_path / "a file").sound_results(said.append) is None
    results = {
        "step": 24,
        "splits": {"valid": {"perplexity": 30.6, "unknown": None}},
        "sample": {"text": "grün"},
    }
    folder.write_results(results)
    assert folder.results == folder.sound_results(said.append) == results
    assert said == []
    path = tmp_path / "results.json"
    whole = path.read_bytes()
    for content in (whole.replace(b"30.6", b"30.5"), whole[:-9], b"", b"{}", b"\xff", b'{"step": 24}'):
        path.write_bytes(content)
        assert folder.sound_results(said.append) is None
        assert (
            said.pop()
            == f"{path} has other content than was written; the results are computed again from the last"
            " checkpoint"
        )
    path.unlink()
    path.mkdir()
    assert folder.sound_results(said.append) is None
    assert said == [
        f"{path} cannot be read: no regular file; the results are computed again from the last checkpoint"
    ]


def test_which_settings_may_change(tiny_config):
    assert set(FIELDS) >= CHANGEABLE
    run = tiny_config()
    assert differences(run, tiny_config(steps=99, replicas=2, jit="on", eval_every=3, micro_batches=2)) == []
    assert differences(run, tiny_config(hidden_units=14, seed=2, dropout=0.1)) == [
        "--hidden_units: 13 in the run, 14 now",
        "--dropout: 0.0 in the run, 0.1 now",
        "--seed: 1 in the run, 2 now",
    ]


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"hidden_units": 13, "colour": "red"}', "\xff"])
def test_damaged_settings(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError) as caught:
        RunFolder(tmp_path).config()
    assert "\n" not in str(caught.value)
    if "colour" not in content:
        assert str(caught.value).startswith(f"{tmp_path}/config.json cannot be read (")
        assert str(caught.value).endswith("; restore it from a copy")


def test_no_run(tmp_path):
    with pytest.raises(InputError) as caught:
        RunFolder(tmp_path).config()
    assert (
        str(caught.value)
        == f"--run_dir={tmp_path} holds no run (no config.json); train one with scripts/train.py"
        f" --run_dir={tmp_path}"
    )


def test_lines_beyond_a_step_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 1 / 3}) for step in (2, 4, 4, 6)]
    path.write_text("\n".join(lines) + '\n{"step": 3, "lo')
    truncate_lines_after(path, 4)
    assert path.read_text() == "".join(line + "\n" for line in lines[:3])
    path.write_text(f"{lines[0]}\n{'[' * 100_000}\n{lines[1]}\n")
    truncate_lines_after(path, 4)
    assert path.read_text() == "".join(line + "\n" for line in lines[:2])
    truncate_lines_after(path, 0)
    assert path.read_text() == ""
    truncate_lines_after(tmp_path / "absent.jsonl", 4)
    assert not (tmp_path / "absent.jsonl").exists()
    with pytest.raises(InputError) as caught:
        truncate_lines_after(tmp_path, 4)
    assert (
        str(caught.value) == f"cannot read {tmp_path}: no regular file; delete it, or restore it from a copy"
    )


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 2, "note": "a\u2028b\u2029c\x85d"}', '{"step": 3}']
    path.write_bytes("\n".join(lines).encode() + b'\n{"step": 3, "note": "\xff"}x\n')
    truncate_lines_after(path, 4)
    assert path.read_text() == "".join(line + "\n" for line in lines)


def test_lines_are_added_whole_or_not_at_all(small_disk):
    path = small_disk.path / "metrics.jsonl"
    append_lines(path, [{"step": 1, "text": "é\u2028"}, {"step": 2}])
    assert path.read_bytes() == b'{"step": 1, "text": "\\u00e9\\u2028"}\n{"step": 2}\n'
    before = path.read_bytes()
    small_disk.fill()
    long = {"step": 3, "text": "x" * 9000}  # The rest of the file's last page is still free.
    with pytest.raises(InputError) as caught:
        append_lines(path, [{"step": 3}, long])
    assert (
        str(caught.value)
        == f"cannot write {path}: No space left on device; free space there or make it writable, and the same"
        " command goes on"
    )
    assert path.read_bytes() == before
    small_disk.free()
    append_lines(path, [long])
    assert path.read_bytes() == before + json.dumps(long).encode() + b"\n"
