"""The dry run: its estimates against measurements, and that it leaves nothing behind."""

import dataclasses
import gc
import os
import re
import shutil
import signal

import pytest
import tensorflow as tf

from benchmarks import graph_flops, trainers
from benchmarks.commands import preflight as measured_preflight
from lm_keras import optimizers, schedules
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS, from_flat
from lm_keras.data.cache import cache_folder
from lm_keras.data.preparation import prepare
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.models.lstm import LSTMLanguageModel
from lm_keras.tasks import task_of
from lm_keras.training import (
    building,
    distribution,
    dry_run,
    estimates,
    known_text,
    machine,
    memory,
    preflight,
    timing,
)
from lm_keras.training.trainer import Learner


def close(estimated, measured):
    """Tell whether an estimate is within 20 % of what was measured."""
    return abs(estimated / measured - 1) < 0.2


@pytest.fixture
def dry(quick, train, monkeypatch):
    """A function that makes a dry run, its timing steps invented unless asked for, and returns its lines."""
    invented = timing.Speed(5, 10.0, 7.0)

    def lines(config, run_dir, try_out=lambda trainer: invented):
        monkeypatch.setattr(timing, "try_out", try_out)
        ended = train(config, run_dir, dry_run=True)
        assert ended.code == 0
        return ended.out.splitlines()

    return lines


def line_of(lines, name):
    """The one line that begins with a name, without it."""
    (line,) = [line for line in lines if line.strip().startswith(name + " ")]
    return line.strip().removeprefix(name).strip()


def state_of(folder):
    """Everything about the files of a folder that writing could change, but for the time of reading."""
    paths = sorted([folder, *folder.rglob("*")])
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_ino, path.is_file() and path.read_bytes())
        for path in paths
    }


# Nothing is left behind


def test_a_new_run_is_only_described(dry, tiny_config, tmp_path):
    config = tiny_config(
        dropout=0.1, dropout_schedule="linear:initial=0,final=1", warmup_steps=4, micro_batches=3, log_every=5
    )
    lines = dry(config, tmp_path / "deep" / "run", timing.try_out)
    assert list(tmp_path.iterdir()) == []
    assert line_of(lines, "run") == f"{tmp_path}/deep/run: new"
    assert line_of(lines, "the run").startswith("24 steps = ")
    assert "3,168 tokens, 1.84 tokens a parameter" in line_of(lines, "the run")
    assert (
        line_of(lines, "a step") == "12 rows x 11 tokens = 132 tokens (replicas 1 x micro-batches 3 x 4 rows)"
    )
    assert len(lines) <= 50
    assert max(map(len, lines[1:])) <= 130  # but for the path of the run


def test_no_folder_is_needed(dry, tiny_config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = dry(tiny_config(), None)
    assert line_of(lines, "run") == "without --run_dir: new"
    assert line_of(lines, "on disk").startswith("0.2  still to write, 4 x ")
    assert os.listdir(tmp_path) == []


def test_what_a_dry_run_does_not_need_changes_nothing_but_is_named(dry, tiny_config):
    changed = {"sample_every": 7, "sample_prompt": "a|b", "profile_steps": "3:5"}
    generating = {"eval_pairs", "eval_beams", "eval_answers"}
    assert {*changed, *generating} == {
        name for name, field in FIELDS.items() if not field.metadata["dry_run"]
    }

    def described(**settings):
        measured = r"free here|GFLOP/s|memory of this process"
        return [line for line in dry(tiny_config(**settings), None) if not re.search(measured, line)]

    plain, other = described(), described(**changed)
    named = "--sample_every, --sample_prompt, --profile_steps: not tried in a dry run"
    assert line_of(other, "left out") == named
    assert [line for line in other if not line.startswith("left out")] == plain
    assert described(keep_checkpoints=9) != plain  # The control: more of them need more of the disk.


def test_it_says_whose_weights_a_run_begins_with(dry, finished):
    for origin in (str(finished.path), None):
        lines = dry(from_flat({**finished.config.flat(), "init_from": origin}), None)
        begins = [line for line in lines if line.startswith("begins ")]
        assert begins == ([f"begins     with the weights of {finished.path} at step 24"] if origin else [])


def test_the_check_for_files_can_fail(tmp_path):
    path = tmp_path / "flags.txt"
    path.write_text("--steps=3\n")
    states = [state_of(tmp_path)]
    os.utime(path, ns=(1, 1))
    states.append(state_of(tmp_path))
    path.rename(tmp_path / "flags")
    states.append(state_of(tmp_path))
    assert len({str(state) for state in states}) == 3


def test_a_run_stays_as_it_is(dry, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    before = state_of(path)
    lines = dry(finished.config, path)
    assert line_of(lines, "run") == f"{path}: finished, 24 steps"
    assert line_of(lines, "time left") == "about 0.0 s: 0 steps 0.0 s"
    assert state_of(path) == before


def test_a_run_that_another_process_trains_is_read(dry, finished, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    shutil.rmtree(path / "checkpoints" / "step-00000024")
    (path / "results.json").unlink()
    config = from_flat({**finished.config.flat(), "steps": 40})
    with RunFolder(path).writing():
        (path / "checkpoints" / ".unfinished-24").mkdir()
        before = state_of(path)
        lines = dry(config, path)
        assert state_of(path) == before
    assert line_of(lines, "run") == f"{path}: goes on at step 16"
    assert re.match(r"about .*: 24 steps ", line_of(lines, "time left"))


def test_a_signal_ends_the_trial(quick, train, tiny_config, tmp_path, monkeypatch):
    ended_call = timing._TimingClock.on_train_batch_end

    def interrupted(self, batch, logs=None):
        ended_call(self, batch, logs)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(timing._TimingClock, "on_train_batch_end", interrupted)
    before = signal.getsignal(signal.SIGINT)
    ended = train(tiny_config(), tmp_path / "run", dry_run=True)
    assert ended.code == 130
    assert "tokens/s" not in ended.out
    assert signal.getsignal(signal.SIGINT) == before
    assert list(tmp_path.iterdir()) == []


# Text that is not prepared


def test_large_text_is_not_prepared(dry, tiny_config, cache, tmp_path, english, monkeypatch):
    text = tmp_path / "large.txt"
    content = "Zwölf Öfen\n" + english
    text.write_text(content)
    monkeypatch.setattr(known_text, "PREPARED_AT_ONCE_BYTES", 5_000)
    monkeypatch.setattr(known_text, "PIECE_BYTES", 4_000)  # One piece of text is the beginning.
    before = state_of(cache)
    config = tiny_config(corpus=f"text:{text}", steps=None, epochs=3)
    lines = dry(config, tmp_path / "run")
    assert state_of(cache) == before
    for name in ("tokens", "an epoch", "the run", "schedules", "time"):
        assert line_of(lines, name).endswith(preflight.UNKNOWN)
    assert line_of(lines, "vocabulary") == f"{len(set(content)) + 2} (char)"
    assert "tokens/s" in line_of(lines, "timing")
    monkeypatch.setattr(known_text, "PIECE_BYTES", 2**20)
    known = dry(tiny_config(corpus=f"text:{text}", vocab_size=21), tmp_path / "run")
    assert line_of(known, "vocabulary") == "21 (char)"
    assert line_of(known, "the run").startswith("24 steps = an unknown number of epochs, ")
    # Once it is prepared, it is used.
    prepare(config.data)
    lines = dry(config, tmp_path / "run")
    assert not [line for line in lines if preflight.UNKNOWN in line]


@pytest.mark.parametrize(
    ("tokenizer", "size", "expected", "with_mask"),
    [
        ("sentencepiece", None, 2000, 2000),
        ("sentencepiece", 531, 531, 531),
        ("byte", None, 257, 258),
        ("word", 17, 17, 18),
    ],
)
def test_vocabularies_have_the_size_that_the_settings_say(
    tiny_config, monkeypatch, tmp_path, tokenizer, size, expected, with_mask
):
    monkeypatch.setattr(known_text, "PREPARED_AT_ONCE_BYTES", 0)
    for needs_mask, vocab_size in ((False, expected), (True, with_mask)):
        config = tiny_config(tokenizer=tokenizer, vocab_size=size, cache_dir=str(tmp_path))
        text = known_text.read_text(config.data, None, lambda line: None, needs_mask)
        assert (text.vocab_size, text.data) == (vocab_size, None)
        assert text.store(12, 11).tokens.max() < vocab_size
    assert list(cache_folder(str(tmp_path)).iterdir()) == []


# Parameters and FLOPs

NETWORKS = {
    "one layer": {},
    "two layers, long rows": {"num_layers": 2, "sequence_length": 33},
    "micro-batches": {"micro_batches": 3, "num_layers": 2},
    "tied with a projection": {"tie_embeddings": True, "dropout": 0.1, "optimizer": "sgd"},
    "bfloat16": {"precision": "mixed_bfloat16", "label_smoothing": 0.1},
    "n-gram": {"model": "ngram", "num_layers": 2, "batching": "window"},
    "GPT": {"model": "gpt", "num_layers": 2, "num_heads": 2, "embedding_dim": 8},
    "LLaMA": {
        "model": "gpt",
        "num_heads": 4,
        "num_kv_heads": 2,
        "embedding_dim": 16,
        "norm": "rms",
        "activation": "swiglu",
        "positions": "rotary",
        "biases": False,
        "tie_embeddings": False,
    },
}


def settings_of(name):
    """Settings of a small network, every dimension another number."""
    usual = {
        "vocab_size": 53, "embedding_dim": 7, "hidden_units": 13, "sequence_length": 11, "batch_size": 6,
        "steps": 3,
        "steps_per_call": 1,
    }  # fmt: skip
    return from_flat({**usual, **NETWORKS[name]})


def products_match(trainer, factor):
    """Tell whether the FLOPs that a network says are those in the graph of its step, `factor` each."""
    flops = estimates.flops(trainer.model, trainer.task, trainer.config)
    counted = graph_flops.counted_flops(trainer)["products"]
    return (1 + factor) * flops.tokens * sum(flops.forward.values()) == counted


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_are_those_of_the_graph(name):
    trainer = trainers.trainer_of(settings_of(name))
    assert products_match(trainer, estimates.BACKWARD)
    assert not products_match(trainer, 1)


def test_wrong_flops_are_noticed(monkeypatch):
    counted = LSTMLanguageModel.flops
    trainer = trainers.trainer_of(settings_of("one layer"))
    found = graph_flops.counted_flops(trainer)
    monkeypatch.setattr(graph_flops, "counted_flops", lambda trainer: found)
    for part in counted(trainer.model, 11, 11):
        monkeypatch.setattr(
            LSTMLanguageModel,
            "flops",
            lambda self, *row, part=part: {**counted(self, *row), part: counted(self, *row)[part] // 2},
        )
        assert products_match(trainer, estimates.BACKWARD) == (part == "embedding")


def test_flops_by_part():
    trainer = trainers.trainer_of(settings_of("tied with a projection"))
    assert {part: count // 11 for part, count in trainer.model.flops(11).items()} == {
        "embedding": 0, "lstm_0": 2 * (7 + 13) * 4 * 13, "projection": 2 * 13 * 7, "output": 2 * 7 * 53,
    }  # fmt: skip
    flops = estimates.flops(trainer.model, trainer.task, trainer.config)
    assert flops.step == 3 * 66 * (2 * 20 * 52 + 2 * 13 * 7 + 2 * 7 * 53) + 8 * (
        53 * 7 + 20 * 52 + 52 + 13 * 7 + 53
    )


def update_of(optimizer):
    """Estimated and counted FLOPs of one update by this optimizer."""
    config = from_flat({"optimizer": optimizer, "embedding_dim": 17, "hidden_units": 33, "weight_decay": 0.1})
    model = building.network(config, 29)
    learner, store = Learner(model, task_of(config, 29)), known_text.random_store(99, 29)
    step = dry_run.Trainer(learner, distribution.set_up(config), config, store, 3, None).compiled_step
    gradients = [tf.TensorSpec(variable.shape) for variable in model.trainable_variables]

    def update(given):
        given, factor, norm = step._with_penalties(given, tf.constant(3.0))
        step._update(given, factor, tf.constant(0.1), {"nonfinite": norm < 0, "spiked": norm < 0}, norm < 0)

    counted = graph_flops.count(tf.function(update).get_concrete_function(gradients).graph)
    return optimizers.update_flops(config.learning, model.trainable_variables), sum(counted.values())


@pytest.mark.parametrize(
    "optimizer",
    [
        name if name in ("sgd", "adamw", "muon") else pytest.param(name, marks=pytest.mark.slow)
        for name in optimizers.OPTIMIZERS
    ],
)
def test_an_update_costs_what_is_said(optimizer):
    estimated, counted = update_of(optimizer)
    assert abs(estimated / counted - 1) < 0.05


def test_layers_hold_every_parameter():
    config = settings_of("tied with a projection")
    with tf.Graph().as_default():
        model = building.network(config, 53)
    layers = {layer.name: layer for layer in estimates.layers(model)}
    assert {name: layer.parameters for name, layer in layers.items()} == {
        "embedding": 53 * 7, "lstm_0": (7 + 13 + 1) * 52, "projection": 13 * 7, "output_bias": 53,
    }  # fmt: skip
    assert layers["lstm_0"].shapes == {"kernel": (7, 52), "recurrent_kernel": (13, 52), "bias": (52,)}
    real = FAMILIES["lstm"](config, 53)
    assert sum(layer.parameters for layer in layers.values()) == sum(
        int(tf.size(variable)) for variable in real.trainable_variables
    )


# Memory


def test_shapes_take_no_memory():
    config = from_flat({"embedding_dim": 1_000, "hidden_units": 20_000, "num_layers": 9})
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    with tf.Graph().as_default():
        model = building.network(config, 50_000)
    assert tf.config.experimental.get_memory_info("CPU:0")["current"] == before
    memory = estimates.memory(model, task_of(config, 50_000), config, 1)
    assert memory.weights > 100e9  # bytes
    assert abs(memory.slots - 2 * memory.weights) < 100


def test_memory_is_near_what_the_allocator_gave_out():
    """Of tensors of 256 KiB or more only, which the allocator counts."""
    config = from_flat(
        {"vocab_size": 3_000, "hidden_units": 320, "sequence_length": 8, "batch_size": 256,
            "embedding_dim": 96,
         "steps": 3, "steps_per_call": 1}
    )  # fmt: skip
    gc.collect()
    before = tf.config.experimental.get_memory_info("CPU:0")["current"]
    trainer = trainers.trainer_of(config)
    tf.config.experimental.reset_memory_stats("CPU:0")
    trainers.train(trainer)
    measured = tf.config.experimental.get_memory_info("CPU:0")["peak"] - before
    assert close(estimates.memory(trainer.model, trainer.task, config, 1).peak, measured)
    other = dataclasses.replace(config, batches=dataclasses.replace(config.batches, batch_size=1024))
    assert not close(estimates.memory(trainer.model, trainer.task, other, 1).peak, measured)


@pytest.mark.slow
@pytest.mark.parametrize("shape", measured_preflight.SHAPES)
def test_estimates_are_near_measurements(shape):
    result = measured_preflight.compare(shape)
    assert close(result.estimated_bytes, result.measured_bytes)
    # Rows of weight 0 may fill up the last piece of the loss.
    assert result.counted_flops == pytest.approx(result.estimated_flops, rel=2e-3)


@pytest.mark.parametrize("shape", measured_preflight.SHAPES)
def test_the_least_is_less_than_the_estimate(shape):
    settings = dict(measured_preflight.SHAPES[shape])
    vocab_size, config = settings.pop("vocab_size"), from_flat(settings)
    task = task_of(config, vocab_size)
    with tf.Graph().as_default():
        peak = estimates.memory(building.network(config, task.network_vocab_size), task, config, 1).peak
    least = estimates.least_memory(task, config, 1)
    assert peak / 20 < least < peak
    estimates.check_memory(task, config, 1, there_is=least)
    for replicas, there_is in ((1, least - 1), (2, least)):
        with pytest.raises(
            InputError, match="a step of this network takes 0 GiB or more, and this machine has 0: "
        ):
            estimates.check_memory(task, config, replicas, there_is)


def test_what_no_machine_has(train, tiny_config, tmp_path):
    for dry in (False, True):
        with pytest.raises(InputError) as caught:
            train(tiny_config(hidden_units=2**31 - 1), tmp_path / "run", dry_run=dry)
        assert re.fullmatch(
            r"a step of this network takes 137,438,95\d,\d{3} GiB or more, and "
            + ("no machine has so much" if dry else r"this machine has [\d,]+")
            + r": --hidden_units=2147483647 --embedding_dim=7 --num_layers=1 --batch_size=12"
            r" --sequence_length=11 and "
            r"\d+ tokens in the vocabulary; take smaller ones, or more --micro_batches, and see --dry_run",
            str(caught.value),
        )
        assert not (tmp_path / "run").exists()


def test_memory_of_this_machine(monkeypatch, tmp_path):
    with_swap = memory.total_memory()
    assert 0 < memory.free_memory() < with_swap < 2**50
    monkeypatch.setattr(memory, "GROUP", tmp_path)
    for limit in ("max", str(2**62)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("7\n")
        assert memory.total_memory() == with_swap
    (tmp_path / "memory.max").write_text("1234\n")
    assert (memory.total_memory(), memory.free_memory()) == (1234, 1227)


def test_micro_batches_take_less_memory():
    peaks = []
    for parts in (1, 4):
        config = from_flat({"batch_size": 64, "micro_batches": parts, "sequence_length": 99})
        with tf.Graph().as_default():
            peaks.append(
                estimates.memory(building.network(config, 999), task_of(config, 999), config, 1).peak
            )
    assert peaks[1] < peaks[0] / 2


def test_a_network_that_does_not_fit_is_not_tried(quick, train, tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "free_memory", lambda: 10_000)
    monkeypatch.setattr(dry_run, "Trainer", None)
    ended = train(tiny_config(), tmp_path / "run", dry_run=True)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert line_of(lines, "free here") == "0.0  TOO LITTLE: a process takes up to 1.5 times the sum"
    assert line_of(lines, "timing") == "none: the memory that is free is not enough for the estimate"


# Schedules, hardware, time


def test_schedules_at_four_steps(dry, tiny_config, tmp_path):
    settings = {"learning_rate_schedule": "cosine:final=0.1", "warmup_steps": 5, "dropout": 0.2,
                "dropout_schedule": "linear:initial=0,final=1"}  # fmt: skip
    lines = dry(tiny_config(**settings), tmp_path / "run")
    places = [0, 4, 12, 23]
    assert line_of(lines, "step").split() == [str(place) for place in places]
    for name, base, curve in (
        ("learning rate", 0.02, schedules.build("cosine:final=0.1", 24, 5)),
        ("dropout", 0.2, schedules.build("linear:initial=0,final=1", 24)),
    ):
        assert line_of(lines, name).split() == [f"{base * curve(place):.4g}" for place in places]
    assert "warm-up ends" in line_of(lines, "schedules")
    config = tiny_config(warmup_steps=24)
    plan = preflight.Plan(
        config, None, None, None, None, None, None, 24, 0, building.schedule_callbacks(config, 24)
    )
    assert plan._curves()[0].split() == ["schedules", "start", "middle", "end"]


@pytest.mark.parametrize(
    ("precision", "fast", "expected"),
    [
        ("float32", set(), "float32 throughout"),
        ("float32", {"bfloat16"}, "float32 throughout; --precision=mixed_bfloat16 may be faster, "),
        ("mixed_bfloat16", {"bfloat16"}, "products in bfloat16, which this hardware multiplies"),
        (
            "mixed_bfloat16",
            {"float16"},
            "products in bfloat16, WHICH THIS HARDWARE MULTIPLIES MORE SLOWLY than float32",
        ),
    ],
)
def test_what_is_said_of_the_precision(tiny_config, monkeypatch, precision, fast, expected):
    monkeypatch.setattr(machine, "fast_types", lambda on_gpu: fast)
    config = tiny_config(precision=precision, jit="off")
    cudnn, xla, said = machine.kernels(config, distribution.set_up(config).on_gpu, ())
    assert said.startswith("precision  " + expected)
    assert (cudnn.split(), xla.split()) == (
        ["cuDNN", "no:", "without", "a", "GPU"],
        ["XLA", "no:", "--jit=off"],
    )


@pytest.mark.parametrize(
    ("model", "precision", "jit", "compiled", "said"),
    [
        (
            "gpt",
            "float32",
            "auto",
            True,
            "yes, for the gradients of a micro-batch: with such a network it pays",
        ),
        ("gpt", "mixed_bfloat16", "auto", False, "no: it costs such a network more"),
        ("lstm", "float32", "auto", False, "no: it costs such a network more"),
        ("ngram", "float32", "auto", False, "no: it costs such a network more"),
        ("gpt", "float32", "off", False, "no: --jit=off"),
        ("lstm", "float32", "on", True, "yes, for the gradients of a micro-batch; compiling"),
        ("lstm", "float32", "recurrence", False, "yes, for the recurrence: with few units it pays"),
        ("lstm", "float32", "parts", False, "yes, for the recurrence and loss: with few units it pays"),
    ],
)
def test_xla_compiles_where_it_pays(tiny_config, model, precision, jit, compiled, said):
    config = tiny_config(model=model, precision=precision, jit=jit, hidden_units=8, embedding_dim=8)
    assert machine.compiles_gradients(config) == compiled
    _, xla, _ = machine.kernels(config, distribution.set_up(config).on_gpu, ())
    assert xla.split(maxsplit=1)[1].startswith(said)


def test_xla_compiles_what_cudnn_does_not_on_a_gpu(tiny_config, monkeypatch):
    monkeypatch.setattr(machine.tf.config, "list_physical_devices", lambda kind: [kind])
    chosen = {}
    for model in ("gpt", "lstm", "ngram"):
        chosen[model] = machine.compiles_gradients(tiny_config(model=model, hidden_units=8, embedding_dim=8))
    assert chosen == {"gpt": True, "lstm": False, "ngram": True}


def test_the_trial_times_the_real_step(quick, monkeypatch):
    config = from_flat({**settings_of("micro-batches").running.__dict__, "batch_size": 6, "steps_per_call": 4,
                        "hidden_units": 13, "embedding_dim": 7, "sequence_length": 5})  # fmt: skip
    model = building.network(config, 53)
    before = [variable.numpy() for variable in model.trainable_variables]
    learner, store = Learner(model, task_of(config, 53)), known_text.random_store(3_000, 53)
    trainer = dry_run.Trainer(learner, distribution.set_up(config), config, store, timing.STEPS, None)
    speed = timing.try_out(trainer)
    assert trainer.compiled_step.traces == 1
    assert speed.steps > 3
    assert speed.seconds / speed.steps == speed.seconds_per_step < 0.1 < speed.compile_seconds
    assert all((old == new.numpy()).all() for old, new in zip(before, model.trainable_variables, strict=True))
    monkeypatch.setattr(timing, "TIMING_SECONDS", 1e-9)  # Now a call of four steps would take too long.
    assert timing.try_out(trainer).steps == 2


def test_the_time_left_is_that_of_the_steps_and_evaluations(finished, tiny_config):
    config = tiny_config(steps=100, eval_every=30)
    with tf.Graph().as_default():
        network = building.network(config, 30)
    data = prepare(config.data)
    text = known_text.KnownText(30, data, 9_000)
    plan = preflight.Plan(
        config,
        finished.path,
        None,
        distribution.set_up(config),
        text,
        task_of(config, 30),
        network,
        100,
        40,
        [],
    )
    meter = memory.MemoryMeter(plan.devices)
    first, reached, held, left = plan.takes(timing.Speed(5, 10.0, 7.0), meter, plan.flops.step / 2)
    assert first.startswith("timing     5 steps, 2,000.0 ms each, 66 tokens/s; the first took 7.0 s")
    assert "100% of what large products reach" in reached
    assert "MiB of this process" in held or "memory of this process" in held
    # 60 steps of 2 s; evaluations at 60, 90 and 100, and of the test text, at a third of a step's FLOPs a
    # token.
    tokens = 3 * data.splits["valid"].counts.tokens + data.splits["test"].counts.tokens
    seconds = tokens * sum(plan.flops.forward.values()) / (plan.flops.step / 2)
    assert left.endswith(f"60 steps 2 min, evaluation {seconds:.1f} s as its FLOPs say")
    assert preflight._duration(119.9 * 60) == "2 h 00 min"
