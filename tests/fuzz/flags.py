"""Flags and flagfiles: whatever stands on a command line, no traceback"""

import contextlib
import dataclasses
import functools
import os
from pathlib import Path
from unittest import mock

from hypothesis import strategies as st
from in_process import Ended, script

from fuzz import Law, check_line, folder_for_this_process
from fuzz.schedules import JUNK as SCHEDULES
from lm_keras import fields
from lm_keras.config import FIELDS, LARGEST, Config, RunOptions, from_flat
from lm_keras.errors import InputError
from lm_keras.flagfiles import flagfile_of
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.sweeps.settings import SweepOptions

CARRIED_OUT = "the work of the script"
"""What is said in place of it: here, flags are only read."""

WORK = [
    "faults.collection", "fuzz.collection", "lm_keras.api.load", "lm_keras.data.preparation.save_tokenizer",
    "lm_keras.report.runs.read_runs", "benchmarks.commands.baselines.baselines",
    "benchmarks.commands.feed.feed",
    "lm_keras.training.launcher.launch", "lm_keras.training.runner.train",
    "benchmarks.commands.text.preparation",
    "benchmarks.commands.text.tokenize", "benchmarks.commands.preflight.comparisons",
    "lm_keras.sweeps.execute.sweep",
    "lm_keras.serving.server.serve", "benchmarks.canary.attacked", "benchmarks.fine_tuning.trained",
]  # fmt: skip

SCRIPTS = sorted(path.name for path in (Path(__file__).parents[2] / "scripts").glob("*.py"))


@contextlib.contextmanager
def without_work():
    """Let no script do anything but read its flags."""
    with contextlib.ExitStack() as stack:
        for name in WORK:
            stack.enter_context(mock.patch(name, side_effect=InputError(CARRIED_OUT)))
        yield


def text_of(field: dataclasses.Field) -> st.SearchStrategy:
    """Draw a text for a flag that mostly is one of its values."""
    kind, _ = fields.kind_of(field)
    good = {
        int: st.integers(0, 99).map(str) | st.sampled_from([str(LARGEST), str(LARGEST + 1), "-1", "1e3",
            "1_0", "9" * 5000]),
        float: st.floats(0, 2).map(str) | st.floats().map(str),
        bool: st.sampled_from(["true", "False", "0", "yes", ""]),
        str: st.sampled_from(["text:a.txt", "a.txt", "b", "", " ", "~", "..", "/", "3:7", "90/5/5",
            "\u2028"]) | SCHEDULES,
    }[kind]  # fmt: skip
    choices = field.metadata["choices"]
    return st.sampled_from(choices) | good if choices else good


OPTIONS = {
    field.name: field
    for kind in (RunOptions, SamplingSettings, SweepOptions)
    for field in dataclasses.fields(kind)
}
ABSL = [
    "verbosity",
    "v",
    "stderrthreshold",
    "log_dir",
    "undefok",
    "only_check_flags",
    "alsologtostderr",
    "helpxml",
    "help",
]
ANY = st.text(st.characters(), max_size=6)
NAMES = [*FIELDS, *OPTIONS]
ONE_FLAG = st.sampled_from(NAMES).flatmap(
    lambda name: st.tuples(
        st.sampled_from(["--", "--", "--", "-"]),
        st.just(name) | st.just(name) | st.sampled_from([f"no{name}", name[:-1], name.upper(), f"{name}x"]),
        st.sampled_from(["=", "=", "=", " ", ""]),
        text_of(FIELDS.get(name) or OPTIONS[name]) | ANY,
    ).map("".join)
)  # fmt: skip
WORD = st.one_of(
    ONE_FLAG,
    ONE_FLAG,
    ONE_FLAG,
    ANY,
    st.builds("--{}={}".format, st.sampled_from(ABSL), ANY | st.integers().map(str)),
    st.sampled_from(
        ["", "-", "--", "--=", "--=3", "---x", "--steps", "feed", "# comment", "// comment", "a.flags"]
    ),
    st.sampled_from(["a", "b", "none", ""]).map("--flagfile={}.flags".format) | st.just("--flagfile"),
)
LINES = st.lists(WORD, max_size=6).map(lambda words: "\n".join(words).encode("utf-8", "surrogatepass"))
FLAGFILE = (
    LINES
    | LINES
    | st.binary(max_size=30)
    | st.builds(lambda *parts: b"\n".join(parts), LINES, st.binary(max_size=9))
)
COMMAND = st.tuples(
    st.sampled_from(SCRIPTS), st.lists(WORD, max_size=5),
    st.fixed_dictionaries({"a.flags": FLAGFILE, "b.flags": FLAGFILE})
)  # fmt: skip


@functools.cache
def folder() -> Path:
    """A folder for flagfiles, in which the scripts are carried out."""
    return folder_for_this_process()


def executed(name: str, words: list[str], files: dict[str, bytes]) -> Ended:
    """Run a script in a folder with these flagfiles."""
    for path, content in files.items():
        (folder() / path).write_bytes(content)
    words = [word.replace("\0", "") for word in words]  # No command line can hold it; a flagfile can.
    before = set(os.listdir(folder()))
    with without_work(), contextlib.chdir(folder()):
        ended = script(name, *words)
    assert set(os.listdir(folder())) == before
    return ended


def holds_any(case) -> None:
    """A script does its work, shows help, or says in one line what is wrong."""
    ended = executed(*case)
    if ended.code == 0:
        assert ended.err == "", ended.err
        assert "Traceback" not in ended.out
        return
    assert (ended.code, ended.out) == (1, ""), ended
    assert ended.err.startswith("error: "), ended.err
    assert ended.err.endswith("\n"), ended.err
    check_line(ended.err[len("error: ") : -1])
    if ended.err != f"error: {CARRIED_OUT}\n":
        raise InputError(ended.err[:-1])


def value_of(field: dataclasses.Field) -> st.SearchStrategy:
    """Draw a value that a setting may take by itself."""
    kind, optional = fields.kind_of(field)
    meta = field.metadata
    low, high = meta["low"], meta["high"]
    drawn = {
        bool: st.booleans(),
        int: st.integers(low or 0, min(high or LARGEST, LARGEST)) | st.integers(low or 0, (low or 0) + 9),
        float: st.floats(
            low if low is not None else meta["above"],
            high if high is not None else meta["below"],
            exclude_min=meta["above"] is not None,
            exclude_max=meta["below"] is not None,
            allow_nan=False,
            allow_infinity=False,
        ),
        str: st.text(min_size=1, max_size=9),
    }[kind]  # fmt: skip
    drawn = st.sampled_from(meta["choices"]) if meta["choices"] else drawn
    return drawn | st.none() if optional else drawn


SETTINGS = st.fixed_dictionaries({}, optional={name: value_of(field) for name,
    field in FIELDS.items()}).flatmap(
    lambda settings: st.lists(st.sampled_from(sorted(settings) or ["seed"]), max_size=4).map(
        lambda names: {name: settings[name] for name in names if name in settings}
    )
)  # fmt: skip


def holds_written(settings) -> None:
    """Settings that are allowed come back from the flagfile that a run writes; others are refused there too,
    but for those that no flagfile can hold, such as a line feed.
    """
    try:
        expected, wrong = from_flat(settings), None
    except InputError as error:
        if "which no flagfile can hold" in str(error):
            raise
        expected, wrong = None, error
    path, read = folder() / "written.flags", []

    def train(settings, options):
        read.append(settings)
        return 0

    written = {**Config().flat(), **settings} if wrong else expected.flat()
    path.write_text(flagfile_of(written), encoding="utf-8", errors="surrogatepass")
    with mock.patch("lm_keras.training.runner.train", train):
        ended = script("train.py", f"--flagfile={path}")
    path.unlink()
    if wrong:
        assert ended.code == 1, ended
        raise wrong
    assert (ended, read) == (Ended(0, "", ""), [expected])


LAWS = [
    Law("no command line and no flagfile gives a traceback", "a script, words for it, and two flagfiles that "
        "may include each other", COMMAND, holds_any, 80, 2500),
    Law("the flagfile of a run gives its settings again", "up to four settings, each with a value of its own",
        SETTINGS, holds_written, 40, 600),
]  # fmt: skip
