"""The table, the picture and TensorBoard's HParams of a sweep."""

import dataclasses
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups, summary_v2

from lm_keras.sweeps import plot, report
from lm_keras.sweeps.rows import row_of, rows_of

COMMAND = "python scripts/sweep.py --sweep_dir=some"


def cells_of(table, first):
    """The cells of the table whose head begins with a word."""
    lines = table.split("\n")
    begin = next(number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows[0], rows[2:]


def test_the_table_has_the_best_first(sweep_of):
    folder = sweep_of([[6.0, 5.0], [4.0, 3.0, 4.4], "it is | bad", None], vary="embedding_dim=5,9,33,65")
    report.write(folder, COMMAND)
    page = (folder.path / "table.md").read_text()
    head, rows = cells_of(page, "embedding_dim")
    assert head[1:] == ["best, bits/byte", "step", "last", "training", "parameters", "seconds", "state"]
    assert rows[:2] == [
        ["9", "1.5000", "20", "2.2000", "1.9800", "1,235", "100", "finished, 30 steps"],
        ["5", "2.5000", "20", "2.5000", "2.2500", "1,234", "100", "finished, 20 steps"],
    ]
    assert rows[2] == ["33", "", "", "", "", "", "", r"failed: it is \| bad"]
    assert len(rows) == 3
    assert page.startswith(
        f"# some\n\n    {COMMAND}\n\n![What the trials reached](plot.png)\n\n| embedding_dim |"
    )
    assert page.endswith("Machine: a machine, 2 cores.\n\nDevices: CPU.\n\nCommit: c0ffee.\n")


def test_the_table_for_programs(sweep_of, lines_of):
    folder = sweep_of([[6.0, 5.0], [4.0, 3.0, 4.4], "bad"], vary="embedding_dim=5,9,33")
    report.write(folder, COMMAND)
    first, _, failed = lines_of(folder.path / "table.jsonl")
    assert {name: first[name] for name in ("trial", "settings", "state", "best_step", "parameters",
        "seconds")} == {
        "trial": "embedding_dim=9", "settings": {"embedding_dim": 9}, "state": "finished", "best_step": 20,
        "parameters": 1235, "seconds": 99.6,
    }  # fmt: skip
    scores = {"best": (3.0, 1.5), "last": (4.4, 2.2), "trained": (0.9 * 4.4, 0.9 * 2.2)}
    for which, (loss, bits) in scores.items():
        assert first[f"{which}_nats_per_token"] == pytest.approx(loss)
        assert first[f"{which}_bits_per_byte"] == pytest.approx(bits)
    assert (failed["state"], failed["failed"], failed["best_nats_per_token"]) == ("failed", "bad", None)


def test_trials_that_differ_in_their_seed_are_one(sweep_of):
    folder = sweep_of([[2.8], [5.0], [3.0], [3.2]], vary="dropout=0,0.5 seed=1,2")
    results = report.write(folder, COMMAND)
    head, rows = cells_of((folder.path / "table.md").read_text(), "dropout | seeds")
    assert head == ["dropout", "seeds", "best, bits/byte", "last", "training"]
    assert rows[0][:3] == ["0.5", "2", "1.550 (1.500 to 1.600)"]
    assert rows[1][:3] == ["0", "2", "1.950 (1.400 to 2.500)"]
    assert report.shown(results).split("\n")[1].split()[:5] == ["0.5", "2", "1.550", "(1.500", "to"]
    alone = sweep_of([[4.0], [5.0]], vary="seed=3,4")
    _, rows = cells_of(report.page_of(report.write(alone, COMMAND), "some", COMMAND), "seed")
    assert [row[0] for row in rows] == ["3", "4"]


def test_cases_are_one_column(sweep_of):
    folder = sweep_of([[4.0], [3.0]], cases="none; dropout=0.5 l2=0.1", vary="num_layers=2")
    head, rows = cells_of(report.page_of(report.write(folder, COMMAND), "some", COMMAND), "case")
    assert head[:2] == ["case", "best, bits/byte"]
    assert [row[0] for row in rows] == ["dropout=0.5 l2=0.1", "none"]


def test_without_bits_per_byte_the_loss_counts(sweep_of):
    folder = sweep_of([[4.0], [3.0]], bytes_per_token=None, vary="dropout=0,0.5")
    results = report.write(folder, COMMAND)
    assert report.shown(results).split("\n")[0].split()[:3] == ["dropout", "best,", "nats/token"]
    assert [row.result for row in results.rows] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("curves", "finished", "outcome"),
    [
        ([4.0, 3.0, 3.5], True, "1.5000 bits/byte at step 20, 100 s of training"),
        ([4.0], False, "unfinished, at step 10 of 10; 2.0000 bits/byte at step 10, 2 s of training"),
        ([], True, "not validated, 100 s of training"),
        ("no memory", True, "failed: no memory"),
        (None, True, "not begun"),
    ],
)
def test_what_is_said_of_a_trial(sweep_of, curves, finished, outcome):
    folder = sweep_of([curves], finished=finished, vary="dropout=0.5")
    assert row_of(folder, folder.trials[0]).outcome == outcome


def test_a_trial_with_a_damaged_file_takes_nothing_from_the_others(sweep_of):
    folder = sweep_of([[4.0], [3.0]], vary="dropout=0,0.5")
    (folder.path / "dropout=0" / "data.json").write_text("{")
    results = report.write(folder, COMMAND)
    assert [row.state for row in results.rows] == ["finished", "damaged"]
    assert [group.name for group in results.groups] == ["dropout=0.5"]
    _, (_, damaged) = cells_of((folder.path / "table.md").read_text(), "dropout")
    assert damaged[-1].startswith(f"damaged: {folder.path}/dropout=0/data.json cannot be read (")


@pytest.fixture
def drawn(monkeypatch):
    """The figure that is drawn last."""
    from matplotlib.figure import Figure

    figures = []
    init = Figure.__init__
    monkeypatch.setattr(
        Figure, "__init__", lambda self, *a, **k: (figures.append(self), init(self, *a, **k))[1]
    )
    return lambda: figures[-1].axes


def lines_in(panel):
    return {
        line.get_label(): (list(line.get_xdata()), pytest.approx(list(line.get_ydata())))
        for line in panel.lines
        if not line.get_label().startswith("_")
    }


def test_one_flag_is_a_curve_on_an_axis_that_fits(sweep_of, drawn):
    folder = sweep_of([[6.0, 7.0], [4.0], [5.0]], vary="embedding_dim=8,512,64")
    png = plot.png_of(report.write(folder, COMMAND).groups)
    over, steps = drawn()
    assert lines_in(over) == {
        "best validation": ([8, 64, 512], [3.0, 2.5, 2.0]),
        "last validation": ([8, 64, 512], [3.5, 2.5, 2.0]),
        "training, at the end": ([8, 64, 512], [0.9 * 3.5, 0.9 * 2.5, 0.9 * 2.0]),
    }
    assert (over.get_xscale(), over.get_xlabel(), over.get_ylabel()) == ("log", "embedding_dim", "bits/byte")
    assert lines_in(steps)["embedding_dim=8"] == ([10, 20], [3.0, 3.5])
    assert png[:8] == b"\x89PNG\r\n\x1a\n" and png == (folder.path / "plot.png").read_bytes()


def test_a_second_flag_makes_lines(sweep_of, drawn):
    sweep = sweep_of([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]], vary="dropout=0,0.25,0.5 model=lstm,ngram")
    report.write(sweep, COMMAND)
    over, _ = drawn()
    assert lines_in(over) == {
        "model=lstm": ([0.0, 0.25, 0.5], [0.5, 1.5, 2.5]),
        "model=ngram": ([0.0, 0.25, 0.5], [1.0, 2.0, 3.0]),
    }
    assert over.get_xscale() == "linear"


def test_cases_are_ranked(sweep_of, drawn):
    report.write(sweep_of([[4.0], [2.0, 3.0]], cases="none; dropout=0.5 l2=0.1"), COMMAND)
    ranking, steps = drawn()
    colours = [label.get_color() for label in ranking.get_yticklabels()]
    assert colours == [line.get_color() for line in steps.lines]  # Which have no other legend.
    assert [label.get_text() for label in ranking.get_yticklabels()] == ["dropout=0.5 l2=0.1", "none"]
    assert ranking.yaxis_inverted()  # The best above.
    assert lines_in(ranking)["best validation"] == ([1.0, 2.0], [0, 1])
    assert lines_in(ranking)["last validation"] == ([1.5, 2.0], [0, 1])


def test_many_flags_get_a_panel_each(sweep_of, drawn):
    curves = [[5.0 + (7 * number + 5) % 20] for number in range(20)]
    what = "learning_rate=log:1e-4..1e-2 dropout=0..0.5 model=lstm,ngram"
    report.write(sweep_of(curves, vary=what, random_trials=20), COMMAND)
    panels = drawn()
    assert [panel.get_xlabel() for panel in panels] == ["learning_rate", "dropout", "model", "trial"]
    assert [panel.get_xscale() for panel in panels[:2]] == ["log", "linear"]
    values = [curve[0] / 2 for curve in curves]
    best = np.minimum.accumulate(values)
    assert lines_in(panels[-1]) == {
        "trial": (list(range(1, 21)), values), "best so far": (list(range(1, 21)), list(best)),
    }  # fmt: skip


def groups_in_tensorboard(path):
    """What TensorBoard's HParams tab shows of a folder: the columns, and rows of settings and metrics."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(path))
    context = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0, slice_size=9, allowed_statuses=[api_pb2.STATUS_UNKNOWN]
    )
    arguments = RequestContext(), "", context.hparams_metadata(RequestContext(), "")
    experiment = context.experiment_from_metadata(*arguments[:2], True, arguments[2], [])
    columns = [
        *({"hparam": info.name} for info in experiment.hparam_infos),
        *({"metric": info.name} for info in experiment.metric_infos),
    ]
    request.col_params.extend(api_pb2.ColParams(include_in_result=True, **column) for column in columns)
    handler = list_session_groups.Handler(*arguments[:1], context, "", request)
    return experiment, handler.run().session_groups


def test_tensorboard_shows_the_trials(sweep_of):
    folder = sweep_of([[6.0, 5.0, 5.5], [4.0, 3.0]], vary="embedding_dim=5,9 dropout=0.5")
    for trial, last in zip(folder.trials, (5.5, 3.0)):  # What the run itself writes.
        content = summary_v2.hparams_pb(trial.settings, trial_id="")
        scores = report.hparams._scores({"nats_per_token": last, "bits_per_byte": last / 2})
        events = report.hparams._events([(0, 0.0, content), (30, 0.0, scores)])
        folder.write(f"{trial.name}/events/valid/events.out.tfevents.1", events)
    report.write(folder, COMMAND)
    experiment, groups = groups_in_tensorboard(folder.path)
    columns = {
        info.name: [value.number_value for value in info.domain_discrete.values]
        for info in experiment.hparam_infos
    }
    assert columns == {"embedding_dim": [5.0, 9.0], "dropout": [0.5]}
    shown = {info.display_name: info.name for info in experiment.metric_infos}
    assert set(shown) == {"best bits/byte", "best loss", "last bits/byte", "last loss"}
    rows = {
        group.hparams["embedding_dim"].number_value: {
            (value.name.group, value.name.tag): (value.value, value.training_step)
            for value in group.metric_values
        }
        for group in groups
    }
    assert rows == {
        5.0: {("best", "bits_per_byte"): (2.5, 20), ("best", "loss"): (5.0, 20), ("", "bits_per_byte"): (2.75,
            30), ("", "loss"): (5.5, 30)},
        9.0: {("best", "bits_per_byte"): (1.5, 20), ("best", "loss"): (3.0, 20), ("", "bits_per_byte"): (1.5,
            30), ("", "loss"): (3.0, 30)},
    }  # fmt: skip


def test_tensorboard_names_the_measure_that_trials_are_compared_by(sweep_of):
    rows = rows_of(sweep_of([[6.0, 5.0], [4.0, 3.0]], vary="embedding_dim=5,9"))
    by_accuracy = [dataclasses.replace(row, measure="accuracy") for row in rows]
    assert [name for *_, name in report.hparams._metrics(by_accuracy)] == [
        "bits/byte at the best step", "loss at the best step", "best accuracy",
        "last bits/byte", "last loss", "last accuracy",
    ]  # fmt: skip


def test_the_same_results_are_not_written_again(sweep_of):
    folder = sweep_of([[6.0], [4.0]], vary="embedding_dim=5,9")
    report.write(folder, COMMAND)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    report.write(folder, COMMAND)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before
    assert json.loads((folder.path / "sweep.json").read_text())["trials"][1]["name"] == "embedding_dim=9"
