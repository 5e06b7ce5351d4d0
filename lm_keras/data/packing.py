"""Rows of whole sentences: where the rows of a text begin, so that as few sentences as possible are cut."""

import bisect
import dataclasses

import numpy as np

from lm_keras.text.tokenizer import Tokenizer

TERMINATORS = frozenset(".!?…।؟")
"""What a sentence ends with where white space or a new word follows."""

WIDE_TERMINATORS = frozenset("。！？")
"""What a sentence ends with whatever follows: their scripts have no white space between sentences."""

CLOSERS = "\"'”’)]}»」』"
"""What may follow that and still belongs to the sentence, as white space does."""

MOST_CLOSERS = 3
"""Tokens of closing marks that are looked through."""

BLOCK = 2**20
"""Tokens that are looked at together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sentences:
    r"""Tells where the sentences of a text of tokens end.

    A sentence ends with a full stop, a question or exclamation mark or an ellipsis, with closing marks and
    white space behind it, where a word begins next; with an empty line; and with its document. A line alone
    ends none: many texts are wrapped. Where tokens keep no white space, as in WordPiece, `e.g.` cannot be
    told from two sentences.

    Attributes:
        ends: [V] bool, tokens that a sentence ends with.
        wide: [V] bool, those of them that need no white space behind them.
        closes: [V] bool, tokens of closing marks alone.
        white: [V] bool, tokens of white space alone.
        ends_white: [V] bool, tokens that end with white space.
        feeds: [V] int, line feeds in the white space that a token ends with.
        opens: [V] bool, tokens with which a sentence may begin where there is no white space: those that
            begin a word, but for digits.
        end_id: the token that ends a document.

    Example: of single characters the text `It is 3.5 m. "Why?" he said` has the sentences `It is 3.5 m. `,
    `"Why?" ` and `he said`.
    """

    ends: np.ndarray
    wide: np.ndarray
    closes: np.ndarray
    white: np.ndarray
    ends_white: np.ndarray
    feeds: np.ndarray
    opens: np.ndarray
    end_id: int

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Sentences":
        """Return those of the texts of a tokenizer."""
        tokens = range(tokenizer.vocab_size)
        texts = [
            "" if token in tokenizer.special_ids else tokenizer.token_bytes(token).decode("utf-8", "replace")
            for token in tokens
        ]
        last = [text.rstrip().rstrip(CLOSERS)[-1:] for text in texts]
        return cls(
            ends=np.array([mark in TERMINATORS | WIDE_TERMINATORS for mark in last]),
            wide=np.array([mark in WIDE_TERMINATORS for mark in last]),
            closes=np.array([bool(text) and not text.strip(CLOSERS) for text in texts]),
            white=np.array([text.isspace() for text in texts]),
            ends_white=np.array([text[-1:].isspace() for text in texts]),
            feeds=np.array([text[len(text.rstrip()) :].count("\n") for text in texts]),
            opens=np.array([tokenizer.begins_word(t) and not texts[t][:1].isdigit() for t in tokens]),
            end_id=tokenizer.eod_id,
        )

    def last_tokens(self, tokens: np.ndarray) -> np.ndarray:
        """Tell which tokens are the last of their sentence: tokens [n] of a text, returns [n] bool; the last
        token is one.
        """
        after = np.append(tokens[1:], self.end_id)
        closes, ended, wide = self.closes[tokens], self.ends[tokens], self.wide[tokens]
        for _ in range(MOST_CLOSERS):
            ended[1:] |= closes[1:] & ended[:-1]
            wide[1:] |= closes[1:] & wide[:-1]
        # What white space ends is decided by what comes before it.
        visible = np.maximum.accumulate(np.where(self.white[tokens], -1, np.arange(len(tokens))))
        ended, wide = ended[visible] & (visible >= 0), wide[visible]
        # Behind white space a mark opens what comes next; without any it closes what ended.
        opens = self.ends_white[tokens] | ((self.opens[after] | wide) & ~self.closes[after])
        feeds = np.cumsum(self.feeds[tokens])
        in_space = feeds - np.where(visible >= 0, (feeds - self.feeds[tokens])[visible], 0)
        last = ((ended & opens) | (in_space > 1)) & ~self.white[after]
        last |= tokens == self.end_id
        last[-1:] = True
        return last

    def begins(self, tokens: np.ndarray, length: int) -> np.ndarray:
        """Pack the sentences of a text into rows, in their order, as many into each as fit.

        Args:
            tokens: [n] unsigned integers, usually a memory map.
            length: tokens of a row at most; a sentence of more is cut.

        Returns:
            [rows + 1] int64, where the rows begin, and n: row i has the tokens from the i-th to the one
            before the next.

        Example: sentences of 3, 4, 2 and 12 tokens and rows of 8: the rows begin at 0, 7, 9 and 17, and end
        at 21. A sentence is cut only where it begins a row and is longer than that.

        Reference: Liu et al. (2019), section 4.2, FULL-SENTENCES: rows go on over the end of a document.
        """
        total, begins, at = len(tokens), [0], 0
        while at < total:
            part = np.asarray(tokens[at : at + BLOCK + length + 1])
            ends = (np.flatnonzero(self.last_tokens(part)) + 1).tolist()
            # Where the part is cut is beyond the reach of every row that begins among its first tokens.
            here, enough = 0, min(BLOCK, len(part))
            while here < enough:
                limit = min(here + length, len(part))
                number = bisect.bisect_right(ends, limit) - 1
                stop = ends[number] if number >= 0 and ends[number] > here else limit
                here = stop
                begins.append(at + here)
            at += here
        return np.array(begins, np.int64)


def side_by_side(total: int, length: int) -> np.ndarray:
    """Return where rows of `length` tokens of a text of `total` begin, and `total`.

    Example:
        >>> side_by_side(7, 3).tolist()
        [0, 3, 6, 7]
    """
    return np.append(np.arange(0, total, length), total)
