"""Tokenizers: text to ids and back, learnt from any text, saved and loaded"""

import contextlib
import functools
import hashlib
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from fuzz import Law, folder_for_this_process
from fuzz._damage import of_bytes, of_json
from lm_keras.errors import InputError
from lm_keras.text import TOKENIZERS, Tokenizer, load_tokenizer, train_tokenizer
from lm_keras.text.normalization import FORMS

CORPUS = [
    "The quick brown fox doesn't jump.\n\tIt waits  for   the dog; the dog waits too.\r\n" * 3,
    "Über die Straße läuft ein Fuchs, größer als die übrigen Füchse.\n" * 3,
    "床前明月光,疑是地上霜。舉頭望明月,低頭思故鄉。\n" * 3,
]

TROUBLE = [
    "\0", "\n", "\r\n", " ", "  ", "\t", "\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\u3000", "\u200d",
    "\ufeff",
    "\ufffd", "\uffff", "\U0010ffff", "\u2581", " \u2581", "\u2581\n", "\u2585", "\u2585eod", "\u2585newline",
    "<unk>",
    "<eod>", "<s>", "<0x0A>", "<0xE2>", "e\u0301", "o\u0323\u0302", "\u1100\u1161\u11a8", "\ufb01", "\u0345",
    "İ", "👍🏽",
    "\U0001f1e9\U0001f1ea", "The", "dog", "Straße", "明月",
]  # fmt: skip

SCALARS = st.characters(codec="utf-8")
TEXT = st.lists(st.one_of(st.sampled_from(TROUBLE), st.text(SCALARS, max_size=7)), max_size=9).map("".join)
SURROGATES = st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, exclude_categories=())
ANY_TEXT = st.lists(st.one_of(TEXT, SURROGATES), max_size=3).map("".join)


@functools.cache
def tokenizer_of(kind: str, form: str) -> Tokenizer:
    """Return a tokenizer that was learnt from the corpus."""
    name, _, variant = kind.partition(" ")
    model_type, _, more = variant.partition(" ")
    size = {"sentencepiece": 130 if more else 317}.get(name)
    return train_tokenizer(
        name,
        CORPUS,
        vocab_size=size,
        normalization=form,
        model_type=model_type or "bpe",
        byte_fallback=not more,
    )


KINDS = [
    "char",
    "byte",
    "word",
    "sentencepiece bpe",
    "sentencepiece unigram",
    "sentencepiece bpe without-bytes",
]
ONE = st.tuples(st.sampled_from(KINDS), st.sampled_from(list(FORMS)))


def check_round_trip(tokenizer: Tokenizer, text: str) -> None:
    """Text comes back: as it was if the tokenizer claims it, else but for what it marks as unknown."""
    ids = tokenizer.encode_array(text)
    assert (ids.dtype, ids.ndim) == (np.int32, 1)
    assert ((ids >= 0) & (ids < tokenizer.vocab_size) & (ids != tokenizer.eod_id)).all()
    decoded, unknown = tokenizer.decode(ids), tokenizer.count_unknown(text, ids)
    if tokenizer.lossless:
        assert unknown == 0
        assert decoded == tokenizer.normalize(text) == tokenizer.canonical(text)
    elif not unknown:
        assert decoded == tokenizer.canonical(text)
    else:
        assert ("<unk>" if tokenizer.name == "word" else "\ufffd") in decoded
    assert tokenizer.encode(tokenizer.canonical(text)) == ids.tolist()
    decoder = tokenizer.decoder()
    assert "".join(decoder.push([token]) for token in ids) + decoder.finish() == decoded
    prompt = tokenizer.encode_prompt(text)
    assert ids[: len(prompt)].tolist() == prompt


def holds_round_trip(case) -> None:
    one, text = case
    check_round_trip(tokenizer_of(*one), text)


def holds_pieces(case) -> None:
    """A text may be encoded in pieces that end with a line feed."""
    one, pieces = case
    tokenizer, pieces = tokenizer_of(*one), [f"{piece}\n" for piece in pieces]
    assert tokenizer.encode("".join(pieces)) == [
        *itertools.chain.from_iterable(map(tokenizer.encode, pieces))
    ]


def holds_any_string(case) -> None:
    """A string that is no text is refused, every other one is not."""
    one, text = case
    tokenizer = tokenizer_of(*one)
    is_text = not any("\ud800" <= character <= "\udfff" for character in text)
    try:
        ids = tokenizer.encode(text)
    except InputError:
        assert not is_text
        raise
    assert is_text
    tokenizer.decode(ids).encode()  # is text, too


@functools.cache
def folder():
    """A folder for saved tokenizers."""
    return folder_for_this_process()


def saved_and_loaded(tokenizer: Tokenizer) -> Tokenizer:
    """Return what comes back from a folder."""
    tokenizer.save(folder() / "tokenizer")
    loaded = load_tokenizer(folder() / "tokenizer")
    shutil.rmtree(folder() / "tokenizer")
    return loaded


def holds_learnt(case) -> None:
    """Whatever a tokenizer is learnt from, it keeps the laws, and is the same after it was saved."""
    (name, form, model_type, byte_fallback), size, texts, other = case
    settings = {"normalization": form, "model_type": model_type, "byte_fallback": byte_fallback}
    tokenizer = train_tokenizer(name, texts, vocab_size=size, **settings)
    assert size is None or (tokenizer.vocab_size <= size if name == "word" else tokenizer.vocab_size == size)
    again = train_tokenizer(name, texts, vocab_size=size, **settings)
    loaded = saved_and_loaded(tokenizer)
    assert type(loaded) is type(tokenizer)
    assert loaded.fingerprint() == tokenizer.fingerprint() == again.fingerprint()
    assert loaded.settings() == tokenizer.settings()
    for text in texts:
        check_round_trip(loaded, text)
        assert loaded.encode(text) == tokenizer.encode(text)
        if size is None and name in ("char", "word"):
            assert loaded.count_unknown(text, loaded.encode_array(text)) == 0
    check_round_trip(loaded, other)


def holds_forged(case) -> None:
    """A saved tokenizer in which somebody wrote something else is refused, or is a tokenizer all the same."""
    one, damages = case
    place = folder() / "forged"
    tokenizer_of(*one).save(place)
    try:
        for damage in damages:
            damage.do(place)
        _sign(place)
        check_round_trip(load_tokenizer(place), CORPUS[0])
    finally:
        shutil.rmtree(place)


def _sign(place: Path) -> None:
    """Write the sum of a model where a tokenizer has it, if that still can be read."""
    path, model = place / "tokenizer.json", place / "sentencepiece.model"
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        if model.exists():
            settings = json.loads(path.read_bytes())
            settings["model_sha256"] = hashlib.sha256(model.read_bytes()).hexdigest()
            path.write_text(json.dumps(settings))


FORGED = st.tuples(ONE, st.lists(st.one_of(of_bytes(), of_json()), min_size=1, max_size=3))


def sizes(name: str, byte_fallback: bool) -> st.SearchStrategy:
    """Sizes of a vocabulary, most of them possible."""
    if name != "sentencepiece":
        return st.one_of(st.none(), st.none(), st.integers(1, 40))
    least = 259 if byte_fallback else 4
    return st.one_of(
        st.integers(least, least + 20),
        st.integers(least, least + 60),
        st.sampled_from([None, 1, 2**31 - 1, 2**40]),
    )


FEW_LETTERS = st.lists(st.text("abc é明\n", min_size=5, max_size=30), min_size=1, max_size=6)

LEARNT = st.tuples(
    st.sampled_from(list(TOKENIZERS)),
    st.sampled_from(list(FORMS)),
    st.sampled_from(["bpe", "unigram"]),
    st.booleans(),
).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        sizes(kind[0], kind[3]),
        st.one_of(FEW_LETTERS, st.lists(TEXT, min_size=1, max_size=6)),
        TEXT,
    )
)

LAWS = [
    Law("text comes back from its tokens", "a tokenizer of every kind, a normalization, a text",
        st.tuples(ONE, TEXT), holds_round_trip, 60, 3000, False),
    Law("a text is the sum of its lines", "the same, and up to five texts", st.tuples(ONE, st.lists(TEXT,
        max_size=5)), holds_pieces, 30, 1000, False),
    Law("what is no text is refused", "a string, lone surrogates included", st.tuples(ONE, ANY_TEXT),
        holds_any_string, 30, 1000),
    Law("a tokenizer learnt from anything keeps the laws, saved and loaded", "kind, settings, up to six "
        "texts to learn from, another text", LEARNT, holds_learnt, 40, 1500),
    Law("a forged tokenizer is refused or is one", "a saved tokenizer, up to three damages to its files, "
        "signed anew", FORGED, holds_forged, 40, 1000),
]  # fmt: skip
