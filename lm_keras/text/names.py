"""Names of tokens: as words of a file of vectors, where a space ends a word and a line feed a line; and for
people.
"""

import re
import unicodedata

BLANK = "▁"
"""What stands for a space, as in sentencepiece."""

_SPELLED = re.compile("<U\\+([0-9A-F]{4,6})>|((?:<0x[0-9A-F]{2}>)+)")


def name_of(token: bytes) -> str:
    r"""Return a name without white space that stands for the bytes of a token, and for no others.

    Nearly every word is its own name. A space is `▁`; other white space, control characters, `▁` itself and
    what would read as one of these are spelled, `<U+000A>`, and bytes that are not UTF-8 too, `<0xE2>` each.

    Example:
        >>> [name_of(token) for token in (b"cat", b" the", b"\n", b"\xe2\x96", b"<U+000A>")]
        ['cat', '▁the', '<U+000A>', '<0xE2><0x96>', '<U+003C>U+000A>']
    """
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return _bytes_spelled(token)
    if text.isalnum():
        return text
    return "".join(_character(text, place) for place in range(len(text)))


def _character(text: str, place: int) -> str:
    one = text[place]
    if one == " ":
        return BLANK
    spelled = one == BLANK or one.isspace() or unicodedata.category(one) == "Cc"
    return f"<U+{ord(one):04X}>" if spelled or text.startswith(("<U+", "<0x"), place) else one


def token_of(name: str) -> bytes:
    r"""Return the bytes of the token that a name stands for.

    Example:
        >>> token_of("▁the<U+000A>"), token_of("<0xE2><0x96>")
        (b' the\n', b'\xe2\x96')
    """
    content, end = [], 0
    for found in _SPELLED.finditer(name):
        content.append(_plain(name[end : found.start()]))
        if found[1]:
            content.append(chr(min(int(found[1], 16), 0x10FFFF)).encode("utf-8", "replace"))
        else:
            content.append(bytes.fromhex(found[2].replace("<0x", "").replace(">", "")))
        end = found.end()
    return b"".join([*content, _plain(name[end:])])


def _plain(text: str) -> bytes:
    return text.replace(BLANK, " ").encode("utf-8", "replace")


def printable(token: bytes) -> str:
    r"""Return the bytes of a token as text that can be printed, for tables and pictures.

    Example:
        >>> [printable(token) for token in (b" the", b"\n", b"\xe2\x96")]
        ['␣the', '\\n', '<0xE2><0x96>']
    """
    try:
        text = token.decode("utf-8")
    except UnicodeDecodeError:
        return _bytes_spelled(token)
    named = {" ": "␣", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return "".join(named.get(one) or (one if one.isprintable() else f"<U+{ord(one):04X}>") for one in text)


def _bytes_spelled(token: bytes) -> str:
    return "".join(f"<0x{byte:02X}>" for byte in token)
