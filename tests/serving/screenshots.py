"""The pictures of docs/guides/serve.md: `python tests/serving/screenshots.py RUN_DIR`."""

import re
import subprocess
import sys
import time
from pathlib import Path

import browser

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
ADDRESS = "#text=Return+the&max_new_tokens=60&temperature=0.7&seed=4"


def main(run_dir: str) -> None:
    """Serve a run, and take the pictures."""
    command = [sys.executable, ROOT / "scripts" / "serve.py", f"--run_dir={run_dir}", "--port=0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, browser.browser() as page:
        said = ""
        while "listening at " not in said:
            said = server.stderr.readline()
        page.open(re.search(r"http://\S+/", said)[0] + ADDRESS)
        page.wait("document.getElementById('status').textContent === 'Ready'")
        page.run("document.getElementById('text').focus()")
        page.press("Control+Enter")
        page.wait("document.getElementById('status').textContent.startsWith('Done')")
        page.run("document.querySelectorAll('.token')[3].focus()")
        for name, width, scheme in [("serve", 900, "light"), ("serve_narrow_dark", 360, "dark")]:
            page.devtools(
                "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
            )
            size = {"width": width, "height": 760, "deviceScaleFactor": 1, "mobile": False}
            page.devtools("Emulation.setDeviceMetricsOverride", **size)
            time.sleep(0.3)
            page.screenshot(IMAGES / f"{name}.png")
        server.terminate()


if __name__ == "__main__":
    main(sys.argv[1])
