"""Nothing that is loaded can run code, reach for other files, or take memory that it has no right to."""

import ast
import contextlib
import json
import os
import pickle
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

import lm_keras
from lm_keras import models, text
from lm_keras.checkpoints import records
from lm_keras.checkpoints.records import sealed
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import Checkpoints
from lm_keras.config import DataConfig, from_flat
from lm_keras.corpora import open_corpus
from lm_keras.data.preparation import prepare
from lm_keras.disk import files as disk_files
from lm_keras.disk.folders import SUMS, _sum
from lm_keras.errors import InputError
from lm_keras.report import page, runs
from lm_keras.text import load_tokenizer, train_tokenizer
from lm_keras.text.sentencepiece import sentencepiece_model_pb2
from lm_keras.training.trainer import Trainer

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "lm_keras").rglob("*.py"), *(ROOT / "scripts").rglob("*.py")])

# What the code does

FORBIDDEN_MODULES = {
    "pickle",
    "_pickle",
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "yaml",
    "h5py",
    "torch",
}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_CALLS = re.compile(
    r"os\.(system|popen|exec\w+|spawn\w+)|subprocess\.(getoutput|getstatusoutput)"
    r"|.*\.(load_model|load_weights|read_pickle"
    r"|enable_unsafe_deserialization|deserialize_keras_object)"
    r"|tensorflow\.saved_model\.load|torch\.(jit\.)?load|tensorflow\.py_func.*"
)
FORBIDDEN_SETTINGS = {("shell", True), ("allow_pickle", True), ("safe_mode", False)}
"""Keyword and value."""


def violations(source: str) -> list[str]:
    """What a file does that could run code from another file, a line each."""
    tree, aliases, found = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = {(alias.asname or alias.name.split(".")[0]): alias.name for alias in node.names}
            aliases |= {
                name: path if "." not in path or name != path.split(".")[0] else name
                for name, path in names.items()
            }
            found += [
                f"imports {alias.name}"
                for alias in node.names
                if alias.name.split(".")[0] in FORBIDDEN_MODULES
            ]
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found += [f"imports {node.module}"] * (node.module.split(".")[0] in FORBIDDEN_MODULES)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found += _wrong_call(node, aliases)
    return found


def _wrong_call(node: ast.Call, aliases: dict[str, str]) -> list[str]:
    name = _dotted(node.func, aliases)
    keywords = {word.arg: word.value.value for word in node.keywords if isinstance(word.value, ast.Constant)}
    wrong = name in FORBIDDEN_NAMES or FORBIDDEN_CALLS.fullmatch(name)
    wrong = wrong or any(item in FORBIDDEN_SETTINGS for item in keywords.items())
    # A setting that is not written down as a constant could be any.
    if re.match(r"subprocess|numpy\.load|keras", name):
        unknown = [word.arg for word in node.keywords if not isinstance(word.value, ast.Constant)]
        wrong = wrong or any(word in ("shell", "allow_pickle", "safe_mode", None) for word in unknown)
    wrong = wrong or (
        name in ("numpy.load", "numpy.lib.format.read_array") and keywords.get("allow_pickle") is not False
    )
    if name in ("importlib.import_module", "runpy.run_path", "runpy.run_module"):
        wrong = not (node.args and isinstance(node.args[0], ast.Constant))
    return [f"line {node.lineno} calls {name}"] if wrong else []


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str:
    if isinstance(node, ast.Name):
        return aliases.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, aliases)}.{node.attr}"
    return "?"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_what_it_loads(path):
    # The launcher starts the project's own script, by a list of words and without a shell.
    # The peers of the benchmarks are written in PyTorch, whose layers load nothing. Tables in the code name
    # modules: those of the peers, and those of families, tasks, sources and tokenizers.
    torch = ["imports torch"]
    own = {
        "launcher.py": ["calls subprocess.Popen"],
        "torch_peer.py": torch,
        "torch_gpt.py": [*torch, "imports torch.nn"],
        "torch_masked.py": [*torch, "imports torch.nn"],
        "torch_labels.py": [*torch, "imports torch.nn"],
        "torch_pairs.py": [*torch, "imports torch.nn"],
        "torch_tagger.py": [*torch, "imports torch.nn"],
        "torch_translator.py": torch,
        "transformers_peer.py": torch,
        "answers_of_peers.py": torch,
        "running.py": ["calls importlib.import_module"],
        "registry.py": 2 * ["calls importlib.import_module"],
    }
    found = violations(path.read_text(encoding="utf-8"))
    assert [re.sub(r"^line \d+ ", "", line) for line in found] == own.get(path.name, [])


BAD = [
    "import pickle",
    "import pickle as p",
    "from pickle import loads",
    "from _pickle import loads",
    "import marshal",
    "import shelve",
    "import dill",
    "import joblib",
    "import yaml",
    "import h5py",
    "def f():\n    import cloudpickle",
    "eval(x)",
    "exec(x)",
    "compile(x, y, 'exec')",
    "__import__(x)",
    "import os\nos.system(x)",
    "import os as o\no.popen(x)",
    "from os import system\nsystem(x)",
    "import os\nos.execvp(x, y)",
    "import subprocess\nsubprocess.run(x, shell=True)",
    "import subprocess\nsubprocess.run(x, shell=y)",
    "from subprocess import Popen\nPopen(x, shell=True)",
    "import subprocess\nsubprocess.getoutput(x)",
    "import numpy as np\nnp.load(x)",
    "import numpy as np\nnp.load(x, allow_pickle=True)",
    "import numpy as np\nnp.load(x, allow_pickle=y)",
    "import numpy\nnumpy.load(x, 'r')",
    "from numpy import load\nload(x)",
    "f(x, allow_pickle=True)",
    "import keras\nkeras.models.load_model(x)",
    "import keras\nkeras.saving.load_model(x, safe_mode=False)",
    "from keras.models import load_model\nload_model(x)",
    "model.load_weights(x)",
    "import keras\nkeras.config.enable_unsafe_deserialization()",
    "import tensorflow as tf\ntf.saved_model.load(x)",
    "import tensorflow as tf\ntf.keras.models.load_model(x)",
    "import pandas as pd\npd.read_pickle(x)",
    "import importlib\nimportlib.import_module(x)",
    "import runpy\nrunpy.run_path(x)",
]

GOOD = [
    "import json\njson.loads(x)",
    "import numpy as np\nnp.load(x, allow_pickle=False)",
    "import numpy as np\nnp.memmap(x, np.uint16, 'r')",
    "import subprocess\nsubprocess.run(['git', x], timeout=3)",
    "import re\nre.compile(x)",
    "import importlib\nimportlib.import_module('apache_beam')",
    "text.load_tokenizer(x)",
    "model.compile(x)",
    "import os.path\nos.path.exists(x)",
]


@pytest.mark.parametrize("source", BAD)
def test_the_check_of_files_can_fail(source):
    assert len(violations(source)) == 1


@pytest.mark.parametrize("source", GOOD)
def test_the_check_of_files_can_pass(source):
    assert violations(source) == []


# What files may hold


class Evil:
    """What runs code as soon as it is unpickled: it makes a folder."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.mkdir, (self.marker,)


def pickled(folder: Path, marker: Path) -> dict[str, bytes]:
    """Files with an object that would run code: name -> content."""
    array = np.array([Evil(marker)], dtype=object)
    np.save(folder / "a.npy", array, allow_pickle=True)
    np.savez(folder / "a.npz", array=array)
    found = {name: (folder / name).read_bytes() for name in ("a.npy", "a.npz")}
    for name in found:
        (folder / name).unlink()
    return {**found, "a.pkl": pickle.dumps(Evil(marker))}


@pytest.fixture
def evil(tmp_path):
    """Such files; nothing may have run them in the end."""
    marker = tmp_path / "somebody was here"
    yield pickled(tmp_path, marker)
    assert not marker.exists()


def test_such_a_file_is_dangerous(tmp_path):
    marker = tmp_path / "marker"
    for name, content in pickled(tmp_path, marker).items():
        path = tmp_path / name
        path.write_bytes(content)
        loaded = pickle.loads(content) if name == "a.pkl" else np.load(path, allow_pickle=True)
        if name == "a.npz":
            _ = loaded["array"]
        assert marker.is_dir(), name
        marker.rmdir()


KINDS = ["a.npy", "a.npz", "a.pkl"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [None, "a.txt", "a.gz", "a.jsonl"])
def test_as_a_text(evil, tmp_path, kind, name):
    path = tmp_path / (name or kind)
    path.write_bytes(evil[kind])
    for policy in ("error", "replace"):
        config = DataConfig(corpus=f"text:{path}", tokenizer="byte", on_bad_text=policy, split="100/0/0")
        with pytest.raises(InputError):
            prepare(config)


RUN_FILES = ["config.json", "data.json", "results.json", "tokenizer/tokenizer.json",
    "checkpoints/*24/progress.json",
             "checkpoints/*24/state.index", "checkpoints/*24/state.data-*", "metrics.jsonl"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RUN_FILES)
def test_as_a_file_of_a_run(evil, finished, train, tmp_path, kind, name, capsys):
    path = tmp_path / "run"
    shutil.copytree(finished.path, path)
    (file,) = path.glob(name)
    file.write_bytes(evil[kind])
    for use in (
        lambda: lm_keras.load(path),
        lambda: train(finished.config, path),
        lambda: runs.read_runs([str(path)]),
    ):
        try:
            use()
        except InputError as error:
            assert str(error).isprintable()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokenizer", ["char", "sentencepiece"])
def test_as_a_tokenizer(evil, tmp_path, kind, tokenizer):
    size = 275 if tokenizer == "sentencepiece" else None
    train_tokenizer(tokenizer, ["to be or not to be\n"] * 9, vocab_size=size, normalization="none").save(
        tmp_path
    )
    for path in (tmp_path / "sentencepiece.model", tmp_path / "tokenizer.json"):
        if path.exists():
            path.write_bytes(evil[kind])
            with pytest.raises(InputError, match="damaged or no tokenizer"):
                load_tokenizer(tmp_path)


@pytest.fixture
def cached(tmp_path):
    """A prepared text: its settings, and a function that writes into its store and makes the sums right
    again.
    """
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 9)
    config = DataConfig(
        corpus=f"text:{tmp_path}/a.txt", tokenizer="char", split="100/0/0", cache_dir=str(tmp_path / "cache")
    )
    prepare(config)
    (folder,) = (tmp_path / "cache" / "tokens").iterdir()

    def forge(name, content, sign=True):
        (folder / name).write_bytes(content)
        if sign:
            files = [path for path in folder.iterdir() if path.name != SUMS]
            (folder / SUMS).write_text(json.dumps({path.name: _sum(path) for path in files}))
        return folder

    return config, forge


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["tokens", "documents", "store.json"])
def test_as_a_file_of_the_cache(evil, cached, kind, name):
    config, forge = cached
    folder = forge(name, evil[kind])
    with pytest.raises(InputError) as caught:
        prepare(config)
    assert str(caught.value).startswith(f"{folder} holds no tokens (")
    assert str(caught.value).endswith("; delete it, and it is made again from the text")


@pytest.mark.parametrize("dtype", ["O", "object", "int64", "V8", "uint8", None, [["a", "O"]], {"a": 1}])
def test_tokens_of_another_type(cached, dtype):
    config, forge = cached
    before = prepare(config).splits["train"]
    content = {
        "dtype": dtype,
        "split": "train",
        "counts": {"tokens": 1, "bytes": 1, "words": 1, "characters": 1},
    }
    folder = forge("store.json", json.dumps(content).encode())
    with pytest.raises(InputError, match=re.escape(f"{folder} holds no tokens (")):
        prepare(config)
    shutil.rmtree(folder)
    assert prepare(config).splits["train"].tokens.tolist() == before.tokens.tolist()


def test_a_file_of_the_cache_without_a_sum(cached):
    config, forge = cached
    tokens, said = prepare(config).splits["train"].tokens.tolist(), []
    folder = forge("other", b"x", sign=False)
    assert prepare(config, say=said.append).splits["train"].tokens.tolist() == tokens
    assert f"{folder} is damaged (other has no sum); it is made again from the text" in said


# Names that lead elsewhere


def test_sums_that_name_files_elsewhere(cached, tmp_path):
    config, forge = cached
    tokens, said = prepare(config).splits["train"].tokens.tolist(), []
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    folder = forge("tokens", (next((tmp_path / "cache" / "tokens").iterdir()) / "tokens").read_bytes())
    sums = json.loads((folder / SUMS).read_text())
    (folder / SUMS).write_text(json.dumps({**sums, "../../../secret": _sum(secret)}))
    assert prepare(config, say=said.append).splits["train"].tokens.tolist() == tokens
    assert (
        f"{folder} is damaged (../../../secret: No such file or directory); it is made again from the text"
        in said
    )


def test_a_checkpoint_that_names_files_elsewhere(finished, tmp_path):
    shutil.copytree(finished.path / "checkpoints", tmp_path / "checkpoints")
    path = tmp_path / "checkpoints" / "step-00000024" / "progress.json"
    content = json.loads(path.read_text())
    del content[records.OWN_SUM]
    for name, problem in {
        "../step-00000016/state.index": None,  # of this very folder, then
        "../../secret": "../../secret is missing",
        "/etc/hostname": "/etc/hostname is missing",
        "..": ".. cannot be read: no regular file",
    }.items():
        sums = {**content["sha256"], name: content["sha256"]["state.index"]}
        path.write_text(sealed({**content, "sha256": sums}))
        found = Checkpoints(tmp_path / "checkpoints").problem(24)
        assert problem in found if problem else not found


FORGED = {
    "sha256": [{}, [1], None, {"state.index": 5}],
    "step": [None, "24", 24.5, [24]],
    "valid_loss": ["x", [], {}],
    "validated": ["x", {}, {"measure": "loss", "better": "low", "value": "x"}],
    "seconds": ["x", None],
    "learning_rate_scale": ["x"],
    "learning_rate_set": [[]],
    "meter": [{"nats": "x"}, {"nats": 1.0, "more": 2.0}, 5],
    "left_out": [5, {"spiked": "x"}],
    "left_out_in_a_row": ["x"],
    "recent": [5, [5], ["x"]],
    "callbacks": [{}, 5, {"Checkpoint": 5}, {"Checkpoint": {}}],
}


@pytest.fixture
def up_to_training(monkeypatch):
    """Let a run that goes on end where it would carry out a step; everything was read by then."""

    class Reached(Exception):
        pass

    def reached(*args):
        raise Reached

    monkeypatch.setattr(Trainer, "_call", reached)
    return Reached


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, marks=[pytest.mark.slow] * (place > 0))
        for name, values in FORGED.items()
        for place, value in enumerate([*values, ...])
    ],
)
def test_numbers_of_a_checkpoint_signed_anew(finished, train, tmp_path, up_to_training, name, value):
    """The sum of a file tells what happened to it by accident; whoever means harm writes it anew."""
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    for folder in (tmp_path / "run" / "checkpoints").iterdir():
        content = json.loads((folder / "progress.json").read_text())
        del content[records.OWN_SUM]
        content = {key: part for key, part in content.items() if key != name}
        forged = content if value is ... else {**content, name: value}
        (folder / "progress.json").write_text(sealed(forged))
    with contextlib.suppress(InputError):
        lm_keras.load(tmp_path / "run", "best")
    if name in ("valid_loss", "validated") and value is ...:
        return  # Nothing that a run needs.
    with pytest.raises(InputError) as caught:
        train(from_flat({**finished.config.flat(), "steps": 26}), tmp_path / "run")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("how", ["a pipe", "a device", "a folder", "too large"])
@pytest.mark.parametrize(
    "name", ["config.json", "data.json", "results.json", "tokenizer/tokenizer.json", "metrics.jsonl", "lock"]
)
def test_what_would_never_end(finished, train, tmp_path, monkeypatch, name, how):
    """In the place of a file of a run: neither reading it nor going on waits for it, or takes it
    into memory.
    """
    path = tmp_path / "run" / name
    shutil.copytree(finished.path, tmp_path / "run")
    before = path.read_bytes()
    path.unlink()
    if how == "a pipe":
        os.mkfifo(path)
    elif how == "a device":
        path.symlink_to("/dev/zero")
    elif how == "a folder":
        path.mkdir()
    else:
        path.write_bytes(before + b" " * 2000)
        limits = (disk_files, "MAX_FILE_BYTES") if "tokenizer" in name else (records, "MAX_BYTES")
        monkeypatch.setattr(*limits, len(before) + 1000)
    began = time.perf_counter()
    for use in (
        lambda: lm_keras.load(tmp_path / "run"),
        lambda: runs.read_runs([str(tmp_path / "run")]),
        lambda: train(finished.config, tmp_path / "run"),
    ):
        try:
            use()
        except InputError as error:
            assert str(path.parent) in str(error), error
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to("../victim")],
    ids=["a pipe", "a device", "a link to an empty file"],
)
def test_a_lock_that_is_none(finished, tmp_path, make):
    """Whoever trains writes into it: nothing waits for a pipe, and no file elsewhere is written to."""
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "victim").touch()
    with RunFolder(tmp_path / "run").writing():
        pass
    (tmp_path / "run" / "lock").unlink()
    make(tmp_path / "run" / "lock")
    with (
        pytest.raises(InputError, match=r"^cannot write to --run_dir="),
        RunFolder(tmp_path / "run").writing(),
    ):
        pass
    assert (tmp_path / "victim").read_text() == ""


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../x",
        "x/..",
        "x/../y",
        "x/...",
        "x/..:1.0.0",
        "/etc/passwd",
        "~/x",
        "x/../../y:train",
        "x/.hidden",
    ],
)
def test_names_of_data_sets(name):
    with pytest.raises(InputError) as caught:
        open_corpus(f"tfds:{name}", text_field="text", on_bad_text="error")
    assert str(caught.value).endswith(
        "is not the name of a data set: expected tfds:NAME[/CONFIG][:VERSION][:SPLIT], such as "
        "tfds:tiny_shakespeare or tfds:wiki40b/de:test"
    )


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "char/../../x", "/etc/passwd", "lm_keras.text.char", "os.system"]
)
def test_a_tokenizer_that_names_something_else(tmp_path, name):
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"format_version": 1, "tokenizer": name, "normalization": "none", "characters": "ab"})
    )
    with pytest.raises(InputError, match=re.escape(f"unknown tokenizer '{name}'")):
        load_tokenizer(tmp_path)


def test_the_name_of_a_run_is_no_markup(finished, tmp_path):
    name = "<img src=x onerror=alert(1)>&lt;"
    shutil.copytree(finished.path, tmp_path / name)
    content = page.page_of(runs.read_runs([str(tmp_path / ".." / tmp_path.name / name)]))
    assert name not in content
    assert "&lt;img src=x onerror=alert(1)&gt;&amp;lt;" in content
    assert str(tmp_path) not in content.replace(finished.config.data.corpus, "")


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 5000, "", "\n"])
def test_names_that_no_file_can_have(name):
    for use in (lm_keras.load, text.find_tokenizer, lambda name: list(open_text(name).documents())):
        with pytest.raises(InputError) as caught:
            use(name)
        assert str(caught.value).isprintable()


def open_text(name):
    """The corpus of the files of a name."""
    return open_corpus(f"text:{name}", text_field="text", on_bad_text="error")


# Sizes and settings


@pytest.fixture
def changed(finished, tmp_path, monkeypatch):
    """A function that loads the finished run with other settings; no network may be built."""

    def build(*args):
        raise AssertionError("memory would have been taken")

    def load(**settings):
        path = tmp_path / "run"
        shutil.copytree(finished.path, path, dirs_exist_ok=True)
        content = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**content, **settings}))
        monkeypatch.setitem(models.FAMILIES, "lstm", build)
        monkeypatch.setitem(models.FAMILIES, "ngram", build)
        began = time.perf_counter()
        with pytest.raises(InputError) as caught:
            lm_keras.load(path)
        assert time.perf_counter() - began < 2
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(path), "RUN")

    return load


@pytest.mark.parametrize("name", ["hidden_unit", "__class__", "../../x", "", "\x1b[31m", "x" * 1000])
def test_settings_that_are_none(changed, name):
    message = changed(**{name: 5})
    assert message.startswith("RUN/config.json: setting ")
    assert " is unknown" in message
    assert message.isprintable()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("hidden_units", 10**12, "--hidden_units=1000000000000 is out of range; expected at most 2147483647"),
        ("vocab_size", 10**15, "--vocab_size=1000000000000000 is out of range; expected at most 2147483647"),
        ("batch_size", 10**10, "--batch_size=10000000000 is out of range; expected at most 2147483647"),
        ("sequence_length", 10**400, "--sequence_length=1" + 400 * "0" + " is out of range; expected at most "
            "2147483647"),
        ("num_layers", 10**6, "--num_layers=1000000 is out of range; expected a whole number of at least 1 "
            "and of at most 1000"),
        ("hidden_units", 1e3, "--hidden_units=1000.0: expected a whole number of at least 1"),
        ("hidden_units", True, "--hidden_units=True: expected a whole number of at least 1"),
        ("hidden_units", "13", "--hidden_units='13': expected a whole number of at least 1"),
        ("hidden_units", [13], "--hidden_units=[13]: expected a whole number of at least 1"),
        ("dropout", float("nan"), "--dropout=nan is out of range; expected a number of at least 0 and below "
            "1"),
        ("learning_rate", float("inf"), "--learning_rate=inf is out of range; expected a number above 0"),
        ("model", "../../evil", "--model=../../evil is unknown; choose one of ngram, lstm"),
        ("model", ["lstm"], "--model=['lstm']: expected a text"),
        ("learning_rate_schedule", "__import__('os')", "--learning_rate_schedule: schedule "
            "\"__import__('os')\" is unknown; "),
    ],
)  # fmt: skip
def test_settings_that_are_absurd(changed, name, value, expected):
    assert changed(**{name: value}).startswith(f"RUN/config.json: {expected}")


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_units": 2**31 - 1},
        {"embedding_dim": 2**31 - 1},
        {"num_layers": 1000, "hidden_units": 2**31 - 1},
        {"model": "ngram", "jit": "auto", "dropout": 0.0, "ngram_order": 256, "embedding_dim": 10**6},
        {"hidden_units": 100},
    ],
    ids=str,
)
def test_sizes_that_the_weights_do_not_have(changed, settings):
    assert re.fullmatch(
        r"the checkpoint of step 24 in RUN does not fit this network \([\d,]+ bytes of weights, and it has"
        r" [\d,]+\); "
        r"was the run folder put together from two runs\?",
        changed(**settings),
    )


def test_sizes_that_no_weight_depends_on(finished, tmp_path):
    """They take no memory where nothing is trained, and change no number."""
    shutil.copytree(finished.path, tmp_path / "run")
    settings = {
        **RunFolder(finished.path).config().flat(),
        "batch_size": 10**9,
        "sequence_length": 10**9,
        "steps_per_call": 10**9,
    }
    RunFolder(tmp_path / "run").write_json("config.json", settings)
    assert lm_keras.load(tmp_path / "run").evaluate("valid") == lm_keras.load(finished.path).evaluate("valid")
    windows = from_flat({**settings, "batching": "window", "steps_per_call": 1})
    RunFolder(tmp_path / "run").write_json("config.json", windows.flat())
    assert lm_keras.load(tmp_path / "run").evaluate("valid")["tokens"] > 400


# Tokenizers


def forged_sentencepiece(folder, change, **settings):
    """A saved sentencepiece tokenizer with another model in it, and sums that are right."""
    tokenizer = train_tokenizer(
        "sentencepiece", ["to be or not to be\n"] * 9, vocab_size=275, normalization="none"
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(tokenizer._model)
    change(proto)
    tokenizer._model = proto.SerializeToString()
    tokenizer.save(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**content, **settings}))


def test_a_vocabulary_that_is_only_claimed(tmp_path):
    def claim(proto):
        proto.trainer_spec.vocab_size = 10**9

    forged_sentencepiece(tmp_path, claim)
    assert load_tokenizer(tmp_path).vocab_size == 275
    forged_sentencepiece(tmp_path, claim, vocab_size=10**9)
    with pytest.raises(InputError, match=r"sentencepiece\.model beside it has 275 pieces"):
        load_tokenizer(tmp_path)


HOSTILE_PIECES = {
    "twice": lambda proto: proto.pieces.add().CopyFrom(proto.pieces[270]),
    "empty": lambda proto: setattr(proto.pieces[270], "piece", ""),
    "no number": lambda proto: setattr(proto.pieces[270], "score", float("nan")),
    "a byte that is none": lambda proto: proto.pieces.add(piece="<0xG1>", type=proto.SentencePiece.BYTE),
    "none": lambda proto: proto.ClearField("pieces"),
    "rules": lambda proto: setattr(proto.normalizer_spec, "precompiled_charsmap", b"\xff" * 99),
}


@pytest.mark.parametrize("what", HOSTILE_PIECES)
def test_hostile_pieces(tmp_path, what):
    forged_sentencepiece(tmp_path, HOSTILE_PIECES[what])
    with pytest.raises(InputError, match=r"sentencepiece model.*; train the tokenizer again") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[" * 10**6, "not valid JSON (maximum recursion depth exceeded"),
        (b'{"a":' * 10**6, "not valid JSON (maximum recursion depth exceeded"),
        (b'{"format_version": ' + b"1" * 10**5 + b"}", "not valid JSON (Exceeds the limit"),
        (b'{"format_version": NaN}', "the field 'format_version' should be int, found float"),
        (b'{"format_version": 1e400}', "the field 'format_version' should be int, found float"),
        (b'{"format_version": 1' + b"0" * 400 + b"}", "format_version is 1000"),
    ],
    ids=range(6),
)
def test_json_that_is_a_trap(tmp_path, content, reason):
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    assert f"is damaged or no tokenizer: {reason}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_files, "MAX_FILE_BYTES", 10)
    (tmp_path / "tokenizer.json").write_text(" " * 11)
    with pytest.raises(InputError, match=r"cannot read .*tokenizer.json: more than 10 bytes"):
        load_tokenizer(tmp_path)


# TensorBoard

SAID = re.compile(r"tensorboard\b[^\n`|]*--\w+[^\n`|]*")
OPEN = re.compile(r"--host\b|--bind_all\b|0\.0\.0\.0")


def suggestions(content: str) -> list[str]:
    """The commands of TensorBoard that a text suggests."""
    return SAID.findall(content)


def test_tensorboard_is_suggested_on_this_machine_only(finished):
    """Without `--host` and `--bind_all` it listens to this machine alone."""
    paths = [path for pattern in ("*.md", "*.flags", "*.py", "*.cfg") for path in ROOT.rglob(pattern)]
    paths = [path for path in paths if not {".venv", "tests", "build"} & set(path.relative_to(ROOT).parts)]
    said = {str(path): suggestions(path.read_text(encoding="utf-8")) for path in paths}
    said |= {
        "printed": suggestions(finished.ended.err),
        "card": suggestions((finished.path / "README.md").read_text()),
    }
    commands = [command for found in said.values() for command in found]
    assert len(commands) >= 3  # README.md, docs/article.md, and what a run prints
    assert said["printed"]
    assert [command for command in commands if OPEN.search(command)] == []


@pytest.mark.parametrize("more", ["--host 0.0.0.0", "--host=::", "--bind_all", "--logdir=runs --bind_all"])
def test_the_check_of_suggestions_can_fail(more):
    (command,) = suggestions(f"look:\n    .venv/bin/tensorboard {more} \n")
    assert OPEN.search(command)


def test_who_may_import_torch_may_not_load_by_it():
    assert violations("import torch\ntorch.load(path)") == ["imports torch", "line 2 calls torch.load"]
    assert violations("from torch.jit import load as l\nl(path)")[1:] == ["line 2 calls torch.jit.load"]
