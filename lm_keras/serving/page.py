"""The page of the server: one file, made of those in `page/`, that fetches nothing from elsewhere."""

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from lm_keras.fields import kind_of
from lm_keras.sampling.pair_settings import PairSettings
from lm_keras.sampling.settings import SamplingSettings

_FOLDER = Path(__file__).parent / "page"

_OF_PAIRS = ("num_beams", "length_penalty", "no_repeat_ngram", "target_language")
_OWN_CONTROLS = ("num_samples", "top_logprobs")
"""Settings of sampling that the page has no field for: it shows one text, and always five alternatives."""


def content() -> str:
    """Return the page."""
    page, style, *scripts = (
        (_FOLDER / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "results.js", "page.js")
    )
    tables = {"sampling": _table(SamplingSettings), "pairs": _table(PairSettings, _OF_PAIRS)}
    parts = {
        "style": style,
        "settings": json.dumps(tables).replace("<", "\\u003c"),
        "script": "".join(scripts),
    }
    for name, part in parts.items():
        page = page.replace(f"{{{{{name}}}}}", part)
    return page


def headers(page: str) -> dict[str, str]:
    """Return the headers of the page: a browser runs no other script, and asks no other server."""
    style, script = (
        base64.b64encode(hashlib.sha256(re.search(pattern, page, re.DOTALL)[1].encode()).digest()).decode()
        for pattern in (r"<style>(.*?)</style>", r"<script>(.*?)</script>")
    )
    allowed = {
        "default-src": "'none'",
        "style-src": f"'sha256-{style}'",
        "script-src": f"'sha256-{script}'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in allowed.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }


def _table(kind: type, names: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    """Return what the page needs to know of each setting."""
    fields = [field for field in dataclasses.fields(kind) if names is None or field.name in names]
    return [
        {
            "name": field.name,
            "default": field.default,
            "help": field.metadata["help"],
            "kind": "number" if kind_of(field)[0] in (int, float) else "text",
            "whole": kind_of(field)[0] is int,
            "low": field.metadata["low"],
            "high": field.metadata["high"],
            "choices": field.metadata["choices"],
        }
        for field in fields
        if field.name not in _OWN_CONTROLS
    ]
