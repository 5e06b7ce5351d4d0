"""The flags of scripts/sweep.py that are not those of a run."""

import dataclasses

from lm_keras.fields import LARGEST, check_line, setting


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """Which trials there are, and where they go."""

    sweep_dir: str | None = setting(
        None,
        "folder of the sweep: a run folder for each trial, table.md, table.jsonl, plot.png. The same command"
        " continues it; other trials with the same other flags are added to it",
        path=True,
    )
    vary: str = setting(
        "",
        "flags to vary, with spaces between them: NAME=VALUE,VALUE for each of these values, in a grid of all"
        " combinations ('embedding_dim=8,32,128 dropout=0,0.2'); with --random_trials also NAME=FROM..TO, or"
        " NAME=log:FROM..TO for numbers of different orders of magnitude",
    )
    cases: str = setting(
        "",
        "groups of flags that are tried together, with ; between them ('none; dropout=0.3; dropout=0.3"
        " l2=1e-5'); none: the flags as they are. Each case is tried with each combination of"
        " --vary",
    )
    random_trials: int | None = setting(
        None,
        "number of trials that are drawn at random from --vary and --cases instead of all combinations",
        low=1,
        high=10_000,
    )
    search_seed: int = setting(
        1, "seed of --random_trials; more of them begin with the same ones", low=0, high=LARGEST
    )
    retry_failed: bool = setting(False, "try trials again that failed")
    run_dir: str | None = setting(
        None,
        "not used, but a flagfile of scripts/train.py may have it: each trial has a folder in --sweep_dir",
        path=True,
    )
    resume: str = setting(
        "auto",
        "auto: go on with the sweep if there is one; never: refuse to; must: refuse to begin a new one",
        choices=("auto", "never", "must"),
    )
    dry_run: bool = setting(False, "train nothing and write nothing: print the names of the trials")

    def __post_init__(self):
        check_line("sweep_dir", self.sweep_dir)
