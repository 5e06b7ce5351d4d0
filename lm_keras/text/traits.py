"""What follows from the parts of a tokenizer.json: what a tokenizer spells, keeps, and puts before a text."""

from typing import Any

from lm_keras.errors import InputError
from lm_keras.text.chains import ALPHABET, Chain, byte_of
from lm_keras.text.components import flat
from lm_keras.text.library import vocabulary_of


def spells_all(content: dict[str, Any]) -> bool:
    """Tell whether the model has a token for every byte, so that it spells every text."""
    model, vocabulary = content["model"], vocabulary_of(content)
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return False
    if model.get("byte_fallback") and model["type"] in ("BPE", "Unigram"):
        return {byte_of(name) for name in vocabulary} >= set(range(256))
    parts = [*flat(content.get("normalizer")), *flat(content.get("pre_tokenizer"))]
    last = [part["type"] for part in parts if part["type"] not in ("Split", "Digits", "Punctuation")][-1:]
    return (
        last == ["ByteLevel"] and model["type"] in ("BPE", "Unigram") and vocabulary.keys() >= ALPHABET.keys()
    )


def unknown_of(content: dict[str, Any], ids: dict[str, int], chain: Chain, eod_id: int) -> int | None:
    """Return the id of the unknown token of a model that may need one, or None.

    Raises:
        InputError: it is the token that ends documents, too.
    """
    model = content["model"]
    found = model.get("unk_id") if model["type"] == "Unigram" else ids.get(model.get("unk_token"))
    spells = spells_all(content)
    if found is None or (chain.reads == "level" and spells and content.get("normalizer") is None):
        return None
    if found == eod_id:
        if spells:
            return None
        name = next(name for name, number in ids.items() if number == found)
        raise InputError(
            f"its unknown token {name!r} is the one that ends documents, and its vocabulary does not spell"
            " every text: a document would end at what is unknown; give eos_token_id in config.json another"
            " token"
        )
    return found


def is_lossless(content: dict[str, Any], chain: Chain) -> bool:
    """Tell whether the parts prove that every text comes back from its tokens: bytes that nothing changes,
    adds or removes.
    """
    parts = list(flat(content.get("pre_tokenizer")))
    levels = [part for part in parts if part["type"] == "ByteLevel"]
    keeps = all(
        part["type"] in ("ByteLevel", "Digits", "UnicodeScripts", "FixedLength")
        or (part["type"] in ("Split", "Punctuation") and part.get("behavior") != "Removed")
        for part in parts
    )
    return (
        content["model"]["type"] == "BPE"
        and content.get("normalizer") is None
        and keeps
        and len(levels) == 1
        and not levels[0].get("add_prefix_space", True)
        and chain.kinds == ("ByteLevel",)
        and not content["model"].get("byte_fallback")  # Its tokens, <0x41>, are read as names here.
        and spells_all(content)
        and all(_comes_back(token, chain) for token in found_in_texts(content))
    )


def begins_with(content: dict[str, Any]) -> str | None:
    """Return the special token that a post-processor puts before a text, or None."""
    for part in flat(content.get("post_processor")):
        if part["type"] == "TemplateProcessing" and part.get("single"):
            first = part["single"][0].get("SpecialToken") or {}
            return first.get("id")
        if part["type"] in ("BertProcessing", "RobertaProcessing"):
            return part["cls"][0]
    return None


def found_in_texts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the added tokens that the library finds in texts."""
    return [token for token in content.get("added_tokens") or [] if not token["special"]]


def _comes_back(token: dict[str, Any], chain: Chain) -> bool:
    strips = token["lstrip"] or token["rstrip"]
    return not strips and chain.bytes_of(token["content"]) == token["content"].encode("utf-8", "replace")


def cuts_at_lines(content: dict[str, Any]) -> bool:
    """Tell whether a line feed between two characters that are not white space always divides tokens, as in
    GPT-2's.
    """
    parts = list(flat(content.get("pre_tokenizer")))
    added = found_in_texts(content)
    return (
        content.get("normalizer") is None
        and [part["type"] for part in parts] == ["ByteLevel"]
        and parts[0].get("use_regex", True)
        and not parts[0].get("add_prefix_space", True)
        and not any(t["lstrip"] or t["rstrip"] or t["single_word"] or "\n" in t["content"] for t in added)
    )


def prefixes(content: dict[str, Any]) -> bool:
    """Tell whether a tokenizer puts a space before a text."""
    for part in [*flat(content.get("normalizer")), *flat(content.get("pre_tokenizer"))]:
        if part["type"] == "Metaspace":
            found = part.get("prepend_scheme", "always") != "never" and part.get("add_prefix_space", True)
        else:
            found = part["type"] == "Prepend" or (
                part["type"] == "ByteLevel" and part.get("add_prefix_space", False)
            )
        if found:
            return True
    return False


def period_of(content: dict[str, Any]) -> int:
    """Return in steps of how many characters a text may be encoded from: more than 1 where its parts have a
    fixed length.
    """
    period = 1
    for part in flat(content.get("pre_tokenizer")):
        period *= part["length"] if part["type"] == "FixedLength" else 1
    return period
