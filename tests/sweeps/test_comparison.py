"""A comparison, with scripts that only pretend to train and to measure."""

import json
import re
import signal

import pytest

from lm_keras.config import from_flat
from lm_keras.errors import InputError
from lm_keras.report.comparison import HEAD, rows_of, table_of
from lm_keras.report.page import page_of
from lm_keras.report.runs import read_runs
from lm_keras.sweeps.comparison import TIMING_STEPS, CompareOptions, compare
from lm_keras.sweeps.folder import locked

TRAIN = """
import json, os, pathlib, sys, time
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:])
said = pathlib.Path(flags["flagfile"]).read_text()
if "broken" in said:
    sys.exit("error: --model=bent is unknown")
folder, steps, pace = pathlib.Path(flags["run_dir"]), int(flags["steps"]), float(said.split("pace=")[1])
folder.mkdir(parents=True, exist_ok=True)
config = {CONFIG}
config["steps"] = steps
(folder / "config.json").write_text(json.dumps(config))
data = {"splits": {}, "total_steps": steps, "vocab_size": 7, "bad_text": {}}
(folder / "data.json").write_text(json.dumps(data))
with open(folder.parent / "calls.txt", "a") as calls:
    calls.write(f"train {folder.name} {steps}\\n")
if "stops" in said and not folder.name.startswith("."):
    if not (folder.parent / "stopped").exists():
        (folder.parent / "stopped").write_text("")
        sys.exit(130)
every = max(1, steps // 4)
lines = [
    {"step": step, "seconds": 5 + step / pace, "tokens_per_second": 100 * pace, "loss": 2.0}
    for step in range(every, steps + 1, every)
]
(folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
sample = {"prompt": "", "text": "t", "temperature": 0.8, "seed": 1}
results = {"step": steps, "seconds": steps / pace, "best_step": steps, "splits": {}, "sample": sample}
(folder / "results.json").write_text(json.dumps({**results, "parameters": 1234}))
"""

EVALUATE = """
import json, pathlib, sys
flags = dict(word[2:].split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(flags["run_dir"])
with open(folder.parent / "calls.txt", "a") as calls:
    calls.write(f"evaluate {folder.name} {flags.get('stride')} {flags['blanks']} {flags['split']}\\n")
print("some words on standard error", file=sys.stderr)
print(json.dumps({"bits_per_byte": 1.5, "blanks_of_1": 0.25, "blanks_of_5": 0.0}))
"""


@pytest.fixture
def scripts(tmp_path):
    folder = tmp_path / "scripts"
    folder.mkdir()
    config = from_flat({"model": "gpt", "sequence_length": 12}).flat()
    (folder / "train.py").write_text(TRAIN.replace("{CONFIG}", repr(config)))
    (folder / "evaluate.py").write_text(EVALUATE)
    return folder


@pytest.fixture
def flagfiles(tmp_path):
    def made(**contents):
        paths = []
        for name, content in contents.items():
            path = tmp_path / f"{name}.flags"
            path.write_text(content)
            paths.append(str(path))
        return paths

    return made


def calls(folder):
    return (folder / "calls.txt").read_text().splitlines()


def test_each_gets_as_many_steps_as_fit_and_is_measured(scripts, flagfiles, tmp_path, capsys):
    folder = tmp_path / "made"
    options = CompareOptions(str(folder), minutes=2.0, blanks=7, page=str(tmp_path / "page.md"))
    configs = flagfiles(fast="pace=10", slow="pace=2.5")
    assert compare(configs, options, scripts, "the command") == 0
    assert calls(folder) == [
        f"train .fast.trial {TIMING_STEPS}", "train fast 1200", "evaluate fast 6 7 test",
        f"train .slow.trial {TIMING_STEPS}", "train slow 300", "evaluate slow 6 7 test",
    ]  # fmt: skip
    assert not (folder / ".fast.trial").exists()
    table = capsys.readouterr().out
    assert re.search(
        r"\| fast \| gpt \| 1,234 \| 1,200 \| 2.0 min \| \d+,?\d* \| 1,000 \| \d+ \| 1.500 \| 25.0% \| – ",
        table,
    )
    page = (tmp_path / "page.md").read_text()
    assert "`the command`" in page and table.strip() in page
    # The same command has nothing left to do.
    assert compare(configs, options, scripts, "the command") == 0
    assert len(calls(folder)) == 6


def test_a_report_shows_it(scripts, flagfiles, tmp_path):
    folder = tmp_path / "made"
    assert (
        compare(flagfiles(a="pace=10", b="pace=2"), CompareOptions(str(folder), minutes=1.0), scripts, "c")
        == 0
    )
    runs = read_runs([str(folder / "a"), str(folder / "b")])
    assert all(len(row) == len(HEAD) for row in rows_of(runs))
    page = page_of(runs)
    assert "predict masked tokens" not in page
    assert "<h2>Comparison</h2>" in page and ">25.0%</td>" in page
    (folder / "b" / "comparison.json").write_text("[")
    runs = read_runs([str(folder / "a"), str(folder / "b")])
    assert (
        runs[1].notes == ["comparison.json cannot be read and is left out"]
        and len(table_of(runs).splitlines()) == 3
    )
    (folder / "a" / "comparison.json").unlink()
    assert "<h2>Comparison</h2>" not in page_of(read_runs([str(folder / "a")]))


def test_what_was_stopped_goes_on_with_the_same_steps(scripts, flagfiles, tmp_path, capsys):
    folder = tmp_path / "made"
    options, configs = CompareOptions(str(folder), minutes=1.0), flagfiles(a="pace=10", b="stops pace=2")
    assert compare(configs, options, scripts, "c") == 128 + signal.SIGINT
    assert "stopped; the same command goes on from there" in capsys.readouterr().err
    assert compare(configs, options, scripts, "c") == 0
    assert calls(folder)[-3:] == ["train b 120", "train b 120", "evaluate b 6 200 test"]
    assert calls(folder).count("train a 600") == 1


def test_other_options_and_other_runs_are_refused(scripts, flagfiles, tmp_path):
    folder, configs = tmp_path / "made", flagfiles(a="pace=10", b="pace=2")
    assert compare(configs, CompareOptions(str(folder), minutes=1.0), scripts, "c") == 0
    for changed, message in (
        ({"minutes": 2.0}, r"--minutes=1\.0, and now --minutes=2\.0"),
        ({"split": "valid"}, "--split=test, and"),
    ):
        with pytest.raises(InputError, match=message):
            compare(configs, CompareOptions(str(folder), **{"minutes": 1.0, **changed}), scripts, "c")
    # Measuring alone is done anew, with the memory that training took.
    kept = json.loads((folder / "b" / "comparison.json").read_text())["peak_mebibytes"]
    (folder / "b" / "comparison.json").unlink()
    assert compare(configs, CompareOptions(str(folder), minutes=1.0), scripts, "c") == 0
    assert calls(folder).count("train b 120") == 1
    assert json.loads((folder / "b" / "comparison.json").read_text())["peak_mebibytes"] == kept
    (folder / "b" / "comparison.json").write_text("[")
    with pytest.raises(InputError, match=r"comparison\.json cannot be read"):
        compare(configs, CompareOptions(str(folder), minutes=1.0), scripts, "c")
    # A run that somebody else has begun.
    (folder / "b" / "comparison.json").unlink()
    (folder / "b" / "peak.json").unlink()
    config = json.loads((folder / "b" / "config.json").read_text())
    (folder / "b" / "config.json").write_text(json.dumps({**config, "steps": None}))
    with pytest.raises(InputError, match="holds a run that was not begun here"):
        compare(configs, CompareOptions(str(folder), minutes=1.0), scripts, "c")


@pytest.mark.parametrize(
    ("contents", "settings", "message"),
    [
        ({"a": "pace=1", "b": "pace=1"}, {"compare_dir": None}, "--compare_dir is missing"),
        ({"a": "pace=1"}, {}, "expected two flagfiles at least"),
        ({"a": "pace=1", "b": "broken pace=1"}, {}, "b.flags failed: --model=bent is unknown; see "),
    ],
)
def test_bad_input_is_one_line(contents, settings, message, scripts, flagfiles, tmp_path):
    options = CompareOptions(**{"compare_dir": str(tmp_path / "made"), "minutes": 0.1, **settings})
    with pytest.raises(InputError) as error:
        compare(flagfiles(**contents), options, scripts, "c")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_one_comparison_at_a_time_and_a_folder_that_can_be_written(scripts, flagfiles, tmp_path):
    folder, configs = tmp_path / "made", flagfiles(a="pace=10", b="pace=2")
    with (
        locked(folder, "comparison", "compare_dir"),
        pytest.raises(InputError, match="another comparison is at work in"),
    ):
        compare(configs, CompareOptions(str(folder)), scripts, "c")
    assert [path.name for path in folder.iterdir()] == ["lock"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to --compare_dir="):
        compare(configs, CompareOptions(str(tmp_path / "file")), scripts, "c")


def test_flagfiles_that_are_missing_or_called_alike(scripts, flagfiles, tmp_path):
    options = CompareOptions(str(tmp_path / "made"))
    (one,) = flagfiles(a="pace=1")
    with pytest.raises(InputError, match=r"the flagfile nowhere\.flags is missing"):
        compare([one, "nowhere.flags"], options, scripts, "c")
    with pytest.raises(InputError, match="two flagfiles are called a"):
        compare([one, one], options, scripts, "c")
