"""What becomes of a script whose standard streams are closed, full, or read by nobody: as processes of a
shell.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lm_keras import streams

ROOT = Path(__file__).parents[1]

SCRIPT = """
import contextlib, os, sys
from lm_keras import flags

def main(count):
    print("working", file=sys.stderr)
    with open("file", "w") as file:
        with contextlib.suppress(OSError):
            os.write(2, b"a line of TensorFlow\\n")
        print("still working", file=sys.stderr, flush=True)
        file.write("content")
    sys.stdout.write("result\\n" * int(count))
    return 0

flags.run(main, ("1", "100000"))
"""
SAID = "working\na line of TensorFlow\nstill working\n"
CANNOT = (
    "error: cannot write to standard output: {}; send it where it can be written, and run the same command"
    " again\n"
)


@pytest.fixture
def shell(tmp_path):
    """A function that carries out the script within a command of a shell: exit code, standard output,
    standard error.
    """
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(streams, count=1):
        command = f"{sys.executable} script.py {count} {streams}; exit ${{PIPESTATUS[0]}}"
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.mark.parametrize(
    ("streams", "code", "err"),
    [
        ("", 0, SAID),
        ("2>/dev/full", 0, ""),
        ("2>&-", 0, ""),
        ("<&-", 0, SAID),
        ("2> >(exec 0<&-; sleep 0.5)", 0, ""),
        (">/dev/full", 1, SAID + CANNOT.format("No space left on device")),
        (">&-", 1, SAID + CANNOT.format("Bad file descriptor")),
        (">&- 2>&-", 1, ""),
        (">/dev/full 2>/dev/full", 1, ""),
        ("| true", 141, SAID),
        ("2>&1 | true", 141, ""),
    ],
)
def test_streams_that_are_not_there(shell, tmp_path, streams, code, err):
    """Messages may get lost, results not unnoticed; Python adds nothing of its own, and a file that is opened
    stays clean.
    """
    count = 100_000 if "true" in streams else 1
    out = "result\n" * count if not code and "|" not in streams else ""
    assert shell(streams, count) == (code, out, err)
    assert (tmp_path / "file").read_text() == "content"


def test_the_check_can_fail(shell, tmp_path):
    """The control: without it Python writes messages into the first file that is opened, and ends
    with 120.
    """
    script = tmp_path / "script.py"
    script.write_text(
        "from lm_keras import streams\nstreams.secure = lambda: None\n"
        + SCRIPT.replace("file=sys.stderr", "file=None")
    )
    shell("2>&-")
    assert "a line of TensorFlow" in (tmp_path / "file").read_text()
    assert shell("2>&1 | true")[0] != 141


@pytest.mark.parametrize("kind", [streams._Results, streams._Messages])
def test_the_stream_that_is_replaced_keeps_its_descriptor_open(kind):
    """Python's own stream closes the descriptor when nothing refers to it any more."""
    reader, writer = os.pipe()
    stream = open(writer, "w", encoding="utf-8")  # noqa: SIM115
    replaced = streams._replaced(stream, writer, kind)
    del stream
    gc.collect()
    replaced.write("result\n")
    replaced.flush()
    assert os.read(reader, 99) == b"result\n"
    replaced.buffer.raw.replaced.close()
    os.close(reader)
