"""A network of which only shapes are asked has those of the real one."""

import types

import pytest

from lm_keras.config import from_flat
from lm_keras.models import FAMILIES
from lm_keras.training import conditions
from lm_keras.training.building import network

SETTINGS = {
    "ngram": {"optimizer": "sgd"},
    "lstm": {"num_layers": 2, "dropout": 0.1, "freeze": "embedding", "init_from": "other"},
    "gpt": {"num_heads": 3, "precision": "mixed_float16"},
    "bert": {"num_heads": 3, "optimizer": "adam"},
    "glm": {"num_heads": 3, "tie_embeddings": False},
    "transformer": {"num_heads": 3, "task": "seq2seq", "encoder_layers": 2, "sequence_length": 9},
}


def variables_of(model):
    variables = [*model.variables, *model.optimizer.variables]
    return [(v.path.rpartition("/")[2], tuple(v.shape), str(v.dtype), v.trainable) for v in variables]


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_are_those_of_the_network(family):
    config = from_flat({"model": family, "embedding_dim": 12, "hidden_units": 10, **SETTINGS[family]})
    task = types.SimpleNamespace(network_vocab_size=23, outputs=None)
    found = variables_of(conditions.shapes_of(config, task))
    assert found == variables_of(network(config, 23)) != variables_of(network(config, 24))
