"""The token store: text, tokenized once, as flat arrays on disk that are mapped into memory.

Under the cache folder there are `tokenizers/FINGERPRINT/` and `tokens/FINGERPRINT/`, one folder for each
tokenizer and for each tokenized split. A fingerprint covers everything that decides the content. A folder is
written under another name and then renamed, so it is there whole or not at all.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lm_keras import text
from lm_keras.config import DataConfig
from lm_keras.corpora import Split, make_splits, open_corpus
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

FORMAT = 1
"""Part of every fingerprint, so that a new format never reads the old one's folders."""

DEFAULT_SENTENCEPIECE_VOCAB = 2000

SWEEP_AFTER_SECONDS = 24 * 3600
"""Age at which an unfinished folder in the cache is taken for the leftover of a killed run."""


@dataclasses.dataclass(frozen=True)
class TextCounts:
    """What a split of text holds.

    Attributes:
        tokens: targets, separators between documents included.
        bytes: UTF-8 bytes after normalization.
        words: whitespace-separated words plus one end-of-line each.
        characters: Unicode scalar values after normalization.
        documents: documents or, in a corpus of few documents, parts of them.
        unknown: tokens that stand for text the vocabulary lacks.
    """

    tokens: int
    bytes: int
    words: int
    characters: int
    documents: int = 1
    unknown: int = 0


@dataclasses.dataclass(frozen=True)
class TokenStore:
    """A tokenized split.

    Attributes:
        tokens: [n + 1] unsigned integers, usually a memory map. The first is the end-of-document token, the
            context in which the first document begins; it is no target. The same token stands between
            documents, and is a target there.
        documents: [documents] int64, positions in `tokens` where a document begins.
        counts: what the split holds; `counts.tokens` is n.
    """

    tokens: np.ndarray
    documents: np.ndarray
    counts: TextCounts


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Everything that the text of a run became.

    Attributes:
        tokenizer: learnt from the training text (characters: from the whole corpus), or given.
        splits: `train` and, where they exist, `valid` and `test`.
        report: counts, bytes, sha256, licence and citation by split, and what was repaired; can be written
            as JSON.
    """

    tokenizer: Tokenizer
    splits: dict[str, TokenStore]
    report: dict


def cache_folder(cache_dir: str | None) -> Path:
    """Return the folder of the token cache: the flag, else $LM_KERAS_CACHE, else ~/.cache/lm_keras."""
    return Path(cache_dir or os.environ.get("LM_KERAS_CACHE") or "~/.cache/lm_keras").expanduser()


def prepare(
    config: DataConfig, tokenizer: Tokenizer | None = None, say: Callable[[str], None] = lambda line: None
) -> PreparedData:
    """Read, split and tokenize the text of a run, or find that in the cache.

    Args:
        config: the data settings.
        tokenizer: the tokenizer of a run that goes on; None trains one.
        say: called with a line before each longer piece of work.

    Raises:
        InputError: for everything that text and settings can get wrong.
    """
    cache = cache_folder(config.cache_dir)
    corpora = {
        name: open_corpus(
            spec, text_field=config.text_field, on_bad_text=config.on_bad_text, part=name, say=say
        )
        for name, spec in (
            ("train", config.corpus),
            ("valid", config.valid_corpus),
            ("test", config.test_corpus),
        )
        if spec
    }
    corpora = {**corpora["train"].held_out(), **corpora}
    say(f"reading {corpora['train'].spec}")
    splits = make_splits(
        corpora["train"], corpora.get("valid"), corpora.get("test"), fractions_of(config.split)
    )
    tokenizer = tokenizer or _trained_tokenizer(config, splits, cache, say)
    stores = {name: tokenized(split, tokenizer, cache, say) for name, split in splits.items()}
    report = {
        name: {
            "corpus": split.description.spec,
            "licence": split.description.licence,
            "citation": split.description.citation,
            "rule": split.rule,
            "corpus_sha256": split.description.sha256,
            "fingerprint": split.fingerprint(),
            **dataclasses.asdict(stores[name].counts),
        }
        for name, split in splits.items()
    }
    repaired = {name: corpus.report() for name, corpus in corpora.items() if corpus.report()}
    return PreparedData(tokenizer, stores, {"splits": report, "bad_text": repaired})


def fractions_of(split: str) -> tuple[float, float, float]:
    """Read `--split`, three percentages with slashes between.

    Example:
        >>> fractions_of("90/10/0")
        (90.0, 10.0, 0.0)
    """
    try:
        train, valid, test = (float(part) for part in split.split("/"))
    except ValueError:
        raise InputError(f"--split={split}: expected three percentages such as 90/5/5") from None
    return train, valid, test


def _trained_tokenizer(config: DataConfig, splits: dict[str, Split], cache: Path, say) -> Tokenizer:
    vocab_size = config.vocab_size
    learn_from = ["train"]
    if config.tokenizer == "sentencepiece":
        vocab_size = vocab_size or DEFAULT_SENTENCEPIECE_VOCAB
    elif splits["train"].rule != "the whole corpus":
        # The alphabet is that of the whole corpus, as is customary for character models.
        learn_from = list(splits)
    settings = {
        "name": config.tokenizer,
        "vocab_size": vocab_size,
        "normalization": config.normalize,
        "model_type": config.sentencepiece_model,
        "byte_fallback": config.byte_fallback,
    }
    sources = [splits[name].fingerprint() for name in learn_from]
    folder = cache / "tokenizers" / _fingerprint({"settings": settings, "sources": sources})
    if not folder.is_dir():
        say(f"training a {config.tokenizer} tokenizer")
        tokenizer = text.train_tokenizer(texts=_pieces(splits, learn_from), **settings)
        write_folder(folder, tokenizer.save)
    return text.load_tokenizer(folder)


def _pieces(splits: dict[str, Split], names: list[str]) -> Iterator[str]:
    for name in names:
        for document in splits[name].documents():
            yield from document.pieces()


def tokenized(
    split: Split, tokenizer: Tokenizer, cache: Path, say: Callable[[str], None] = lambda line: None
) -> TokenStore:
    """Return the token store of a split; tokenize it unless the cache has it.

    Memory does not grow with the size of the text.
    """
    fingerprint = _fingerprint({"split": split.fingerprint(), "tokenizer": tokenizer.fingerprint()})
    folder = cache / "tokens" / fingerprint
    if not folder.is_dir():
        say(f"tokenizing {split.name}: {split.num_documents:,} documents, {split.num_bytes:,} bytes")
        write_folder(folder, lambda path: _write_tokens(path, split, tokenizer))
    return open_store(folder)


def _write_tokens(folder: Path, split: Split, tokenizer: Tokenizer) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    tokens = 1
    size = raw_size = words = characters = unknown = documents = 0
    with open(folder / "tokens", "wb") as token_file, open(folder / "documents", "wb") as document_file:
        np.array([tokenizer.eod_id], dtype).tofile(token_file)
        for document in split.documents():
            if documents:
                np.array([tokenizer.eod_id], dtype).tofile(token_file)
                tokens += 1
            documents += 1
            np.array([tokens], np.int64).tofile(document_file)
            for piece in document.pieces():
                normal = tokenizer.normalize(piece)
                ids = tokenizer.encode_array(normal)
                ids.astype(dtype).tofile(token_file)
                tokens += len(ids)
                raw_size += len(piece.encode())
                size += len(normal.encode())
                words += len(normal.split()) + normal.count("\n")
                characters += len(normal)
                unknown += int((ids == tokenizer.unknown_id).sum()) if tokenizer.unknown_id is not None else 0
    if raw_size != split.num_bytes or documents != split.num_documents:
        raise InputError(
            f"{split.description.spec} has changed while it was read ({split.num_bytes:,} bytes before, "
            f"{raw_size:,} now); start again when nobody writes to it"
        )
    counts = TextCounts(tokens - 1, size, words, characters, documents, unknown)
    content = {"format": FORMAT, "dtype": dtype.name, "split": split.name, **dataclasses.asdict(counts)}
    (folder / "store.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def open_store(folder: Path) -> TokenStore:
    """Map a token store into memory.

    Raises:
        InputError: the folder is no token store or is damaged; it can be deleted without loss.
    """
    try:
        content = json.loads((folder / "store.json").read_text(encoding="utf-8"))
        counts = TextCounts(**{field.name: content[field.name] for field in dataclasses.fields(TextCounts)})
        tokens = np.memmap(folder / "tokens", np.dtype(content["dtype"]), "r")
        documents = np.fromfile(folder / "documents", np.int64)
        for found, written in ((tokens, counts.tokens + 1), (documents, counts.documents)):
            if len(found) != written:
                raise ValueError(f"{len(found):,} numbers where {written:,} were written")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the token cache {folder} is damaged ({error}); delete that folder and start again"
        ) from None
    return TokenStore(tokens, documents, counts)


def write_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that is there whole or not at all.

    Args:
        folder: where it goes. If somebody else makes the same folder first, theirs stays.
        fill: writes the files into the folder that it is given.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
        try:
            fill(temporary)
            for path in [*temporary.iterdir(), temporary]:
                _sync(path)
            with contextlib.suppress(FileExistsError):
                temporary.rename(folder)
            _sync(folder.parent)
        except OSError as error:
            if not folder.is_dir():  # Else somebody was faster.
                raise error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"cannot write {error.filename or folder}: {error.strerror or error}; "
            "free space there or choose another folder (--cache_dir for tokenized text)"
        ) from None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    for path in folder.glob(".unfinished-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > SWEEP_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def _fingerprint(content: dict) -> str:
    text = json.dumps({"format": FORMAT, **content}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
