"""Scripts and runs carried out within this process, as the command line would, but for importing
TensorFlow.
"""

import contextlib
import io
import runpy
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from absl import app, flags

from lm_keras.config import Config, RunOptions

SCRIPTS = Path(__file__).parents[1] / "scripts"


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def script(name: str, *arguments) -> Ended:
    """Run a script with these words on its command line."""
    out, err, code, path = io.StringIO(), io.StringIO(), None, str(SCRIPTS / name)
    words = mock.patch("sys.argv", [path, *map(str, arguments)])
    with words, _only_flags_of_absl(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
    assert code is not None, "a script ends with an exit code"
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _only_flags_of_absl():
    """Take away the flags of a script that is running, if there is one, and at last those of the
    other one.
    """
    app.define_help_flags()  # absl does that once in a process.
    kept = forget_flags()
    known = set(flags.FLAGS)
    try:
        yield
    finally:
        for name in set(flags.FLAGS) - known:
            delattr(flags.FLAGS, name)
        for name, flag in kept.items():
            flags.FLAGS[name] = flag


def forget_flags() -> dict[str, flags.Flag]:
    """Take away the flags of a script, and return them."""
    kept = {
        name: flags.FLAGS[name]
        for name in flags.FLAGS
        if not str(flags.FLAGS.find_module_defining_flag(name)).startswith("absl")
    }
    for name in kept:
        delattr(flags.FLAGS, name)
    return kept


def train(config: Config, run_dir: Path | None, resume: str = "auto", dry_run: bool = False) -> Ended:
    """Carry out a run, or go on with it."""
    from lm_keras.training import runner

    out, err = io.StringIO(), io.StringIO()
    options = RunOptions(run_dir=run_dir and str(run_dir), resume=resume, dry_run=dry_run)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = runner.train(config, options)
    return Ended(code, out.getvalue(), err.getvalue())
