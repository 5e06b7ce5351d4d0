"""The dry run: what a run would need and how long it would take, printed; nothing is trained."""

import os

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.privacy import key, refusals
from lm_keras.privacy.guarantee import Guarantee
from lm_keras.privacy.private_step import PrivateStep, promise_of
from lm_keras.tasks import TASKS, task_of
from lm_keras.training import (
    conditions,
    distribution,
    estimates,
    known_text,
    machine,
    memory,
    preflight,
    report,
    timing,
)
from lm_keras.training.building import network, schedule_callbacks
from lm_keras.training.initial_embedding import InitialEmbedding
from lm_keras.training.run import newest
from lm_keras.training.trainer import Learner, Trainer
from lm_keras.training.weights import Origin


def dry_run(config: Config, folder: RunFolder | None) -> int:
    """Print what a run would need and how long it would take; nothing but the token cache is written.

    The run may be training meanwhile: its folder is only read, and not locked. It need not have one yet.

    Returns:
        The exit code: 0, or that of the signal that stopped it.

    Raises:
        InputError: the run could not begin.
    """
    if folder:
        folder.check()
    if config.batches.steps:
        conditions.check_rates(config, config.batches.steps)
    devices = conditions.devices_of(config, alone=True)
    if cluster := distribution.cluster_of(config):
        report.say(
            f"TF_CONFIG names {len(cluster.addresses)} workers; the figures are those of this one without the"
            " others"
        )
    origin = Origin.of(config, folder, report.say)
    tokenizer = conditions.tokenizer_of(folder, origin)
    begun = folder.read_data() if folder and folder.exists else None
    kind, labels = TASKS[config.task], folder.labels() if begun else None
    text = known_text.read_text(
        config.data, tokenizer, report.say, config.needs_mask, begun, kind.columns, kind.fields, labels
    )
    batches, data = config.batches, text.data
    tokenizer = data.tokenizer if data else tokenizer
    origin = origin or InitialEmbedding.of(config, folder, tokenizer)
    labels = data.labels if data else None
    task, total_steps = task_of(config, text.vocab_size, tokenizer, labels), batches.steps
    if data:
        task.check(data, report.say)
        conditions.check_data(config, data)
        total_steps = conditions.total_steps_of(config, data, task)
        if folder and folder.exists:
            conditions.check_same_run(folder, data, total_steps)
    estimates.check_memory(task, config, devices.replicas)
    store = text.store(batches.batch_size, batches.sequence_length)
    shapes = conditions.shapes_of(config, task)
    done = (newest(folder.checkpoints(warn=report.say)) if folder else None) or 0
    plan = preflight.Plan(
        config, folder.path if folder else None, origin, devices, text, task, shapes, total_steps, done,
        schedule_callbacks(config, total_steps) if total_steps else [],
    )  # fmt: skip
    report.write(plan.needs())
    private = _private(config, folder, plan) if config.privacy.limits and data else None
    if private:
        report.write(["", f"privacy    {private.guarantee.line}", f"           {private.guarantee.details}"])
    if not plan.fits:
        report.write(["timing     none: the memory that is free is not enough for the estimate"])
        return 0
    meter = memory.MemoryMeter(devices)
    with conditions.enough_memory():
        with devices.strategy.scope():
            model = network(config, task.network_vocab_size, task.outputs)
        learner = Learner(model, task)
        if private:
            learner, config = Learner(model, private.task(task, store), private=private), private.config
        trainer = Trainer(learner, devices, config, store, timing.STEPS, None)
        speed = timing.try_out(trainer)
    if speed is None:
        return 128 + trainer.signal
    report.write(plan.takes(speed, meter, machine.product_flops(devices, trainer.model.compute_dtype)))
    return 0


def _private(config: Config, folder: RunFolder | None, plan: preflight.Plan) -> PrivateStep:
    """Return what makes the steps private, with a secret that nobody keeps."""
    if folder and folder.exists:
        guarantee = Guarantee.from_json(folder.read_data()["privacy"])
    else:
        data = plan.text.data
        refusals.check_origins(config, data.report["splits"], report.say)
        guarantee = promise_of(config, plan.task, data.splits["train"], plan.total_steps)
    return PrivateStep(guarantee, config, os.urandom(key.SIZE), plan.devices.replicas)
