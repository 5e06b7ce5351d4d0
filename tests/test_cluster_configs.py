"""The SLURM script, with stand-ins for what SLURM brings: it starts a worker a node, each with its place."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCONTROL = """#!/usr/bin/env bash
if [ "$1 $2" = "show hostnames" ]; then printf '%s\\n' alpha beta gamma; else echo "$@" >> "$CALLS"; fi
"""
SRUN = """#!/usr/bin/env bash
shift
for rank in 0 1 2; do SLURM_PROCID=$rank "$@" || code=$?; done
exit ${code:-0}
"""
PYTHON = """#!/usr/bin/env bash
echo "$TF_CONFIG" >> "$CALLS"
printf '%s|' "$@" >> "$CALLS"; echo >> "$CALLS"
exit ${CODE:-0}
"""


@pytest.mark.parametrize("code", [0, 1, 143])
def test_slurm(tmp_path, code):
    for name, text in {"scontrol": SCONTROL, "srun": SRUN, "python": PYTHON}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    calls = tmp_path / "calls"
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "x[1-3]",
        "SLURM_JOB_ID": "77",
        "PYTHON": str(tmp_path / "python"), "CALLS": str(calls), "CODE": str(code), "PORT": "4000",
    }  # fmt: skip
    command = [str(ROOT / "configs/cluster/slurm.sh"), "--run_dir=a b", "--steps=3"]
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (code, "")
    lines = calls.read_text().splitlines()
    for index in range(3):
        assert json.loads(lines[2 * index]) == {
            "cluster": {"worker": ["alpha:4000", "beta:4001", "gamma:4002"]},
            "task": {"type": "worker", "index": index},
        }
        assert lines[2 * index + 1] == "scripts/train.py|--run_dir=a b|--steps=3|"
    assert lines[6:] == (["requeue 77"] if code == 143 else [])
