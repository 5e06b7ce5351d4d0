"""On a GPU, each run a process of its own: `CUDA_VISIBLE_DEVICES=0 pytest -n 0 -m gpu tests/test_gpu.py`. A
CPU passes, too.

Two replicas are two parts of the one GPU there, and two parts of the CPU here.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from comparison import differing, everything_of, tensors_of

import lm_keras
from lm_keras.flagfiles import flagfile_of

pytestmark = pytest.mark.gpu

SCRIPTS = Path(__file__).parents[1] / "scripts"
SMALL = {
    "sequence_length": 6, "batch_size": 8, "dropout": 0.2, "learning_rate_schedule": "constant", "steps": 8,
    "eval_every": 4,
    "checkpoint_every": 4, "log_every": 4, "steps_per_call": 2, "sample_every": 10**6,
}  # fmt: skip
WIDTH = {"embedding_dim": 8, "num_heads": 2}
FAMILIES = {
    "lstm": {}, "ngram": {"model": "ngram"}, "gpt": {"model": "gpt", **WIDTH},
    "bert": {"model": "bert", **WIDTH},
    "glm": {"model": "glm", **WIDTH},
}  # fmt: skip


@pytest.fixture
def trained(tiny_config, tmp_path):
    """A function that carries out a run in a process of its own and returns its folder."""

    def execute(name, **settings):
        flags, path = tmp_path / "run.flags", tmp_path / name
        flags.write_text(flagfile_of(tiny_config(**{**SMALL, **settings}).flat()))
        line = [sys.executable, str(SCRIPTS / "train.py"), f"--flagfile={flags}", f"--run_dir={path}"]
        # In TF32 two splits would differ by more than sums in another order do.
        environment = {**os.environ, "NVIDIA_TF32_OVERRIDE": "0"}
        ended = subprocess.run(line, capture_output=True, text=True, env=environment)
        assert ended.returncode == 0, ended.stderr
        return path

    return execute


def furthest(ones, others):
    """Return by how much float32 tensors of two runs differ at most, relative to their norms."""
    found = 0.0
    for name, one in ones.items():
        if one.dtype == np.float32:
            found = max(found, np.linalg.norm(one - others[name]) / max(np.linalg.norm(others[name]), 1e-9))
    return found


def test_every_split_gives_the_same_update(trained):
    whole = tensors_of(trained("whole"))
    assert furthest(tensors_of(trained("split", replicas=2, micro_batches=2)), whole) < 1e-3
    assert furthest(tensors_of(trained("other", seed=2)), whole) > 1e-2


def test_a_deterministic_run_goes_on_exactly(trained):
    whole = everything_of(trained("whole", deterministic=True))
    trained("parts", deterministic=True, steps=4)
    assert not differing(everything_of(trained("parts", deterministic=True)), whole)
    assert differing(everything_of(trained("other", deterministic=True, seed=2)), whole)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_short_run_of_each_family(trained, lines_of, family):
    settings = {**FAMILIES[family], "sequence_length": 11, "steps": 60, "eval_every": 20, "dropout": 0.0}
    lines = lines_of(trained(family, **settings) / "metrics.jsonl")
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]


def test_compiled_decoding_writes_the_same_text(trained):
    path = trained("gpt", **FAMILIES["gpt"])
    plain, compiled = (
        lm_keras.load(path, jit=jit).generate(["The"], max_new_tokens=30, temperature=0.0)
        for jit in (False, True)
    )
    assert plain == compiled and len(plain[0]) > 3
