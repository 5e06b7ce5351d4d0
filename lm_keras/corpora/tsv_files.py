"""The corpus `tsv:GLOB`: tables with a tab between two columns."""

from collections.abc import Iterator

from lm_keras.corpora.documents import Reading
from lm_keras.corpora.table_files import Row, TableFiles


class TsvFiles(TableFiles):
    """Rows of .tsv files: each line is one, and a quote is a letter like any other."""

    wider = "write a space for a tab within a text"
    narrower = "take csv: where quotes enclose fields"
    divided = "write a tab between them"

    def _rows(self, path: str, lines: Iterator[tuple[int, str]]) -> Iterator[Row]:
        for number, line in lines:
            if line.strip():
                yield number, line.split("\t")


def open_source(rest: str, reading: Reading) -> TsvFiles:
    """Return the tables that globs name, several with commas between; see `TableFiles`."""
    return TsvFiles("tsv", rest, reading)
