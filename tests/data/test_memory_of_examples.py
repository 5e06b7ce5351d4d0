"""Preparing labelled examples takes little memory, whatever their number."""

import random
import subprocess
import sys

import pytest

MIB = 2**20
MOST = 600 * MIB
"""For 1,000,000 examples."""

CHILD = """
import sys
from lm_keras.config import DataConfig
from lm_keras.data.preparation import prepare

path, cache, keeps = sys.argv[1:]
how = {"tokenizer": "word", "vocab_size": 2000, "cache_dir": cache, "split": "98/1/1"}
data = prepare(DataConfig(corpus=f"tsv:{path}", **how), fields=("text", "label"))
documents = data.texts["train"].documents() if keeps == "True" else ()
kept = [(d.label, "".join(d.pieces()).split()) for d in documents]
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(data.splits["train"].counts.documents, 1024 * int(peak))
"""


@pytest.fixture
def peak_for(tmp_path):
    """A function that prepares examples in a process of its own, and returns the bytes that this took."""

    def run(count, keeps=False):
        pick = random.Random(1)
        words = [f"word{number}" for number in range(5000)]
        path = tmp_path / f"{count}.tsv"
        with open(path, "w") as file:
            for number in range(count):
                file.write(f"{' '.join(pick.choices(words, k=pick.randint(1, 30)))}\t{'abc'[number % 3]}\n")
        given = [sys.executable, "-c", CHILD, path, tmp_path / f"cache_{keeps}", str(keeps)]
        ended = subprocess.run(given, capture_output=True, text=True, check=True)
        documents, peak = map(int, ended.stdout.split())
        assert 0.97 * count < documents < 0.99 * count
        return peak

    return run


def test_memory_hardly_grows_with_the_examples(peak_for):
    few, many = peak_for(1_000), peak_for(100_000)
    least = (MOST - few) / 10
    assert many - few < least
    assert peak_for(100_000, keeps=True) - few > least  # The control: texts that are kept take more.


@pytest.mark.slow
def test_a_million_examples(peak_for):
    assert peak_for(1_000_000) < MOST
