"""Unicode normalization by name, applied to every text before it is encoded."""

import unicodedata

from lm_keras.errors import InputError, nearest

# Name on the command line -> name in the Unicode standard; None leaves the text alone.
FORMS = {"none": None, "nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD"}


def check_form(form: str) -> str:
    """Return `form` if it names a normalization form.

    Raises:
        InputError: the name is unknown.
    """
    if form not in FORMS:
        raise InputError(
            f"unknown normalization {form!r}{nearest(str(form).lower(), list(FORMS))}: expected one of"
            f" {', '.join(FORMS)}"
        )
    return form


def normalize(text: str, form: str) -> str:
    r"""Return `text` in the Unicode normalization form of that name.

    A line feed composes with nothing, so a text may be normalized in pieces that are cut after a line feed.

    Args:
        text: any string.
        form: `none`, `nfc`, `nfd`, `nfkc` or `nfkd`.

    Returns:
        The normalized string; the same string for `none`.

    Raises:
        InputError: the name of the form is unknown.

    Example:
        >>> normalize("e\u0301 \ufb01", "nfc"), normalize("e\u0301 \ufb01", "nfkc")
        ('é ﬁ', 'é fi')

    Reference:
        Unicode Standard Annex 15, "Unicode Normalization Forms".
    """
    standard_name = FORMS[check_form(form)]
    return text if standard_name is None else unicodedata.normalize(standard_name, text)
