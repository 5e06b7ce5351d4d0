"""Holds the table of layers in the design: a row imports only from rows above it or within its own folder."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lm_keras"

ROWS = [
    ["config", "checks", "fields", "schedules", "errors"],
    ["text", "corpora", "flags"],
    ["draws"],
    ["data", "layers"],
    ["models", "objectives", "optimizers"],
    ["sampling", "checkpoints"],
    ["callbacks"],
    ["training", "report", "quiet"],
    ["embeddings"],
    ["benchmarks", "sweeps"],
    ["api"],
]
ROW_OF = {name: row for row, names in enumerate(ROWS) for name in names}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py"))


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
        if heavy and ROW_OF.get(own, 9) < 2:
            found.append(f"{path}: row {ROW_OF[own]} imports {name}")
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
        ("lm_keras/data/store.py", "from lm_keras.objectives.metrics import finite", "lm_keras.objectives.metrics.finite"),
        ("lm_keras/config.py", "from lm_keras import flags", "lm_keras.flags"),
        ("lm_keras/text/char.py", "import lm_keras.corpora", "lm_keras.corpora"),
        ("lm_keras/layers/dropout.py", "from ..data import order", "lm_keras.data.order"),
        ("lm_keras/models/lstm.py", "def f():\n    from lm_keras.training import step", "lm_keras.training.step"),
        ("lm_keras/optimizers.py", "from lm_keras.objectives import losses", "lm_keras.objectives.losses"),
        ("lm_keras/training/runner.py", "from lm_keras import load", "lm_keras.load"),
        ("lm_keras/training/runner.py", "import lm_keras", "lm_keras"),
        ("lm_keras/stuff/runner.py", "from lm_keras import config", "lm_keras.config"),
        ("lm_keras/training/runner.py", "from scripts import train", "scripts.train"),
        ("lm_keras/training/runner.py", "from absl import app, flags", "absl.flags"),
        ("lm_keras/training/runner.py", "from absl.flags import FLAGS", "absl.flags.FLAGS"),
        ("lm_keras/training/runner.py", "import absl\nx = absl.flags.FLAGS", "absl.flags"),
        ("lm_keras/training/step.py", "import tensorflow as tf\nx = tf.data.Dataset.range(3)", "tensorflow.data"),
        ("lm_keras/training/step.py", "import tensorflow\ndef f(x: tensorflow.data.Dataset): pass", "tensorflow.data"),
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
