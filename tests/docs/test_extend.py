"""The pages of docs/extend/: the change of each page applies, edits few files, and does what the page says.

A page holds one block of each kind: diff, python and text. The diff is applied to a copy of the package, the
program runs with that copy, and what it prints is the text.
"""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import warm

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "docs" / "extend").glob("*.md") if path.name != "index.md")
NAMES = {
    "callback", "family", "flag", "metric", "objective", "optimizer", "sampling_rule", "schedule", "source",
    "strategy", "task", "tokenizer",
}  # fmt: skip
MOST_EDITED = 2
MOST_LINES = 12
"""Lines that a change adds to a file that exists: a row or a field, and what stands beside it."""

HUNK = re.compile(r"@@ -(\d+),?(\d*) \+(\d+),?(\d*) @@")


class Stale(Exception):
    """A page that no longer fits the code; the message begins with its name."""


class Hunk(NamedTuple):
    """One place of a file: its lines before and after, and how many of them come and go."""

    before: list[str]
    after: list[str]
    added: int
    removed: int


class Change(NamedTuple):
    """What a diff does with one file."""

    path: str
    new: bool
    hunks: list[Hunk]

    @property
    def added(self) -> int:
        """Return how many lines come."""
        return sum(hunk.added for hunk in self.hunks)

    @property
    def removed(self) -> int:
        """Return how many lines go."""
        return sum(hunk.removed for hunk in self.hunks)


def blocks(page: Path, language: str) -> str:
    """Return the only block of code of a kind in a page."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.M)
    if len(found) != 1:
        raise Stale(f"{page.name}: {len(found)} blocks of {language}, expected 1")
    return found[0]


def changes(page: str, diff: str) -> list[Change]:
    """Read a unified diff as git writes it.

    Raises:
        Stale: it is none, or the numbers of a hunk are not those of its lines.
    """
    found: list[Change] = []
    for part in re.split(r"^(?=--- )", diff, flags=re.M):
        if not part:
            continue
        head, *rest = re.split(r"^(?=@@ )", part, flags=re.M)
        names = re.fullmatch(r"--- (?:a/(\S+)|/dev/null)\n\+\+\+ b/(\S+)\n", head)
        if not names or not rest or names[1] not in (None, names[2]):
            raise Stale(f"{page}: no header of a file: {head!r}")
        found.append(Change(names[2], names[1] is None, [_hunk(page, text) for text in rest]))
    if not found:
        raise Stale(f"{page}: an empty diff")
    return found


def _hunk(page: str, text: str) -> Hunk:
    head, *lines = text.splitlines()
    numbers = HUNK.fullmatch(head)
    before = [line[1:] for line in lines if line[:1] in (" ", "-", "")]
    after = [line[1:] for line in lines if line[:1] in (" ", "+", "")]
    added, removed = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    given = numbers and [int(number or 1) for number in numbers.group(2, 4)]
    if given != [len(before), len(after)] or len(before) + added != len(lines):
        raise Stale(f"{page}: the hunk {head!r} has {len(before)} lines before and {len(after)} after")
    return Hunk(before, after, added, removed)


def apply(page: str, diff: str, tree: Path) -> list[Change]:
    """Apply a diff to a tree. The lines of a hunk have to stand in their file exactly once, wherever.

    Raises:
        Stale: the diff does not fit.
    """
    found = changes(page, diff)
    for change in found:
        path = tree / change.path
        if path.exists() == change.new:
            raise Stale(f"{page}: {change.path} {'exists already' if change.new else 'is not there'}")
        lines = [] if change.new else path.read_text(encoding="utf-8").split("\n")
        for hunk in change.hunks:
            size = len(hunk.before)
            places = [k for k in range(len(lines) - size + 1) if lines[k : k + size] == hunk.before]
            if len(places) != 1:
                raise Stale(f"{page}: {change.path} has {len(places)} places for {hunk.before}")
            lines[places[0] : places[0] + size] = hunk.after
        path.write_text("\n".join(lines) + "\n" * change.new, encoding="utf-8")
    return found


def check_small(page: str, found: list[Change]) -> None:
    """Raise Stale if a change edits many files, or much of one."""
    edited = [change for change in found if not change.new]
    if len(edited) > MOST_EDITED:
        raise Stale(f"{page}: edits {len(edited)} files, expected at most {MOST_EDITED}")
    for change in edited:
        if change.added > MOST_LINES or change.removed > 1:
            raise Stale(f"{page}: {change.path}: adds {change.added} lines and takes away {change.removed}")


def copied(tree: Path) -> Path:
    """Copy the package into a folder, and return that."""
    shutil.copytree(ROOT / "lm_keras", tree / "lm_keras")
    return tree


def test_there_is_a_page_for_each_change():
    assert {path.stem for path in PAGES} == NAMES
    listed = (ROOT / "docs" / "extend" / "index.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"({name}.md)" not in listed] == []


@pytest.fixture(scope="module")
def execute():
    """A function that runs a program as a process with a copy of the package, in a folder."""
    server = warm.Server(lm_keras=False)

    def finished(program: Path, package: Path, folder: Path) -> tuple[int, str, str]:
        changed = {"PYTHONPATH": str(package), "LM_KERAS_CACHE": str(folder / "cache")}
        process = server.start(str(program), folder=folder, **changed)
        out, err = process.communicate()
        return process.poll(), out, err

    yield finished
    server.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_change_of_a_page_does_what_the_page_says(page, execute, tmp_path):
    tree = copied(tmp_path / "changed")
    check_small(page.name, apply(page.name, blocks(page, "diff"), tree))
    program = tmp_path / "program.py"
    program.write_text(blocks(page, "python"), encoding="utf-8")
    code, out, err = execute(program, tree, tmp_path)
    assert code == 0, f"{page.name}: {err}"
    assert out == blocks(page, "text"), f"{page.name}: {err}"


NEW = "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,1 @@\n+x = 1\n"
EDIT = "--- a/{0}.py\n+++ b/{0}.py\n@@ -1,2 +1,3 @@\n a = 1\n+b = 2\n c = 3\n"


@pytest.fixture
def tree(tmp_path):
    """A tree of three files."""
    for name in "abc":
        (tmp_path / f"{name}.py").write_text("# A file.\na = 1\nc = 3\n", encoding="utf-8")
    return tmp_path


def test_a_diff_is_applied(tree):
    check_small("x.md", apply("x.md", NEW + EDIT.format("a"), tree))
    assert (tree / "new.py").read_text() == "x = 1\n"
    assert (tree / "a.py").read_text() == "# A file.\na = 1\nb = 2\nc = 3\n"


@pytest.mark.parametrize(
    ("diff", "reason"),
    [
        ("", "an empty diff"),
        ("a = 1\n", "no header"),
        (EDIT.format("d"), "d.py is not there"),
        (NEW.replace("new.py", "a.py"), "a.py exists already"),
        (EDIT.format("a").replace(" c = 3", " c = 4"), "a.py has 0 places"),
        (EDIT.format("a").replace("-1,2 +1,3", "-1,2 +1,2"), "the hunk"),
        (EDIT.format("a").replace(" c = 3", " c = 3\n?"), "the hunk"),
        (EDIT.format("a") + EDIT.format("a"), "a.py has 0 places"),
        (EDIT.format("a") + EDIT.format("b") + EDIT.format("c"), "edits 3 files"),
        (EDIT.format("a").replace("+1,3", "+1,22").replace("+b = 2", "\n".join(["+b = 2"] * 20)), "adds 20"),
    ],
)  # fmt: skip
def test_a_page_that_does_not_fit_fails_with_its_name(tree, diff, reason):
    with pytest.raises(Stale, match=rf"^x\.md: .*{reason}"):
        check_small("x.md", apply("x.md", diff, tree))


def test_a_hunk_that_fits_at_two_places_fails(tree):
    path = tree / "a.py"
    path.write_text(path.read_text() * 2)
    with pytest.raises(Stale, match=r"^x\.md: a\.py has 2 places"):
        apply("x.md", EDIT.format("a"), tree)
