"""Private runs: from the flag to the files, and bit-equal after a kill."""

import json
import stat

import pytest
from comparison import differing, everything_of

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.privacy import key
from lm_keras.training import run as training_run


class Crash(BaseException):
    """Stands for a kill: nothing of the package is asked what to do about it."""


@pytest.fixture
def crash(train, monkeypatch):
    """A function that begins a run or goes on with it, and ends it after a step that is not saved."""
    original = training_run.Run._callbacks

    def execute(config, path, step):
        def with_crash(self):
            import keras

            class Interrupt(keras.callbacks.Callback):
                def on_train_batch_end(self, batch, logs=None):
                    if logs["step"] == step:
                        raise Crash

            *listed, saving = original(self)
            return [*listed, Interrupt(), saving]

        with monkeypatch.context() as patch:
            patch.setattr(training_run.Run, "_callbacks", with_crash)
            with pytest.raises(Crash):
                train(config, path)

    return execute


@pytest.mark.parametrize("family", ["gpt", "lstm"])
def test_a_private_run_from_the_flag_to_the_files(private_config, train, crash, tmp_path, family, lines_of):
    config = private_config(family, dp_noise=None, dp_epsilon=9.0)
    crash(config, tmp_path / "parts", 12)
    secret = (tmp_path / "parts" / key.NAME).read_bytes()
    ended = train(config, tmp_path / "parts")
    assert ended.code == 0 and "going on from step 8 of 24" in ended.err
    assert (tmp_path / "parts" / key.NAME).read_bytes() == secret
    assert stat.S_IMODE((tmp_path / "parts" / key.NAME).stat().st_mode) == 0o600

    # The whole run with the same secret ends at the same bits; with another secret it does not.
    (tmp_path / "whole").mkdir()
    for name in (key.NAME, "lock"):
        (tmp_path / "whole" / name).write_bytes((tmp_path / "parts" / name).read_bytes())
    (tmp_path / "whole" / key.NAME).chmod(0o600)
    train(config, tmp_path / "whole")
    whole = everything_of(tmp_path / "whole")
    assert differing(everything_of(tmp_path / "parts"), whole) == set()
    if family == "lstm":
        train(config, tmp_path / "other")
        assert differing(everything_of(tmp_path / "other"), whole) >= {"tensors", "metrics"}

    # What the run promises is said everywhere.
    said = "at delta 1e-4, unit document, Poisson sampling"
    path = tmp_path / "whole"
    promised = RunFolder(path).results["privacy"]
    assert promised["line"] == f"epsilon 9 {said}"
    assert 8.9 < promised["epsilon"] <= 9.0
    assert f"privacy: {promised['line']}\n" in ended.err and "privacy: not covered are" in ended.err
    assert promised["line"] in " ".join((path / "README.md").read_text().split())
    training = [line for line in lines_of(path / "metrics.jsonl") if "split" not in line]
    assert [line["step"] for line in training] == [4, 8, 12, 16, 20, 24]
    epsilons = [line["epsilon"] for line in training]
    assert epsilons == sorted(epsilons) and epsilons[-1] == pytest.approx(promised["epsilon"])
    assert all(line["gradient_norm"] > 0 for line in training)
    # The secret is in no other file.
    found = [
        file.name
        for file in path.rglob("*")
        if file.is_file()
        and any(text in file.read_bytes() for text in (secret.strip(), bytes.fromhex(secret.decode())))
    ]
    assert found == [key.NAME]
    assert not list(path.rglob("tokens.tsv"))  # which counts the tokens of the private text
    assert json.loads((path / "data.json").read_text())["privacy"]["units"] < 300


def test_a_dry_run_tells_the_promise_and_times_private_steps(private_config, train, monkeypatch):
    from lm_keras.training import timing

    monkeypatch.setattr(timing, "TIMING_SECONDS", 0.1)
    ended = train(private_config("ngram", dp_noise=None, dp_epsilon=5.0), None, dry_run=True)
    assert ended.code == 0
    assert "privacy    epsilon 5 at delta 1e-4, unit document, Poisson sampling\n" in ended.out
    assert "accounted by RDP" in ended.out and "timing" in ended.out


def test_the_page_of_a_report_says_what_a_run_promises(private_config, train, tmp_path):
    from lm_keras.report.page import page_of
    from lm_keras.report.runs import read_runs

    train(private_config("ngram", steps=2), tmp_path / "run")
    page = page_of(read_runs([str(tmp_path / "run")]))
    assert "<h2>Privacy</h2>" in page and "at delta 1e-4, unit document, Poisson sampling" in page
