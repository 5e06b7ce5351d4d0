"""Compare families: python scripts/compare.py --compare_dir=runs/compare configs/compare/*.flags"""

import shlex
import sys
from pathlib import Path

from lm_keras import flags, paths
from lm_keras.sweeps.comparison import CompareOptions, compare


def main(*configs: str) -> int:
    """Read the flags; train, measure and write the page."""
    command = shlex.join(["python", "scripts/compare.py", *sys.argv[1:]])
    return compare(
        list(map(paths.expanded, configs)),
        flags.read(CompareOptions),
        Path(__file__).resolve().parent,
        command,
    )


if __name__ == "__main__":
    flags.define(CompareOptions)
    flags.run(main, commands=None)
