"""How a tokenizer.json says that tokens become text: its decoder, token by token, as the library carries it
out on all at once.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import tokenizers

from lm_keras.errors import InputError
from lm_keras.text.decoder import Decoder
from lm_keras.text.tokenizer import REPLACEMENT, Tokenizer

CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
    (" do not", " don't"),
    (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip
"""What the clean-up of a WordPiece decoder replaces, within one token."""

Step = Callable[[str, bool, bool], str]
"""A token's text, whether it is the first token, and whether it is the last one -> its text."""


def byte_alphabet() -> dict[str, int]:
    """Return which byte each character of a byte-level vocabulary stands for.

    Printable bytes of Latin-1 stand for themselves, the others for the characters from U+0100 on.

    Reference: Radford et al. (2019), section 2.2, and encoder.py of its code.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + n): b for n, b in enumerate(others)}


ALPHABET = byte_alphabet()


@dataclasses.dataclass(frozen=True)
class Chain:
    """A decoder, taken apart.

    Attributes:
        kinds: the types of its steps, in order.
        steps: what is done to each token by itself.
        reads: how a token's text becomes bytes: `level` (each character is one), `fallback` (`<0x41>` is
            one), `utf-8`.
        after: what is done to the text of all tokens: ("strip", character, most) at its beginning, or
            ("replace", character, text).
        marks: the spaces that tokens have in their names, such as U+2581, and that are read as spaces.
        places: whether a token's text depends on whether it is the first or the last.
        separates: whether spaces come between tokens, and are not part of them.
    """

    kinds: tuple[str, ...]
    steps: tuple[Step, ...]
    reads: str
    after: tuple[tuple[str, str, Any], ...]
    marks: frozenset[str]
    places: bool
    separates: bool

    @classmethod
    def of(cls, decoder: dict[str, Any] | None) -> "Chain":
        """Take a decoder apart.

        Raises:
            InputError: what it does to a token depends on more than that token's place.
        """
        given = list(_flat(decoder))
        kinds = tuple(step["type"] for step in given)
        if not given:
            return cls(kinds, (_joined,), "utf-8", (), frozenset(), True, True)
        steps, after, reads, whole = [], [], "utf-8", False
        for step in given:
            kind = step["type"]
            if kind in _STEPS and reads == "utf-8" and not whole:
                steps.append(_STEPS[kind](step))
            elif kind in _READS and reads == "utf-8" and not whole:
                reads, whole = _READS[kind], kind == "ByteLevel"
            elif kind == "Fuse":
                whole = True
            elif whole and (found := _on_text(step)):
                after.append(found)
            else:
                raise InputError(
                    f"its decoder has {kind} {'at a place ' if kind != 'CTC' else ''}where the text of a"
                    " token cannot be told from that token alone; expected ByteLevel, or Replace, Metaspace,"
                    " WordPiece, BPEDecoder and Strip, then ByteFallback, then Fuse, then Strip at the"
                    " beginning"
                )
        marks = {s["replacement"] for s in given if s["type"] == "Metaspace"}
        marks |= {
            s["pattern"]["String"] for s in given if s["type"] == "Replace" and "String" in s["pattern"]
        }
        places = bool({"Metaspace", "WordPiece", "BPEDecoder"} & set(kinds))
        separates = bool({"WordPiece", "BPEDecoder"} & set(kinds))
        return cls(kinds, tuple(steps), reads, tuple(after), frozenset(marks), places, separates)

    def bytes_of(self, name: str, first: bool = False, last: bool = False) -> bytes:
        """Return the bytes of the token of that name."""
        for step in self.steps:
            name = step(name, first, last)
        if self.reads == "level" and all(character in ALPHABET for character in name):
            return bytes(ALPHABET[character] for character in name)
        if self.reads == "fallback" and (byte := byte_of(name)) is not None:
            return bytes([byte])
        return name.encode("utf-8", "replace")

    def word_of(self, name: str) -> bytes:
        """Return the bytes of a token without the spaces that separate it from others."""
        if not self.separates:
            return self.bytes_of(name)
        return name.encode("utf-8", "replace") if not self.kinds else self.bytes_of(name).strip(b" ")


def byte_of(name: str) -> int | None:
    """Return the byte that the name of a token such as `<0x41>` stands for, or None."""
    if len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
        try:
            return int(name[3:5], 16)
        except ValueError:
            pass
    return None


class ChainDecoder(Decoder):
    """Decodes by a chain, whose steps may treat the first and the last token in their own way.

    Args:
        tokenizer: with `spelled(token, first, last)` for the bytes of its tokens.
        chain: what its decoder does.
        before: the text that the tokens continue.
    """

    def __init__(self, tokenizer: Tokenizer, chain: Chain, before: str):
        super().__init__(tokenizer)
        self._chain, self._first = chain, not before
        self._silent = {tokenizer.eod_id, tokenizer.begin_id}
        goes_on = bool(before) and not before[-1].isspace()
        # What is said if another token comes, and if none comes.
        self._next, self._end = (b" " if goes_on and "BPEDecoder" in chain.kinds else b""), b""
        self._glued = chain.separates and bool(before) and not goes_on
        self._left = [0 if before else most for kind, _, most in chain.after if kind == "strip"]

    def push(self, ids: Iterable[int]) -> str:
        """Take more ids and return the text that is complete by now."""
        said = b"".join(map(self._said, ids))
        return self._after(self._utf8.decode(said))

    def finish(self) -> str:
        """Return what is left."""
        said, self._end, self._next = self._end, b"", b""
        return self._after(self._utf8.decode(said, final=True))

    def _said(self, token: int) -> bytes:
        if token in self._silent:
            self._tokenizer.token_bytes(token)  # raises for an id that does not exist
            return b""
        if not self._chain.places:
            return self._tokenizer.token_bytes(token)
        inner, last = (self._tokenizer.spelled(token, self._first, end) for end in (False, True))
        if self._glued:
            inner, last = inner.removeprefix(b" "), last.removeprefix(b" ")
        count = next((n for n, (a, b) in enumerate(zip(inner, last)) if a != b), min(len(inner), len(last)))
        said = self._next + inner[:count]
        self._next, self._end = inner[count:], last[count:]
        self._first = self._glued = False
        return said

    def _after(self, text: str) -> str:
        strips = 0
        for kind, character, what in self._chain.after:
            if kind == "replace":
                text = text.replace(character, what)
                continue
            while self._left[strips] and text:
                if text[0] != character:
                    self._left[strips] = 0
                else:
                    text, self._left[strips] = text[1:], self._left[strips] - 1
            strips += 1
        return text


def _flat(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for inside in decoder["decoders"]:
            yield from _flat(inside)
    else:
        yield decoder


def _joined(text: str, first: bool, last: bool) -> str:
    """Without a decoder the library puts spaces between tokens."""
    return text if first else f" {text}"


def _replace(step: dict[str, Any]) -> Step:
    pattern, content = step["pattern"], step["content"]
    if pattern.get("String"):
        return lambda text, first, last: text.replace(pattern["String"], content)
    found = tokenizers.Regex(pattern["Regex"]) if "Regex" in pattern else pattern["String"]
    library = tokenizers.decoders.Replace(found, content)
    return lambda text, first, last: library.decode([text])


def _metaspace(step: dict[str, Any]) -> Step:
    mark, scheme = step["replacement"], step.get("prepend_scheme", "always")
    if "prepend_scheme" not in step and step.get("add_prefix_space") is False:
        scheme = "never"
    return lambda text, first, last: text.replace(mark, "" if first and scheme != "never" else " ")


def _wordpiece(step: dict[str, Any]) -> Step:
    def read(text: str, first: bool, last: bool) -> str:
        if not first:
            text = text.replace(step["prefix"], "", 1) if text.startswith(step["prefix"]) else f" {text}"
        for dirty, clean in CLEANED if step["cleanup"] else ():
            text = text.replace(dirty, clean)
        return text

    return read


def _suffix(step: dict[str, Any]) -> Step:
    return lambda text, first, last: text.replace(step["suffix"], "" if last else " ")


def _strip(step: dict[str, Any]) -> Step:
    def read(text: str, first: bool, last: bool) -> str:
        mark, begin, end = step["content"], 0, len(text)
        while begin < min(step["start"], len(text)) and text[begin] == mark:
            begin += 1
        while len(text) - end < step["stop"] and end > 0 and text[end - 1] == mark:
            end -= 1
        return text[begin:end] if begin < end else ""

    return read


_STEPS = {
    "Replace": _replace, "Metaspace": _metaspace, "WordPiece": _wordpiece, "BPEDecoder": _suffix,
    "Strip": _strip,
}  # fmt: skip
_READS = {"ByteLevel": "level", "ByteFallback": "fallback"}


def _on_text(step: dict[str, Any]) -> tuple[str, str, Any] | None:
    """Return a step that can be carried out on a text as it grows, or None."""
    if step["type"] == "Strip" and not step["stop"]:
        return "strip", step["content"], step["start"]
    if step["type"] == "Replace" and len(step["pattern"].get("String", "")) == 1:
        return "replace", step["pattern"]["String"], step["content"]
    return None


def spelling_of(name: str | None, special: bool, chain: Chain) -> bytes:
    """Return the bytes of a token: of a special one its name, of one without a name U+FFFD."""
    if name is None:
        return REPLACEMENT
    if special and chain.reads == "level":
        return name.encode("utf-8", "replace")
    if special and not chain.separates:
        return name.replace("\u2581", " ").encode("utf-8", "replace")
    return chain.word_of(name)
