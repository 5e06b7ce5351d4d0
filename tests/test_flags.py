import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lm_keras import config, fields
from lm_keras.config import Config, from_flat
from lm_keras.flagfiles import flagfile_of

ROOT = Path(__file__).parents[1]
TRAIN = str(ROOT / "scripts" / "train.py")

READ = """
import dataclasses, json
from lm_keras import config, flags

def main():
    settings = flags.read_config().flat() | dataclasses.asdict(flags.read(config.RunOptions))
    print(json.dumps(settings))

flags.define(config.RunOptions, *config.GROUPS.values())
flags.run(main)
"""

RAISE = """
from lm_keras import flags
from lm_keras.errors import InputError

def main():
    {}

flags.run(main)
"""


def python(*arguments, environment=None):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env=os.environ | (environment or {}),
    )


def complaint(run):
    """The one line on standard error that bad input ends in; None if that is not how the run ended."""
    one_line = run.stderr.count("\n") == 1 and run.stderr.startswith("error: ") and not run.stdout
    return run.stderr[len("error: ") : -1] if one_line and run.returncode == 1 else None


BAD = {
    "--learning_rte=3": "--learning_rte is unknown (did you mean --learning_rate?); see --help for all flags",
    "--zzzqqq=3": "--zzzqqq is unknown; see --help for all flags",
    "--" + 999 * "x": "--" + 100 * "x" + "... is unknown; see --help for all flags",
    "--nosteps": "--nosteps is unknown (did you mean --steps?); see --help for all flags",
    "quickstart": (
        "'quickstart' is left over on the command line; every setting is a flag, --name=value, see --help"
    ),
    "--flagfile=no/such.flags": (
        "cannot read the flagfile no/such.flags: No such file or directory; expected a text file with a flag"
        f" a line, looked from the folder {ROOT}"
    ),
    "--steps": "Missing value for flag --steps",
    "--steps=0": "--steps=0 is out of range; expected a whole number of at least 1",
    "--steps=1e3": "--steps=1e3: expected a whole number of at least 1",
    "--steps=99999999999": "--steps=99999999999 is out of range; expected at most 2147483647",
    "--batch_size=": "--batch_size=: expected a whole number of at least 1",
    "--learning_rate=nan": "--learning_rate=nan is out of range; expected a number above 0",
    "--learning_rate=1e400": "--learning_rate=inf is out of range; expected a number above 0",
    "--dropout=1": "--dropout=1.0 is out of range; expected a number of at least 0 and below 1",
    "--model=lst m": (
        "--model=lst m is unknown (did you mean 'lstm'?); choose one of ngram, lstm, gpt, bert, glm,"
        " transformer"
    ),
    "--tie_embeddings=perhaps": "--tie_embeddings=perhaps: expected true or false",
    "--resume=maybe": "--resume=maybe is unknown; choose one of auto, never, must",
    "--learning_rate_schedule=cosin": (
        "--learning_rate_schedule: schedule 'cosin' is unknown (did you mean 'cosine'?); choose one of "
        "constant, linear, cosine, exponential, inverse_sqrt, staircase, wsd, plateau"
    ),
    "--sample_prompt=a\nb": (
        "--sample_prompt='a\\nb' has a line feed, a space at its end or bytes that are not UTF-8, "
        "which no flagfile can hold; leave them out"
    ),
}


@pytest.mark.parametrize("argument", BAD)
def test_bad_input_ends_in_one_line(argument):
    assert complaint(python(TRAIN, argument)) == BAD[argument]


def test_contradictions_end_in_one_line():
    message = complaint(python(TRAIN, "--steps=7", "--epochs=3"))
    assert message.startswith("--steps=7 and --epochs=3 contradict each other; give one of them")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "--learning_rte=3",
            "--learning_rte is unknown (did you mean --learning_rate?); see --help for all flags",
        ),
        (
            "steps=3",
            "line 4 of the flagfile {path} is 'steps=3'; expected a flag, --name=value, or a comment after #",
        ),
        (
            "--seed=-1",
            "--seed=-1 is out of range; expected a whole number of at least 0 and of at most 2147483647",
        ),
    ],
)
def test_bad_lines_of_a_flagfile(tmp_path, line, message):
    path = tmp_path / "bad.flags"
    path.write_text(f"# A comment.\n--num_layers=3\n\n{line}\n")
    assert complaint(python(TRAIN, f"--flagfile={path}")) == message.replace("{path}", str(path))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ('raise InputError("the corpus\\n  is empty")', "the corpus is empty"),
        (
            'open("no/such/file")',
            "no/such/file: No such file or directory; check the path and its permissions",
        ),
        (
            'raise OSError(28, "No space left on device", "run/x")',
            "run/x: No space left on device; free some space and run the same command again",
        ),
    ],
)
def test_errors_within_main_end_in_one_line(statement, message):
    assert complaint(python("-c", RAISE.format(statement))) == message


@pytest.mark.parametrize(
    "statement",
    ['raise RuntimeError("a bug")', 'print("out"); raise InputError("no")', "return 1", "return 0"],
)
def test_the_check_for_one_line_can_fail(statement):
    assert complaint(python("-c", RAISE.format(statement))) is None


@pytest.mark.parametrize(
    ("statement", "code", "error"),
    [
        ("return None", 0, ""),
        ("return 0", 0, ""),
        ("return 143", 143, ""),
        ("raise KeyboardInterrupt", 130, "\nstopped\n"),
        ("raise BrokenPipeError(32, 'Broken pipe', 'standard output')", 141, ""),
    ],
)
def test_exit_codes(statement, code, error):
    run = python("-c", RAISE.format(statement))
    assert (run.returncode, run.stderr, run.stdout) == (code, error, "")


def imports_tensorflow(run):
    """Whether a run under -X importtime imported TensorFlow or Keras."""
    names = [line.rpartition("|")[2].strip() for line in run.stderr.splitlines()]
    assert "encodings" in names  # else the option had no effect
    return any(name.partition(".")[0] in ("tensorflow", "keras") for name in names)


def test_help_is_quick_and_complete():
    start = time.perf_counter()
    run = python("-X", "importtime", TRAIN, "--help")
    assert time.perf_counter() - start < 3
    assert run.returncode == 0
    assert not imports_tensorflow(run)
    for name in [*config.FIELDS, "run_dir", "resume", "dry_run"]:
        assert f"--{name}:" in run.stdout or f"--[no]{name}:" in run.stdout


def test_help_shows_the_flags_of_a_dataclass_together():
    lines = python(TRAIN, "--help").stdout.splitlines()
    kinds = [config.RunOptions, *config.GROUPS.values()]
    heads = [f"{kind.__doc__.splitlines()[0].rstrip('.')}:" for kind in kinds]
    assert [line for line in lines if line in heads] == heads
    order = [field.name for kind in kinds for field in dataclasses.fields(kind)]
    flags = [match[1] for line in lines if (match := re.match(r"  --(?:\[no\])?(\w+): ", line))]
    assert flags == order
    first = lines.index(heads[2])  # The network comes behind where the text comes from.
    assert lines[first + 1 : first + 3] == [
        "  --model: family of the network (ngram, lstm, gpt, bert, glm, transformer)",
        "    (default: 'lstm')",
    ]


def test_the_check_for_tensorflow_can_fail(tmp_path):
    (tmp_path / "tensorflow.py").write_text("")
    run = python("-X", "importtime", "-c", "import tensorflow", environment={"PYTHONPATH": str(tmp_path)})
    assert imports_tensorflow(run)


def read_back(path, *more):
    """The settings that a script reads from a flagfile."""
    run = python("-c", READ, f"--flagfile={path}", *more)
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


DEFAULTS = Config().flat() | dataclasses.asdict(config.RunOptions())

OTHERS = {
    **{
        "corpus": "text:data/**/*.txt,more/[0-9]*.gz",
        "valid_corpus": "text:a b.txt",
        "test_corpus": "text:#1.txt",
        "split": "80/13/7",
        "document_separator": "<|endoftext|>",
        "corpus_weights": "3,1.5",
        "text_field": "body text",
        "label_field": "its class",
        "header": "yes",
        "on_bad_text": "skip",
        "normalize": "nfkc",
        "tokenizer": "char",
        "sentencepiece_model": "unigram",
        "byte_fallback": False,
        "vocab_size": 99,
        "cache_dir": "./~/$HOME/cache",
    },
    **{
        "model": "ngram",
        "task": "causal_lm",
        "num_layers": 3,
        "embedding_dim": 5,
        "hidden_units": 7,
        "ngram_order": 4,
        "dropout": 0.1 + 0.2,
        "tie_embeddings": True,
        "direct_connections": False,
        "forget_bias": 1.0,
        "weight_drop": 0.0,
        "init_scale": 1 / 3,
        "init_from": "runs/other",
        "init_checkpoint": "best",
        "embedding_init": None,
    },
    **{
        "sequence_length": 35,
        "batch_size": 26,
        "batching": "stream",
        "micro_batches": 13,
        "steps": 10**9,
        "state_reset": 0.25,
        "on_nonfinite": "skip",
        "spike_sigma": 5.5,
        "spike_window": 44,
    },
    **{"epochs": None, "seed": 2**31 - 1},
    **{
        "optimizer": "lamb",
        "learning_rate": 1e22 + 2**22,
        "learning_rate_schedule": "staircase:every=1000,factor=0.5,start=4000",
        "warmup_steps": 17,
        "dropout_schedule": "linear:initial=0,final=1",
        "token_noise": 0.3,
        "token_noise_kind": "blank",
        "token_noise_schedule": "cosine",
        "beta_1": 0.0,
        "beta_2": 1 - 2**-24 - 2**-53,
        "clip_norm": 0.25,
        "weight_decay": 1.2e-6,
        "l1": 2**-126 + 2**-178,
        "l2": 0.07,
        "label_smoothing": 0.11,
        "z_loss": 0.0003,
        "freeze": "embedding",
        "head_learning_rate": 0.07 / 3,
        "best_by": "accuracy",
        "early_stopping_evals": 4,
        "precision": "mixed_bfloat16",
    },
    **{
        "strategy": "mirrored",
        "replicas": 2,
        "steps_per_call": 6,
        "jit": "off",
        "deterministic": True,
        "eval_every": 101,
        "checkpoint_every": 102,
        "log_every": 8,
        "sample_every": 103,
        "sample_prompt": " // \"To\" 'be' = --steps=3 #月 \\n",
        "keep_checkpoints": 9,
        "projector": False,
        "histogram_every": 104,
        "profile_steps": "105:107",
    },
    **{
        "dp_epsilon": 3.5,
        "dp_noise": 0.7,
        "dp_delta": 2e-7,
        "dp_clip": 0.3,
        "dp_unit": "window",
        "dp_accountant": "pld",
        "dp_seed": 0,
    },
    **{"run_dir": "runs/a b=c", "resume": "must", "dry_run": True},
}


def test_a_written_flagfile_gives_the_same_settings(tmp_path):
    path = tmp_path / "flags.txt"
    from_flat({name: value for name, value in OTHERS.items() if name in config.FIELDS})  # allowed
    for_networks = [
        name for name, field in config.FIELDS.items() if OTHERS["model"] not in fields.families_of(field)
    ]
    others = OTHERS | {name: DEFAULTS[name] for name in for_networks}
    same = [name for name, value in OTHERS.items() if value == DEFAULTS[name]]
    # What other settings exclude: tied embeddings, the n-gram model (twice), the weights of a run, and steps.
    assert same == ["direct_connections", "forget_bias", "weight_drop", "embedding_init", "epochs"]
    path.write_text(flagfile_of(OTHERS), encoding="utf-8")
    assert read_back(path) == others
    changed = {
        "model": "gpt",
        "num_heads": 8,
        "biases": False,
        "norm": "rms",
        "rotary_base": 1e5,
        "rematerialize": True,
    }
    path.write_text(flagfile_of(DEFAULTS | changed), encoding="utf-8")
    assert read_back(path) == DEFAULTS | changed
    path.write_text(flagfile_of(DEFAULTS), encoding="utf-8")
    assert read_back(path) == DEFAULTS
    # What a flagfile leaves open is absent, and can be said on the command line after another setting.
    path.write_text(flagfile_of(OTHERS), encoding="utf-8")
    assert read_back(path, "--steps=", "--epochs=3") == others | {"steps": None, "epochs": 3}


def test_the_comparison_of_settings_can_fail(tmp_path):
    path = tmp_path / "flags.txt"
    rounded = flagfile_of(OTHERS).replace(str(1 / 3), "0.333333")
    path.write_text(rounded.replace("--nobyte_fallback\n", ""), encoding="utf-8")
    again = read_back(path)
    assert {name for name in OTHERS if again[name] != OTHERS[name]} == {"init_scale", "byte_fallback"}


def test_the_example_in_the_docstring():
    settings = {"steps": 10, "tie_embeddings": False, "valid_corpus": None}
    assert flagfile_of(settings) == "--steps=10\n--notie_embeddings\n--valid_corpus=\n"


def test_the_last_flag_wins_and_flagfiles_nest(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--steps=7\n--num_layers=3\n--tie_embeddings\n")
    outer.write_text(f"--flagfile={inner}\n--num_layers=5\n")
    settings = read_back(outer, "--steps=13", "--notie_embeddings")
    changed = {"steps": 13, "num_layers": 5, "tie_embeddings": False}
    assert settings == DEFAULTS | changed
    assert read_back(outer) == DEFAULTS | {"steps": 7, "num_layers": 5, "tie_embeddings": True}
