"""Where settings become a run: corpus, tokenizer, data, model, trainer and callbacks are joined here and only here."""

import contextlib
import dataclasses
import json
import math

import keras
import numpy as np
import tensorflow as tf

from lm_keras import callbacks, flags, optimizers, schedules
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.callbacks.tensorboard import forget_after
from lm_keras.checkpoints.run_folder import RunFolder, append_lines, differences, truncate_lines_after
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.config import Config, LearningConfig, RunOptions, profiled_steps
from lm_keras.data import order as orders
from lm_keras.data.store import PreparedData, TokenStore, prepare
from lm_keras.errors import InputError
from lm_keras.layers import TokenNoise
from lm_keras.models import FAMILIES
from lm_keras.sampling.generate import Sampler
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.training import (
    distribution,
    environment,
    estimates,
    known_text,
    machine,
    preflight,
    report,
    trial,
)
from lm_keras.training.evaluation import Evaluator
from lm_keras.training.trainer import Trainer
from lm_keras.training.weights import Origin, all_damaged
from lm_keras.training.workers import Cluster


def train(config: Config, options: RunOptions) -> int:
    """Carry out a run, or go on with it, and print its results.

    Returns:
        The exit code: 0 done, 130 or 143 stopped by SIGINT or SIGTERM with everything saved.

    Raises:
        InputError: for everything that a user can get wrong; what was there before stays as it was.
    """
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
    report.say(f"the run in {folder.path} is finished; this is what it reached")
    report.show(folder.path, results)
    return True


def _carry_out_together(config: Config, options: RunOptions, folder: RunFolder, cluster: Cluster) -> int:
    """Carry out a run as one of several workers; all of them use the same folder, and the chief alone writes."""
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
        workers.meet()  # Nobody leaves before the chief has written everything.
        return code


def _carry_out(config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices) -> int:
    workers = devices.workers
    with workers.together():
        if workers.chief:
            origin, data, total_steps = _begun(config, options, folder, devices)
    same = workers.check_same(_common(config, folder))
    with workers.together():
        if not workers.chief:
            origin, data, total_steps = _joined(config, folder, same)
    with _enough_memory():
        return _Run(config, folder, devices, data, total_steps, origin).carry_out()


def _begun(
    config: Config, options: RunOptions, folder: RunFolder, devices: distribution.Devices
) -> tuple[Origin | None, PreparedData, int]:
    """Prepare the text and write down what the run is."""
    origin = Origin.of(config, folder, report.say)
    data = prepare(config.data, _tokenizer(folder, origin), report.say, needs_blank=config.needs_blank)
    _check_data(config, data)
    total_steps = _total_steps(config, data)
    there_is = None if devices.on_gpu else machine.total_memory()
    preflight.check_memory(config, data.tokenizer.vocab_size, devices.replicas, there_is)
    _check_space(folder, config, data, total_steps)
    _begin(folder, config, options, data, total_steps)
    return origin, data, total_steps


def _common(config: Config, folder: RunFolder) -> bytes:
    """Return what all workers have to have in common: the settings, and what the chief wrote down of the run."""
    settings = {name: value for name, value in config.flat().items() if name != "cache_dir"}
    data = folder.path / "data.json"
    return json.dumps(
        [settings, data.read_text(encoding="utf-8") if data.exists() else "", folder.identity]
    ).encode()


def _joined(config: Config, folder: RunFolder, same: bool) -> tuple[Origin | None, PreparedData, int]:
    """Prepare the text with the tokenizer of a run that the chief has begun."""
    if not folder.exists:
        raise InputError(
            f"--run_dir={folder.path} holds no run here, although the chief has begun one; all workers need the same "
            "folder, on a file system that they share"
        )
    if not same:
        changed = differences(folder.config(), config, ()) or ["the folders are not the same"]
        raise InputError(
            f"this worker and the chief have other settings for --run_dir={folder.path}: {'; '.join(changed)}. "
            "Start all workers with the same flags and the same folder"
        )
    data = prepare(config.data, folder.tokenizer(), report.say)
    total_steps = _total_steps(config, data)
    _check_same_run(folder, data, total_steps)
    return Origin.of(config, folder, report.say), data, total_steps


def _dry_run(config: Config, folder: RunFolder | None) -> int:
    """Print what a run would need and how long it would take; nothing but the token cache is written.

    The run may be training meanwhile: its folder is only read, and not locked. It need not have one yet.
    """
    if folder:
        folder.check()
    devices = _devices(config, alone=True)
    if cluster := distribution.cluster_of(config):
        report.say(
            f"TF_CONFIG names {len(cluster.addresses)} workers; the figures are those of this one without the others"
        )
    origin = Origin.of(config, folder, report.say)
    tokenizer = _tokenizer(folder, origin)
    text = known_text.read_text(config.data, tokenizer, report.say, config.needs_blank)
    batches, data = config.batches, text.data
    total_steps = batches.steps
    if data:
        _check_data(config, data)
        total_steps = _total_steps(config, data)
        if folder and folder.exists:
            _check_same_run(folder, data, total_steps)
    preflight.check_memory(config, text.vocab_size, devices.replicas)
    store = text.store(batches.batch_size, batches.sequence_length)
    shapes = _shapes(config, text.vocab_size)
    done = (_newest(folder.checkpoints(warn=report.say)) if folder else None) or 0
    plan = preflight.Plan(
        config, folder.path if folder else None, origin, devices, text, shapes, total_steps, done,
        _schedules(config, total_steps) if total_steps else [],
    )  # fmt: skip
    report.write(plan.needs())
    if not plan.fits:
        report.write(["trial      none: the memory that is free is not enough for the estimate"])
        return 0
    meter = machine.MemoryMeter(devices)
    with _enough_memory():
        with devices.strategy.scope():
            network = _network(config, text.vocab_size)
        trainer = Trainer(network, devices.strategy, config, store, trial.STEPS, None)
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
    return devices


@contextlib.contextmanager
def _enough_memory():
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        reason = str(error).strip().split("\n")[0][:120]
        raise InputError(
            f"the memory of the device is not enough ({reason}); take a smaller --batch_size or network, "
            "or more --micro_batches"
        ) from None


def _network(config: Config, vocab_size: int) -> keras.Model:
    """Build the network with its optimizer; within the scope of a strategy they belong to it."""
    keras.utils.set_random_seed(config.batches.seed)
    model = FAMILIES[config.model.model](config, vocab_size)
    model.optimizer = optimizers.build(config.learning, model.trainable_variables)
    return model


def _shapes(config: Config, vocab_size: int) -> keras.Model:
    """Build a network of which only shapes are asked."""
    with tf.Graph().as_default():  # Where variables have shapes and take no memory.
        return _network(config, vocab_size)


def _check_space(folder: RunFolder, config: Config, data: PreparedData, total_steps: int) -> None:
    """Raise InputError if the disk cannot hold what the run will write."""
    steps, network = folder.checkpoints().steps(), _shapes(config, data.tokenizer.vocab_size)
    disk = estimates.disk(network, config, total_steps, max(steps, default=0), len(steps))
    free = machine.free_disk(folder.path)
    if free < disk.needed:
        raise InputError(
            f"the disk of --run_dir={folder.path} has {free / 2**20:,.1f} MiB free, and the run still writes "
            f"{disk.needed / 2**20:,.1f} MiB ({disk.parts()}); free space there, choose another --run_dir, or "
            f"lower --keep_checkpoints={config.running.keep_checkpoints}"
        )


def _schedules(config: Config, total_steps: int) -> list[ScheduleCallback]:
    learning = config.learning
    curve = schedules.build(learning.learning_rate_schedule, total_steps, learning.warmup_steps)
    listed: list[ScheduleCallback] = [callbacks.LearningRateSchedule(learning.learning_rate, curve)]
    if config.model.dropout:
        curve = schedules.build(learning.dropout_schedule, total_steps)
        listed.append(callbacks.DropoutSchedule(config.model.dropout, curve))
    if learning.token_noise:
        curve = schedules.build(learning.token_noise_schedule, total_steps)
        listed.append(callbacks.TokenNoiseSchedule(learning.token_noise, curve))
    return listed


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
                f"--run_dir={options.run_dir} holds checkpoints and no config.json; restore that from a copy, or choose "
                "another folder"
            )
        return folder
    if options.resume == "never":
        raise InputError(
            f"--resume=never, but --run_dir={options.run_dir} holds a run; choose another folder, or go on with --resume=auto"
        )
    changed = differences(folder.config(), config)
    if changed:
        raise InputError(
            f"--run_dir={options.run_dir} holds a run with other settings: {'; '.join(changed)}. "
            "Use the same settings to go on, or another --run_dir"
        )
    return folder


def _same_length(old: Config, new: Config) -> bool:
    names = ("steps", "epochs", "early_stopping_evals")
    before, after = old.flat(), new.flat()
    return all(before[name] == after[name] for name in names)


def _total_steps(config: Config, data: PreparedData) -> int:
    batches = config.batches
    targets = data.splits["train"].counts.tokens
    if targets < batches.sequence_length:
        raise InputError(
            f"the training text has {targets:,} tokens, fewer than one sequence of --sequence_length="
            f"{batches.sequence_length}; give more text or a smaller --sequence_length"
        )
    if batches.steps:
        return batches.steps
    order = orders.build(config.batching, targets, batches.batch_size, batches.sequence_length, batches.seed)
    return (batches.epochs or 1) * order.steps_per_epoch


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


def _begin(
    folder: RunFolder, config: Config, options: RunOptions, data: PreparedData, total_steps: int
) -> None:
    """Write down what the run is; `config.json` comes last, so that it stands for a complete folder."""
    content = {**data.report, "vocab_size": data.tokenizer.vocab_size, "total_steps": total_steps}
    if folder.exists:
        before = _check_same_run(folder, data, total_steps)
        if total_steps > before:
            report.say(
                f"the run now has {total_steps:,} steps instead of {before:,}; its schedules "
                "stretch over the new length from here on"
            )
            folder.forget_results()
    else:
        data.tokenizer.save(folder.path / "tokenizer")
    folder.write_json("data.json", content)
    settings = {**dataclasses.asdict(options), **config.flat()}
    folder.write_text("flags.txt", flags.flagfile_of(settings))
    folder.write_text("README.md", report.model_card(config, content))
    folder.write_json("config.json", config.flat())
    report.say(report.data_line(content))
    for name, counts in content["bad_text"].items():
        repaired = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items())
        report.say(f"bad text in {name}: {repaired}")


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
            f"the run in {folder.path} has {before['total_steps']:,} steps and can't be cut to {total_steps:,}; "
            "raise --steps or --epochs, or begin a new run with another --run_dir"
        )
    return before["total_steps"]


class _Run:
    """The objects of one run."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        devices: distribution.Devices,
        data: PreparedData,
        total_steps: int,
        origin: Origin | None,
    ):
        self.config, self.folder, self.data, self.total_steps = config, folder, data, total_steps
        self.devices, self.origin, self.workers = devices, origin, devices.workers
        with devices.strategy.scope():
            self.model = _network(config, data.tokenizer.vocab_size)
        self.evaluator = Evaluator(self.model, config.batching, config.batches.sequence_length)
        self.validated: dict | None = None
        self.progress = callbacks.Progress(total_steps)
        self.trainer = Trainer(
            self.model,
            devices.strategy,
            config,
            data.splits["train"],
            total_steps,
            self._validate if "valid" in data.splits else None,
            self.progress.say if self.workers.chief else report.say,
            _noise(config.learning, data) if config.learning.token_noise else None,
            self.workers,
        )
        self.checkpoints = folder.checkpoints(config.running.keep_checkpoints, report.say)
        self.saving = callbacks.Checkpoint(
            self.checkpoints if self.workers.chief else None,
            config.running.checkpoint_interval(total_steps),
            self.trainer.tensors,
            self.trainer.progress,
        )
        # Not `count_params`, which also counts the rates and seeds of dropout layers.
        parameters = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        report.say(f"model: {config.model.model}, {parameters:,} parameters; {total_steps:,} steps")

    def carry_out(self) -> int:
        """Train from the newest checkpoint to the end; return the exit code."""
        self._restore()
        if self.trainer.step < self.total_steps:
            running = self.config.running
            eval_every = running.evaluation_interval(self.total_steps)
            listed = self._callbacks(eval_every, running.checkpoint_interval(self.total_steps))
            try:
                self.trainer.train(listed, eval_every, running.log_every)
            finally:
                self.progress.end_line()
            if self.trainer.step < self.total_steps and not self.trainer.signal:
                report.say(
                    f"stopped early at step {self.trainer.step:,} of {self.total_steps:,}: validation no longer improves, or another callback "
                    "asked for it; raise --early_stopping_evals to go on"
                )
        if self.trainer.signal:
            report.say(
                f"stopped at step {self.trainer.step:,}, everything is saved; the same command goes on from there"
            )
            return 128 + self.trainer.signal
        if self.workers.chief:
            results = self._results()
            self.folder.check_in_place()
            self.folder.write_results(results)
            report.show(self.folder.path, results)
        return 0

    def _restore(self) -> None:
        """Go on from the newest checkpoint that the chief finds whole, or begin."""
        step = None
        with self.workers.together():
            if self.workers.chief:
                self.folder.hold_checkpoints()  # First: nothing is cut off where no checkpoints can be read.
                step = _newest(self.checkpoints)
                self._prepare_to_write(step or 0)
        (step,) = self.workers.from_chief(step)
        step = None if step is None else int(step)
        with self.workers.together():
            self._read(step)

    def _prepare_to_write(self, step: int) -> None:
        """Forget what was written after a step, and write down on what the run goes on."""
        if not step and (self.folder.path / "metrics.jsonl").exists():
            report.say(f"there is no checkpoint in {self.checkpoints.folder}: the run begins again at step 0")
        for name in ("metrics.jsonl", "samples.jsonl"):
            truncate_lines_after(self.folder.path / name, step)
        forget_after(self.folder.path / "events", step)
        described, lives = self.devices.description, self.folder.lives
        if lives and lives[-1]["devices"] != described:
            report.say(f"the run goes on with {described}; before it had {lives[-1]['devices']}")
        self.folder.add_life(environment.of_this_process(described, step))

    def _read(self, step: int | None) -> None:
        if step is not None:
            self.checkpoints.restore(step, self.trainer.tensors())
            progress = self.checkpoints.progress(step)
            self.saving.restore(progress["callbacks"][type(self.saving).__name__])
            self.trainer.restore(step, progress)
            report.say(f"going on from step {step:,} of {self.total_steps:,}")
        elif self.origin:
            self.origin.give(self.model)
            report.say(
                f"beginning with the weights of {self.origin.folder.path} at step {self.origin.step:,}"
            )

    def _callbacks(self, eval_every: int, checkpoint_every: int) -> list[keras.callbacks.Callback]:
        """Return the callbacks: those that decide something in every worker, those that write in the chief."""
        chief = self.workers.chief
        return [
            *self._deciding(),
            *(self._writing(eval_every, checkpoint_every) if chief else []),
            self.saving,
        ]

    def _deciding(self) -> list[keras.callbacks.Callback]:
        learning = self.config.learning
        listed: list[keras.callbacks.Callback] = [*_schedules(self.config, self.total_steps)]
        if plateau := schedules.plateau_of(learning.learning_rate_schedule):
            listed.append(callbacks.PlateauDecay(plateau, learning.learning_rate))
        if learning.early_stopping_evals:
            listed.append(callbacks.EarlyStopping(learning.early_stopping_evals))
        return listed

    def _writing(self, eval_every: int, checkpoint_every: int) -> list[keras.callbacks.Callback]:
        config, path = self.config, self.folder.path
        running = config.running
        self.tensorboard = callbacks.TensorBoard(
            path / "events",
            running.log_every,
            (path / "flags.txt").read_text(encoding="utf-8"),
            config.flat(),
        )
        listed: list[keras.callbacks.Callback] = [
            _InPlace(self.folder),
        ]
        if steps := profiled_steps(running.profile_steps):
            listed.append(callbacks.Profile(path / "events" / "train", *steps, self.progress.say))
        listed += [
            callbacks.MetricsFile(path / "metrics.jsonl", running.log_every),
            self.tensorboard,
            callbacks.TextSamples(
                self.data.tokenizer,
                running.sample_prompt.split("|"),
                running.sample_every or eval_every,
                self._show_samples,
            ),
            self.progress,
        ]
        if running.histogram_every:
            listed.append(callbacks.Histograms(running.histogram_every, self.tensorboard.histograms))
        if running.projector:
            tokens = self.data.splits["train"].tokens[1:]
            listed.append(
                callbacks.Projector(path / "events" / "train", self.data.tokenizer, tokens, checkpoint_every)
            )
        return listed

    def _show_samples(self, step: int, samples: dict[str, str]) -> None:
        self.tensorboard.text(step, samples)
        lines = [{"step": step, "prompt": prompt, "text": text} for prompt, text in samples.items()]
        append_lines(self.folder.path / "samples.jsonl", lines)

    def _validate(self, step: int) -> dict:
        """Score the validation text in the chief, and tell the others how it came out."""
        names = ("nats_per_token", "accuracy", "perplexity", "bits_per_byte")
        if self.workers.chief:
            self.validated = self.evaluator(self.data.splits["valid"], "valid", step)
        found = self.validated or {}
        told = dict(zip(names, self.workers.from_chief(*(found.get(name) for name in names))))
        return {**found, **told}

    def _scored(self, split: str, store: TokenStore, step: int) -> dict:
        if split == "valid" and self.validated and self.validated["step"] == step:
            return self.validated
        return self.evaluator(store, split, step)

    def _results(self) -> dict:
        step = self.trainer.step
        held_out = {name: store for name, store in self.data.splits.items() if name != "train"}
        prompt = self.config.running.sample_prompt.split("|")[0]
        settings = {"max_new_tokens": 200, "temperature": 0.8, "seed": 1}
        return {
            "step": step,
            "seconds": self.trainer.seconds,
            "saving_seconds": self.saving.seconds,
            "best_step": self.checkpoints.best(),
            "left_out": self.trainer.left_out,
            "splits": {name: self._scored(name, store, step) for name, store in held_out.items()},
            "sample": {
                "prompt": prompt,
                "text": Sampler(self.model, self.data.tokenizer).generate([prompt], **settings)[0],
                **settings,
            },
        }


class _InPlace(keras.callbacks.Callback):
    """Ends a run whose folder is no longer in its place, before any other callback writes to it."""

    def __init__(self, folder: RunFolder):
        super().__init__()
        self._folder = folder

    def on_test_end(self, logs=None):
        self._folder.check_in_place()

    def on_train_batch_end(self, batch, logs=None):
        self._folder.check_in_place()

    def on_train_end(self, logs=None):
        self._folder.check_in_place()


def _noise(learning: LearningConfig, data: PreparedData) -> TokenNoise:
    vocab_size = data.tokenizer.vocab_size
    if learning.token_noise_kind == "unigram":
        return TokenNoise(learning.token_noise, data.splits["train"].frequencies(vocab_size))
    return TokenNoise(learning.token_noise, np.arange(vocab_size) == data.tokenizer.blank_id)


def _newest(checkpoints: Checkpoints) -> int | None:
    """Return the step of the newest checkpoint that is whole, or None where there is none at all."""
    step = checkpoints.newest()
    if step is None and checkpoints.steps():
        raise all_damaged(checkpoints)
    return step
