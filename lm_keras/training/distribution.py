"""Devices: which there are, and how the rows of a batch are shared among them."""

import dataclasses
import glob
import os

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
        strategy: how they share the work.
        description: their names, for people.
        warning: what is wrong with them, or an empty string.
    """

    strategy: tf.distribute.Strategy
    description: str
    warning: str

    @property
    def on_gpu(self) -> bool:
        """Tell whether GPUs do the work."""
        return ":GPU:" in self.strategy.extended.worker_devices[0].upper()

    @property
    def replicas(self) -> int:
        """Return how many replicas compute a step."""
        return self.strategy.num_replicas_in_sync


def set_up(config: Config) -> Devices:
    """Choose the devices and make the strategy; before TensorFlow has used any device.

    With several replicas and no GPU, the CPU is split into as many logical devices.

    Raises:
        InputError: when there are fewer GPUs than replicas, the batch cannot be shared evenly, or TensorFlow
            has already fixed the devices of this process.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    running = config.running
    replicas = running.replicas or (len(gpus) if gpus and running.strategy != "one_device" else 1)
    if gpus and replicas > len(gpus):
        raise InputError(f"--replicas={replicas}: this machine has {len(gpus)} GPUs; take at most that many")
    parts = replicas * config.batches.micro_batches
    if config.batches.batch_size % parts:
        raise InputError(
            f"--batch_size={config.batches.batch_size} rows can't be shared evenly by {replicas} replicas x "
            f"{config.batches.micro_batches} micro-batches; take a multiple of {parts}, or set --replicas"
        )
    kind = "GPU" if gpus else "CPU"
    if kind == "CPU" and replicas > 1:
        _split_cpu(replicas)
    if replicas == 1 and running.strategy != "mirrored":
        strategy = tf.distribute.OneDeviceStrategy(f"/{kind.lower()}:0")
    else:
        strategy = tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])
    names = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus[:replicas]
    ]
    if not names:
        names = [
            f"CPU ({_usable_cores()} cores)" if replicas == 1 else f"CPU ({_usable_cores()} cores in all)"
        ]
        names *= replicas
    described = names[0] if replicas == 1 else f"{replicas} x {names[0]}"
    return Devices(strategy, f"{described}, {type(strategy).__name__}", _hidden_gpu(gpus))


def _split_cpu(replicas: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError:
        existing = len(tf.config.list_logical_devices("CPU"))
        if existing < replicas:
            raise InputError(
                f"--replicas={replicas}: TensorFlow already runs with {existing} CPU devices in this process; "
                "start a new process"
            ) from None


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _hidden_gpu(gpus) -> str:
    """Return a warning if the machine has an NVIDIA device that TensorFlow does not see."""
    present = os.path.exists("/proc/driver/nvidia/version") or glob.glob("/dev/nvidia[0-9]*")
    hidden_on_purpose = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if gpus or not present or hidden_on_purpose:
        return ""
    return (
        "THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW DOES NOT SEE, so the CPU does all the work; "
        "remedy: pip install 'tensorflow[and-cuda]'"
    )
