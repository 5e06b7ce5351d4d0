"""The script: a sweep that is stopped, killed and goes on, trials that fail, and what is refused."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from comparison import differing, everything_of

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.flagfiles import flagfile_of
from lm_keras.sweeps import execute, folder

ROOT = Path(__file__).parents[2]
CASES = "learning_rate=1e38 clip_norm=0; steps=40; embedding_dim=9 dropout=0.2"
NAMES = ["learning_rate=1e+38,clip_norm=0", "steps=40", "embedding_dim=9,dropout=0.2"]


def waited_for(process, happened, seconds=60):
    """Wait for something that a process, or one that is not known here, is to do."""
    end = time.monotonic() + seconds
    while not happened():
        assert not process or process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def flags(tiny_config, tmp_path_factory):
    """The flags of a sweep in which one trial fails, and that is long enough to be stopped."""
    config = tiny_config(
        model="ngram", steps=300, checkpoint_every=20, eval_every=200, log_every=80, sequence_length=3,
        sample_every=10**6,
        projector=False,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("flags") / "run.flags"
    path.write_text(flagfile_of(config.flat()) + "--run_dir=not/used\n")
    return [f"--flagfile={path}", f"--cases={CASES}"]


@pytest.fixture(scope="module")
def swept(flags, start, tmp_path_factory):
    """A sweep in three launches, and what each wrote: a signal, kill -9, and to the end."""
    path = tmp_path_factory.mktemp("sweeps") / "sweep"
    checkpoints = RunFolder(path / NAMES[2]).checkpoints()
    words, lives, steps = [*flags, f"--sweep_dir={path}"], [], []
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = start("sweep.py", *words)
        after = max(steps, default=0)
        waited_for(process, lambda after=after: max(checkpoints.steps(), default=0) > after)
        process.send_signal(number)
        lives.append((*process.communicate(), process.returncode))
        steps.append(max(checkpoints.steps(), default=0))
    # A trial that is forked, and not started anew, keeps the lock of the sweep until it has saved.
    waited_for(None, lambda: not folder._is_locked(path / "lock"))
    process = start("sweep.py", *words)
    lives.append((*process.communicate(), process.returncode))
    return path, lives, steps, words


def test_a_sweep_goes_on_where_it_was_stopped(swept):
    path, lives, steps, _ = swept
    (out, err, code), killed, (shown, last, ended) = lives
    lines = err.splitlines()
    assert (out, code) == ("", 143)
    assert lines[0].startswith(
        f"trial 1 of 3, {NAMES[0]}: failed: the loss or its gradient is not finite at step "
    )
    assert re.fullmatch(
        r"trial 2 of 3, steps=40: \d\.\d{4} bits/byte at step 40, \d+ s of training", lines[1]
    )
    assert lines[2].startswith(f"trial 3 of 3, {NAMES[2]}: unfinished, at step ")
    assert lines[3:] == ["stopped in trial 3 of 3; the same command goes on from there"]
    assert killed[2] == -signal.SIGKILL
    assert 20 <= steps[0] < steps[1] < 300
    again = "2 of 3 trials are done already, 1 of them failed (--retry_failed tries these again)"
    assert killed[1].splitlines()[0] == last.splitlines()[0] == again
    assert ended == 0
    assert last.splitlines()[1].startswith(f"trial 3 of 3, {NAMES[2]}: ")
    wrote, command = last.splitlines()[2:]
    assert wrote == f"wrote {path}/table.md, table.jsonl and plot.png; next:"
    assert command.startswith("  ") and command.endswith(f"tensorboard --logdir={path}")
    assert [line.split("  ")[0] for line in shown.splitlines()][1:] == sorted(
        ["embedding_dim=9 dropout=0.2", "steps=40"],
        key=lambda case: RunFolder(path / case.replace(" ", ",")).results["splits"]["valid"]["bits_per_byte"],
    ) + ["learning_rate=1e38 clip_norm=0"]
    assert [launch["step"] for launch in RunFolder(path / NAMES[1]).launches] == [0]
    first, second, third = (launch["step"] for launch in RunFolder(path / NAMES[2]).launches)
    assert first == 0 < second < third


def test_a_trial_is_the_run_of_train_with_the_same_flags(swept, flags, script, tmp_path):
    """The trial that was interrupted twice, too."""
    path = swept[0]
    ended = script("train.py", flags[0], "--embedding_dim=9", "--dropout=0.2", f"--run_dir={tmp_path}/alone")
    assert ended.code == 0
    trial, alone = everything_of(path / NAMES[2]), everything_of(tmp_path / "alone")
    assert not differing(trial, alone)
    assert differing(everything_of(path / NAMES[1]), alone) >= {"tensors", "metrics", "results"}


def test_the_same_command_prints_the_results_again(swept, script, contents_of):
    path, lives, _, words = swept
    before = contents_of(path)
    ended = script("sweep.py", *words)
    assert (ended.code, ended.out) == (0, lives[2][0])
    first, *rest = ended.err.splitlines()
    assert first == "3 of 3 trials are done already, 1 of them failed (--retry_failed tries these again)"
    assert rest == lives[2][1].splitlines()[2:]
    after = contents_of(path)
    assert {name for name in after if after[name] != before.get(name)} <= {
        "table.md"
    }  # Which names the command.
    assert after["table.md"].startswith(b"# sweep\n\n    python scripts/sweep.py --flagfile=")


def test_a_dry_run_names_the_trials_and_writes_nothing(swept, script, contents_of, tmp_path):
    path, _, _, words = swept
    before = contents_of(path)
    ended = script("sweep.py", *words, "--dry_run")
    assert ended == (
        0,
        "".join(f"{name}\n" for name in NAMES),
        "3 trials, 2 of them finished; nothing is trained\n",
    )
    assert contents_of(path) == before
    assert script("sweep.py", *words, f"--sweep_dir={tmp_path}/new", "--dry_run").code == 0
    assert not (tmp_path / "new").exists()


@pytest.fixture
def pretended(monkeypatch):
    """Trials that only pretend: a function from a word of their command line to an exit code and what they
    write.
    """
    calls = []

    def pretend(outcomes):
        def executed(self, words, log):
            run_dir = Path(next(word for word in words if word.startswith("--run_dir=")).split("=", 1)[1])
            calls.append(run_dir.name)
            code, text = next(value for word, value in outcomes.items() if word in words or not word)
            if text is not None:
                run_dir.mkdir(exist_ok=True)
                (run_dir / "config.json").write_text("{}")
                log.write(text.encode())
            else:
                log.write(b"devices: CPU\nerror: no text\n")
            log.flush()
            return code

        monkeypatch.setattr(execute.Processes, "execute", executed)
        return calls

    return pretend


def entries_of(path):
    return {
        entry["name"]: entry["failed"] for entry in json.loads((path / "sweep.json").read_text())["trials"]
    }


def test_failed_trials_are_tried_again_when_asked(pretended, script, tmp_path):
    words = ["--sweep_dir", tmp_path / "s", "--vary=num_layers=1,2,3"]
    outcomes = {
        "--num_layers=2": (1, "line\nerror: too large\n"),
        "--num_layers=3": (-9, "line"),
        "": (0, ""),
    }
    calls = pretended(outcomes)
    assert script("sweep.py", *words).code == 1  # Not one is finished.
    assert entries_of(tmp_path / "s") == {
        "num_layers=1": None, "num_layers=2": "too large", "num_layers=3": "it was ended by signal 9",
    }  # fmt: skip
    pretended({"": (0, "")})
    script("sweep.py", *words, "--retry_failed")
    assert calls == [f"num_layers={number}" for number in (1, 2, 3, 1, 2, 3)]
    assert set(entries_of(tmp_path / "s").values()) == {None}


def test_what_no_trial_can_begin_with_ends_the_sweep_and_binds_nobody(pretended, script, tmp_path):
    words = ["--sweep_dir", tmp_path / "s", "--vary=num_layers=1,2"]
    calls = pretended({"": (1, None)})
    ended = script("sweep.py", *words, "--corpus=text:none/*.txt")
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.err == "trial 1 of 2, num_layers=1: \nerror: the trial num_layers=1 could not begin: no text\n"
    )
    pretended({"": (0, "")})
    ended = script("sweep.py", *words, "--corpus=text:some/*.txt")
    assert "could not begin" not in ended.err and "other settings" not in ended.err
    assert calls == ["num_layers=1", "num_layers=1", "num_layers=2"]
    pretended({"": (1, None)})  # One that cannot begin among others is a failure of its own.
    assert (
        script(
            "sweep.py", "--sweep_dir", tmp_path / "s", "--corpus=text:some/*.txt", "--vary=num_layers=7"
        ).code
        == 1
    )
    assert entries_of(tmp_path / "s") == {
        "num_layers=1": None,
        "num_layers=2": None,
        "num_layers=7": "no text",
    }


def test_a_trial_that_somebody_else_stops_stops_the_sweep(pretended, script, tmp_path):
    calls = pretended({"": (130, "")})
    ended = script("sweep.py", "--sweep_dir", tmp_path / "s", "--vary=num_layers=1,2")
    assert (ended.code, calls) == (130, ["num_layers=1"])
    assert ended.err.endswith("stopped in trial 1 of 2; the same command goes on from there\n")


def test_other_trials_are_added(pretended, script, tmp_path):
    calls = pretended({"": (0, "")})
    words = ["--sweep_dir", tmp_path / "s"]
    script("sweep.py", *words, "--vary=num_layers=1,2")
    script("sweep.py", *words, "--vary=dropout=0,0.5 num_layers=1,3", "--steps_per_call=3")
    names = ["num_layers=1", "num_layers=2", "num_layers=1", "dropout=0,num_layers=3",
        "dropout=0.5,num_layers=1",
             "dropout=0.5,num_layers=3"]  # fmt: skip
    assert calls == names
    assert list(entries_of(tmp_path / "s")) == list(dict.fromkeys(names))
    ended = script("sweep.py", *words, "--vary=num_layers=4", "--learning_rate=0.5", "--steps=7")
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.err
        == f"error: --sweep_dir={tmp_path}/s holds a sweep with other settings: --steps: None in the sweep, 7"
        " now; --learning_rate: 0.002 in the sweep, 0.5 now. Use the same to go on or to add trials, vary"
        " that flag, or take another --sweep_dir\n"
    )


@pytest.fixture
def here(tmp_path):
    """A folder that holds a sweep, one that holds something else, and a file."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("x")
    (tmp_path / "sweep" / "none").mkdir(parents=True)
    (tmp_path / "sweep" / "none" / "config.json").write_text("{}")
    content = {"base": {}, "trials": [{"name": "none", "settings": {}, "case": "none"}]}
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps(content))
    return tmp_path


WRONG = {
    "--sweep_dir is missing: expected the folder for this sweep, such as --sweep_dir=sweeps/first": [],
    "--sweep_dir={}/other is not empty and holds no sweep; choose another folder": ["--sweep_dir={}/other"],
    "cannot write to --sweep_dir={}/other/a.txt: File exists; choose a folder that can be written":
        ["--sweep_dir={}/other/a.txt"],
    "--resume=never, but --sweep_dir={}/sweep holds a sweep; choose another folder, or go on with "
    "--resume=auto": ["--sweep_dir={}/sweep", "--resume=never"],
    "--resume=must, but --sweep_dir={}/new holds no sweep; begin one with --resume=auto":
        ["--sweep_dir={}/new", "--resume=must"],
    "--vary: --dropot is unknown (did you mean 'dropout'?); see --help for all flags": ["--sweep_dir={}/new",
        "--vary=dropot=1"],
    "--stps is unknown (did you mean --steps?); see --help for all flags": ["--stps=3"],
    "--random_trials=0 is out of range; expected a whole number of at least 1 and of at most 10000":
        ["--random_trials=0"],
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_bad_input_is_one_line(script, here, contents_of, message):
    before = contents_of(here)
    ended = script("sweep.py", "--cases=none; dropout=0.5", *(word.format(here) for word in WRONG[message]))
    assert ended == (1, "", f"error: {message.format(here)}\n")
    assert contents_of(here) == before


def test_a_cluster_is_refused(script, here, monkeypatch):
    monkeypatch.setenv(
        "TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
    )
    ended = script("sweep.py", "--cases=none", f"--sweep_dir={here}/new")
    assert ended == (
        1, "", "error: the environment variable TF_CONFIG is set, and a sweep is one process that starts its "
        "trials on this machine; "
        "unset it\n",
    )  # fmt: skip
    assert not (here / "new").exists()


DAMAGED = {
    "{": "cannot be read (Expecting property name",
    '{"base": {}}': "lacks 'trials'",
    '{"base": {"stps": 3}, "trials": []}': ": setting 'stps' is unknown (did you mean 'steps'?)",
    '{"base": {}, "trials": [{"name": "../x", "settings": {}}]}': ": '../x' is not the name of none",
    '{"base": {}, "trials": [{"name": "none", "settings": {}, "failed": 3}]}': "has 3 for 'failed'",
}


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_of_the_sweep(script, here, content):
    (here / "sweep" / "sweep.json").write_text(content)
    ended = script("sweep.py", "--cases=none; dropout=0.5", f"--sweep_dir={here}/sweep")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith(f"error: {here}/sweep/sweep.json")
    assert DAMAGED[content] in ended.err and ended.err.endswith("; restore it from a copy\n")


def test_two_sweeps_do_not_share_a_folder(script, here, tiny_config, monkeypatch):
    path = here / "sweep"
    with folder.SweepFolder(path, tiny_config()).held():
        ended = script("sweep.py", "--cases=none", f"--sweep_dir={path}")
    assert (ended.code, ended.out) == (1, "")
    assert (
        ended.err
        == f"error: another sweep is at work in --sweep_dir={path}; wait for it, stop it, or choose another"
        " folder\n"
    )
    monkeypatch.setattr(folder, "SAVING_SECONDS", 0)
    with RunFolder(path / "none").writing():
        ended = script("sweep.py", "--cases=none", f"--sweep_dir={path}")
    assert (
        ended.err
        == f"trial 1 of 1, none: \nerror: another process is training in {path}/none; wait for it, or stop"
        " it, and give the same command\n"
    )
    assert entries_of(path) == {"none": None}


def test_a_sweep_does_without_tensorflow(swept):
    """What comes after the trials, too; each trial imports it."""
    words = ["-X", "importtime", "scripts/sweep.py", *swept[3]]
    ended = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    names = [line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()]
    assert "matplotlib" in names and "tensorboard.plugins.hparams.summary_v2" in names
    assert not [name for name in names if name.partition(".")[0] in ("tensorflow", "keras")]


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/sweeps/*.flags")), ids=lambda path: path.stem)
def test_every_config_is_a_sweep(script, tmp_path, path):
    ended = script("sweep.py", f"--flagfile={path}", f"--sweep_dir={tmp_path}/new", "--dry_run")
    names = ended.out.splitlines()
    assert (ended.code, ended.err) == (0, f"{len(names)} trials, 0 of them finished; nothing is trained\n")
    assert f"--flagfile=configs/sweeps/{path.name}" in path.read_text()
    assert len(names) >= 10
