"""The text in one line of JSON."""

import json
from collections.abc import Iterator

from lm_keras.errors import InputError, nearest

MISSING = object()
"""What a field is that an object does not have."""

DEEPEST = 4
"""Objects within each other whose fields are told of."""

MOST_NAMES = 10
"""Fields that are told of."""


class Field:
    """The field of a record that holds its text.

    A name leads into inner objects with slashes, `meta/text`, or points, `meta.text`. A field that is called
    so itself comes first.

    Example:
        >>> Field("meta/text").of({"meta": {"text": "a"}}), Field("meta.text").of({"meta.text": "b"})
        ('a', 'b')
    """

    def __init__(self, name: str):
        self.name = name
        paths = [[name], name.split("/"), name.split(".")]
        self._paths = [path for number, path in enumerate(paths) if path not in paths[:number]]
        self._parts = {part for path in self._paths for part in path}
        self._quoted = [json.dumps(part, ensure_ascii=False) for part in self._parts]

    def of(self, record: dict) -> object:
        """Return the value of the field, or `MISSING`."""
        for path in self._paths:
            value = record
            for part in path:
                value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
            if value is not MISSING:
                return value
        return MISSING

    def is_text_in(self, record: dict) -> bool:
        """Tell whether a record has a string there."""
        return isinstance(self.of(record), str)

    def text(self, line: str) -> str:
        """Return the text of one line.

        Raises:
            InputError: the line is no JSON object with a string in the field; the message names no place.
        """
        twice = any(line.count(quoted) > 1 for quoted in self._quoted)  # perhaps; the hook takes time
        try:
            # Python refuses integers of many digits; nothing here needs them.
            record = json.loads(line, parse_int=float, object_pairs_hook=self._once if twice else None)
        except InputError:
            raise
        except (ValueError, RecursionError) as error:
            raise InputError(f"not JSON ({error}): expected one JSON object a line") from None
        if not isinstance(record, dict):
            raise InputError(
                f"a JSON {_kind(record)}: expected an object with the text in the field {self.name!r}"
            )
        text = self.of(record)
        if isinstance(text, str):
            return text
        every = list(_fields(record, DEEPEST))
        strings = [name for name, value in every if isinstance(value, str)]
        if text is MISSING:
            names = sorted(dict(every))
            wrong = (
                f"no field {self.name!r}{nearest(self.name, names)}: the fields there are {_listed(names)}"
            )
            advice = "name the one with the text with --text_field"
        else:
            wrong = f"the field {self.name!r} is a JSON {_kind(text)}: expected a string"
            advice = f"fields with strings there: {_listed(strings)} (choose one with --text_field)"
        if not strings:
            advice = "none of them holds a string" if text is MISSING else "no other field holds one"
        raise InputError(f"{wrong}; {advice}")

    def _once(self, fields: list[tuple[str, object]]) -> dict:
        """Return a JSON object, in which the text must not come twice: one of both would be lost."""
        names = [name for name, _ in fields if name in self._parts]
        if len(names) != len(set(names)):
            name = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"the field {name!r} comes more than once in an object: expected it once; rename one"
            )
        return dict(fields)


def _fields(record: dict, depth: int) -> Iterator[tuple[str, object]]:
    """Yield the fields of an object and of objects within it, by name with slashes."""
    for name, value in record.items():
        if isinstance(value, dict) and value and depth > 1:
            for inner, inner_value in _fields(value, depth - 1):
                yield f"{name}/{inner}", inner_value
        else:
            yield name, value


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names[:MOST_NAMES])) + (", ..." if len(names) > MOST_NAMES else "") or "none"


def _kind(value: object) -> str:
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
