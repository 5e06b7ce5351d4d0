"""Every file of configs/: its form, that every flag of it arrives in a run, and three steps of it with a
small network.
"""

import json
import re
from pathlib import Path

import pytest
from opt_in import others_slow
from silent import Silent

from lm_keras import flags
from lm_keras.config import FIELDS
from lm_keras.embeddings import settings as of_embeddings
from lm_keras.training import run as training_run

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.flags"))
NAMES = [str(path.relative_to(ROOT / "configs").with_suffix("")) for path in CONFIGS]
STEPS = 3

SMALLER = {
    "vocab_size": 290, "num_layers": 1, "embedding_dim": 8, "hidden_units": 8, "sequence_length": 4,
    "batch_size": 20,
    "num_heads": 2, "ngram_order": 3, "replicas": 2,
}  # fmt: skip
"""What takes time in a file is made smaller, if the file sets it; every other flag is carried out as it
stands there.
"""

KIND = ("task", "model", "method", "bidirectional", "positions")
"""Flags that decide what code a run executes."""

NOT_OF_A_RUN = {"sweep_dir", "cases", "vary"}
FORM = re.compile(r"--(?P<name>[a-z][a-z0-9_]*)=(?P<value>\S.*)?|--(?P<off>no)?(?P<switch>[a-z][a-z0-9_]*)")


def given(text):
    """Return the flags of a config as name -> line, and what is wrong with its form."""
    found, problems, lines = {}, [], text.split("\n")
    if lines[-1] or not lines[0].startswith("# "):
        problems.append("it begins with a comment and ends with a line feed")
    for line in lines[:-1]:
        if re.fullmatch("#( .*)?", line):
            problems += [f"a comment behind flags: {line}"] if found else []
            continue
        match = FORM.fullmatch(line)
        name = match and (match["name"] or match["switch"])
        if not match or " --" in line or line != line.strip():
            problems.append(f"no flag on a line of its own: {line}")
        elif name in found:
            problems.append(f"given twice: {line}")
        else:
            found[name] = line
    return found, problems


@pytest.fixture
def executed(script, monkeypatch, tmp_path, english):
    """A function that carries out some steps of a config with a stand-in text, and returns how that ended."""

    monkeypatch.setattr(training_run, "answer_for", Silent)
    monkeypatch.setattr(
        training_run.callbacks, "TextSamples", lambda *args: training_run.keras.callbacks.Callback()
    )
    (tmp_path / "text.txt").write_text(english)
    lines = english.splitlines()[:100]
    (tmp_path / "labels.tsv").write_text("".join(f"{line}\t{line.split()[2]}\n" for line in lines))
    tagged = (
        "".join(f"{word} {'B-x' if word == 'the' else 'O'}\n" for word in line.split()) for line in lines
    )
    (tmp_path / "tags.conll").write_text("\n".join(tagged))
    pairs = "".join(f"{line}\t{' '.join(reversed(line.split()))}\n" for line in lines)
    (tmp_path / "pairs.tsv").write_text(f"source\ttarget\n{pairs}")
    chats = [[{"role": role, "content": line} for role in ("user", "assistant")] for line in lines]
    (tmp_path / "chats.jsonl").write_text("".join(f"{json.dumps({'messages': chat})}\n" for chat in chats))
    stand_in = {
        "classification": "tsv:{}/labels.tsv", "tagging": "conll:{}/tags.conll",
        "seq2seq": "tsv:{}/pairs.tsv", "chat": "jsonl:{}/chats.jsonl",
    }  # fmt: skip

    def train(text):
        lines, _ = given(text)
        kept = [line for name, line in lines.items() if name not in NOT_OF_A_RUN]
        (tmp_path / "config.flags").write_text("\n".join(kept) + "\n")
        task = lines.get("task", "").removeprefix("--task=")
        small = [f"--{name}={value}" for name, value in SMALLER.items() if name in lines]
        small += ["--sequence_length=128"] if task else []  # Whole examples have to fit.
        if task and not {"vocab_size", "tokenizer"} & set(
            lines
        ):  # It begins with a model, and takes its tokenizer.
            small.append(f"--vocab_size={SMALLER['vocab_size']}")
        words = [
            f"--flagfile={tmp_path}/config.flags",
            *small,
            f"--corpus={stand_in.get(task, 'text:{}/text.txt').format(tmp_path)}",
            f"--run_dir={tmp_path}/run",
        ]
        if "method" in lines:
            return lines, script("train_embeddings.py", *words, "--epochs=1")
        words += [
            "--epochs=",
            f"--steps={STEPS}",
            "--log_every=1",
            "--eval_every=100",
            "--jit=off",
            "--noprojector",
        ]
        valid = re.search("plateau|early_stopping", text)
        return lines, script("train.py", *words, *([] if valid else ["--split=100/0/0"]))

    return train


CHANGED = {
    *SMALLER, *NOT_OF_A_RUN, "corpus", "run_dir", "steps", "epochs", "split", "eval_every", "projector",
    "jit", "precision",
}  # fmt: skip
"""What the test says otherwise, or no run keeps as it was given."""


def first_of_each_kind():
    """Return one config for each combination of the flags in `KIND`."""
    found = {}
    for path in CONFIGS:
        lines, _ = given(path.read_text(encoding="utf-8"))
        found.setdefault(tuple({"model": "--model=lstm", **lines}.get(name) for name in KIND), path)
    return list(found.values())


FIRST = first_of_each_kind()
OTHERS = [path for path in CONFIGS if path not in FIRST]


def check_flags(path, lines, ended, run):
    """Check that a config has the right form, and that every flag of it arrived in a run."""
    assert given(path.read_text(encoding="utf-8"))[1] == []
    assert lines.get("run_dir") in (None, f"--run_dir=runs/{path.stem}")
    assert ended.code == 0, ended.err
    recorded = json.loads((run / "config.json").read_text())
    fields = of_embeddings.FIELDS if "method" in lines else FIELDS
    for name in set(lines) - CHANGED:
        match = FORM.fullmatch(lines[name])
        value = str(not match["off"]) if match["switch"] else match["value"]
        assert recorded[name] == flags._Parser(fields[name]).parse(value), name


@pytest.mark.parametrize("path", others_slow(CONFIGS, FIRST), ids=NAMES)
def test_three_steps_of_every_config(executed, tmp_path, path):
    lines, ended = executed(path.read_text(encoding="utf-8"))
    check_flags(path, lines, ended, tmp_path / "run")
    if "method" not in lines:
        steps = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in steps if "learning_rate" in line] == [1, 2, 3]
        assert all(line["loss"] for line in steps if "learning_rate" in line)


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)
def test_every_flag_arrives_in_a_run(executed, up_to_training, tmp_path, path):
    """A config of `FIRST` executes the same code for three steps."""
    lines, ended = executed(path.read_text(encoding="utf-8"))
    check_flags(path, lines, ended, tmp_path / "run")


def test_a_flag_that_does_not_arrive_is_seen(executed, up_to_training, tmp_path):
    lines, ended = executed(OTHERS[0].read_text(encoding="utf-8"))
    with pytest.raises(AssertionError, match="log_every"):
        check_flags(OTHERS[0], {**lines, "log_every": "--log_every=9"}, ended, tmp_path / "run")


GOOD = (
    "# A network.\n#\n--run_dir=runs/x\n--tokenizer=char\n--model=ngram\n--dropout=0.1\n--sample_prompt=a"
    " b|c\n"
)
BROKEN = {
    "joined": GOOD.replace("\n--tokenizer", " --tokenizer"),
    "with another command": GOOD.replace("runs/x\n", "runs/x --prompt='a b'\n"),
    "cut": GOOD.replace("--model=ngram", "--model"),
    "in two": GOOD.replace("--tokenizer=char", "--tokeni\nzer=char"),
    "comment": GOOD.replace("--dropout", "# --dropout=0.2\n--dropout"),
    "twice": GOOD + "--model=lstm\n",
    "indented": GOOD.replace("--model", " --model"),
    "empty line": GOOD.replace("--model", "\n--model"),
    "no value": GOOD.replace("ngram", ""),
    "bad value": GOOD.replace("0.1", "O.1"),
    "out of range": GOOD.replace("0.1", "1.1"),
    "unknown": GOOD.replace("--dropout", "--dropuot"),
    "contradiction": GOOD + "--num_heads=2\n",
    "no line feed": GOOD.strip(),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_config_is_seen(script, tmp_path, what):
    """By its form, or because its flags are refused."""
    assert given(GOOD)[1] == []
    _, problems = given(BROKEN[what])
    if not problems:
        (tmp_path / "config.flags").write_text(BROKEN[what])
        problems = script("train.py", f"--flagfile={tmp_path}/config.flags", "--run_dir=").err
        assert "--run_dir is missing" not in problems
    assert problems
