"""Holds the table of layers in the design: a row imports only from rows above it or within its own folder,
and no files in a circle.
"""

import ast
import graphlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lm_keras"

ROWS = [
    [
        "config",
        "checks",
        "fields",
        "registry",
        "flagfiles",
        "schedules",
        "rotary_scaling",
        "paths",
        "errors",
        "streams",
        "disk",
    ],
    ["text"],
    ["conversations"],
    ["corpora", "flags"],
    ["draws", "surroundings"],
    ["data", "layers"],
    ["models", "objectives", "optimizers"],
    ["tasks", "sampling", "checkpoints"],
    ["privacy"],
    ["answers", "evaluation"],
    ["callbacks"],
    ["training", "report", "quiet"],
    ["embeddings"],
    ["sweeps"],
    ["api"],
    ["serving"],
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))

BENCHMARKS = ROOT / "scripts" / "benchmarks"
ROWS_OF_BENCHMARKS = [
    ["spread", "trainers", "graph_flops", "marked", "epsilons"],
    ["candidates"],
    ["running"],
    ["commands"],
    ["dispatch", "canary", "fine_tuning"],
]
ROW_OF_BENCHMARK = {name: row for row, names in enumerate(ROWS_OF_BENCHMARKS) for name in names}


def imports_of(source, path):
    """Dotted names of everything a file imports, and of `tensorflow.data` wherever it is used."""
    tree = ast.parse(source)
    aliases, names = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.add(alias.name)
                root = alias.name.partition(".")[0]
                aliases[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            folder = path.removesuffix(".py").split("/")[: -node.level] if node.level else []
            module = ".".join([*folder, *filter(None, [node.module])])
            for alias in node.names:
                names.add(f"{module}.{alias.name}")
                aliases[alias.asname or alias.name] = f"{module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{aliases.get(node.value.id, '')}.{node.attr}"
            if used in ("tensorflow.data", "absl.flags"):
                names.add(used)
    return names


def is_in(name, module):
    return name == module or name.startswith(module + ".")


def violations(source, path):
    """One line for each import in the file that the table forbids."""
    own = path.split("/")[1].removesuffix(".py")
    if path == "lm_keras/__init__.py":
        return []
    found = []
    for name in sorted(imports_of(source, path)):
        if is_in(name, "lm_keras"):
            parts = name.split(".")
            other = parts[1] if len(parts) > 1 else ""
            if own not in ROW_OF or other not in ROW_OF:
                found.append(f"{path}: {name} has no row")
                continue
            siblings = own == other or (ROW_OF[own] == ROW_OF[other] == 0)  # row 0 is one folder
            if ROW_OF[other] >= ROW_OF[own] and not siblings:
                found.append(f"{path}: row {ROW_OF[own]} imports {name} of row {ROW_OF[other]}")
        if is_in(name, "scripts") or is_in(name, "tests"):
            found.append(f"{path}: {name}")
        if is_in(name, "absl.flags") and path != "lm_keras/flags.py":
            found.append(f"{path}: {name} belongs into lm_keras/flags.py")
        if is_in(name, "tensorflow.data") and path != "lm_keras/data/pipeline.py":
            found.append(f"{path}: {name} belongs into lm_keras/data/pipeline.py")
        heavy = is_in(name, "tensorflow") or is_in(name, "keras")
        if heavy and ROW_OF.get(own, 9) < ROW_OF["draws"]:
            found.append(f"{path}: row {ROW_OF[own]} imports {name}")
    return found


def files_imported(source, path, files):
    """Return the files among `files`, dotted name -> path, that a file imports, by a statement or by a name
    in a string.
    """
    names = imports_of(source, path)
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"\w+(\.\w+)+", node.value)
        ):
            names.add(node.value)
    found = {files.get(name) or files.get(name.rpartition(".")[0]) for name in names}
    return found - {None, path}


def circle(sources):
    """Return the files of a circle of imports, or None; `__init__.py` of a folder, which only offers its
    files, is left out.

    Args:
        sources: path below the folder that Python finds packages in -> source.
    """
    files = {path.removesuffix(".py").replace("/", "."): path for path in sources}
    graph = {path: files_imported(source, path, files) for path, source in sources.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def violations_of_benchmarks(source, path):
    """One line for each import in a file of scripts/benchmarks/ that its rows forbid."""
    row, found = ROW_OF_BENCHMARK[path.split("/")[1].removesuffix(".py")], []
    own = path.split("/")[1]
    for name in sorted(imports_of(source, path)):
        other = name.split(".")[1] if is_in(name, "benchmarks") else own
        if other != own and ROW_OF_BENCHMARK.get(other, row) >= row:
            found.append(f"{path}: row {row} imports {name}")
    return found


@pytest.mark.parametrize("path", FILES)
def test_a_file_imports_only_from_above(path):
    assert violations((ROOT / path).read_text(encoding="utf-8"), path) == []


def test_the_check_sees_the_imports_there_are():
    seen = {path: imports_of((ROOT / path).read_text(encoding="utf-8"), path) for path in FILES}
    assert "absl.flags" in seen["lm_keras/flags.py"]
    assert "tensorflow.data" in seen["lm_keras/data/pipeline.py"]
    assert "lm_keras.layers.recurrent.LSTM" in seen["lm_keras/models/lstm.py"]
    assert {path.split("/")[1].removesuffix(".py") for path in FILES} <= {*ROW_OF, "__init__"}


@pytest.mark.parametrize(
    ("path", "source", "name"),
    [
        ("lm_keras/data/store.py", "from lm_keras.objectives.measures import finite",
            "lm_keras.objectives.measures.finite"),
        ("lm_keras/config.py", "from lm_keras import flags", "lm_keras.flags"),
        ("lm_keras/text/char.py", "import lm_keras.corpora", "lm_keras.corpora"),
        ("lm_keras/layers/dropout.py", "from ..data import order", "lm_keras.data.order"),
        ("lm_keras/models/lstm.py", "def f():\n    from lm_keras.training import step",
            "lm_keras.training.step"),
        ("lm_keras/optimizers.py", "from lm_keras.objectives import losses", "lm_keras.objectives.losses"),
        ("lm_keras/training/runner.py", "from lm_keras import load", "lm_keras.load"),
        ("lm_keras/training/runner.py", "import lm_keras", "lm_keras"),
        ("lm_keras/stuff/runner.py", "from lm_keras import config", "lm_keras.config"),
        ("lm_keras/training/runner.py", "from scripts import train", "scripts.train"),
        ("lm_keras/training/runner.py", "from absl import app, flags", "absl.flags"),
        ("lm_keras/training/runner.py", "from absl.flags import FLAGS", "absl.flags.FLAGS"),
        ("lm_keras/training/runner.py", "import absl\nx = absl.flags.FLAGS", "absl.flags"),
        ("lm_keras/training/step.py", "import tensorflow as tf\nx = tf.data.Dataset.range(3)",
            "tensorflow.data"),
        ("lm_keras/training/step.py", "import tensorflow\ndef f(x: tensorflow.data.Dataset): pass",
            "tensorflow.data"),
        ("lm_keras/training/step.py", "from tensorflow import data", "tensorflow.data"),
        ("lm_keras/config.py", "import numpy, tensorflow as tf", "tensorflow"),
        ("lm_keras/report/page.py", "from lm_keras.training import report", "lm_keras.training.report"),
        ("lm_keras/corpora/tfds.py", "def f():\n    from keras import ops", "keras.ops"),
    ],
)  # fmt: skip
def test_an_offending_import_is_found(path, source, name):
    found = violations(source, path)
    assert len(found) == 1
    assert name in found[0].split()


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("lm_keras/__init__.py", "from lm_keras import api"),
        ("lm_keras/config.py", "from lm_keras import schedules\nfrom lm_keras.errors import InputError"),
        ("lm_keras/data/store.py", "from lm_keras import text\nfrom lm_keras.data.order import build"),
        ("lm_keras/data/pipeline.py", "import tensorflow as tf\nx = tf.data.Dataset.range(3)"),
        ("lm_keras/training/step.py", "from lm_keras.data import order\ndata = order.data"),
        ("lm_keras/api.py", "from .training import runner\nfrom absl import logging"),
    ],
)
def test_a_good_import_passes(path, source):
    assert violations(source, path) == []


def sources_of(folder, root):
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in folder.rglob("*.py")
    }


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sources_of(BENCHMARKS, ROOT / "scripts")
        if path.count("/") > 1 or "__init__" not in path
    ],
)
def test_a_file_of_the_benchmarks_imports_only_from_above(path):
    source = (ROOT / "scripts" / path).read_text(encoding="utf-8")
    assert violations_of_benchmarks(source, path) == []


def test_a_candidate_that_imports_a_command_is_found():
    source = (
        "from benchmarks.commands import train\nfrom benchmarks import spread\nfrom benchmarks.candidates"
        " import loss"
    )
    assert violations_of_benchmarks(source, "benchmarks/candidates/ours.py") == [
        "benchmarks/candidates/ours.py: row 1 imports benchmarks.commands.train"
    ]


@pytest.mark.parametrize(
    ("folder", "root"), [(PACKAGE, ROOT), (BENCHMARKS, ROOT / "scripts")], ids=["lm_keras", "benchmarks"]
)
def test_no_files_import_each_other_in_a_circle(folder, root):
    assert circle(sources_of(folder, root)) is None


def test_a_circle_is_found_even_through_a_name_in_a_string():
    sources = {
        "benchmarks/loss.py": "from benchmarks.running import Running",
        "benchmarks/running.py": 'CLASSES = {"loss": "benchmarks.loss.Candidate"}',
        "benchmarks/train.py": "from benchmarks import running",
    }
    assert set(circle(sources)) == {"benchmarks/loss.py", "benchmarks/running.py"}
    assert circle({**sources, "benchmarks/loss.py": ""}) is None
