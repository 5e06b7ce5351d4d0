"""Messages of a conversation, and one line for each thing that can be wrong with them."""

import pytest

from lm_keras.conversations.messages import Message, read_messages
from lm_keras.errors import InputError

HELLO = {"role": "user", "content": "Hello"}


def test_messages_are_read():
    given = [{"role": "system", "content": ""}, HELLO, {"role": "assistant", "content": "Hi", "id": 7}]
    expected = Message("system", ""), Message("user", "Hello"), Message("assistant", "Hi")
    assert read_messages(given) == expected and read_messages(expected) == expected
    assert read_messages([HELLO, HELLO]) == (expected[1],) * 2


@pytest.mark.parametrize(
    "more", [{"weight": 1}, {"weight": 1.0}, {"weight": None, "tool_calls": []}, {"function_call": None}]
)
def test_fields_that_change_nothing_are_left_out(more):
    assert read_messages([{**HELLO, **more}]) == (Message("user", "Hello"),)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("Hello", "messages is a string: expected a list of messages"),
        (HELLO, "messages is an object: expected a list"),
        ([], "messages is empty"),
        (["Hello"], "message 1 is a string: expected an object with 'role' and 'content'"),
        ([HELLO, {"content": "x"}], "message 2 has no 'role', only 'content': expected an object"),
        ([{"from": "human", "value": "x"}], "message 1 has no 'role', only 'from', 'value': expected"),
        ([{}], "message 1 has no 'role', only nothing: expected"),
        ([(1, 2)], "message 1 is a list: expected an object"),
        ([{"role": 7, "content": "x"}], "its 'role' is a number: expected a string"),
        ([{"role": "user", "content": None}], "its 'content' is null: expected a string"),
        ([{"role": "user", "content": [{"type": "text"}]}], "its 'content' is a list"),
        ([{"role": "User", "content": "x"}], r"the role 'User' \(did you mean 'user'\?\): expected system"),
        ([{"role": "tool", "content": "x"}], "has the role 'tool'"),
        ([HELLO, {"role": "system", "content": "x"}], "message 2 is a system message: expected it as the"),
        ([{**HELLO, "weight": 0}], "has 'weight', which is not read here"),
        ([{**HELLO, "weight": 0.5}], "has 'weight', which is not read here"),
        ([{**HELLO, "function_call": {"name": "f"}}], "has 'function_call', which is not"),
        ([{"role": "assistant", "content": "x", "tool_calls": [1]}], "has 'tool_calls', which is not"),
        ([{"role": "user", "content": "a\0b"}], "has NUL at character 1"),
        ([{"role": "user", "content": "ab\udcff"}], r"has the lone surrogate U\+DCFF at character 2"),
    ],
)
def test_what_is_no_conversation_is_said_in_one_line(value, line):
    with pytest.raises(InputError, match=line) as caught:
        read_messages(value)
    assert "\n" not in str(caught.value)
