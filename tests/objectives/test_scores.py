"""Scores of classes and spans against definitions written out, and against scikit-learn and seqeval where
these are installed.
"""

import numpy as np
import pytest

from lm_keras.objectives import scores

KINDS = ("loc", "creative-work")
TAGS = ("O", *(f"{prefix}-{kind}" for kind in KINDS for prefix in "BI"))


def random_classes(seed, n=211, classes=5):
    """True and predicted classes that agree often; the last class never occurs."""
    random = np.random.default_rng(seed)
    true = random.integers(0, classes - 1, n)
    return true, np.where(random.random(n) < 0.6, true, random.integers(0, classes - 1, n))


def random_tags(seed, sentences=37):
    """True and predicted tags: some right, many malformed."""
    random = np.random.default_rng(seed)
    true = [list(random.choice(TAGS, random.integers(0, 9))) for _ in range(sentences)]
    predicted = [[tag if random.random() < 0.7 else random.choice(TAGS) for tag in tags] for tags in true]
    return [list(map(str, tags)) for tags in true], [list(map(str, tags)) for tags in predicted]


def test_a_confusion_matrix_counts_pairs():
    true, predicted = random_classes(1)
    counts = scores.confusion(true, predicted, 5)
    for i in range(5):
        for j in range(5):
            assert counts[i, j] == sum((a, b) == (i, j) for a, b in zip(true, predicted))


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_equal_their_definitions(seed):
    true, predicted = random_classes(seed)
    found = scores.classification_scores(true, predicted, "vwxyz")
    f1 = []
    for k, name in enumerate("vwxyz"):
        hits = sum(a == b == k for a, b in zip(true, predicted))
        there, guessed = sum(true == k), sum(predicted == k)
        expected = {
            "precision": hits / guessed if guessed else 0,
            "recall": hits / there if there else 0,
            "f1": 2 * hits / (there + guessed) if there + guessed else 0,
            "support": there,
        }
        assert found["by_class"][name] == pytest.approx(expected)
        f1 += [expected["f1"]] if there or guessed else []
    # The correlation of the two tables with a column for each class.
    tables = [np.eye(5)[classes] for classes in (true, predicted)]
    tables = [table - table.mean(0) for table in tables]
    product, own, other = (np.sum(tables[a] * tables[b]) for a, b in ((0, 1), (0, 0), (1, 1)))
    assert found["accuracy"] == pytest.approx(np.mean(true == predicted))
    assert found["macro_f1"] == pytest.approx(np.mean(f1))
    assert found["mcc"] == pytest.approx(product / np.sqrt(own * other))


def test_class_scores_without_a_denominator():
    nothing = scores.classification_scores(np.array([], int), np.array([], int), "ab")
    assert [nothing[name] for name in ("accuracy", "macro_f1", "mcc")] == [None, None, None]
    constant = scores.classification_scores(np.array([0, 1, 1]), np.array([1, 1, 1]), "ab")
    assert (constant["mcc"], constant["macro_f1"]) == (0, pytest.approx(0.4))


def test_large_counts_stay_exact():
    true = np.repeat([0, 1], 2_000_000)
    predicted = np.concatenate([true[:-1], [0]])
    assert scores.classification_scores(true, predicted, "ab")["mcc"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_equal_those_of_scikit_learn(seed):
    metrics = pytest.importorskip("sklearn.metrics")
    true, predicted = random_classes(seed)
    found = scores.classification_scores(true, predicted, "vwxyz")
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(true, predicted, average="macro"))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(true, predicted))
    columns = metrics.precision_recall_fscore_support(true, predicted, labels=range(5), zero_division=0)
    for name, *row in zip("vwxyz", *columns):
        assert list(found["by_class"][name].values()) == pytest.approx(row)


def spans_by_definition(tags, strict):
    """Try every stretch of words and every type."""
    found, n = set(), len(tags)
    for kind in KINDS:
        begin, inside = f"B-{kind}", f"I-{kind}"
        for i in range(n):
            for j in range(i + 1, n + 1):
                begins = tags[i] == begin
                if not strict:
                    begins |= tags[i] == inside and (i == 0 or tags[i - 1] not in (begin, inside))
                whole = all(tag == inside for tag in tags[i + 1 : j]) and (j == n or tags[j] != inside)
                if begins and whole:
                    found.add((i, j, kind))
    return found


@pytest.mark.parametrize("strict", [True, False])
def test_spans_equal_their_definition(strict):
    for tags in random_tags(3, sentences=200)[0]:
        found = scores.spans_of(tags, strict)
        assert len(found) == len(set(found))
        assert set(found) == spans_by_definition(tags, strict)


@pytest.mark.parametrize(
    ("tags", "strict", "lenient"),
    [
        (["B-loc", "B-loc"], [(0, 1, "loc"), (1, 2, "loc")], [(0, 1, "loc"), (1, 2, "loc")]),
        (["B-loc", "I-per"], [(0, 1, "loc")], [(0, 1, "loc"), (1, 2, "per")]),
        (["I-loc", "I-loc", "B-loc"], [(2, 3, "loc")], [(0, 2, "loc"), (2, 3, "loc")]),
        (["B", "I", "O", "B"], [(0, 2, ""), (3, 4, "")], [(0, 2, ""), (3, 4, "")]),
        (["O"], [], []),
        ([], [], []),
    ],
)
def test_spans_by_hand(tags, strict, lenient):
    assert scores.spans_of(tags) == strict
    assert scores.spans_of(tags, strict=False) == lenient


def scored_by_definition(true, predicted, strict, kinds=KINDS):
    """Return precision, recall and F1 over some types, and the true spans."""

    def spans(tags, number):
        return {(number, *span) for span in spans_by_definition(tags, strict) if span[2] in kinds}

    there = set().union(*(spans(tags, n) for n, tags in enumerate(true)))
    found = set().union(*(spans(tags, n) for n, tags in enumerate(predicted)))
    hits = len(there & found)
    return hits / len(found), hits / len(there), 2 * hits / (len(found) + len(there)), len(there)


@pytest.mark.parametrize("seed", range(3))
def test_span_scores_equal_their_definition(seed):
    true, predicted = random_tags(seed)
    found = scores.span_scores(true, predicted)
    names = ("span_precision", "span_recall", "span_f1")
    assert [found[name] for name in names] == pytest.approx(scored_by_definition(true, predicted, True)[:3])
    assert found["span_f1_conlleval"] == pytest.approx(scored_by_definition(true, predicted, False)[2])
    assert found["span_f1_conlleval"] != found["span_f1"]
    for kind in KINDS:
        expected = scored_by_definition(true, predicted, True, (kind,))
        assert list(found["by_type"][kind].values()) == pytest.approx(expected)


def test_span_scores_without_spans():
    found = scores.span_scores([["O", "O"], []], [["O", "O"], []])
    assert found == {
        "span_f1": 0, "span_precision": 0, "span_recall": 0, "span_f1_conlleval": 0, "by_type": {},
    }  # fmt: skip
    assert scores.span_scores([], [])["span_f1"] == 0
    assert scores.span_scores([["O"]], [["B-loc"]])["by_type"]["loc"]["support"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_span_scores_equal_those_of_seqeval(seed):
    seqeval = pytest.importorskip("seqeval.metrics")
    scheme = pytest.importorskip("seqeval.scheme").IOB2
    true, predicted = random_tags(seed)
    found = scores.span_scores(true, predicted)
    strict = {"mode": "strict", "scheme": scheme}
    assert found["span_f1"] == pytest.approx(seqeval.f1_score(true, predicted, **strict))
    assert found["span_precision"] == pytest.approx(seqeval.precision_score(true, predicted, **strict))
    assert found["span_recall"] == pytest.approx(seqeval.recall_score(true, predicted, **strict))
    assert found["span_f1_conlleval"] == pytest.approx(seqeval.f1_score(true, predicted))
    report = seqeval.classification_report(true, predicted, output_dict=True, **strict)
    for kind in KINDS:
        expected = [report[kind][name] for name in ("precision", "recall", "f1-score", "support")]
        assert list(found["by_type"][kind].values()) == pytest.approx(expected)


def test_intervals_are_those_of_resampled_examples():
    true, predicted = random_classes(7, n=500)
    found = scores.class_intervals(true, predicted, 5, seed=11)
    random, drawn = np.random.default_rng(2), {"accuracy": [], "macro_f1": [], "mcc": []}
    for _ in range(1000):
        chosen = random.integers(0, 500, 500)
        values = scores.classification_scores(true[chosen], predicted[chosen], "vwxyz")
        for name, these in drawn.items():
            these.append(values[name])
    for name, values in drawn.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=0.012)


def test_an_interval_of_accuracy_is_that_of_a_share():
    true = np.zeros(1821, int)
    predicted = (np.arange(1821) >= 1500).astype(int)
    share = 1500 / 1821
    half = 1.96 * np.sqrt(share * (1 - share) / 1821)
    found = scores.class_intervals(true, predicted, 2)["accuracy"]
    assert found == pytest.approx([share - half, share + half], abs=0.003)


def test_intervals_of_spans_are_those_of_resampled_sentences():
    true, predicted = random_tags(5, sentences=150)
    found = scores.span_intervals(true, predicted, seed=3)
    random, drawn = np.random.default_rng(4), {name: [] for name in found}
    for _ in range(400):
        chosen = random.integers(0, 150, 150)
        values = scores.span_scores([true[i] for i in chosen], [predicted[i] for i in chosen])
        for name, these in drawn.items():
            these.append(values[name])
    assert set(found) == {"span_f1", "span_precision", "span_recall", "span_f1_conlleval"}
    for name, values in drawn.items():
        assert found[name] == pytest.approx(np.quantile(values, [0.025, 0.975]).tolist(), abs=0.02)


def test_intervals_depend_on_the_seed_alone():
    classes, tags = random_classes(1), random_tags(1)
    assert scores.class_intervals(*classes, 5, seed=1) == scores.class_intervals(*classes, 5, seed=1)
    assert scores.class_intervals(*classes, 5, seed=1) != scores.class_intervals(*classes, 5, seed=2)
    assert scores.span_intervals(*tags, seed=1) == scores.span_intervals(*tags, seed=1)
    assert scores.class_intervals(np.array([], int), np.array([], int), 2) == {}


def test_many_classes_are_resampled_in_parts(monkeypatch):
    true, predicted = random_classes(1)
    whole = scores.class_intervals(true, predicted, 5)
    monkeypatch.setattr(scores, "_MAX_CELLS", 25 * 300)
    parts = scores.class_intervals(true, predicted, 5)
    for name, ends in whole.items():
        assert parts[name] == pytest.approx(ends, abs=1e-9)
