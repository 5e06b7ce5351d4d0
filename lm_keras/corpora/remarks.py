"""What looks wrong in files and is read all the same: one line for each kind, which names the first file."""

from lm_keras.corpora.separators import mark_in
from lm_keras.errors import shown
from lm_keras.paths import as_word

MARK = (
    "{}: byte order marks (U+FEFF) in the middle of the text are read as letters; if files were put together"
    " there, take the marks out: {command}"
)
WINDOWS = "{}: line ends of Windows: the carriage returns are part of the text; {command} takes them out"
OLD_MAC = (
    "{}: carriage returns without line feeds are part of the text; if they end lines, tr '\\r' '\\n' makes"
    " them line feeds"
)

PROGRAMS = {MARK: r"s/\xEF\xBB\xBF//g", WINDOWS: r"s/\r$//"}
"""What takes out what a remark is about, for sed."""


class Remarks:
    """Remarks on files, each kind once."""

    def __init__(self):
        self._found: dict[str, tuple[str, int, str]] = {}  # remark: first file, number of files, last file
        self._mark: str | None = None  # The first one that was found; there are others before or behind it.

    def add(self, remark: str, path: str) -> None:
        """Take a remark on a file, in which {} stands for its name."""
        first, count, last = self._found.get(remark, (path, 0, None))
        self._found[remark] = first, count + (last != path), path

    def lines(self) -> list[str]:
        """Return the remarks, each with the name of the first file and the number of further ones."""
        return [
            remark.replace("{}", shown(first)).replace("{command}", _command(PROGRAMS.get(remark, ""), first))
            + (f" ({count - 1:,} more files are like that)" if count > 1 else "")
            for remark, (first, count, _) in self._found.items()
        ]

    def of_text(self, text: str, path: str, separator: str | None) -> None:
        """Look at a piece of a plain file."""
        if "\ufeff" in text:
            self.add(MARK, path)
        if "\r" in text:
            self.add(WINDOWS if "\r\n" in text else OLD_MAC, path)
        mark = mark_in(text.replace(separator, "") if separator else text)
        if not mark or self._mark not in (None, mark):
            return
        self._mark = mark
        if separator:
            self.add(f"{{}}: {mark} is read as text, letter by letter; take it out of the file", path)
        else:
            self.add(
                f"{{}}: {mark} is read as text, letter by letter; --document_separator='{mark}' divides files"
                " into documents there",
                path,
            )

    def of_record(self, text: str, path: str) -> None:
        """Look at the text of one line of JSON."""
        if mark := mark_in(text):
            self.add(
                f"{{}}: {mark} in the texts is read as text, letter by letter; a document ends where its line"
                " of JSON does: take the mark out",
                path,
            )


def _command(program: str, path: str) -> str:
    """Return a command line that edits a file with sed, where it lies."""
    if not path.lower().endswith(".gz"):
        return f"sed -i '{program}' {as_word(path)}"
    plain = as_word(path[: -len(".gz")])
    return f"gunzip {as_word(path)} && sed -i '{program}' {plain} && gzip {plain}"
