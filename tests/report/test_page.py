"""The page of a report: what it says, that nothing comes from outside, and that no text becomes markup."""

import html.parser
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from lm_keras.errors import InputError
from lm_keras.report import page, tables
from lm_keras.report.runs import read_runs

ROOT = Path(__file__).parents[2]


def report_on(*paths):
    return page.page_of(read_runs(list(map(str, paths))))


class Parsed(html.parser.HTMLParser):
    """A page as a browser sees it: its texts, its tags with their attributes, the cells of its tables."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.texts, self.rows, self._cell = [], [], [], False
        self.feed(content)
        self.text = "".join(self.texts)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._cell = tag in ("td", "th")

    def handle_endtag(self, tag):
        self._cell = False

    def handle_data(self, data):
        self.texts.append(data)
        if self._cell:
            self.rows[-1][-1] += data

    def row(self, *begin):
        (found,) = [row for row in self.rows if row[: len(begin)] == list(begin)]
        return found


def outside(content):
    """What a page would run, or fetch from elsewhere."""
    found = []
    for tag, attributes in Parsed(content).tags:
        if tag in ("script", "link", "img", "iframe", "object", "embed", "base", "form", "a"):
            found.append(tag)
        for name, value in attributes.items():
            local = value is None or value.startswith("#")
            if name.startswith("on") or (name in ("src", "href", "xlink:href", "action") and not local):
                found.append(f"{tag} {name}={value}")
            found += [
                f"{tag} {name}" for target in re.findall(r"url\((.*?)\)", value or "") if target[0] != "#"
            ]
    return found + re.findall(r"@import|https?:|url\([^#].*?\)", content)


HOSTILE = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;"


def hostile(folder_of):
    split = {"corpus": f"text:{HOSTILE}", "licence": HOSTILE, "tokens": 5}
    sample = {"step": 60, "prompt": HOSTILE, "text": "\n" + HOSTILE}
    return folder_of(
        "<b onclick=1>名前", samples=[sample], texts={"train": split}, sample_prompt=HOSTILE,
        corpus=f"text:{HOSTILE}"
    )  # fmt: skip


def test_nothing_becomes_markup_and_nothing_comes_from_outside(folder_of):
    content = report_on(hostile(folder_of))
    assert outside(content) == []
    parsed = Parsed(content)
    assert parsed.text.count(HOSTILE) == 6  # twice among the settings, twice of the data, twice in the sample
    assert "Report on <b onclick=1>名前" in parsed.text
    assert "onclick" not in {name for _, attributes in parsed.tags for name in attributes}
    names = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(names) == len(set(names))
    used = set(re.findall(r'(?:url\(|xlink:href=")#([^")]+)', content))
    assert used
    assert used <= set(names)


def test_the_check_for_markup_can_fail(folder_of, monkeypatch):
    path = hostile(folder_of)
    monkeypatch.setattr(tables.html, "escape", str)
    assert {"script", "img", "img onerror=alert(2)", "img src=x"} <= set(outside(report_on(path)))
    for bad in (
        "<link href='a.css'>",
        "<p style='background: url(a.png)'>",
        "<svg xmlns='http://a'>",
        "@import x",
    ):
        assert outside(bad)


def test_a_text_keeps_its_line_feeds(folder_of):
    sample = {"step": 60, "prompt": "", "text": "\n\nA  b\n"}
    assert "<pre>\n<b></b>\n\nA  b\n</pre>" in report_on(folder_of(samples=[sample]))


def test_what_a_page_says_of_one_run(folder_of):
    parsed = Parsed(report_on(folder_of(hidden_units=77)))
    state = "finished, 120 steps; best at 90"
    assert parsed.row("first", state)[:8] == [
        "first", state, "1:06:40", "valid", "500", "2.2167", "9.18", "–",
    ]  # fmt: skip
    assert parsed.row("model", "--hidden_units") == ["model", "--hidden_units", "77", "–"]
    assert "settings have their default" in parsed.text
    assert parsed.row("first", "train")[-1] == "1,234 skipped lines"
    assert parsed.row("", "first") == ["", "first", "first"]  # It went on once.
    assert parsed.row("from step") == ["from step", "0", "60"]
    assert parsed.row("Python") == ["Python", "3.11.7", "3.11.7"]
    for text in ("old cat", "end of the run", "step 30"):
        assert text in parsed.text


def test_several_runs(folder_of):
    content = report_on(folder_of("first"), folder_of("second", -0.25, dropout=0.1), folder_of("deep/first"))
    parsed = Parsed(content)
    runs = [row[0] for row in parsed.rows if len(row) > 3 and row[3] == "valid"]
    assert [Path(name).name for name in runs] == ["first", "second", "first"]
    assert len(set(runs)) == 3  # the folder tells two of the same name apart
    (best,) = re.findall(r"class='n best'>([^<]*)<", content)
    assert best == f"{(2.2 + 2 / 120 - 0.25) / 1.9:.3f}"
    differing = [
        attributes for tag, attributes in parsed.tags if tag == "tr" and attributes.get("class") == "differs"
    ]
    assert len(differing) == 1
    assert parsed.row("model", "--dropout") == ["model", "--dropout", "0.0", "0.1", "0.0", "0.0"]
    assert parsed.row(", ".join(runs), "train")  # the same text stands there once
    assert len(re.findall(r'<g id="loss-\d-', content)) == 6


def test_hidden_and_next_tokens_do_not_compare(folder_of):
    paths = {name: folder_of(name, model=name) for name in ("gpt", "bert", "glm")}
    said = "perplexity and accuracy do not compare with those of other tasks"
    for names, expected in (
        (["gpt", "bert"], True),
        (["bert", "glm"], True),
        (["glm"], False),
        (["gpt"], False),
    ):
        assert (said in report_on(*(paths[name] for name in names))) == expected, names


@pytest.mark.parametrize(
    ("changed", "caution"),
    [
        ({"tokens": 9, "fingerprint": "f" * 64}, "The runs cut the same text into other tokens: compare bits "
            "per byte"),
        ({"tokens": 9, "fingerprint": "e"}, "The runs were not validated on the same text: their results do "
            "not compare"),
        ({"tokens": 500, "fingerprint": "f" * 64}, None),
        ({"tokens": 500, "fingerprint": "f" * 64, "unknown": 3}, "The tokenizer of second does not know all "
            "of the validation text: its bits per byte are left out"),
    ],
)  # fmt: skip
def test_what_does_not_compare_is_said(folder_of, changed, caution):
    content = report_on(folder_of("first"), folder_of("second", texts={"valid": changed}))
    assert re.findall(r"(?:The runs|The tokenizer of) [^<.,:]*(?:: [^<.,]*)?", content) == (
        [caution] if caution else []
    )
    assert ("class='n best'" in content) == ("not validated" not in content)


LACKING = {
    "unfinished": (["results.json"], "unfinished, at step 120 of 120"),
    "no validation": (["valid"], "not evaluated"),
    "just begun": (["results.json", "metrics.jsonl", "samples.jsonl"], "unfinished, at step 0 of 120"),
    "an old run": (["environment.json", "samples.jsonl"], "not recorded"),
}


@pytest.mark.parametrize("name", LACKING)
def test_what_a_run_may_lack(folder_of, name):
    without, text = LACKING[name]
    path = folder_of(without=without)
    content = report_on(path)
    assert text in Parsed(content).text
    assert outside(content) == []
    assert text not in Parsed(report_on(folder_of("whole"))).text
    assert text in Parsed(report_on(folder_of("other"), path)).text
    assert ("No step has been logged yet." in content) == (name == "just begun")


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("config.json", None,
         "--run_dir={path} holds no run (no config.json); train one with scripts/train.py --run_dir={path}"),
        ("results.json", '{"step": 3}', "{path}/results.json lacks 'splits'; restore it from a copy"),
        ("data.json", '{"splits": {}}', "{path}/data.json lacks 'total_steps'; restore it from a copy"),
    ],
)  # fmt: skip
def test_what_is_no_run(folder_of, file, content, expected):
    path = folder_of(without=[file])
    if content:
        (path / file).write_text(content)
    with pytest.raises(InputError) as caught:
        report_on(path)
    assert str(caught.value) == expected.replace("{path}", str(path))


def test_what_is_no_run_is_left_out_of_several(folder_of, script, tmp_path):
    whole, damaged = folder_of("whole"), folder_of("damaged")
    (damaged / "data.json").write_text('{"splits": ')
    ended = script("report.py", f"--run_dir={tmp_path}/nowhere", damaged, whole)
    lines = ended.err.splitlines()
    assert (ended.code, ended.out) == (0, "")
    assert lines[0].startswith(f"left out: --run_dir={tmp_path}/nowhere holds no run (no config.json); ")
    assert lines[1].startswith(f"left out: {damaged}/data.json cannot be read (")
    assert lines[2].startswith(f"wrote {whole}/report.html, ")
    assert (whole / "report.html").read_text(encoding="utf-8") == report_on(whole)
    assert not (tmp_path / "nowhere").exists()
    ended = script("report.py", f"--run_dir={tmp_path}/nowhere", damaged)
    assert ended.code == 1
    lines = ended.err.splitlines()
    assert lines[0].startswith(f"left out: {damaged}/data.json cannot be read (")
    assert lines[1].startswith(f"error: --run_dir={tmp_path}/nowhere holds no run (no config.json); ")
    assert len(lines) == 2
    assert not (damaged / "report.html").exists()


def test_a_run_is_named_once(folder_of):
    path = folder_of()
    with pytest.raises(InputError) as caught:
        report_on(path, folder_of("second"), f"{path}/../first")
    assert str(caught.value) == f"the run {path} is given twice; name each run once"


def test_numbers_that_no_float_holds_are_no_points(folder_of, script):
    huge, good = "1" + 400 * "0", {"step": 3, "loss": 1.5}
    path = folder_of()
    lines = [
        json.dumps(good),
        f'{{"step": 4, "loss": {huge}}}',
        f'{{"step": {huge}, "loss": 1.0}}',
        '{"step": -1}',
    ]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    ended = script("report.py", f"--run_dir={path}")
    assert ended.code == 0
    assert ended.err.startswith("first: metrics.jsonl: 2 of its lines cannot be read and are left out\n")


def test_the_script(folder_of, script, tmp_path):
    first, second = folder_of("first"), folder_of("second", 0.25)
    (second / "metrics.jsonl").write_text('{"step": 1')
    ended = script("report.py", f"--run_dir={first}", second)
    size = (first / "report.html").stat().st_size
    assert (ended.code, ended.out) == (0, "")
    assert (
        ended.err == "second: metrics.jsonl: 1 of its lines cannot be read and are left out\n"
        f"wrote {first}/report.html, {size / 1024:,.0f} KiB\n"
    )
    content = (first / "report.html").read_text(encoding="utf-8")
    assert content == report_on(first, second)  # the same twice
    assert script("report.py", first, f"--output={tmp_path}/new/a.html").code == 0
    assert (tmp_path / "new" / "a.html").read_text(encoding="utf-8") == report_on(first)
    missing = script("report.py")
    assert (missing.code, missing.err) == (
        1, "error: --run_dir is missing: expected the folder of a run, such as --run_dir=runs/quickstart\n",
    )  # fmt: skip


def test_a_report_needs_neither_tensorflow_nor_a_display(finished, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / "scripts" / "report.py"), finished.path]
    command.append(f"--output={tmp_path}/report.html")
    # A home without matplotlib's cache, and one that cannot be written: neither is told of.
    environment = {**os.environ, "MPLCONFIGDIR": "/dev/null/none"}
    environment.pop("DISPLAY", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    ended = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=ROOT, env=environment)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 6
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("import time:")]
    assert (ended.returncode, len(lines)) == (0, 1)
    names = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "matplotlib" in names
    assert not {"tensorflow", "keras", "tensorboard"} & names
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert outside(content) == []
    (run,) = read_runs([str(finished.path)])
    assert [line["step"] for line in run.samples] == [8, 16, 24]
    assert all(html.escape(line["text"]) in content for line in run.samples)


def test_a_run_of_a_task_without_samples(folder_of):
    path = folder_of(without=("samples.jsonl",))
    assert "end of the run" in report_on(path)
    results = json.loads((path / "results.json").read_text())
    del results["sample"]
    (path / "results.json").write_text(json.dumps(results))
    content = report_on(path)
    assert "end of the run" not in content and "none yet" in content
