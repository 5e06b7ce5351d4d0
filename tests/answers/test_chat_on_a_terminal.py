"""`scripts/sample.py --chat` as a process on a terminal: Ctrl-C, and what a person who waits is told."""

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lm_keras

ROOT = Path(__file__).parents[2]

OWN_TERMINAL = (
    "import fcntl, os, signal, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "signal.signal(signal.SIGINT, signal.SIG_DFL);"  # What runs in the background ignores it.
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
)
"""A program that starts another one, which Ctrl-C on its standard input interrupts."""

SECONDS = 60
"""Until a line comes; TensorFlow starts first."""


class Terminal:
    """A terminal with a program.

    Args:
        words: of its command line.

    Attributes:
        shown: so far.
    """

    def __init__(self, *words):
        self._keys, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(ROOT)}
        self.program = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *words],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def type(self, keys):
        os.write(self._keys, keys.encode())

    def interrupt(self):
        """Type Ctrl-C, once the program waits for keys: a signal just before that waits with it."""
        time.sleep(1)
        self.type("\x03")

    def wait_for(self, text):
        """Wait for a text, and forget what was shown up to its end; return that."""
        ends = time.monotonic() + SECONDS
        while text not in self.shown:
            assert time.monotonic() < ends and self.program.poll() is None, self.shown
            self._read()
        before, _, self.shown = self.shown.partition(text)
        return before

    def wait_for_some(self, letters):
        """Wait until so many letters are shown."""
        ends = time.monotonic() + SECONDS
        while len(self.shown) < letters:
            assert time.monotonic() < ends, self.shown
            self._read()

    def code(self):
        """Return with which code the program ends."""
        code = self.program.wait(SECONDS)
        while self._read():
            pass
        return code

    def close(self):
        self.program.kill()
        self.program.wait()
        os.close(self._keys)

    def _read(self):
        try:
            ready, _, _ = select.select([self._keys], [], [], 0.1)
            part = os.read(self._keys, 2**16).decode() if ready else ""
        except OSError:  # Nobody has the other end.
            part = ""
        self.shown += re.sub(r"\x1b\[\??[0-9;]*[a-zA-Z]|\r", "", part)
        return part


@pytest.fixture
def terminal(tiny_config, train, tmp_path):
    """A conversation with a network without a context, whose answer has no end."""
    with (tmp_path / "chats.jsonl").open("w") as file:
        for n in range(30):
            messages = [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}!"}]
            file.write(json.dumps({"messages": messages}) + "\n")
    settings = {
        "task": "chat", "model": "lstm", "corpus": f"jsonl:{tmp_path}/chats.jsonl", "sequence_length": 64,
        "steps": 1, "split": "100/0/0", "eval_answers": 0, "projector": False,
    }  # fmt: skip
    run = tmp_path / "run"
    assert train(tiny_config(**settings), run).code == 0
    tokenizer = lm_keras.load(run).tokenizer
    never = ",".join(f"{token}:-1000" for token in (tokenizer.eod_id, tokenizer.special_tokens["<|im_end|>"]))
    flags = ("--chat", "--max_new_tokens=1000000000", f"--logit_bias={never}")
    made = Terminal(str(ROOT / "scripts" / "sample.py"), f"--run_dir={run}", *flags)
    yield made
    made.close()


def test_ctrl_c_ends_an_answer_clears_a_line_and_ends_the_program(terminal):
    assert "loading " in terminal.wait_for("> ")
    terminal.type("/he")
    terminal.wait_for("/he")
    terminal.interrupt()
    terminal.wait_for("> ")
    terminal.type("/undo\n")  # Behind what was cleared it would be another command.
    terminal.wait_for("there is nothing to take back\n")
    terminal.wait_for("> ")
    terminal.type("1?\n")
    terminal.wait_for("1?\n")
    terminal.wait_for_some(50)
    terminal.interrupt()
    terminal.wait_for("stopped there; what came stays in the conversation\n")
    terminal.wait_for("> ")
    terminal.type("/undo\n")
    terminal.wait_for("2 messages taken back\n")
    terminal.wait_for("> ")
    terminal.interrupt()
    assert terminal.code() == 130 and "stopped" in terminal.shown and "Traceback" not in terminal.shown
