"""What can happen to a run while it trains, and to what it wrote."""

import contextlib
import dataclasses
import functools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from small_disk import SmallDisk, fill

from faults import ENGLISH, ROOT, SMALL, USUAL, Ended, Fault, Result, files, process
from faults.caches import flip
from faults.paths import WITHOUT_RIGHTS
from lm_keras import quiet
from lm_keras.errors import GO_ON

if TYPE_CHECKING:
    import keras

RUN = (
    "--corpus=text:a.txt", "--run_dir=disk/run", "--steps=12", "--checkpoint_every=6", "--eval_every=6",
    "--log_every=2", "--steps_per_call=4", "--dropout=0.2", "--noprojector", "--sample_every=100",
)  # fmt: skip
"""Its checkpoints are of the steps 6 and 12."""

LAST = "disk/run/checkpoints/step-00000006"
KEPT = f"the checkpoints before are as they were; {GO_ON}"
FROM_6 = "going on from step 6 of 12"
IN_PLACE = (
    "is no longer in its place: it was deleted, moved or replaced while the run was training, and nothing"
    " more is written; put it back, and the same command goes on from the last checkpoint"
)
ANEW = "disk/run/checkpoints holds no checkpoint: the run begins again at step 0"


@dataclasses.dataclass(frozen=True)
class Mishap:
    """Something that happens to a run; the same command must then end as if nothing had happened.

    Attributes:
        name: what happens, in words; unique.
        how: how it is made, in words.
        happen: makes it, in the process that trains, with the network; `disk/run` is below the current
            folder.
        line: what the user reads then.
        then: what the user reads when the same command is carried out again.
        code: exit code of the first launch.
        step: after which it happens.
        at: class of the callback before which it happens; behind all of them if there is none.
        mend: what is done between the two launches, with the folder that holds `disk`.
        flags: flags after `RUN`.
        before: words before the command, which take rights from it.
        kibibytes: size of a disk of its own at `disk`; 0 for none.
        times: how often `scripts/reliability.py` does it.
    """

    name: str
    how: str
    happen: Callable[["keras.Model"], object]
    line: str
    then: str
    code: int = 1
    step: int = 12
    at: str = ""
    mend: Callable[[Path], object] = lambda folder: None
    flags: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    kibibytes: int = 0
    times: int = 1

    slow = True
    at_once = 1
    script = "train.py"
    common = tuple(SMALL)

    def execute(self) -> Result:
        """Let it happen, carry the command out again, and look at what came of it."""
        with _folder(self.kibibytes) as folder:
            first = self.start(folder)
            problems = self.problems_of(first, folder)
            self.mend(folder)
            second = process(self, list(RUN + self.flags), folder, lambda number: None)
            problems += _problems(second, 0, self.then, "the second time: ")
            if not problems:
                different = comparison().differing(everything_of(folder), undisturbed(self.flags))
                problems += [f"other {name} than an undisturbed run" for name in sorted(different)]
        said = "; ".join(filter(None, [self.line, self.then and f"then: {self.then}"]))
        return Result(first.code, said if not problems else "", problems)

    def start(self, folder: Path, start: Callable | None = None) -> Ended:
        """Carry out the first launch, in which it happens.

        Args:
            folder: where.
            start: starts a script with its arguments and in a folder; None for a new interpreter.
        """
        (folder / "a.txt").write_text(ENGLISH)
        if start:
            process = start(__file__, self.name, *SMALL, *RUN, *self.flags, folder=folder)
            out, err = process.communicate()
            return Ended(process.returncode, out, err)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "CUDA_VISIBLE_DEVICES": "-1"}
        command = [*self.before, sys.executable, __file__, self.name, *SMALL, *RUN, *self.flags]
        ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=600)
        return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())

    def problems_of(self, ended: Ended, folder: Path) -> list[str]:
        """Return what is not as it has to be after the first launch."""
        found = _problems(ended, self.code, self.line, "")
        if self.code and ended.out:
            found.append("something on standard output")
        if self.code > 0:
            left = [path for path in folder.rglob("*") if path.name.startswith(".")]
            found += [f"{path.relative_to(folder)} was left over" for path in left]
        return found


@functools.cache
def undisturbed(flags: tuple[str, ...]) -> dict:
    """Return all that a run comes to when nothing happens to it."""
    nothing = Fault("", "", lambda folder: None, RUN + flags, "", 0)
    with _folder(0) as folder:
        (folder / "a.txt").write_text(ENGLISH)
        process(nothing, [], folder, lambda number: None)
        return everything_of(folder)


def everything_of(folder: Path) -> dict:
    """Return all that the run in a folder came to."""
    return comparison().everything_of(folder / "disk" / "run")


def comparison():
    """Import what needs TensorFlow, without the lines that it prints."""
    quiet.import_tensorflow()
    import comparison

    return comparison


@contextlib.contextmanager
def _folder(kibibytes: int) -> Iterator[Path]:
    """Make a folder for a run, in which `disk` may be a disk of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        folder, disk = Path(path).resolve(), None
        folder.chmod(0o755)
        if kibibytes:
            disk = SmallDisk(folder / "disk", kibibytes)
        else:
            (folder / "disk").mkdir()
        try:
            yield folder
        finally:
            if disk:
                disk.unmount()


def _problems(ended: Ended, code: int, expected: str, when: str) -> list[str]:
    lines = [line for line in ended.err.split("\n")[:-1] if not USUAL.match(line)]
    line, found = " / ".join(line.removeprefix("error: ") for line in lines), []
    if ended.code != code:
        found.append(f"{when}exit code {ended.code} where {code} was expected")
    if line != expected:
        found.append(f"{when}{line!r} where {expected!r} was expected")
    return found


@contextlib.contextmanager
def happening(mishap: Mishap) -> Iterator[None]:
    """Let it happen to the run that is carried out within."""
    import keras

    from lm_keras.training import run as training_run

    class Happening(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if logs["step"] == mishap.step:
                mishap.happen(self.model)

    original = training_run.Run._callbacks

    def with_mishap(run, *args):
        listed = original(run, *args)
        names = [type(callback).__name__ for callback in listed]
        listed.insert(names.index(mishap.at) if mishap.at else len(listed), Happening())
        return listed

    training_run.Run._callbacks = with_mishap
    try:
        yield
    finally:
        training_run.Run._callbacks = original


@dataclasses.dataclass(frozen=True)
class Cost:
    """No fault: what saving takes of a whole run.

    Attributes:
        config: name of a file in `configs`.
        flags: more flags, such as where its text is.
    """

    config: str
    flags: tuple[str, ...] = ()

    times = 1
    slow = True
    at_once = 1
    before = ()
    limit = 0.05
    """The largest share of training and saving together that saving may take."""

    @property
    def name(self) -> str:
        """Return what is measured."""
        return f"no fault, but what saving costs: {self.config}"

    @property
    def how(self) -> str:
        """Return how it is measured."""
        return f"`--flagfile=configs/{self.config}.flags`, a checkpoint after each tenth of the run"

    def execute(self) -> Result:
        """Carry out the run and look at how long it saved."""
        with tempfile.TemporaryDirectory() as path:
            words = (f"--flagfile={ROOT}/configs/{self.config}.flags", *self.flags)
            fault = Fault("", "", lambda folder: None, words, "", 0)
            ended = process(fault, ["--run_dir=run"], Path(path), lambda number: None)
            if ended.code:
                return Result(ended.code, "", [ended.err])
            results = json.loads((Path(path) / "run" / "results.json").read_text())
            data = next((Path(path) / "run" / "checkpoints").glob("*/state.data*")).stat().st_size
            lives = json.loads((Path(path) / "run" / "environment.json").read_text())["lives"]
        saving, training = results["saving_seconds"], results["seconds"]
        share = saving / (saving + training)
        line = (
            f"{100 * share:.1f} % of the time: saving took {saving:.1f} s, training {training:.1f} s; a"
            f" checkpoint has {data / 2**20:.1f} MiB; {lives[0]['machine']}"
        )
        return Result(
            0, line, [] if share <= self.limit else [f"more than {100 * self.limit:.0f} % of the time"]
        )


def kill(model: "keras.Model") -> None:
    """End this process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in(owner: object, name: str, after: bool = False) -> Callable:
    """Return a function from which on a call of another one kills the process, before or after its work."""

    def happen(model: "keras.Model") -> None:
        original = getattr(owner, name)

        def killing(*args, **settings):
            if after:
                original(*args, **settings)
            kill(model)

        setattr(owner, name, killing)

    return happen


def kill_in_a_save(model: "keras.Model") -> None:
    """Let the process be killed when the tensors of a checkpoint are written, and nothing else of it."""
    import tensorflow as tf

    kill_in(tf.train.Checkpoint, "write", after=True)(model)


def lines_end_with_a_page(model: "keras.Model") -> None:
    """Let metrics.jsonl fill its last block, then fill the disk."""
    path = Path("disk/run/metrics.jsonl")
    with open(path, "a") as file:
        file.write(" " * (-path.stat().st_size % os.sysconf("SC_PAGE_SIZE")))
    fill(Path("disk"))


def spoil(model: "keras.Model") -> None:
    """Put a number that is not finite among the weights."""
    weights = model.trainable_variables[0].numpy()
    weights[2, 3] = float("nan")
    model.trainable_variables[0].assign(weights)


def full(name: str, how: str, path: str, kept: str = GO_ON, **more) -> Mishap:
    """A disk that is full when a file is to be written."""
    what = {"happen": lambda model: fill(Path("disk")), "then": FROM_6, "kibibytes": 4096, **more}
    line = f"cannot write {path}: No space left on device; {kept}"
    return Mishap(name, how, line=line, mend=lambda folder: (folder / "disk" / "ballast").unlink(), **what)


def lost(
    name: str, how: str, lose: Callable[[Path], object], path: str, then: str = FROM_6, **more
) -> Mishap:
    """A folder that is no longer in its place."""
    return Mishap(name, how, lambda model: lose(Path(path)), f"{path} {IN_PLACE}", then, step=8, **more)


def damaged(name: str, how: str, harm: Callable[[Path], object], problem: str, **more) -> Mishap:
    """Something that happens to the newest of two checkpoints while nothing runs."""
    newest = "disk/run/checkpoints/step-00000008"
    line = f"checkpoint {newest} is damaged ({problem}); using the one before it / going on from step 6 of 12"
    return Mishap(
        name, how, kill, "", line, -signal.SIGKILL, 10, mend=lambda folder: harm(folder / newest),
        flags=("--checkpoint_every=4",), **more,
    )  # fmt: skip


def aside(path: Path) -> None:
    """Move a file or folder away."""
    path.rename(path.with_name(f"{path.name}-aside"))


def back(path: str) -> Callable[[Path], None]:
    """Return a function that puts back what was moved away."""

    def mend(folder: Path) -> None:
        there = folder / path
        there.unlink(missing_ok=True)
        there.with_name(f"{there.name}-aside").rename(there)

    return mend


def in_a_small_disk(*words: str) -> tuple[str, ...]:
    """Return words before a command, for which `run` is a disk of its own; it vanishes with the command."""
    return (
        "unshare",
        "--mount",
        "sh",
        "-c",
        f'mount -t tmpfs -o {" ".join(words)} tmpfs run && exec "$@"',
        "sh",
    )


RUN_DIR, SAVED, DATA = "disk/run", "disk/run/checkpoints", "state.data-00000-of-00001"
TEXTS = os.environ.get("LM_KERAS_DATA")
WHOLE_RUNS = [("quickstart", ())]
if TEXTS:
    WHOLE_RUNS.append(("shakespeare_char", (f"--corpus=text:{TEXTS}/tinyshakespeare/input.txt",)))
OTHER = "has other content than was written"

FAULTS = [
    Fault("a disk that is too small for the run", "a file system of 1 MiB",
        lambda folder: (files({"a.txt": ENGLISH})(folder), (folder / "run").mkdir()),
        ("--corpus=text:a.txt", "--hidden_units=200", "--steps=12"),
        "the disk of --run_dir=run has 1.0 MiB free, and the run still writes 7.9 MiB (4 x 2.0 of "
        "checkpoints and 0.0 of curves); free space there, choose another --run_dir, or lower "
        "--keep_checkpoints=2", before=in_a_small_disk("size=1m")),
    Fault("a disk that is read-only", "mounted with `-o ro`",
        lambda folder: (files({"a.txt": ENGLISH})(folder), (folder / "run").mkdir()),
        ("--corpus=text:a.txt",),
        "cannot write to --run_dir=run: Read-only file system; choose a folder that can be written",
        before=in_a_small_disk("ro")),
    full("a disk that is full when a checkpoint is due", "a file system of 4 MiB, filled up after step 12",
        f"{SAVED}/step-00000012", KEPT, at="Checkpoint"),
    full("a disk that is full when the first checkpoint is due", "the same after step 6",
        f"{SAVED}/step-00000006", KEPT, at="Checkpoint", step=6, then=ANEW),
    full("a disk that is full when metrics are due", "the same after step 8", "disk/run/metrics.jsonl",
        at="MetricsFile", step=8, happen=lines_end_with_a_page),
    full("a disk that is full when TensorBoard's events are due", "the same after step 9, with histograms",
        "disk/run/events/train", at="Histograms", step=9, flags=("--histogram_every=3",)),
    full("a disk that is full when the projector's files are due", "the same after step 12",
        "disk/run/events/train/embedding.bytes", "free space there or choose a folder that can be written",
        at="Projector", flags=("--projector",)),
    full("a disk that is full when a profile is due", "the same after step 8",
        "disk/run/events/train/plugins/profile", at="Profile", step=8, flags=("--profile_steps=7:8",)),
    full("a disk that is full when the results are due", "the same after the last checkpoint",
        "disk/run/results.json", "free space there or choose a folder that can be written",
        then="going on from step 12 of 12"),
    lost("a run folder that is deleted", "`rm -r` after step 8", shutil.rmtree, RUN_DIR, ""),
    lost("a run folder that is moved", "`mv` after step 8, and back", aside, RUN_DIR, mend=back(RUN_DIR)),
    lost("a file in the place of the run folder", "`mv` and `touch` after step 8, and back",
        lambda path: (aside(path), path.touch()), RUN_DIR, mend=back(RUN_DIR)),
    lost("checkpoints that are deleted", "`rm -r` after step 8", shutil.rmtree, SAVED, ANEW),
    lost("checkpoints that are moved", "`mv` after step 8, and back", aside, SAVED, mend=back(SAVED)),
    lost("a file in the place of the checkpoints", "`mv` and `touch` after step 8, and back",
        lambda path: (aside(path), path.touch()), SAVED, mend=back(SAVED)),
    lost("a disk that is taken away", "`umount --lazy` after step 8, and mounted again",
        lambda path: subprocess.run(["umount", "--lazy", "disk"], check=True), RUN_DIR, "", kibibytes=4096,
        mend=lambda folder: SmallDisk(folder / "disk")),
    Mishap("checkpoints that are read-only", "`chmod 555` after step 8", lambda model: os.chmod(SAVED, 0o555),
        f"cannot write {SAVED}/step-00000012: Permission denied; {KEPT}", FROM_6, step=8,
        mend=lambda folder: (folder / SAVED).chmod(0o755), before=WITHOUT_RIGHTS),
    Mishap("killed while a checkpoint is written", "`kill -9` between its tensors and the rest",
        kill_in_a_save, "", FROM_6, -signal.SIGKILL, at="Checkpoint"),
    Mishap("killed while a checkpoint gets its name", "`kill -9` before it is renamed", kill_in(Path,
        "rename"), "", FROM_6, -signal.SIGKILL, at="Checkpoint"),
    Mishap("killed while the projector's files are written", "`kill -9` before one is renamed", kill_in(os,
        "replace"), "", FROM_6, -signal.SIGKILL, at="Projector", flags=("--projector",)),
    Mishap("killed while the results are written", "`kill -9` before they are renamed", kill_in(os,
        "replace"), "", "going on from step 12 of 12", -signal.SIGKILL),
    Mishap("a weight that is not finite", "NaN among the weights after step 12", spoil, "model variable "
        "lstm_language_model/output_kernel holds a number that is not finite at step 12, which is not saved; "
        "the checkpoints before are kept; begin a new run in another --run_dir with a lower --learning_rate "
        "or a --clip_norm", FROM_6, at="Checkpoint"),
    damaged("a flipped bit in the newest checkpoint", f"one bit of `{DATA}`", lambda path: flip(path / DATA),
        f"{DATA} {OTHER}"),
    damaged("a flipped bit in its index", "one bit of `state.index`", lambda path: flip(path / "state.index"),
        f"state.index {OTHER}"),
    damaged("a flipped bit in its progress", "one bit of `progress.json`",
        lambda path: flip(path / "progress.json"), f"progress.json {OTHER}"),
    damaged("a missing shard", f"`{DATA}` deleted", lambda path: (path / DATA).unlink(),
        f"{DATA} is missing"),
    damaged("an empty checkpoint", "a folder without files", lambda path: (shutil.rmtree(path), path.mkdir()),
        "an empty folder"),
    damaged("a link to nowhere for a checkpoint", "`ln -s nowhere`", lambda path: (shutil.rmtree(path),
        path.symlink_to("nowhere")), "a link to nowhere"),
    damaged("the checkpoint of another step", "`cp -r` of the one before", lambda path: (shutil.rmtree(path),
        shutil.copytree(path.with_name("step-00000006"), path)), "progress.json is of step 6"),
    Mishap("damaged results of a finished run", "one bit of `results.json`", lambda model: None, "",
        f"disk/run/results.json {OTHER}; the results are computed again from the last checkpoint / going on "
        f"from step 12 of 12", 0, mend=lambda folder: flip(folder / RUN_DIR / "results.json")),
    *(Cost(config, flags) for config, flags in WHOLE_RUNS),
]  # fmt: skip


def main() -> None:
    """Carry out `scripts/train.py` with the flags of the command line and with the mishap that its first word
    names.
    """
    name, *words = sys.argv[1:]
    (mishap,) = [mishap for mishap in FAULTS if mishap.name == name]
    sys.argv = [str(ROOT / "scripts" / "train.py"), *words]
    quiet.import_tensorflow()
    with happening(mishap):
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
