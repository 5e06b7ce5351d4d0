"""Names of the package: one for each class, none that nobody uses, and none that nobody defines."""

import ast
import collections
import json
import pathlib
import threading

import jinja2.ext
import keras
import pytest

import lm_keras

PACKAGE = pathlib.Path(lm_keras.__file__).parent
FROM_OUTSIDE = (keras.Model, keras.layers.Layer, keras.callbacks.Callback, keras.optimizers.AdamW)
FROM_OUTSIDE += (
    jinja2.ext.Extension,
    threading.Thread,
    json.JSONEncoder,
    ast.NodeVisitor,
    dict,
    list,
    str,
    tuple,
    Exception,
)

OF_KERAS = {"model", "params", "nesterov", "epsilon", "momentums", "_momentums", "_velocities"}
"""Attributes that Keras sets when it is asked to, on callbacks and optimizers."""

OF_UVICORN = {"client", "cycle", "loop", "transport"}
"""Attributes of a connection of uvicorn."""


def trees(text: str | None = None) -> list[ast.Module]:
    """Return the syntax trees of the package, and of a text beside it."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))]
    return [ast.parse(one) for one in [*texts, *([text] if text else [])]]


def shared(files: list[ast.Module]) -> list[str]:
    """Return the names that several classes have."""
    found = collections.Counter(
        n.name for tree in files for n in ast.walk(tree) if isinstance(n, ast.ClassDef)
    )
    return [name for name, count in found.items() if count > 1]


def unused(files: list[ast.Module]) -> list[str]:
    """Return the private functions whose name is nowhere else."""
    private = {n.name for tree in files for n in tree.body if isinstance(n, ast.FunctionDef)}
    read = set()
    for node in (node for tree in files for node in ast.walk(tree)):
        if isinstance(node, ast.Name):
            read.add(node.id)
        elif isinstance(node, ast.Attribute):
            read.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            read.add(node.value)
    return sorted(name for name in private if name.startswith("_") and name not in {*read, "__getattr__"})


def undefined(files: list[ast.Module]) -> list[str]:
    """Return the attributes that methods read of themselves and that nothing has."""
    known = {name for kind in FROM_OUTSIDE for name in dir(kind)}
    known |= OF_KERAS | OF_UVICORN
    read = set()
    for node in (node for tree in files for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            known.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            known.add(node.value)
        elif isinstance(node, ast.Attribute):
            of_self = isinstance(node.value, ast.Name) and node.value.id == "self"
            if isinstance(node.ctx, ast.Store):
                known.add(node.attr)
            elif of_self:
                read.add(node.attr)
    return sorted(read - known)


@pytest.mark.parametrize("find", [shared, unused, undefined])
def test_names(find):
    assert find(trees()) == []


@pytest.mark.parametrize(
    "find, text",
    [
        (shared, "class Task: pass"),
        (unused, "def _nobody_calls_this(): pass"),
        (undefined, "class C:\n    def f(self): return self._nobody_sets_this"),
    ],
)
def test_names_can_be_wrong(find, text):
    """The control."""
    assert len(find(trees(text))) == 1
