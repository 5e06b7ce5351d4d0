"""The text, and other fields, in one line of JSON."""

import json
from collections.abc import Callable, Iterator, Sequence

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
        self.parts = {part for path in self._paths for part in path}
        self._quoted = [json.dumps(part, ensure_ascii=False) for part in self.parts]

    def of(self, record: dict) -> object:
        """Return the value of the field, or `MISSING`."""
        for path in self._paths:
            value = record
            for part in path:
                value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
            if value is not MISSING:
                return value
        return MISSING

    def may_repeat(self, line: str) -> bool:
        """Tell whether a line may have the field twice; a quick look, which takes a text for a name."""
        return any(line.count(quoted) > 1 for quoted in self._quoted)

    def is_text_in(self, record: dict) -> bool:
        """Tell whether a record has a string there."""
        return isinstance(self.of(record), str)

    def text(self, line: str) -> str:
        """Return the text of one line.

        Raises:
            InputError: the line is not a JSON object with a string in the field; the message names no place.
        """
        return self.text_in(record_of(line, [self], f"with the text in the field {self.name!r}"))

    def text_in(self, record: dict) -> str:
        """Return the text of a record.

        Raises:
            InputError: it has no string in the field; the message names no place.
        """
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
            wrong = f"the field {self.name!r} is a JSON {kind_of(text)}: expected a string"
            advice = f"fields with strings there: {_listed(strings)} (choose one with --text_field)"
        if not strings:
            advice = "none of them holds a string" if text is MISSING else "no other field holds one"
        raise InputError(f"{wrong}; {advice}")


def record_of(
    line: str, fields: Sequence[Field], needs: str, number: Callable[[str], object] = float
) -> dict:
    """Return the JSON object of one line.

    Args:
        line: the line.
        fields: those that must not come twice: one of both would be lost.
        needs: what the object needs, in words, for the message where there is none.
        number: makes a value of the digits of a number. Python's `int` refuses many digits; `float` does not.

    Raises:
        InputError: the line is not a JSON object; the message names no place.
    """
    parts = set().union(*(field.parts for field in fields))
    twice = any(field.may_repeat(line) for field in fields)  # perhaps; the hook takes time

    def once(pairs: list[tuple[str, object]]) -> dict:
        names = [name for name, _ in pairs if name in parts]
        if len(names) != len(set(names)):
            name = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"the field {name!r} comes more than once in an object: expected it once; rename one"
            )
        return dict(pairs)

    try:
        hook = once if twice else None
        record = json.loads(line, parse_int=number, parse_float=number, object_pairs_hook=hook)
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}): expected one JSON object a line") from None
    if not isinstance(record, dict):
        raise InputError(f"a JSON {kind_of(record)}: expected an object {needs}")
    return record


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


def kind_of(value: object) -> str:
    """Return what JSON calls a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
