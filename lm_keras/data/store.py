"""The token store: text, tokenized once, as flat arrays on disk that are mapped into memory."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lm_keras.config import DataConfig
from lm_keras.corpora import Corpus, Split, make_splits, open_corpus
from lm_keras.corpora.documents import changed
from lm_keras.data.cache import cache_folder, fingerprint_of
from lm_keras.data.folders import cached_folder
from lm_keras.data.tokenizers import (
    cached_tokenizer,
    saved_tokenizer,
    trained_tokenizer,
    warn_of_changes,
    warn_of_unknown,
)
from lm_keras.errors import InputError, nearest, shown
from lm_keras.text import TOKENIZERS, count_words, load_tokenizer, saved_in
from lm_keras.text.files import bytes_of, opened
from lm_keras.text.tokenizer import Piece, Tokenizer

DTYPES = {"uint16": np.uint16, "uint32": np.uint32}
"""The types that tokens may have on disk."""

COUNTED_TOKENS = 2**22
"""Tokens that are counted at once; numpy makes 64-bit numbers of them."""


@dataclasses.dataclass(frozen=True)
class TextCounts:
    """What a split of text holds.

    Attributes:
        tokens: targets, separators between documents included.
        bytes: UTF-8 bytes of what the tokens say: the text after normalization (word tokenizer: with single spaces).
        words: whitespace-separated words of it plus one end-of-line each; a last line without line feed counts too.
        characters: Unicode scalar values of it.
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
        tokens: [n + 1] unsigned integers, usually a memory map. The first is the token that begins a document, the
            context of its first one; it is no target. Between documents stands the token that ends one, a target, and
            behind it, if it is another one, again the token that begins one.
        documents: [documents] int64, positions in `tokens` where a document begins.
        counts: what the split holds; `counts.tokens` is n.
        unscored: a token that is never a target: the one that begins documents, if it does not end them, too.
    """

    tokens: np.ndarray
    documents: np.ndarray
    counts: TextCounts
    unscored: int | None = None

    def frequencies(self, vocab_size: int) -> np.ndarray:
        """Return how often each token is a target, [V] int64; memory does not grow with the text."""
        found = np.zeros(vocab_size, np.int64)
        for begin in range(1, len(self.tokens), COUNTED_TOKENS):
            found += np.bincount(self.tokens[begin : begin + COUNTED_TOKENS], minlength=vocab_size)
        return found


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Everything that the text of a run became.

    Attributes:
        tokenizer: learnt from the training text (characters: from the whole corpus), or taken from a folder.
        splits: `train` and, where they exist, `valid` and `test`.
        report: counts, bytes, sha256, licence and citation by split, what was repaired, and kind and
            fingerprint of the tokenizer; can be written as JSON.
    """

    tokenizer: Tokenizer
    splits: dict[str, TokenStore]
    report: dict


@dataclasses.dataclass(frozen=True)
class DividedText:
    """The text of a run, read once and divided, not tokenized yet.

    Attributes:
        splits: `train` and, where they exist, `valid` and `test`.
        corpora: what they were taken from: that of `--corpus` is `train`.
    """

    splits: dict[str, Split]
    corpora: dict[str, Corpus]

    @property
    def bytes(self) -> int:
        """Return the size of the text of all splits."""
        return sum(split.num_bytes for split in self.splits.values())


def is_prepared(
    config: DataConfig, divided: DividedText, tokenizer: Tokenizer | None, needs_blank: bool
) -> bool:
    """Tell whether `prepare` would find everything in the cache."""
    cache = cache_folder(config.cache_dir)
    tokenizer = (
        tokenizer
        or saved_tokenizer(config, needs_blank)
        or cached_tokenizer(config, divided.splits, cache, needs_blank)
    )
    return tokenizer is not None and all(
        _store_in_cache(split, tokenizer, cache).is_dir() for split in divided.splits.values()
    )


def prepare(
    config: DataConfig,
    tokenizer: Tokenizer | None = None,
    say: Callable[[str], None] = lambda line: None,
    divided: DividedText | None = None,
    needs_blank: bool = False,
    begun: dict | None = None,
) -> PreparedData:
    """Read, split and tokenize the text of a run, or find that in the cache.

    Args:
        config: the data settings.
        tokenizer: the tokenizer of a run that goes on; None makes the one that the settings ask for.
        say: called with a line before each longer piece of work, and with what speaks against the tokenizer.
        divided: the text, if it was read and split before.
        needs_blank: whether a tokenizer that is not given has to have a `blank_id`.
        begun: what `data.json` says of a run that goes on; its text is divided as it was.

    Raises:
        InputError: for everything that text and settings can get wrong.
    """
    cache = cache_folder(config.cache_dir)
    saved = saved_tokenizer(config, needs_blank) if tokenizer is None else None
    divided = divided or divide(config, say, begun)
    splits, corpora = divided.splits, divided.corpora
    tokenizer = tokenizer or saved or trained_tokenizer(config, splits, cache, say, needs_blank)
    stores = {name: tokenized(split, tokenizer, cache, say) for name, split in splits.items()}
    for name, store in stores.items():
        warn_of_unknown(name, store.counts.unknown, store.counts.tokens, say)
        if not store.counts.unknown:
            warn_of_changes(name, tokenizer, store.counts.bytes, splits[name].num_bytes, say)
    report = {
        name: {
            "corpus": split.description.spec,
            "licence": split.description.licence,
            "citation": split.description.citation,
            "rule": split.rule,
            "corpus_sha256": split.description.sha256,
            "fingerprint": split.fingerprint(),
            **({} if name == "train" else {"in_train": split.in_train}),
            **dataclasses.asdict(stores[name].counts),
        }
        for name, split in splits.items()
    }
    repaired = {name: corpus.report() for name, corpus in corpora.items() if corpus.report()}
    learnt = {"kind": tokenizer.name, "fingerprint": tokenizer.fingerprint()}
    return PreparedData(tokenizer, stores, {"splits": report, "bad_text": repaired, "tokenizer": learnt})


def divide(
    config: DataConfig, say: Callable[[str], None] = lambda line: None, begun: dict | None = None
) -> DividedText:
    """Read the text that the settings name once and divide it; say what is wrong with it and is read all the same.

    Args:
        config: the data settings.
        say: called with a line each.
        begun: what `data.json` says of a run that goes on; its text is divided as it was.

    Raises:
        InputError: a text cannot be read or divided so.
    """
    specs = {"train": config.corpus, "valid": config.valid_corpus, "test": config.test_corpus}
    specs = {name: spec for name, spec in specs.items() if spec}
    if config.document_separator and not any(spec.startswith("text:") for spec in specs.values()):
        raise InputError(
            f"--document_separator={config.document_separator} has no meaning for --corpus={config.corpus}, whose documents are "
            "divided already; leave it out"
        )
    corpora = {name: opened_corpus(spec, config, name, say) for name, spec in specs.items()}
    corpora = {**corpora["train"].held_out(), **corpora}
    say(f"reading {corpora['train'].spec}")
    before = begun["splits"].get("train", {}).get("rule") if begun else None
    try:
        splits = make_splits(
            corpora["train"],
            corpora.get("valid"),
            corpora.get("test"),
            fractions_of(config.split),
            before,
            say,
        )
    finally:
        say_of(corpora, say)
    return DividedText(splits, corpora)


def opened_corpus(spec: str, config: DataConfig, part: str, say: Callable[[str], None]) -> Corpus:
    """Open a corpus as the settings of a run say.

    Args:
        spec: what names it.
        config: the data settings; their own corpora are not looked at.
        part: `train`, `valid` or `test`; see `open_corpus`.
        say: called with a line before longer work.

    Raises:
        InputError: as `open_corpus`.
    """
    return open_corpus(
        spec,
        text_field=config.text_field,
        on_bad_text=config.on_bad_text,
        part=part,
        say=say,
        document_separator=config.document_separator,
    )


def say_of(corpora: dict[str, Corpus], say: Callable[[str], None]) -> None:
    """Say what looks wrong in corpora that were read, and what was repaired or left out."""
    for line in dict.fromkeys(remark for corpus in corpora.values() for remark in corpus.remarks()):
        say(line)
    for name, corpus in corpora.items():
        if counts := corpus.report():
            repaired = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items())
            say(f"bad text in {name}: {repaired}")


def save_tokenizer(
    config: DataConfig, folder: str | Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, str | int | float]:
    """Save the tokenizer that a run with these settings would learn.

    Args:
        config: the data settings; `tokenizer` is the name of a kind.
        folder: where it goes.
        say: called with a line before each longer piece of work.

    Returns:
        kind, vocab_size, tokens_per_byte (of the training text) and fingerprint.

    Raises:
        InputError: the folder holds another tokenizer or cannot be written, or for text and settings.
    """
    if config.tokenizer not in TOKENIZERS:
        raise InputError(
            f"--tokenizer={config.tokenizer}{nearest(config.tokenizer, list(TOKENIZERS))} can't be trained; "
            f"choose one of {', '.join(TOKENIZERS)}"
        )
    cache = cache_folder(config.cache_dir)
    splits = divide(config, say).splits
    tokenizer = trained_tokenizer(config, splits, cache, say)
    there = saved_in(folder)
    if there is None:
        tokenizer.save(folder)
    elif load_tokenizer(there).fingerprint() != tokenizer.fingerprint():
        raise InputError(f"{there} holds another tokenizer; choose another --output_dir, or delete that one")
    counts = tokenized(splits["train"], tokenizer, cache, say).counts
    return {
        "kind": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "tokens_per_byte": round(counts.tokens / counts.bytes, 4),
        "fingerprint": tokenizer.fingerprint(),
    }


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


def tokenized(
    split: Split,
    tokenizer: Tokenizer,
    cache: Path,
    say: Callable[[str], None] = lambda line: None,
    name: str | None = None,
) -> TokenStore:
    """Return the token store of a split; tokenize it unless the cache has it.

    Memory does not grow with the size of the text.

    Args:
        split: the text.
        tokenizer: what makes tokens of it.
        cache: the cache folder.
        say: called with a line before the text is tokenized.
        name: what that line calls the text; None for the split's own name.
    """
    folder = _store_in_cache(split, tokenizer, cache)

    def tokenize(path: Path) -> None:
        say(f"tokenizing {name or split.name}: {split.num_documents:,} documents, {split.num_bytes:,} bytes")
        _write_tokens(path, split, tokenizer)

    cached_folder(folder, tokenize, say)
    return _open(folder)


def _store_in_cache(split: Split, tokenizer: Tokenizer, cache: Path) -> Path:
    fingerprint = fingerprint_of({"split": split.fingerprint(), "tokenizer": tokenizer.fingerprint()})
    return cache / "tokens" / fingerprint


def _write_tokens(folder: Path, split: Split, tokenizer: Tokenizer) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    begin = np.array([tokenizer.begin_id], dtype).tobytes()
    unscored = None if tokenizer.begin_id == tokenizer.eod_id else tokenizer.begin_id
    separator = np.array([tokenizer.eod_id], dtype).tobytes() + (b"" if unscored is None else begin)
    tokens = 1
    size = raw_size = words = characters = unknown = documents = 0
    # Not `ndarray.tofile`, which loses the reason when the disk is full, and flushes the file each time.
    with open(folder / "tokens", "wb") as token_file, open(folder / "documents", "wb") as document_file:
        token_file.write(begin)
        for document in split.documents():
            if documents:
                token_file.write(separator)
                tokens += 1 if unscored is None else 2
            documents += 1
            document_file.write(np.int64(tokens).tobytes())
            within_word = ends_line = (
                False  # whether what came before ends in the middle of a word, or with a line feed
            )
            for piece, after in itertools.pairwise(
                itertools.chain(tokenizer.pieces(document.pieces()), [None])
            ):
                goes_on = after is not None and not piece.endswith("\n")
                said = tokenizer.canonical(piece)
                if goes_on:
                    ids = np.array(tokenizer.encode_prompt(piece), np.int32)
                    said = said if isinstance(piece, Piece) else said.removesuffix("\n")
                else:
                    ids = tokenizer.encode_array(piece)  # What is unknown may be gone in `said`.
                token_file.write(ids.astype(dtype).tobytes())
                tokens += len(ids)
                raw_size += len(piece.encode())
                size += len(said.encode())
                # White space at a word tokenizer's ends is in the piece alone.
                shown = said if isinstance(piece, Piece) else piece
                ends_line = said[-1:] == "\n" or (not said and ends_line)
                line_ends = said.count("\n") + (after is None and not ends_line)
                joined = within_word and shown and not shown[0].isspace()
                words += count_words(said) + line_ends - joined
                within_word = not shown[-1].isspace() if shown else within_word
                characters += len(said)
                unknown += tokenizer.count_unknown(piece, ids)
    if raw_size != split.num_bytes or documents != split.num_documents:
        raise changed(split.description.spec)
    counts = TextCounts(tokens - 1, size, words, characters, documents, unknown)
    content = {
        "dtype": dtype.name,
        "split": split.name,
        "counts": dataclasses.asdict(counts),
        "unscored": unscored,
    }
    (folder / "store.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _open(folder: Path) -> TokenStore:
    """Map the tokens of a folder into memory.

    Raises:
        InputError: the sums of its files are right, and yet it holds something else than was written here.
    """
    try:
        content = json.loads(bytes_of(folder / "store.json"))
        with opened(folder / "tokens") as file:
            tokens = np.memmap(file, DTYPES[content["dtype"]], "r")
        with opened(folder / "documents") as file:
            documents = np.fromfile(file, np.int64)
        counts = TextCounts(**content["counts"])
        if (len(tokens) - 1, len(documents)) != (counts.tokens, counts.documents):
            raise ValueError(f"{len(tokens):,} tokens in {len(documents):,} documents")
        if documents[:1].tolist() != [1] or documents[-1] > len(tokens) or (np.diff(documents) < 1).any():
            raise ValueError("documents that begin nowhere")
        return TokenStore(tokens, documents, counts, content.get("unscored"))
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{shown(str(folder))} holds no tokens ({error}); delete it, and it is made again from the text"
        ) from None
