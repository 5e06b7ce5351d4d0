"""Scores of targets in files, whatever generated them."""

import json
from collections.abc import Iterator
from typing import Any

from lm_keras.corpora.documents import Pair
from lm_keras.disk.files import opened
from lm_keras.errors import InputError
from lm_keras.evaluation.generation import GeneratedTargets
from lm_keras.objectives.scoring_options import ScoringOptions

LONGEST_LINE = 2**26
"""Bytes of a line, at most."""


def scores_of_files(options: ScoringOptions) -> dict[str, Any]:
    """Return the scores of `--predictions` by name, and how many `pairs` there are.

    Raises:
        InputError: a file is missing or cannot be read, or they do not have as many lines.
    """
    outputs = [found[0] for found in _texts(options.predictions, options.target_field, "predictions")]
    references: list[list[str]] = []
    for number, path in enumerate(options.references.split(",")):
        own = list(_texts(path, options.target_field, "references"))
        if len(own) != len(outputs):
            raise InputError(
                f"--predictions={options.predictions} has {len(outputs):,} lines, and --references={path} has"
                f" {len(own):,}; expected as many, in the same order"
            )
        references = [before + more for before, more in zip(references, own)] if number else own
    if not outputs:
        raise InputError(f"--predictions={options.predictions} is empty; expected a target a line")
    pairs = [Pair("", tuple(own)) for own in references]
    found = GeneratedTargets([options.predictions] * len(pairs), pairs, outputs)
    return {"pairs": len(outputs), **found.measures(**options.choices)}


def _texts(path: str, field: str, flag: str) -> Iterator[list[str]]:
    """Yield the texts of each line of a file; lines of JSON may hold several."""
    is_json = path.endswith((".jsonl", ".ndjson"))
    try:
        with opened(path) as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
                yield _of_line(line, field if is_json else None, f"{path}:{number}")
    except OSError as error:
        raise InputError(f"--{flag}={path} cannot be read: {error.strerror or error}") from None


def _of_line(line: bytes, field: str | None, where: str) -> list[str]:
    try:
        text = line.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 at byte {error.start} of the line") from None
    if field is None:
        return [text]
    if not text:
        return [""]  # An empty line is what predict.py writes for an empty source.
    try:
        found = json.loads(text)[field]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise InputError(f"{where} is no JSON object with the field {field!r}; see --target_field") from None
    texts = found if isinstance(found, list) else [found]
    if not texts or not all(isinstance(one, str) for one in texts):
        raise InputError(
            f"{where}: the field {field!r} holds no text; expected a string, or an array of them"
        )
    return texts
