"""A conversation on the console: its messages, commands, lines and Ctrl-C."""

import io
import sys
import types

import pytest
from chain_of_bytes import END, LETTERS, TOKENIZER, Chain, chat_of

from benchmarks.candidates import answers as speed_of_answers
from lm_keras.answers import chat_console
from lm_keras.answers.answer import NO_CONVERSATIONS
from lm_keras.answers.chat import Chat, ChatReply
from lm_keras.errors import InputError


class Lines:
    """Writes lines to standard error, as a loaded model does."""

    def append(self, line):
        sys.stderr.write(f"{line}\n")


class Typed:
    """Standard input on a terminal, on which lines are typed, or Ctrl-C after some letters."""

    def __init__(self, monkeypatch, *typed):
        self._left, self._letters, self.asked = list(typed), "", []
        monkeypatch.setattr(sys, "stdin", self)
        monkeypatch.setattr("builtins.input", self._input)
        readline = types.SimpleNamespace(get_line_buffer=lambda: self._letters)
        monkeypatch.setitem(sys.modules, "readline", readline)

    def isatty(self):
        return True

    def _input(self, prompt):
        self.asked.append(prompt)
        if not self._left:
            raise EOFError
        line = self._left.pop(0)
        if line.endswith("\x03"):
            self._letters = line[:-1]
            raise KeyboardInterrupt
        return line


def talk(monkeypatch, capsys, lines, chat=None, stream=True, **settings):
    chat = chat or chat_of("Yes", Lines())
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    chat_console.converse(types.SimpleNamespace(answer=chat, chat=chat.reply), settings, stream)
    return capsys.readouterr()


@pytest.mark.parametrize("stream", [True, False])
def test_each_line_is_answered(monkeypatch, capsys, stream):
    lines = ["Hi", "", " ", "//no command", "/nope", "And?"]
    printed = talk(monkeypatch, capsys, lines, stream=stream)
    assert printed.out == "Yes\n\nYes\n\nYes\n"
    assert printed.err == (
        "error: /nope is unknown; known are /system, /reset, /undo, /help; a message that begins with / is"
        " written with two of them\n"
    )


def test_what_means_nothing_is_refused(monkeypatch, capsys):
    """A setting before the first message, so that a command ends with its error."""
    printed = talk(monkeypatch, capsys, ["Hi", "/undo 3", "/reset now"])
    assert (printed.out, printed.err.count("takes nothing behind it; leave '")) == ("Yes\n", 2)
    with pytest.raises(InputError, match="num_samples=2 has no meaning in a conversation"):
        talk(monkeypatch, capsys, ["Hi"], num_samples=2)
    assert capsys.readouterr().out == ""


def test_commands_change_what_is_remembered(monkeypatch):
    asked = []

    class Listening(Chat):
        def reply(self, messages, stream=False, **settings):
            asked.append([message.content for message in messages])
            return super().reply(messages, stream, **settings)

    chat = Listening(Chain("Yes"), TOKENIZER, end_ids=(END,))
    lines = ["/system\tBe short. ", "one", "two", " /undo", "three", "/reset", "four", "/system", "five"]
    lines += ["/undo", "/undo", "/undo", "six", "/undo", "two\\", "lines", "//x\\"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    chat_console.converse(types.SimpleNamespace(answer=chat, chat=chat.reply), {}, True)
    assert asked == [
        ["Be short.", "one"], ["Be short.", "one", "Yes", "two"], ["Be short.", "one", "Yes", "three"],
        ["Be short.", "four"], ["four", "Yes", "five"], ["six"], ["two\nlines"],
        ["two\nlines", "Yes", "/x"],
    ]  # fmt: skip


def test_an_answer_that_was_cut_and_turns_that_were_left_out_are_told(monkeypatch, capsys):
    chat = chat_of("Yes, why", Lines(), context_length=48)
    lines = ["/undo", "Hello", "Why so?", "/undo", "/undo", "/reset", "/undo"]
    printed = talk(monkeypatch, capsys, lines, chat, max_new_tokens=2)
    assert printed.out == "Ye\n\nYe\n"
    cut, nothing = "the answer was cut there; --max_new_tokens says", "there is nothing to take back"
    told = [
        nothing, cut, "the conversation is too long: its 2 oldest messages are left out", cut,
        "2 messages taken back", f"{nothing}: turns that were left out do not come back",
        "a new conversation", nothing,
    ]  # fmt: skip
    lines = printed.err.splitlines()
    assert [line[: len(start)] for line, start in zip(lines, told, strict=True)] == told
    assert lines[-1] == nothing


def test_an_answer_that_fills_the_context_is_told_and_the_next_message_leaves_turns_out(monkeypatch, capsys):
    chat = chat_of(LETTERS, Lines(), context_length=64)
    printed = talk(monkeypatch, capsys, ["Hi", "Hi"], chat)
    assert printed.out == f"{LETTERS[:44]}\n\n{LETTERS[:44]}\n"
    filled = "the answer was cut there: the conversation has filled the context of the model, so the next"
    first, left_out, second = printed.err.splitlines()
    assert first.startswith(filled) and second == first and "its 2 oldest messages are left out" in left_out
    whole = talk(monkeypatch, capsys, ["Hi"], chat_of("Yes", Lines(), context_length=64))  # The control.
    assert (whole.out, whole.err) == ("Yes\n", "")
    exactly = talk(monkeypatch, capsys, ["Hi"], max_new_tokens=4)  # Three letters and the end.
    assert (exactly.out, exactly.err) == ("Yes\n", "")


class Stopped(Chat):
    """Says a text, and then somebody types Ctrl-C."""

    def __init__(self, text):
        super().__init__(Chain("Yes"), TOKENIZER, end_ids=(END,))
        self._text, self.asked = text, []

    def reply(self, messages, stream=False, **settings):
        def pieces():
            yield from self._text
            raise KeyboardInterrupt

        self.asked.append([message.content for message in messages])
        return ChatReply(tuple(messages), pieces(), None)


def typed(chat):
    chat_console.converse(types.SimpleNamespace(answer=chat, chat=chat.reply), {}, True)


def test_ctrl_c_ends_an_answer_and_what_came_stays(monkeypatch, capsys):
    chat = Stopped("Y")
    Typed(monkeypatch, "one", "two")
    typed(chat)
    assert chat.asked == [["one"], ["one", "Y", "two"]]
    printed = capsys.readouterr()
    assert printed.out == "Y\nY\n"
    assert printed.err.count("stopped there; what came stays in the conversation\n") == 2


def test_ctrl_c_before_an_answer_forgets_the_message(monkeypatch, capsys):
    chat = Stopped("")
    Typed(monkeypatch, "one", "two")
    typed(chat)
    assert chat.asked == [["one"], ["two"]]
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("the message is forgotten\n") == 2


def test_ctrl_c_ends_a_program_that_reads_from_a_pipe(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\ntwo"))
    chat = Stopped("Y")
    with pytest.raises(KeyboardInterrupt):
        typed(chat)
    assert chat.asked == [["one"]]


def test_ctrl_c_clears_a_line_and_at_an_empty_one_ends_the_program(monkeypatch, capsys):
    keys = Typed(monkeypatch, "half\x03", "one\\", "\x03", "two", "\x03", "three")
    with pytest.raises(KeyboardInterrupt):
        typed(chat_of("Yes"))
    assert capsys.readouterr().out == "Yes\n"
    assert keys.asked == ["> ", "> ", "... ", "> ", "> "]


def test_other_ways_to_use_a_model_are_refused_beside_a_conversation():
    options = {"interactive": False, "prompt": "", "prompt_file": None, "color": False, "json": False}
    chat_console.check(types.SimpleNamespace(chat=True, **options))
    with pytest.raises(InputError, match="--json has no meaning with --chat"):
        chat_console.check(types.SimpleNamespace(chat=True, **options | {"json": True}))
    chat_console.check(types.SimpleNamespace(chat=False, **options | {"json": True}))


def test_a_model_without_a_chat_template_is_refused_before_the_first_message(finished, script):
    """And by the speed of answers, with the same line."""
    ended = script("sample.py", f"--run_dir={finished.path}", "--chat")
    assert (ended.code, ended.err) == (1, f"error: {NO_CONVERSATIONS}\n")
    with pytest.raises(InputError, match="holds no conversations"):
        speed_of_answers.Candidate(str(finished.path))
