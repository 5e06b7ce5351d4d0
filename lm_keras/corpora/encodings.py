"""What bytes are that are not UTF-8: text in another encoding, or no text."""

import re

CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
"""Bytes that no text has, in any encoding of letters in single bytes."""

WESTERN = frozenset(b"\x80\x85\x8a\x8c\x8e\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c\x9e") | frozenset(
    set(range(0xA0, 0xFD))
    - set(b"\xa2\xa4\xa5\xa6\xa8\xac\xad\xaf\xb3\xb5\xb6\xb8\xb9\xc2\xc3\xd0\xd7\xdd\xde\xf0\xf7")
)
"""Bytes that stand for letters, quotes and dashes in West European text in Windows-1252, Latin-1 among it."""

MULTI_BYTE = ("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr")
SINGLE_BYTE = ("windows-1251", "koi8-r")

SAMPLE_BYTES = 2**12
LEAST_SAMPLE = 64
"""Bytes below which nothing is certain."""


def utf16_of(content: bytes) -> str | None:
    """Return `UTF-16LE` or `UTF-16BE` if the beginning of a file is that, without a byte order mark; else
    None.

    Example:
        >>> utf16_of("The cat sees the tree.\n".encode("utf-16-be") * 2)
        'UTF-16BE'
    """
    sample = content[:SAMPLE_BYTES]
    sample = sample[: len(sample) // 2 * 2]
    low, high = sample[::2].count(0), sample[1::2].count(0)
    least = len(sample) // (20 if len(sample) >= LEAST_SAMPLE else 4)
    for name, zeros, others in (("UTF-16LE", high, low), ("UTF-16BE", low, high)):
        if zeros and zeros >= least and others * 8 < zeros:
            text = sample.decode(name, "replace")
            odd = sum(not (letter.isprintable() or letter.isspace()) or letter == "\ufffd" for letter in text)
            if odd * 10 <= len(text):
                return name
    return None


def advice_on(content: bytes) -> str | None:
    r"""Say what bytes look like that are not UTF-8, and what to do; None if that is open.

    Example:
        >>> advice_on(b"caf\xe9 na\xefve \x93quoted\x94\n")
        'it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)'
    """
    text = content.decode("utf-8", "replace")
    bad = text.count("\ufffd") - content.count("\ufffd".encode())
    good = len(re.findall("[\x80-\ufffc\ufffe-\U0010ffff]", text))
    if len(content) >= LEAST_SAMPLE and len(CONTROL.findall(content)) > len(content) // 50:
        return "it looks like a binary file: leave it out of the corpus, or take the text out of it"
    if bad <= 4 * good or not bad:
        return None
    high = [byte for byte in content if byte > 0x7F]
    if all(byte in WESTERN for byte in high) and len(high) * 3 <= len(content):
        return "it looks like Windows-1252: convert it (iconv -f WINDOWS-1252 -t UTF-8)"
    if len(high) < 8:
        return None
    names = [name for name in MULTI_BYTE if _decodes(content, name)]
    if not names and len(high) * 2 > len(content):
        names = list(SINGLE_BYTE)
    such = f", such as {' or '.join(name.upper() for name in names[:2])}" if names else ""
    return f"it looks like text in another encoding{such}: convert it from that (iconv -f ENCODING -t UTF-8)"


def _decodes(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeDecodeError:
        return False
    return True
