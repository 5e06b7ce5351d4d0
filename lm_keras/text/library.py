"""The library `tokenizers`: its tokenizers read from a tokenizer.json, and the two changed copies that are
needed of them.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

import tokenizers

from lm_keras.errors import InputError

LOST = "\ufdd1lost"
"""The name of a token that stands for what a model drops. U+FDD1 is not a character of any text."""


def read(model: bytes) -> tokenizers.Tokenizer:
    """Return the tokenizer of a tokenizer.json that encodes whole texts and takes special tokens' names for
    ordinary text.

    Raises:
        InputError: the library cannot read it.
    """
    _check_prefixes(model)
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(model)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        return tokenizer
    except BaseException as error:  # The library's own panics are not Exceptions.
        raise refused(error, "damaged or no tokenizer that the library tokenizers reads: ") from None


def _check_prefixes(model: bytes) -> None:
    """Raise InputError for merges without the prefix that a BPE cuts off there: the library would end the
    whole process.
    """
    if not re.search(rb'"continuing_subword_prefix"\s*:\s*"[^"]', model):
        return
    try:
        content = json.loads(model)
        prefix = content["model"]["continuing_subword_prefix"]
        wrong = next((b for _, b in merges_of(content) if not b.startswith(prefix)), None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # The library says what it is.
    if wrong is not None:
        raise InputError(
            f"damaged or no tokenizer: it merges {wrong!r}, which does not begin with its"
            f" continuing_subword_prefix {prefix!r}"
        )


def content_of(model: bytes, tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    """Return the parts of a tokenizer.json that the library has read, every part with its type."""
    content = json.loads(model)
    typed = isinstance(content.get("model"), dict) and "type" in content["model"]
    return content if typed else json.loads(tokenizer.to_str())  # The library guesses a type that is missing.


def with_special(model: bytes, names: Sequence[str | None], added: Sequence[str]) -> bytes:
    """Return a tokenizer.json with more special tokens.

    Args:
        model: the tokenizer.json.
        names: of the tokens by id, before the new ones; None where the network has a token and the tokenizer
            has none.
        added: names of the new ones.
    """
    tokenizer = tokenizers.Tokenizer.from_buffer(model)
    fillers = [f"<unused{number}>" for number, name in enumerate(names) if name is None]
    tokenizer.add_special_tokens([*fillers, *added])
    return tokenizer.to_str().encode()


def refused(error: BaseException, what: str) -> InputError:
    """Return the error for what the library could not do. Keyboard interrupts and exits are raised again."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
        raise error
    line = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{what}{line}")


def vocabulary_of(content: dict[str, Any]) -> dict[str, int]:
    """Return the ids of a model's own tokens by name; added tokens are not among them."""
    there = content["model"].get("vocab") or {}
    return there if isinstance(there, dict) else {name: number for number, (name, _) in enumerate(there)}


def merges_of(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the pairs that a BPE merges; older files have them as one string with a space."""
    merges = content["model"].get("merges") or []
    return [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]


def without_names(content: dict[str, Any], names: set[str]) -> bytes | None:
    """Return a tokenizer.json whose model cannot make these tokens, or None if it cannot anyway.

    The library keeps special tokens' names out of a text's tokens only where it looks for added tokens. The
    model has them in its vocabulary all the same, and would find them: Unigram as a piece, WordLevel as a
    word.

    Example: a Unigram model with the piece `</s>` encodes the text "a</s>" to `a`, `<`, `/`, `s`, `>`, as
    sentencepiece does.
    """
    model, vocabulary = content["model"], vocabulary_of(content)
    names, matched = names & set(vocabulary), _matched(content, names)
    if model["type"] == "BPE":
        made = {
            a + b.removeprefix(model.get("continuing_subword_prefix") or "") for a, b in merges_of(content)
        }
        whole = bool(model.get("ignore_merges"))
        names = {name for name in names if whole or name in made or len(name) == 1}
    if not names and not matched:
        return None
    changed = renamed(model, {name: f"\ufdd0{vocabulary[name]}" for name in names})
    added = [
        {**token, "special": token["special"] or token["content"] in matched}
        for token in content.get("added_tokens") or []
        if token["content"] not in names
    ]
    return json.dumps({**content, "model": changed, "added_tokens": added}).encode()


def renamed(model: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return a model some of whose tokens have other names, so that no text is merged to them.

    Args:
        model: of a tokenizer.json.
        names: the new names by the old ones, which are those of tokens of the model.
    """
    if isinstance(model["vocab"], dict):
        vocab = {names.get(name, name): number for name, number in model["vocab"].items()}
    else:
        vocab = [[names.get(name, name), score] for name, score in model["vocab"]]
    changed = {**model, "vocab": vocab}
    if model.get("unk_token") in names:
        changed["unk_token"] = names[model["unk_token"]]
    if model["type"] == "BPE":
        prefix = model.get("continuing_subword_prefix") or ""
        changed["merges"] = [
            [a, b]
            for a, b in merges_of({"model": model})
            if a not in names and b not in names and a + b.removeprefix(prefix) not in names
        ]
    return changed


def _matched(content: dict[str, Any], names: set[str]) -> set[str]:
    """Return those of some names that the library would find in a text as added tokens."""
    return {
        token["content"]
        for token in content.get("added_tokens") or []
        if token["content"] in names and not token["special"]
    }


def counting_lost(content: dict[str, Any]) -> tuple[tokenizers.Tokenizer, int]:
    """Return a tokenizer that has a token for each character that the model of `content`, a BPE, drops, and
    that token's id.
    """
    model = content["model"]
    number = max(model["vocab"].values(), default=-1) + 1
    changed = {**model, "vocab": {**model["vocab"], LOST: number}, "unk_token": LOST, "fuse_unk": False}
    return read(json.dumps({**content, "model": changed}).encode()), number
