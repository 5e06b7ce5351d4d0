"""The embedding projector's files: the right row under the right name."""

import keras
import numpy as np
import pytest
from google.protobuf import text_format
from tensorboard.plugins.projector import ProjectorConfig

from lm_keras.callbacks import Projector, projector
from lm_keras.errors import InputError
from lm_keras.text import CharTokenizer

TOKENIZER = CharTokenizer("\t\n abc", "none")
V, WIDTH = TOKENIZER.vocab_size, 5
IDS = np.array(TOKENIZER.encode("cab\tcab ccb\n c" * 3), np.uint16)


def network(vocab_size=V):
    """A matrix of another shape stands before the embedding."""
    model = keras.Sequential(
        [keras.layers.Embedding(vocab_size, WIDTH), keras.layers.Dense(V)], name="network"
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def fit(folder, model, epochs=1, tokens=IDS):
    x = np.arange(V * 2).reshape(-1, 2) % V
    model.fit(x, x, epochs=epochs, verbose=0, callbacks=[Projector(folder, TOKENIZER, tokens, 3)])
    return model


def shown(folder):
    """Read what the projector reads: lines of labels, and the points."""
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    points = np.fromfile(folder / embedding.tensor_path, "<f4").reshape(embedding.tensor_shape)
    lines = (folder / embedding.metadata_path).read_bytes().decode().split("\n")
    assert lines.pop() == ""
    return [line.split("\t") for line in lines], points


def test_points_have_the_names_of_their_tokens(tmp_path):
    model = fit(tmp_path, network())
    (head, *lines), points = shown(tmp_path)
    assert head == ["token", "id", "count"]
    assert [(token, int(count)) for token, _, count in lines] == [
        ("c", 15), ("b", 9), ("␣", 6), ("a", 6), ("\\t", 3), ("\\n", 3),
    ]  # fmt: skip
    table = model.layers[0].embeddings.numpy()
    ids = [int(token_id) for _, token_id, _ in lines]
    np.testing.assert_array_equal(points, table[ids])
    assert len({row.tobytes() for row in table}) == V  # a row in another's place would be seen
    assert sorted(ids) != ids


def test_points_are_those_of_the_last_step(tmp_path):
    model = network()
    fit(tmp_path, model)
    before = shown(tmp_path)[1]
    fit(tmp_path, model)
    after = shown(tmp_path)[1]
    assert (before != after).any()
    assert not list(tmp_path.glob(".*"))


def test_no_more_points_than_a_browser_moves(tmp_path, monkeypatch):
    monkeypatch.setattr(projector, "MAX_POINTS", 3)
    monkeypatch.setattr(projector, "_CHUNK", 4)  # counting in parts changes nothing
    fit(tmp_path, network())
    (_, *lines), points = shown(tmp_path)
    assert [(token, int(count)) for token, _, count in lines] == [("c", 15), ("b", 9), ("␣", 6)]
    assert points.shape == (3, WIDTH)


def test_a_network_without_an_embedding(tmp_path):
    with pytest.raises(InputError) as caught:
        fit(tmp_path, network(vocab_size=V + 4))
    assert str(caught.value) == (
        f"the projector needs an embedding, a matrix with a row for each of the {V} tokens, and Sequential "
        "'network' has none; leave it out with --noprojector"
    )
