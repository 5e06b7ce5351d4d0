"""Tokenizers in a GGUF file: byte-level BPE, which it calls `gpt2`, and sentencepiece, `llama` or `t5`."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sentencepiece import sentencepiece_model_pb2

from lm_keras.errors import InputError
from lm_keras.text import library
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.sentencepiece import SentencePieceTokenizer
from lm_keras.text.sentencepiece_model import SentencePieceModel
from lm_keras.text.sentencepiece_training import NEWLINE_ID
from lm_keras.text.tokenizer import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of tokens; sentencepiece has others for the last three."""

_TO_PIECE_TYPE = {NORMAL: 1, UNKNOWN: 2, CONTROL: 3, USER_DEFINED: 4, UNUSED: 5, BYTE: 6}

BPE, UNIGRAM = 2, 1
"""`model_type` of a sentencepiece model."""


def _split(pattern: str) -> list[dict[str, Any]]:
    """Return pre-tokenizers that cut at a pattern and spell the rest in bytes."""
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return [cut, {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}]


_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


class Rules(NamedTuple):
    """What a byte-level BPE does before it merges.

    Attributes:
        pre_tokenizer: as a tokenizer.json says it.
        normalizer: likewise, or None.
        ignore_merges: whether a word that is a token is that token, whatever the merges make of it.
    """

    pre_tokenizer: dict[str, Any]
    normalizer: dict[str, Any] | None = None
    ignore_merges: bool = False


RULES = {
    "gpt-2": Rules(_BYTES),
    "smollm": Rules(
        {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _BYTES]}
    ),
    "llama-bpe": Rules({"type": "Sequence", "pretokenizers": _split(_WORDS % "{1,3}")}, ignore_merges=True),
    "qwen2": Rules({"type": "Sequence", "pretokenizers": _split(_WORDS % "")}, {"type": "NFC"}),
}
"""By `tokenizer.ggml.pre`."""


class TokenTable(NamedTuple):
    """What a file says of a tokenizer, beside single tokens.

    Attributes:
        model: `gpt2`, `llama` or `t5`.
        pre: one of `RULES`, or `default` for sentencepiece.
        texts: of the tokens, by id.
        types: of the tokens.
        scores: of the tokens; None where there are merges.
        merges: pairs of tokens with a space between; None where there are scores.
        add_space_prefix: whether a text gets a space before it.
        remarks: what a user should know of it, in lines.
    """

    model: str
    pre: str
    texts: list[str]
    types: list[int]
    scores: list[float] | None = None
    merges: list[str] | None = None
    add_space_prefix: bool = False
    remarks: tuple[str, ...] = ()


def byte_level(vocabulary: TokenTable, eod_id: int, vocab_size: int) -> HuggingFaceTokenizer:
    """Return the byte-level BPE of a file.

    Raises:
        InputError: it cuts texts in a way that is unknown here, or is damaged.
    """
    if vocabulary.pre not in RULES:
        raise InputError(
            f"its tokenizer cuts texts as {vocabulary.pre!r} does, which is unknown here; known are "
            f"{', '.join(RULES)}"
        )
    rules, named = RULES[vocabulary.pre], list(zip(vocabulary.texts, vocabulary.types, strict=True))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": number, "content": text, **flags, "special": kind == CONTROL}
        for number, (text, kind) in enumerate(named)
        if kind in (CONTROL, USER_DEFINED)
    ]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": rules.normalizer, "pre_tokenizer": rules.pre_tokenizer, "post_processor": None,
        "decoder": _BYTES,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": rules.ignore_merges,
            "vocab": {text: number for number, (text, kind) in enumerate(named) if kind != UNUSED},
            "merges": [_pair(merge) for merge in vocabulary.merges or []],
        },
    }  # fmt: skip
    return HuggingFaceTokenizer(json.dumps(content).encode(), eod_id, vocab_size)


def _pair(merge: str) -> list[str]:
    first, space, second = merge.partition(" ")
    if not (first and space and second) or " " in second:
        raise InputError(f"its tokenizer merges {merge[:40]!r}, which is not a pair of tokens")
    return [first, second]


def sentencepiece(
    vocabulary: TokenTable, eod_id: int, begin_id: int | None, vocab_size: int
) -> SentencePieceModel:
    """Return the sentencepiece model of a file.

    Raises:
        InputError: it is none.
    """
    proto = sentencepiece_model_pb2.ModelProto()
    scores = vocabulary.scores or [0.0] * len(vocabulary.texts)
    for text, score, kind in zip(vocabulary.texts, scores, vocabulary.types, strict=True):
        proto.pieces.add(piece=text, score=score, type=_TO_PIECE_TYPE.get(kind, 1))
    trained, rules = proto.trainer_spec, proto.normalizer_spec
    trained.model_type, trained.byte_fallback = BPE, BYTE in vocabulary.types
    if UNKNOWN in vocabulary.types:
        trained.unk_piece = vocabulary.texts[vocabulary.types.index(UNKNOWN)]
    for name, number in (("eos", eod_id), ("bos", begin_id)):
        if number is not None and number < len(vocabulary.texts):
            setattr(trained, f"{name}_piece", vocabulary.texts[number])
    rules.name, rules.remove_extra_whitespaces = "identity", False
    rules.add_dummy_prefix = vocabulary.add_space_prefix
    return SentencePieceModel(proto.SerializeToString(), eod_id, vocab_size)


def vocabulary_of(tokenizer: Tokenizer, vocab_size: int) -> TokenTable:
    """Return a tokenizer as a file holds it.

    Args:
        tokenizer: ours.
        vocab_size: V; the file names as many tokens.

    Raises:
        InputError: it has no counterpart there.
    """
    if isinstance(tokenizer, SentencePieceTokenizer | SentencePieceModel):
        found = _of_pieces(tokenizer)
    elif isinstance(tokenizer, HuggingFaceTokenizer):
        found = _of_library(tokenizer)
    else:
        raise InputError(
            f"its {tokenizer.name} tokenizer has no counterpart in GGUF; those of sentencepiece and "
            "byte-level BPE have"
        )
    missing = range(len(found.texts), vocab_size)
    named = {number: name for name, number in tokenizer.special_tokens.items()}
    texts = [*found.texts, *(named.get(number, f"[PAD{number}]") for number in missing)]
    types = [*found.types, *(CONTROL if number in named else UNUSED for number in missing)]
    scores = None if found.scores is None else [*found.scores, *(-1e6 for _ in missing)]
    return found._replace(texts=texts, types=types, scores=scores)


def _of_pieces(tokenizer: SentencePieceTokenizer | SentencePieceModel) -> TokenTable:
    proto = sentencepiece_model_pb2.ModelProto.FromString(tokenizer._model)
    kind, rules, fallback = (
        proto.trainer_spec.model_type,
        proto.normalizer_spec,
        proto.trainer_spec.byte_fallback,
    )
    from_piece_type = {theirs: ours for ours, theirs in _TO_PIECE_TYPE.items()}
    texts, scores = [piece.piece for piece in proto.pieces], [piece.score for piece in proto.pieces]
    types, remarks = [from_piece_type[piece.type] for piece in proto.pieces], []
    if isinstance(tokenizer, SentencePieceTokenizer):
        # Ours cuts a text at line feeds; there the token is found in the text.
        texts[NEWLINE_ID], types[NEWLINE_ID] = "\n", USER_DEFINED
        if tokenizer.normalization != "none":
            remarks.append(f"llama.cpp does not normalize texts, as {tokenizer.normalization} does here")
    elif rules.precompiled_charsmap or rules.remove_extra_whitespaces:
        remarks.append("llama.cpp does not normalize texts, as this tokenizer does here")
    if kind not in (BPE, UNIGRAM) or (kind == BPE and not fallback):
        raise InputError(
            "llama.cpp needs a sentencepiece model that spells unknown characters in bytes, or a unigram"
            " model"
        )
    if kind == UNIGRAM and fallback:
        remarks.append(
            "llama.cpp does not spell in bytes what a unigram model lacks: there it is the unknown token"
        )
    name = "llama" if kind == BPE else "t5"
    prefix = isinstance(tokenizer, SentencePieceModel) and tokenizer.prefixes
    return TokenTable(name, "default", texts, types, scores, None, prefix, tuple(remarks))


def _of_library(tokenizer: HuggingFaceTokenizer) -> TokenTable:
    content = json.loads(library.read(tokenizer.model).to_str())  # With the defaults of all parts.
    model, added = content["model"], content.get("added_tokens") or []
    asked = _plain(content.get("pre_tokenizer")), content.get("normalizer"), bool(model.get("ignore_merges"))
    pre = next(
        (
            name
            for name, rules in RULES.items()
            if (_plain(rules.pre_tokenizer), rules.normalizer, rules.ignore_merges) == asked
        ),
        None,
    )
    if model["type"] != "BPE" or not tokenizer.byte_level or pre is None:
        raise InputError(
            "its tokenizer has no counterpart in GGUF; of byte-level BPE those that cut texts as "
            f"{', '.join(RULES)} do have"
        )
    special = {token["id"]: CONTROL if token["special"] else USER_DEFINED for token in added}
    texts = [f"[PAD{number}]" if name is None else name for number, name in enumerate(tokenizer.names)]
    types = [
        special.get(number, UNUSED if name is None else NORMAL) for number, name in enumerate(tokenizer.names)
    ]
    types[tokenizer.eod_id] = CONTROL
    merges = [" ".join(pair) for pair in library.merges_of(content)]
    normal = content.get("normalizer")
    remarks = (f"llama.cpp does not normalize texts, as {normal['type']} does here",) if normal else ()
    return TokenTable("gpt2", pre, texts, types, None, merges, remarks=remarks)


def _plain(part: Any) -> Any:
    """Return a pre-tokenizer without what changes no token."""
    if isinstance(part, dict):
        if part.get("type") == "Sequence" and len(part["pretokenizers"]) == 1:
            return _plain(part["pretokenizers"][0])
        return {name: _plain(value) for name, value in part.items() if name != "trim_offsets"}
    return (
        [_plain(value) for value in part]
        if isinstance(part, Sequence) and not isinstance(part, str)
        else part
    )
