"""Text to batches: every target once, in every split into workers, whatever the text is"""

import contextlib
import functools
import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from fuzz import Law, folder_for_this_process
from fuzz._damage import copied, of_files
from fuzz.tokenizers import TEXT
from lm_keras.config import DataConfig
from lm_keras.data import order as orders
from lm_keras.data import scoring
from lm_keras.data.pipeline import next_tokens, training_batches
from lm_keras.data.preparation import PreparedData, prepare
from lm_keras.data.store import TextCounts, TokenStore
from lm_keras.text import count_words

SEEDS = st.integers(0, 9) | st.integers(0, 2**31 - 1)


def _order(kind: str, targets: int, batch_size: int, length: int, seed: int, reset: float, documents: int):
    return orders.build(kind, targets, batch_size, length, seed, reset, documents)


ORDERS = st.builds(
    _order,
    st.sampled_from(["stream", "window"]),
    st.integers(1, 200),
    st.integers(1, 12),
    st.integers(1, 12),
    SEEDS,
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([1, 100]),
)


def targets_of(order, step: int, row: np.ndarray | None = None) -> list[int]:
    """Return the targets that some rows of a step count, all of them by default."""
    row = np.arange(order.batch_size) if row is None else row
    rows = order.rows(tf.constant(step, tf.int64), tf.constant(row, tf.int64))
    starts, ends = rows.start.numpy(), rows.end.numpy()
    return [target + 1 for start, end in zip(starts, ends) for target in range(start, end)]


def holds_epoch(case) -> None:
    """An epoch has every target once; a row is a contiguous piece that is no longer than a sequence."""
    order, epoch = case
    first = epoch * order.steps_per_epoch
    seen = [target for step in range(order.steps_per_epoch) for target in targets_of(order, first + step)]
    assert sorted(seen) == list(range(1, order.targets + 1))
    shifts = isinstance(order, orders.WindowOrder)  # Then one window more may be needed.
    assert order.steps_per_epoch <= shifts + -(-order.targets // order.sequence_length)


def holds_workers(case) -> None:
    """However the rows of a batch are shared, together they are the rows of the batch."""
    order, step, cuts = case
    rows = np.split(np.arange(order.batch_size), sorted({cut % order.batch_size for cut in cuts}))
    together = [target for part in rows if len(part) for target in targets_of(order, step, part)]
    assert together == targets_of(order, step)


def batches(tokens, order, first, last, **split):
    """Return the batches as plain arrays."""
    count = len(tokens) - 1
    store = TokenStore(tokens, np.array([1]), TextCounts(count, count, count, count))
    dataset = training_batches(lambda rows, step: next_tokens(store, rows), order, first, last, **split)
    return [
        (inputs["tokens"].numpy(), inputs["reset"].numpy(), targets.numpy(), weights.numpy())
        for inputs, targets, weights in dataset
    ]


def holds_pipeline(case) -> None:
    """The batches of all workers, from any step on, are those of one process from the beginning."""
    kind, targets, rows, workers, local, length, seed, begin, count = case
    order = _order(kind, targets, rows * workers * local, length, seed, 0.2, 100)
    tokens = np.arange(targets + 1, dtype=np.uint16)
    whole = batches(tokens, order, 0, begin + count)[begin:]
    parts = [
        batches(
            tokens, order, begin, begin + count, replicas=local, first_replica=worker * local,
            all_replicas=workers * local
        )
        for worker in range(workers)
    ]  # fmt: skip
    for step in range(count):
        dealt = [part[step * local + one] for part in parts for one in range(local)]
        for got, expected in zip(map(np.concatenate, zip(*dealt)), whole[step], strict=True):
            np.testing.assert_array_equal(got, expected)
        _, _, predicted, weights = whole[step]
        assert predicted[weights == 1].tolist() == targets_of(order, begin + step)


def holds_shuffled(case) -> None:
    """The order of an epoch is a permutation."""
    size, seed, epoch = case
    index = tf.range(size, dtype=tf.int64)
    places = orders.shuffled(index, size, seed, tf.constant(epoch, tf.int64)).numpy()
    assert np.array_equal(np.sort(places), index)


POWERS = st.builds(lambda power, more: max(1, 2**power + more), st.integers(0, 18), st.integers(-2, 2))
SHUFFLED = st.tuples(POWERS | st.integers(1, 3000), SEEDS, st.integers(0, 2**40))


def holds_scored(case) -> None:
    """An evaluation scores every target once, after the token before it."""
    targets, documents, layout = case
    tokens = np.arange(targets + 1)
    if layout is None:
        begins = np.array(sorted({1, *(1 + document % targets for document in documents)}))
        blocks = scoring.streams(tokens, begins)
    else:
        length, stride, rows = layout
        blocks = scoring.windows(tokens, length, 1 + stride % length, rows)
    seen = []
    for block in blocks:
        counted = block.weights == 1
        seen += block.targets[counted].tolist()
        first = block.reset[:, None] & (np.arange(block.tokens.shape[1]) == 0)
        before = np.where(first, block.targets - 1, block.tokens)  # A row may begin with end-of-document.
        assert np.array_equal(before[counted], block.targets[counted] - 1)
    assert sorted(seen) == list(range(1, targets + 1))


SCORED = st.tuples(
    st.integers(1, 400) | st.integers(1, 20_000),
    st.lists(st.integers(0, 20_000), max_size=9),
    st.none() | st.tuples(st.integers(1, 60) | st.just(10**6), st.integers(0, 10**6), st.integers(1, 40)),
)


@functools.cache
def folder() -> Path:
    """A folder for texts and caches."""
    return folder_for_this_process()


def prepared(
    files: dict[str, bytes], cache: str = "cache", say=lambda line: None, **settings
) -> PreparedData:
    """Write some files and prepare them."""
    place = folder() / "texts"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for name, content in files.items():
        (place / name).write_bytes(content)
    return prepare(DataConfig(corpus=f"text:{place}/*", cache_dir=str(folder() / cache), **settings), say=say)


def holds_prepared(case) -> None:
    """What is prepared is the text, every document of it once, and the counts are those of the text."""
    texts, tokenizer, form, split = case
    files = {f"{number:03d}.txt": text.encode() for number, text in enumerate(texts)}
    settings = {"tokenizer": tokenizer, "normalize": form, "split": split, "on_bad_text": "replace"}
    with emptied("cache"):
        data = prepared(files, **settings)
        again = prepared(files, **settings)
    said, documents = [], 0
    for name, store in data.splits.items():
        tokens, counts = store.tokens, store.counts
        assert (tokens[0], len(tokens) - 1) == (data.tokenizer.eod_id, counts.tokens)
        assert np.array_equal(tokens, again.splits[name].tokens)
        bounds = [*store.documents.tolist(), len(tokens) + 1]
        pieces = [
            data.tokenizer.decode(tokens[begin : end - 1].tolist()) for begin, end in zip(bounds, bounds[1:])
        ]
        assert all(tokens[begin - 1] == data.tokenizer.eod_id for begin in bounds[:-1])
        if not counts.unknown:
            assert sum(len(piece.encode()) for piece in pieces) == counts.bytes
            assert sum(map(len, pieces)) == counts.characters
            # One end a line, the last one too if it has anything after the last line feed.
            ends = [piece.count("\n") + (bool(piece) and not piece.endswith("\n")) for piece in pieces]
            assert sum(map(count_words, pieces)) + sum(ends) == counts.words
        documents += counts.documents
        said += pieces if not counts.unknown else []
    wanted = [data.tokenizer.canonical(decoded(text)) for text in texts if decoded(text).strip()]
    if len(texts) >= 20 and not any(store.counts.unknown for store in data.splits.values()):
        assert sorted(said) == sorted(wanted)


def decoded(text: str) -> str:
    """Return a text as it is read with `--on_bad_text=replace`: without mark, and with U+FFFD for NUL."""
    return text.removeprefix("\ufeff").replace("\0", "\ufffd")


@contextlib.contextmanager
def emptied(cache: str):
    """Keep a cache for a while."""
    try:
        yield
    finally:
        shutil.rmtree(folder() / cache, ignore_errors=True)


LINES = st.lists(TEXT, min_size=1, max_size=8).map(lambda lines: "".join(f"{line}x\n" for line in lines))
DOCUMENT = LINES | TEXT.map(lambda text: f"x{text}")

PREPARED = st.tuples(
    st.lists(LINES, min_size=1, max_size=4) | st.lists(DOCUMENT, min_size=20, max_size=26),
    st.sampled_from(["char", "byte", "word"]),
    st.sampled_from(["none", "nfc", "nfkd"]),
    st.sampled_from(["90/5/5", "100/0/0", "34/33/33"]),
)

RECORD = st.builds(lambda text: json.dumps({"text": text}).encode(), TEXT)
RECORDS = st.lists(RECORD | RECORD | st.binary(max_size=9), max_size=4).map(b"\n".join)
ENCODED = st.builds(
    lambda text, name: text.encode(name, "replace"), TEXT, st.sampled_from(["utf-16", "utf-32", "latin-1"])
)
RAW = LINES.map(str.encode) | TEXT.map(str.encode) | ENCODED | st.binary(max_size=40)


def packed(content: st.SearchStrategy) -> st.SearchStrategy:
    """Draw gzip files, most of them whole."""
    cut = st.just(0) | st.integers(0, 12)
    return st.builds(lambda content, cut: gzip.compress(content, mtime=0)[: -cut or None], content, cut)


FILES = st.fixed_dictionaries(
    {},
    optional={
        "a.txt": RAW,
        "b.txt": RAW,
        "c.gz": packed(RAW) | RAW,
        "d.jsonl": RECORDS | RAW,
        "e.jsonl.gz": packed(RECORDS),
    },
)


def holds_any_bytes(case) -> None:
    """Files of any bytes are read or refused."""
    files, policy, tokenizer = case
    with emptied("cache"):
        data = prepared(files, tokenizer=tokenizer, on_bad_text=policy, split="100/0/0")
    store = data.splits["train"]
    assert int(store.tokens.max()) < data.tokenizer.vocab_size
    assert len(store.tokens) == store.counts.tokens + 1


@functools.cache
def full_cache() -> PreparedData:
    """Fill a cache, and return what was prepared."""
    return prepared({"a.txt": b"The cat sees a dog.\n" * 40}, "full", tokenizer="char")


def holds_cache(damages) -> None:
    """A damaged cache gives what the undamaged one gives, and somebody says that it was damaged."""
    good = full_cache()
    place, said = copied(folder() / "full", folder() / "damaged"), []
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for damage in damages:
        damage.do(place)
    harmed = {
        path.name for path, content in before.items() if not path.is_file() or path.read_bytes() != content
    }
    files = {"a.txt": b"The cat sees a dog.\n" * 40}
    data = prepared(files, "damaged", said.append, tokenizer="char")
    for name, store in good.splits.items():
        assert np.array_equal(data.splits[name].tokens, store.tokens)
        assert np.array_equal(data.splits[name].documents, store.documents)
        assert data.splits[name].counts == store.counts
    assert data.report == good.report
    spoken = any("is damaged" in line for line in said)
    assert harmed if spoken else harmed <= {"sums.json"}, said  # These may say the same in other bytes.
    assert not spoken or {path: path.read_bytes() for path in before if path.name != "sums.json"} == {
        path: content for path, content in before.items() if path.name != "sums.json"
    }


LAWS = [
    Law("an epoch has every target once", "kind of order, targets, batch size, sequence length, seed, "
        "resets, epoch", st.tuples(ORDERS, st.integers(0, 5)), holds_epoch, 25, 600, False),
    Law("the rows of all workers are the rows of the batch", "the same, a step, and where the rows are cut",
        st.tuples(ORDERS, st.integers(0, 10**6), st.lists(st.integers(0, 99), max_size=5)), holds_workers, 25,
        600, False),
    Law("the batches of all workers are those of one process", "the same with workers, replicas of each, and "
        "the step where a run goes on",
        st.tuples(st.sampled_from(["stream", "window"]), st.integers(1, 99), st.integers(1, 3), st.integers(1,
            4), st.integers(1, 3), st.integers(1, 9), SEEDS, st.integers(0, 9), st.integers(1,
            4)), holds_pipeline, 4, 150, False),
    Law("the order of an epoch is a permutation", "size (powers of two and their neighbours too), seed, "
        "epoch", SHUFFLED, holds_shuffled, 25, 400, False),
    Law("an evaluation scores every target once", "targets, documents, streams or windows", SCORED,
        holds_scored, 12, 600, False),
    Law("what is prepared is the text", "up to 26 texts, tokenizer, normalization, split", PREPARED,
        holds_prepared, 12, 500),
    Law("files of any bytes are read or refused", "up to three files, some like .gz or .jsonl",
        st.tuples(FILES, st.sampled_from(["error", "replace", "skip"]), st.sampled_from(["char", "byte",
            "word"])), holds_any_bytes, 25, 800),
    Law("a damaged cache gives the same, and says so", "one to three damages to files of a cache",
        st.lists(of_files(), min_size=1, max_size=3), holds_cache, 12, 400),
]  # fmt: skip
