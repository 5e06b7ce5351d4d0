"""What would break the promise of a private run is refused in one line, before anything is written."""

import dataclasses
import json

import pytest

from lm_keras.errors import InputError
from lm_keras.privacy import key, refusals


def said(config):
    with pytest.raises(InputError) as caught:
        refusals.check_settings(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"dp_epsilon": 3.0}, "--dp_epsilon=3 and --dp_noise=1 contradict each other: one decides the other; "
            "leave one of them out"),
        ({"dp_noise": 0.01}, "--dp_noise=0.01 hides nothing; take 0.05 or more, or 0 for tests"),
        ({"dp_noise": None, "dp_delta": None, "dp_clip": 0.1},
            "--dp_clip=0.1 has no meaning without --dp_epsilon or --dp_noise; give one of them too, or leave "
            "it out"),
        ({"batching": "stream"}, "--batching=stream: with --dp_epsilon or --dp_noise a row must not know "
            "what came before it; leave it out"),
        ({"dropout": 0.1}, "--dropout=0.1: has no meaning with --dp_epsilon or --dp_noise: its masks follow "
            "from --seed, and noise regularizes anyway; leave it out"),
        ({"token_noise": 0.1}, "--token_noise=0.1: with --dp_epsilon or --dp_noise what is replaced must not "
            "follow from --seed and the text; leave it out"),
        ({"clip_norm": 0.3}, "--clip_norm=0.3: has no meaning with --dp_epsilon or --dp_noise, where "
            "--dp_clip clips the gradient of each row; leave it out"),
        ({"spike_sigma": 5.0}, "--spike_sigma=5.0: with --dp_epsilon or --dp_noise no step may be left out "
            "because of what it saw; leave it out"),
        ({"precision": "mixed_float16"}, "--precision=mixed_float16: with --dp_epsilon or --dp_noise the "
            "loss scale would follow the private text; take float32 or mixed_bfloat16"),
        ({"early_stopping_evals": 2}, "--early_stopping_evals=2: ends the run by private text; leave it out, "
            "or give public text with --valid_corpus"),
        ({"learning_rate_schedule": "plateau"}, "--learning_rate_schedule=plateau: lowers the rate by "
            "private text; take another one, or give public text with --valid_corpus"),
        ({"tokenizer": "char"}, "--tokenizer=char: would be learnt from the private text; take byte, the "
            "folder of a tokenizer of other text (scripts/train_tokenizer.py), or --init_from a run on other "
            "text"),
    ],
)  # fmt: skip
def test_settings_that_break_the_promise(private_config, settings, line):
    refusals.check_settings(private_config())
    assert said(private_config(**settings)) == line


def test_public_text_to_validate_on_may_decide(private_config, documents):
    public = {"valid_corpus": f"jsonl:{documents}"}
    refusals.check_settings(private_config(early_stopping_evals=2, **public))
    refusals.check_settings(private_config(learning_rate_schedule="plateau", **public))


def test_tasks_whose_rows_hold_several_examples(tiny_config):
    with pytest.raises(InputError, match=r"--dp_noise=1.0 has no meaning for --task=classification"):
        tiny_config(dp_noise=1.0, task="classification", corpus="tsv:a.tsv")


@pytest.fixture(scope="module")
def runs(tiny_config, documents, train, tmp_path_factory):
    """Runs on the private text: with its tokenizer, with bytes; and a private one."""
    folder = tmp_path_factory.mktemp("origins")
    with pytest.MonkeyPatch.context() as patch:
        from lm_keras.training import run as training_run

        patch.setattr(
            training_run.callbacks, "TextSamples", lambda *args: training_run.keras.callbacks.Callback()
        )
        patch.setattr(training_run.Run, "_results", lambda self: {"step": 2, "splits": {}, "best_step": None})
        same = {
            "corpus": f"jsonl:{documents}",
            "steps": 2,
            "model": "ngram",
            "batch_size": 4,
            "sample_every": 10**6,
            "eval_every": 10**6,
        }
        train(tiny_config(**same), folder / "char")
        train(tiny_config(**same, tokenizer="byte"), folder / "byte")
        private = tiny_config(**same, tokenizer="byte", dp_noise=1.0, dp_delta=1e-4)
        train(private, folder / "private")
    return folder


def test_weights_and_tokenizers_that_know_the_text(private_config, train, runs, tmp_path):
    ngram = {"family": "ngram", "steps": 2, "batch_size": 4}
    for settings, flag, name in (
        ({"tokenizer": str(runs / "char")}, "tokenizer", "char"),
        ({"init_from": str(runs / "byte")}, "init_from", "byte"),
    ):
        with pytest.raises(InputError) as caught:
            train(private_config(**ngram, **settings), tmp_path / name)
        assert str(caught.value) == (
            f"--{flag}={runs / name} has learnt the same text without privacy, which no noise can take back;"
            " begin with a run on other text, or leave it out"
        )
        assert not (tmp_path / name).exists()
    config = private_config(**ngram, init_from=str(runs / "private"))
    lines = []
    data = json.loads((runs / "private" / "data.json").read_text())
    refusals.check_origins(config, data["splits"], lines.append)
    epsilon = data["privacy"]["epsilon"]
    assert lines == [
        f"{runs / 'private'} has learnt the same text privately: the two epsilons add up (epsilon"
        f" {epsilon:.3g} there)"
    ]
    # The control: of another text nothing is said.
    other = {"train": {"fingerprint": "another", "corpus_sha256": "another"}}
    lines.clear()
    refusals.check_origins(private_config(**ngram, init_from=str(runs / "byte")), other, lines.append)
    assert lines == []


def test_a_private_run_goes_no_further_and_needs_its_secret(private_config, train, runs, tmp_path):
    path = runs / "private"
    config = private_config("ngram", steps=2, batch_size=4, learning_rate=0.02)
    config = dataclasses.replace(config, **{"running": dataclasses.replace(config.running, jit="auto")})
    longer = dataclasses.replace(config, batches=dataclasses.replace(config.batches, steps=3))
    with pytest.raises(InputError) as caught:
        train(longer, path)
    assert str(caught.value) == (
        f"the private run in {path} is accounted for 2 steps and can't train for 3; begin a new run with"
        " another --run_dir, whose epsilon adds up"
    )
    secret = path / key.NAME
    kept = secret.read_text()
    (path / "results.json").unlink()
    secret.chmod(0o644)
    with pytest.raises(InputError, match=r"may be read by others, .*; run chmod 600"):
        train(config, path)
    secret.chmod(0o600)
    secret.write_text("12\n")
    with pytest.raises(InputError, match=r"cannot be read \(1 bytes, where 16 belong\); restore it"):
        train(config, path)
    secret.unlink()
    with pytest.raises(InputError, match="is missing, without which the private run can't go on"):
        train(config, path)
    secret.write_text(kept)
    secret.chmod(0o600)


def test_secrets_are_drawn_once_and_keys_of_purposes_differ(tmp_path):
    key.make(tmp_path)
    secret = key.read(tmp_path)
    key.make(tmp_path)
    assert key.read(tmp_path) == secret and len(secret) == key.SIZE
    assert (tmp_path / key.NAME).stat().st_mode & 0o777 == 0o600
    assert len({secret, *(key.derived(secret, name) for name in ("noise", "samples", "masks"))}) == 4
    (tmp_path / "other").mkdir()
    key.make(tmp_path / "other")
    assert key.read(tmp_path / "other") != secret
    assert key.of_seed(1) == key.of_seed(1) != key.of_seed(2)


def test_a_document_that_is_the_whole_text(private_config, train, shared_corpus, tmp_path):
    with pytest.raises(InputError, match=r"--dp_unit=document: the training text has \d+ documents?"):
        train(private_config(corpus=f"text:{shared_corpus}"), tmp_path / "run")
