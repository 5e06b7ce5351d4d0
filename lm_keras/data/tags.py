"""Tags of spans: IOB1, IOB2, IOBES, BMES, BILOU and IOE are read, IOB2 is kept.

In IOB2 `B-person` begins a span of the type `person`, `I-person` continues it, and `O` is outside of spans.

    scheme          Alex    Smith   met     Li      Ann
    IOB1            I-per   I-per   O       I-per   B-per
    IOB2 (kept)     B-per   I-per   O       B-per   B-per
    IOBES           B-per   E-per   O       S-per   S-per
    BMES            B-per   E-per   O       S-per   S-per
    BILOU           B-per   L-per   O       U-per   U-per
    IOE2            I-per   E-per   O       E-per   E-per

A tag that continues a span where none of its type is open begins one, as in conlleval. `B_per` is read as
`B-per`. Tags may have no type, as those of Chinese words do: `B` and `I` are kept then.

Reference: Ramshaw and Marcus (1995); Tjong Kim Sang and Veenstra (1999), section 2 (IOB1, IOB2); Ratinov and
Roth (2009), section 3.2 (BILOU).
"""

import dataclasses
import re
from collections.abc import Collection, Sequence

OUTSIDE = "O"

_TAG = re.compile(r"([BIMELSU])(?:[-_](.+))?", re.DOTALL)
_TYPED = re.compile(r"[BIMELSU][-_].+", re.DOTALL)
_UNTYPED = frozenset("BIMES")


@dataclasses.dataclass
class Scheme:
    """What the tags of a text tell of their scheme.

    Attributes:
        begun: spans that a tag such as `B-` begins where no other span of the type is open.
        closed: tags that IOB1 and IOB2 do not have.
        continued: tags that continue a span where none of their type is open.
    """

    begun: int = 0
    closed: int = 0
    continued: int = 0

    def name(self) -> str:
        """Return the name of the scheme. In IOB1 and IOE a tag such as `I-` begins spans."""
        if self.closed:
            return "IOBES, BMES or BILOU" if self.begun else "IOE"
        return "IOB1" if self.continued and not self.begun else "IOB2"


def iob2(tags: Sequence[str | None], scheme: Scheme | None = None) -> tuple[list[str | None], list[int]]:
    """Return the tags of a text as IOB2; other tags stay as they are.

    Args:
        tags: of the words of one text.
        scheme: counts what the tags tell of their scheme, if it is given.

    Returns:
        As many tags, and the numbers of the words whose tag continues a span where none of its type is open.

    Example:
        >>> iob2(["I-per", "E-per", "O", "S-per", "I-loc"])
        (['B-per', 'I-per', 'O', 'B-per', 'B-loc'], [0, 4])
    """
    scheme = scheme or Scheme()
    kept: list[str | None] = []
    alone: list[int] = []
    is_open: str | None = None  # Type of the span that may go on.
    for number, tag in enumerate(tags):
        parsed = _TAG.fullmatch(tag) if tag else None
        if not parsed:
            kept.append(tag)
            is_open = None
            continue
        prefix, kind = parsed[1], parsed[2] or ""
        goes_on = prefix in "IMEL" and is_open == kind
        if prefix in "IMEL" and not goes_on:
            alone.append(number)
        scheme.begun += prefix in "BSU" and is_open != kind
        scheme.closed += prefix in "MELSU"
        kept.append(("I" if goes_on else "B") + (f"-{kind}" if kind else ""))
        is_open = None if prefix in "ELSU" else kind
    scheme.continued += len(alone)
    return kept, alone


def are_of_spans(tags: Collection[str]) -> bool:
    """Tell whether the tags of a text are those of spans, and not of single words as parts of speech are.

    Example:
        >>> are_of_spans({"O", "B-per"}), are_of_spans({"B", "M", "E", "S"}), are_of_spans({"NN", "VB"})
        (True, True, False)
    """
    inside = set(tags) - {OUTSIDE}
    typed = {tag for tag in inside if _TYPED.fullmatch(tag)}
    if typed:
        return typed == inside
    return "B" in inside and bool(inside & set("IME")) and inside <= _UNTYPED


def odd_tag(tags: Collection[str]) -> str | None:
    """Return a tag that is none of a span, where others are and some words are outside of spans; or None."""
    inside = set(tags) - {OUTSIDE}
    odd = sorted(tag for tag in inside if not _TYPED.fullmatch(tag))
    return odd[0] if odd and OUTSIDE in tags and len(odd) < len(inside) else None


def with_continuations(names: Collection[str]) -> set[str]:
    """Return the tags of spans with both tags of each type: one may be missing where all spans are short."""
    both = set(names)
    for name in names:
        if name[:1] in "BI" and name != OUTSIDE:
            both |= {f"B{name[1:]}", f"I{name[1:]}"}
    return both
