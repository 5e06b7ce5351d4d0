"""How this machine computes fastest: number formats, what XLA compiles, replicas; and how fast large products
are.
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.registry import JIT_OF_PARTS, WITH_LABELS
from lm_keras.surroundings import usable_cores
from lm_keras.training.distribution import Devices, can_split_cpu, cluster_of

CPU_FLAGS = {
    "bfloat16": ({"amx_bf16"}, {"bf16"}, {"AuthenticAMD", "avx512_bf16"}),
    "float16": ({"avx512_fp16"}, {"amx_fp16"}),
}
"""Sets of words in /proc/cpuinfo; one whole set means that products of a short number format are not slower
than in float32.

An Intel processor with avx512_bf16 and without amx_bf16 multiplies bfloat16 at 0.56 to 0.74 times the rate of
float32 (large matrices, TensorFlow 2.21).
"""


def fast_types(on_gpu: bool) -> set[str]:
    """Return the short number formats that this machine multiplies at least as fast as float32."""
    if on_gpu:
        gpu = tf.config.list_physical_devices("GPU")[0]
        capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
        return {"float16"} if capability < (8, 0) else {"float16", "bfloat16"}
    path = Path("/proc/cpuinfo")
    words = set(path.read_text(encoding="utf-8").split()) if path.exists() else set()
    return {name for name, sets in CPU_FLAGS.items() if any(flags <= words for flags in sets)}


def chosen_precision() -> str:
    """Return what `--precision=auto` stands for on this machine."""
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return "mixed_bfloat16" if "bfloat16" in fast_types(on_gpu) else "float32"


def with_precision(config: Config, begun: Config | None = None) -> Config:
    """Put what `--precision=auto` stands for into settings: what a run was begun with, else what this machine
    does.
    """
    if config.learning.precision != "auto":
        return config
    precision = begun.learning.precision if begun else chosen_precision()
    return dataclasses.replace(config, learning=dataclasses.replace(config.learning, precision=precision))


def compiles_gradients(config: Config) -> bool:
    """Return whether XLA compiles all gradients of a micro-batch, products too: `--jit`, where it is auto by
    measurement.

    See `compiles_recurrence` for the recurrence alone.

    On a GPU, where each operation has to be started, it takes less than half of the time with a GPT
    (docs/guides/gpu.md), and XLA has no LSTM of cuDNN. On a CPU a GPT's products in float32 are faster in XLA
    than outside of it where they are small, and as fast where they are large; those in bfloat16, and other
    networks, are slower (docs/results/performance.md).
    """
    if config.running.jit != "auto":
        return config.running.jit == "on"
    if tf.config.list_physical_devices("GPU"):
        return not config.model.has("recurrence")
    return config.model.has("xla_on_cpu") and config.learning.precision == "float32"


MOST_UNITS = {"float32": (128, 384), "mixed_bfloat16": (128, 128)}
"""Widest LSTM, by precision, whose step takes less time with its recurrence compiled, in one group of rows
and in two. Of wider ones TensorFlow's own products are faster than XLA's.
"""


MOST_LOGITS = 2**21
"""Most logits of a step whose loss takes less time with what is between its products compiled, in float32;
bfloat16 was not measured. Those of each of two groups of rows are then about what the cache of a core holds.
"""


MOST_UNITS_IN_TWO = 128
"""Widest LSTM of one layer whose step takes less time with two replicas on a CPU, in float32; a wider one
gains nothing.
"""

LEAST_LOGITS_IN_TWO = 1_000_000
"""Fewest logits of such a step, about what the article's listing has, whose time two replicas bring to 0.89;
with 65 characters instead of 1,000 tokens they make it longer.
"""


def with_replicas(config: Config, begun: Config | None = None) -> Config:
    """Put the number of replicas into settings without `--replicas`, on a CPU: what a run was begun with,
    else two where that pays by measurement (docs/results/performance.md), as settings and cores say.

    Args:
        config: the settings, their precision chosen.
        begun: those of the run that goes on, if there is one.
    """
    running = config.running
    if running.replicas or running.strategy != "auto" or cluster_of(config):
        return config
    if tf.config.list_physical_devices("GPU"):
        return config
    wanted = begun.running.replicas if begun else 2 if _pays_in_two(config) else None
    if not wanted or not can_split_cpu(wanted):
        return config
    return dataclasses.replace(config, running=dataclasses.replace(running, replicas=wanted))


def _pays_in_two(config: Config) -> bool:
    """Return whether a step takes less time with two replicas, one core each."""
    model, batches = config.model, config.batches
    if not model.has("recurrence") or config.task in WITH_LABELS or usable_cores() < 2:
        return False
    narrow = model.num_layers == 1 and model.units <= MOST_UNITS_IN_TWO and _few_logits(config)
    halves = batches.micro_batches == 1 and batches.batch_size % 2 == 0
    logits = (
        batches.batch_size * batches.sequence_length * (config.data.tokenizer_settings()["vocab_size"] or 0)
    )
    return narrow and halves and logits >= LEAST_LOGITS_IN_TWO


def with_jit(config: Config, begun: Config | None = None) -> Config:
    """Put `recurrence` or `parts` into settings with `--jit=auto` where that pays: what a run was begun with,
    else by measurement.

    It belongs to the run since its numbers differ in their last digits. A run without it, such as one of an
    earlier version, goes on without it.

    Args:
        config: the settings, their precision chosen.
        begun: those of the run that goes on, if there is one.
    """
    if config.running.jit != "auto":
        return config
    jit = "auto"
    if begun:
        if begun.running.jit in JIT_OF_PARTS and config.model.has("recurrence"):
            jit = begun.running.jit
    elif compiles_recurrence(config):
        jit = "parts" if _few_logits(config) else "recurrence"
    return dataclasses.replace(config, running=dataclasses.replace(config.running, jit=jit))


def compiles_recurrence(config: Config) -> bool:
    """Return whether a step takes less time with the recurrence compiled, as measured on two cores
    (docs/results/performance.md).
    """
    batches, replicas = config.batches, config.running.replicas or 1
    if not config.model.has("recurrence") or batches.sequence_length == 1:
        return False
    if tf.config.list_physical_devices("GPU"):
        return False
    alone = replicas == 1 and cluster_of(config) is None
    even = batches.batch_size // batches.micro_batches % 2 == 0
    grouped = alone and (even or config.model.bidirectional)
    most = MOST_UNITS.get(config.learning.precision, (0, 0))
    return config.model.units <= most[grouped]


def _few_logits(config: Config) -> bool:
    """Return whether a step in float32 has at most `MOST_LOGITS`, as far as that is known before a text is
    read.
    """
    data, batches = config.data, config.batches
    if config.learning.precision != "float32":
        return False
    vocab_size = data.tokenizer_settings()["vocab_size"]
    if config.task in WITH_LABELS or data.tokenizer in ("char", "byte"):
        return True
    rows = batches.batch_size // batches.micro_batches // (config.running.replicas or 1)
    return vocab_size is not None and rows * batches.sequence_length * vocab_size <= MOST_LOGITS


def compiles_loss(config: Config) -> bool:
    """Return whether XLA compiles what the loss computes between its products."""
    return config.running.jit == "parts" and not tf.config.list_physical_devices("GPU")


def slow_products(precision: str, on_gpu: bool) -> str:
    """Return the number format of a precision if this machine multiplies float32 faster, else an
    empty text.
    """
    kind = precision.removeprefix("mixed_")
    return "" if kind in {"float32", *fast_types(on_gpu)} else kind


def product_flops(devices: Devices, dtype: str, seconds: float = 0.5) -> float:
    """Measure how many FLOPs a second large square matrix products reach on all devices of a run, at their
    best.
    """
    size = 8192 if devices.on_gpu else 1024
    with tf.device("/GPU:0" if devices.on_gpu else "/CPU:0"):
        a = tf.cast(tf.random.stateless_uniform([size, size], [1, 2]), dtype)
        product = tf.function(lambda: tf.matmul(a, a)[0, 0], autograph=False)
        product().numpy()
        best, began = 0.0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            start = time.perf_counter()
            product().numpy()
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best * (devices.replicas if devices.on_gpu else 1)


def kernels(config: Config, on_gpu: bool, remarks: Sequence[str]) -> list[str]:
    """Return lines for people: what computes the products of a run, and in which number format.

    Args:
        config: the settings, their precision chosen.
        on_gpu: whether GPUs do the work.
        remarks: what the network says of its kernels.
    """
    cudnn = "no: without a GPU"
    if on_gpu:
        cudnn = ", ".join(remarks) or f"no: --model={config.model.model} has no recurrence"
    return [
        f"cuDNN      {cudnn}",
        f"XLA        {_compiled(config, on_gpu)}",
        f"precision  {_precision(config.learning.precision, on_gpu)}",
    ]


def _compiled(config: Config, on_gpu: bool) -> str:
    jit = config.running.jit
    if jit in JIT_OF_PARTS:
        if on_gpu:
            return f"no: --jit={jit} is for a CPU"
        return f"yes, for the {JIT_OF_PARTS[jit]}: with few units it pays; --jit=off compiles less"
    if compiles_gradients(config):
        if jit == "auto":
            return (
                "yes, for the gradients of a micro-batch: with such a network it pays; --jit=off compiles"
                " less"
            )
        return "yes, for the gradients of a micro-batch; compiling takes long for long rows"
    if jit == "off":
        return "no: --jit=off"
    return "no: it costs such a network more than it saves (docs/results/performance.md); --jit=on tries it"


def _precision(precision: str, on_gpu: bool) -> str:
    if precision == "float32":
        hint = "; --precision=mixed_bfloat16 may be faster, this hardware multiplies it"
        return "float32 throughout" + ("" if slow_products("mixed_bfloat16", on_gpu) else hint)
    if kind := slow_products(precision, on_gpu):
        return (
            f"products in {kind}, WHICH THIS HARDWARE MULTIPLIES MORE SLOWLY than float32:"
            " --precision=float32 will be faster"
        )
    kind = precision.removeprefix("mixed_")
    return f"products in {kind}, which this hardware multiplies; weights, sums and state in float32"
