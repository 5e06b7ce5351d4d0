"""What is said of the devices."""

import glob
import os

import pytest

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
