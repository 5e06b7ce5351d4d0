"""Train with several processes on this machine.

python scripts/launch_local.py --workers=2 -- --flagfile=configs/quickstart.flags --run_dir=runs/quickstart
"""

import dataclasses
import sys
from pathlib import Path

from lm_keras import InputError, flags
from lm_keras.config import setting
from lm_keras.training import launcher


@dataclasses.dataclass(frozen=True)
class LaunchLocalOptions:
    """How many workers; what they do follows after two dashes."""

    workers: int = setting(2, "processes to start; GPUs are shared out evenly among them", low=1, high=64)


def main(*train_flags: str) -> int:
    """Start the workers, pass signals on, and end when all have ended."""
    options = flags.read(LaunchLocalOptions)
    if not train_flags:
        raise InputError(
            "nothing to start: expected the flags of scripts/train.py after two dashes, as in "
            "launch_local.py --workers=2 -- --flagfile=configs/quickstart.flags --run_dir=runs/quickstart"
        )
    script = Path(__file__).resolve().with_name("train.py")
    return launcher.launch([sys.executable, str(script), *train_flags], options.workers)


if __name__ == "__main__":
    flags.define(LaunchLocalOptions)
    flags.run(
        main,
        commands=None,
        hint=(
            "; the flags of scripts/train.py follow two dashes: launch_local.py --workers=2 -- --run_dir=run"
        ),
    )
