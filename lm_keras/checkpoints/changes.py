"""Which settings of a run may change when it goes on, and which have changed."""

import os
from collections.abc import Iterable
from typing import Any

from lm_keras import text
from lm_keras.config import FIELDS, Config
from lm_keras.fields import changeable
from lm_keras.registry import SOURCES

CHANGEABLE = changeable(FIELDS)
"""Settings that may differ when a run goes on; `steps` and `epochs` only upwards."""


def differences(old: Config, new: Config, changeable: Iterable[str] = CHANGEABLE) -> list[str]:
    """Return what a run would have to change to go on with other settings, one line for each.

    Raises nothing; an empty list means that the run may go on.
    """
    before, after = old.meant(), new.meant()
    lines = [
        f"--{name}: {before[name]} in the run, {after[name]} now"
        for name in after
        if name not in changeable and before[name] != after[name]
    ]
    return lines


def elsewhere(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the settings that name another path for something which is known by its content.

    A run knows its text by a fingerprint and has a copy of its tokenizer. So both may have been moved, or be
    named from another working directory. Whoever goes on with such settings has to compare the content.

    Args:
        before, after: settings of the run, and now, by flag name.
    """
    found = set()
    of_files = tuple(f"{name}:" for name, source in SOURCES.items() if source.files)
    for name in ("corpus", "valid_corpus", "test_corpus"):
        if all(str(settings.get(name)).startswith(of_files) for settings in (before, after)):
            found.add(name)
    if not {before.get("tokenizer"), after.get("tokenizer")} & {None, *text.TOKENIZERS}:
        found.add("tokenizer")
    for name in ("init_from", "embedding_init"):
        given = before.get(name), after.get(name)
        if all(given) and os.path.realpath(given[0]) == os.path.realpath(given[1]):
            found.add(name)
    return {name for name in found if before[name] != after[name]}
