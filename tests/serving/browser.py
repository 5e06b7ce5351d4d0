"""A headless Chromium, by the WebDriver protocol of Debian's chromedriver; no package is needed."""

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

IS_INSTALLED = bool(shutil.which("chromedriver")) and bool(shutil.which("chromium"))

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Control": "\ue009", "Shift": "\ue008",
        "Right": "\ue014", "Left": "\ue012", "Down": "\ue015", "Space": " ", "End": "\ue010"}  # fmt: skip


class Browser:
    """A page in Chromium.

    Args:
        port: where chromedriver listens.
    """

    def __init__(self, port: int):
        self._address = f"http://127.0.0.1:{port}"
        options = {"binary": shutil.which("chromium"), "args": ["--headless=new", "--no-sandbox",
            "--disable-gpu",             "--disable-dev-shm-usage", "--window-size=1100,900"]}  # fmt: skip
        wanted = {"browserName": "chrome", "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}  # fmt: skip
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def _ask(self, method: str, path: str, sent: Any = None) -> Any:
        request = urllib.request.Request(self._address + path, method=method)
        request.add_header("content-type", "application/json")
        data = None if sent is None else json.dumps(sent).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=60) as reply:
                return json.load(reply)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, address: str) -> None:
        """Go to an address."""
        self._ask("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *arguments: Any) -> Any:
        """Return what a script returns within the page."""
        sent = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/sync", sent)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Carry out a command of Chromium's own protocol."""
        sent = {"cmd": command, "params": parameters}
        return self._ask("POST", f"{self._session}/goog/cdp/execute", sent)

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Return what has come to a log since the last time."""
        return self._ask("POST", f"{self._session}/se/log", {"type": kind})

    def press(self, *keys: str) -> None:
        """Press keys one after the other; `A+B` presses B while A is down. Other texts are typed."""
        actions = []
        for key in keys:
            *held, last = key.split("+") if "+" in key[1:-1] else [key]
            letters = [KEYS[last]] if last in KEYS else list(last)
            actions += [{"type": "keyDown", "value": KEYS[one]} for one in held]
            for letter in letters:
                actions += [{"type": "keyDown", "value": letter}, {"type": "keyUp", "value": letter}]
            actions += [{"type": "keyUp", "value": KEYS[one]} for one in reversed(held)]
        source = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("POST", f"{self._session}/actions", {"actions": [source]})

    def wait(self, condition: str, seconds: float = 20) -> Any:
        """Wait until an expression of the page is true, and return it."""
        end = time.monotonic() + seconds
        while not (found := self.run(f"return {condition}")):
            assert time.monotonic() < end, (condition, self.run("return document.body.innerText"))
            time.sleep(0.05)
        return found

    def screenshot(self, path: Path) -> None:
        """Write what is seen to a PNG."""
        path.write_bytes(base64.b64decode(self._ask("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        """End the browser."""
        self._ask("DELETE", self._session)


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Start chromedriver and a browser."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        found = Browser(port)
        yield found
        found.close()
    finally:
        process.terminate()
        process.wait()
