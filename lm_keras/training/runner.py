"""Where settings become a run: text, tokenizer, initial weights and devices are joined here. `run.py` joins
network, trainer and callbacks.
"""

import contextlib
import dataclasses
import json
from typing import Any

from lm_keras.checkpoints.changes import differences, elsewhere
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config, RunOptions
from lm_keras.data.preparation import PreparedData, prepare
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.privacy import key as secret
from lm_keras.privacy import refusals
from lm_keras.privacy.private_step import promise_of
from lm_keras.registry import WITH_LABELS
from lm_keras.surroundings import usual_settings
from lm_keras.tasks import TASKS, check_fields, task_of
from lm_keras.tasks.task import Task
from lm_keras.training import conditions, distribution, estimates, machine, memory, report
from lm_keras.training.dry_run import dry_run
from lm_keras.training.initial_embedding import InitialEmbedding
from lm_keras.training.run import Run
from lm_keras.training.weights import Origin
from lm_keras.training.workers import LOST, Cluster


def train(config: Config, options: RunOptions, own_process: bool = True) -> int:
    """Carry out a run, or go on with it, and print its results.

    Args:
        config: the settings.
        options: where, and how the run begins.
        own_process: whether this process does nothing else, so that its devices may be chosen for the run.

    Returns:
        The exit code: 0 done, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM with everything saved.

    Raises:
        InputError: for everything that a user can get wrong; what was there before stays as it was.
    """
    with usual_settings(deterministic=False):  # `distribution.set_up` has the operations be so.
        return _train(config, options, own_process)


def _train(config: Config, options: RunOptions, own_process: bool) -> int:
    if not config.model.prediction_head and config.task not in WITH_LABELS:
        raise InputError(
            "--prediction_head=false leaves nothing to train: it is for a bert that was imported without that"
            " part; leave it out, and --init_from=FOLDER gives the imported weights a new head"
        )
    check_fields(config)
    refusals.check_settings(config)
    begun = RunFolder(options.run_dir) if options.run_dir else None
    before = begun.config() if begun and begun.exists else None
    config = machine.with_precision(config, before)
    if own_process or before:
        config = machine.with_replicas(config, before)
    config = machine.with_jit(config, before)
    folder = conditions.checked_folder(config, options)
    if options.dry_run:
        return dry_run(config, folder)
    cluster = distribution.cluster_of(config)
    if cluster and cluster.index:
        report.mute()
    if cluster:
        return _execute_together(config, options, folder, cluster)
    if _shown_if_finished(config, folder):
        return 0
    with folder.writing():
        return _execute(config, options, folder, conditions.devices_of(config))


def _shown_if_finished(config: Config, folder: RunFolder) -> bool:
    """Show the results of a run that is finished, and tell whether it is."""
    results = folder.sound_results(report.say)
    if not results or not conditions.same_length(folder.config(), config):
        return False
    if elsewhere(folder.config().flat(), config.flat()):
        return False  # Whether that text is the same is not known yet.
    report.say(f"the run in {folder.path} is finished; this is what it reached")
    report.show(folder.path, results, config.task)
    return True


def _execute_together(config: Config, options: RunOptions, folder: RunFolder, cluster: Cluster) -> int:
    """Carry out a run as one of several workers; all of them use the same folder, and the chief
    alone writes.
    """
    report.say_as_worker(cluster, "waiting for all to start")
    devices = conditions.devices_of(config)
    workers = devices.workers
    with workers.watched(), contextlib.ExitStack() as stack:
        finished = False
        with workers.together():
            if workers.chief and not (finished := _shown_if_finished(config, folder)):
                stack.enter_context(folder.writing())
        if workers.from_chief(finished) == [True]:
            return 0
        code = _execute(config, options, folder, devices)
        try:
            workers.meet()  # Nobody leaves before the chief has written everything.
        except LOST:
            # The chief may leave first: results.json is its last write.
            if not workers.chief and not (code == 0 and (folder.path / "results.json").exists()):
                raise
        return code


def _execute(config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices) -> int:
    workers = devices.workers
    with workers.together():
        if workers.chief:
            origin, data, task, total_steps = _begun(config, options, folder, devices)
    same = workers.check_same(_common(config, folder))
    with workers.together():
        if not workers.chief:
            origin, data, task, total_steps = _joined(config, folder, same)
    with conditions.enough_memory():
        return Run(config, folder, devices, data, task, total_steps, origin).execute()


def _begun(
    config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices
) -> tuple[Origin | InitialEmbedding | None, PreparedData, Task, int]:
    """Prepare the text and write down what the run is."""
    if config.batches.steps:
        conditions.check_rates(config, config.batches.steps)
    origin = Origin.of(config, folder, report.say)
    # What is wrong with its first line is said before the text is read.
    InitialEmbedding.of(config, folder, None)
    begun = folder.read_data() if folder.exists else None
    kind, tokenizer = TASKS[config.task], conditions.tokenizer_of(folder, origin)
    labels = folder.labels() if folder.exists else None
    data = prepare(
        config.data, tokenizer, report.say, needs_mask=config.needs_mask, begun=begun, columns=kind.columns,
        fields=kind.fields, labels=labels,
    )  # fmt: skip
    origin = origin or InitialEmbedding.of(config, folder, data.tokenizer)
    conditions.check_data(config, data)
    task = task_of(config, data.tokenizer.vocab_size, data.tokenizer, data.labels)
    task.check(data, report.say)
    total_steps = conditions.total_steps_of(config, data, task)
    there_is = None if devices.on_gpu else memory.total_memory()
    estimates.check_memory(task, config, devices.replicas, there_is)
    conditions.check_space(folder, config, task, total_steps)
    _begin(folder, config, options, data, task, total_steps, origin)
    return origin, data, task, total_steps


def _common(config: Config, folder: RunFolder) -> bytes:
    """Return what all workers have to have in common: the settings, and what the chief wrote down
    of the run.
    """
    settings = {name: value for name, value in config.flat().items() if name != "cache_dir"}
    data = folder.path / "data.json"
    return json.dumps(
        [settings, data.read_text(encoding="utf-8") if data.exists() else "", folder.identity]
    ).encode()


def _joined(
    config: Config, folder: RunFolder, same: bool
) -> tuple[Origin | InitialEmbedding | None, PreparedData, Task, int]:
    """Prepare the text with the tokenizer of a run that the chief has begun."""
    if not folder.exists:
        raise InputError(
            f"--run_dir={folder.path} holds no run here, although the chief has begun one; all workers need"
            " the same folder, on a file system that they share"
        )
    if not same:
        changed = differences(folder.config(), config, ()) or ["the folders are not the same"]
        raise InputError(
            f"this worker and the chief have other settings for --run_dir={folder.path}:"
            f" {'; '.join(changed)}. Start all workers with the same flags and the same folder"
        )
    kind, begun = TASKS[config.task], folder.read_data()
    data = prepare(
        config.data, folder.tokenizer(), report.say, begun=begun, columns=kind.columns, fields=kind.fields,
        labels=folder.labels(),
    )  # fmt: skip
    task = task_of(config, data.tokenizer.vocab_size, data.tokenizer, data.labels)
    total_steps = conditions.total_steps_of(config, data, task)
    conditions.check_same_run(folder, data, total_steps)
    origin = Origin.of(config, folder, report.say) or InitialEmbedding.of(config, folder, data.tokenizer)
    return origin, data, task, total_steps


def _begin(
    folder: RunFolder,
    config: Config,
    options: RunOptions,
    data: PreparedData,
    task: Task,
    total_steps: int,
    origin: Origin | InitialEmbedding | None,
) -> None:
    """Write down what the run is; `config.json` comes last, so that it stands for a complete folder."""
    content = {**data.report, "vocab_size": data.tokenizer.vocab_size, "total_steps": total_steps}
    if config.privacy.limits:
        content["privacy"] = _promise(folder, config, data, task, total_steps)
    if folder.exists:
        before = conditions.check_same_run(folder, data, total_steps)
        if total_steps > before:
            report.say(
                f"the run now has {total_steps:,} steps instead of"
                f" {before:,}{conditions.jumps(config, folder, before, total_steps)}"
            )
            folder.forget_results()
    else:
        data.tokenizer.save(folder.path / "tokenizer")
        folder.write_labels(data.labels)
        if isinstance(origin, Origin):
            folder.keep_files(origin.files)
    folder.write_json("data.json", content)
    settings = {**dataclasses.asdict(options), **config.flat()}
    folder.write_text("flags.txt", flagfile_of(settings))
    has_template = data.tokenizer.chat_template is not None
    folder.write_text("README.md", report.model_card(config, content, has_template))
    folder.write_json("config.json", config.flat())
    report.say(report.data_line(content))


def _promise(
    folder: RunFolder, config: Config, data: PreparedData, task: Task, total_steps: int
) -> dict[str, Any]:
    """Return what a private run promises: what it did when it began, or what it can now.

    Raises:
        InputError: it would train on, or its weights or its tokenizer know the text.
    """
    if folder.exists:
        promised = folder.read_data()["privacy"]
        if total_steps > promised["steps"]:
            raise InputError(
                f"the private run in {folder.path} is accounted for {promised['steps']:,} steps and can't"
                f" train for {total_steps:,}; begin a new run with another --run_dir, whose epsilon adds up"
            )
        return promised
    refusals.check_origins(config, data.report["splits"], report.say)
    found = promise_of(config, task, data.splits["train"], total_steps)
    if config.privacy.dp_seed is None:
        secret.make(folder.path)
    return found.to_json()
