"""Answers in conversations: where they end, what is left out of a long one, and the console."""

import io
import sys
import types

import keras
import pytest
import tensorflow as tf

from benchmarks.candidates import answers as speed_of_answers
from lm_keras.answers import answer_for, chat_console
from lm_keras.answers.answer import NO_CONVERSATIONS
from lm_keras.answers.chat import Chat, last_answer_removed, without_oldest_turn
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import CHATML, template_of
from lm_keras.errors import InputError
from lm_keras.sampling.generate import Sampler
from lm_keras.text.byte import ByteTokenizer

TOKENIZER = (
    ByteTokenizer("none").with_special_tokens(["<|im_start|>", "<|im_end|>"]).with_chat_template(CHATML)
)
START, END = TOKENIZER.special_tokens.values()
ASK = [Message("user", "Hi")]


class Chain(keras.Model):
    """A network whose next token follows from the last one alone; behind the line feed of a prompt it says a
    text, in which each byte comes once, and then a token.
    """

    def __init__(self, text, last=END, context_length=None):
        super().__init__()
        self.context_length = context_length
        ids = [TOKENIZER.encode("\n")[0], *TOKENIZER.encode(text), last]
        following = dict(zip(ids, ids[1:]))
        self.table = tf.constant([following.get(n, last) for n in range(TOKENIZER.vocab_size)])

    def initial_state(self, batch_size, length=None):
        return (tf.zeros([batch_size], tf.int32),)

    def forward(self, inputs, state, draw=None):
        return tf.cast(inputs["tokens"], tf.float32)[..., None], state

    def project(self, features):
        following = tf.gather(self.table, tf.cast(features[..., 0], tf.int32))
        return tf.one_hot(following, TOKENIZER.vocab_size, on_value=30.0)


def chat_of(text, said=None, last=END, context_length=None):
    say = (lambda line: None) if said is None else said.append
    return answer_for("chat", Chain(text, last, context_length), TOKENIZER, say)


def test_an_answer_ends_where_its_turn_does():
    chat = chat_of("Of course")
    assert isinstance(chat, Chat) and chat.reply(ASK, temperature=0) == "Of course"


@pytest.mark.parametrize("last", [END, 0, START])
def test_several_tokens_end_an_answer(last):
    """Of three: the end of the turn, the end of a document, and one that the model's settings name."""
    model = Chain("Yes", last)
    chat = Chat(model, TOKENIZER, end_ids=(END, START))
    (found,) = chat.replies([ASK], max_new_tokens=20)
    assert (found.text, found.ended_by, found.token_ids[-1]) == ("Yes", "eod", last)


def test_a_token_that_is_no_end_does_not_end_an_answer():
    chat = Chat(Chain("Yes", TOKENIZER.encode("Z")[0]), TOKENIZER, end_ids=(END, START))
    (found,) = chat.replies([ASK], max_new_tokens=6)
    assert (found.text, found.ended_by) == ("YesZZZ", "length")


def test_beams_and_texts_end_at_each_of_the_tokens():
    for beams in (1, 2):
        sampler = Sampler(Chain("Yes", START), TOKENIZER, end_ids=(END, START))
        found = sampler.sample(["\n"], max_new_tokens=20, num_beams=beams, temperature=1.0)[0]
        assert (found.text, found.ended_by) == ("Yes", "eod")


def test_pieces_are_the_answer_and_replies_are_those_of_each_alone():
    chat = chat_of("A few")
    whole = chat.reply(ASK, temperature=0)
    assert "".join(chat.reply(ASK, stream=True, temperature=0)) == whole
    talks = [ASK, [Message("system", "Be short."), *ASK, Message("assistant", "Ho"), Message("user", "And?")]]
    assert [one.text for one in chat.replies(talks, temperature=0)] == [whole, whole]
    assert chat.replies([]) == []


def test_messages_may_be_dictionaries_and_are_checked():
    chat = chat_of("Yes")
    assert chat.reply([{"role": "user", "content": "Hi"}]) == "Yes"
    with pytest.raises(InputError, match="message 1 has the role 'robot'"):
        chat.reply([{"role": "robot", "content": "Hi"}])
    with pytest.raises(InputError, match="num_beams=2 has no meaning in a conversation"):
        chat.reply(ASK, num_beams=2)
    with pytest.raises(InputError, match="temprature"):
        chat.reply(ASK, temprature=1)


def test_a_long_conversation_is_an_error_or_loses_its_oldest_turns():
    said, turns = [], [Message("system", "S")]
    for number in range(4):
        turns += [Message("user", f"question {number}"), Message("assistant", f"answer {number}")]
    turns.append(Message("user", "last"))
    chat = chat_of("Yes", said, context_length=128)
    with pytest.raises(
        InputError, match="looks back on 128 at most; shorten it, or take long_prompt=keep_end"
    ):
        chat.reply(turns)
    settings = {"long_prompt": "keep_end", "max_new_tokens": 10}
    assert chat.reply(turns, **settings) == "Yes"
    kept = chat.kept(turns, **settings)
    assert said == [
        f"the conversation is too long: its {len(turns) - len(kept)} oldest messages are left out"
    ]
    assert kept[0] == turns[0] and kept[1].role == "user" and kept[-1] == turns[-1]
    assert len(template_of(TOKENIZER).encode(kept, TOKENIZER, True).ids) <= 118
    assert len(kept) < len(turns) and kept[1:] == turns[-len(kept) + 1 :]
    with pytest.raises(InputError, match="the last message of the conversation has 3"):
        chat.reply([Message("user", "x" * 300)], **settings)


def test_turns_are_taken_from_both_ends():
    system, hi, ho, so = (Message(r, r) for r in ("system", "user", "assistant", "user"))
    assert without_oldest_turn((system, hi, ho, so)) == (system, so)
    assert without_oldest_turn((system, hi)) == ()
    assert last_answer_removed([system, hi, ho]) == [system]
    assert last_answer_removed([system]) == [system] and last_answer_removed([]) == []


def test_a_model_without_a_template_holds_no_conversation():
    plain = answer_for("causal_lm", Chain("Yes"), ByteTokenizer("none").with_special_tokens(["a", "b"]))
    with pytest.raises(InputError, match="has no chat template"):
        plain.reply(ASK)
    assert isinstance(answer_for("causal_lm", Chain("Yes"), TOKENIZER), Chat)


class Model(types.SimpleNamespace):
    tokens_generated = property(lambda self: self.answer.tokens_generated)


def talk(monkeypatch, capsys, lines, chat=None, stream=True, **settings):
    chat = chat or chat_of("Yes")
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    chat_console.converse(Model(answer=chat, chat=chat.reply), settings, stream)
    return capsys.readouterr()


@pytest.mark.parametrize("stream", [True, False])
def test_each_line_is_answered(monkeypatch, capsys, stream):
    printed = talk(monkeypatch, capsys, ["Hi", "", "//no command", "/nope", "And?"], stream=stream)
    assert printed.out == "Yes\n" * 3
    assert printed.err == "error: /nope is unknown; known are /system, /reset, /undo, /help\n"


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
    lines = [
        "/system Be short.",
        "one",
        "two",
        "/undo",
        "three",
        "/reset",
        "four",
        "/system",
        "five",
        "/undo",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join([*lines, "/undo", "/undo", "six"])))
    chat_console.converse(Model(answer=chat, chat=chat.reply), {}, True)
    assert asked == [
        ["Be short.", "one"], ["Be short.", "one", "Yes", "two"], ["Be short.", "one", "Yes", "three"],
        ["Be short.", "four"], ["four", "Yes", "five"], ["six"],
    ]  # fmt: skip


def test_an_answer_that_was_cut_and_turns_that_were_left_out_are_told(monkeypatch, capsys):
    chat = chat_of("Yes, why", context_length=48)
    printed = talk(monkeypatch, capsys, ["Hello", "Why so?"], chat, max_new_tokens=2)
    assert printed.out == "Ye\nYe\n"
    assert printed.err.count("the answer was cut there; --max_new_tokens says") == 2
    assert printed.err.count("its 2 oldest messages are left out") == 1


def test_ctrl_c_ends_an_answer_and_what_came_stays(monkeypatch, capsys):
    class Stopped(Chat):
        def reply(self, messages, stream=False, **settings):
            asked.append([message.content for message in messages])
            yield "Y"
            raise KeyboardInterrupt

    asked, chat = [], Stopped(Chain("Yes"), TOKENIZER, end_ids=(END,))
    assert talk(monkeypatch, capsys, ["one", "two"], chat).out == "Y\nY\n"
    assert asked == [["one"], ["one", "Y", "two"]]


def test_ctrl_c_at_the_question_ends_the_program(monkeypatch):
    def interrupted(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", interrupted)
    with pytest.raises(KeyboardInterrupt):
        chat_console.converse(Model(answer=chat_of("Yes")), {}, True)


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
