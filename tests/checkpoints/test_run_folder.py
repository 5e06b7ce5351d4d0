"""The run folder: one writer at a time, nothing of others touched, and what a killed writer left behind."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from lm_keras.checkpoints.run_folder import CHANGEABLE, RunFolder, differences, truncate_lines_after
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
        assert str(caught.value) == (
            f"another process is training in --run_dir={tmp_path}/run; wait for it, stop it, or choose another folder"
        )
        assert second.config().flat() == second.config().flat()  # readers need no lock
    with second.writing():
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path, contents_of):
    (tmp_path / "thesis.tex").write_text("my life's work")
    before = contents_of(tmp_path)
    with pytest.raises(InputError) as caught, RunFolder(tmp_path).writing():
        raise AssertionError("written into")
    assert str(caught.value) == (f"--run_dir={tmp_path} is not empty and holds no run; choose another folder")
    assert contents_of(tmp_path) == before


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("text")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError) as caught, RunFolder(path).writing():
            raise AssertionError("written into")
        reason = "File exists" if path.name == "file" else "Not a directory"
        assert str(caught.value) == (
            f"cannot write to --run_dir={path}: {reason}; choose a folder that can be written"
        )


@pytest.fixture
def public_folder():
    """A folder that another user may look into, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_folder_that_only_others_may_write(public_folder):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        message = "no error"
        try:
            os.setuid(65534)
            with RunFolder(public_folder / "run").writing():
                pass
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"
        os.write(writer, message.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert pipe.read() == (
            f"InputError: cannot write to --run_dir={public_folder}/run: Permission denied; "
            "choose a folder that can be written"
        )


def test_what_a_killed_writer_left_is_swept(tmp_path):
    folder = RunFolder(tmp_path / "run")
    (folder.path / "checkpoints" / ".unfinished-abc").mkdir(parents=True)
    (folder.path / "checkpoints" / ".unfinished-abc" / "state.index").write_text("half")
    (folder.path / "checkpoints" / "step-00000002").mkdir()
    (folder.path / "tokenizer").mkdir()
    (folder.path / "tokenizer" / ".tokenizer.json.77.tmp").write_text("half")
    (folder.path / ".config.json.77.tmp").write_text("half")
    (folder.path / "lock").touch()
    with folder.writing():
        found = {str(path.relative_to(folder.path)) for path in folder.path.rglob("*")}
    assert found == {"lock", "tokenizer", "checkpoints", "checkpoints/step-00000002"}


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
    assert str(caught.value) == (
        f"--run_dir={tmp_path} holds no run (no config.json); train one with scripts/train.py --run_dir={tmp_path}"
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
        str(caught.value) == f"cannot read {tmp_path}: Is a directory; delete it, or restore it from a copy"
    )


def test_only_a_line_feed_ends_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"step": 2, "note": "a\u2028b\u2029c\x85d"}', '{"step": 3}']
    path.write_bytes("\n".join(lines).encode() + b'\n{"step": 3, "note": "\xff"}x\n')
    truncate_lines_after(path, 4)
    assert path.read_text() == "".join(line + "\n" for line in lines)
