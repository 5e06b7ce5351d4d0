"""Which runs have their recurrence and their loss compiled, and that a run keeps what it was begun with."""

import itertools
import json
from pathlib import Path

import pytest
import tensorflow as tf
from comparison import everything_of

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.flags import value_of
from lm_keras.training import machine

CONFIGS = Path(__file__).parents[2] / "configs"


def chosen(**settings):
    """Return what `--jit` becomes when a run begins on a CPU with these settings."""
    return machine.with_jit(from_flat(settings)).running.jit


@pytest.mark.parametrize(
    ("settings", "jit"),
    [
        ({"hidden_units": 128}, "recurrence"),
        ({"hidden_units": 384}, "recurrence"),
        ({"hidden_units": 385}, "auto"),
        ({"hidden_units": 256, "replicas": 2}, "auto"),
        ({"hidden_units": 128, "replicas": 2}, "parts"),
        ({"hidden_units": 256, "batch_size": 33}, "auto"),
        ({"hidden_units": 256, "batch_size": 6, "micro_batches": 2}, "auto"),
        ({"hidden_units": 128, "precision": "mixed_bfloat16"}, "recurrence"),
        ({"hidden_units": 129, "precision": "mixed_bfloat16"}, "auto"),
        ({"hidden_units": 16, "precision": "mixed_float16"}, "auto"),
        ({"hidden_units": 128, "sequence_length": 1}, "auto"),
        ({"hidden_units": 128, "jit": "off"}, "off"),
        ({"hidden_units": 512, "jit": "recurrence"}, "recurrence"),
        ({"hidden_units": 512, "jit": "parts"}, "parts"),
        ({"hidden_units": 128, "vocab_size": 1_024}, "parts"),
        ({"hidden_units": 384, "vocab_size": 1_024}, "parts"),
        ({"hidden_units": 385, "vocab_size": 1_024}, "auto"),
        ({"hidden_units": 128, "vocab_size": 1_024, "precision": "mixed_bfloat16"}, "recurrence"),
        ({"hidden_units": 128, "vocab_size": 1_025}, "recurrence"),
        ({"hidden_units": 128, "vocab_size": 1_025, "sequence_length": 63}, "parts"),
        ({"hidden_units": 128, "vocab_size": 2_048, "micro_batches": 2}, "parts"),
        ({"hidden_units": 128, "vocab_size": 2_048, "replicas": 2}, "parts"),
        ({"hidden_units": 128, "tokenizer": "char"}, "parts"),
        ({"hidden_units": 128, "tokenizer": "byte", "sequence_length": 10_000}, "parts"),
        ({"hidden_units": 128, "tokenizer": "./folder"}, "recurrence"),
        ({"hidden_units": 128, "tokenizer": "./folder", "task": "tagging"}, "parts"),
        ({"model": "gpt", "embedding_dim": 128}, "auto"),
    ],
)
def test_the_recurrence_is_compiled_where_it_pays(settings, jit):
    assert chosen(**settings) == jit


def test_nothing_changes_for_a_network_of_several_workers_or_with_a_gpu(monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    assert (chosen(hidden_units=256), chosen(hidden_units=128)) == ("auto", "recurrence")
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [kind])
    assert chosen(hidden_units=128) == chosen(hidden_units=128, vocab_size=100) == "auto"


@pytest.mark.parametrize(
    ("name", "precision", "jit"),
    [
        ("benchmark/article", "float32", "parts"),
        ("quickstart", "float32", "parts"),
        ("quickstart", "mixed_bfloat16", "auto"),
        *itertools.product(
            ("benchmark/characters", "benchmark/ptb_medium"), ("float32", "mixed_bfloat16"), ("auto",)
        ),
    ],
)
def test_wide_networks_keep_their_program(name, precision, jit):
    lines = (CONFIGS / f"{name}.flags").read_text().splitlines()
    given = dict(line.removeprefix("--").split("=", 1) for line in lines if line.startswith("--"))
    settings = {name: value_of(name, text) for name, text in given.items() if name != "run_dir"}
    assert chosen(**{**settings, "precision": precision}) == jit


LISTING = {"hidden_units": 128, "sequence_length": 32, "batch_size": 32, "vocab_size": 1_000}


@pytest.mark.parametrize(
    ("settings", "replicas"),
    [
        ({}, 2),
        ({"replicas": 1}, 1),
        ({"hidden_units": 129}, None),
        ({"num_layers": 2}, None),
        ({"batch_size": 31}, None),
        ({"sequence_length": 31}, None),
        ({"micro_batches": 2}, None),
        ({"vocab_size": 2_049}, None),
        ({"tokenizer": "char", "vocab_size": None}, None),
        ({"precision": "mixed_bfloat16"}, None),
        ({"strategy": "one_device"}, None),
        ({"task": "tagging"}, None),
        ({"model": "gpt", "hidden_units": None}, None),
    ],
)
def test_a_narrow_lstm_has_two_replicas_on_two_cores(settings, replicas, monkeypatch):
    config = from_flat({**LISTING, **settings})
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.with_replicas(config).running.replicas == replicas
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    assert machine.with_replicas(config).running.replicas == config.running.replicas


def test_a_run_keeps_the_replicas_that_it_was_begun_with(monkeypatch):
    config = from_flat(LISTING)
    for cores in (1, 2):
        monkeypatch.setattr(machine, "usable_cores", lambda count=cores: count)
        for begun in (None, 1, 4):
            before = from_flat({**LISTING, "replicas": begun})
            assert machine.with_replicas(config, before).running.replicas == begun
    assert machine.with_replicas(from_flat({**LISTING, "replicas": 2}), before).running.replicas == 2


def test_replicas_of_workers_of_gpus_and_of_a_process_with_one_device_are_not_chosen(monkeypatch):
    config = from_flat(LISTING)
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.with_replicas(config).running.replicas == 2
    workers = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    with monkeypatch.context() as patch:
        patch.setenv("TF_CONFIG", json.dumps(workers))
        assert machine.with_replicas(config).running.replicas is None
    with monkeypatch.context() as patch:
        patch.setattr(tf.config, "get_logical_device_configuration", lambda cpu: None)
        patch.setattr(tf.config, "list_logical_devices", lambda kind=None: [kind])
        tf.zeros([])  # From now on the devices of this process are fixed.
        assert machine.with_replicas(config).running.replicas is None
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [kind])
    assert machine.with_replicas(config).running.replicas is None


def test_only_an_lstm_has_a_recurrence():
    for jit in ("recurrence", "parts"):
        with pytest.raises(
            InputError, match=f"--jit={jit} has no meaning for --model=gpt; leave it out, or take"
        ):
            from_flat({"model": "gpt", "jit": jit})


def test_a_run_keeps_the_program_that_it_was_begun_with(tiny_config, train, tmp_path):
    """Bit for bit: one that was compiled when it began, and those of versions that did not know that, or
    compiled the recurrence alone.
    """
    settings = {
        "dropout": 0.1, "weight_drop": 0.1, "learning_rate_schedule": "constant", "split": "100/0/0",
        "checkpoint_every": 4, "log_every": 2, "sample_every": 99, "projector": False,
    }  # fmt: skip
    half, whole = (tiny_config(**settings, steps=steps) for steps in (4, 8))
    found = {}
    said = {"auto": ", recurrence and loss compiled by XLA;", "recurrence": ", recurrence compiled by XLA;"}
    for jit in ("auto", "recurrence", "off"):
        ended = train(tiny_config(**settings, steps=8, jit=jit), tmp_path / jit)
        assert ended.code == 0
        assert [text in ended.err for text in said.values()] == [name == jit for name in said]
        found[jit] = everything_of(tmp_path / jit)
    assert RunFolder(tmp_path / "auto").config().running.jit == "parts"
    # So the comparisons below can fail.
    assert found["auto"] != found["off"] != found["recurrence"] != found["auto"]

    assert train(half, tmp_path / "compiled").code == 0
    assert train(whole, tmp_path / "compiled").code == 0
    assert everything_of(tmp_path / "compiled") == found["auto"]

    assert train(tiny_config(**settings, steps=4, jit="recurrence"), tmp_path / "alone").code == 0
    assert train(whole, tmp_path / "alone").code == 0
    assert everything_of(tmp_path / "alone") == found["recurrence"]

    assert train(tiny_config(**settings, steps=4, jit="off"), tmp_path / "earlier").code == 0
    path = tmp_path / "earlier" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "jit": "auto"}))
    assert train(whole, tmp_path / "earlier").code == 0
    assert everything_of(tmp_path / "earlier") == found["off"]
    # Whoever asks for it gets the other program.
    assert train(tiny_config(**settings, steps=8, jit="off"), tmp_path / "compiled").code == 0
