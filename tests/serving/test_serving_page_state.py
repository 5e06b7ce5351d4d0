"""What the page holds, sends and shows: settings, addresses, conversations, two models, tokens."""

import pytest
from page_actions import (
    ACTIVE,
    DONE,
    READY,
    WRONG,
    choose,
    follow,
    go_to,
    is_shown,
    record,
    said,
    set_to,
    turns,
    value,
)

from lm_keras.serving import page as page_file

STATUS = "return document.getElementById('status').textContent"


def answer(lm, *texts, **settings):
    """Return the lines of a conversation."""
    messages = []
    for text in texts:
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": lm.chat(messages, **settings)})
    return [one["content"] for one in messages]


def test_each_of_two_models_keeps_its_own_turns(page, talkers):
    page.open(f"http://127.0.0.1:{talkers.port}/#model=chat&max_new_tokens=9")
    page.wait(READY)
    set_to(page, "text", "Hello")
    page.press("Control+Enter")
    page.wait(DONE)
    choose(page, "talk", "other")
    for text in ("Who?", "Why?"):
        set_to(page, "text", text)
        page.press("Control+Enter")
        page.wait(DONE)
    chat, talk = talkers.lms["chat"], talkers.lms["talk"]
    first = answer(chat, "Hello", "Who?", "Why?", max_new_tokens=9)
    shared = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": first[1]}]
    second = []
    for text in ("Who?", "Why?"):
        shared.append({"role": "user", "content": text})
        second.append(talk.chat(shared, max_new_tokens=9))
        shared.append({"role": "assistant", "content": second[-1]})
    assert second[0] != first[3]
    expected = [
        "user: Hello", f"assistant: {first[1]}",
        "user: Who?", f"assistant: {first[3]}", f"second model: {second[0]}",
        "user: Why?", f"assistant: {first[5]}", f"second model: {second[1]}",
    ]  # fmt: skip
    assert turns(page) == expected
    address = page.run("return location.href")
    page.open("about:blank")
    page.open(address)
    page.wait(READY)
    assert turns(page) == expected and value(page, "other") == "talk"


def test_a_conversation_stays_when_the_model_changes(page, talkers):
    page.open(f"http://127.0.0.1:{talkers.port}/#model=chat&user=Hello&assistant=Hm&max_new_tokens=7")
    page.wait(READY)
    choose(page, "talk")
    assert turns(page) == ["user: Hello", "assistant: Hm"]
    assert "user=Hello&assistant=Hm" in page.run("return location.hash")
    set_to(page, "text", "Who?")
    page.press("Control+Enter")
    page.wait(DONE)
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hm"},
                {"role": "user", "content": "Who?"}]  # fmt: skip
    assert turns(page)[3] == f"assistant: {talkers.lms['talk'].chat(messages, max_new_tokens=7)}"


def test_a_conversation_waits_behind_a_model_that_has_none(page):
    follow(page, "#model=chat&user=Hello&assistant=Hm")
    page.wait("document.querySelectorAll('#turns li').length === 2")
    choose(page, "gpt")
    assert not is_shown(page, "turns") and "Hello" not in page.run("return location.hash")
    choose(page, "chat")
    assert is_shown(page, "turns") and turns(page) == ["user: Hello", "assistant: Hm"]
    assert "user=Hello" in page.run("return location.hash")


def test_the_length_that_is_shown_is_sent(page, talkers):
    record(page)
    page.press("Control+Enter")
    page.wait(DONE)
    assert value(page, "set-max_new_tokens") == "100" and page.run("return sent[0].max_tokens") == 100
    choose(page, "chat")
    assert value(page, "set-max_new_tokens") == "512"
    set_to(page, "set-max_new_tokens", "100")
    for model in ("gpt", "chat"):
        choose(page, model)
        assert value(page, "set-max_new_tokens") == "100"
    page.open(f"http://127.0.0.1:{talkers.port}/#model=chat")  # Its limit is below the usual length.
    page.wait(READY)
    assert value(page, "set-max_new_tokens") == "300"


@pytest.mark.parametrize(
    ("name", "typed", "reason"),
    [
        ("max_new_tokens", "1e", "no number"),
        ("seed", "9007199254740993", "whole numbers"),
        ("logit_bias", "5:", "ID:BIAS"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_its_field(page, name, typed, reason):
    follow(page, "#max_new_tokens=5")
    page.wait("document.getElementById('set-max_new_tokens').value === '5'")
    record(page)
    field = f"set-{name}"
    page.run("document.getElementById('settings-box').open = true")
    go_to(page, field)
    page.press("Control+a", typed)
    go_to(page, "run")
    page.press("Enter")
    page.wait(WRONG)
    assert reason in page.run("return document.getElementById(arguments[0]).textContent", f"{field}-wrong")
    assert name in page.run(STATUS) and page.run("return sent") == []
    assert page.run(ACTIVE) == field and page.run("return document.activeElement.ariaInvalid") == "true"
    page.press("Control+a", "3:1" if name == "logit_bias" else "3", "Control+Enter")
    page.wait(DONE)
    assert len(page.run("return sent")) == 1
    assert page.run("return document.getElementById(arguments[0]).ariaInvalid", field) is None


def test_the_largest_seed_is_sent_as_it_is(page, loaded):
    record(page)
    set_to(page, "set-seed", "9007199254740991")
    set_to(page, "set-max_new_tokens", "8")
    page.press("Control+Enter")
    page.wait(DONE)
    assert said(page) == loaded["gpt"].generate([""], seed=9007199254740991, max_new_tokens=8)


def test_settings_stay_when_the_model_changes(page):
    follow(page, "#model=gpt&temperature=0.5&top_k=7&stop=x")
    page.wait("document.getElementById('set-top_k').value === '7'")
    set_to(page, "set-temperature", "")
    set_to(page, "set-top_k", "9")
    for model in ("lstm", "classes", "gpt"):
        choose(page, model)
    held = [value(page, f"set-{name}") for name in ("temperature", "top_k", "stop")]
    assert held == ["", "9", "x"]
    assert "temperature" not in page.run("return location.hash")
    choose(page, "pairs")
    assert value(page, "pair-num_beams") == "5" and not is_shown(page, "set-num_beams")


def test_a_pasted_address_fills_the_page(page):
    set_to(page, "set-top_k", "9")
    follow(page, "#model=lstm&other=gpt&text=The+old&max_new_tokens=6&temperature=0")
    page.wait("document.getElementById('text').value === 'The old'")
    held = [value(page, name) for name in ("model", "other", "set-max_new_tokens", "set-top_k")]
    assert held == ["lstm", "gpt", "6", "0"]
    page.press("Control+Enter")
    page.wait(DONE)
    before = said(page)
    page.press("Tab")  # Time for an event, if the page's own address made one.
    assert len(before) == 2 and said(page) == before and page.run(STATUS).startswith("Done")
    follow(page, "#model=nobody&top_k=many&long_prompt=never&colour=red&text=New")
    page.wait(WRONG)
    for one in ("model=nobody", "top_k=many", "long_prompt=never", "colour=red"):
        assert one in page.run(STATUS)
    assert value(page, "text") == "New" and value(page, "set-long_prompt") == "error" and said(page) == []


def test_a_pasted_address_stops_what_runs(page):
    follow(page, "#text=The&max_new_tokens=4000&logit_bias=0:-1000")
    page.wait("document.getElementById('text').value === 'The'")
    page.press("Control+Enter")
    page.wait("document.querySelectorAll('.said .token').length > 3")
    follow(page, "#text=Other")
    page.wait("document.getElementById('status').textContent === 'Stopped'")
    assert value(page, "text") == "Other" and "text=Other" in page.run("return location.hash")


def test_if_one_of_two_models_fails_the_other_stops(page):
    follow(page, "#model=gpt&other=lstm&max_new_tokens=4000&logit_bias=0:-1000")
    page.wait("document.getElementById('other').value === 'lstm'")
    page.run(
        "const before = window.fetch; window.fetch = (address, options) =>"
        "JSON.parse(options.body).model !== 'lstm' ? before(address, options)"
        ": new Promise((done) => setTimeout(() => done(new Response("
        "JSON.stringify({error: {message: 'it is ill'}}), {status: 400})), 300))"
    )
    page.press("Control+Enter")
    page.wait(WRONG)
    assert page.run(STATUS) == "Error: lstm: it is ill"
    count = "return document.querySelectorAll('.said .token').length"
    drawn = page.run(count)
    assert drawn < 4000
    page.wait("new Promise((done) => setTimeout(() => done(true), 300))")
    assert page.run(count) == drawn


def test_scores_are_for_models_that_can(page):
    assert is_shown(page, "score")
    choose(page, "lstm", "other")
    assert is_shown(page, "score")
    choose(page, "glm", "other")
    assert not is_shown(page, "score")
    choose(page, "", "other")
    assert is_shown(page, "score")


def test_tokens_show_the_text_that_came(page, loaded):
    whole = loaded["gpt"].generate(["The"], max_new_tokens=30)[0]
    stop = whole[10:13]
    follow(page, "#text=The&max_new_tokens=30")
    page.wait("document.getElementById('text').value === 'The'")
    set_to(page, "set-stop", stop.replace("\n", "\\n"))
    page.press("Control+Enter")
    page.wait(DONE)
    expected = loaded["gpt"].sample(["The"], max_new_tokens=30, stop=stop)[0]
    assert said(page) == ["The" + expected.text] and expected.ended_by == "stop"
    assert page.run("return document.querySelectorAll('.said .token').length") == len(expected.token_ids)


DRAW = """
const view = new ColouredText("x");
document.getElementById("results").append(...view.parts);
for (const [texts, piece] of arguments[0]) {
  view.grow(texts.map((text) => ({ text, score: -1, alternatives: [] })), piece);
}
if (arguments[1] !== null) view.end(arguments[1]);
return view.spans.map((span) => [span.textContent, span.dataset.sign]);
"""
NO_TEXT, LINE_END, END = "\u2205", "\u23ce", "\u220e"


DRAWN = [
    ([(["a", "", "\u00e9"], "a\u00e9")], None, [("a", ""), ("", NO_TEXT), ("\u00e9", "")]),
    ([(["a", "b#"], "a")], None, [("a", "")]),  # What may become a stop string has not come.
    ([(["a", "b#"], "a"), (["c"], "b#c")], False, [("a", ""), ("b#", ""), ("c", "")]),
    ([(["a", "b#"], "a"), (["#"], "b")], True, [("a", ""), ("b", ""), ("", NO_TEXT)]),
    ([(["a", ""], "a"), ([""], "\ufffd")], True, [("a", ""), ("\ufffd", ""), ("", END)]),
    ([(["a", ""], "a\ufffd")], False, [("a", ""), ("\ufffd", "")]),
    ([(["a", "\n", ""], "a\n")], True, [("a", ""), ("\n", LINE_END), ("", END)]),
]


def test_signs_of_tokens_without_characters(page):
    for events, by_model, drawn in DRAWN:
        assert page.run(DRAW, events, by_model) == [list(one) for one in drawn]


def test_a_scored_text_with_accents(page):
    tokens = [{"token": text, "logprob": -1.0, "rank": 2, "top_logprobs": []}
              for text in ("caf", "", "\u00e9", "!")]  # fmt: skip
    page.run("const tokens = arguments[0]; ask = async () =>"
             "({json: async () => ({data: [{tokens, nats: 4}]})})", tokens)  # fmt: skip
    page.run("document.getElementById('score').click()")
    page.wait(DONE)
    assert said(page) == ["caf\u00e9!"]
    assert page.run("return document.querySelectorAll('.said .token').length") == 4


def test_a_text_that_is_cut_is_told(page):
    choose(page, "classes")
    found = {"label": "pet", "probabilities": {"pet": 1}, "truncated": True, "tokens": 90, "tokens_read": 64}
    page.run("const found = arguments[0]; ask = async () => ({json: async () => ({data: [found]})})", found)
    page.press("Control+Enter")
    page.wait(DONE)
    assert "64 of 90 tokens" in page.run("return document.getElementById('results').textContent")


def test_help_of_settings_is_for_the_page():
    tables = page_file.tables(100)
    words = [row["help"] for name in ("sampling", "pairs") for row in tables[name]]
    assert len(words) > 15
    for help in words:
        assert not any(word in help for word in ("--", "bash", "Python", "several times", "jsonl")), help
