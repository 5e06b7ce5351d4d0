"""Answers in conversations: where they end, and what is left out of a long one."""

import keras
import numpy as np
import pytest
from chain_of_bytes import ASK, END, LETTERS, START, TOKENIZER, Chain, chat_of

from lm_keras.answers import answer_for
from lm_keras.answers.chat import Chat, last_answer_removed, without_oldest_turn
from lm_keras.config import from_flat
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import template_of
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.sampling.generate import Sampler
from lm_keras.text.byte import ByteTokenizer


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
    kept = [*chat.reply(turns, stream=True, **settings).messages]
    line = f"the conversation is too long: its {len(turns) - len(kept)} oldest messages are left out"
    assert said == [line, line]
    assert kept[0] == turns[0] and kept[1].role == "user" and kept[-1] == turns[-1]
    assert len(template_of(TOKENIZER).encode(kept, TOKENIZER, True).ids) <= 118
    assert len(kept) < len(turns) and kept[1:] == turns[-len(kept) + 1 :]


def test_what_is_too_long_without_its_oldest_turns_is_told_with_what_an_answer_needs():
    chat, long = chat_of("Yes", context_length=128), Message("user", "x" * 300)
    settings = {"long_prompt": "keep_end", "max_new_tokens": 10}
    told = "the conversation has 319 tokens, and 118 of the 128 that the model looks back on may stand before"
    with pytest.raises(InputError, match=f"^{told} an answer; shorten it$"):
        chat.reply([long], **settings)
    with pytest.raises(InputError, match=f"^even without its oldest turns {told}"):
        chat.reply([*ASK, Message("assistant", "Ho"), long], **settings)
    with pytest.raises(InputError, match="and 64 of the 128 that the model"):
        chat.reply([long], long_prompt="keep_end")


def test_an_answer_ends_where_the_context_is_full():
    """A prompt of 21 tokens leaves 44 of 64 for the answer, since the last one is not read."""
    said = []
    chat = chat_of(LETTERS, said, context_length=64)
    assert chat.reply(ASK, temperature=0) == LETTERS[:44]
    line = "the conversation has filled the 64 tokens that the model looks back on"
    assert said == [f"the answer was cut at its end: {line}"]
    reply = chat.reply(ASK, stream=True, temperature=0)
    assert (reply.ended_by, "".join(reply), reply.ended_by) == ("", LETTERS[:44], "context")
    asked = [ASK, [Message("user", "Hi" * 9)]]
    found = chat.replies(asked, temperature=0)
    assert [(one.text, one.ended_by) for one in found] == [
        (LETTERS[:44], "context"), (LETTERS[:28], "context"),
    ]  # fmt: skip
    (found,) = chat.replies([ASK], temperature=0, max_new_tokens=44)
    assert found.ended_by == "length" and len(said) == 1
    longer = chat_of(LETTERS, said, context_length=128)  # The control.
    assert longer.reply(ASK, temperature=0) == LETTERS and len(said) == 1


def test_each_token_of_an_answer_sees_the_whole_conversation():
    """Up to the last one that the context holds, of a network that looks random."""
    keras.utils.set_random_seed(3)
    config = from_flat(
        {"model": "gpt", "num_layers": 1, "num_heads": 2, "embedding_dim": 16, "sequence_length": 48}
    )
    model, drawn = FAMILIES["gpt"](config, TOKENIZER.vocab_size), np.random.default_rng(3)
    for variable in model.trainable_variables:
        variable.assign(variable.numpy() + drawn.normal(0, 0.5, variable.shape))
    ends = [0, END]
    chat = Chat(model, TOKENIZER, end_ids=ends)
    (found,) = chat.replies([ASK], temperature=0, logit_bias=dict.fromkeys(ends, -1000.0))
    prompt = template_of(TOKENIZER).encode(ASK, TOKENIZER, True).ids.tolist()
    assert (len(found.token_ids), found.ended_by) == (48 - len(prompt) + 1, "context")
    logits = model(np.array([[*prompt, *found.token_ids[:-1]]]))[0].numpy()[len(prompt) - 1 :]
    logits[:, [*TOKENIZER.special_ids]] = -np.inf
    assert logits.argmax(-1).tolist() == [*found.token_ids] and len(set(found.token_ids)) > 3


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
