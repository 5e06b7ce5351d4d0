"""The JSON files of a run: written with a sum of themselves, read with distrust; and its files of JSON lines.

A file without the sum is read, too: older runs have none, and a person who changes a file may delete that
line. `sealed` and `unsealed` are stricter: not one changed bit goes unnoticed.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from lm_keras.disk.files import bytes_of, opened, write_atomically
from lm_keras.errors import InputError, not_written
from lm_keras.registry import SCORES

OWN_SUM = "sha256_of_this"
"""The field with the SHA-256 of all other ones."""

MAX_BYTES = 32 * 2**20
"""More than any of these files has; its values take many times that in memory."""

NUMBER = (int, float)

SPLIT = {
    "corpus?": str, "licence?": (str, None), "rule?": (str, None), "corpus_sha256?": str, "fingerprint?": str,
    "tokens?": int, "bytes?": int, "words?": int, "characters?": int, "documents?": int, "unknown?": int,
    "in_train?": (*NUMBER, None),
}  # fmt: skip

_RATIOS = {str: {"precision": NUMBER, "recall": NUMBER, "f1": NUMBER, "support": int}}

_MEASURES = {f"{name}?": (*NUMBER, None) for name in SCORES}

LABEL_SCORES = {
    "by_class?": _RATIOS, "by_type?": _RATIOS, "intervals?": {str: [NUMBER]},
    "confusion?": {"names": [str], "counts": [[int]]},
    "calibration?": {
        "expected_calibration_error": (*NUMBER, None),
        "bins": [{"low": NUMBER, "high": NUMBER, "count": int, "confidence": NUMBER, "accuracy": NUMBER}],
    },
    "temperature?": NUMBER, "labels?": {str: int},
}  # fmt: skip
"""What a split with labels has beside its measures; see `lm_keras.evaluation.predictions`."""

EVALUATION = {"tokens?": int, **_MEASURES, "scores?": LABEL_SCORES, "baselines?": {str: _MEASURES}}

PRIVACY = {
    "unit": str, "units": int, "rows": int, "cap": int, "noise": NUMBER, "clip": NUMBER, "steps": int,
    "delta": NUMBER, "epsilon": (*NUMBER, None), "accountant": str, "seeded": bool,
}  # fmt: skip
"""What a private run promises; see `lm_keras.privacy.guarantee`."""

SHAPES: dict[str, dict[str, Any]] = {
    "data.json": {
        "splits": {str: SPLIT},
        "total_steps": int,
        "vocab_size?": int,
        "bad_text?": {str: {str: int}},
        "tokenizer?": {"kind": str, "fingerprint": str},
        "privacy?": PRIVACY,
    },
    "results.json": {
        "step": int,
        "splits": {str: EVALUATION},
        "sample?": {"text": str, "prompt?": str, "temperature?": NUMBER, "seed?": int},
        "parameters?": int,
        "seconds?": NUMBER,
        "best_step?": (int, None),
        "best?": {"step": int, "splits": {str: EVALUATION}},
        "privacy?": {**PRIVACY, "line": str},
        "texts?": {str: {"examples": int, "labels?": {str: int}}},
    },
    "environment.json": {"lives": [{}]},
    "huggingface.json": {"files": {str: str}},
    "labels.json": {"names": [str], "counts": [int], "spans": bool},
}
"""What others read in a file: a type, several, an object with these fields or with any names (`str`), or a
list.

A field with a question mark may be missing. Beside the sum further ones may be there, for newer versions
write more.
"""


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a file with its sum in the first line, so that its line can be deleted."""
    return {OWN_SUM: sum_of(content), **content}


def read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file of a run, without its sum.

    Raises:
        InputError: it cannot be read, is not a JSON object, has other content than was written, lacks a
            field, or has neither its sum nor known fields only.
    """
    shape = SHAPES.get(path.name, {})
    known = {name.removesuffix("?") for name in shape}
    try:
        content = json.loads(bytes_of(path, MAX_BYTES).decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
        unknown = [name for name in content if known and name not in known]
        if unknown and OWN_SUM not in content:
            raise ValueError(f"{unknown[0]!r} is unknown")
        if OWN_SUM in content and content.pop(OWN_SUM) != sum_of(content):
            raise ValueError(
                f"other content than was written; if you changed it on purpose, delete its line {OWN_SUM}"
            )
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be read ({reason}); restore it from a copy") from None
    if problem := wrong(content, shape):
        raise InputError(f"{path} {problem}; restore it from a copy")
    return content


def sum_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of JSON values, whatever their order and layout."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def wrong(value: Any, shape: Any, name: str = "") -> str:
    """Return what is wrong with a JSON value that should have a shape, or an empty string."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"has no list for {name!r}"
        return next(filter(None, (wrong(item, shape[0], name) for item in value)), "")
    if isinstance(shape, tuple | type):
        kinds = shape if isinstance(shape, tuple) else (shape,)
        if type(value) in kinds or (value is None and None in kinds):
            return ""
        return f"has {repr(value)[:40]} for {name!r}"
    if not isinstance(value, dict):
        return f"has no object for {name!r}"
    fields = dict.fromkeys(value, shape[str]) if str in shape else shape
    for field, inner in fields.items():
        key = field.removesuffix("?")
        if key not in value and key == field:
            return f"lacks {key!r}"
        if key in value and (problem := wrong(value[key], inner, key)):
            return problem
    return ""


def sealed(content: dict[str, Any]) -> str:
    """Return the text of a JSON file that `unsealed` reads.

    Args:
        content: JSON values by name.
    """
    return json.dumps(signed(content), indent=1, ensure_ascii=False) + "\n"


def unsealed(text: bytes) -> dict[str, Any]:
    """Return the content of a file that `sealed` wrote.

    Raises:
        ValueError: it has other content than was written; the message is a part of a sentence on the file.
    """
    try:
        content = json.loads(text)
        del content[OWN_SUM]
        # The text itself, for two texts can be the same JSON.
        if sealed(content).encode() == text:
            return content
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ValueError("has other content than was written")


def append_lines(path: Path, lines: list[dict]) -> None:
    """Add JSON objects to a file of lines, all of them or none; it is ASCII, so that nothing but a line feed
    ends a line.

    Raises:
        InputError: the file cannot be written, or the disk is full.
    """
    try:
        with open(path, "ab", buffering=0) as file:
            before, content = file.tell(), "".join(json.dumps(line) + "\n" for line in lines).encode("ascii")
            try:
                while content:
                    content = content[file.write(content) :]
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise not_written(path, error) from None


def truncate_lines_after(path: Path, step: int) -> None:
    """Drop the lines of a metrics file that lie beyond `step`: a run goes on from there.

    Raises:
        InputError: the file is there and cannot be read or written.
    """
    try:
        with opened(path) as file:
            lines = file.read().decode("utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; delete it, or restore it from a copy"
        ) from None
    kept = []
    for line in lines:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # A line that a killed run left unfinished, or a damaged one.
    write_atomically(path, "".join(f"{line}\n" for line in kept).encode())
