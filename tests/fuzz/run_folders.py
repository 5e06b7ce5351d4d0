"""Run folders: any damage to any file is made good or refused, and never changes a number"""

import contextlib
import dataclasses
import functools
import io
import json
import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf
from faults import ENGLISH
from hypothesis import strategies as st
from in_process import train
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2

import lm_keras
from fuzz import Law, folder_for_this_process
from fuzz._damage import copied, of_bytes, of_files, of_json
from lm_keras.callbacks.tensorboard import forget_after
from lm_keras.checkpoints import records
from lm_keras.checkpoints.records import truncate_lines_after
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.config import Config, from_flat
from lm_keras.errors import InputError
from lm_keras.report import page, runs
from lm_keras.training import run as training_run

SMALL = {
    "tokenizer": "char", "model": "ngram", "ngram_order": 3, "batching": "stream", "dropout": 0.1,
    "embedding_dim": 5,
    "hidden_units": 7, "sequence_length": 11, "batch_size": 4, "steps": 8, "steps_per_call": 2,
    "log_every": 2,
    "eval_every": 2, "checkpoint_every": 2, "sample_every": 4, "learning_rate": 0.02, "keep_checkpoints": 3,
}  # fmt: skip
"""A run of a second: eight steps, with the checkpoints of the last three evaluations kept."""


class Silent:
    """In place of a sampler, which takes as long as the rest."""

    def __init__(self, *args):
        pass

    def generate(self, prompts, **settings):
        return ["a sample"] * len(prompts)

    def fills(self, prompt):
        return False


@dataclasses.dataclass(frozen=True)
class Undamaged:
    """A run that was carried out once, and what belongs to it.

    Attributes:
        folder: holds `finished` and `halfway`, the same run before its last three steps, and room for copies.
        config: its settings.
        results: of the finished run, but for what was measured.
        weights: of every step that has a checkpoint.
        scores: the evaluation of these weights.
    """

    folder: Path
    config: Config
    results: dict[str, Any]
    weights: dict[int, list[np.ndarray]]
    scores: dict[int, dict]


@functools.cache
def undamaged() -> Undamaged:
    """Return the run."""
    folder = folder_for_this_process()
    (folder / "text.txt").write_text(ENGLISH * 3)
    settings = {"corpus": f"text:{folder}/text.txt", "cache_dir": str(folder / "cache"), **SMALL}
    config = from_flat(settings)
    with quick():
        assert train(config, folder / "finished").code == 0
        shutil.copytree(folder / "finished", folder / "halfway")
        (folder / "halfway" / "results.json").unlink()
        shutil.rmtree(folder / "halfway" / "checkpoints" / "step-00000008")
    weights, scores = {}, {}
    for place, steps in ((folder / "finished", [8]), (folder / "halfway", [6, 4])):
        for step in steps:
            model = lm_keras.load(place)
            assert model.step == step
            weights[step], scores[step] = weights_of(model), model.evaluate("valid")
            if place.name == "halfway":
                shutil.move(place / "checkpoints" / f"step-{step:08d}", folder / f"{step}")
        for step in steps[place.name == "finished" :]:
            shutil.move(folder / f"{step}", place / "checkpoints" / f"step-{step:08d}")
    return Undamaged(folder, config, results_of(folder / "finished"), weights, scores)


@contextlib.contextmanager
def quick():
    """Let runs sample nothing."""
    with (
        mock.patch.object(training_run, "answer_for", Silent),
        mock.patch("lm_keras.callbacks.samples.answer_for", Silent),
    ):
        yield


def weights_of(model) -> list[np.ndarray]:
    """Return the weights of a loaded run."""
    return [variable.numpy() for variable in model.model.variables]


def results_of(path: Path) -> dict[str, Any]:
    """Return the results of a run, but for how long it took."""
    measured = ("seconds", "saving_seconds")
    return {name: value for name, value in RunFolder(path).results.items() if name not in measured}


def damaged(name: str, damages, part: str = "") -> Path:
    """Return a damaged copy of the run, or of a part of it."""
    path = copied(undamaged().folder / name / part, undamaged().folder / "copy")
    for damage in damages:
        damage.do(path)
    return path


def same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    """Tell whether weights are the same bit by bit."""
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others))


def holds_read(case) -> None:
    """Weights, tokenizer and results are those of the step that is named, and an older step is spoken of."""
    checkpoint, damages = case
    run, path, err = undamaged(), damaged("finished", damages), io.StringIO()
    with contextlib.redirect_stderr(err):
        model = lm_keras.load(path, checkpoint)
    assert same(weights_of(model), run.weights[model.step])
    text = ENGLISH[:99]
    assert model.tokenizer.decode(model.tokenizer.encode(text)) == text
    scores = model.evaluate("valid")
    assert scores == run.scores[model.step], (scores, run.scores[model.step])
    gone = not (path / "checkpoints" / "step-00000008").exists()
    assert model.step == 8 or gone or "damaged" in err.getvalue(), err.getvalue()


def holds_finished(case) -> None:
    """The same command shows the results again, or says what is wrong."""
    path = damaged("finished", case)
    with quick():
        ended = train(undamaged().config, path)
    assert ended.code == 0
    assert results_of(path) == undamaged().results
    for name, values in undamaged().results["splits"].items():
        assert f"{name:6} {values['tokens']:>10,} {values['nats_per_token']:8.4f}" in ended.out


def holds_resumed(case) -> None:
    """A run that goes on ends where the undamaged one ends; one that is refused keeps its checkpoints."""
    run, path = undamaged(), damaged("halfway", case)
    before = contents_of(path / "checkpoints")
    try:
        with quick():
            ended = train(run.config, path)
    except InputError:
        after = contents_of(path / "checkpoints")
        assert all(after.get(name) == content for name, content in before.items())
        raise
    assert ended.code == 0
    assert results_of(path) == run.results
    with contextlib.redirect_stderr(io.StringIO()):
        model = lm_keras.load(path)
    assert model.step == 8
    assert same(weights_of(model), run.weights[8])
    assert model.evaluate("valid") == run.scores[8]
    assert (path / "metrics.jsonl").read_text().rstrip().endswith("}")


def contents_of(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def holds_report(case) -> None:
    """A report is made of what can be read, and its numbers are those of the run."""
    path = damaged("finished", case)
    (run,) = runs.read_runs([str(path)])
    content = page.page_of([run])
    assert content.endswith("</body></html>\n")
    if run.results is not None:
        assert {name: run.results[name] for name in undamaged().results} == undamaged().results


def holds_record(case) -> None:
    """A JSON file of a run says what was written, or nothing."""
    name, damage = case
    content = (undamaged().folder / "finished" / name).read_bytes()
    path = undamaged().folder / name
    path.write_bytes(damage.changed(content))
    assert records.read(path) == records.read(undamaged().folder / "finished" / name)


def holds_checkpoint(case) -> None:
    """Of two checkpoints those are whole that hold what was saved."""
    folder = damaged("halfway", case, "checkpoints")
    checkpoints = Checkpoints(folder)
    for step in checkpoints.steps():
        if not checkpoints.problem(step):
            for variable in network().variables:
                variable.assign(tf.zeros_like(variable))
            checkpoints.restore(step, {"model": network().variables}, everything=False)
            assert same([variable.numpy() for variable in network().variables], undamaged().weights[step])
    if checkpoints.best() is not None:
        assert checkpoints.progress(checkpoints.best())["validated"]["value"] == min(
            undamaged().scores[step]["nats_per_token"]
            for step in checkpoints.steps()
            if not checkpoints.problem(step)
        )


@functools.cache
def network():
    """A network to read weights into."""
    return lm_keras.load(undamaged().folder / "finished").model


def holds_truncated(case) -> None:
    """Of a file of lines those stay that can be read and are not beyond a step; what was written stays so."""
    step, damages = case
    path = damaged("finished", damages) / "metrics.jsonl"
    before = path.read_bytes().split(b"\n") if path.is_file() else []
    truncate_lines_after(path, step)
    if path.exists():
        kept = path.read_bytes().split(b"\n")
        assert kept.pop() == b""
        assert all(json.loads(line)["step"] <= step for line in kept)
        good = (undamaged().folder / "finished" / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
        assert {line for line in before if line in good and json.loads(line)["step"] <= step} <= set(kept)


def holds_forgotten(case) -> None:
    """Of the events those stay that were written and are not beyond a step."""
    step, damages = case
    written = events_of(undamaged().folder / "finished" / "events")
    folder = damaged("finished", damages, "events")
    forget_after(folder, step)
    kept = events_of(folder)
    assert kept <= {(event, record) for event, record in written if event <= step}
    assert step or not kept


def events_of(folder: Path) -> set[tuple[int, bytes]]:
    """Return step and bytes of all events below a folder."""
    paths = [path for path in folder.rglob("events.out*") if path.is_file()]
    found = set()
    for path in paths:
        for record in RawEventFileLoader(str(path)).Load():
            found.add((event_pb2.Event.FromString(record).step, record))
    return found


DAMAGES = st.lists(of_files(), min_size=1, max_size=3)
LINES = st.lists(of_files("*.jsonl"), min_size=1, max_size=3)
EVENTS = st.lists(of_files("events.*"), min_size=1, max_size=3)
RECORD = st.tuples(st.sampled_from(["results.json", "data.json", "environment.json"]), of_bytes() | of_json())
STEP = st.integers(0, 8)

LAWS = [
    Law("a JSON file of a run says what was written", "a damage to results.json, data.json or "
        "environment.json", RECORD, holds_record, 60, 2000),
    Law("a checkpoint holds what was saved", "one to three damages to files of two checkpoints", DAMAGES,
        holds_checkpoint, 30, 800, False),
    Law("lines of measures stay or are left out", "one to three damages to metrics.jsonl and samples.jsonl, "
        "a step to go on from", st.tuples(STEP, LINES), holds_truncated, 30, 500),
    Law("events stay or are left out", "one to three damages to event files, a step to go on from",
        st.tuples(STEP, EVENTS), holds_forgotten, 20, 300),
    Law("a damaged run is read rightly or refused", "one to three damages to files of a finished run",
        st.tuples(st.sampled_from(["last", "best"]), DAMAGES), holds_read, 15, 800),
    Law("a damaged run shows its results or is refused", "the same", DAMAGES, holds_finished, 20, 400),
    Law("a damaged run goes on to the same end or is refused", "the same with a run three steps before its "
        "end", DAMAGES, holds_resumed, 4, 250),
    Law("a report of a damaged run is right or refused", "one to three damages to metrics.jsonl and "
        "samples.jsonl, or to any files", LINES | DAMAGES, holds_report, 6, 250),
]  # fmt: skip
