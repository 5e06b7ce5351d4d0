"""The page in a real browser: by keyboard alone, names for all controls, narrow and dark, nothing fetched."""

import json

import pytest

READY = "document.getElementById('status').textContent === 'Ready'"
DONE = "document.getElementById('status').textContent.startsWith('Done')"
ACTIVE = "return document.activeElement.id || document.activeElement.className"
CONTROLS = {"button", "textbox", "combobox", "spinbutton", "link", "checkbox", "DisclosureTriangle", "meter",
            "searchbox", "PopUpButton", "ComboBoxSelect"}  # fmt: skip

CONTRAST = """
const light = (color) => {
  const [r, g, b] = color.match(/[\\d.]+/g).map((v) => v / 255)
    .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const color = getComputedStyle(element).backgroundColor;
    if (!/, 0\\)$/.test(color)) return color;
  }
};
const seen = "h1, h2, p, label, small, button:enabled, .token, input, textarea, select";
return [...document.querySelectorAll(seen)]
  .filter((element) => element.checkVisibility()).map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.outerHTML.slice(0, 80)];
  }).sort((a, b) => a[0] - b[0])[0];
"""


@pytest.fixture
def page(page_browser, client):
    """The page, with what it asked servers and what it said since it was opened."""
    page_browser.devtools("Emulation.clearDeviceMetricsOverride")
    page_browser.devtools("Emulation.setEmulatedMedia", features=[])
    page_browser.log("performance")
    page_browser.log("browser")
    page_browser.address = f"http://127.0.0.1:{client.port}/"
    page_browser.open("about:blank")
    page_browser.open(page_browser.address)
    page_browser.wait(READY)
    return page_browser


def go_to(page, wanted, key="Tab", most=60):
    """Press a key until a control has the focus."""
    for _ in range(most):
        if wanted in page.run(ACTIVE).split():
            return
        page.press(key)
    raise AssertionError(f"{wanted} is not reached by {key}")


def said(page):
    return page.run("return [...document.querySelectorAll('.said')].map((one) => one.textContent)")


def choose(page, model):
    """Choose a model."""
    page.run(
        "const list = document.getElementById('model'); list.value = arguments[0];"
        "list.dispatchEvent(new Event('change', {bubbles: true}))",
        model,
    )


def test_the_whole_flow_by_keyboard(page, loaded):
    go_to(page, "model")
    page.press("l", "s")  # A list goes to what begins so.
    page.wait("document.getElementById('model').value === 'lstm'")
    go_to(page, "other")
    page.press("g", "p")
    go_to(page, "text")
    page.press("The old")
    page.press("Tab", "Enter")  # The settings unfold.
    go_to(page, "set-max_new_tokens")
    page.press("Control+a", "12")
    go_to(page, "set-temperature")
    page.press("Control+a", "0")
    page.press("Control+Enter")
    page.wait(DONE)
    how = {"max_new_tokens": 12, "temperature": 0}
    shown = [loaded[name].sample(["The old"], **how)[0] for name in ("lstm", "gpt")]
    texts = [one.text + "\u23ce" * (one.ended_by == "eod") for one in shown]
    assert said(page) == ["The old" + text for text in texts]
    go_to(page, "token")
    page.press("Right", "Right")
    assert page.run("return document.querySelectorAll('[role=button][tabindex=\"0\"]').length") == 2
    rows = page.run("return document.querySelector('.details').innerText")
    best = json.dumps(texts[0][2]) if texts[0][2] != "\u23ce" else ""
    assert "instead" in rows and best in rows and rows.count("\n") >= 5
    before = said(page)
    address = page.run("return location.href")
    assert "text=The+old" in address and "temperature=0" in address and "model=lstm" in address
    page.open("about:blank")
    page.open(address)
    page.wait(READY)
    go_to(page, "text")
    page.press("Control+Enter")
    page.wait(DONE)
    assert said(page) == before


def test_escape_stops(page):
    page.run("document.getElementById('text').focus()")
    page.run("document.getElementById('set-max_new_tokens').value = 4000")
    page.run("document.getElementById('set-logit_bias').value = '0:-1000'")
    page.press("Control+Enter")
    page.wait("document.querySelectorAll('.token').length > 3")
    page.press("Escape")
    page.wait("document.getElementById('status').textContent === 'Stopped'")


def test_every_control_has_a_name(page):
    found = set()
    for model in ("gpt", "chat", "classes", "tags", "pairs"):
        choose(page, model)
        page.run("document.getElementById('settings-box').open = true")
        page.run("document.getElementById('key-label').hidden = false")
        page.run("document.getElementById('text').value = 'a cat'")
        page.run("document.getElementById('run').click()")
        page.wait(DONE)
        nodes = page.devtools("Accessibility.getFullAXTree")["nodes"]
        controls = [node for node in nodes if node.get("role", {}).get("value") in CONTROLS]
        nameless = [node for node in controls if not node.get("name", {}).get("value", "").strip()]
        assert len(controls) > 5 and nameless == []
        found |= {node["role"]["value"] for node in controls}
    assert {"button", "textbox", "spinbutton"} <= found
    page.run("document.body.append(document.createElement('button'))")  # The control.
    nodes = page.devtools("Accessibility.getFullAXTree")["nodes"]
    assert any(
        n.get("role", {}).get("value") == "button" and not n.get("name", {}).get("value") for n in nodes
    )


def test_other_tasks(page, loaded):
    text = "a cat <img src=x onerror=alert(1)> \U0001f431 dog"
    page.run("document.getElementById('text').value = arguments[0]", text)
    for model in ("classes", "tags", "pairs", "chat"):
        choose(page, model)
        page.press("Control+Enter")
        page.wait(DONE)
        shown = page.run("return document.getElementById('results').textContent")
        if model == "classes":
            assert loaded["classes"].classify([text])[0]["label"] in shown and "neutral" in shown
        elif model == "tags":
            spans = loaded["tags"].tag([text])[0]
            marks = page.run("return [...document.querySelectorAll('mark')].map((m) => m.firstChild.data)")
            assert marks == [span.text for span in spans]
        elif model == "pairs":
            assert page.run("return document.querySelectorAll('tbody tr').length") == 5
        else:
            turns = page.run("return [...document.querySelectorAll('#turns li')].map((t) => t.textContent)")
            expected = loaded["chat"].chat([{"role": "user", "content": text}], max_new_tokens=100)
            assert turns == [f"user: {text}", f"assistant: {expected}"]
    assert page.run("return document.querySelectorAll('img').length") == 0


def test_an_error_is_said(page):
    page.run("document.getElementById('set-temperature').value = -3")
    page.run("document.getElementById('run').click()")
    page.wait("document.getElementById('status').className === 'error'")
    assert "temperature=-3" in page.run("return document.getElementById('status').textContent")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1100])
def test_narrow_and_dark(page, scheme, width):
    page.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    page.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
    )
    page.run("document.getElementById('text').value = 'The ' + 'x'.repeat(200)")
    page.run("document.getElementById('settings-box').open = true")
    page.run("document.getElementById('run').click()")
    page.wait(DONE)
    assert page.run("return document.scrollingElement.scrollWidth") <= width
    ratio, where = page.run(CONTRAST)
    assert ratio >= 4.5, where
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (scheme == "light")


def test_nothing_is_fetched_from_elsewhere(page):
    page.run("document.getElementById('run').click()")
    page.wait(DONE)
    asked = [json.loads(entry["message"])["message"] for entry in page.log("performance")]
    sent = [one["params"]["request"]["url"] for one in asked if one["method"] == "Network.requestWillBeSent"]
    sent = [address for address in sent if not address.startswith(("data:", "about:"))]
    assert len(sent) >= 3 and all(address.startswith(page.address) for address in sent)
    assert page.log("browser") == []
    page.run("document.body.append(Object.assign(new Image(), {src: 'http://localhost:1/x.png'}))")
    page.wait("document.images.length === 1")
    assert any("Content Security Policy" in entry["message"] for entry in page.log("browser"))
