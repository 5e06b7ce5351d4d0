"""A chat template of others, rendered in a child process that is watched."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_keras.conversations import sandbox
from lm_keras.errors import InputError

START_SECONDS = 60
"""Until Python and jinja2 are there, before the template is read, however busy the machine is."""

MOST_ANSWER = 12 * sandbox.MOST_BYTES + 2**16
"""Bytes of an answer, where each character is spelled in JSON."""

PACKAGES = ("jinja2", "markupsafe")


@dataclasses.dataclass
class Allowance:
    """What a template has for a conversation, in however many texts it is rendered.

    Attributes:
        seconds: that it may still take.
        now: the time that its clock shows, in seconds since 1970. It does not advance, so that texts agree.
    """

    seconds: float = dataclasses.field(default_factory=lambda: sandbox.SECONDS)
    now: float = dataclasses.field(default_factory=time.time)


class Ended(InputError):
    """A template was ended, because it took too long or wrote too much."""


class TemplateProcess:
    """A process that renders one template. It starts with the first conversation.

    Args:
        source: the template.
        variables: what it may read beside the conversation, such as `bos_token`.

    Attributes:
        constants: the strings in the template; empty before it is read.
    """

    def __init__(self, source: str, variables: Mapping[str, Any]):
        self._asked = {"source": source, "variables": dict(variables)}
        self._process: subprocess.Popen | None = None
        self._owner, self._lock = 0, threading.Lock()
        self.constants: tuple[str, ...] = ()

    def render(
        self, messages: list[dict[str, str]], add_generation_prompt: bool, left: Allowance | None = None
    ) -> str:
        """Return a conversation as text.

        Args:
            messages: of the conversation.
            add_generation_prompt: see the template's `render`.
            left: what the conversation has left, from which the seconds of this text come off; None for what
                it has at first.

        Raises:
            InputError: the template is wrong, refuses the conversation, does what is not allowed, takes too
                long, or writes too much; or jinja2 is missing.
        """
        left = left or Allowance()
        asked = {"messages": messages, "add_generation_prompt": add_generation_prompt, "now": left.now}
        with self._lock:
            try:
                if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
                    self._start()
                return self._ask(asked, left)["text"]
            except KeyboardInterrupt:
                self._stop()  # Its answer would be taken for the next one.
                raise

    def _start(self) -> None:
        command = [sys.executable, "-I", sandbox.__file__, *_folders()]
        zone = {name: value for name, value in os.environ.items() if name == "TZ"}
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=zone,
            cwd="/",
            bufsize=0,
            start_new_session=True,  # Ctrl-C on the terminal is the parent's.
        )
        self._process, self._owner = process, os.getpid()
        weakref.finalize(self, _end, process, self._owner)
        self._answer(START_SECONDS, of=START_SECONDS)
        try:
            self.constants = tuple(self._ask(self._asked, Allowance())["constants"])
        except InputError:
            self._stop()
            raise

    def _ask(self, content: dict[str, Any], left: Allowance) -> dict[str, Any]:
        with contextlib.suppress(BrokenPipeError):  # It has ended; the answer tells so.
            self._process.stdin.write(json.dumps(content).encode("ascii") + b"\n")
        began = time.monotonic()
        answer = self._answer(left.seconds, of=sandbox.SECONDS)
        left.seconds -= time.monotonic() - began
        if "error" in answer:
            raise InputError(f"the chat template cannot be used: {answer['error']}")
        return answer

    def _answer(self, seconds: float, of: float) -> dict[str, Any]:
        """Return the next line of the process; one that is late, too long or none ends it. `seconds` are left
        `of` some.
        """
        ends, got, pipe = time.monotonic() + seconds, bytearray(), self._process.stdout
        problem = f"it takes more than {of} s"
        while (left := ends - time.monotonic()) > 0:
            if not select.select([pipe], [], [], left)[0]:
                break
            part = os.read(pipe.fileno(), 2**16)
            got += part
            if part.endswith(b"\n"):
                return json.loads(got)
            if not part or len(got) > MOST_ANSWER:
                problem = f"its process ended after {len(got):,} bytes"
                break
        self._stop()
        raise Ended(f"the chat template cannot be used: {problem}")

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process, self._owner)
        self._process = None


def _folders() -> list[str]:
    """Return where Python finds jinja2, which the child does not look for by itself."""
    found = [importlib.util.find_spec(name) for name in PACKAGES]
    if None in found:
        raise InputError("a chat template of others needs the package jinja2: pip install 'lm_keras[chat]'")
    return list(dict.fromkeys(str(Path(spec.origin).parents[1]) for spec in found))


def _end(process: subprocess.Popen, owner: int) -> None:
    """End a process that this one has started."""
    if owner == os.getpid():
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
