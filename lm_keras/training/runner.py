"""Where settings become a run: corpus, tokenizer, data, model, trainer and callbacks are joined here and only here."""

import contextlib
import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf

from lm_keras import callbacks, flags, optimizers, schedules
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.callbacks.tensorboard import forget_after
from lm_keras.checkpoints.run_folder import RunFolder, differences, truncate_lines_after
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
    known_text,
    machine,
    preflight,
    report,
    trial,
)
from lm_keras.training.evaluation import Evaluator
from lm_keras.training.trainer import Trainer
from lm_keras.training.weights import Origin, all_damaged


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
    with folder.writing():
        if folder.results and _same_length(folder.config(), config):
            report.say(f"the run in {folder.path} is finished; this is what it reached")
            report.show(folder.path, folder.results)
            return 0
        devices = _devices(config)
        origin = Origin.of(config, folder, report.say)
        data = prepare(config.data, _tokenizer(folder, origin), report.say)
        _check_data(config, data)
        total_steps = _total_steps(config, data)
        there_is = None if devices.on_gpu else machine.total_memory()
        preflight.check_memory(config, data.tokenizer.vocab_size, devices.replicas, there_is)
        _begin(folder, config, options, data, total_steps)
        with _enough_memory():
            return _Run(config, folder, devices, data, total_steps, origin).carry_out()


def _dry_run(config: Config, folder: RunFolder) -> int:
    """Print what a run would need and how long it would take; nothing but the token cache is written.

    The run may be training meanwhile: its folder is only read, and not locked.
    """
    folder.check()
    devices = _devices(config)
    tokenizer = _tokenizer(folder, Origin.of(config, folder, report.say))
    text = known_text.read_text(config.data, tokenizer, report.say)
    batches, data = config.batches, text.data
    total_steps = batches.steps
    if data:
        _check_data(config, data)
        total_steps = _total_steps(config, data)
        if folder.exists:
            _check_same_run(folder, data, total_steps)
    preflight.check_memory(config, text.vocab_size, devices.replicas)
    store = text.store(batches.batch_size, batches.sequence_length)
    with tf.Graph().as_default():  # Where variables have shapes and take no memory.
        shapes = _network(config, text.vocab_size)
    done = _newest(folder.checkpoints(warn=report.say)) or 0
    plan = preflight.Plan(
        config, folder.path, devices, text, shapes, total_steps, done,
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


def _tokenizer(folder: RunFolder, origin: Origin | None) -> Tokenizer | None:
    """Return the tokenizer that a run has already, or takes over with the weights that it begins with."""
    if folder.exists:
        return folder.tokenizer()
    return origin.tokenizer if origin else None


def _devices(config: Config) -> distribution.Devices:
    devices = distribution.set_up(config)
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


def _checked_folder(config: Config, options: RunOptions) -> RunFolder:
    if not options.run_dir:
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
    if learning.token_noise and learning.token_noise_kind == "blank" and data.tokenizer.blank_id is None:
        raise InputError(
            f"--token_noise_kind=blank needs a token that says nothing, and --tokenizer={data.tokenizer.name} has "
            "none; use --token_noise_kind=unigram"
        )
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
        self.devices, self.origin = devices, origin
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
            self.progress.say,
            _noise(config.learning, data) if config.learning.token_noise else None,
        )
        self.checkpoints = folder.checkpoints(config.running.keep_checkpoints, report.say)
        # Not `count_params`, which also counts the rates and seeds of dropout layers.
        parameters = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        report.say(f"model: {config.model.model}, {parameters:,} parameters; {total_steps:,} steps")

    def carry_out(self) -> int:
        """Train from the newest checkpoint to the end; return the exit code."""
        self._restore()
        self.folder.add_life(environment.of_this_process(self.devices.description, self.trainer.step))
        if self.trainer.step < self.total_steps:
            running, tenth = self.config.running, max(1, self.total_steps // 10)
            eval_every = running.evaluation_interval(self.total_steps)
            listed = self._callbacks(eval_every, running.checkpoint_every or tenth)
            self.trainer.train(listed, eval_every, running.log_every)
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
        results = self._results()
        self.folder.write_json("results.json", results)
        report.show(self.folder.path, results)
        return 0

    def _restore(self) -> None:
        folder, step = self.folder, _newest(self.checkpoints)
        for name in ("metrics.jsonl", "samples.jsonl"):
            truncate_lines_after(folder.path / name, step or 0)
        forget_after(folder.path / "events", step or 0)
        if step is not None:
            self.checkpoints.restore(step, self.trainer.tensors())
            self.trainer.restore(step, self.checkpoints.progress(step))
            report.say(f"going on from step {step:,} of {self.total_steps:,}")
        elif self.origin:
            self.origin.give(self.model)
            report.say(
                f"beginning with the weights of {self.origin.folder.path} at step {self.origin.step:,}"
            )

    def _callbacks(self, eval_every: int, checkpoint_every: int) -> list[keras.callbacks.Callback]:
        config, path = self.config, self.folder.path
        learning, running = config.learning, config.running
        self.tensorboard = callbacks.TensorBoard(
            path / "events",
            running.log_every,
            (path / "flags.txt").read_text(encoding="utf-8"),
            config.flat(),
        )
        listed: list[keras.callbacks.Callback] = [*_schedules(config, self.total_steps)]
        if steps := profiled_steps(running.profile_steps):
            listed.append(callbacks.Profile(path / "events" / "train", *steps, self.progress.say))
        if plateau := schedules.plateau_of(learning.learning_rate_schedule):
            listed.append(callbacks.PlateauDecay(plateau, learning.learning_rate))
        if learning.early_stopping_evals:
            listed.append(callbacks.EarlyStopping(learning.early_stopping_evals))
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
        listed.append(
            callbacks.Checkpoint(
                self.checkpoints, checkpoint_every, self.trainer.tensors, self.trainer.progress
            )
        )
        return listed

    def _show_samples(self, step: int, samples: dict[str, str]) -> None:
        self.tensorboard.text(step, samples)
        for prompt, continuation in samples.items():
            self.folder.append_line("samples.jsonl", {"step": step, "prompt": prompt, "text": continuation})

    def _validate(self, step: int) -> dict:
        self.validated = self.evaluator(self.data.splits["valid"], "valid", step)
        return self.validated

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
            "best_step": self.checkpoints.best(),
            "splits": {name: self._scored(name, store, step) for name, store in held_out.items()},
            "sample": {
                "prompt": prompt,
                "text": Sampler(self.model, self.data.tokenizer).generate([prompt], **settings)[0],
                **settings,
            },
        }


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
