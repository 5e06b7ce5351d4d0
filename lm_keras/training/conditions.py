"""What a run has to have before it begins or goes on: a folder with the same settings and text, devices,
memory, room on the disk, and rates that learn.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from lm_keras import schedules
from lm_keras.checkpoints.changes import CHANGEABLE, differences, elsewhere
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS, Config, RunOptions
from lm_keras.data.preparation import PreparedData
from lm_keras.data.tokenizers import saved_tokenizer
from lm_keras.errors import InputError, reason_of
from lm_keras.privacy.sampling import units_of
from lm_keras.registry import OF_WHOLE_TEXT
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.training import distribution, estimates, machine, memory, report
from lm_keras.training.building import network, schedule_callbacks
from lm_keras.training.weights import Origin


def checked_folder(config: Config, options: RunOptions) -> RunFolder | None:
    """Return the folder of a run that may begin there or go on; None for a dry run without one.

    Raises:
        InputError: it may not; the line says why.
    """
    if not options.run_dir:
        if options.dry_run and options.resume != "must":
            return None
        raise InputError(
            "--run_dir is missing: expected the folder for this run, such as --run_dir=runs/first"
        )
    folder = RunFolder(options.run_dir)
    if not folder.exists:
        if options.resume == "must":
            raise InputError(
                f"--resume=must, but --run_dir={options.run_dir} holds no run; begin one with --resume=auto"
            )
        if folder.checkpoints().steps():  # Of which settings, nobody knows.
            raise InputError(
                f"--run_dir={options.run_dir} holds checkpoints and no config.json; restore that from a copy,"
                " or choose another folder"
            )
        return folder
    if options.resume == "never":
        raise InputError(
            f"--resume=never, but --run_dir={options.run_dir} holds a run; choose another folder, or go on"
            " with --resume=auto"
        )
    before = folder.config()
    moved = elsewhere(before.flat(), config.flat())
    changed = differences(before, config, CHANGEABLE | moved)
    if changed:
        raise InputError(
            f"--run_dir={options.run_dir} holds a run with other settings: {'; '.join(changed)}. "
            "Use the same settings to go on, or another --run_dir"
        )
    if "tokenizer" in moved:
        _check_tokenizer(folder, config)
    return folder


def _check_tokenizer(folder: RunFolder, config: Config) -> None:
    """Raise InputError if the folder that `--tokenizer` names now holds another tokenizer than the
    run has.
    """
    given = saved_tokenizer(config.data, config.needs_mask)
    if given and given.fingerprint() != folder.tokenizer().fingerprint():
        raise InputError(
            f"--run_dir={folder.path} holds a run with another tokenizer than"
            f" --tokenizer={config.data.tokenizer}; use the same one to go on, or another --run_dir"
        )


def same_length(old: Config, new: Config) -> bool:
    """Tell whether the settings of a run ask for no more steps than those that it had."""
    names = [name for name, field in FIELDS.items() if field.metadata["on_resume"] == "longer"]
    before, after = old.flat(), new.flat()
    return all(before[name] == after[name] for name in names)


def check_same_run(folder: RunFolder, data: PreparedData, total_steps: int) -> int:
    """Return how many steps the run had before; its text must be the same, and it may not become shorter."""
    before = folder.read_data()
    for name, split in data.report["splits"].items():
        if split["fingerprint"] != before["splits"].get(name, {}).get("fingerprint"):
            raise InputError(
                f"the {name} text of {split['corpus']} has changed since the run in {folder.path} began; "
                "restore it, or begin a new run with another --run_dir"
            )
    if total_steps < before["total_steps"]:
        raise InputError(
            f"the run in {folder.path} has {before['total_steps']:,} steps and can't be cut to"
            f" {total_steps:,}; raise --steps or --epochs, or begin a new run with another --run_dir"
        )
    return before["total_steps"]


def total_steps_of(config: Config, data: PreparedData, task: Task) -> int:
    """Return the length of a run.

    Raises:
        InputError: the training text is too short, or a schedule leaves nothing of a rate.
    """
    batches = config.batches
    targets = data.splits["train"].counts.tokens
    if targets < batches.sequence_length and task.fields == ("text",):
        raise InputError(
            f"the training text has {targets:,} tokens, fewer than one sequence of --sequence_length="
            f"{batches.sequence_length}; give more text or a smaller --sequence_length"
        )
    if batches.steps:
        return batches.steps
    order = task.order(data.splits["train"])
    per_epoch = order.steps_per_epoch
    if config.privacy.limits:
        units = units_of(data.splits["train"], config.privacy.dp_unit, order.sequence_length)
        per_epoch = -(-len(units) // batches.batch_size)
    total_steps = (batches.epochs or 1) * per_epoch
    check_rates(config, total_steps)
    return total_steps


def check_data(config: Config, data: PreparedData) -> None:
    """Raise InputError if a setting needs validation text that the run lacks."""
    learning = config.learning
    needs = (
        [f"--early_stopping_evals={learning.early_stopping_evals}"] if learning.early_stopping_evals else []
    )
    if schedules.plateau_of(learning.learning_rate_schedule):
        needs.append(f"--learning_rate_schedule={learning.learning_rate_schedule}")
    if needs and "valid" not in data.splits:
        raise InputError(f"{needs[0]} needs text to validate on; give --valid_corpus or another --split")
    unknown = data.splits["valid"].counts.unknown if "valid" in data.splits else 0
    if unknown and learning.best_by in OF_WHOLE_TEXT:
        raise InputError(
            f"--best_by={learning.best_by}: {unknown:,} tokens of the text to validate on are unknown to the "
            "tokenizer, so that it has no such measure; take nats_per_token, perplexity or accuracy"
        )


def check_rates(config: Config, total_steps: int) -> None:
    """Raise InputError if a schedule leaves nothing of a rate that was asked for."""
    learning = config.learning
    text, base = learning.learning_rate_schedule, learning.learning_rate
    when = schedules.when_nothing(text, base, total_steps, learning.warmup_steps)
    if not when and (stair := schedules.first_stair_to_nothing(text, base, total_steps)):
        when = f"after step {stair:,}"
    if when:
        raise InputError(
            f"--learning_rate={base} times --learning_rate_schedule={text} is 0 in float32 {when}, so that"
            f" nothing more is learnt in a run of {total_steps:,} steps; give the schedule a value above 0"
        )
    for name, base in (("dropout", config.model.dropout), ("token_noise", learning.token_noise)):
        text = getattr(learning, f"{name}_schedule")
        if base and total_steps > 1 and (when := schedules.when_nothing(text, base, total_steps)):
            raise InputError(
                f"--{name}={base} times --{name}_schedule={text} is 0 in float32 {when} of a run of"
                f" {total_steps:,} steps; give the schedule a value above 0, or leave --{name} out"
            )


def jumps(config: Config, folder: RunFolder, before: int, now: int) -> str:
    """Return which rates another length of a run changes at once, in words, or an empty string if none."""
    done = max(folder.checkpoints().steps(), default=0)
    found = []
    for old, new in zip(schedule_callbacks(config, before), schedule_callbacks(config, now)):
        (expected,), (rate,) = old.table(done, 1), new.table(done, 1)
        if done and rate != expected:
            name = old.name.replace("_", " ")
            found.append(
                f"the {name} was {old.table(done - 1, 1)[0]:.3g} at step {done:,} and is {rate:.3g} at the"
                " next"
            )
    return "; its schedules stretch over the new length from here on: " + ", ".join(found) if found else ""


def tokenizer_of(folder: RunFolder | None, origin: Origin | None) -> Tokenizer | None:
    """Return the tokenizer that a run has already, or takes over with the weights that it begins with."""
    if folder and folder.exists:
        return folder.tokenizer()
    return origin.tokenizer if origin else None


def devices_of(config: Config, alone: bool = False) -> distribution.Devices:
    """Choose the devices of a run, and say which and what is wrong with them; see `distribution.set_up`."""
    devices = distribution.set_up(config, alone)
    report.say(f"devices: {devices.description}")
    if devices.warning:
        report.say(devices.warning)
    if not alone and (kind := machine.slow_products(config.learning.precision, devices.on_gpu)):
        report.say(
            f"--precision={config.learning.precision}: this processor multiplies float32 faster than {kind}; "
            "--precision=auto takes the faster one"
        )
    return devices


@contextlib.contextmanager
def enough_memory() -> Iterator[None]:
    """Turn a lack of memory on the device into an InputError."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"the memory of the device is not enough ({reason_of(error)}); take a smaller --batch_size or"
            " network, or more --micro_batches"
        ) from None


def shapes_of(config: Config, task: Task) -> keras.Model:
    """Build a network of which only shapes are asked: its variables have no values."""
    with tf.Graph().as_default():
        nothing = tf.Variable(0.0)

        def without_value(create: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
            # What an initializer fills has its shape from Keras.
            return nothing if callable(settings["initial_value"]) else create(**settings)

        with tf.variable_creator_scope(without_value):
            return network(config, task.network_vocab_size, task.outputs)


def check_space(folder: RunFolder, config: Config, task: Task, total_steps: int) -> None:
    """Raise InputError if the disk cannot hold what the run will write."""
    steps, shapes = folder.checkpoints().steps(), shapes_of(config, task)
    disk = estimates.disk(shapes, config, total_steps, max(steps, default=0), len(steps))
    free = memory.free_disk(folder.path)
    if free < disk.needed:
        raise InputError(
            f"the disk of --run_dir={folder.path} has {free / 2**20:,.1f} MiB free, and the run still writes"
            f" {disk.needed / 2**20:,.1f} MiB ({disk.parts()}); free space there, choose another --run_dir,"
            f" or lower --keep_checkpoints={config.running.keep_checkpoints}"
        )
