"""Bytes to text, with a policy for bytes that are not text."""

import codecs
import dataclasses
import re

import numpy as np

from lm_keras.corpora.encodings import LEAST_SAMPLE, advice_on, utf16_of
from lm_keras.errors import InputError, nearest, shown

POLICIES = ("error", "replace", "skip")
OTHER_MARKS = {  # The longer one first: it begins with the shorter one.
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
REPLACEMENT = "\ufffd"
NOT_TEXT = re.compile("[\x00\ud800-\udfff]")  # what a decoded string may hold and no text should
REMEDY = "fix the file, or pass --on_bad_text=replace or --on_bad_text=skip"


def check_policy(on_bad_text: str) -> str:
    """Return `on_bad_text` if it is a policy.

    Raises:
        InputError: the name is unknown.
    """
    if on_bad_text not in POLICIES:
        raise InputError(
            f"unknown on_bad_text {on_bad_text!r}{nearest(on_bad_text, POLICIES)}: expected one of "
            f"{', '.join(POLICIES)}"
        )
    return on_bad_text


@dataclasses.dataclass
class Counts:
    """What reading one file dropped or changed."""

    replaced_sequences: int = 0
    skipped_lines: int = 0
    skipped_documents: int = 0
    empty_documents: int = 0


class TextDecoder:
    r"""Decodes the blocks of one file in turn, as UTF-8 without NUL.

    Bad text is a byte sequence that is not UTF-8, or a NUL. By policy it is an error that names the place,
    one U+FFFD for each, or reason to drop the line. A byte order mark at the start is dropped; that of
    UTF-16 or UTF-32 is always an error, and so is UTF-16 without one. Line ends stay as they are, those of
    Windows too.

    Attributes:
        advice: what the first bad text looked like, and what to do; None where there was none, or that is
            open.

    Example:
        >>> decoder = TextDecoder("a.txt", "replace", Counts())
        >>> decoder.decode(b"\xef\xbb\xbfa\xffb\n"), decoder.decode(b"c\0\n")
        ('a�b\n', 'c�\n')
    """

    def __init__(self, source: str, on_bad_text: str, counts: Counts):
        self.source = source
        self.on_bad_text = on_bad_text
        self.counts = counts
        self.advice: str | None = None
        self._found_bad = False
        self._offset = 0  # bytes before the next block
        self._line = 1  # number of the next block's first line

    def decode(self, block: bytes) -> str:
        """Decode the next block, which must end with a character, best with a line feed.

        Raises:
            InputError: the block has bad text and the policy is `error`, or the file is in UTF-16 or UTF-32.
        """
        kept = self._without_mark(block) if self._offset == 0 else block
        try:
            text = kept.decode("utf-8")
            bad = "\0" in text
        except UnicodeDecodeError:
            bad = True
        if bad:
            text = self._repaired(kept, self._offset + len(block) - len(kept))
        self._offset += len(block)
        self._line += _num_line_feeds(block)
        return text

    def _without_mark(self, block: bytes) -> bytes:
        for mark, name in OTHER_MARKS.items():
            if block.startswith(mark):
                raise InputError(
                    f"{shown(self.source)}: the byte order mark of {name} at its start: expected UTF-8 text; "
                    f"convert it (iconv -f {name} -t UTF-8)"
                )
        return block.removeprefix(codecs.BOM_UTF8)

    def _repaired(self, block: bytes, offset: int) -> str:
        utf16 = utf16_of(block) if offset == 0 else None
        if self.on_bad_text == "error" or (utf16 and len(block) >= LEAST_SAMPLE):
            raise self._error(block, offset, utf16)
        if not self._found_bad:
            self._found_bad = True
            self.advice = advice_on(block)
        if self.on_bad_text == "replace":
            text = block.decode("utf-8", "replace").replace("\0", REPLACEMENT)
            genuine = block.count(REPLACEMENT.encode())  # EF never continues a sequence, so this is exact
            self.counts.replaced_sequences += text.count(REPLACEMENT) - genuine
            return text
        good = []
        for line in re.findall(rb"[^\n]*\n|[^\n]+", block):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text:
                self.counts.skipped_lines += 1
            else:
                good.append(text)
        return "".join(good)

    def _error(self, block: bytes, offset: int, utf16: str | None) -> InputError:
        position = block.find(b"\0")
        what = "a NUL byte"
        try:
            block.decode("utf-8")
        except UnicodeDecodeError as error:
            if position < 0 or error.start < position:
                position = error.start
                what = f"bad UTF-8 (byte 0x{block[position]:02X})"
        line = self._line + block.count(b"\n", 0, position)
        if utf16:
            hint = f"it looks like {utf16}: convert it (iconv -f {utf16} -t UTF-8)"
        else:
            hint = advice_on(block) or REMEDY
        return InputError(
            f"{shown(self.source)}: {what} at byte {offset + position}, line {line}: expected UTF-8 text;"
            f" {hint}"
        )


def _num_line_feeds(block: bytes) -> int:
    if len(block) < 2**12:
        return block.count(b"\n")
    return np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n"))  # Ten times as fast as `count`.


def clean_string(text: str, place: str, on_bad_text: str, counts: Counts) -> str | None:
    r"""Apply the policy to a string that JSON escapes may have given a NUL or a lone surrogate.

    Returns:
        The text, repaired where the policy is `replace`; None if the document is to be skipped.

    Raises:
        InputError: the string is bad and the policy is `error`.
    """
    bad = NOT_TEXT.search(text)
    if not bad:
        return text
    if on_bad_text == "replace":
        text, replaced = NOT_TEXT.subn(REPLACEMENT, text)
        counts.replaced_sequences += replaced
        return text
    if on_bad_text == "skip":
        counts.skipped_documents += 1
        return None
    what = "a NUL" if bad[0] == "\0" else f"a lone surrogate U+{ord(bad[0]):04X}"
    raise InputError(f"{place}: {what} at character {bad.start()} of the text: expected text; {REMEDY}")
