"""Opt-in proofs: the recorded result of the quickstart, and masks on a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.layers.dropout import Draw

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_quickstart_reaches_what_it_says(tmp_path):
    command = [
        sys.executable,
        "scripts/train.py",
        "--flagfile=configs/quickstart.flags",
        f"--run_dir={tmp_path}/run",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=900)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["splits"]["valid"]["bits_per_byte"] < 1.72


@pytest.mark.gpu
def test_a_gpu_draws_the_masks_of_a_cpu_for_any_rows():
    if not tf.config.list_physical_devices("GPU"):
        pytest.skip("needs a GPU, and CUDA_VISIBLE_DEVICES that shows it")

    def keep(device, first, rows):
        with tf.device(device):
            draw = Draw(7, tf.constant(99, tf.int64), tf.constant(0.3), tf.constant(first, tf.int64))
            return draw.keep(2, tf.constant(rows), 13 * 5).numpy()

    whole = keep("/cpu:0", 0, 11)
    np.testing.assert_array_equal(keep("/gpu:0", 0, 11), whole)
    np.testing.assert_array_equal(keep("/gpu:0", 4, 5), whole[4:9])
