"""Starts and ends the server: sockets, slow clients, signals."""

import asyncio
import http
import json
import logging
import signal
import socket
import sys
import time

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lm_keras.errors import InputError
from lm_keras.serving.app import App
from lm_keras.serving.bodies import Refused
from lm_keras.serving.guard import AccessGuard
from lm_keras.serving.models import Models
from lm_keras.serving.scheduler import Scheduler
from lm_keras.serving.settings import ServeOptions

HEADER_SECONDS = 10.0
"""A connection whose request takes longer to begin is closed."""

HEADER_BYTES = 16 * 1024
"""Headers of a request, at most."""

LAST_SECONDS = 300
"""How long replies that are being written may take when the server ends."""


def serve(run_dirs: list[str], options: ServeOptions) -> None:
    """Serve models until SIGTERM or Ctrl-C; replies that are being written are finished.

    Args:
        run_dirs: the folders of their runs.
        options: of the server.

    Raises:
        InputError: a model cannot be loaded, a key is missing, or the address is taken.
    """
    keys = options.keys(log)
    listening = bound(options)
    try:
        models = Models(run_dirs, options.checkpoint, log)
        scheduler = Scheduler(options.max_batch, options.max_queue, options.batch_wait / 1000, log)
        app = AccessGuard(App(models, scheduler, options).starlette(), options, keys, log)
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            app,
            http=WaryProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        listening.listen()  # Whoever reads the line may connect.
        log(f"listening at {address_of(listening)}; Ctrl-C ends")
        signal.signal(signal.SIGTERM, _end)  # uvicorn calls it again when all replies are written.
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def log(line: str) -> None:
    """Write a line with the time to standard error."""
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {line}\n")
    sys.stderr.flush()


def bound(options: ServeOptions) -> socket.socket:
    """Return a socket that is bound to the address of the server, and does not listen yet.

    Raises:
        InputError: the address is taken, or none of this machine.
    """
    host, port = options.host, options.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise InputError(f"--host={host} is no address: {error.strerror or error}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        found.close()
        raise InputError(
            f"cannot listen at --host={host} --port={port}: {error.strerror or error}; give"
            " another --port, or end what listens there"
        ) from None
    return found


def address_of(listening: socket.socket) -> str:
    """Return the address of a server as a browser takes it."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


class WaryProtocol(H11Protocol):
    """HTTP that closes a connection whose request does not begin in time, and says so in JSON."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle:
            self._wait_no_longer()
        elif self._patience is None and not self.transport.is_closing():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(Refused(400, "this is no HTTP request"))

    @property
    def _is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self._patience = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def _wait_no_longer(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        self._patience = None
        if self._is_idle:
            self._refuse(Refused(408, "the request did not come in time; send it at once"))

    def _refuse(self, refused: Refused) -> None:
        if self.transport.is_closing():
            return
        if self._is_idle or not self.cycle.response_started:
            body = json.dumps(refused.to_json()).encode()
            reason = http.HTTPStatus(refused.status).phrase
            head = f"HTTP/1.1 {refused.status} {reason}\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(head.encode() + body)
            log(f"{(self.client or ('-',))[0]} - - {refused.status}")
        self.transport.close()
