"""Word vectors that the token embedding of a run begins with (`--embedding_init`)."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.vectors import header_of, read_vectors
from lm_keras.config import Config
from lm_keras.disk.files import without_mark
from lm_keras.errors import InputError
from lm_keras.text.names import name_of
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.text.word import EOS_ID, WordTokenizer

WITH_MARK = 10
"""Rank of a word with a byte order mark, behind all others."""


@dataclasses.dataclass(frozen=True)
class InitialEmbedding:
    """The vectors of a file that tokens of a vocabulary have there; other tokens keep what was drawn for
    them.

    Attributes:
        path: the file.
        vocab_size: V.
        ids: [n], tokens that have a vector in the file.
        vectors: [n, E] float32, these.
    """

    path: Path
    vocab_size: int
    ids: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(
        cls, config: Config, folder: RunFolder | None, tokenizer: Tokenizer | None
    ) -> "InitialEmbedding | None":
        """Return what the run in `folder` begins with, or None without `--embedding_init` or with weights of
        its own.

        Memory grows with the vocabulary and not with the file.

        Args:
            config: settings of the new run.
            folder: of the new run, or None where a dry run has none.
            tokenizer: of the run; None where a dry run does not know it yet: only the first line is read
                then.

        Raises:
            InputError: the file cannot be read, is damaged, has vectors of another width, or none of the
                tokens.
        """
        path = config.model.embedding_init
        if not path or (folder and folder.checkpoints().newest() is not None):
            return None
        head, width = header_of(path), config.model.embedding_dim
        if head.width != width:
            raise InputError(
                f"--embedding_init={path}, line 1: vectors of {head.width:,} numbers, and"
                f" --embedding_dim={width}; take --embedding_dim={head.width}, or another file"
            )
        if tokenizer is None:
            return cls(Path(path), 0, np.zeros(0, np.int32), np.zeros((0, width), np.float32))
        names = names_of(tokenizer)
        found: dict[int, tuple[int, np.ndarray]] = {}
        for word, vector in read_vectors(path, head, lambda word: without_mark(word) in names):
            # A mark in the middle of a file comes from another file that was put there; the word without it
            # wins.
            marked = WITH_MARK if word not in names else 0
            for rank, token in names[word if word in names else without_mark(word)]:
                rank += marked
                if token not in found or rank < found[token][0]:
                    found[token] = rank, vector
        if not found:
            raise InputError(
                f"--embedding_init={path} has none of the {tokenizer.vocab_size:,} tokens of the vocabulary;"
                f" expected words as the {tokenizer.name} tokenizer has them, such as"
                f" {next(iter(names), b'').decode('utf-8', 'replace')!r}"
            )
        ids = np.array(sorted(found), np.int32)
        return cls(
            Path(path), tokenizer.vocab_size, ids, np.stack([found[token][1] for token in ids.tolist()])
        )

    @property
    def description(self) -> str:
        """Say with what the run begins."""
        if not self.vocab_size:
            return f"with the vectors of {self.path}"
        return f"with the vectors of {self.path} for {len(self.ids):,} of {self.vocab_size:,} tokens"

    def copy_to(self, model: keras.Model) -> None:
        """Put the vectors into the embedding of a new network."""
        table = model.embedding.embeddings
        values = table.numpy()
        values[self.ids] = self.vectors
        table.assign(values)


def names_of(tokenizer: Tokenizer) -> dict[bytes, list[tuple[int, int]]]:
    """Return the words of a file that tokens may be called there: UTF-8 -> [(rank, token)], the lowest rank
    is the best.

    A token is called what `name_of` says of its spelling. One that begins with a space, as the pieces do with
    which a word begins, is also found as the word without it, if the file does not have it with one.
    """
    without = tokenizer.special_ids | ({EOS_ID} if isinstance(tokenizer, WordTokenizer) else set())
    names: dict[bytes, list[tuple[int, int]]] = {}
    for token in range(tokenizer.vocab_size):
        content = tokenizer.spelling(token)
        if token in without or not content:
            continue
        for rank, part in enumerate(dict.fromkeys([content, content.removeprefix(b" ")])):
            if part:
                names.setdefault(name_of(part).encode(), []).append((rank, token))
    return names
