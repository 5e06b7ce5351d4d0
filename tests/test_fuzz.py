"""A few random cases of every law of `fuzz`, always the same ones, and for each law a defect that
it finds.
"""

import contextlib
import re
from unittest import mock

import pytest
import tensorflow as tf

import fuzz
from fuzz import run_folders
from lm_keras import schedules
from lm_keras.callbacks.schedules import ScheduleCallback
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.data.order import StreamOrder, WindowOrder
from lm_keras.flagfiles import flagfile_of
from lm_keras.text import ByteTokenizer, CharTokenizer
from lm_keras.training.trainer import Trainer

LAWS = {law.name: law for part in fuzz.collection().values() for law in part}


@pytest.mark.parametrize("name", LAWS)
def test_a_law_holds(name):
    outcome = LAWS[name].execute(LAWS[name].few)
    assert outcome.failure == ""
    assert outcome.cases >= LAWS[name].few
    # Hardly a byte of a sealed file can change without being seen; everything else has cases that are no
    # faults.
    assert outcome.refused < outcome.cases or name == "a JSON file of a run says what was written"


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_a_law_holds_for_many(name):
    assert LAWS[name].execute(LAWS[name].many).failure == ""


def test_names_are_unique():
    assert len(LAWS) == sum(map(len, fuzz.collection().values()))


def test_a_long_run_is_long():
    assert sum(law.many for law in LAWS.values()) >= 10_000


def test_the_script(script, tmp_path):
    page, name = tmp_path / "page.md", "a table is its steps one by one"
    ended = script("fuzz.py", "--only=steps one", "--cases=70", "--seed=3", f"--page={page}")
    assert (ended.code, ended.out) == (0, "")
    assert re.fullmatch(rf"{name}: 70 cases in \d+ s; holds\n", ended.err)
    assert f"| {name} | {LAWS[name].drawn} | 70 | 0 | " in page.read_text()
    assert "\n70 cases of 1 laws, seed 3, in 0 minutes: 0 failures. " in page.read_text()
    page.unlink()
    with DEFECTS[name]():
        failed = script("fuzz.py", "--only=steps one", "--cases=70")
    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith(f"{name}: ")
    assert "Failing test case" in failed.err
    nothing = script("fuzz.py", "--only=no such law")
    assert (
        nothing.err
        == "error: --only=no such law is in no name of a law; docs/results/fuzz.md has the names\n"
    )


def wrapped(owner, name, change):
    """A patch that hands the original of a method, or of a function, to what takes its place."""
    original = getattr(owner, name)
    return mock.patch.object(owner, name, lambda *args, **settings: change(original, *args, **settings))


def forgetful(original, self, step, progress):
    """Go on without the optimizer's slots."""
    for variable in self.model.optimizer.variables[2:]:
        variable.assign(tf.zeros_like(variable))
    original(self, step, progress)


def endless(step, total_steps):
    """The share of a run that is done, also beyond its end."""
    return step / total_steps


def in_its_own_steps(self, first_step, count):
    """A table that begins anew wherever it is asked for."""
    return [self.base * self.schedule(step) for step in range(count)]


DEFECTS = {
    "text comes back from its tokens": lambda: wrapped(ByteTokenizer, "decode", lambda decode,
        *args: decode(*args).lower()),
    "a text is the sum of its lines": lambda: wrapped(ByteTokenizer, "_encode", lambda encode, self,
        text: encode(self, text[::-1])),
    "what is no text is refused": lambda: mock.patch.object(ByteTokenizer, "encode", lambda self, text: []),
    "a tokenizer learnt from anything keeps the laws, saved and loaded": lambda: mock.patch.object(
        CharTokenizer, "_from_settings", lambda folder,
        settings: CharTokenizer(settings["characters"][:-1], "none")
    ),
    "a forged tokenizer is refused or is one": lambda: mock.patch("lm_keras.disk.files.MAX_FILE_BYTES",
        "256 MiB"),
    "values are finite, not negative and those of their step": lambda: mock.patch.object(schedules,
        "_progress", endless),
    "a table is its steps one by one": lambda: mock.patch.object(ScheduleCallback, "table", in_its_own_steps),
    "an allowed rate stays below 1": lambda: mock.patch.object(schedules, "largest", lambda text: 0.0),
    "any other text is refused in one line": lambda: mock.patch.dict(schedules._BOUNDS, final=(-9e9, 9e9),
        initial=(-9e9, 9e9)),
    "an epoch has every target once": lambda: mock.patch.object(StreamOrder, "stream_length",
        property(lambda self: self.targets // self.batch_size + 1)),
    "the rows of all workers are the rows of the batch": lambda: wrapped(WindowOrder, "rows", lambda rows,
        self, step, row: rows(self, step, row[::-1])),
    "the batches of all workers are those of one process": lambda: wrapped(fuzz.data, "training_batches",
        lambda batches, *args, first_replica=0, **split: batches(*args, **split)),
    "the order of an epoch is a permutation": lambda: mock.patch.object(fuzz.data.orders, "shuffled",
        lambda index, *args: tf.maximum(index, 1)),
    "an evaluation scores every target once": lambda: mock.patch.object(fuzz.data.scoring, "_begins",
        lambda first, documents: first + 1),
    "what is prepared is the text": lambda: mock.patch("lm_keras.data.text_counter.count_words",
        lambda text: 3),
    "files of any bytes are read or refused": lambda: mock.patch("lm_keras.corpora.json_lines.json.loads",
        side_effect=RuntimeError),
    "a damaged cache gives the same, and says so": lambda: mock.patch("lm_keras.disk.folders._problem",
        lambda folder: ""),
    "no command line and no flagfile gives a traceback":
        lambda: mock.patch("lm_keras.flagfiles._lines_of_flagfile", side_effect=KeyError),
    "the flagfile of a run gives its settings again": lambda: mock.patch.object(fuzz.flags, "flagfile_of",
        lambda settings: flagfile_of(dict(sorted(settings.items())[:30]))),
    "a JSON file of a run says what was written": lambda: mock.patch("lm_keras.checkpoints.records.sum_of",
        lambda content: mock.ANY),
    "a checkpoint holds what was saved": lambda: mock.patch("lm_keras.checkpoints.state.Checkpoints._check",
        lambda self, folder: ""),
    "lines of measures stay or are left out":
        lambda: mock.patch("lm_keras.checkpoints.records.write_atomically"),
    "events stay or are left out": lambda: mock.patch.object(run_folders, "forget_after"),
    "a damaged run is read rightly or refused":
        lambda: mock.patch("lm_keras.training.weights.step_for_reading", lambda *args: 4),
    "a damaged run shows its results or is refused": lambda: mock.patch.object(RunFolder, "results",
        {"seconds": 1}),
    "a damaged run goes on to the same end or is refused": lambda: wrapped(Trainer, "restore", forgetful),
    "a report of a damaged run is right or refused": lambda: mock.patch("lm_keras.report.page._settings",
        side_effect=KeyError),
    "sizes that no memory holds are refused at once":
        lambda: mock.patch("lm_keras.training.estimates.check_memory"),
    "extreme numbers train or are refused": lambda: mock.patch("lm_keras.training.run.Run._results",
        side_effect=OverflowError),
}  # fmt: skip


def test_there_is_a_defect_for_each_law():
    assert list(DEFECTS) == [
        law.name
        for part in ("tokenizers", "schedules", "data", "flags", "run_folders", "settings")
        for law in getattr(fuzz, part).LAWS
    ]


@pytest.mark.parametrize("name", DEFECTS)
def test_a_law_finds_a_defect(name):
    if "run" in name:
        run_folders.undamaged()
    with DEFECTS[name](), contextlib.redirect_stderr(None):
        outcome = LAWS[name].execute(20 * LAWS[name].few, smallest=False)
    assert outcome.failure.startswith(f"{name}: ")
