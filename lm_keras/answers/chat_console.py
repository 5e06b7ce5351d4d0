"""A conversation on a terminal: `scripts/sample.py --chat`."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

from lm_keras.answers.answer import NO_CONVERSATIONS
from lm_keras.answers.chat import Chat, last_answer_removed, settings_of_answer
from lm_keras.conversations.messages import ASSISTANT, SYSTEM, USER, Message, read_messages
from lm_keras.errors import InputError

COMMANDS = {
    "/system": "/system TEXT: what the assistant is told first; without a text nothing",
    "/reset": "/reset: begin a new conversation, with the same system message",
    "/undo": "/undo: take the last question and its answer back",
    "/help": "/help: these lines; a message that begins with / is written with two of them",
}

CUT = {
    "length": "the answer was cut there; --max_new_tokens says how long it may be",
    "context": "the answer was cut there: the conversation has filled the context of the model, so the next"
    " message leaves its oldest turns out",
}
"""What is said of an answer that the model has not ended, by the reason."""


def converse(lm: Any, settings: dict[str, Any], stream: bool) -> None:
    """Answer each message on standard input, a line each; end at the end of the input.

    On a terminal a line can be edited. Ctrl-C ends an answer there, which stays in the conversation as far as
    it came; it clears a line that is half typed; at an empty one it ends the program. Elsewhere an empty line
    separates two answers.

    Args:
        lm: a `lm_keras.api.TrainedModel`.
        settings: fields of `SamplingSettings`, by name. The oldest turns of a conversation that is too long
            are left out.
        stream: whether an answer appears while it is generated.

    Raises:
        InputError: the model holds no conversations, or a setting is not allowed.
    """
    if not isinstance(lm.answer, Chat):
        raise InputError(NO_CONVERSATIONS)
    settings_of_answer(settings)  # What is wrong with them is said once, before the first message.
    on_terminal = sys.stdin.isatty()
    talk = Talk(lm, {"long_prompt": "keep_end", **settings}, stream, on_terminal)
    for message in _messages_typed() if on_terminal else _joined(_next_line):
        try:
            talk.take(message)
        except InputError as error:
            sys.stderr.write(f"error: {error}\n")


def check(options: Any) -> None:
    """Raise InputError if `--chat` is given beside another way to use a model.

    Args:
        options: of `scripts/sample.py`.
    """
    for name in ("interactive", "prompt", "prompt_file", "color", "json"):
        if options.chat and getattr(options, name):
            raise InputError(f"--{name} has no meaning with --chat: its messages are lines of standard input")


class Talk:
    """A conversation as it grows.

    Args:
        lm, settings, stream: see `converse`.
        on_terminal: whether somebody types the messages.

    Attributes:
        messages: so far, without those that were left out.
    """

    def __init__(self, lm: Any, settings: dict[str, Any], stream: bool, on_terminal: bool):
        self._lm, self._settings, self._stream, self._on_terminal = lm, settings, stream, on_terminal
        self.messages: list[Message] = []
        self._left_out, self._answers = False, 0

    def take(self, text: str) -> None:
        """Carry out a command, or answer a message and print the answer.

        Raises:
            InputError: the command is unknown, or the message cannot be answered; then it is forgotten.
        """
        begin = text.lstrip()[:2]
        if begin.startswith("/") and begin != "//":
            name, *rest = text.split(maxsplit=1)
            self._command(name, "".join(rest).strip())
        elif begin:
            self._answer(text.replace("//", "/", 1) if begin == "//" else text)

    def _command(self, name: str, text: str) -> None:
        if name not in COMMANDS:
            raise InputError(
                f"{name} is unknown; known are {', '.join(COMMANDS)}; a message that begins with / is written"
                " with two of them"
            )
        if text and name != "/system":
            raise InputError(f"{name} takes nothing behind it; leave {text!r} out")
        system = [message for message in self.messages[:1] if message.role == SYSTEM]
        turns = self.messages[len(system) :]
        if name == "/system":
            system = [Message(SYSTEM, text)] if text else []
            if system:
                read_messages(system)
            told = "the system message is set" if system else "there is no system message"
        elif name == "/reset":
            turns, told, self._left_out = [], "a new conversation", False
        elif name == "/undo":
            kept = last_answer_removed(turns)
            told = f"{len(turns) - len(kept)} messages taken back"
            if kept == turns:
                gone = ": turns that were left out do not come back" if self._left_out else ""
                told = f"there is nothing to take back{gone}"
            turns = kept
        else:
            told = "\n".join(COMMANDS.values())
        self.messages = [*system, *turns]
        sys.stderr.write(f"{told}\n")

    def _answer(self, text: str) -> None:
        asked, said = [*self.messages, Message(USER, text)], []
        try:
            reply = self._lm.chat(asked, stream=True, **self._settings)
            if self._answers and not self._on_terminal:
                self._print("\n")
            for piece in reply:
                said.append(piece)
                self._print(piece if self._stream else "")
            told = CUT.get(reply.ended_by)
        except KeyboardInterrupt:
            if not self._on_terminal:
                raise
            if not said:
                sys.stderr.write("\nstopped before the answer began: the message is forgotten\n")
                return
            told = "stopped there; what came stays in the conversation"
        self._print(("" if self._stream else "".join(said)) + "\n")
        if told:
            sys.stderr.write(f"{told}\n")
        self._answers += 1
        self._left_out |= len(reply.messages) < len(asked)
        self.messages = [*reply.messages, Message(ASSISTANT, "".join(said))]

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _joined(read: Callable[[str], str | None], half_typed: Callable[[], bool] | None = None) -> Iterator[str]:
    """Yield messages: lines, of which one that ends with a backslash goes on in the next one.

    Args:
        read: returns the next line, or None; it is called with the prompt of the line.
        half_typed: tells whether Ctrl-C has ended a line with something in it, so that the message is dropped
            and the next one begins; without it Ctrl-C ends the messages.
    """
    parts: list[str] = []
    while True:
        try:
            line = read("... " if parts else "> ")
        except KeyboardInterrupt:
            if half_typed is None or not (parts or half_typed()):
                raise
            sys.stderr.write("\n")
            parts = []
            continue
        parts += [] if line is None else [line.removesuffix("\\")]
        if parts and (line is None or not line.endswith("\\")):
            yield "\n".join(parts)
            parts = []
        if line is None:
            return


def _next_line(prompt: str) -> str | None:
    """Return the next line of standard input without its end, or None behind the last one."""
    line = sys.stdin.readline()
    return line.removesuffix("\n") if line else None


def _messages_typed() -> Iterator[str]:
    """Yield the messages that somebody types on a terminal, whose lines can be edited."""
    try:
        from readline import get_line_buffer  # With this module `input` edits lines.
    except ImportError:
        get_line_buffer = str
    sys.stderr.write("/help lists the commands; Ctrl-D ends the conversation\n")

    def typed(prompt: str) -> str | None:
        try:
            return input(prompt)
        except EOFError:
            sys.stderr.write("\n")
            return None

    yield from _joined(typed, lambda: bool(get_line_buffer()))
