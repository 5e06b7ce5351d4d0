"""The objects of one run, from its first step or a checkpoint to its results; `runner.py` decides that it may
begin.
"""

import functools
import math
from collections.abc import Mapping

import keras

from lm_keras import callbacks
from lm_keras.answers import answer_for
from lm_keras.answers.answer import Answer
from lm_keras.callbacks.tensorboard import forget_after
from lm_keras.checkpoints.records import append_lines, truncate_lines_after
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import Checkpoints, understood
from lm_keras.config import Config
from lm_keras.data.preparation import PreparedData
from lm_keras.data.store import TokenStore
from lm_keras.errors import InputError
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.evaluation.predictions import Predictions
from lm_keras.objectives.measures import MEASURES
from lm_keras.privacy.private_step import private_of
from lm_keras.registry import SCORES, TASKS
from lm_keras.tasks.task import Task
from lm_keras.training import distribution, environment, label_results, report, watchers
from lm_keras.training.building import network, schedule_callbacks, token_noise
from lm_keras.training.chat_results import ChatResults
from lm_keras.training.initial_embedding import InitialEmbedding
from lm_keras.training.pair_results import PairResults
from lm_keras.training.trainer import Learner, Trainer
from lm_keras.training.weights import Origin, all_damaged, restore_for_reading


class Run:
    """The objects of one run."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        devices: distribution.Devices,
        data: PreparedData,
        task: Task,
        total_steps: int,
        origin: Origin | InitialEmbedding | None,
    ):
        self.config, self.folder, self.data, self.total_steps = config, folder, data, total_steps
        self.task, self.devices, self.origin, self.workers = task, devices, origin, devices.workers
        with devices.strategy.scope():
            self.model = network(config, task.network_vocab_size, task.outputs)
        self.evaluator = Evaluator(self.model, task)
        self.validated: dict | None = None
        self.predictions: dict[str, Predictions] = {}
        kinds = {"pairs": PairResults, "messages": ChatResults}
        made = [kind(self) for name, kind in kinds.items() if getattr(TASKS[task.name], name)]
        self.generated: PairResults | ChatResults | None = made[0] if made else None
        self.progress = callbacks.Progress(total_steps)
        noise = token_noise(config.learning, data) if config.learning.token_noise else None
        self.private = private_of(folder, config, devices.replicas)
        learnt = self.private.task(task, data.splits["train"]) if self.private else task
        self.trainer = Trainer(
            Learner(self.model, learnt, noise, self.private),
            devices,
            self.private.config if self.private else config,
            data.splits["train"],
            total_steps,
            self._validate if "valid" in data.splits else None,
            self.progress.say if self.workers.chief else report.say,
        )
        self.checkpoints = folder.checkpoints(config.running.keep_checkpoints, report.say)
        self.eval_every = config.running.evaluation_interval(total_steps)
        self.checkpoint_every = config.running.checkpoint_interval(total_steps)
        self.saving = callbacks.Checkpoint(
            self.checkpoints if self.workers.chief else None,
            self.checkpoint_every,
            self.trainer.tensors,
            self.trainer.progress,
            self.judged_by,
        )
        # Not `count_params`, which also counts the rates and seeds of dropout layers.
        self.parameters = sum(math.prod(variable.shape) for variable in self.model.trainable_variables)
        model = [config.model.model, f"{self.parameters:,} parameters", *self.model.remarks]
        report.say(f"model: {', '.join(model)}; {total_steps:,} steps")
        for line in self.private.lines if self.private else ():
            report.say(line)

    @property
    def judged_by(self) -> tuple[str, str]:
        """Return the measure that decides which weights are the best, by its name in the logs, and
        which way.
        """
        name, better = self.task.judged_by
        return ("loss" if name == MEASURES["loss"].evaluated else name), better

    @functools.cached_property
    def answer(self) -> Answer:
        """Return what turns the network into text."""
        return answer_for(self.task, self.model, self.data.tokenizer)

    def execute(self) -> int:
        """Train from the newest checkpoint to the end; return the exit code."""
        self._restore()
        if self.trainer.step < self.total_steps:
            try:
                self.trainer.train(self._callbacks(), self.eval_every, self.config.running.log_every)
            finally:
                self.progress.end_line()
            if self.trainer.step < self.total_steps and not self.trainer.signal:
                report.say(
                    f"stopped early at step {self.trainer.step:,} of {self.total_steps:,}: validation no"
                    " longer improves, or another callback asked for it; raise --early_stopping_evals to"
                    " go on"
                )
        if self.trainer.signal:
            report.say(
                f"stopped at step {self.trainer.step:,}, everything is saved; the same command goes on from"
                " there"
            )
            return 128 + self.trainer.signal
        if self.workers.chief:
            results = self._results()
            self.folder.check_in_place()
            self.folder.write_results(results)
            report.show(self.folder.path, results, self.task.name)
        return 0

    def _restore(self) -> None:
        """Go on from the newest checkpoint that the chief finds whole, or begin."""
        step = None
        with self.workers.together():
            if self.workers.chief:
                self.folder.hold_checkpoints()  # First: nothing is cut off where no checkpoints can be read.
                step = newest(self.checkpoints)
                self._prepare_to_write(step or 0)
        (step,) = self.workers.from_chief(step)
        if step is not None:
            with self.workers.together():
                self._read(int(step))
        elif self.origin:
            self._begin_with(self.origin)

    def _prepare_to_write(self, step: int) -> None:
        """Forget what was written after a step, and write down on what the run goes on."""
        if not step and (self.folder.path / "metrics.jsonl").exists():
            report.say(f"{self.checkpoints.folder} holds no checkpoint: the run begins again at step 0")
        for name in ("metrics.jsonl", "samples.jsonl"):
            truncate_lines_after(self.folder.path / name, step)
        forget_after(self.folder.path / "events", step)
        described, launches = self.devices.description, self.folder.launches
        if launches and launches[-1]["devices"] != described:
            report.say(f"the run goes on with {described}; before it had {launches[-1]['devices']}")
        self.folder.add_launch(environment.of_this_process(described, step))

    def _read(self, step: int) -> None:
        self._read_tensors(step)
        progress = self.checkpoints.progress(step)
        with understood(step):
            self.saving.restore(progress["callbacks"][type(self.saving).__name__])
        self.trainer.restore(step, progress)
        report.say(f"going on from step {step:,} of {self.total_steps:,}")

    def _begin_with(self, origin: Origin | InitialEmbedding) -> None:
        """Take over weights, in all workers those of the same step: a run that trains may replace them at any
        time.
        """
        workers = self.workers
        with workers.together():
            if isinstance(origin, InitialEmbedding):
                origin.copy_to(self.model)
            elif workers.chief:
                origin = origin.copy_to(self.model, labels=self.task.labels)
        if isinstance(origin, Origin):
            (step,) = workers.from_chief(origin.step)
            with workers.together():
                if not workers.chief:
                    origin = origin.copy_to(self.model, int(step), self.task.labels)
        report.say(f"beginning {origin.description}")

    def _read_tensors(self, step: int) -> None:
        """Read weights, slots and state of a checkpoint.

        Raises:
            InputError: it does not fit, perhaps because of slots that another version of an optimizer had.
        """
        tensors = self.trainer.tensors()
        try:
            self.checkpoints.restore(step, tensors)
        except InputError:
            self.checkpoints.restore(step, {"model": tensors["model"]}, everything=False)
            raise InputError(
                f"the checkpoint of step {step:,} was written by another version of lm_keras, in which"
                f" --optimizer={self.config.learning.optimizer} treated some weights in another way; go on"
                " with that version, or begin a new run with --init_from this one"
            ) from None

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        """Return the callbacks in the order in which they are called."""
        watching = watchers.made(self, self.workers.chief)
        return [*schedule_callbacks(self.config, self.total_steps), *watching, self.saving]

    @functools.cached_property
    def tensorboard(self) -> callbacks.TensorBoard:
        """Return the callback that writes curves, samples and histograms; the chief has one."""
        flags = (self.folder.path / "flags.txt").read_text(encoding="utf-8")
        if self.private:
            flags += f"# {self.private.guarantee.line}\n"
        every = self.config.running.log_every
        return callbacks.TensorBoard(self.folder.path / "events", every, flags, self.config.flat())

    def show_samples(self, step: int, samples: dict[str, str]) -> None:
        """Write samples, prompt -> text, to TensorBoard and samples.jsonl."""
        self.tensorboard.text(step, samples)
        lines = [
            {
                "step": step,
                "prompt": prompt,
                "text": text,
                **({"filled": True} if self.answer.fills(prompt) else {}),
            }
            for prompt, text in samples.items()
        ]
        append_lines(self.folder.path / "samples.jsonl", lines)

    def _validate(self, step: int) -> dict:
        """Score the validation text in the chief, and tell the others how it came out."""
        if self.workers.chief:
            self.validated = self._evaluated("valid", self.data.splits["valid"], step)
            if self.generated:
                self.validated |= self.generated.of_sample()
        found = self.validated or dict.fromkeys(SCORES)
        told = dict(zip(SCORES, self.workers.from_chief(*(found.get(name) for name in SCORES))))
        return {name: told.get(name, value) for name, value in found.items()}

    def _scored(self, split: str, store: TokenStore, step: int) -> dict:
        if split == "valid" and self.validated and self.validated["step"] == step:
            return self.validated
        return self._evaluated(split, store, step)

    def _evaluated(self, split: str, store: TokenStore, step: int) -> dict:
        """Score a split; with labels every prediction is kept."""
        sums = self.evaluator.sums(store)
        if self.task.labels is not None:
            self.predictions[split] = Predictions.of(sums, self.task.labels.names)
        return self.evaluator.measured(sums, store, split, step)

    def _results(self) -> dict:
        step = self.trainer.step
        held_out = {name: store for name, store in self.data.splits.items() if name != "train"}
        results = {
            "step": step,
            "parameters": self.parameters,
            "seconds": self.trainer.seconds,
            "saving_seconds": self.saving.seconds,
            "best_step": self.checkpoints.best(),
            "left_out": self.trainer.left_out,
            **({"privacy": self.private.guarantee.reported()} if self.private else {}),
            "splits": {name: self._scored(name, store, step) for name, store in held_out.items()},
        }
        if self.generated:
            for split, details in self.generated.of_splits().items():
                results["splits"][split] = {**results["splits"][split], **details}
            return {**results, "texts": self.generated.texts()}
        if self.task.labels is None:
            return {**results, "sample": self._sample()}
        label_results.write_predictions(self.folder, self.data, self.predictions)
        for split, details in label_results.details_of(self.task, self.data, self.predictions).items():
            results["splits"][split] = {**results["splits"][split], **details}
        best = self._best_results(held_out) if results["best_step"] not in (None, step) else {}
        texts = label_results.texts_of(self.task, self.data, self.predictions)
        return {**results, **best, "texts": texts}

    def _best_results(self, held_out: Mapping[str, TokenStore]) -> dict:
        """Return `best`: what the best weights reach on some splits; with labels the last ones are often
        worse.
        """
        model, step = restore_for_reading(self.folder, "best", report.say)
        evaluator, names, splits, found = Evaluator(model, self.task), self.task.labels.names, {}, {}
        for split, store in held_out.items():
            sums = evaluator.sums(store)
            splits[split] = evaluator.measured(sums, store, split, step)
            found[split] = Predictions.of(sums, names)
        for split, scores in label_results.scores_of(self.task, found).items():
            splits[split]["scores"] = scores
        return {"best": {"step": step, "splits": splits}}

    def _sample(self) -> dict:
        """Return a text of the network, and how it was sampled."""
        prompt = self.config.running.sample_prompt.split("|")[0]
        settings = {"max_new_tokens": 200, "temperature": 0.8, "seed": 1}
        return {
            "prompt": prompt,
            "text": self.answer.generate([prompt], **settings, long_prompt="keep_end")[0],
            **settings,
            **({"filled": True} if self.answer.fills(prompt) else {}),
        }


def newest(checkpoints: Checkpoints) -> int | None:
    """Return the step of the newest checkpoint that is whole, or None where there is none at all."""
    step = checkpoints.newest()
    if step is None and checkpoints.steps():
        raise all_damaged(checkpoints)
    return step
