"""Chat templates of strangers: what they may not do, and how long they may take."""

import os
import time

import pytest

from lm_keras.conversations import child, sandbox
from lm_keras.conversations.messages import Message
from lm_keras.conversations.template import ChatTemplate
from lm_keras.errors import InputError
from lm_keras.text import train_tokenizer

HI = [Message("user", "Hi")]
BYTES = train_tokenizer("byte", [])

HOSTILE = [
    ("{{ ''.__class__.__mro__ }}", "does something that is not allowed: access to attribute '__class__'"),
    ("{{ (''|attr('__class__')).mro() }}", "not allowed"),
    ("{{ cycler.__init__.__globals__.os.system('true') }}", "does something that is not allowed"),
    ("{{ '{0.__class__.__mro__}'.format(1) }}", "does something that is not allowed"),
    ("{{ raise_exception.__globals__.json }}", "not allowed"),
    ("{% set ns = namespace(__init__=1) %}", "does something that is not allowed"),
    ("{{ messages.append(1) }}", "does something that is not allowed"),
    ("{% import 'os' as os %}", "no loader"),
    ("{% include '/etc/passwd' %}", "no loader"),
    ("{{ range(10**9)|list }}", "Range too big"),
    ("{{ 'a' * 10**9 }}", "more than 512 MiB of memory"),
    ("{% for i in range(99999) %}aaaaaaaaaaaaaaa{% endfor %}", "writes more than 1,000,000 bytes"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ("{{ raise_exception('Roles must\nalternate') }}", "refuses this conversation: Roles must alternate"),
    ("{{ nothing.more }}", "'nothing' is undefined"),
    ("a\n{% if %}", "line 2 of it: Expected an expression"),
]


@pytest.mark.parametrize(("source", "told"), HOSTILE)
def test_a_hostile_template_is_refused_in_one_line(source, told):
    with pytest.raises(InputError) as error:
        ChatTemplate(source).render(HI)
    assert told in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 9 ** 9 ** 9 % 7 }}{{ 9 ** (9 ** 9) % 7 }}",
    ],
)
def test_a_template_that_takes_long_is_ended(source, monkeypatch):
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    template = ChatTemplate(source)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"takes more than 0\.5 s"):
        template.render(HI)
    assert time.monotonic() - began < 0.5 + child.START_SECONDS


def test_a_conversation_has_its_time_once(monkeypatch):
    """Also where only the check of what is the template's takes long, or each of its texts a while."""
    monkeypatch.setattr(sandbox, "SECONDS", 0.5)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    template = ChatTemplate(
        "{% if messages[0].content > 'zzzz' %}" + loop + "{% endif %}{{ messages[0].content }}"
    )
    assert template.render(HI) == "Hi"
    began = time.monotonic()
    with pytest.raises(InputError, match=r"takes more than 0\.5 s"):
        template.encode(HI, BYTES, True)
    assert time.monotonic() - began < 1.5
    left = child.Allowance(0.4)
    plain = ChatTemplate("{{ messages[0].content }}")._process
    plain.render([HI[0]._asdict()], False, left)
    assert 0 < left.seconds < 0.4
    left.seconds = 0.0  # Texts before have taken it.
    with pytest.raises(child.Ended):
        plain.render([HI[0]._asdict()], False, left)


def test_a_process_goes_on_after_an_error_and_ends_with_its_template():
    template = ChatTemplate("{{ messages[1].content }}")
    with pytest.raises(InputError, match="has no element 1"):
        template.render(HI)
    number = template._process._process.pid
    assert template.render([*HI, *HI]) == "Hi"
    assert template._process._process.pid == number
    del template
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_a_process_that_was_killed_is_started_again():
    template = ChatTemplate("{{ messages[0].content }}")
    template.render(HI)
    template._process._process.kill()
    template._process._process.wait()
    assert template.render(HI) == "Hi"


def test_a_template_of_others_needs_jinja2(monkeypatch):
    monkeypatch.setattr(child.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package jinja2: pip install 'lm_keras\[chat\]'"):
        ChatTemplate("{{ messages }}").render(HI)
    assert ChatTemplate().render(HI)


def test_a_template_that_is_wrong_says_so_each_time():
    template = ChatTemplate("{% for %}")
    for _ in range(2):
        with pytest.raises(InputError, match="line 1 of it: Expected"):
            template.render(HI)


def test_an_interrupted_conversation_leaves_no_answer_for_the_next(monkeypatch):
    template = ChatTemplate("{{ messages[0].content }}")
    assert template.render(HI) == "Hi"

    def interrupted(seconds, of):
        raise KeyboardInterrupt

    with monkeypatch.context() as changed, pytest.raises(KeyboardInterrupt):
        changed.setattr(template._process, "_answer", interrupted)
        template.render([Message("user", "not this")])
    assert template.render(HI) == "Hi"
