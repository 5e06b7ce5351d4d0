"""What can be wrong with conversations"""

import json

from faults import SMALL, Fault, files

HELLO = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi."}
COMMON = (*(flag for flag in SMALL if "sequence_length" not in flag), "--sequence_length=64")
REMEDY = "correct it, or leave it out (--on_bad_text=skip leaves out all such records)"


def lines(*records):
    """Twenty good conversations, and then these records."""
    good = [{"messages": [{**HELLO, "content": f"Hello {n}"}, HI]} for n in range(20)]
    return "".join(json.dumps(record) + "\n" for record in (*good, *records))


def chat(name, how, content, line, *flags, code=1):
    """A fault in the training text of a run of --task=chat."""
    given = ("--task=chat", "--model=lstm", "--corpus=jsonl:a.jsonl", "--split=100/0/0", *flags)
    return Fault(name, how, files({"a.jsonl": content}), given, line, code, common=COMMON)


FAULTS = [
    chat("a record without messages", "`prompt` and `answer`", lines({"prompt": "a", "answer": "b"}),
        f"a.jsonl:21: no field 'messages': expected one with a list of messages; {REMEDY}"),
    chat("messages that are a text", "a string", lines({"messages": "Hello"}),
        "a.jsonl:21: the field 'messages' is a string: expected a list of messages, such as "
        f'[{{"role": "user", "content": "Hello"}}]; {REMEDY}'),
    chat("an unknown role", "`human`", lines({"messages": [{"role": "human", "content": "a"}, HI]}),
        "a.jsonl:21: the field 'messages': message 1 has the role 'human': expected system, user, "
        f"assistant; {REMEDY}"),
    chat("a content without text", "null", lines({"messages": [{"role": "user", "content": None}, HI]}),
        f"a.jsonl:21: the field 'messages': message 1: its 'content' is null: expected a string; {REMEDY}"),
    chat("a system message in the middle", "as the second one",
        lines({"messages": [HELLO, {"role": "system", "content": "a"}, HI]}),
        "a.jsonl:21: the field 'messages': message 2 is a system message: expected it as the first message "
        f"only; {REMEDY}"),
    chat("a conversation without an answer", "only the user", lines({"messages": [HELLO]}),
        f"a.jsonl:21: the assistant says nothing in it, so nothing is learnt of it; {REMEDY}"),
    chat("conversations without any answer", "only the user, `--on_bad_text=skip`",
        json.dumps({"messages": [HELLO]}) + "\n",
        "a.jsonl: nothing is left after skipping lines without a text: a.jsonl:1: the assistant says nothing "
        f"in it, so nothing is learnt of it; {REMEDY}", "--on_bad_text=skip"),
    chat("a conversation longer than a row", "90 letters",
        lines({"messages": [{**HELLO, "content": "e" * 90}, HI]}),
        "a.jsonl:21: 112 tokens, and a row has room for 64 of an example (1 of 21 train examples are longer; "
        "the longest, a.jsonl:21, has 112): --too_long=cut_end, the tokens behind that are not read", code=0),
    chat("a task of conversations without any", "`--task=chat` with text:", lines(),
        "--task=chat needs the field 'messages' of each record, and --corpus=text:a.jsonl has none; take one "
        "of python-docs[:libraries|:names|:signatures|:questions], jsonl:GLOB", "--corpus=text:a.jsonl"),
]  # fmt: skip
