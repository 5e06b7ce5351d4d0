"""What a tokenizer.json may consist of, and what is done with each part: carried out exactly, without effect,
or refused.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

from lm_keras.errors import InputError
from lm_keras.text.chains import Chain

EXACT, NO_EFFECT, REFUSED = "exact", "no effect", "refused"


@dataclasses.dataclass(frozen=True)
class Component:
    """A type of a part of a tokenizer.json.

    Attributes:
        part: the key of tokenizer.json that has it.
        kind: its `type`.
        what: `exact`, `no effect` or `refused`.
        fields: the settings that it may have; another one is refused.
        note: what a reader should know, for the page.
    """

    part: str
    kind: str
    what: str
    fields: tuple[str, ...] = ()
    note: str = ""


def _kinds(part: str, what: str, *kinds: str, note: str = "", **with_fields: str) -> list[Component]:
    found = [Component(part, kind, what, (), note) for kind in kinds]
    return found + [
        Component(part, kind, what, tuple(fields.split()), note) for kind, fields in with_fields.items()
    ]


ADDED = ("id", "content", "single_word", "lstrip", "rstrip", "normalized", "special")
"""The settings of an added token."""

COMPONENTS = [
    *_kinds(
        "normalizer", EXACT, "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "ByteLevel",
        BertNormalizer="clean_text handle_chinese_chars strip_accents lowercase",
        Strip="strip_left strip_right",
        Replace="pattern content", Prepend="prepend", Precompiled="precompiled_charsmap",
        Sequence="normalizers",
        note="by the library; bytes and words are counted in what the tokens say",
    ),
    *_kinds(
        "pre_tokenizer", EXACT, "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "UnicodeScripts",
        ByteLevel="add_prefix_space trim_offsets use_regex", CharDelimiterSplit="delimiter",
        Metaspace="replacement prepend_scheme split add_prefix_space str_rep",
        Split="pattern behavior invert",
        Punctuation="behavior", Digits="individual_digits", FixedLength="length", Sequence="pretokenizers",
        note="by the library; only a document's beginning gets a prefix",
    ),
    *_kinds(
        "model", EXACT,
        BPE="dropout unk_token continuing_subword_prefix end_of_word_suffix fuse_unk byte_fallback "
        "ignore_merges vocab merges",
        Unigram="unk_id vocab byte_fallback alpha nbest_size",
        WordLevel="vocab unk_token",
        WordPiece="unk_token continuing_subword_prefix max_input_chars_per_word vocab",
        note="the unknown token is counted and never sampled; a BPE without one drops characters, which are "
        "counted as unknown",
    ),
    Component("model", "dropout, alpha", REFUSED, (), "they draw tokens at random; 0 or null is accepted"),
    Component(
        "model", "end_of_word_suffix, continuing_subword_prefix", EXACT, (),
        "refused without a decoder that reads them (BPEDecoder, WordPiece), and so with ByteLevel, as in "
        "CLIP's",
    ),
    *_kinds("post_processor", NO_EFFECT, "TemplateProcessing", "BertProcessing", "RobertaProcessing",
        "ByteLevel", "Sequence",
            note="a document begins with the begin token and ends with the end token, as config.json and "
            "tokenizer_config.json say; where they say "
            "nothing of a begin token, it is the one that the post-processor puts first"),
    *_kinds(
        "decoder", EXACT, "ByteFallback", "Fuse", "(none)",
        ByteLevel="add_prefix_space trim_offsets use_regex",
        Replace="pattern content", Metaspace="replacement prepend_scheme split add_prefix_space str_rep",
        BPEDecoder="suffix", Strip="content start stop", WordPiece="prefix cleanup", Sequence="decoders",
        note="in the order Replace, Metaspace, WordPiece, BPEDecoder, Strip; ByteFallback; Fuse; then Strip "
        "at the beginning or "
        "Replace of one character; another order is refused. Bytes that are not UTF-8 are read as U+FFFD",
    ),
    Component("decoder", "CTC", REFUSED, (), "it joins equal tokens, as in speech"),
    Component("truncation", "", NO_EFFECT, (), "texts are encoded whole"),
    Component("padding", "", NO_EFFECT, (), "texts are encoded one by one"),
    Component(
        "added_tokens", "special", EXACT, ADDED,
        "a special token's name in a text is ordinary text, never that token; an id that the library does "
        "not keep is refused",
    ),
    Component("added_tokens", "not special", EXACT, ADDED, "found in texts by the library, with `lstrip`, "
        "`rstrip`, `single_word` and `normalized`; one that is normalized says what the normalizer makes of "
        "it"),
]  # fmt: skip
"""Every type of part that the library has, in the order of the page."""

INSIDE = ("normalizers", "pretokenizers", "decoders", "processors")
"""The keys under which a Sequence has its parts."""

SPACES = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "CharDelimiterSplit", "Metaspace")
"""Pre-tokenizers that may lose or change text between words."""


def flat(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Yield a part of a tokenizer.json, or the parts of a Sequence, in their order."""
    inside = next((part[name] for name in INSIDE if name in part), None) if part else []
    if inside is None:
        yield part
    for one in inside or []:
        yield from flat(one)


def check(content: dict[str, Any]) -> Chain:
    """Check that every part of a tokenizer.json is known here, and return its decoder.

    Raises:
        InputError: a part is refused, has a setting that nothing here reads, or contradicts another one.
    """
    known = {(one.part, one.kind): one for one in COMPONENTS}
    for name in ("normalizer", "pre_tokenizer", "model", "decoder"):
        for part in _all(content.get(name)):
            if not isinstance(part, dict) or not isinstance(part.get("type"), str):
                raise InputError(
                    f"its {name} has a part without a type, as in old files; load and save it with the"
                    " library tokenizers"
                )
            found = known.get((name, part["type"]))
            if found is None:
                raise InputError(f"its {name} has the type {part['type']!r}, which is unknown here")
            if found.what == REFUSED:
                raise InputError(
                    f"its {name} is {part['type']}, which is refused: {found.note}; take a tokenizer"
                    " without it"
                )
            for setting in set(part) - {"type"} - set(found.fields):
                raise InputError(
                    f"its {name} {part['type']} has the setting {setting!r}, which nothing here reads; remove"
                    " it if it has no effect"
                )
    model = content["model"]
    for name in ("dropout", "alpha"):
        if model.get(name):
            raise InputError(
                f"its model has {name} {model[name]}, which draws the tokens of a text at random: set it to"
                " null"
            )
    chain = Chain.of(content.get("decoder"))
    _check_reading(content, chain)
    return chain


def _all(part: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if part is not None:
        yield part
        for name in INSIDE if isinstance(part, dict) else ():
            for one in part.get(name) or []:
                yield from _all(one)


def _check_reading(content: dict[str, Any], chain: Chain) -> None:
    """Raise InputError if the decoder leaves in a text what is only in the names of tokens."""
    model, decoders = content["model"], {step["type"]: step for step in flat(content.get("decoder"))}
    before = [*flat(content.get("normalizer")), *flat(content.get("pre_tokenizer"))]
    if any(part["type"] == "ByteLevel" for part in before) and "ByteLevel" not in decoders:
        raise InputError(
            "its tokens are spelled in bytes, which its decoder does not read: set decoder to ByteLevel"
        )
    marks = {part["replacement"] for part in before if part["type"] == "Metaspace"}
    marks |= {
        part["content"]
        for part in before
        if part["type"] == "Replace" and part["pattern"].get("String") == " " and part["content"]
    }
    for mark in sorted(marks - chain.marks):
        raise InputError(
            f"it writes {mark!r} for a space, which its decoder does not read: set decoder to Metaspace, or"
            " to Replace"
        )
    suffix, prefix = model.get("end_of_word_suffix"), model.get("continuing_subword_prefix")
    if suffix and "ByteLevel" in decoders:
        raise InputError(
            f"its tokens are spelled in bytes and end words with {suffix!r}, as CLIP's, and no decoder reads"
            " both: take another tokenizer"
        )
    if suffix and decoders.get("BPEDecoder", {}).get("suffix") != suffix:
        raise InputError(
            f"its tokens end words with {suffix!r}, which its decoder does not read: set decoder to"
            " BPEDecoder with that suffix"
        )
    if prefix and decoders.get("WordPiece", {}).get("prefix") != prefix:
        raise InputError(
            f"its tokens go on within words with {prefix!r}, which its decoder does not read: set decoder to"
            " WordPiece with that prefix"
        )


def check_ids(content: dict[str, Any], ids: dict[str, int]) -> None:
    """Raise InputError if the library gives an added token another id than the file, or two tokens one id."""
    for token in content.get("added_tokens") or []:
        if ids.get(token["content"]) != token["id"]:
            raise InputError(
                f"its added token {token['content']!r} has the id {token['id']}, and the library gives it"
                f" {ids.get(token['content'])}: ids of added tokens have to follow those of the model without"
                " a gap"
            )
    if len(set(ids.values())) != len(ids):
        seen: dict[int, str] = {}
        for name, number in sorted(ids.items()):
            if number in seen:
                raise InputError(f"its tokens {seen[number]!r} and {name!r} have one id, {number}")
            seen[number] = name


def rows() -> list[str]:
    """Return the rows of the page's table: part, types, what is done, and what there is to know."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for one in COMPONENTS:
        grouped.setdefault((one.part, one.what, one.note), []).append(f"`{one.kind}`" if one.kind else "any")
    return [
        f"| `{part}` | {', '.join(kinds)} | {what} | {note} |"
        for (part, what, note), kinds in grouped.items()
    ]
