"""Targets of a translator trained for seconds: in order and complete (law 11); what its run keeps."""

import io
import json
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lm_keras import InputError
from lm_keras.answers import prediction_files
from lm_keras.sampling.pair_settings import PairSettings

SOURCES = ["1 2", "5", "3 3 4 1", "4 2", "2", "1 1 1", "5 4 3 2", "2 2 3"]


def is_in_order(lm, batch_size, **settings):
    """Tell whether sources have the same targets together and one by one."""
    alone = [lm.targets([source], **settings)[0] for source in SOURCES]
    together = lm.targets(SOURCES, batch_size=batch_size, **settings)
    return all(
        [target.text for target in one] == [target.text for target in other]
        and [target.score for target in one] == pytest.approx([t.score for t in other], abs=1e-4)
        for one, other in zip(alone, together, strict=True)
    )


@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize(
    "settings",
    [{"num_beams": 1}, {"num_beams": 4, "num_samples": 2}, {"num_beams": 1, "temperature": 1.0, "seed": 3}],
    ids=["greedy", "beams", "sampled"],
)
def test_targets_come_in_order_whatever_the_batch_size(translator, batch_size, settings):
    assert is_in_order(translator.lm, batch_size, **settings)


def test_the_check_of_the_order_can_fail(translator, monkeypatch):
    answer = translator.lm.answer
    batches = type(answer)._batches

    def turned(self, ids, most):
        for numbers in batches(self, ids, most):
            ids[numbers[0]], ids[numbers[-1]] = ids[numbers[-1]], ids[numbers[0]]
            yield numbers

    monkeypatch.setattr(type(answer), "_batches", turned)
    assert not is_in_order(translator.lm, 3)


def test_targets_were_learnt(translator):
    assert translator.lm.translate(["3 1 4"]) == ["three one four"]
    assert translator.lm.translate([]) == []
    (found,) = translator.lm.targets(["5 2"], num_samples=3)
    scores = [target.score for target in found]
    assert len(found) == 3 and scores == sorted(scores, reverse=True) and found[0].text == "five two"
    count = len(found[0].token_ids)
    assert scores[0] == pytest.approx(sum(found[0].log_probabilities) / ((5 + count) / 6), rel=1e-4)
    assert translator.lm.answer.traces <= 3


def test_lengths_and_rules(translator):
    lm = translator.lm
    assert lm.translate(["3 1 4"], max_length_ratio=0, max_length_more=2) == ["three one"]
    (longer,) = lm.translate(["3 1 4"], min_length_ratio=2, max_length_ratio=2)
    assert len(longer.split()) >= 6
    (twice,) = lm.translate(["2 2 2 2"], no_repeat_ngram=1)
    words = twice.split()
    assert len(set(words)) == len(words)


def test_long_sources(translator):
    long = ". ".join(["1 2 3 4 5"] * 4) + "."
    with pytest.raises(InputError, match=r"text 1 has 2\d tokens, and the model reads 15; shorten it"):
        translator.lm.targets([long], too_long="error")
    cut = translator.lm.translate([long])
    split = translator.lm.translate([long], too_long="windows")
    assert len(split[0].split()) > len(cut[0].split())


def test_bad_input(translator, classifier):
    lm = translator.lm
    with pytest.raises(InputError, match="text 2 is empty; expected a source"):
        lm.translate(["1", " "])
    with pytest.raises(InputError, match="'beams' is no setting of a translation"):
        lm.translate(["1"], beams=3)
    with pytest.raises(InputError, match=r"--temperature=0\.5 samples, and --num_beams=5 searches"):
        lm.translate(["1"], temperature=0.5)
    with pytest.raises(InputError, match="--num_samples=6 of --num_beams=5: a search gives at most as many"):
        lm.translate(["1"], num_samples=6)
    with pytest.raises(InputError, match="--task=seq2seq turns a source into a target and continues no text"):
        lm.generate(["1"])
    with pytest.raises(InputError, match="--temperature_scaling is for models that predict labels"):
        lm.scale_temperature()
    with pytest.raises(InputError, match="a model of pairs gives a single text no likelihood"):
        lm.score(["1"])
    with pytest.raises(InputError, match="a model of pairs has logits of a target behind its source"):
        lm.logits([[1]])
    with pytest.raises(InputError, match="--task=classification turns no source into a target; use classify"):
        classifier.lm.translate(["1"])
    with pytest.raises(InputError, match="--num_beams=2 is for --task=seq2seq, and this model has"):
        classifier.lm.answer.decode_with(PairSettings(num_beams=2))


def predicted(lm, tmp_path, content, name="in.txt", **settings):
    (tmp_path / name).write_text(content)
    lm.answer.decode_with(PairSettings(**settings))
    try:
        prediction_files.predict(lm.answer, str(tmp_path / name), str(tmp_path / "out"), **FORMATS[name])
    finally:
        lm.answer.decode_with(PairSettings())
    return (tmp_path / "out").read_text()


FORMATS = {
    "in.txt": {"format": "lines", "text_field": "source"},
    "in.tsv": {"format": "tsv", "text_field": "source"},
    "in.jsonl": {"format": "jsonl", "text_field": "source"},
}


def test_files(translator, tmp_path, monkeypatch):
    """Records come in blocks; an empty line gives an empty line."""
    monkeypatch.setattr(prediction_files, "AT_ONCE", 2)
    lines = predicted(translator.lm, tmp_path, "1 2\n\n3\n4 5 1\n")
    assert lines == "one two\n\nthree\nfour five one\n"
    table = predicted(translator.lm, tmp_path, "place\tsource\nhere\t1 2\n", "in.tsv")
    head, row = table.splitlines()
    assert head == "place\tsource\ttarget\tscore"
    assert re.fullmatch("here\t1 2\tone two\t-[0-9.]+", row)
    record = predicted(translator.lm, tmp_path, '{"source": "2 1"}\n', "in.jsonl", num_samples=2)
    found = json.loads(record)
    assert found["source"] == "2 1" and found["target"] == "two one" == found["hypotheses"][0]["text"]
    assert len(found["hypotheses"]) == 2 and found["score"] == found["hypotheses"][0]["score"]


def test_a_run_keeps_what_was_generated(translator):
    results = json.loads((translator.path / "results.json").read_text())
    valid = results["splits"]["valid"]
    assert valid["bleu"] > 60 and valid["chrf"] > 60 and valid["rougeL"] > 60
    assert valid["decoded"] == "5 beams, length penalty 1.0, 40 pairs" and "tok:13a" in valid["signature"]
    assert set(valid["baselines"]) == {"copy", "lead", "nearest"}
    assert valid["baselines"]["copy"]["rouge1"] == 0 < valid["baselines"]["nearest"]["rouge1"]
    assert sum(group["pairs"] for group in valid["by_length"]) == 40
    lines = (translator.path / "predictions" / "test.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 40 and set(first) == {"place", "source", "references", "output", "chrf"}
    assert first["place"].endswith("test.tsv:1")
    evaluations = [json.loads(line) for line in (translator.path / "metrics.jsonl").read_text().splitlines()]
    sampled = [line for line in evaluations if "split" in line]
    assert [line["decoded"] for line in sampled] == ["greedy, 8 of 40 pairs"] * 2
    assert all(0 <= line["bleu"] <= 100 for line in sampled)
    events = EventAccumulator(str(translator.path / "events" / "valid")).Reload()
    assert {"bleu", "chrf", "rougeL"} <= set(events.Tags()["scalars"]) or events.Tags()["tensors"]
    assert any("targets" in tag for tag in events.Tags()["tensors"])


def test_evaluation_scores_targets(translator):
    found = translator.lm.evaluate("test")
    results = json.loads((translator.path / "results.json").read_text())["splits"]["test"]
    assert found["bleu"] == pytest.approx(results["bleu"]) and found["decoded"] == results["decoded"]
    with pytest.raises(InputError, match="--bleu_tokenize=zzz is unknown; choose one of auto, 13a"):
        translator.lm.evaluate("test", bleu_tokenize="zzz")


def test_interactive(translator, monkeypatch, capsys):
    from lm_keras.answers import conversation

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"1 2\n\n3\n")))
    conversation.converse(translator.lm.answer, color=False)
    assert capsys.readouterr().out == "one two\n\nthree\n"
