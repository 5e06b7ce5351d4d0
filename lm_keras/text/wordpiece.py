"""WordPiece: the tokens of BERT, read from its `vocab.txt` or from a tokenizer.json."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers as library

from lm_keras.errors import InputError
from lm_keras.text.decoder import Decoder
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.tokenizer import REPLACEMENT

CONTINUES = "##"
"""What the name of a token begins with that goes on within a word."""

UNKNOWN, BEGIN, END, MASK, PADDING = "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"

GLUED_BEFORE = frozenset(".,!?;:)]}%'’-")
"""Tokens before which the decoder writes no space."""

GLUED_AFTER = frozenset("([{$#'’-")
"""Tokens after which the decoder writes no space."""


class WordPieceTokenizer(HuggingFaceTokenizer):
    """BERT's tokenizer: words are divided at white space and punctuation, then into the longest pieces that
    there are.

    White space is not kept, nor are case and accents where the vocabulary has none: `decode` puts words side
    by side as one would write them. A word that cannot be spelled, or has more than 100 characters, is
    `[UNK]` (200 in its first code, 100 in that of others since). A document ends with `[SEP]`, and a text
    that is alone begins with `[CLS]`.

    Attributes:
        begin_id: `[CLS]`, or `[SEP]` where there is none.
        mask_id: `[MASK]`, or None.

    Example: with a vocabulary that has these pieces

        tokenizer.encode("Unaffable!")    # the ids of "una", "##ffa", "##ble", "!"

    Reference: Wu et al. (2016), section 4.1; Devlin et al. (2019), appendix A.2, and tokenization.py of its
    code.
    """

    name = "wordpiece"
    joins_spaces = False

    def __init__(self, model: bytes, eod_id: int, vocab_size: int | None = None):
        super().__init__(model, eod_id, vocab_size)
        ids = self._tokenizer.get_vocab(with_added_tokens=True)
        self._spelled = [name or "" for name in self._said_names]
        self._token_bytes = [
            (
                b""
                if number in (eod_id, ids.get(BEGIN))
                else name.removeprefix(CONTINUES).encode("utf-8", "replace")
            )
            for number, name in enumerate(self._spelled)
        ]
        self.unknown_id, self.mask_id = ids.get(UNKNOWN), ids.get(MASK)
        self.begin_id = ids.get(BEGIN, eod_id)
        nothing = {number for number, name in enumerate(self._spelled) if not name}
        self._special = nothing | {ids[name] for name in SPECIAL if name in ids}
        for number in (self.unknown_id, self.mask_id):
            if number is not None:
                self._token_bytes[number] = REPLACEMENT

    @classmethod
    def of_vocabulary(
        cls,
        vocabulary: bytes,
        lowercase: bool | None = None,
        vocab_size: int | None = None,
        **how: bool | None,
    ) -> "WordPieceTokenizer":
        """Make one of a `vocab.txt`: a token a line, the ids in their order.

        Args:
            vocabulary: the content of the file.
            lowercase: whether case and accents are removed; None: where no token has a capital letter.
            vocab_size: number of ids, if the network has more.
            how: `strip_accents` [as `lowercase`] and `handle_chinese_chars` [true: each of them is a word].

        Raises:
            InputError: a token is there twice, or one of `[UNK]` and `[SEP]` is missing, or it is not UTF-8.
        """
        ids = _ids(vocabulary)
        if lowercase is None:
            lowercase = not any(c.isupper() for name in ids if name not in SPECIAL for c in name)
        model = library.Tokenizer(
            library.models.WordPiece(vocab=ids, unk_token=UNKNOWN, max_input_chars_per_word=100)
        )
        model.normalizer = library.normalizers.BertNormalizer(
            clean_text=True,
            lowercase=lowercase,
            **{"handle_chinese_chars": True, "strip_accents": None, **how},
        )
        model.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        model.decoder = library.decoders.WordPiece(prefix=CONTINUES)
        model.add_special_tokens([name for name in SPECIAL if name in ids])
        return cls(model.to_str().encode(), ids[END], vocab_size)

    @property
    def special_names(self) -> dict[str, str]:
        """Return the names of special tokens as a tokenizer_config.json has them."""
        keys = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        there = self._tokenizer.get_vocab(with_added_tokens=True)
        return {key: name for key, name in zip(keys, SPECIAL) if name in there}

    def beginning_with(self, token: int | str | None) -> "WordPieceTokenizer":
        """Return the same tokenizer with another `begin_id`; None for `[CLS]`."""
        return super().beginning_with(BEGIN if token is None else token)

    @property
    def special_ids(self) -> set[int]:
        """Return the ids that stand for no text: those of `[PAD]` and the like, too."""
        return super().special_ids | self._special

    def begins_word(self, token_id: int) -> bool:
        """Tell whether a token does not go on within a word."""
        name = (
            self._spelled[token_id] if token_id < len(self._spelled) else ""
        )  # A reserved mask token comes after them.
        return not name.startswith(CONTINUES)

    def spelling(self, token_id: int) -> bytes:
        """Return the bytes of a token, with `##` before those that go on within a word, as the vocabulary has
        them.
        """
        content = self.token_bytes(token_id)
        return content if self.begins_word(token_id) else CONTINUES.encode() + content

    def decoder(self, before: str = "") -> Decoder:
        """Return an incremental decoder; it begins with a space where one would write one after `before`."""
        return _WordPieceDecoder(self, before)


SPECIAL = (PADDING, UNKNOWN, BEGIN, END, MASK)
"""Tokens that stand for no text."""


class _WordPieceDecoder(Decoder):
    """Puts the spaces between words."""

    def __init__(self, tokenizer: WordPieceTokenizer, before: str):
        super().__init__(tokenizer)
        self._glued = not before or before[-1].isspace() or before[-1] in GLUED_AFTER

    def push(self, ids: Iterable[int]) -> str:
        parts = []
        for token in ids:
            text = self._tokenizer.token_bytes(token).decode("utf-8")
            if not text:
                continue
            apart = self._tokenizer.begins_word(token) and text not in GLUED_BEFORE and not self._glued
            parts.append(f" {text}" if apart else text)
            self._glued = text in GLUED_AFTER
        return "".join(parts)


def _ids(vocabulary: bytes) -> dict[str, int]:
    try:
        names = vocabulary.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"vocab.txt is not UTF-8 ({error.reason} at byte {error.start:,})") from None
    ids: dict[str, int] = {}
    for number, name in enumerate(names[:-1] if not names[-1] else names):
        name = name.removesuffix("\r")
        if name in ids:
            raise InputError(
                f"vocab.txt has the token {name!r} twice, in the lines {ids[name] + 1} and {number + 1}"
            )
        ids[name] = number
    for name in (UNKNOWN, END):
        if name not in ids:
            raise InputError(f"vocab.txt has no {name}; expected the vocabulary of a BERT, a token a line")
    return ids


def read_vocabulary(
    path: Path, content: bytes, settings: dict[str, Any] | None, **given: int | None
) -> WordPieceTokenizer:
    """Make a tokenizer of a `vocab.txt`, as the tokenizer_config.json beside it says, if there is one.

    Raises:
        InputError: the vocabulary is damaged, or a setting is none.
    """
    found = {}
    for ours, theirs in (
        ("lowercase", "do_lower_case"), ("strip_accents", "strip_accents"),
        ("handle_chinese_chars", "tokenize_chinese_chars"),
    ):  # fmt: skip
        value = (settings or {}).get(theirs)
        if value is not None and not isinstance(value, bool):
            raise InputError(
                f"{path.with_name('tokenizer_config.json')} has {value!r} for {theirs!r}, expected true or"
                " false"
            )
        if value is not None:
            found[ours] = value
    return WordPieceTokenizer.of_vocabulary(content, **found, **given)


def is_wordpiece(model: bytes) -> bool:
    """Tell whether a tokenizer.json is that of a BERT: WordPiece with the names of its special tokens and its
    clean-up.
    """
    try:
        content = json.loads(model)
        pieces, decoder = content["model"], content["decoder"]
        return (pieces["type"], pieces["continuing_subword_prefix"], pieces["unk_token"]) == (
            "WordPiece",
            CONTINUES,
            UNKNOWN,
        ) and (decoder["type"], decoder["prefix"], decoder["cleanup"]) == ("WordPiece", CONTINUES, True)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
