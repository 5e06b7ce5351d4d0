"""Servers of networks of every task whose weights were drawn."""

import browser
import keras
import numpy as np
import pytest
from running_server import served

from lm_keras import api
from lm_keras.config import from_flat
from lm_keras.conversations.template import CHATML
from lm_keras.data.labels import Labels
from lm_keras.models import FAMILIES
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
