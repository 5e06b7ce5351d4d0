"""BERT's tokens: beside a plain reading of the published procedure, and beside `transformers`."""

import importlib.util
import json
import random
import unicodedata

import pytest
import tokenizers as library

from lm_keras.errors import InputError
from lm_keras.text import load_tokenizer
from lm_keras.text.model_folder import read_folder
from lm_keras.text.tokenizer import REPLACEMENT
from lm_keras.text.wordpiece import WordPieceTokenizer
from lm_keras.training.initial_embedding import names_of

LETTERS = [*"abcdefghijklmnopqrstuvwxyzßøé0123456789"]
WORDS = ["the", "un", "##aff", "##able", "caf", "resume", "hello", "don", "猫", "好", "..."]
PUNCTUATION = [*"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "«", "—", "¿", "。"]
LOWER = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *PUNCTUATION, *LETTERS]
LOWER += [f"##{letter}" for letter in LETTERS]
CASED = [*LOWER, *"ABCÄÉ", "##A", "Caf", "##É"]
TEXTS = [
    "", " ", "\n", "Unaffable!", "Hello,  world\tDON'T", "Café résumé RÉSUMÉ", "naïve \u0301e e\u0301",
    "猫好 a猫b", "x" * 100, "x" * 101,
    "a\x00b\ufffdc\u200bd", "a\u00a0b\u2028c\rd", "[MASK] [SEP] [UNK]", "Straße İstanbul ǅ", "😀 a😀",
    "$5.00 <x> ~", "«¿que?»—。", "ﬁ",
]  # fmt: skip


def file_of(names):
    return ("\n".join(names) + "\n").encode()


@pytest.fixture(params=[True, False], ids=["uncased", "cased"])
def lowercase(request):
    return request.param


@pytest.fixture
def tokenizer(lowercase):
    return WordPieceTokenizer.of_vocabulary(file_of(LOWER if lowercase else CASED))


def as_published(text, names, lowercase):
    """Devlin et al.'s procedure, step by step."""
    text = "".join(
        " " if c in "\t\n\r" or unicodedata.category(c) == "Zs" else c
        for c in text
        if not (
            c in "\x00\ufffd" or (unicodedata.category(c) in ("Cc", "Cf", "Co", "Cn") and c not in "\t\n\r")
        )
    )
    text = "".join(f" {c} " if 0x4E00 <= ord(c) <= 0x9FFF else c for c in text)
    if lowercase:
        text = "".join(
            c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn"
        ).lower()
    words = []
    for word in text.split():
        current = ""
        for c in word:
            if c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~" or unicodedata.category(c).startswith("P"):
                words += [current, c]
                current = ""
            else:
                current += c
        words.append(current)
    ids = []
    for word in filter(None, words):
        pieces, begin = [], 0
        while begin < len(word) <= 100:
            for end in range(len(word), begin, -1):
                piece = ("##" if begin else "") + word[begin:end]
                if piece in names:
                    break
            else:
                pieces = None
                break
            pieces.append(names.index(piece))
            begin = end
        ids += pieces if pieces else [names.index("[UNK]")]
    return ids


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_the_published_procedure(text, tokenizer, lowercase):
    assert tokenizer.encode(text) == as_published(text, LOWER if lowercase else CASED, lowercase)


def test_random_texts(tokenizer, lowercase):
    chance, names = random.Random(5), LOWER if lowercase else CASED
    parts = [
        *"aABcé ÄÉx.,'[]猫-\n\t",
        "the",
        "un",
        "aff",
        "able",
        "Caf",
        "\u0301",
        "ß",
        "😀",
        "  ",
        "#",
        "##s",
    ]
    for _ in range(300):
        text = "".join(chance.choices(parts, k=12))
        assert tokenizer.encode(text) == as_published(text, names, lowercase), repr(text)


@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="transformers is not installed")
def test_random_texts_as_transformers_reads_them(tokenizer, lowercase, tmp_path):
    import transformers

    path = tmp_path / "vocab.txt"
    path.write_bytes(file_of(LOWER if lowercase else CASED))
    theirs = transformers.BertTokenizer(str(path), do_lower_case=lowercase)
    chance = random.Random(6)
    for _ in range(300):
        text = "".join(
            chance.choices([*"aABcé ÄÉx.,'猫-\n\t", "the", "un", "able", "\u0301", "ß", "😀", "##s"], k=12)
        )
        assert tokenizer.encode(text) == theirs.encode(text, add_special_tokens=False), repr(text)


def test_special_tokens(tokenizer):
    assert (tokenizer.unknown_id, tokenizer.begin_id, tokenizer.eod_id, tokenizer.mask_id) == (2, 3, 4, 5)
    assert tokenizer.special_ids == {0, 2, 3, 4, 5}
    assert tokenizer.with_mask() is tokenizer and not tokenizer.lossless
    assert tokenizer.count_unknown("\u2603", tokenizer.encode_array("\u2603")) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The  unaffable cat's resumes, here.", "the unaffable cat's resumes, here."),
        ("well-known (as I said) 50%!", "well-known (as i said) 50%!"),
        ("one\ntwo", "one two"),
    ],
)
def test_what_tokens_say(text, said):
    tokenizer = WordPieceTokenizer.of_vocabulary(file_of(LOWER))
    assert tokenizer.canonical(text) == said
    ids = tokenizer.encode(text)
    decoder = tokenizer.decoder()
    assert "".join(decoder.push([token]) for token in ids) + decoder.finish() == said
    assert tokenizer.encode(said) == ids


def test_an_added_token_says_what_the_library_says_for_it():
    theirs = library.Tokenizer.from_str(WordPieceTokenizer.of_vocabulary(file_of(LOWER)).model.decode())
    theirs.add_tokens([library.AddedToken("E-Mail", normalized=True)])
    tokenizer = WordPieceTokenizer(theirs.to_str().encode(), 4)
    ids = tokenizer.encode("The E-MAIL")
    assert tokenizer.decode(ids) == theirs.decode(ids) == "the e-mail"


def test_a_text_goes_on_behind_a_word_or_a_blank():
    tokenizer = WordPieceTokenizer.of_vocabulary(file_of(LOWER))
    ids = tokenizer.encode("hello")
    for before, said in (("the", " hello"), ("the ", "hello"), ("", "hello"), ("(", "hello")):
        assert tokenizer.decoder(before).push(ids) == said


def test_what_is_unknown_stays_unknown_in_a_store(tmp_path):
    """The text that its tokens say has lost it already."""
    from lm_keras.corpora import make_splits, open_corpus
    from lm_keras.data.store import tokenized

    (tmp_path / "text.txt").write_text("hello \u2603 hello.\n" * 20)
    split = make_splits(
        open_corpus(f"text:{tmp_path}/text.txt", text_field="text", on_bad_text="error"),
        fractions=(100, 0, 0),
    )["train"]
    tokenizer = WordPieceTokenizer.of_vocabulary(file_of(LOWER))
    store = tokenized(split, tokenizer, tmp_path / "cache", lambda line: None, "text")
    assert store.counts.unknown == 20 and (store.tokens == tokenizer.unknown_id).sum() == 20


def test_a_reserved_blank_is_a_word():
    """Of a vocabulary without [MASK]."""
    tokenizer = WordPieceTokenizer.of_vocabulary(
        file_of(name for name in LOWER if name != "[MASK]")
    ).with_mask()
    assert tokenizer.reserves_mask and tokenizer.begins_word(tokenizer.mask_id)
    assert tokenizer.decode([tokenizer.mask_id]) == "\ufffd"


def test_words_begin_where_no_piece_goes_on():
    tokenizer = WordPieceTokenizer.of_vocabulary(file_of(LOWER))
    ids = tokenizer.encode("unaffable, 猫好")
    assert [tokenizer.begins_word(token) for token in ids] == [True, False, False, True, True, True]


def test_spellings_tell_pieces_apart():
    tokenizer = WordPieceTokenizer.of_vocabulary(file_of([*LOWER, "so", "##so"]))
    names = [tokenizer.spelling(token) for token in range(tokenizer.vocab_size)]
    assert names[-2:] == [b"so", b"##so"] and tokenizer.token_bytes(tokenizer.vocab_size - 1) == b"so"
    told = [name for name in names if name and name != REPLACEMENT]
    assert len(set(told)) == len(told)
    assert names_of(tokenizer)[b"##so"] == [(0, tokenizer.vocab_size - 1)]


def test_it_is_saved_and_read_again(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again) is WordPieceTokenizer and again.fingerprint() == tokenizer.fingerprint()
    for text in TEXTS:
        assert again.encode(text) == tokenizer.encode(text)
        assert again.canonical(text) == tokenizer.canonical(text)
    assert (again.begin_id, again.eod_id, again.mask_id, again.special_ids) == (3, 4, 5, {0, 2, 3, 4, 5})


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (None, True),
        ({}, True),
        ({"do_lower_case": False}, False),
        ({"do_lower_case": True}, True),
        ({"do_lower_case": None}, True),
    ],
)
def test_case_is_told_by_the_settings_else_by_the_vocabulary(settings, found, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(file_of(LOWER))
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = read_folder(tmp_path, eod_id=None, vocab_size=len(LOWER))
    assert (tokenizer.encode("THE") == tokenizer.encode("the")) is found


def test_accents_and_chinese_characters_by_the_settings(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(file_of([*LOWER, "猫好"]))
    settings = {"strip_accents": False, "tokenize_chinese_chars": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = read_folder(tmp_path, eod_id=None, vocab_size=None)
    assert tokenizer.encode("É") == [LOWER.index("é")] and tokenizer.encode("猫好") == [len(LOWER)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            file_of([*LOWER, "the"]),
            f"the token 'the' twice, in the lines {LOWER.index('the') + 1} and {len(LOWER) + 1}",
        ),
        (file_of(name for name in LOWER if name != "[SEP]"), "vocab.txt has no [SEP]"),
        (file_of(name for name in LOWER if name != "[UNK]"), "vocab.txt has no [UNK]"),
        (b"", "vocab.txt has no [UNK]"),
        (b"the\n\xff\n", "vocab.txt is not UTF-8 (invalid start byte at byte 4)"),
    ],
    ids=["twice", "no end", "no unknown", "empty", "bytes"],
)
def test_a_bad_vocabulary_is_refused_in_one_line(content, message):
    with pytest.raises(InputError) as caught:
        WordPieceTokenizer.of_vocabulary(content)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ['{"do_lower_case": 3}', "[", "[]", "\udcff"])
def test_bad_settings_are_refused_in_one_line(content, tmp_path):
    (tmp_path / "vocab.txt").write_bytes(file_of(LOWER))
    (tmp_path / "tokenizer_config.json").write_text(content, errors="surrogateescape")
    with pytest.raises(InputError) as caught:
        read_folder(tmp_path, eod_id=None, vocab_size=None)
    assert "tokenizer_config.json" in str(caught.value) and "\n" not in str(caught.value)
