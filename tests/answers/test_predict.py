"""Predictions of trained models: in order and complete (law 11), and what runs keep of them."""

import dataclasses
import io
import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lm_keras
from lm_keras import InputError
from lm_keras.data.labels import Labels
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.evaluation.predictions import Predictions


def given(count=50):
    """Texts of different lengths, in no order."""
    return [("the cat sees a dog " * (number * 7 % 11 + 1)).strip() for number in range(count)]


def is_in_order(lm, batch_size):
    """Tell whether texts have the same answers together and one by one."""
    texts = given(20) + ["a bird", "a fish old"]
    alone = [lm.classify([text])[0] for text in texts]
    together = lm.classify(texts, batch_size=batch_size)
    return all(
        one["label"] == other["label"]
        and one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        for one, other in zip(alone, together, strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_classes_come_in_order_whatever_the_batch_size(classifier, batch_size):
    assert is_in_order(classifier.lm, batch_size)


def test_the_check_of_the_order_can_fail(classifier, monkeypatch):
    task = classifier.lm.answer._task
    batches = type(task).batches

    def shifted(self, *args):
        for batch, numbers in batches(self, *args):
            yield batch, np.where(numbers >= 0, (numbers + 1) % (numbers.max() + 1), numbers)

    monkeypatch.setattr(type(task), "batches", shifted)
    assert not is_in_order(classifier.lm, 3)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_tags_come_in_order_whatever_the_batch_size(tagger, batch_size):
    texts = [f"{name} likes the cat" for name in ("Ada", "Bob", "Eve Marie", "nobody", "Tom")] * 5
    alone = [tagger.lm.tag([text])[0] for text in texts]
    together = tagger.lm.tag(texts, batch_size=batch_size)
    for one, other in zip(alone, together, strict=True):
        assert [span[:4] for span in one] == [span[:4] for span in other]
        assert [s.probability for s in one] == pytest.approx([s.probability for s in other], abs=1e-5)


def test_classes_were_learnt(classifier):
    found = classifier.lm.classify(["the cat sees", "a fish"])
    assert [one["label"] for one in found] == ["pet", "wild"]
    for one in found:
        assert list(one["probabilities"]) == ["pet", "wild"]
        assert sum(one["probabilities"].values()) == pytest.approx(1)
        assert one["probability"] == max(one["probabilities"].values())


def test_spans_were_learnt_and_stand_in_the_text(tagger):
    text = "  Eve Marie likes the (dog)."
    (spans,) = tagger.lm.tag([text])
    assert [(span.type, span.text) for span in spans] == [("person", "Eve Marie")]
    assert all(text[span.start : span.end] == span.text and 0 < span.probability <= 1 for span in spans)
    words, string = (tagger.lm.tag(given)[0] for given in ([["Bob", "likes"]], ["Bob likes"]))
    assert [span[:4] for span in words] == [span[:4] for span in string] == [(0, 3, "person", "Bob")]
    assert tagger.lm.tag(["", []]) == [[], []]


def test_every_word_has_a_tag_behind_a_cut(tagger):
    words = ["Ada", "likes", "the", "cat"] * 30
    (record,) = tagger.lm.answer.records([words], "windows", 4)
    assert record["words"] == words
    assert len(record["tags"]) == 120 and 0 not in record["probabilities"]
    (cut,) = tagger.lm.answer.records([words], "cut_end", 4)
    room = tagger.lm.answer.room
    assert 0 not in cut["probabilities"][: room // 2]
    assert set(cut["tags"][room:]) == {"O"} and set(cut["probabilities"][room:]) == {0}


def test_long_texts_are_told(classifier, capsys):
    long = "the cat " * 60
    assert classifier.lm.classify([long, "a dog"])[0]["label"] == "pet"
    assert "1 of 2 texts have more than" in capsys.readouterr().err
    for how in ("cut_start", "windows"):
        assert classifier.lm.classify([long], too_long=how)[0]["label"] == "pet"
    with pytest.raises(InputError, match="text 2 has 121 tokens"):
        classifier.lm.classify(["a dog", long], too_long="error")
    with pytest.raises(InputError, match="too_long='cut' is unknown"):
        classifier.lm.classify(["a dog"], too_long="cut")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one", "texts is a str"),
        ([5], r"texts\[0\] is a int"),
        (["good", " \n"], "text 2 is empty"),
        (["\udcff"], "lone surrogate"),
    ],
)
def test_bad_texts_to_classify(classifier, texts, message):
    with pytest.raises(InputError, match=message):
        classifier.lm.classify(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one", "expected a list of texts"),
        ([5], "text 1 is a int"),
        ([["a", 5]], "text 1 is a int"),
        ([["a", " "]], "text 1 has an empty word"),
        ([["\udcff"]], "lone surrogate"),
    ],
)
def test_bad_texts_to_tag(tagger, texts, message):
    with pytest.raises(InputError, match=message):
        tagger.lm.tag(texts)


def test_texts_are_as_long_as_in_training(classifier):
    """A longer row has positions that were never trained, whatever the network could read."""
    task = classifier.lm.answer._task
    longer = dataclasses.replace(task, context_length=4 * task.sequence_length)
    answer = type(classifier.lm.answer)(longer, classifier.lm.model, classifier.lm.tokenizer)
    assert longer.longest > answer.room + longer.frame.size == task.sequence_length


def test_texts_that_have_no_tokens_have_a_prediction(classifier, tagger):
    assert classifier.lm.classify(["\u200b"])[0]["label"] in ("pet", "wild")
    (record,) = tagger.lm.answer.records([["\u200b", "Ada"]], "windows", 4)
    assert len(record["tags"]) == 2


def test_labels_are_no_text(classifier, tagger, finished):
    for lm, name in ((classifier.lm, "classify"), (tagger.lm, "tag")):
        for ask in (
            lambda lm=lm: lm.generate(["a"]),
            lambda lm=lm: lm.fill("a"),
            lambda lm=lm: lm.sample(["a"]),
        ):
            with pytest.raises(InputError, match=f"scripts/predict.py, or {name} in Python"):
                ask()
    with pytest.raises(InputError, match="use tag"):
        tagger.lm.classify(["a"])
    with pytest.raises(InputError, match="use classify"):
        classifier.lm.tag(["a"])
    with pytest.raises(InputError, match=r"scripts/sample\.py"):
        lm_keras.load(finished.path).classify(["a"])


def test_the_scripts_name_each_other(script, classifier, finished):
    ended = script("sample.py", f"--run_dir={classifier.path}", "--prompt=a")
    assert (ended.code, ended.out) == (1, "") and "scripts/predict.py" in ended.err
    ended = script("predict.py", f"--run_dir={finished.path}")
    assert (ended.code, ended.out) == (1, "") and "scripts/sample.py" in ended.err


@pytest.fixture
def predicted(script, tmp_path):
    """A function that predicts the labels of a file."""

    def run(trained, content, *flags, name="in.txt", code=0):
        (tmp_path / name).write_text(content)
        ended = script("predict.py", f"--run_dir={trained.path}", f"--input={tmp_path / name}", *flags)
        assert ended.code == code and "Traceback" not in ended.err, ended.err
        return ended.out if code == 0 else ended.err

    return run


def test_a_file_of_texts(classifier, predicted):
    assert predicted(classifier, "the cat\n\na fish\n \n") == "pet\n\nwild\n\n"
    lines = predicted(classifier, "the cat\n", "--format=jsonl", "--batch_size=1").splitlines()
    assert json.loads(lines[0])["label"] == "pet"


def test_a_file_of_words(tagger, predicted):
    assert predicted(tagger, "Ada sees the cat\n\n") == "B-person O O O\n\n"
    out = predicted(tagger, "Bob\nlikes\n\n", "--format=conll", name="in.conll")
    assert out == "Bob\tB-person\nlikes\tO\n\n"
    (line,) = predicted(tagger, "Tom likes the cat.\n", "--format=jsonl").splitlines()
    (span,) = json.loads(line)["spans"]
    assert (span["start"], span["end"], span["type"], span["text"]) == (0, 3, "person", "Tom")


def test_faults_of_the_script(classifier, predicted, tmp_path):
    err = predicted(classifier, "a\n", "--format=conll", code=1)
    assert err == (
        "error: --format=conll is for words with tags; this model has --task=classification:"
        " choose lines, tsv or jsonl\n"
    )
    err = predicted(classifier, "a\n", "--too_long=cut", code=1)
    assert "--too_long=cut is unknown" in err or "too_long='cut' is unknown" in err
    err = predicted(classifier, "a\n\n" + "the cat " * 60 + "\n", "--too_long=error", code=1)
    assert err.startswith(f"error: {tmp_path}/in.txt:3 has 121 tokens, and the model reads ")
    err = predicted(classifier, "a\n", "--interactive", code=1)
    assert "leave --input and --output out" in err


def test_a_conversation_with_a_tagger(tagger, script, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Ada likes Bob.\n\nnobody\n"))
    ended = script("predict.py", f"--run_dir={tagger.path}", "--interactive")
    assert ended.code == 0
    first, second, _ = ended.out.split("\n")[:3]
    assert first.startswith("[Ada person] likes") and second == ""


def test_a_run_keeps_its_predictions(classifier, lines_of):
    lm, path = classifier.lm, classifier.path
    lines = lines_of(path / "predictions" / "test.jsonl")
    assert len(lines) == 40
    found = lm.classify([line["text"] for line in lines])
    assert [line["predicted"] for line in lines] == [one["label"] for one in found]
    assert [line["probability"] for line in lines] == pytest.approx(
        [one["probability"] for one in found], abs=1e-5
    )
    results = json.loads((path / "results.json").read_text())
    test = results["splits"]["test"]
    right = sum(line["label"] == line["predicted"] for line in lines) / 40
    assert test["accuracy"] == pytest.approx(right)
    low, high = test["scores"]["intervals"]["accuracy"]
    assert low <= right <= high
    assert sum(test["scores"]["labels"].values()) == 40
    # The labels of the test text decide no temperature.
    assert test["scores"]["temperature"] == results["splits"]["valid"]["scores"]["temperature"]
    assert test["baselines"]["majority"]["accuracy"] < test["baselines"]["bag_of_words"]["accuracy"]
    assert results["texts"]["train"]["examples"] == 200
    assert results["texts"]["train"]["padding"] < 0.2


def test_a_run_keeps_its_tags(tagger, lines_of):
    lines = lines_of(tagger.path / "predictions" / "valid.jsonl")
    found = tagger.lm.answer.records([line["words"] for line in lines], "windows", 8)
    assert [line["predicted"] for line in lines] == [one["tags"] for one in found]
    results = json.loads((tagger.path / "results.json").read_text())
    valid = results["splits"]["valid"]
    assert set(valid["scores"]["by_type"]) == {"person"}
    assert valid["span_f1"] == pytest.approx(valid["scores"]["by_type"]["person"]["f1"])
    assert valid["baselines"]["majority"]["span_f1"] == 0


def test_a_temperature_that_fits(classifier, predicted, lines_of):
    results = json.loads((classifier.path / "results.json").read_text())
    fitted = results["splits"]["valid"]["scores"]["temperature"]
    lm = lm_keras.load(classifier.path)
    before = lm.classify(["the cat", "a fish"])
    lm.scale_temperature()
    assert lm.answer.temperature == pytest.approx(fitted, rel=1e-3)
    after = lm.classify(["the cat", "a fish"])
    assert [one["label"] for one in before] == [one["label"] for one in after]
    assert before[0]["probability"] != after[0]["probability"]
    out = predicted(classifier, "the cat\n", "--format=jsonl", "--temperature_scaling")
    assert json.loads(out)["probability"] == pytest.approx(after[0]["probability"], abs=1e-5)


def test_the_report_shows_labels(classifier, tagger, script, tmp_path):
    page = tmp_path / "report.html"
    ended = script("report.py", f"--run_dir={classifier.path}", f"--output={page}", tagger.path)
    assert ended.code == 0, ended.err
    text = page.read_text()
    for words in ("<h2>Labels</h2>", "person", "Confusion", "Reliability", "examples of valid"):
        assert words in text


def test_evaluate_says_the_scores(classifier, script):
    ended = script("evaluate.py", f"--run_dir={classifier.path}", "--split=test", "--json")
    found = json.loads(ended.out.splitlines()[-1])
    results = json.loads((classifier.path / "results.json").read_text())["splits"]["test"]
    for name in ("accuracy", "macro_f1", "mcc"):
        assert found[name] == pytest.approx(results[name])


def test_evaluate_says_the_scores_of_each_label(classifier, tagger, script):
    for trained, name in ((classifier, "by_class"), (tagger, "by_type")):
        results = json.loads((trained.path / "results.json").read_text())["splits"]["test"]["scores"][name]
        lines = script("evaluate.py", f"--run_dir={trained.path}", "--split=test").out.splitlines()
        head = next(k for k, line in enumerate(lines) if line.startswith(name.replace("_", " ")))
        assert lines[head].split()[2:] == ["precision", "recall", "f1", "support"]
        for line, (label, own) in zip(lines[head + 1 :], results.items(), strict=True):
            numbers = [f"{own[field]:.3f}" for field in ("precision", "recall", "f1")]
            assert line.split() == [label, *numbers, str(own["support"])]


def test_evaluate_counts_what_is_odd_in_another_text(classifier, tagger, script, tmp_path):
    (tmp_path / "other.tsv").write_text("the cat\tpet\nthe cat\twild\n" + "the cat " * 30 + "\tpet\n")
    ended = script("evaluate.py", f"--run_dir={classifier.path}", f"--corpus=tsv:{tmp_path}/other.tsv")
    assert ended.code == 0, ended.err
    assert f"{tmp_path}/other.tsv:1 and {tmp_path}/other.tsv:2 have the same text and the labels" in ended.err
    assert f"{tmp_path}/other.tsv:3: 61 tokens, and a row has room for" in ended.err
    assert "--too_long=cut_end" in ended.err
    (tmp_path / "other.conll").write_text(
        "Ada B-person\nlikes O\nBob I-person\n\n" + "the O\n" * 40 + "\u200b O\n"
    )
    ended = script("evaluate.py", f"--run_dir={tagger.path}", f"--corpus=conll:{tmp_path}/other.conll")
    assert ended.code == 0, ended.err
    assert f"{tmp_path}/other.conll:3: the tag 'I-person' continues no span" in ended.err
    assert "--too_long=windows" in ended.err and "(1 of 2 " in ended.err
    # The control: the text of the run has none of it.
    ended = script("evaluate.py", f"--run_dir={tagger.path}", "--split=test")
    assert "continues no span" not in ended.err and "room for" not in ended.err


def test_predictions_are_those_of_the_evaluation(tagger):
    """The tags that a run writes are those that its measures count."""
    lm = tagger.lm
    store = lm._text("test", None, lambda line: None).store

    evaluator = Evaluator(lm.model, lm.task)
    found = Predictions.of(evaluator.sums(store), lm.task.labels.names)
    by_type = found.details()["by_type"]["person"]
    assert evaluator(store, "test", 0)["span_f1"] == pytest.approx(by_type["f1"])


def test_tensorboard_shows_what_goes_wrong(classifier, tagger):
    for trained in (classifier, tagger):
        events = EventAccumulator(str(trained.path / "events" / "valid"), {"tensors": 0})
        events.Reload()
        assert {"worst_examples", "confusion"} <= set(events.Tags()["tensors"])
        worst = events.Tensors("worst_examples")
        assert [event.step for event in worst] == [40, 80]
        table = worst[0].tensor_proto.string_val[0].decode()
        assert table.startswith("| source | text | true | predicted | nats |\n| --- |")
        assert 3 <= len(table.splitlines()) <= 12


def test_a_measure_that_these_tags_do_not_have(tagger):
    task = tagger.lm.answer._task
    parts_of_speech = Labels(("NOUN", "VERB"), (1, 1))
    for best_by, labels, message in (
        ("macro_f1", task.labels, "the tags of this text mark spans"),
        ("span_f1", parts_of_speech, "the tags of this text mark no spans"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(task, best_by=best_by, labels=labels).check(None, print)
