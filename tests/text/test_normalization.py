import pytest

from lm_keras.errors import InputError
from lm_keras.text import FORMS, normalize


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("none", "e\u0301 \ufb01 \u00c5"),
        ("nfc", "\u00e9 \ufb01 \u00c5"),
        ("nfd", "e\u0301 \ufb01 A\u030a"),
        ("nfkc", "\u00e9 fi \u00c5"),
        ("nfkd", "e\u0301 fi A\u030a"),
    ],
)
def test_forms(form, expected):
    assert normalize("e\u0301 \ufb01 \u00c5", form) == expected


@pytest.mark.parametrize("form", list(FORMS))
def test_pieces_cut_after_a_line_feed_normalize_alone(form):
    first, second = "Ko\u0308ln e\n", "\u0301\u0323 \u1100\u1161\u11a8"
    assert normalize(first + second, form) == normalize(first, form) + normalize(second, form)


def test_unknown_form_names_the_nearest():
    with pytest.raises(InputError) as caught:
        normalize("a", "Nfkcc")
    assert str(caught.value) == (
        "unknown normalization 'Nfkcc' (did you mean 'nfkc'?): expected one of none, nfc, nfd, nfkc, nfkd"
    )
