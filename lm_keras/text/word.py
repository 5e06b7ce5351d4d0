"""Words as tokens, as the word-level benchmarks (Penn Treebank, WikiText) count them."""

import collections
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lm_keras.errors import InputError
from lm_keras.text.decoder import Decoder
from lm_keras.text.files import SETTINGS_FILE, damaged, field
from lm_keras.text.normalization import check_form, normalize
from lm_keras.text.tokenizer import Tokenizer

UNKNOWN_WORD = "<unk>"
UNKNOWN_ID, EOS_ID, FIRST_WORD_ID = 1, 2, 3
END_OF_LINE = "\udc0a"  # stands for a line feed while words are split; no text holds a lone surrogate

MAX_COUNTED_WORDS = 2**21  # of more different words the rarest are forgotten while they are counted
LONG_WORD = 10  # characters of a word on average, from which on a text seems to have no spaces
JUDGED_WORDS = 1000  # fewer words do not show whether words come again


class WordTokenizer(Tokenizer):
    r"""One token a word, and `<eos>` at the end of every line, blank lines included.

    A word is what white space separates (`str.split`); punctuation is not cut off. A last line without
    line feed gets its `<eos>` too. Ids: 0 end of document, 1 `<unk>`, 2 `<eos>`, then the words, the most
    frequent first, then the mask token where one is reserved: the placeholder `_` of Xie et al. (2017), which
    can't be `<unk>`, a word of the benchmarks. So the vocabulary is one larger than published sizes, which do
    not know `<eod>`, and with a mask token two.

    White space is not kept: `decode` joins words with one space and makes a line feed of `<eos>`, which is
    `canonical`. Bytes and characters of a split are counted in that text.

    A word outside the vocabulary becomes `<unk>`, and its text is lost. The word `<unk>` in a text, where
    somebody else put it for rare words, becomes the same token but is nothing lost: it is a target like every
    other word, as in the published perplexities, and decodes to `<unk>`. Sampling never chooses it, because
    nobody wants to read it; scores and perplexities count the probability it gets.

    Example:
        >>> tokenizer = WordTokenizer(["the", "cat"], normalization="none")
        >>> tokenizer.encode("the  cat\n\nthe dog"), tokenizer.decode([3, 4, 2, 2, 3, 1, 2])
        ([3, 4, 2, 2, 3, 1, 2], 'the cat\n\nthe <unk>\n')

    Reference:
        Mikolov et al. (2011), "Empirical evaluation and combination of advanced language modeling
        techniques", section 3 (Penn Treebank); Merity et al. (2017), "Pointer sentinel mixture models",
        section 4 (WikiText).
    """

    name = "word"
    unknown_id = UNKNOWN_ID

    def __init__(self, words: list[str], normalization: str, spaced: bool = True):
        """Take the known words in the order of their ids.

        Args:
            words: different words, without white space and without `<unk>`.
            normalization: name of the Unicode normalization form.
            spaced: whether the text they are from separates words by spaces.
        """
        spelled = [b"", UNKNOWN_WORD.encode(), b"\n", *(word.encode("utf-8") for word in words)]
        super().__init__(normalization, spelled)
        self.words, self.spaced = words, spaced
        self._ids = _Ids(zip(words, range(FIRST_WORD_ID, len(spelled))))
        self._ids[END_OF_LINE] = EOS_ID

    @classmethod
    def train(cls, texts: Iterable[str], settings: Mapping[str, Any]) -> "WordTokenizer":
        """Collect the words of a corpus.

        A text is taken to be written without spaces if its words have more than 10 characters on average, or
        if, of 1,000 words or more, every second one comes only once.

        Args:
            texts: the corpus in pieces, cut after line feeds; read once.
            settings: `normalization`, and `vocab_size`, the largest size with `<eod>`, `<unk>` and `<eos>`;
                the most frequent words are kept (among equals the first in the order of code points). None
                keeps every word. In a corpus of more than 2^21 different words rare ones are forgotten on the
                way, and what is counted of them with it.

        Raises:
            InputError: the corpus has no word, or too many to keep them all, or the size leaves room for
                none.

        Reference:
            Manku and Motwani (2002), "Approximate frequency counts over data streams", section 4
            (forgetting).
        """
        normalization, vocab_size = check_form(settings["normalization"]), settings["vocab_size"]
        if vocab_size is not None and vocab_size <= FIRST_WORD_ID:
            raise InputError(
                f"vocab_size is {vocab_size}: expected {FIRST_WORD_ID + 1} or more, because <eod>, <unk> and "
                "<eos> count too"
            )
        counts, total, characters = collections.Counter(), 0, 0
        for text in texts:
            words = normalize(text, normalization).split()
            counts.update(words)
            total += len(words)
            characters += sum(map(len, words))
            if len(counts) > MAX_COUNTED_WORDS:
                if vocab_size is None:
                    raise InputError(
                        f"this corpus has more than {MAX_COUNTED_WORDS:,} different words: set a vocab_size, "
                        "such as 50000, or use the sentencepiece tokenizer"
                    )
                _forget_rare(counts)
        once = sum(count == 1 for count in counts.values())
        del counts[UNKNOWN_WORD]
        if not counts:
            raise InputError("no text to train a tokenizer on: expected a corpus with at least one word")
        spaced = characters <= LONG_WORD * total and (total < JUDGED_WORDS or 2 * once <= total)
        ordered = sorted(counts)
        ordered.sort(
            key=counts.__getitem__, reverse=True
        )  # stable, so equals stay in the order of code points
        return cls(
            ordered[: None if vocab_size is None else vocab_size - FIRST_WORD_ID], normalization, spaced
        )

    @property
    def warning(self) -> str | None:
        """Return advice for a text without spaces, else None."""
        if self.spaced:
            return None
        return (
            "the words of this text are very long or hardly ever come twice, as in a language that is "
            "written without "
            "spaces; words can't be learnt so: use --tokenizer=char or --tokenizer=sentencepiece"
        )

    def _encode(self, text: str) -> np.ndarray:
        words = text.replace("\n", f" {END_OF_LINE} ").split()
        if text and not text.endswith("\n"):
            words.append(END_OF_LINE)
        return np.fromiter(map(self._ids.__getitem__, words), np.int32, len(words))

    def encode_prompt(self, text: str) -> list[int]:
        """Return the ids of a text that goes on: a last line without line feed gets no `<eos>`."""
        ids = self.encode(text)
        return ids[:-1] if text and not text.endswith("\n") else ids

    def begins_word(self, token_id: int) -> bool:
        """Return True: each token is a word."""
        return True

    def canonical(self, text: str) -> str:
        """Return the text with single spaces between words, none at a line's ends, and every line ended."""
        lines = self.normalize(text).split("\n")
        if not lines[-1]:
            lines.pop()
        return "".join(" ".join(line.split()) + "\n" for line in lines)

    def count_unknown(self, text: str, ids: np.ndarray) -> int:
        """Return how many words were lost; the word `<unk>` of the text was not."""
        found = super().count_unknown(text, ids)
        if found and UNKNOWN_WORD in text:
            found -= self.normalize(text).split().count(UNKNOWN_WORD)
        return found

    def decoder(self, before: str = "") -> Decoder:
        """Return an incremental decoder; it begins with a space unless `before` ends in white space."""
        return _WordDecoder(self, before)

    def _files(self) -> dict[str, bytes]:
        return {SETTINGS_FILE: self._settings_file(spaced=self.spaced, words=self.words)}

    @classmethod
    def _from_settings(cls, folder: Path, settings: dict[str, Any]) -> "WordTokenizer":
        words = field(folder, settings, "words", list)
        if not words:
            raise damaged(folder, "the field 'words' is empty")
        if not all(isinstance(word, str) for word in words) or " ".join(words).split() != words:
            raise damaged(folder, "the field 'words' has an entry that is not a word")
        if any("\ud800" <= character < "\ue000" for character in set().union(*words)):
            raise damaged(folder, "the field 'words' has a lone surrogate")
        if len({UNKNOWN_WORD, *words}) <= len(words):
            raise damaged(folder, f"the field 'words' has {UNKNOWN_WORD}, or a word twice")
        return cls(words, settings["normalization"], field(folder, settings, "spaced", bool))


class _Ids(dict):
    """From a word to its id; what is not there is unknown."""

    def __missing__(self, word: str) -> int:
        return UNKNOWN_ID


class _WordDecoder(Decoder):
    """Puts the spaces between words, and a line feed at every `<eos>`."""

    def __init__(self, tokenizer: WordTokenizer, before: str):
        super().__init__(tokenizer)
        self._in_line = bool(before) and not before[-1].isspace()

    def push(self, ids: Iterable[int]) -> str:
        parts = []
        for token in ids:
            text = self._tokenizer.token_bytes(token).decode("utf-8")
            is_word = token not in (self._tokenizer.eod_id, EOS_ID)
            parts.append(" " + text if is_word and self._in_line else text)
            self._in_line = is_word
        return "".join(parts)


def _forget_rare(counts: collections.Counter) -> None:
    """Drop the rarest words, so that half of the words that may be counted remain."""
    values = np.fromiter(counts.values(), np.int64, len(counts))
    rare = np.argsort(values, kind="stable")[: len(counts) - MAX_COUNTED_WORDS // 2]
    words = list(counts)
    for index in rare.tolist():
        del counts[words[index]]
