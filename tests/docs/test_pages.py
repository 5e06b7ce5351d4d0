"""The pages: links lead somewhere, flags exist, generated parts are current, and the README stays a door."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import page_of_flags
import pytest

import lm_keras
from lm_keras import config
from lm_keras.training import signals

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
SET_UP = "    python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt && .venv/bin/python "

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img src=\"([^\"]+)\"")
FLAG = re.compile(r"(?<![\w-])--([a-z]\w*)")
SCRIPT = re.compile(r"(?:^|[\s`/(])(\w+)\.py\b([^`\n]*)")
NAMED_PAGE = re.compile(r"\bdocs/[\w/]+\.(?:md|json|png|svg)\b")

OTHERS_FLAGS = {"logdir", "signal", "check", "name", "noname"}
"""Of TensorBoard, SLURM and ruff, and those that stand for any flag."""

MADE_WRONG = DOCS / "results" / "reliability.md"
"""A page with flags that do not exist, on purpose."""


def content(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(text: str) -> str:
    """Return a page without its blocks and spans of code, in which brackets are no links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^    .*$", "", text, flags=re.MULTILINE))


def links(text: str) -> list[str]:
    """Return where the links and images of a page lead."""
    return [one or other for one, other in LINK.findall(prose(text))]


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found, seen = set(), Counter()
    for heading in re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M), re.M):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def broken(page: Path, text: str) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for link in links(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        known = target.exists() and target.is_relative_to(ROOT)
        if known and anchor and target.suffix == ".md":
            known = anchor in anchors(text if target == page else content(target))
        if not known:
            found.append(link)
    return found


def commands(text: str) -> list[tuple[str, str]]:
    """Return the scripts that a page calls in code, each with the rest of its line, continued or not."""
    found = []
    code = re.findall(r"^    .*$|`[^`\n]*`", text.replace("\\\n", " "), re.MULTILINE)
    for name, rest in SCRIPT.findall("\n".join(code)):
        if (ROOT / "scripts" / f"{name}.py").exists():
            begin, dashes, worker = rest.partition(" -- ")
            found += [(name, begin)] + ([("train", worker)] if dashes else [])
    return found


def wrong_flags(text: str) -> list[str]:
    """Return the flags of a page that their script, or every script, lacks."""
    of, found = page_of_flags.names(), []
    for script, rest in commands(text):
        found += [f"{script}.py --{name}" for name in FLAG.findall(rest) if name not in of[script]]
    known = set().union(*of.values(), OTHERS_FLAGS)
    return found + [f"--{name}" for name in FLAG.findall(text) if name not in known]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page, content(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_flags_exist(page):
    if page != MADE_WRONG:
        assert wrong_flags(content(page)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](no/such.md)", ["no/such.md"]),
        ("[a](docs/index.md#no-such-heading)", ["docs/index.md#no-such-heading"]),
        ("[two\nlines](#gone)", ["#gone"]),
        ('<img src="docs/gone.png">', ["docs/gone.png"]),
        ("![a](../outside.png)", ["../outside.png"]),
        ("# Here\n[a](#here) `[b](no.md)` [c](https://example.org/x) [d](docs/index.md)", []),
    ],
)
def test_the_check_of_links_can_fail(text, expected):
    assert broken(ROOT / "README.md", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    python scripts/train.py --flagfile=a \\\n        --prompt=x", ["train.py --prompt"]),
        ("`sample.py --steps=3`", ["sample.py --steps"]),
        ("    python scripts/launch_local.py --workers=2 -- --workers=3", ["train.py --workers"]),
        ("`--learning_rte` and `--nosteps`", ["--learning_rte", "--nosteps"]),
        ("`sample.py --nostream` and `--notie_embeddings`, then other.py --of=another", ["--of"]),
        ("    python scripts/sweep.py --vary='dropout=0,1' --steps=3", []),
    ],
)
def test_the_check_of_flags_can_fail(text, expected):
    assert wrong_flags(text) == expected


def test_the_page_of_flags_is_what_the_settings_are():
    assert content(page_of_flags.PAGE) == page_of_flags.page(), "run python tests/docs/page_of_flags.py"


def test_flags_that_are_named_alone_have_a_row():
    rows = re.findall(r"^\| `--(\w+)`", content(page_of_flags.PAGE), re.MULTILINE)
    assert set(config.FIELDS) <= set(rows)


def test_the_readme_is_a_door():
    text = content(ROOT / "README.md")
    assert len(text.splitlines()) <= 130 and len(text.split()) <= 900
    for rest in ("scripts/train.py --flagfile=configs/quickstart.flags", "-m pytest"):
        assert text.split("\n").count(SET_UP + rest) == 1
    assert len(content(DOCS / "architecture.md").splitlines()) <= 80


def test_the_python_of_the_readme():
    (code,) = re.findall(r"^```python\n(.*?)^```", content(ROOT / "README.md"), re.DOTALL | re.MULTILINE)
    used = [node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)]
    assert {"train", "load", "generate"} <= set(used) <= {*lm_keras.__all__, *public_names()}
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    (train,) = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "train"]
    assert {keyword.arg for keyword in train.keywords} <= page_of_flags.names()["train"]


def public_names() -> set[str]:
    """Return the methods and attributes of the classes of lm_keras/api.py."""
    tree = ast.parse((ROOT / "lm_keras" / "api.py").read_text(encoding="utf-8"))
    names = set()
    for kind in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        names |= {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
        names |= {
            node.attr
            for node in ast.walk(kind)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value)
        }
    return {name for name in names if not name.startswith("_")}


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def test_the_page_of_the_api_names_everything():
    text = content(DOCS / "reference" / "python_api.md")
    functions = {name for name in lm_keras.__all__ if name[0].islower()}
    assert {name for name in public_names() if f"`{name}" not in text} == set()
    assert {name for name in functions if f"## lm_keras.{name}(" not in text} == set()


def test_the_page_of_the_run_folder_names_everything(finished, lines_of):
    text = content(DOCS / "reference" / "run_folder.md")
    files = {f"{path.name}/" if path.is_dir() else path.name for path in finished.path.iterdir()}
    lines = lines_of(finished.path / "metrics.jsonl")
    assert {name for name in files if f"| `{name}` |" not in text} == set()
    assert {name for line in lines for name in line if f"`{name}`" not in text} == set()


def test_the_page_of_exit_codes_names_everything():
    codes = re.findall(r"^\| (\d+) \|", content(DOCS / "reference" / "exit_codes.md"), re.MULTILINE)
    assert {0, 1, 128 + 13, *signals.STOPPED} == set(map(int, codes))


def test_laws_that_tests_cite_are_listed():
    laws = content(DOCS / "concepts" / "reproducibility.md")
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    cited = {number for source in sources for number in re.findall(r"\bLaw (\d+)\b", source)}
    assert cited >= {"2", "4", "7", "9"}
    assert [number for number in cited if not re.search(rf"^## {number}\. ", laws, re.MULTILINE)] == []


def test_pages_that_code_and_configs_name_exist():
    files = [
        path
        for folder in ("lm_keras", "scripts", "configs", "tests", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".flags", ".sh", ".yaml", "") and path.is_file() and path != Path(__file__)
    ]
    named = {(path, name) for path in files for name in NAMED_PAGE.findall(content(path))}
    assert len(named) >= 10
    assert [(str(path), name) for path, name in named if not (ROOT / name).exists()] == []


def test_files_of_settings_that_pages_name_exist():
    named = {(page, name) for page in PAGES for name in re.findall(r"configs/[\w/]+\.\w+", content(page))}
    assert len(named) >= 20
    assert [(str(page), name) for page, name in named if not (ROOT / name).exists()] == []


def test_every_page_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(content(page))]
    assert set(DOCS.rglob("*.md")) - reached == set()


def test_prose_has_short_lines():
    """But for tables, blocks of code, pages that are generated, and two that are older."""
    written = [page for page in PAGES if page.parent.name in ("guides", "concepts", "extend")]
    written += [page for page in PAGES if page.parent == ROOT]
    written += [DOCS / name for name in ("index.md", "architecture.md", "contributing.md")]
    long = []
    for page in written:
        text = re.sub(r"^```.*?^```", "", content(page), flags=re.DOTALL | re.MULTILINE)
        lines = [line for line in text.split("\n") if not line.startswith(("|", SET_UP))]
        long += [(page.name, line) for line in lines if len(line) > 110 and page.name != "CHANGELOG.md"]
    assert long == []


def test_results_of_the_readme_are_those_of_the_comparison():
    """No figure is written by hand: the README's row of a family has the numbers of the generated page."""
    page = content(DOCS / "results" / "comparison.md")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", content(ROOT / "README.md"), re.MULTILINE)
    shown = [(name, cells.split(" | ")) for name, cells in rows if re.match(r"\d", cells)]
    assert len(shown) == 5
    for name, cells in shown:
        (row,) = re.findall(rf"^\| {name} \| .*$", page, re.MULTILINE)
        given = [cell.replace(" %", "%") for cell in cells if re.match(r"[\d.,]+( %)?$", cell)]
        assert len(given) >= 3 and [cell for cell in given if f"| {cell} |" not in row] == []


def test_the_recorded_measurements_lie_beside_their_page():
    assert json.loads((DOCS / "results" / "performance.json").read_text(encoding="utf-8"))
