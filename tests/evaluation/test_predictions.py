"""What is written of the predictions for a split, from numbers by hand."""

import json

import numpy as np
import pytest

from lm_keras.corpora.documents import Document, Word
from lm_keras.evaluation.predictions import Predictions, described
from lm_keras.objectives import scores

CLASSES = ("bad", "fair", "good")
TAGS = ("B-loc", "I-loc", "O")


def classified(n=40, seed=3):
    random = np.random.default_rng(seed)
    values = np.log(random.dirichlet(np.ones(3), n)).astype(np.float32)
    return Predictions(CLASSES, random.integers(0, 3, n).astype(np.int32), values)


def tagged():
    """Two sentences of three words and of one, and one with a word without a tag."""
    chances = [[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7], [0.1, 0.6, 0.3], [0.1, 0.1, 0.8]]
    values = np.log(np.array(chances, np.float32))
    return Predictions(TAGS, np.array([0, 1, 2, 2, -2], np.int32), values, np.array([0, 3, 4, 5]))


def test_details_of_classes_are_the_scores():
    found = classified()
    details = found.details(seed=5)
    expected = scores.classification_scores(found.true, found.predicted, CLASSES)
    assert details["by_class"] == expected["by_class"]
    assert details["intervals"] == scores.class_intervals(found.true, found.predicted, 3, seed=5)
    for name, (low, high) in details["intervals"].items():
        assert low <= expected[name] <= high
    assert np.sum(details["confusion"]["counts"]) == sum(details["labels"].values()) == 40
    assert details["labels"]["fair"] == np.sum(found.true == 1)
    assert json.loads(json.dumps(details)) == details


def test_examples_without_a_class_do_not_count():
    found = classified()
    true = np.append(found.true, -1).astype(np.int32)
    more = Predictions(CLASSES, true, np.append(found.log_probabilities, np.float32([[0, -9, -9]]), axis=0))
    assert more.details() == found.details()


def test_details_of_spans():
    details = tagged().details()
    assert list(details["by_type"]) == ["loc"]
    # Of the fourth word B-loc is not likelier than O, and I-loc begins nothing.
    assert details["by_type"]["loc"] == {"precision": 1, "recall": 1, "f1": 1, "support": 1}
    assert details["labels"] == {"B-loc": 1, "I-loc": 1, "O": 2}
    assert details["confusion"] == {"names": ["O", "loc"], "counts": [[2, 0], [0, 2]]}


def test_the_temperature_and_both_errors():
    found = classified(400)
    assert "temperature" not in found.details()
    details = found.details(temperature=found.temperature)
    chosen = np.exp(found.log_probabilities.max(1))
    # The classes are drawn without regard to the probabilities.
    assert details["temperature"] == found.temperature > 5
    calibration = details["calibration"]
    assert sum(row["count"] for row in calibration["bins"]) == 400
    assert calibration["expected_calibration_error"] == pytest.approx(chosen.mean() - 1 / 3, abs=0.06)
    assert calibration["expected_calibration_error_at_temperature"] < 0.08
    other = found.details(temperature=1.0)["calibration"]  # Nothing is fitted to the labels that are scored.
    at_one = other["expected_calibration_error_at_temperature"]
    assert at_one == pytest.approx(other["expected_calibration_error"])


def test_many_classes_have_no_confusion_matrix():
    names = [f"c{number:02}" for number in range(41)]
    values = np.log(np.full([5, 41], 1 / 41, np.float32))
    found = Predictions(names, np.arange(5, dtype=np.int32), values)
    assert found.confusion() is None
    assert "confusion" not in found.details()


def test_lines_of_classes():
    found = classified(3)
    documents = [Document.from_text(f"a.tsv:{number}", f"text {number}\n") for number in range(3)]
    lines = list(found.lines(documents))
    assert [line["source"] for line in lines] == ["a.tsv:0", "a.tsv:1", "a.tsv:2"]
    assert lines[1]["text"] == "text 1\n"
    assert [line["label"] for line in lines] == [CLASSES[label] for label in found.true]
    best = np.exp(found.log_probabilities.max(1).astype(float))
    assert [line["probability"] for line in lines] == pytest.approx(best.tolist(), abs=1e-6)
    cost = -found.log_probabilities[2, found.true[2]]
    assert lines[2]["nats"] == pytest.approx(cost, abs=1e-6)
    assert list(found.lines(documents, {1})) == lines[1:2]


def test_lines_of_tags():
    words = [["New", "York", "is"], ["Big"], ["?"]]
    documents = [
        Document.from_words(f"a.conll:{n}", [Word(word, None, "") for word in some])
        for n, some in enumerate(words)
    ]
    lines = list(tagged().lines(documents))
    assert lines[0]["words"] == ["New", "York", "is"]
    assert lines[0]["predicted"] == lines[0]["tags"] == ["B-loc", "I-loc", "O"]
    assert lines[0]["nats"] == pytest.approx(-np.log(0.8 * 0.7 * 0.7), abs=1e-5)
    assert lines[1]["predicted"] == ["O"]
    assert (lines[2]["tags"], lines[2]["nats"]) == ([None], 0)


def test_how_long_examples_are():
    found = described(np.array([3, 4, 5, 30]), longest=20, padding=0.2)
    assert found == {
        "examples": 4, "shortest": 3, "median": 4, "percentile_95": 5, "longest": 30, "too_long": 1,
        "padding": 0.2,
    }  # fmt: skip
    assert described(np.array([], int), 20, 0.0) == {"examples": 0}
