"""A BERT of Hugging Face's with a head for labels, in and out. V 60, L 2, H 4, 16 places; C 3."""

import importlib.util
import json

import folders_of_models as models
import numpy as np
import pytest

import lm_keras
from lm_keras.checkpoints import exchange, export
from lm_keras.checkpoints.copying import names_of
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import from_flat
from lm_keras.data.labels import Labels
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES
from lm_keras.training import conversion

needs_transformers = pytest.mark.skipif(
    not (importlib.util.find_spec("transformers") and importlib.util.find_spec("torch")),
    reason="transformers and torch are not installed",
)
C, D = 3, models.D
NO_HEAD = {name: None for name in models.tensors("bert") if name.startswith("cls.")}
NAMES = {"classification": ("yes", "maybe", "no"), "tagging": ("O", "B-x", "I-x")}
CLASSES = {"classification": "BertForSequenceClassification", "tagging": "BertForTokenClassification"}
IDS = np.array(models.IDS)


def head(task):
    shapes = {"classifier.weight": (C, D), "classifier.bias": (C,)}
    if task == "classification":
        shapes |= {"bert.pooler.dense.weight": (D, D), "bert.pooler.dense.bias": (D,)}
    numbered = enumerate(shapes.items(), start=70)
    return {name: models.numbers(shape, k).astype(np.float32) for k, (name, shape) in numbered}


def write(folder, task, changed=None, config=None):
    names = {str(number): name for number, name in enumerate(NAMES[task])}
    settings = {"architectures": [CLASSES[task]], "id2label": names, **(config or {})}
    return models.write(folder, "bert", {**NO_HEAD, **head(task), **(changed or {})}, settings)


def expected(task):
    """Return the logits by the equations of the heads, in the order of the labels there."""
    hidden = body_with(FAMILIES["bert"](from_flat(SETTINGS), models.V)).hidden_states({"tokens": IDS}).numpy()
    weights = head(task)
    if task == "classification":
        pooled = hidden[:, 0] @ weights["bert.pooler.dense.weight"].T + weights["bert.pooler.dense.bias"]
        hidden = np.tanh(pooled)
    return hidden @ weights["classifier.weight"].T + weights["classifier.bias"]


SETTINGS = {
    "model": "bert", "num_layers": models.L, "embedding_dim": D, "num_heads": models.H,
    "hidden_units": models.F, "sequence_length": models.PLACES, "norm_epsilon": 1e-12,
}  # fmt: skip


def body_with(model):
    """Give a network the weights of the body without a head."""
    imported_parts = exchange.foreign.KINDS["bert"].parts(from_flat(SETTINGS), models.V)
    tensors, variables = models.tensors("bert"), names_of(model)
    for part in imported_parts:
        values = [tensors[n if n.startswith("cls.") else f"bert.{n}"] for n in part.tensors]
        variables[part.variable].assign(
            np.concatenate([value.T if part.transposed else value for value in values], -1)
        )
    return model


@pytest.mark.parametrize("task", CLASSES)
def test_logits_are_those_of_the_equations(task, tmp_path):
    imported = exchange.read(write(tmp_path / "model", task))
    assert imported.config.task == task and imported.labels.names == tuple(sorted(NAMES[task]))
    order = [NAMES[task].index(name) for name in imported.labels.names]
    found = imported.build()(IDS).numpy()
    np.testing.assert_allclose(found, expected(task)[..., order], atol=1e-4)
    assert np.abs(found - expected(task)).max() > 1e-2  # The control: the order of the labels counts.


@pytest.mark.parametrize("task", CLASSES)
def test_a_run_of_it_and_back(task, tmp_path):
    conversion.to_run(str(write(tmp_path / "model", task)), str(tmp_path / "run"))
    folder = RunFolder(tmp_path / "run")
    names = folder.labels().names
    assert names == tuple(sorted(NAMES[task])) and folder.labels().spans == (task == "tagging")
    lm = lm_keras.load(tmp_path / "run")
    order = [NAMES[task].index(name) for name in names]
    np.testing.assert_allclose(lm.logits(IDS), expected(task)[..., order], atol=1e-4)
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    content = json.loads((tmp_path / "back" / "config.json").read_text())
    assert content["architectures"] == [CLASSES[task]]
    assert content["id2label"] == {str(number): name for number, name in enumerate(names)}
    assert content["label2id"] == {name: number for number, name in enumerate(names)}
    with models.safetensors.safe_open(tmp_path / "back" / "model.safetensors", framework="np") as file:
        there = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no dictionary
    given = {**{n: v for n, v in models.tensors("bert").items() if n not in NO_HEAD}, **head(task)}
    assert sorted(there) == sorted(given)
    for name, value in given.items():
        np.testing.assert_array_equal(there[name], value[order] if name.startswith("classifier.") else value)


@needs_transformers
@pytest.mark.parametrize("task", CLASSES)
def test_logits_equal_those_of_transformers_both_ways(task, tmp_path):
    import torch
    import transformers

    folder = write(tmp_path / "model", task)
    conversion.to_run(str(folder), str(tmp_path / "run"))
    conversion.from_run(str(tmp_path / "run"), "last", str(tmp_path / "back"))
    ours = lm_keras.load(tmp_path / "run").logits(IDS)
    names = RunFolder(tmp_path / "run").labels().names
    for there in (folder, tmp_path / "back"):
        model = getattr(transformers, CLASSES[task]).from_pretrained(there).eval()
        with torch.no_grad():
            theirs = model(torch.tensor(IDS)).logits.numpy()
        numbers = {name: number for number, name in model.config.id2label.items()}
        order = [numbers[name] for name in names]
        assert np.abs(ours - theirs[..., order]).max() < 1e-4


def run_network(task, labels):
    config = from_flat({**SETTINGS, "task": task})
    return FAMILIES["bert"](config, models.V, labels)


def test_a_body_without_head_gives_its_pooler_to_a_new_head(tmp_path):
    pooler = {name: value for name, value in head("classification").items() if "pooler" in name}
    for changed, anew in ((NO_HEAD | pooler, {"class"}), (NO_HEAD, {"class", "pooler"}), (pooler, {"class"})):
        imported = exchange.read(models.write(tmp_path / "model", "bert", changed))
        model = run_network("classification", 2)
        copied = imported.copy_to(model, Labels(("no", "yes"), (1, 1)))
        assert {name.partition("_")[0] for name in copied.new} == anew
        assert ("head_kernel" in copied.left) == (changed is pooler)
        there = names_of(model)["pooler_kernel"].numpy()
        same = np.array_equal(there, head("classification")["bert.pooler.dense.weight"].T)
        assert same == ("pooler" not in anew)


def test_labels_that_are_known_there_keep_their_weights(tmp_path):
    imported = exchange.read(write(tmp_path / "model", "classification"))
    model = run_network("classification", 3)
    copied = imported.copy_to(model, Labels(("maybe", "no", "other"), (1, 1, 1)))
    assert copied.new_labels == ("other",) and not copied.new
    kernel, there = names_of(model)["class_kernel"].numpy(), head("classification")["classifier.weight"]
    np.testing.assert_array_equal(kernel[:, :2], there[[1, 2]].T)
    assert set(imported.copy_to(model, Labels(("0", "1"), (1, 1))).new) == {"class_kernel", "class_bias"}


@pytest.mark.parametrize(
    ("changed", "config", "message"),
    [
        ({"classifier.weight": None}, {}, "the tensor 'classifier.weight' is missing"),
        ({"bert.pooler.dense.bias": None}, {}, "pooler"),
        ({"classifier.bias": np.ones(4, np.float32)}, {}, "has the shape [4], expected [3]"),
        ({}, {"id2label": {"0": "a", "2": "b"}}, "no 'id2label'"),
        ({}, {"id2label": {"0": "a", "1": "a", "2": "b"}}, "no 'id2label'"),
        ({}, {"id2label": {"0": "a"}}, "no 'id2label'"),
        ({}, {"problem_type": "regression"}, "'regression' for 'problem_type'"),
        ({}, {"architectures": ["BertForMaskedLM"]}, "'classifier.bias' belongs to no such network"),
    ],
    ids=str,
)
def test_what_is_none_is_refused_in_one_line(changed, config, message, tmp_path):
    folder = write(tmp_path / "model", "classification", changed, config)
    with pytest.raises(InputError) as caught:
        exchange.read(folder).build()
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({**SETTINGS, "task": "classification", "pooling": "mean"}, "--pooling=mean has no counterpart"),
        ({"model": "lstm", "task": "tagging"}, "--task=tagging of a lstm has no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_not_written(settings, said, tmp_path):
    config = from_flat(settings)
    model = FAMILIES[config.model.model](config, models.V, 2)
    with pytest.raises(InputError, match=said):
        export.write(tmp_path / "made", model, config, None, labels=Labels(("a", "b"), (1, 1)))
