"""A server in a thread of this process, with networks of every task whose weights were drawn."""

import contextlib
import http.client
import json
import threading
import time
from types import SimpleNamespace

import browser
import keras
import numpy as np
import pytest
import uvicorn

from lm_keras import api
from lm_keras.config import from_flat
from lm_keras.conversations.template import CHATML
from lm_keras.data.labels import Labels
from lm_keras.models import FAMILIES
from lm_keras.serving import models, server
from lm_keras.serving.app import App
from lm_keras.serving.guard import AccessGuard
from lm_keras.serving.models import Models
from lm_keras.serving.scheduler import Scheduler
from lm_keras.serving.settings import ServeOptions
from lm_keras.tasks import task_of
from lm_keras.text import train_tokenizer
from lm_keras.text.byte import ByteTokenizer

SMALL = {"embedding_dim": 16, "num_layers": 1, "hidden_units": 24, "dropout": 0.0}
BYTES = ByteTokenizer("none")
CHAT = BYTES.with_special_tokens(["<|im_start|>", "<|im_end|>"]).with_chat_template(CHATML)
CLASSES = Labels(("neutral", "pet", "wild"), (3, 5, 7))
TAGS = Labels(("B-person", "I-person", "O"), (3, 5, 7), spans=True)


def model_of(name, tokenizer, labels=None, **settings):
    """A model with weights so large that all that it reads matters, without a run."""
    config = from_flat(
        {
            "model": name,
            "sequence_length": 64,
            **SMALL,
            **({"num_heads": 2} if name in ("gpt", "glm") else {}),
            **settings,
        }
    )
    task = task_of(config, tokenizer.vocab_size, tokenizer, labels)
    keras.utils.set_random_seed(5)
    network = FAMILIES[name](config, task.network_vocab_size, task.outputs)
    random = np.random.default_rng(6)
    for variable in network.trainable_variables:
        variable.assign(variable.numpy() + random.normal(0, 0.3, variable.shape))
    return api.TrainedModel(network, tokenizer, config, 7, {}, labels=labels)


@pytest.fixture(scope="session")
def letters(english):
    """A tokenizer of the letters of the tests' text."""
    return train_tokenizer("char", [english], vocab_size=None, normalization="none")


@pytest.fixture(scope="session")
def gpt(letters):
    return model_of("gpt", letters, positions="rotary", sequence_length=300)


@pytest.fixture(scope="session")
def loaded(gpt, letters):
    """The models by name, one of each task."""
    return {
        "gpt": gpt,
        "lstm": model_of("lstm", letters),
        "glm": model_of("glm", letters),
        "chat": model_of("gpt", CHAT, task="chat", sequence_length=300),
        "classes": model_of("gpt", BYTES, CLASSES, task="classification"),
        "tags": model_of("gpt", BYTES, TAGS, task="tagging"),
        "pairs": model_of("gpt", BYTES, task="seq2seq", sequence_length=48),
    }


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


@pytest.fixture(scope="session")
def client(loaded):
    """A server of all models, with the usual settings."""
    with served(loaded) as found:
        yield found


@pytest.fixture(scope="module")
def small(gpt):
    """A server of the GPT alone, which lets few requests in."""
    with served({"gpt": gpt}, max_batch=4, max_queue=6, max_body=20_000, max_prompt=200) as found:
        yield found


@pytest.fixture(scope="module")
def page_browser():
    """A real browser, where one is installed."""
    if not browser.IS_INSTALLED:
        pytest.skip("needs Debian's chromium and chromium-driver")
    with browser.browser() as found:
        yield found
