"""Devices: which there are, and how the rows of a batch are shared among them."""

import ctypes
import dataclasses
import glob
import os

import tensorflow as tf

from lm_keras.config import Config
from lm_keras.errors import InputError, reason_of
from lm_keras.registry import STRATEGIES, imported
from lm_keras.surroundings import usable_cores
from lm_keras.training import meeting
from lm_keras.training.workers import Cluster, Workers

MEMORY_SHARE = 0.9
"""Of the memory of a GPU that is split; the rest is for code, libraries and other programs."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
        strategy: how they share the work.
        description: their names, for people.
        warning: what is wrong with them, or an empty string.
        workers: the processes that they belong to.
    """

    strategy: tf.distribute.Strategy
    description: str
    warning: str
    workers: Workers

    @property
    def on_gpu(self) -> bool:
        """Tell whether GPUs do the work."""
        return ":GPU:" in self.strategy.extended.worker_devices[0].upper()

    @property
    def replicas(self) -> int:
        """Return how many replicas compute a step."""
        return self.strategy.num_replicas_in_sync


def set_up(config: Config, alone: bool = False) -> Devices:
    """Choose the devices and make the strategy; before TensorFlow has used any device.

    With several replicas and no GPU, the CPU is split into as many logical devices, which share its cores:
    what runs on one core waits for no other, and of small products that is most of the time. One GPU is split
    likewise, which shows on one machine what several GPUs compute and gains no time. With several workers it
    waits until all of them are there.

    Args:
        config: the settings of the run.
        alone: whether to leave out the other workers of a run.

    Raises:
        InputError: when there are fewer GPUs than replicas, the batch cannot be shared evenly, TensorFlow
            has already fixed the devices of this process, or what `--strategy` needs is not there.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        if not tf.config.get_logical_device_configuration(gpu):  # Of one that is divided it is set already.
            tf.config.experimental.set_memory_growth(gpu, True)
    if config.running.deterministic:
        tf.config.experimental.enable_op_determinism()
    cluster = None if alone else cluster_of(config)
    if cluster:
        strategy = _multi_worker(cluster)
    elif make := STRATEGIES[config.running.strategy]:
        strategy = imported("training", make)()
    else:
        strategy = _on_this_machine(config, gpus)
    replicas, wanted = strategy.num_replicas_in_sync, config.running.replicas
    if wanted and wanted != replicas and not alone:
        raise InputError(
            f"--replicas={wanted}: there are {replicas} with --strategy={config.running.strategy}, which uses"
            " all devices; leave --replicas out"
        )
    _check_shares(config, replicas)
    kind = "MultiWorkerMirroredStrategy" if cluster else type(strategy).__name__
    local = len(strategy.extended.worker_devices)
    described = f"{_described(gpus, local)}, {kind}"
    if cluster:
        described = f"{len(cluster.addresses)} workers, each with {described}"
    return Devices(strategy, described, _hidden_gpu(gpus), Workers(strategy, cluster))


def cluster_of(config: Config) -> Cluster | None:
    """Return the workers of a run, or None if it has but this process.

    Raises:
        InputError: `--strategy=multi_worker` without `TF_CONFIG`, or one that is not valid.
    """
    if config.running.strategy not in ("auto", "multi_worker"):
        return None
    cluster = Cluster.of_environment()
    if cluster is None and config.running.strategy == "multi_worker":
        raise InputError(
            "--strategy=multi_worker needs the environment variable TF_CONFIG, which says where the workers"
            " are; start them with scripts/launch_local.py on one machine, or see "
            "docs/guides/several_machines.md"
        )
    return cluster


def _check_shares(config: Config, replicas: int) -> None:
    parts = replicas * config.batches.micro_batches
    if config.batches.batch_size % parts:
        other = "another number of workers" if cluster_of(config) else "set --replicas"
        raise InputError(
            f"--batch_size={config.batches.batch_size} rows can't be shared evenly by {replicas} replicas x "
            f"{config.batches.micro_batches} micro-batches; take a multiple of {parts}, or {other}"
        )


def _on_this_machine(config: Config, gpus: list) -> tf.distribute.Strategy:
    running = config.running
    replicas = running.replicas or (len(gpus) if gpus and running.strategy != "one_device" else 1)
    if len(gpus) > 1 and replicas > len(gpus):
        raise InputError(f"--replicas={replicas}: this machine has {len(gpus)} GPUs; take at most that many")
    _check_shares(config, replicas)
    kind = "GPU" if gpus else "CPU"
    if len(gpus) == 1 and replicas > 1:
        _split_gpu(gpus[0], replicas)
    if kind == "CPU" and replicas > 1:
        _split_cpu(replicas)
    if replicas == 1 and running.strategy != "mirrored":
        return tf.distribute.OneDeviceStrategy(f"/{kind.lower()}:0")
    return tf.distribute.MirroredStrategy([f"{kind}:{i}" for i in range(replicas)])


def _multi_worker(cluster: Cluster) -> tf.distribute.Strategy:
    meeting.meet(cluster)
    try:
        with meeting.joining():
            return tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as error:
        raise InputError(
            f"{cluster.me} could not meet the others ({reason_of(error)}); check the addresses in TF_CONFIG"
            " and that no other process uses these ports"
        ) from None


def tpu() -> tf.distribute.Strategy:
    """Return a strategy for all cores of a TPU.

    Raises:
        InputError: there is none.
    """
    try:
        name = os.environ.get("TPU_NAME") or "local"
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise InputError(
            f"--strategy=tpu: TensorFlow finds no TPU here ({reason_of(error)}); leave --strategy out to use"
            " what there is"
        ) from None


def _described(gpus: list, replicas: int) -> str:
    """Return the devices of this process, for people."""
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        name = details.get("device_name", "GPU")
        if replicas > len(gpus):
            return f"{name} in {replicas} parts"
    else:
        name = f"CPU ({usable_cores()} cores{'' if replicas == 1 else ' in all'})"
    return name if replicas == 1 else f"{replicas} x {name}"


def _split_cpu(replicas: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.threading.set_intra_op_parallelism_threads(max(1, usable_cores() // replicas))
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
    except RuntimeError:
        _check_devices("CPU", replicas)


def can_split_cpu(replicas: int) -> bool:
    """Tell whether the CPU is, or now becomes, as many logical devices: in a process whose devices are fixed
    it may be too late.
    """
    parts = tf.config.get_logical_device_configuration(tf.config.list_physical_devices("CPU")[0])
    if parts and len(parts) >= replicas:
        return True
    try:
        _split_cpu(replicas)
    except InputError:
        return False
    return True


def _split_gpu(gpu: tf.config.PhysicalDevice, replicas: int) -> None:
    """Make logical devices of a GPU, each with its part of the memory."""
    limit = int(MEMORY_SHARE * _gpu_memory()) // replicas // 2**20
    part = tf.config.LogicalDeviceConfiguration(memory_limit=limit)
    try:
        tf.config.set_logical_device_configuration(gpu, [part] * replicas)
    except RuntimeError:
        _check_devices("GPU", replicas)


def _check_devices(kind: str, replicas: int) -> None:
    """Raise InputError if this process, whose devices are fixed, has fewer than replicas."""
    existing = len(tf.config.list_logical_devices(kind))
    if existing < replicas:
        raise InputError(
            f"--replicas={replicas}: TensorFlow already runs with {existing} {kind} devices in this process; "
            "start a new process"
        ) from None


def _gpu_memory() -> int:
    """Return the bytes of memory of the GPU, as its driver says: TensorFlow says so only once the devices are
    fixed.
    """
    size, device = ctypes.c_size_t(), ctypes.c_int()
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        code = (
            driver.cuInit(0)
            or driver.cuDeviceGet(ctypes.byref(device), 0)
            or driver.cuDeviceTotalMem_v2(ctypes.byref(size), device)
        )
        reason = f"code {code}" if code else ""
    except (OSError, AttributeError) as error:
        reason = str(error)
    if reason:
        raise InputError(
            "--replicas: one GPU can't be split, since its driver does not say how much memory it has"
            f" ({reason}); leave --replicas out"
        )
    return size.value


def _hidden_gpu(gpus: list) -> str:
    """Return a warning if the machine has an NVIDIA device that TensorFlow does not see."""
    present = os.path.exists("/proc/driver/nvidia/version") or glob.glob("/dev/nvidia[0-9]*")
    hidden_on_purpose = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if gpus or not present or hidden_on_purpose:
        return ""
    return (
        "THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW DOES NOT SEE, so the CPU does all the work; "
        "remedy: pip install 'tensorflow[and-cuda]'"
    )
