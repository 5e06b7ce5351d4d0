"""A conversation on a terminal: `scripts/sample.py --chat`."""

import sys
from collections.abc import Iterator
from typing import Any

from lm_keras.answers.answer import NO_CONVERSATIONS
from lm_keras.answers.chat import Chat, last_answer_removed
from lm_keras.conversations.messages import ASSISTANT, SYSTEM, USER, Message, read_messages
from lm_keras.errors import InputError

COMMANDS = {
    "/system": "/system TEXT: what the assistant is told first; without a text nothing",
    "/reset": "/reset: begin a new conversation, with the same system message",
    "/undo": "/undo: take the last question and its answer back",
    "/help": "/help: these lines; a message that begins with / is written with two of them",
}


def converse(lm: Any, settings: dict[str, Any], stream: bool) -> None:
    """Answer each line of standard input as a message of a conversation; end at the end of the input.

    Ctrl-C ends an answer, which stays in the conversation as far as it came, and at the question for a
    message the program. On a terminal a line can be edited.

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
    lm.answer.most_tokens(settings)  # What is wrong with them is said once, before the first message.
    talk = Talk(lm, {"long_prompt": "keep_end", **settings}, stream)
    for line in _lines():
        try:
            talk.take(line)
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

    Attributes:
        messages: so far.
    """

    def __init__(self, lm: Any, settings: dict[str, Any], stream: bool):
        self._lm, self._settings, self._stream = lm, settings, stream
        self.messages: list[Message] = []

    def take(self, line: str) -> None:
        """Carry out a command, or answer a message and print the answer.

        Raises:
            InputError: the command is unknown, or the message cannot be answered; then it is forgotten.
        """
        if line.startswith("/") and not line.startswith("//"):
            self._command(*line.partition(" ")[::2])
        elif line.strip():
            self._answer(line[1:] if line.startswith("//") else line)

    def _command(self, name: str, text: str) -> None:
        if name not in COMMANDS:
            raise InputError(f"{name} is unknown; known are {', '.join(COMMANDS)}")
        if text.strip() and name != "/system":
            raise InputError(f"{name} takes nothing behind it; leave {text.strip()!r} out")
        system = [message for message in self.messages[:1] if message.role == SYSTEM]
        turns = self.messages[len(system) :]
        if name == "/system":
            system = [Message(SYSTEM, text.strip())] if text.strip() else []
            if system:
                read_messages(system)
            told = "the system message is set" if system else "there is no system message"
        elif name == "/reset":
            turns, told = [], "a new conversation"
        elif name == "/undo":
            before = len(turns)
            turns = last_answer_removed(turns)
            told = f"{before - len(turns)} messages taken back"
        else:
            told = "\n".join(COMMANDS.values())
        self.messages = [*system, *turns]
        sys.stderr.write(f"{told}\n")

    def _answer(self, text: str) -> None:
        lm, asked = self._lm, [*self.messages, Message(USER, text)]
        kept = lm.answer.kept(asked, **self._settings)
        if left_out := len(asked) - len(kept):
            sys.stderr.write(
                f"the conversation is too long for the model: its {left_out} oldest messages are left out\n"
            )
        before, said = lm.tokens_generated, []
        try:
            for piece in lm.chat(kept, stream=True, **self._settings):
                said.append(piece)
                self._print(piece if self._stream else "")
        except KeyboardInterrupt:
            pass
        self._print(("" if self._stream else "".join(said)) + "\n")
        if lm.tokens_generated - before >= lm.answer.most_tokens(self._settings):
            sys.stderr.write("the answer was cut there; --max_new_tokens says how long it may be\n")
        self.messages = [*kept, Message(ASSISTANT, "".join(said))]

    def _print(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def _lines() -> Iterator[str]:
    """Yield the lines of standard input without their ends; on a terminal they can be edited."""
    if not sys.stdin.isatty():
        yield from (line.removesuffix("\n") for line in sys.stdin)
        return
    try:
        import readline  # `input` edits lines with it.  # noqa: F401
    except ImportError:
        pass
    sys.stderr.write("/help lists the commands; Ctrl-D ends the conversation\n")
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
