"""The dry run: what a run would need and how long it would take, as text for people."""

import dataclasses
import functools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras

from lm_keras import schedules
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS, Config
from lm_keras.tasks.task import Task
from lm_keras.training import estimates
from lm_keras.training.distribution import Devices
from lm_keras.training.initial_embedding import InitialEmbedding
from lm_keras.training.known_text import KnownText
from lm_keras.training.machine import kernels
from lm_keras.training.memory import MemoryMeter, free_disk, free_memory
from lm_keras.training.timing import Speed
from lm_keras.training.weights import Origin

MIB = 2**20

CPU_ALLOCATOR = 1.5
"""What TensorFlow's allocator for CPUs takes from the system, for each byte of the tensors that live:
docs/guides/dry_run.md
"""

WIDEST_SHAPES = 90
"""Characters of a line of shapes; where there are more, each weight has a line."""

UNKNOWN = "unknown until the text is prepared; a run does that first, and Ctrl-C ends it"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A run as far as it is known before it trains.

    Attributes:
        config: its settings.
        run_dir: its folder, which need not exist, or None where none is given.
        origin: the run whose weights it begins with, or the word vectors, or None.
        devices: what it would run on.
        text: what it would learn.
        task: what it would predict of it.
        network: with its optimizer; only shapes are asked for.
        total_steps: its length, or None if that is not known yet.
        done: steps that its newest checkpoint has; 0 for a new run.
        schedules: learning rate and, where there is any, dropout; empty while `total_steps` is not known.
    """

    config: Config
    run_dir: Path | None
    origin: Origin | InitialEmbedding | None
    devices: Devices
    text: KnownText
    task: Task
    network: keras.Model
    total_steps: int | None
    done: int
    schedules: list[ScheduleCallback]

    @functools.cached_property
    def memory(self) -> estimates.Memory:
        """Return what a step holds at its peak on one replica."""
        return estimates.memory(self.network, self.task, self.config, self.devices.replicas)

    @functools.cached_property
    def flops(self) -> estimates.Flops:
        """Return the work of a step of the whole batch."""
        return estimates.flops(self.network, self.task, self.config)

    @functools.cached_property
    def parameters(self) -> int:
        """Return how many numbers are learnt."""
        return sum(layer.parameters for layer in estimates.layers(self.network))

    @property
    def fits(self) -> bool:
        """Tell whether the machine's free memory holds the estimate; on a GPU only the timing
        steps can tell.
        """
        free = free_memory()
        return self.devices.on_gpu or free is None or self._in_main_memory <= free

    @functools.cached_property
    def disk(self) -> estimates.Disk:
        """Return what the run still has to write."""
        present = len(RunFolder(self.run_dir).checkpoints().steps()) if self.run_dir else 0
        return estimates.disk(self.network, self.config, self.total_steps, self.done, present)

    @property
    def _in_main_memory(self) -> float:
        return CPU_ALLOCATOR * self.memory.peak * self.devices.replicas

    def needs(self) -> list[str]:
        """Return the lines on what the run is and what it needs."""
        return [
            *self._about(), "", *self._parameters(), "", *self._memory(), "", *self._flops(), "",
            *self._length(), "",
            *self._curves(), "", *kernels(self.config, self.devices.on_gpu, self.network.remarks),
        ]  # fmt: skip

    def _about(self) -> list[str]:
        if self.done and self.done == self.total_steps:
            state = f"finished, {self.done:,} steps"
        elif self.done:
            state = f"goes on at step {self.done:,}"
        else:
            state = "new"
        lines = [f"run        {self.run_dir or 'without --run_dir'}: {state}"]
        if self.origin:
            lines.append(f"begins     {self.origin.description}")
        given = [name for name, value in self.config.flat().items() if value != FIELDS[name].default]
        if apart := [f"--{name}" for name in given if not FIELDS[name].metadata["dry_run"]]:
            lines.append(f"left out   {', '.join(apart)}: not tried in a dry run")
        return [
            *lines,
            f"devices    {self.devices.description}",
            f"text       {self.config.data.corpus}, {self.text.bytes:,} bytes",
            f"tokens     {self._tokens()}",
            f"vocabulary {self.text.vocab_size:,} ({self.config.data.tokenizer})",
        ]

    def _tokens(self) -> str:
        if not self.text.data:
            return UNKNOWN
        stores, free = self.text.data.splits, free_memory()
        counts = ", ".join(f"{name} {store.counts.tokens:,}" for name, store in stores.items())
        size = sum(store.tokens.nbytes for store in stores.values())
        room = "" if free is None else f", {'fits into' if size < free else 'LARGER THAN'} free memory"
        return f"{counts}; {_mib(size)} MiB mapped from disk{room}"

    def _parameters(self) -> list[str]:
        rows = []
        for name, alike in _alike((layer.name, layer) for layer in estimates.layers(self.network)):
            shapes = [
                ("" if weight == name else f"{weight} ") + f"[{', '.join(map(str, shape))}]"
                for weight, shape in alike[0].shapes.items()
            ]
            short = len(", ".join(shapes)) <= WIDEST_SHAPES
            first, *others = [", ".join(shapes)] if short else shapes
            rows += [
                (name, first, sum(layer.parameters for layer in alike)),
                *(("", other, None) for other in others),
            ]
        width = max(len(shapes) for _, shapes, _ in rows)
        lines = [
            f"  {name:16} {shapes:{width}} {'' if count is None else f'{count:,}':>15}".rstrip()
            for name, shapes, count in rows
        ]
        return ["parameters", *lines, f"  {'sum':16} {'':{width}} {self.parameters:>15,}"]

    def _memory(self) -> list[str]:
        memory, learning = self.memory, self.config.learning
        rows = [
            ("weights", memory.weights, ""),
            ("optimizer slots", memory.slots, learning.optimizer),
            ("activations", memory.activations, "forward and backward, of one micro-batch"),
            ("logits", memory.logits, "with their gradient, of one micro-batch"),
            ("gradients", memory.gradients, "held at the same time"),
            ("update", memory.update, "all gradients and what the optimizer makes of them; the three above "
                "are gone by then"),
            ("sum at the peak", memory.peak, "of one replica, without TensorFlow itself, its graphs and the "
                "mapped text"),
        ]  # fmt: skip
        lines = [f"  {name:16} {_mib(size):>10}  {remark}".rstrip() for name, size, remark in rows if size]
        free = free_memory()
        if not self.devices.on_gpu and free is not None:
            little = "" if self.fits else "TOO LITTLE: "
            remark = f"{little}a process takes up to {CPU_ALLOCATOR} times the sum"
            lines.append(f"  {'free here':16} {_mib(free):>10}  {remark}")
        line = f"  {'on disk':16} {_mib(self.disk.needed):>10}  still to write, {self.disk.parts()}"
        if self.run_dir:
            room = free_disk(self.run_dir)
            line += f"; {_mib(room)} MiB are free" + ("" if self.disk.needed <= room else ", TOO LITTLE")
        lines.append(line)
        return [f"{'memory, estimated':18} {'MiB':>10}", *lines]

    def _flops(self) -> list[str]:
        flops = self.flops
        rows = [
            (name, sum(counts), (1 + estimates.BACKWARD) * flops.tokens * sum(counts))
            for name, counts in _alike(flops.forward.items())
        ]
        lines = [f"  {name:16} {count:>15,} {step:>21,}" for name, count, step in rows]
        total = sum(flops.forward.values())
        return [
            f"{'FLOPs':18} {'forward a token':>15} {'a step with backward':>21}",
            *lines,
            f"  {'update':16} {'':>15} {flops.update:>21,}",
            f"  {'sum':16} {total:>15,} {flops.step:>21,}",
        ]

    def _length(self) -> list[str]:
        batches, tokens = self.config.batches, self.flops.tokens
        rows = batches.batch_size // self.devices.replicas // batches.micro_batches
        lines = [
            f"a step     {batches.batch_size:,} rows x {batches.sequence_length:,} tokens = {tokens:,} tokens"
            f" (replicas {self.devices.replicas} x micro-batches {batches.micro_batches} x {rows:,} rows)"
        ]
        per_epoch, total = self._steps_per_epoch(), self.total_steps
        lines.append(f"an epoch   {f'{per_epoch:,} steps' if per_epoch else UNKNOWN}")
        if not total:
            return [*lines, f"the run    {batches.epochs or 1:,} epochs; steps and tokens {UNKNOWN}"]
        epochs = f"{total / per_epoch:,.2f}" if per_epoch else "an unknown number of"
        ratio = total * tokens / self.parameters
        lines.append(
            f"the run    {total:,} steps = {epochs} epochs, {total * tokens:,} tokens, {ratio:,.2f} tokens a"
            " parameter"
        )
        return lines

    def _steps_per_epoch(self) -> int | None:
        if not self.text.data:
            return None
        return self.task.order(self.text.data.splits["train"]).steps_per_epoch

    def _curves(self) -> list[str]:
        total, learning = self.total_steps, self.config.learning
        if not total:
            return [f"schedules  {UNKNOWN}"]
        _, settings = schedules.parse(learning.learning_rate_schedule)
        warmup = int(settings.get("warmup", learning.warmup_steps))
        points = {"start": 0, "middle": total // 2, "end": total - 1}
        if 0 < warmup < total:
            points = {"start": 0, "warm-up ends": warmup - 1, **points}
        named = " ".join(f"{name:>14}" for name in points)
        steps = " ".join(f"{step:>14,}" for step in points.values())
        lines = [f"{'schedules':18} {named}", f"  {'step':16} {steps}"]
        for schedule in self.schedules:
            values = " ".join(f"{schedule.table(step, 1)[0]:>14.4g}" for step in points.values())
            lines.append(f"  {schedule.name.replace('_', ' '):16} {values}")
        if schedules.plateau_of(learning.learning_rate_schedule):
            lines.append("  the learning rate also falls when validation stops improving (plateau)")
        return lines

    def takes(self, speed: Speed, meter: MemoryMeter, product: float) -> list[str]:
        """Return the lines on how long the run takes, from the timing steps.

        Args:
            speed: of the timing steps.
            meter: made before the network of the timing steps was.
            product: FLOPs a second that large matrix products reach here.
        """
        per_step = speed.seconds_per_step
        reached = self.flops.step / per_step
        peak, before = meter.peak(), meter.before
        lines = [
            (
                f"timing     {speed.steps:,} steps, {1000 * per_step:,.1f} ms each,"
                f" {self.flops.tokens / per_step:,.0f} tokens/s; the first took"
                f" {_duration(speed.compile_seconds)}, compiling included"
            ),
            (
                f"           {reached / 1e9:,.1f} GFLOP/s, {reached / product:.0%} of what large products"
                f" reach here ({product / 1e9:,.1f})"
            ),
        ]
        if peak is not None:
            where = "on the first GPU" if self.devices.on_gpu else "of this process"
            lines.append(
                f"           memory {where}: {_mib(before + peak)} MiB, {_mib(peak)} of it for the network"
                " and its step"
            )
        if not self.total_steps:
            return [*lines, f"time       {UNKNOWN}"]
        left = self.total_steps - self.done
        training = left * per_step
        total, parts = training, f"{left:,} steps {_duration(training)}"
        if left and self.text.data and (evaluating := self._evaluating(reached)):
            total += evaluating
            parts += f", evaluation {_duration(evaluating)} as its FLOPs say"
        return [*lines, f"time left  about {_duration(total)}: {parts}"]

    def _evaluating(self, flops_per_second: float) -> float:
        """Return the seconds that evaluations will take, if they reach as many FLOPs a second as training."""
        held_out = {n: s.counts.tokens for n, s in self.text.data.splits.items() if n != "train"}
        every, total = self.config.running.evaluation_interval(self.total_steps), self.total_steps
        evaluations = -(-total // every) - self.done // every
        tokens = held_out.get("valid", 0) * evaluations + held_out.get("test", 0)
        return tokens * sum(self.flops.forward.values()) / flops_per_second


def _alike(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, list]]:
    """Put neighbours that differ in the number at the end of their name only, and not in size, under one
    name.

    Example:
        >>> _alike([("embedding", 7), ("block_0", 5), ("block_1", 5), ("block_2", 5), ("output", 7)])
        [('embedding', [7]), ('block_0 to 2', [5, 5, 5]), ('output', [7])]
    """
    groups: list[tuple[str, list]] = []
    before = None
    for name, value in pairs:
        stem, _, number = name.rpartition("_")
        kind = (stem, getattr(value, "shapes", value)) if number.isdecimal() else None
        if kind is not None and kind == before:
            title, values = groups[-1]
            groups[-1] = (f"{title.split(' to ')[0]} to {number}", [*values, value])
        else:
            groups.append((name, [value]))
        before = kind
    return groups


def _mib(size: float) -> str:
    return f"{size / MIB:,.1f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = math.ceil(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60:,} h {minutes % 60:02d} min"
