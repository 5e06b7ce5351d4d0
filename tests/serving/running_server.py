"""A server in a thread of this process, and a client of it."""

import contextlib
import http.client
import json
import threading
import time
from types import SimpleNamespace

import pytest
import uvicorn

from lm_keras.serving import models, server
from lm_keras.serving.app import App
from lm_keras.serving.guard import AccessGuard
from lm_keras.serving.models import Models
from lm_keras.serving.scheduler import Scheduler
from lm_keras.serving.settings import ServeOptions


class Client(SimpleNamespace):
    """What a test needs of a server: `port`, the lines of its `log`, its `scheduler`; and requests."""

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, path, sent=None, **headers):
        """Return the status and the JSON of a reply; `sent` is an object, or bytes."""
        with contextlib.closing(self.connection()) as connection:
            body = sent if sent is None or isinstance(sent, bytes) else json.dumps(sent)
            usual = {"content-type": "application/json"} if body is not None else {}
            connection.request("POST" if body is not None else "GET", path, body, {**usual, **headers})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())

    def wait(self, happened, seconds=20):
        """Wait for something that the server is to do."""
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, self.log[-5:]
            time.sleep(0.01)

    def complete(self, prompt, model="gpt", **more):
        """Return the texts of a completion."""
        status, found = self.ask("/v1/completions", {"model": model, "prompt": prompt, **more})
        assert status == 200, found
        return [choice["text"] for choice in found["choices"]]

    def events(self, path, sent):
        """Yield the events of a stream, as objects."""
        with contextlib.closing(self.connection()) as connection:
            body = json.dumps({**sent, "stream": True})
            connection.request("POST", path, body, {"content-type": "application/json"})
            reply = connection.getresponse()
            assert reply.status == 200, reply.read()
            assert reply.getheader("content-type").startswith("text/event-stream")
            for line in reply:
                if line.strip() and line != b"data: [DONE]\n":
                    yield json.loads(line.removeprefix(b"data: "))


@contextlib.contextmanager
def served(loaded, keys=(), **settings):
    """Serve models at a free port."""
    options, log = ServeOptions(port=0, **settings), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.api, "load", lambda folder, checkpoint: loaded[folder.name])
        found = Models([f"/runs/{name}" for name in loaded], "last", log.append)
    wait = options.batch_wait / 1000
    scheduler = Scheduler(options.max_batch, options.max_queue, wait, log.append)
    app = AccessGuard(App(found, scheduler, options).starlette(), options, keys, log.append)
    config = uvicorn.Config(app, http=server.WaryProtocol, ws="none", lifespan="on", log_config=None)
    listening = server.bound(options)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    while not running.started:
        time.sleep(0.01)
    try:
        yield Client(port=listening.getsockname()[1], log=log, scheduler=scheduler, options=options)
    finally:
        running.should_exit = True
        thread.join()
