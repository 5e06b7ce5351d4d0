"""The body of a request, read with distrust; and errors in the form of the OpenAI protocol."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from lm_keras.errors import InputError, nearest

IGNORED = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier")
"""Fields that clients send and that mean nothing to a model."""

_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}


class Refused(Exception):
    """A request that gets an error.

    Args:
        status: of HTTP.
        message: one line: what is wrong, and what to do.
        param: the field that is wrong.
        code: of the protocol.
        headers: of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.param, self.code, self.headers = status, param, code, headers or {}

    def to_json(self) -> dict[str, Any]:
        """Return the error in the form of the protocol."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = "rate_limit_error" if self.status == 429 else _TYPES.get(self.status, usual)
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        Refused: it is something else, or has a number that is not finite.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_finite, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise Refused(400, f"the body is not UTF-8 at byte {error.start}; send JSON in UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON ({InputError(str(error))}); send a JSON object") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is JSON, but no object; send an object with fields such as 'model'")
    return value


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise Refused(400, f"the body has the number {number[:40]}, which is not finite; send a finite one")
    return value


class Fields:
    """The fields of a body. Each is read once, and none may be left over.

    Args:
        body: of a request.
    """

    def __init__(self, body: dict[str, Any]):
        self._body, self._read = body, set()

    def value(self, name: str, expected: str, fits: Callable[[Any], bool], default: Any = None) -> Any:
        """Return a field, or the default where it is missing or null.

        Args:
            name: of the field.
            expected: what it should be, for the message.
            fits: tells whether a value is that.
            default: of the field.
        """
        self._read.add(name)
        value = self._body.get(name)
        if value is None:
            return default
        if not fits(value):
            raise Refused(400, f"{name} is {shortly(value)}; expected {expected}", name)
        return value

    def needed(self, name: str, expected: str, fits: Callable[[Any], bool]) -> Any:
        """Return a field that must be there."""
        value = self.value(name, expected, fits)
        if value is None:
            raise Refused(400, f"{name} is missing; expected {expected}", name)
        return value

    def whole(self, name: str, low: int, high: int, default: int | None = None) -> int | None:
        """Return a whole number."""
        return self.value(
            name,
            f"a whole number from {low} to {high}",
            lambda v: type(v) is int and low <= v <= high,
            default,
        )

    def yes(self, name: str) -> bool:
        """Return a boolean, false where it is missing."""
        return self.value(name, "true or false", lambda v: isinstance(v, bool), False)

    def texts(self, name: str, most: int) -> list[str]:
        """Return one text, or a list of some."""
        found = self.needed(
            name,
            "a text, or a list of texts",
            lambda v: isinstance(v, str) or (isinstance(v, list) and all(isinstance(t, str) for t in v)),
        )
        texts = [found] if isinstance(found, str) else found
        if not 1 <= len(texts) <= most:
            raise Refused(400, f"{name} has {len(texts)} texts; expected from 1 to {most}", name)
        return texts

    def only(self, name: str, *usual: Any) -> None:
        """Refuse a field of the protocol with a meaning that this server does not have."""
        value = self.value(name, "nothing", lambda v: True)
        if value is not None and value not in usual:
            raise Refused(400, f"{name}={shortly(value)} has no meaning here; leave it out", name)

    def given(self, names: Sequence[str]) -> dict[str, Any]:
        """Return those of some fields that are there."""
        self._read.update(names)
        return {name: self._body[name] for name in names if self._body.get(name) is not None}

    def end(self) -> None:
        """Refuse the request if a field was not read."""
        for name in self._body:
            if name not in self._read and name not in IGNORED:
                hint = nearest(name, sorted(self._read))
                raise Refused(400, f"the field {shortly(name)} is unknown{hint}; leave it out", name[:100])


def shortly(value: Any) -> str:
    """Return a value for a message: its kind, and a number or a short text itself."""
    if isinstance(value, bool) or value is None or isinstance(value, float):
        return json.dumps(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**20 else "a number of many digits"
    if isinstance(value, str):
        return repr(value) if len(value) <= 40 else f"a text of {len(value):,} characters"
    return "an object" if isinstance(value, dict) else f"a list of {len(value):,}"


def shortened(message: str, most: int = 300) -> str:
    """Return a message that does not repeat a long value of the request."""
    return message if len(message) <= most else f"{message[: most // 2]} ... {message[-most // 2 :]}"
