"""Whole runs of classification and tagging: small texts, a label that one word decides."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from opt_in import others_slow, slow

import lm_keras
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError
from lm_keras.training.run import Run

KINDS = {"cat": "animal", "dog": "animal", "bird": "animal", "king": "person", "child": "person"}
SETTINGS = {"tokenizer": "word", "sequence_length": 20, "batch_size": 6, "split": "80/10/10"}
BLOCKS = {"num_heads": 2, "embedding_dim": 16, "hidden_units": None, "learning_rate": 0.01}
FAMILIES = {
    "lstm": {"model": "lstm"},
    "bidirectional": {"model": "lstm", "bidirectional": True, "dropout": 0.1},
    "gpt": {"model": "gpt", **BLOCKS, "dropout": 0.1},
    "bert": {"model": "bert", **BLOCKS, "learning_rate": 0.003},
    "glm": {"model": "glm", **BLOCKS},
}
UNSCORED = {"split": "100/0/0"}
RUNS = [("classification", family) for family in FAMILIES]
RUNS += [("tagging", family) for family in ("bidirectional", "bert", "glm")]
LEARN = [("classification", "bidirectional"), ("classification", "glm"), ("tagging", "bert")]
BEGIN = [("classification", "bidirectional"), ("classification", "bert"), ("tagging", "glm")]


def label_of(line):
    return KINDS.get(line.split()[2], "thing")


def tags_of(line):
    """Tag an article and a noun as one span, wherever they stand."""
    words = line.strip(".\n").split()
    nouns, articles = {*KINDS, "tree", "house", "river"}, ("the", "a", "this", "that")
    tags = ["O"] * len(words)
    for k, word in enumerate(words):
        if word in nouns:
            kind = KINDS.get(word, "thing")
            tags[k] = f"I-{kind}" if k and words[k - 1].lower() in articles else f"B-{kind}"
            if tags[k][0] == "I":
                tags[k - 1] = f"B-{kind}"
    return list(zip(words, tags))


@pytest.fixture(scope="module")
def lines(english):
    """200 sentences."""
    return english.splitlines()[:200]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory, lines):
    """Files of the sentences with labels and with tags, by task."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = "".join(f"{line.strip()}\t{label_of(line)}\n" for line in lines)
    (folder / "kinds.tsv").write_text("text\tlabel\n" + rows)
    blocks = ("".join(f"{word} {tag}\n" for word, tag in tags_of(line)) for line in lines)
    (folder / "spans.conll").write_text("\n".join(blocks))
    return {"classification": f"tsv:{folder}/kinds.tsv", "tagging": f"conll:{folder}/spans.conll"}


@pytest.fixture(scope="module")
def config_for(corpora, tiny_config):
    def make(task, family="lstm", **settings):
        together = {**SETTINGS, **FAMILIES[family], "corpus": corpora[task], "task": task, **settings}
        return tiny_config(**together)

    return make


def weights_of(path):
    return [variable.numpy() for variable in lm_keras.load(path).model.trainable_variables]


@pytest.fixture(scope="module")
def short(config_for, train, tmp_path_factory):
    """A function that carries out a run of four steps, once for all tests, and returns its folder."""
    folder = tmp_path_factory.mktemp("short")

    def path_of(task, family="lstm"):
        path = folder / f"{task}-{family}"
        if not path.exists():
            assert train(config_for(task, family, steps=4, **UNSCORED), path).code == 0
        return path

    return path_of


@pytest.mark.parametrize(("task", "family"), others_slow(RUNS, LEARN))
def test_a_run_learns_and_says_how_well(task, family, config_for, train, tmp_path, lines_of):
    steps = 60 if "lstm" in FAMILIES[family]["model"] else 240
    pooling = {"pooling": "mean"} if (family, task) == ("bert", "classification") else {}
    ended = train(config_for(task, family, steps=steps, eval_every=20, **pooling), tmp_path / "run")
    assert ended.code == 0, ended.err
    folder = RunFolder(tmp_path / "run")
    measure = {"classification": "accuracy", "tagging": "span_f1"}[task]
    labels = folder.labels()
    assert list(labels.names) == sorted(labels.names) and sum(labels.counts) > 100
    results = folder.results
    assert results["splits"]["test"][measure] > 0.6 and "sample" not in results
    lines = [line for line in lines_of(tmp_path / "run" / "metrics.jsonl") if line.get("split") == "valid"]
    assert len(lines) == steps // 20 and all(0 <= line[measure] <= 1 for line in lines)
    training = [line for line in lines_of(tmp_path / "run" / "metrics.jsonl") if "split" not in line]
    assert all(0 <= line["accuracy"] <= 1 and "perplexity" not in line for line in training)
    best = max(range(len(lines)), key=lambda k: (lines[k][measure], -k))
    assert results["best_step"] == lines[best]["step"]
    if results["best_step"] == results["step"]:
        assert "best" not in results
    else:
        own = results["best"]["splits"]
        assert results["best"]["step"] == results["best_step"] and set(own) == {"valid", "test"}
        assert own["valid"][measure] == pytest.approx(lines[best][measure])
        again = lm_keras.load(tmp_path / "run", checkpoint="best").evaluate("test")
        assert again[measure] == pytest.approx(own["test"][measure])
        assert f"test, best step {results['best_step']:,} " in ended.out
    found = lm_keras.load(tmp_path / "run").evaluate("test")
    assert found[measure] == pytest.approx(results["splits"]["test"][measure])


@pytest.mark.parametrize("task", ["tagging", *slow("classification")])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(task, config_for, train, killed, tmp_path):
    config = config_for(
        task, "bidirectional", steps=20, checkpoint_every=5, class_weights="balanced", **UNSCORED
    )
    train(config, tmp_path / "whole")
    killed(config, tmp_path / "parts", 12)
    ended = train(config, tmp_path / "parts")
    assert "going on from step 10" in ended.err
    assert all(map(np.array_equal, weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")))


@pytest.mark.parametrize("task", ["classification", *slow("tagging")])
def test_replicas_and_micro_batches_change_nothing(task, config_for, train, tmp_path):
    found = {}
    for name, split in {"one": {}, "split": {"replicas": 2, "micro_batches": 3}}.items():
        config = config_for(task, "bidirectional", steps=8, **split)
        assert train(config, tmp_path / name).code == 0
        found[name] = weights_of(tmp_path / name), RunFolder(tmp_path / name).results["splits"]["test"]
    for one, other in zip(found["one"][0], found["split"][0]):
        np.testing.assert_allclose(one, other, 1e-4, 1e-5)
    for key, value in found["one"][1].items():
        if isinstance(value, float):
            assert found["split"][1][key] == pytest.approx(value, abs=1e-4)


def test_the_judged_measure_stops_a_run_early(config_for, train, tmp_path, lines_of):
    config = config_for(
        "classification",
        steps=200,
        eval_every=10,
        early_stopping_evals=2,
        best_by="macro_f1",
        learning_rate=0.05,
    )
    ended = train(config, tmp_path / "run")
    assert "stopped early" in ended.err
    scores = [line["macro_f1"] for line in lines_of(tmp_path / "run" / "metrics.jsonl") if "split" in line]
    assert max(scores[-3:-2] + scores[:-3]) == scores[-3] >= max(scores[-2:])


@pytest.mark.parametrize(("task", "family"), others_slow(RUNS, BEGIN))
def test_a_run_begins_with_a_language_model(task, family, config_for, tiny_config, lines, train, tmp_path):
    usual = {name: value for name, value in FAMILIES[family].items() if name != "bidirectional"}
    text = tmp_path / "text.txt"
    text.write_text("\n".join(lines))
    first = tiny_config(**{**SETTINGS, **usual, "corpus": f"text:{text}", "steps": 4, **UNSCORED})
    assert train(first, tmp_path / "first").code == 0
    origin = {"init_from": str(tmp_path / "first"), "freeze": "embedding"}
    config = config_for(task, family, steps=4, **origin, **UNSCORED)
    ended = train(config, tmp_path / "second")
    assert ended.code == 0, ended.err
    line = next(line for line in ended.err.splitlines() if line.startswith("beginning with the weights of"))
    assert "class_kernel, class_bias" in line and "of the head are new" in line
    assert ("3 tokens of the old task are left out" in line) == (family == "glm")
    assert ("lstm_0_backward/kernel" in line) == (family == "bidirectional")
    models = [lm_keras.load(tmp_path / name).model for name in ("first", "second")]
    table, own = (model.embedding.embeddings.numpy() for model in models)
    np.testing.assert_array_equal(own, table[: len(own)])


def test_labels_of_another_run_keep_their_weights(short, config_for, train, tmp_path):
    first = short("classification")
    (tmp_path / "other.tsv").write_text(
        "text\tlabel\n"
        + "".join(f"the {name} cat\tanimal\na {name} bus\tbus\n" for name in map(str, range(60)))
    )
    settings = {"init_from": str(first), "corpus": f"tsv:{tmp_path}/other.tsv", "steps": 1}
    settings |= UNSCORED
    ended = train(config_for("classification", **settings, learning_rate=1e-9), tmp_path / "second")
    assert "the labels 'bus' are new" in ended.err
    there, here = (lm_keras.load(path).model.output_weights()[0] for path in (first, tmp_path / "second"))
    names = RunFolder(first).labels().names
    np.testing.assert_allclose(here[:, 0], there[:, names.index("animal")], atol=1e-6)


def test_only_the_head_moves_where_the_body_is_frozen(short, config_for, train, tmp_path):
    first = short("classification", "bert")
    frozen = {"init_from": str(first), "freeze": "body", **UNSCORED}
    config = config_for("classification", "bert", steps=4, **frozen)
    assert train(config, tmp_path / "second").code == 0
    models = [lm_keras.load(path).model for path in (first, tmp_path / "second")]
    for one, other in zip(*(model.trainable_variables for model in models)):
        head = any(name in one.path for name in ("class_", "pooler_"))
        assert np.array_equal(one, other) != head


@pytest.mark.parametrize("task", ["tagging", *slow("classification")])
def test_a_dry_run_knows_the_labels(task, quick, config_for, train):
    ended = train(config_for(task, "bert"), None, dry_run=True)
    assert ended.code == 0 and "class_kernel" in ended.out


def test_a_run_without_its_labels_is_not_loaded(short, tmp_path):
    shutil.copytree(short("classification"), tmp_path / "run")
    (tmp_path / "run" / "labels.json").unlink()
    with pytest.raises(InputError, match=r"without labels.json; restore it from a copy"):
        lm_keras.load(tmp_path / "run")


@pytest.mark.parametrize(("task", "family"), [("classification", "bert"), ("tagging", "bidirectional")])
def test_the_model_of_a_run_works_in_plain_keras(task, family, short, lines, tmp_path):
    lm = lm_keras.load(short(task, family))
    begin, end = lm.tokenizer.begin_id, lm.tokenizer.eod_id
    texts = [[begin, *lm.tokenizer.encode(line), end] for line in lines[:24]]
    tokens = keras.utils.pad_sequences(texts, padding="post", value=-1)
    if task == "classification":
        names = RunFolder(short(task, family)).labels().names
        targets = np.array([names.index(label_of(line)) for line in lines[:24]])
        weights = None
    else:
        targets, weights = np.maximum(tokens, 0) % 3, (tokens >= 0).astype(np.float32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    lm.model.compile(optimizer="adam", loss=loss, jit_compile=False)
    first = lm.model.evaluate(tokens, targets, sample_weight=weights, verbose=0)
    lm.model.fit(tokens, targets, sample_weight=weights, batch_size=5, epochs=4, verbose=0)
    assert lm.model.evaluate(tokens, targets, sample_weight=weights, verbose=0) < first
    found = lm.model.predict(tokens, batch_size=5, verbose=0)
    shape = (24, lm.model.num_outputs) if task == "classification" else (*tokens.shape, lm.model.num_outputs)
    assert found.shape == shape == lm.model.compute_output_shape(tokens.shape)
    lm.model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(again(tokens), lm.model(tokens), atol=1e-5)
    exported = tmp_path / "exported"
    lm.model.export(exported, verbose=False)
    served = tf.saved_model.load(exported)
    np.testing.assert_allclose(served.serve(tokens), found, atol=1e-4)


@pytest.fixture(scope="module")
def overfitted(config_for, train, tmp_path_factory):
    """A run whose last weights are worse than the best: the learning rate grows far too large."""
    config = config_for(
        "classification", steps=60, eval_every=20, learning_rate=0.02, learning_rate_schedule="constant"
    )
    path = tmp_path_factory.mktemp("overfitted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        validate = Run._validate
        worse = lambda self, step: {**validate(self, step), "accuracy": 1 - step / 100}  # noqa: E731
        patch.setattr(Run, "_validate", worse)
        ended = train(config, path)
    assert ended.code == 0, ended.err
    return path, ended


def test_a_run_says_what_its_best_weights_reach(overfitted):
    path, ended = overfitted
    results = RunFolder(path).results
    assert (results["step"], results["best_step"], results["best"]["step"]) == (60, 20, 20)
    for split in ("valid", "test"):
        best, last = (lm_keras.load(path, checkpoint=which).evaluate(split) for which in ("best", "last"))
        for name in ("nats_per_token", "accuracy"):
            assert best[name] == pytest.approx(results["best"]["splits"][split][name], rel=1e-5)
            assert last[name] == pytest.approx(results["splits"][split][name], rel=1e-5)
        assert best["nats_per_token"] != last["nats_per_token"]  # The control.
        assert f"{split}, best step 20 " in ended.out
    assert "predict.py uses those weights, evaluate.py with --checkpoint=best" in ended.err
    scores = results["best"]["splits"]["valid"]["scores"]
    assert RunFolder(path).temperature(20) == scores["temperature"] != RunFolder(path).temperature(60)


@pytest.mark.parametrize(
    ("flags", "checkpoint", "step"), [((), "best", 20), (("--checkpoint=last",), "last", 60)]
)
def test_predictions_are_those_of_the_best_weights(overfitted, flags, checkpoint, step, script, tmp_path):
    path, _ = overfitted
    (tmp_path / "in.txt").write_text("the king sees a cat\n")
    name = f"--input={tmp_path}/in.txt"
    ended = script("predict.py", f"--run_dir={path}", name, "--format=jsonl", *flags)
    assert ended.code == 0, ended.err
    (found,) = lm_keras.load(path, checkpoint=checkpoint).classify(["the king sees a cat"])
    assert json.loads(ended.out)["probability"] == pytest.approx(found["probability"], abs=1e-5)
    assert f"the weights are those of step {step}; --checkpoint=last or best chooses" in ended.err


def test_metrics_are_told_in_tokens_of_the_text(config_for, train, tmp_path, lines_of):
    train(config_for("classification", steps=20), tmp_path / "run")
    last = [line for line in lines_of(tmp_path / "run" / "metrics.jsonl") if "split" not in line][-1]
    data = json.loads((tmp_path / "run" / "data.json").read_text())["splits"]["train"]
    assert last["tokens_per_second"] > 0 and data["documents"] > 100
