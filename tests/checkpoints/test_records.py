"""What a run wrote about itself is read as it was written, or refused in one line."""

import json

import pytest

from lm_keras.checkpoints import records
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError

RESULTS = {"step": 24, "splits": {"valid": {"tokens": 9, "perplexity": None}}, "sample": {"text": "é\u2028"}}
DATA = {"splits": {}, "total_steps": 24}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.json", RESULTS),
        ("results.json", {**RESULTS, "further": [0.1 + 0.2, -0.0, 1e-300, True]}),
        ("results.json", {"step": 24, "splits": {}}),  # Of a task whose answer is no text.
        ("data.json", DATA),
        ("environment.json", {"lives": []}),
        ("huggingface.json", {"files": {"chat_template.jinja": "{{ é }}\r\n"}}),
        ("config.json", {"steps": 3}),
    ],
)
def test_what_was_written_comes_back(tmp_path, name, content):
    RunFolder(tmp_path).write_json(name, content)
    assert records.read(tmp_path / name) == content
    assert (records.OWN_SUM in (tmp_path / name).read_text()) == (name != "config.json")


def test_the_order_of_the_fields_and_the_layout_do_not_matter(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(dict(reversed(records.signed(RESULTS).items()))))
    assert records.read(path) == RESULTS


REMEDY = "; restore it from a copy"
UNSIGNED = [
    ("results.json", {**RESULTS, "steps": 24}, "cannot be read ('steps' is unknown)"),
    ("results.json", {**RESULTS, "step": True}, "has True for 'step'"),
    ("results.json", {**RESULTS, "step": "9" * 99}, f"has '{'9' * 39} for 'step'"),
    ("results.json", {**RESULTS, "splits": []}, "has no object for 'splits'"),
    ("results.json", {**RESULTS, "splits": {"valid": 5}}, "has no object for 'valid'"),
    ("results.json", {**RESULTS, "splits": {"valid": {"tokens": 1.5}}}, "has 1.5 for 'tokens'"),
    ("results.json", {**RESULTS, "sample": {}}, "lacks 'text'"),
    ("data.json", {"splits": {}}, "lacks 'total_steps'"),
    ("data.json", {**DATA, "total_steps": None}, "has None for 'total_steps'"),
    ("data.json", {**DATA, "tokenizer": {"kind": "char"}}, "lacks 'fingerprint'"),
    ("environment.json", {"lives": {}}, "has no list for 'lives'"),
    ("environment.json", {"lives": [{}, 5]}, "has no object for 'lives'"),
]


@pytest.mark.parametrize(("name", "content", "reason"), UNSIGNED)
def test_what_is_wrong_is_named(tmp_path, name, content, reason):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(InputError) as caught:
        records.read(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name} {reason}{REMEDY}"


def test_another_number_is_seen(tmp_path):
    RunFolder(tmp_path).write_json("results.json", RESULTS)
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace("24", "25"))
    with pytest.raises(InputError) as caught:
        records.read(path)
    assert str(caught.value) == (
        f"{path} cannot be read (other content than was written; if you changed it on purpose, delete its "
        f"line {records.OWN_SUM}){REMEDY}"
    )
    lines = [line for line in path.read_text().split("\n") if records.OWN_SUM not in line]
    path.write_text("\n".join(lines))
    assert records.read(path)["step"] == 25
