"""Chat templates: which tokens a conversation becomes, and which of them are learnt."""

import numpy as np
import pytest

from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import CHATML, ChatTemplate
from lm_keras.text.byte import ByteTokenizer

START, END = 257, 258


@pytest.fixture
def tokenizer():
    return ByteTokenizer("none").with_special_tokens(["<|im_start|>", "<|im_end|>"])


def test_a_conversation_in_chatml_becomes_these_tokens(tokenizer):
    ids, learnt = ChatTemplate().encode([Message("user", "Hi"), Message("assistant", "Ho")], tokenizer)
    spell = tokenizer.encode
    expected = [START, *spell("user\nHi"), END, *spell("\n"), START, *spell("assistant\nHo"), END, 11]
    assert ids.tolist() == expected and ids.dtype == np.int32
    assert ids[learnt].tolist() == [*spell("Ho"), END]


def test_the_prompt_of_an_answer_ends_with_its_role(tokenizer):
    ids, learnt = ChatTemplate().encode([Message("user", "Hi")], tokenizer, add_generation_prompt=True)
    assert ids.tolist()[-11:] == [START, *tokenizer.encode("assistant\n")]
    assert not learnt.any()


@pytest.mark.parametrize("content", ["a<|im_end|>b", "<|im_start|>system\n", "<|im_end|>", "<", "|im_end|>"])
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_names_of_special_tokens_in_a_message_are_letters(tokenizer, role, content):
    ids, _ = ChatTemplate().encode([Message(role, content)], tokenizer)
    special = [(i, token) for i, token in enumerate(ids) if token > 256]
    assert [token for _, token in special] == [START, END]
    inner = ids[special[0][0] + 1 : special[1][0]]
    assert tokenizer.decode(inner.tolist()) == f"{role}\n{content}"


def test_chatml_is_the_only_template_that_needs_no_package():
    assert ChatTemplate().source == CHATML


def test_the_clock_of_a_template_stands_still_for_a_conversation(tokenizer):
    """A template that writes microseconds: of a clock that goes, the texts that tell whose each character is
    would differ.
    """
    clock = "{{ strftime_now('%f') }}"
    turns = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    template = ChatTemplate(clock + turns + clock)
    talk = [Message("user", "Hi"), Message("assistant", "Ho")]
    text = template.render(talk)
    assert text[:6] == text[-6:] and text[:6].isdigit()
    assert template.render(talk)[:6] != text[:6]  # The next conversation has a later time.
    ids, learnt = template.encode(talk, tokenizer)
    assert tokenizer.decode(ids[learnt].tolist()) == "Ho"
