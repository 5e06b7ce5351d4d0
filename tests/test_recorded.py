"""Opt-in proofs: the recorded results of configurations, and masks on a GPU."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lm_keras.draws import Draw

ROOT = Path(__file__).parents[1]


def executed(path, *arguments):
    """Return the validation results of a run by `scripts/train.py`."""
    command = [sys.executable, "scripts/train.py", *arguments, f"--run_dir={path}"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=900)
    return json.loads((path / "results.json").read_text())["splits"]["valid"]


@pytest.mark.slow
@pytest.mark.parametrize(("config", "bits_per_byte"), [("quickstart", 1.72), ("ngram", 1.79)])
def test_a_config_reaches_what_it_says(tmp_path, config, bits_per_byte):
    results = executed(tmp_path / "run", f"--flagfile=configs/{config}.flags")
    assert results["bits_per_byte"] < bits_per_byte


@pytest.mark.slow
def test_the_chat_quickstart_ends_its_answers_and_reads_the_questions(tmp_path):
    """Of names that are new to it; docs/results/results.md has the numbers."""
    executed(tmp_path / "run", "--flagfile=configs/chat_quickstart.flags")
    for split, found in json.loads((tmp_path / "run" / "results.json").read_text())["splits"].items():
        shuffled = found["baselines"]["shuffled_questions"]["nats_per_token"]
        assert found["ended"] >= 0.95 and found["nats_per_token"] <= shuffled - 0.2, split


@pytest.mark.slow
def test_noise_helps_against_overfitting(tmp_path):
    """docs/results/noise.md has three seeds; one shows it, since the gap is many times their spread."""
    perplexities = [
        executed(tmp_path / rate, "--flagfile=configs/noise.flags", f"--token_noise={rate}")["perplexity"]
        for rate in ("0", "0.2")
    ]
    assert perplexities[1] < 0.85 * perplexities[0]


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
