"""Try several settings, one run each: python scripts/sweep.py --flagfile=configs/sweeps/embedding_dim.flags

Any flag of scripts/train.py can be varied; all others are given as there:

    --vary='embedding_dim=8,32,128 dropout=0,0.2'                      every combination of these values
    --vary='learning_rate=log:1e-4..1e-2' --random_trials=20           numbers drawn at random
    --cases='none; dropout=0.3; dropout=0.3 l2=1e-5'                   flags that belong together
    --vary='seed=1,2,3'                                                means and spreads in the table

Each trial is a run folder below --sweep_dir. The same command goes on where it was stopped.
"""

import sys
from pathlib import Path

from lm_keras import config, flags
from lm_keras.sweeps import search, settings


def main() -> int:
    """Read the flags, check every trial, and carry them out."""
    options, base = flags.read(settings.SweepOptions), flags.read_config()
    trials = search.trials_of(base, options)
    from lm_keras.sweeps import execute

    train = [sys.executable, str(Path(__file__).resolve().with_name("train.py"))]
    return execute.sweep(base, trials, options, train)


if __name__ == "__main__":
    flags.define(settings.SweepOptions, *config.GROUPS.values())
    flags.run(main)
