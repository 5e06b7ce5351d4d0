"""What tests do on the page, and what they read from it."""

READY = "document.getElementById('status').textContent === 'Ready'"
DONE = "document.getElementById('status').textContent.startsWith('Done')"
WRONG = "document.getElementById('status').className === 'error'"
ACTIVE = "return document.activeElement.id || document.activeElement.className"


def go_to(page, wanted, key="Tab", most=60):
    """Press a key until a control has the focus."""
    for _ in range(most):
        if wanted in page.run(ACTIVE).split():
            return
        page.press(key)
    raise AssertionError(f"{wanted} is not reached by {key}")


def choose_by_keys(page, model, *letters):
    """Go to the list of models, and to the one that begins so."""
    page.run("document.activeElement.blur()")
    go_to(page, "model")
    page.press(*letters)
    page.wait(f"document.getElementById('model').value === '{model}'")


def said(page):
    """Return the texts that are shown."""
    return page.run("return [...document.querySelectorAll('.said')].map((one) => one.textContent)")


def turns(page):
    """Return the lines of the conversation."""
    return page.run("return [...document.querySelectorAll('#turns li')].map((one) => one.textContent)")


def value(page, name):
    """Return what a control holds."""
    return page.run("return document.getElementById(arguments[0]).value", name)


def is_shown(page, name):
    """Tell whether a control is seen."""
    return page.run("return document.getElementById(arguments[0]).checkVisibility()", name)


def set_to(page, name, text, event="input"):
    """Set a control, as a user would."""
    page.run(
        "const input = document.getElementById(arguments[0]); input.value = arguments[1];"
        "input.dispatchEvent(new Event(arguments[2], {bubbles: true}))",
        name,
        text,
        event,
    )


def choose(page, model, name="model"):
    """Choose a model."""
    set_to(page, name, model, "change")


def follow(page, address):
    """Paste an address into the page, whose part after the `#` changes."""
    page.run("location.hash = arguments[0]", address)


def record(page):
    """Keep the bodies that the page sends; `page.run("return sent")` has them."""
    page.run(
        "window.sent = []; const before = window.fetch; window.fetch = (address, options) => {"
        "if (options.body) sent.push(JSON.parse(options.body)); return before(address, options); }"
    )
