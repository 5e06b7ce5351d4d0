"""Scores of targets in files: lines, JSON lines, several references, and what is wrong with them."""

import json

import pytest

from lm_keras.corpora.documents import Document, Pair
from lm_keras.errors import InputError
from lm_keras.evaluation.generation import GeneratedTargets, sample_of
from lm_keras.evaluation.scored_files import scores_of_files
from lm_keras.objectives.scoring_options import ScoringOptions


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(content)
        return str(tmp_path / name)

    return write


def test_lines_and_objects_give_the_same(write):
    outputs = write("out.txt", "a red car\n\nthe dog runs\n")
    several = [["the red car", "a red car"], ["nothing"], ["the dog ran"]]
    objects = write("ref.jsonl", "".join(json.dumps({"target": own}) + "\n" for own in several))
    found = scores_of_files(ScoringOptions(predictions=outputs, references=objects))
    assert found["pairs"] == 3 and found["rouge1"] == pytest.approx(100 * (1 + 0 + 2 / 3) / 3)
    first = write("one.txt", "the red car\nnothing\nthe dog ran\n")
    second = write("two.txt", "a red car\nnothing\nthe dog ran\n")
    both = scores_of_files(ScoringOptions(predictions=outputs, references=f"{first},{second}"))
    assert both["rouge1"] == found["rouge1"]
    only = scores_of_files(
        ScoringOptions(predictions=outputs, references=objects, rouge_references="first", rouge_stem=True)
    )
    assert only["rouge1"] < found["rouge1"]
    assert only["rouge_settings"] == "stem:yes several:best lines:no references:first"


def test_bad_files(write):
    outputs, references = write("out.txt", "a\nb\n"), write("ref.txt", "a\n")
    with pytest.raises(InputError, match=r"out\.txt has 2 lines, and --references=.*ref\.txt has 1"):
        scores_of_files(ScoringOptions(predictions=outputs, references=references))
    with pytest.raises(InputError, match="--references=nowhere cannot be read: No such file"):
        scores_of_files(ScoringOptions(predictions=outputs, references="nowhere"))
    with pytest.raises(InputError, match="--predictions needs --references, too: a file of targets"):
        ScoringOptions(predictions=outputs)
    wrong = write("ref.jsonl", '{"target": 5}\n{"target": "b"}\n')
    with pytest.raises(InputError, match=r"ref\.jsonl:1: the field 'target' holds no text"):
        scores_of_files(ScoringOptions(predictions=outputs, references=wrong))
    with pytest.raises(InputError, match=r"ref\.jsonl:1 is no JSON object with the field 'summary'"):
        scores_of_files(ScoringOptions(predictions=outputs, references=wrong, target_field="summary"))
    empty = write("empty.txt", "")
    with pytest.raises(InputError, match="is empty; expected a target a line"):
        scores_of_files(ScoringOptions(predictions=empty, references=empty))


def test_groups_by_length():
    pairs = [Pair("w " * count, ("a b",)) for count in (1, 1, 2, 9, 9, 9)]
    groups = GeneratedTargets([""] * 6, pairs, ["a b"] * 5 + ["b a c"]).by_length()
    assert sum(group["pairs"] for group in groups) == 6
    assert [group["fewest"] for group in groups] == sorted({group["fewest"] for group in groups})
    assert groups[0]["fewest"] == 1 and groups[-1]["most"] == 9
    assert groups[0]["rougeL"] == 100 > groups[-1]["rougeL"]
    assert groups[-1]["length"] > 1
    (alone,) = GeneratedTargets([""], [Pair("a", ("b",))], ["b"]).by_length()
    assert alone["fewest"] == alone["most"] == alone["pairs"] == 1


def test_the_same_pairs_are_sampled_each_time():
    documents = [Document.from_pair(f"p:{n}", Pair(f"{n}", (f"{n}",))) for n in range(10)]
    found = [document.source for document in sample_of(documents, 10, 4)]
    assert found == ["p:0", "p:3", "p:6", "p:9"]
    assert len(sample_of(documents, 10, 99)) == 10 and sample_of([], 0, 4) == []
