"""The token store: text, tokenized once, as flat arrays on disk that are mapped into memory."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lm_keras.corpora import Split
from lm_keras.corpora.documents import Document, changed
from lm_keras.data.cache import fingerprint_of
from lm_keras.data.columns import PER, Column, ColumnWriter
from lm_keras.data.conversations import ConversationEncoder
from lm_keras.data.text_counter import TextCounter
from lm_keras.data.words import WordEncoder, encoded_source, encoded_text
from lm_keras.disk.files import bytes_of, opened
from lm_keras.disk.folders import cached_folder
from lm_keras.errors import InputError, shown
from lm_keras.text.pieces import Piece
from lm_keras.text.tokenizer import Tokenizer

DTYPES = {"uint16": np.uint16, "uint32": np.uint32}
"""The types that tokens may have on disk."""

COUNTED_TOKENS = 2**22
"""Tokens that are counted at once; numpy makes 64-bit numbers of them."""


@dataclasses.dataclass(frozen=True)
class TextCounts:
    """What a split of text holds.

    Attributes:
        tokens: targets, separators between documents included.
        bytes: UTF-8 bytes of what the tokens say: the text after normalization (word tokenizer: with single
            spaces).
        words: whitespace-separated words of it plus one end-of-line each; a last line without line feed
            counts too.
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
        tokens: [n + 1] unsigned integers, usually a memory map. The first is the token that begins a
            document, the context of its first one; it is not a target. Between documents is the token that
            ends one, a target, and behind it, if it is another one, again the token that begins one.
        documents: [documents] int64, positions in `tokens` where a document begins.
        counts: what the split holds; `counts.tokens` is n.
        unscored: a token that is never a target: the one that begins documents, if it does not end them, too.
        columns: by name a number for each token [n + 1] or each document [documents], memory maps.
        filled: how many texts or words have no token of their own and got another one, and document and word
            of the first; empty for none.
    """

    tokens: np.ndarray
    documents: np.ndarray
    counts: TextCounts
    unscored: int | None = None
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    filled: tuple[int, ...] = ()

    @property
    def ends(self) -> np.ndarray:
        """Return where the documents end, [documents] int64; what lies between two belongs to none."""
        between = 1 if self.unscored is None else 2
        return np.append(self.documents[1:] - between, len(self.tokens))

    def frequencies(self, vocab_size: int) -> np.ndarray:
        """Return how often each token is a target, [V] int64; memory does not grow with the text."""
        found = np.zeros(vocab_size, np.int64)
        for begin in range(1, len(self.tokens), COUNTED_TOKENS):
            found += np.bincount(self.tokens[begin : begin + COUNTED_TOKENS], minlength=vocab_size)
        return found


def tokenized(
    split: Split,
    tokenizer: Tokenizer,
    cache: Path,
    say: Callable[[str], None] = lambda line: None,
    name: str | None = None,
    columns: tuple[Column, ...] = (),
) -> TokenStore:
    """Return the token store of a split; tokenize it unless the cache has it.

    Memory does not grow with the size of the text.

    Args:
        split: the text.
        tokenizer: what makes tokens of it.
        cache: the cache folder.
        say: called with a line before the text is tokenized.
        name: what that line calls the text; None for the split's own name.
        columns: what the store holds beside the tokens.
    """
    folder = store_in_cache(split, tokenizer, cache, columns)

    def tokenize(path: Path) -> None:
        say(f"tokenizing {name or split.name}: {split.num_documents:,} documents, {split.num_bytes:,} bytes")
        _write_tokens(path, split, tokenizer, columns)

    cached_folder(folder, tokenize, say)
    return _open(folder)


def store_in_cache(split: Split, tokenizer: Tokenizer, cache: Path, columns: tuple[Column, ...] = ()) -> Path:
    """Return the folder of a split's token store, whether it exists or not."""
    decides = {"split": split.fingerprint(), "tokenizer": tokenizer.fingerprint()}
    if columns:
        decides["columns"] = {c.name: [c.per, c.dtype, c.between, c.fingerprint] for c in columns}
    fingerprint = fingerprint_of(decides)
    return cache / "tokens" / fingerprint


def _write_tokens(folder: Path, split: Split, tokenizer: Tokenizer, columns: tuple[Column, ...]) -> None:
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 2**16 else np.uint32)
    begin = np.array([tokenizer.begin_id], dtype).tobytes()
    unscored = None if tokenizer.begin_id == tokenizer.eod_id else tokenizer.begin_id
    separator = np.array([tokenizer.eod_id], dtype).tobytes() + (b"" if unscored is None else begin)
    encoder, conversations = WordEncoder(tokenizer), ConversationEncoder(tokenizer)
    counter = TextCounter(tokenizer)
    filled, first_filled = 0, ()
    tokens, documents = 1, 0
    # Not `ndarray.tofile`, which loses the reason when the disk is full, and flushes the file each time.
    with contextlib.ExitStack() as stack:
        token_file, document_file = (
            stack.enter_context(open(folder / name, "wb")) for name in ("tokens", "documents")
        )
        writers = [
            ColumnWriter(column, stack.enter_context(open(folder / _file_of(column.name), "wb")))
            for column in columns
        ]
        token_file.write(begin)
        for writer in writers:
            writer.between(1)
        for document in split.documents():
            if documents:
                token_file.write(separator)
                tokens += 1 if unscored is None else 2
            for writer in writers:
                writer.between(len(separator) // dtype.itemsize if documents else 0)
                writer.document(document)
            document_file.write(np.int64(tokens).tobytes())
            begun = tokens
            counter.begin_document()
            pieces = _encoded(document, tokenizer, encoder, conversations)
            for index, (piece, ids, said, is_last, marks) in enumerate(pieces):
                token_file.write(ids.astype(dtype).tobytes())
                for writer in writers:
                    if document.pair is not None:
                        writer.part(index, len(ids))
                    elif document.messages is not None:
                        writer.conversation(ids, marks)
                    elif marks is None:
                        writer.piece(piece, ids)
                    else:
                        writer.words(document, len(ids), marks)
                if document.pair is not None and _is_empty(ids, said, tokenizer):
                    filled.append((documents, index))
                tokens += len(ids)
                counter.add(piece, ids, said, is_last)
            if tokens == begun and columns:  # An example has a token, so that it has a prediction.
                token_file.write(np.array([encoder.nothing], dtype).tobytes())
                for writer in writers:
                    writer.between(1)
                tokens += 1
                filled, first_filled = filled + 1, first_filled or (documents, 0)
            for number, word in enumerate(document.words or ()):
                if encoder.is_empty(word.text):
                    filled, first_filled = filled + 1, first_filled or (documents, number)
            documents += 1
    if counter.raw_size != split.num_bytes or documents != split.num_documents:
        raise changed(split.description.spec)
    counts = TextCounts(
        tokens - 1, counter.bytes, counter.words, counter.characters, documents, counter.unknown
    )
    content = {
        "dtype": dtype.name,
        "split": split.name,
        "counts": dataclasses.asdict(counts),
        "unscored": unscored,
        **({"columns": {column.name: [column.per, column.dtype] for column in columns}} if columns else {}),
        **({"filled": [filled, *first_filled]} if filled else {}),
    }
    (folder / "store.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _encoded(
    document: Document, tokenizer: Tokenizer, encoder: WordEncoder, conversations: ConversationEncoder
) -> Iterator[tuple[str, np.ndarray, str, bool, np.ndarray | None]]:
    """Yield a document in pieces: text, tokens [n], what these say, whether it is the last piece; and of a
    text of words the first token of each word, [words], of a conversation which tokens are learnt, [n] bool.
    """
    if document.messages is not None:
        text = "".join(document.pieces())
        ids, learnt = conversations(document)
        yield text, ids, tokenizer.canonical(text), True, learnt
        return
    if document.pair is not None:  # A source and a target, without the line feed behind each.
        for number, side in enumerate(document.pieces()):
            text = side.removesuffix("\n")
            ids = encoded_text(tokenizer, text) if number else _source_of(document, text, tokenizer)
            yield side, ids, tokenizer.canonical(text) + "\n", True, None
        return
    if document.words is not None:
        text = "".join(document.pieces())
        tokens, firsts = encoder(word.text for word in document.words)
        yield text, tokens, tokenizer.canonical(text), True, firsts
        return
    for piece, after in itertools.pairwise(itertools.chain(tokenizer.pieces(document.pieces()), [None])):
        goes_on = after is not None and not piece.endswith("\n")
        said = tokenizer.canonical(piece)
        if goes_on:
            ids = np.array(tokenizer.encode_prompt(piece), np.int32)
            said = said if isinstance(piece, Piece) else said.removesuffix("\n")
        else:
            ids = tokenizer.encode_array(piece)  # What is unknown may be gone in `said`.
        yield piece, ids, said, after is None, None


def _is_empty(ids: np.ndarray, said: str, tokenizer: Tokenizer) -> bool:
    """Tell whether a tokenizer makes no token of a side of a pair, which then has another one."""
    return len(ids) <= 2 and not len(tokenizer.encode_array(said.removesuffix("\n")))


def _source_of(document: Document, text: str, tokenizer: Tokenizer) -> np.ndarray:
    try:
        return encoded_source(tokenizer, text, document.pair.language)
    except InputError as error:
        raise InputError(f"{document.source}: {error}") from None


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
        sizes = {**dict.fromkeys(PER, len(tokens)), "document": len(documents)}
        columns = {
            name: _column_in(folder, name, dtype, sizes[per])
            for name, (per, dtype) in content.get("columns", {}).items()
        }
        filled = tuple(content.get("filled", ()))
        return TokenStore(tokens, documents, counts, content.get("unscored"), columns, filled)
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{shown(str(folder))} holds no tokens ({error}); delete it, and it is made again from the text"
        ) from None


def _file_of(column: str) -> str:
    return f"column_{column}"


def _column_in(folder: Path, name: str, dtype: str, count: int) -> np.ndarray:
    if not name.isidentifier() or np.dtype(dtype).kind not in "iuf":
        raise ValueError(f"a column {name!r} of {dtype!r}")
    with opened(folder / _file_of(name)) as file:
        values = np.memmap(file, np.dtype(dtype), "r")
    if len(values) != count:
        raise ValueError(f"{len(values):,} numbers in the column {name}, where {count:,} belong")
    return values
