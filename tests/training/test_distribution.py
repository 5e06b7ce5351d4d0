"""What is said of the devices."""

import glob
import os

import pytest
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.training import distribution


@pytest.mark.parametrize("where", ["the driver", "a device"])
def test_a_gpu_that_tensorflow_does_not_see_is_said_loudly(tiny_config, monkeypatch, where):
    exists, found = os.path.exists, glob.glob
    driver, devices = "/proc/driver/nvidia/version", "/dev/nvidia[0-9]*"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(
        os.path, "exists", lambda path: where == "the driver" if path == driver else exists(path)
    )
    monkeypatch.setattr(
        glob,
        "glob",
        lambda path: ["/dev/nvidia0"] * (where == "a device") if path == devices else found(path),
    )
    warning = distribution.set_up(tiny_config()).warning
    assert warning.startswith("THIS MACHINE HAS AN NVIDIA GPU THAT TENSORFLOW DOES NOT SEE")
    assert warning.endswith("remedy: pip install 'tensorflow[and-cuda]'")
    # The controls: one that was hidden on purpose, and a machine without.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert distribution.set_up(tiny_config()).warning == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    where = "nowhere"
    assert distribution.set_up(tiny_config()).warning == ""


@pytest.fixture
def gpus(monkeypatch):
    """A function that lets TensorFlow see some GPUs, and returns a list of how they are split."""
    split = []
    mirrored = tf.distribute.MirroredStrategy
    as_cpu = lambda names: mirrored([name.replace("GPU", "CPU") for name in names])  # noqa: E731

    def show(count):
        listed = [f"gpu {number}" for number in range(count)]
        details = {"device_name": "Wonderful"}
        monkeypatch.setattr(
            tf.config, "list_physical_devices", lambda kind: listed if kind == "GPU" else ["cpu"]
        )
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *args: None)
        monkeypatch.setattr(tf.config, "get_logical_device_configuration", lambda gpu: None)
        monkeypatch.setattr(tf.config, "set_logical_device_configuration", lambda *args: split.append(args))
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", as_cpu)
        return split

    return show


def test_one_gpu_is_split_into_replicas(tiny_config, gpus, monkeypatch):
    split = gpus(1)
    monkeypatch.setattr(distribution, "_gpu_memory", lambda: 10 * 2**30)
    devices = distribution.set_up(tiny_config(replicas=3))
    assert devices.replicas == 3 and devices.description.startswith("Wonderful in 3 parts, ")
    ((gpu, parts),) = split
    assert gpu == "gpu 0" and [part.memory_limit for part in parts] == [3072] * 3


def test_gpus_that_cannot_be_shared_so(tiny_config, gpus, monkeypatch):
    split = gpus(2)
    assert distribution.set_up(tiny_config(replicas=2)).description.startswith("2 x Wonderful, ")
    with pytest.raises(InputError, match="--replicas=3: this machine has 2 GPUs; take at most that many"):
        distribution.set_up(tiny_config(replicas=3))
    gpus(1)

    def no_driver(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(distribution.ctypes, "CDLL", no_driver)
    with pytest.raises(
        InputError, match=r"one GPU can't be split, .*\(libcuda.so.1: cannot .*leave --replicas out"
    ):
        distribution.set_up(tiny_config(replicas=3))
    assert not split
