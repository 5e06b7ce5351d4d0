"""Measurements of how text becomes tokens: how fast, and in how much memory. Nothing here needs
TensorFlow.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import sentencepiece

from lm_keras.config import DataConfig
from lm_keras.corpora.documents import cut_text
from lm_keras.data.division import divide
from lm_keras.errors import InputError
from lm_keras.text import TOKENIZERS, train_tokenizer
from lm_keras.text.sentencepiece import MODEL_FILE
from lm_keras.training.environment import machine

MEASURED_CHARACTERS = 8_000_000
VOCAB_SIZES = {"word": 50_000, "sentencepiece": 8_000}
LIBRARY = "sentencepiece library"

GENERATED_WORDS = 5_000_000  # different ones that may occur in a generated text
WORDS_AT_ONCE = 2**20
LONG_LINE_CHARACTERS = 10_000_000

PREPARE = """
import json, sys, time
from lm_keras.config import DataConfig
from lm_keras.data.preparation import prepare
began = time.perf_counter()
data = prepare(DataConfig(**json.loads(sys.argv[1])))
# ru_maxrss would begin at that of the parent process
status = open("/proc/self/status", encoding="utf-8").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 2**10
tokens = sum(store.counts.tokens for store in data.splits.values())
print(json.dumps({"seconds": time.perf_counter() - began, "peak_mebibytes": peak, "tokens": tokens}))
"""
GENERATE = (
    "import sys; from benchmarks.commands import text as b; b.write_text(sys.argv[1], int(sys.argv[2]))"
)
SCRIPTS = Path(__file__).parents[2]


def tokenize(corpus: str, repeats: int) -> Iterator[dict]:
    """Measure how many megabytes of UTF-8 a second each tokenizer encodes, in pieces of 1 MiB.

    The same pieces, cut into lines, are also given to the sentencepiece library itself, in turn with ours.

    Args:
        corpus: what `--corpus` takes; up to 8 million characters of it are used.
        repeats: how often everything is measured, in turn.

    Yields:
        For each tokenizer and the library: median, lowest and highest megabytes a second; for `sentencepiece`
        also the median of its rate divided by the library's of the same turn.

    Raises:
        InputError: the corpus cannot be read.
    """
    pieces = _measured_pieces(corpus)
    megabytes = sum(len(piece.encode()) for piece in pieces) / 1e6
    encoders: dict[str, Callable[[str], object]] = {}
    for name in TOKENIZERS:
        tokenizer = train_tokenizer(name, pieces, vocab_size=VOCAB_SIZES.get(name), normalization="none")
        encoders[name] = tokenizer.encode_array
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder)  # the last one is sentencepiece
        library = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / MODEL_FILE))
    encoders[LIBRARY] = lambda piece: library.encode(piece.split("\n"))
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(repeats):
        seconds = dict.fromkeys(encoders, 0.0)
        for piece in pieces:
            for name, encode in encoders.items():
                began = time.perf_counter()
                encode(piece)
                seconds[name] += time.perf_counter() - began
        for name in encoders:
            rates[name].append(megabytes / seconds[name])
    for name, values in rates.items():
        result = {
            "tokenizer": name,
            "megabytes_per_second": round(statistics.median(values), 1),
            "lowest": round(min(values), 1),
            "highest": round(max(values), 1),
            "repeats": repeats,
            "machine": machine(),
        }
        if name == "sentencepiece":
            shares = [ours / theirs for ours, theirs in zip(values, rates[LIBRARY])]
            result["share_of_library"] = round(statistics.median(shares), 3)
        yield result


def _measured_pieces(corpus: str) -> list[str]:
    splits = divide(DataConfig(corpus=corpus, split="100/0/0")).splits
    parts, characters = [], 0
    for document in splits["train"].documents():
        for piece in document.pieces():
            parts.append(piece if piece.endswith("\n") else piece + "\n")
            characters += len(piece)
            if characters >= MEASURED_CHARACTERS:
                return list(cut_text("".join(parts)))
    return list(cut_text("".join(parts)))


def preparation(gigabytes: float, tokenizers: Iterable[str]) -> Iterator[dict]:
    """Measure memory and time of the whole way from a text file to token stores, for each tokenizer.

    A file of words whose frequencies follow Zipf's law is generated in a temporary folder, with a line of ten
    million characters in its middle, and deleted again. Each tokenizer prepares it (scan, split, learn, write
    the stores) in a process of its own with an empty cache.

    Args:
        gigabytes: size of the file in 10^9 bytes. As much again is needed for the token stores, for `char`
            twice.
        tokenizers: which of them, by name; sentencepiece is measured with either of its models.

    Yields:
        For each tokenizer its tokens, seconds and the largest resident memory of its process (`VmHWM`, so on
        Linux).

    Raises:
        InputError: a name is unknown, or a process fails; its last line is the reason.
    """
    cases = [*((name, None) for name in TOKENIZERS), ("sentencepiece", "unigram")]
    for name in tokenizers:
        if name not in TOKENIZERS:
            raise InputError(f"--tokenizers: {name!r} is unknown; expected some of {', '.join(TOKENIZERS)}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.txt"
        _child(
            GENERATE, str(path), str(int(gigabytes * 1e9))
        )  # A process of its own, so that none inherits its peak.
        for name, model in [case for case in cases if case[0] in tokenizers]:
            with tempfile.TemporaryDirectory(dir=folder) as cache:
                settings = {"corpus": f"text:{path}", "tokenizer": name, "cache_dir": cache}
                if name in VOCAB_SIZES:
                    settings["vocab_size"] = VOCAB_SIZES[name]
                if model:
                    settings["sentencepiece_model"] = model
                result = json.loads(_child(PREPARE, json.dumps(settings)))
            yield {
                "tokenizer": f"{name} ({model})" if model else name,
                "gigabytes": path.stat().st_size / 1e9,
                "tokens": result["tokens"],
                "seconds": round(result["seconds"], 1),
                "megabytes_per_second": round(path.stat().st_size / 1e6 / result["seconds"], 1),
                "peak_mebibytes": round(result["peak_mebibytes"]),
                "machine": machine(),
            }


def _child(code: str, *arguments: str) -> str:
    """Run code in a Python of its own, which finds this package, and return what it writes."""
    paths = os.pathsep.join(filter(None, [str(SCRIPTS), os.environ.get("PYTHONPATH")]))
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        raise InputError(
            f"the measuring process failed: {lines[-1]}; free memory or disk space, or measure less text"
        )
    return ended.stdout


def write_text(path: str, size: int, seed: int = 1) -> None:
    """Write a text of about `size` bytes: lines of twelve words, and one long line in the middle.

    Word r of five million has a probability in proportion to 1/r (Zipf's law). Some words are German or
    Chinese, so that no piece is plain ASCII.
    """
    random = np.random.default_rng(seed)
    spelled = [_spelled(rank) for rank in range(GENERATED_WORDS)]
    written, long_line = 0, size > 2 * LONG_LINE_CHARACTERS
    with open(path, "w", encoding="utf-8", newline="") as file:
        while written < size:
            ranks = np.exp(random.random(WORDS_AT_ONCE) * math.log(GENERATED_WORDS)).astype(np.int64) - 1
            words = [spelled[rank] for rank in ranks.tolist()]
            text = "".join(" ".join(words[start : start + 12]) + "\n" for start in range(0, len(words), 12))
            if long_line and written > size / 2:
                text += (text.replace("\n", " ") * 3)[:LONG_LINE_CHARACTERS] + "\n"
                long_line = False
            written += len(text.encode())
            file.write(text)


def _spelled(rank: int) -> str:
    """Return the word of a rank; shorter ones are the more frequent, as in languages."""
    if rank % 50 == 7:
        return chr(0x4E00 + rank % 5000) + chr(0x4E00 + rank // 5000)
    letters = []
    rank += 1
    while rank:
        rank, place = divmod(rank, 29)
        letters.append("etaoinshrdlcumwfgypbvkxjqzäöü"[place])
    return "".join(letters)
