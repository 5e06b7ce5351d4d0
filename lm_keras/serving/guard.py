"""Who gets in: every request passes here first, and leaves one line in the log, without its text."""

import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from lm_keras.errors import shown
from lm_keras.serving.bodies import Refused
from lm_keras.serving.settings import ServeOptions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

COUNTS = "lm_keras.counts"
"""Key of a request's scope: a dictionary of what its line in the log tells."""


class AccessGuard:
    """Lets requests in that come to a name of this server, with a key where one is asked for.

    A page elsewhere cannot use a browser to reach the server: a request whose Host or Origin is another name
    is refused, and so is a body that is no JSON, which a browser would send without asking.

    Args:
        app: what answers requests that may come in.
        options: of the server.
        keys: of clients; none where nobody needs one.
        log: called with a line for each request.
    """

    def __init__(
        self, app: Callable, options: ServeOptions, keys: tuple[bytes, ...], log: Callable[[str], None]
    ):
        self._app, self._names, self._keys, self._log = app, options.names, keys, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request by ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, counts, status = time.monotonic(), {}, 0
        scope[COUNTS] = counts

        async def sent(message: Scope) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            self._check(scope)
        except Refused as refused:
            await send_error(sent, refused)
        else:
            await self._app(scope, receive, sent)
        finally:
            client = (scope.get("client") or ("-",))[0]
            told = "".join(f" {name}={value}" for name, value in counts.items())
            seconds = time.monotonic() - began
            path = shown(scope["path"])[:80]
            self._log(f"{client} {scope['method']} {path} {status or 'gone'}{told} {seconds:.3f} s")

    def _check(self, scope: Scope) -> None:
        """Refuse a request that may not come in."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if host_of(headers.get(b"host", "")) not in self._names:
            raise Refused(
                403,
                "the Host header names another server; call this one by its own name, or add the name with"
                " --allowed_host",
                code="wrong_host",
            )
        if (origin := headers.get(b"origin")) and host_of(urlsplit(origin).netloc) not in self._names:
            raise Refused(403, "the request comes from a page of another server", code="wrong_origin")
        if self._keys and scope["path"].startswith("/v1"):
            self._check_key(headers.get(b"authorization", ""))
        kind = headers.get(b"content-type", "").partition(";")[0].strip().lower()
        if scope["method"] == "POST" and kind != "application/json":
            raise Refused(
                415, "the body is not said to be JSON; send it with 'content-type: application/json'"
            )

    def _check_key(self, given: str) -> None:
        scheme, _, key = given.partition(" ")
        known = [hmac.compare_digest(key.strip().encode("latin-1"), one) for one in self._keys]
        if scheme.lower() != "bearer" or not any(known):
            raise Refused(
                401,
                "the key is missing or wrong; send one of --api_key_file as 'authorization: Bearer KEY'",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def host_of(value: str) -> str:
    """Return the name of a Host header, without its port.

    Example:
        >>> host_of("LocalHost:8000"), host_of("[::1]:8000"), host_of("127.0.0.1")
        ('localhost', '::1', '127.0.0.1')
    """
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.rpartition(":")[0].lower() if value.count(":") == 1 else value.lower().rstrip(".")


async def send_error(send: Send, refused: Refused) -> None:
    """Send an error in the form of the protocol."""
    body = json.dumps(refused.to_json()).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
