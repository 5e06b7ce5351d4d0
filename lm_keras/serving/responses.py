"""Replies as starlette sends them: streams, errors, and clients that leave before their reply."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from lm_keras.serving.bodies import Refused
from lm_keras.serving.generated import Mailbox
from lm_keras.serving.guard import Receive, Scope, Send


async def unless_gone(request: Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Return what work comes to, unless the client leaves before.

    Raises:
        ClientLeft: it has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientLeft
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class ClientLeft(Exception):
    """The client has left before its reply."""


class EventStream(StreamingResponse):
    """A reply that is sent piece by piece. When it ends, whole or not, the rows of its jobs are free.

    Args:
        pieces: of the reply.
        box: of the jobs.
    """

    def __init__(self, pieces: AsyncIterator[dict[str, Any]], box: Mailbox):
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(_events(pieces), media_type="text/event-stream", headers=headers)
        self._box = box

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._box.leave()


async def _events(pieces: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Yield the events of a stream; an error is one, too."""
    try:
        async for piece in pieces:
            yield f"data: {json.dumps(piece)}\n\n"
    except Refused as refused:
        yield f"data: {json.dumps(refused.to_json())}\n\n"
    yield "data: [DONE]\n\n"


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return JSONResponse(error.to_json(), error.status, error.headers)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = "has no such method" if error.status_code == 405 else "does not exist"
    refused = Refused(error.status_code, f"the address {what}; see docs/guides/serve.md", code="not_found")
    return JSONResponse(refused.to_json(), error.status_code, error.headers)


async def _forgotten(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # Nobody reads it but the log.


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse(Refused(500, "the server failed; its log tells more").to_json(), 500)


HANDLERS = {Refused: _refused, HTTPException: _not_found, ClientLeft: _forgotten, Exception: _failed}
"""What answers where an exception ends a request."""
