"""The tables of docs/privacy.md, and what their scripts refuse."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest

from lm_keras.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from benchmarks import fine_tuning, marked
from benchmarks.commands.accounting import accounting


def test_a_table_is_written_between_its_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n<!-- b -->\n\nold\n\n<!-- end of b -->\n\nrest\n")
    marked.write(str(page), "b", marked.table([{"x": 1, "y": "a\\1"}, {"x": 2, "y": "z"}]))
    assert page.read_text() == (
        "# A\n\n<!-- b -->\n\n| x | y |\n|---|---|\n| 1 | a\\1 |\n| 2 | z |\n\n<!-- end of b -->\n\nrest\n"
    )
    for path in (page, tmp_path / "missing.md"):
        with pytest.raises(InputError, match="has no line <!-- c -->"):
            marked.check(str(path), "c")


def test_the_table_of_fine_tuning():
    runs = [
        {"epsilon": None, "noise": None, "bits_per_byte": 3.5},
        {"epsilon": None, "noise": 0.0, "bits_per_byte": 1.25, "from_scratch": 1.5},
        {"epsilon": 2.9996, "noise": 0.71234, "bits_per_byte": 1.75, "from_scratch": 2.5},
    ]
    assert fine_tuning.table(runs).splitlines()[2:] == [
        "| 0: the public model alone |  | 3.500 |  |",
        "| infinite | none, no clipping | 1.250 | 1.500 |",
        "| 3 | 0.712 | 1.750 | 2.500 |",
    ]


def test_fine_tuning_needs_its_data(tmp_path):
    options = types.SimpleNamespace(output_dir=tmp_path, data=str(tmp_path), seed=1)
    with pytest.raises(InputError, match=r"train.txt.gz is missing; expected wikitext-2 and multi30k there"):
        fine_tuning.trained(options)


@pytest.mark.skipif(importlib.util.find_spec("dp_accounting") is not None, reason="dp-accounting is there")
def test_the_accounting_beside_a_package_needs_it():
    with pytest.raises(InputError, match=r"needs dp-accounting: pip install 'lm_keras\[privacy\]'"):
        next(accounting())
