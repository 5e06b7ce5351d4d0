"""Where settings become a run: corpus, tokenizer, data, model, trainer and callbacks are joined here and only
here.
"""

import contextlib
import dataclasses
import json

import keras
import tensorflow as tf

from lm_keras import flags, schedules
from lm_keras.checkpoints.run_folder import CHANGEABLE, RunFolder, differences, elsewhere
from lm_keras.config import FIELDS, Config, RunOptions
from lm_keras.data.preparation import PreparedData, prepare
from lm_keras.data.tokenizers import saved_tokenizer
from lm_keras.errors import InputError, reason_of
from lm_keras.registry import OF_WHOLE_TEXT, WITH_LABELS
from lm_keras.surroundings import usual_settings
from lm_keras.tasks import TASKS, task_of
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.training import (
    distribution,
    estimates,
    known_text,
    machine,
    preflight,
    rates,
    report,
    trial,
)
from lm_keras.training.given_vectors import GivenVectors
from lm_keras.training.one_run import Run, network, newest, schedule_callbacks
from lm_keras.training.trainer import Trainer
from lm_keras.training.weights import Origin
from lm_keras.training.workers import LOST, Cluster


def train(config: Config, options: RunOptions) -> int:
    """Carry out a run, or go on with it, and print its results.

    Returns:
        The exit code: 0 done, 129, 130 or 143 stopped by SIGHUP, SIGINT or SIGTERM with everything saved.

    Raises:
        InputError: for everything that a user can get wrong; what was there before stays as it was.
    """
    with usual_settings(deterministic=False):  # `distribution.set_up` has the operations be so.
        return _train(config, options)


def _train(config: Config, options: RunOptions) -> int:
    if not config.model.prediction_head and config.task not in WITH_LABELS:
        raise InputError(
            "--prediction_head=false leaves nothing to train: it is for a bert that was imported without that"
            " part; leave it out, and --init_from=FOLDER gives the imported weights a new head"
        )
    begun = RunFolder(options.run_dir) if options.run_dir else None
    before = begun.config() if begun and begun.exists else None
    config = machine.with_jit(machine.with_precision(config, before), before)
    folder = _checked_folder(config, options)
    if options.dry_run:
        return _dry_run(config, folder)
    cluster = distribution.cluster_of(config)
    if cluster and cluster.index:
        report.mute()
    if cluster:
        return _carry_out_together(config, options, folder, cluster)
    if _shown_if_finished(config, folder):
        return 0
    with folder.writing():
        return _carry_out(config, options, folder, _devices(config))


def _shown_if_finished(config: Config, folder: RunFolder) -> bool:
    """Show the results of a run that is finished, and tell whether it is."""
    results = folder.sound_results(report.say)
    if not results or not _same_length(folder.config(), config):
        return False
    if elsewhere(folder.config().flat(), config.flat()):
        return False  # Whether that text is the same is not known yet.
    report.say(f"the run in {folder.path} is finished; this is what it reached")
    report.show(folder.path, results)
    return True


def _carry_out_together(config: Config, options: RunOptions, folder: RunFolder, cluster: Cluster) -> int:
    """Carry out a run as one of several workers; all of them use the same folder, and the chief
    alone writes.
    """
    report.say_as_worker(cluster, "waiting for all to start")
    devices = _devices(config)
    workers = devices.workers
    with workers.watched(), contextlib.ExitStack() as stack:
        finished = False
        with workers.together():
            if workers.chief and not (finished := _shown_if_finished(config, folder)):
                stack.enter_context(folder.writing())
        if workers.from_chief(finished) == [True]:
            return 0
        code = _carry_out(config, options, folder, devices)
        try:
            workers.meet()  # Nobody leaves before the chief has written everything.
        except LOST:
            # Who has left already is not lost: the chief has done its work, and results are the last that it
            # writes.
            if not workers.chief and not (code == 0 and (folder.path / "results.json").exists()):
                raise
        return code


def _carry_out(config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices) -> int:
    workers = devices.workers
    with workers.together():
        if workers.chief:
            origin, data, task, total_steps = _begun(config, options, folder, devices)
    same = workers.check_same(_common(config, folder))
    with workers.together():
        if not workers.chief:
            origin, data, task, total_steps = _joined(config, folder, same)
    with _enough_memory():
        return Run(config, folder, devices, data, task, total_steps, origin).carry_out()


def _begun(
    config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices
) -> tuple[Origin | GivenVectors | None, PreparedData, Task, int]:
    """Prepare the text and write down what the run is."""
    if config.batches.steps:
        rates.check(config, config.batches.steps)
    origin = Origin.of(config, folder, report.say)
    GivenVectors.of(
        config, folder, None
    )  # What is wrong with its first line is said before the text is read.
    begun = folder.read_data() if folder.exists else None
    kind, labels = TASKS[config.task], folder.labels() if folder.exists else None
    data = prepare(
        config.data, _tokenizer(folder, origin), report.say, needs_blank=config.needs_blank, begun=begun,
        columns=kind.columns, fields=kind.fields, labels=labels,
    )  # fmt: skip
    origin = origin or GivenVectors.of(config, folder, data.tokenizer)
    _check_data(config, data)
    task = task_of(config, data.tokenizer.vocab_size, data.tokenizer, data.labels)
    task.check(data, report.say)
    total_steps = _total_steps(config, data, task)
    there_is = None if devices.on_gpu else machine.total_memory()
    preflight.check_memory(task, config, devices.replicas, there_is)
    _check_space(folder, config, task, total_steps)
    _begin(folder, config, options, data, total_steps, origin)
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
) -> tuple[Origin | GivenVectors | None, PreparedData, Task, int]:
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
    kind = TASKS[config.task]
    data = prepare(
        config.data, folder.tokenizer(), report.say, begun=folder.read_data(), columns=kind.columns,
        fields=kind.fields, labels=folder.labels(),
    )  # fmt: skip
    task = task_of(config, data.tokenizer.vocab_size, data.tokenizer, data.labels)
    total_steps = _total_steps(config, data, task)
    _check_same_run(folder, data, total_steps)
    origin = Origin.of(config, folder, report.say) or GivenVectors.of(config, folder, data.tokenizer)
    return origin, data, task, total_steps


def _dry_run(config: Config, folder: RunFolder | None) -> int:
    """Print what a run would need and how long it would take; nothing but the token cache is written.

    The run may be training meanwhile: its folder is only read, and not locked. It need not have one yet.
    """
    if folder:
        folder.check()
    if config.batches.steps:
        rates.check(config, config.batches.steps)
    devices = _devices(config, alone=True)
    if cluster := distribution.cluster_of(config):
        report.say(
            f"TF_CONFIG names {len(cluster.addresses)} workers; the figures are those of this one without the"
            " others"
        )
    origin = Origin.of(config, folder, report.say)
    tokenizer = _tokenizer(folder, origin)
    begun = folder.read_data() if folder and folder.exists else None
    kind, labels = TASKS[config.task], folder.labels() if begun else None
    text = known_text.read_text(
        config.data, tokenizer, report.say, config.needs_blank, begun, kind.columns, kind.fields, labels
    )
    batches, data = config.batches, text.data
    tokenizer = data.tokenizer if data else tokenizer
    origin = origin or GivenVectors.of(config, folder, tokenizer)
    labels = data.labels if data else None
    task, total_steps = task_of(config, text.vocab_size, tokenizer, labels), batches.steps
    if data:
        task.check(data, report.say)
        _check_data(config, data)
        total_steps = _total_steps(config, data, task)
        if folder and folder.exists:
            _check_same_run(folder, data, total_steps)
    preflight.check_memory(task, config, devices.replicas)
    store = text.store(batches.batch_size, batches.sequence_length)
    shapes = _shapes(config, task)
    done = (newest(folder.checkpoints(warn=report.say)) if folder else None) or 0
    plan = preflight.Plan(
        config, folder.path if folder else None, origin, devices, text, task, shapes, total_steps, done,
        schedule_callbacks(config, total_steps) if total_steps else [],
    )  # fmt: skip
    report.write(plan.needs())
    if not plan.fits:
        report.write(["trial      none: the memory that is free is not enough for the estimate"])
        return 0
    meter = machine.MemoryMeter(devices)
    with _enough_memory():
        with devices.strategy.scope():
            model = network(config, task.network_vocab_size, task.outputs)
        trainer = Trainer(model, task, devices.strategy, config, store, trial.STEPS, None)
        speed = trial.try_out(trainer)
    if speed is None:
        return 128 + trainer.signal
    report.write(plan.takes(speed, meter, machine.product_flops(devices, trainer.model.compute_dtype)))
    return 0


def _tokenizer(folder: RunFolder | None, origin: Origin | None) -> Tokenizer | None:
    """Return the tokenizer that a run has already, or takes over with the weights that it begins with."""
    if folder and folder.exists:
        return folder.tokenizer()
    return origin.tokenizer if origin else None


def _devices(config: Config, alone: bool = False) -> distribution.Devices:
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
def _enough_memory():
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"the memory of the device is not enough ({reason_of(error)}); take a smaller --batch_size or"
            " network, or more --micro_batches"
        ) from None


def _shapes(config: Config, task: Task) -> keras.Model:
    """Build a network of which only shapes are asked."""
    with tf.Graph().as_default():  # Where variables have shapes and take no memory.
        return network(config, task.network_vocab_size, task.outputs)


def _check_space(folder: RunFolder, config: Config, task: Task, total_steps: int) -> None:
    """Raise InputError if the disk cannot hold what the run will write."""
    steps, shapes = folder.checkpoints().steps(), _shapes(config, task)
    disk = estimates.disk(shapes, config, total_steps, max(steps, default=0), len(steps))
    free = machine.free_disk(folder.path)
    if free < disk.needed:
        raise InputError(
            f"the disk of --run_dir={folder.path} has {free / 2**20:,.1f} MiB free, and the run still writes"
            f" {disk.needed / 2**20:,.1f} MiB ({disk.parts()}); free space there, choose another --run_dir,"
            f" or lower --keep_checkpoints={config.running.keep_checkpoints}"
        )


def _checked_folder(config: Config, options: RunOptions) -> RunFolder | None:
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
    given = saved_tokenizer(config.data, config.needs_blank)
    if given and given.fingerprint() != folder.tokenizer().fingerprint():
        raise InputError(
            f"--run_dir={folder.path} holds a run with another tokenizer than"
            f" --tokenizer={config.data.tokenizer}; use the same one to go on, or another --run_dir"
        )


def _same_length(old: Config, new: Config) -> bool:
    names = [name for name, field in FIELDS.items() if field.metadata["on_resume"] == "longer"]
    before, after = old.flat(), new.flat()
    return all(before[name] == after[name] for name in names)


def _total_steps(config: Config, data: PreparedData, task: Task) -> int:
    batches = config.batches
    targets = data.splits["train"].counts.tokens
    if targets < batches.sequence_length and task.labels is None:
        raise InputError(
            f"the training text has {targets:,} tokens, fewer than one sequence of --sequence_length="
            f"{batches.sequence_length}; give more text or a smaller --sequence_length"
        )
    if batches.steps:
        return batches.steps
    total_steps = (batches.epochs or 1) * task.order(data.splits["train"]).steps_per_epoch
    rates.check(config, total_steps)
    return total_steps


def _check_data(config: Config, data: PreparedData) -> None:
    learning = config.learning
    needs = (
        [f"--early_stopping_evals={learning.early_stopping_evals}"] if learning.early_stopping_evals else []
    )
    if schedules.plateau_of(learning.learning_rate_schedule):
        needs.append(f"--learning_rate_schedule={learning.learning_rate_schedule}")
    if needs and "valid" not in data.splits:
        raise InputError(
            f"{needs[0]} needs text to validate on, and there is none; give --valid_corpus or another --split"
        )
    unknown = data.splits["valid"].counts.unknown if "valid" in data.splits else 0
    if unknown and learning.best_by in OF_WHOLE_TEXT:
        raise InputError(
            f"--best_by={learning.best_by}: {unknown:,} tokens of the text to validate on are unknown to the "
            "tokenizer, so that it has no such measure; take nats_per_token, perplexity or accuracy"
        )


def _begin(
    folder: RunFolder,
    config: Config,
    options: RunOptions,
    data: PreparedData,
    total_steps: int,
    origin: Origin | GivenVectors | None,
) -> None:
    """Write down what the run is; `config.json` comes last, so that it stands for a complete folder."""
    content = {**data.report, "vocab_size": data.tokenizer.vocab_size, "total_steps": total_steps}
    if folder.exists:
        before = _check_same_run(folder, data, total_steps)
        if total_steps > before:
            report.say(
                f"the run now has {total_steps:,} steps instead of"
                f" {before:,}{rates.jumps(config, folder, before, total_steps)}"
            )
            folder.forget_results()
    else:
        data.tokenizer.save(folder.path / "tokenizer")
        folder.write_labels(data.labels)
        if isinstance(origin, Origin):
            folder.keep_files(origin.files)
    folder.write_json("data.json", content)
    settings = {**dataclasses.asdict(options), **config.flat()}
    folder.write_text("flags.txt", flags.flagfile_of(settings))
    folder.write_text("README.md", report.model_card(config, content))
    folder.write_json("config.json", config.flat())
    report.say(report.data_line(content))


def _check_same_run(folder: RunFolder, data: PreparedData, total_steps: int) -> int:
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
