import json
import os

import pytest

from lm_keras.errors import InputError
from lm_keras.text import CharTokenizer, SentencePieceTokenizer, load_tokenizer, train_tokenizer

TEXTS = ["Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich.\n", "月光 \0\u2581\n"] * 5
SIZES = {"char": None, "byte": None, "word": None, "sentencepiece": 330}


@pytest.fixture(params=list(SIZES))
def tokenizer(request):
    return train_tokenizer(request.param, TEXTS, vocab_size=SIZES[request.param], normalization="nfkc")


def test_saved_and_loaded_is_the_same(tokenizer, tmp_path):
    folder = tmp_path / "deep" / "tokenizer"
    tokenizer.save(folder)
    loaded = load_tokenizer(folder)
    assert type(loaded) is type(tokenizer)
    for name in ("name", "vocab_size", "normalization", "eod_id", "unknown_id", "lossless"):
        assert getattr(loaded, name) == getattr(tokenizer, name)
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert len(loaded.fingerprint()) == 64
    text = "".join(TEXTS) + "neu: ß ﬁ"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.settings(), loaded.warning) == (tokenizer.settings(), tokenizer.warning)
    assert all(loaded.token_bytes(i) == tokenizer.token_bytes(i) for i in range(loaded.vocab_size))


def test_a_blank_is_saved_too(tokenizer, tmp_path):
    made = tokenizer.with_mask()
    made.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for name in ("vocab_size", "mask_id", "reserves_mask"):
        assert getattr(loaded, name) == getattr(made, name)
    assert loaded.fingerprint() == made.fingerprint()
    assert (made.fingerprint() == tokenizer.fingerprint()) == (tokenizer.mask_id is not None)


def test_files_of_old_runs_stay_what_they_are(tmp_path):
    """They know nothing of a blank, and a run that goes on compares fingerprints."""
    old = (
        b'{\n "format_version": 1,\n "tokenizer": "word",\n "normalization": "none",\n "spaced": true,\n'
        b' "words": [\n  "a"\n ]\n}\n'
    )
    (tmp_path / "tokenizer.json").write_bytes(old)
    tokenizer = load_tokenizer(tmp_path)
    assert (tokenizer.vocab_size, tokenizer.mask_id) == (4, None)
    tokenizer.save(tmp_path)
    assert (tmp_path / "tokenizer.json").read_bytes() == old


def test_fingerprint_sees_every_difference():
    settings = [
        ("char", None, "none"),
        ("char", None, "nfc"),
        ("char", 20, "none"),
        ("byte", None, "none"),
        ("byte", None, "nfc"),
        ("word", None, "none"),
        ("word", 9, "none"),
        ("sentencepiece", 330, "none"),
        ("sentencepiece", 331, "none"),
        ("sentencepiece", 330, "nfd"),
    ]
    prints = {
        train_tokenizer(name, TEXTS, vocab_size=size, normalization=form).fingerprint()
        for name, size, form in settings
    }
    assert len(prints) == len(settings)


def test_saving_leaves_no_other_files(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    tokenizer.save(tmp_path)
    expected = ["sentencepiece.model"] * (tokenizer.name == "sentencepiece") + ["tokenizer.json"]
    assert sorted(os.listdir(tmp_path)) == expected


def test_saving_where_it_cannot(tokenizer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError) as caught:
        tokenizer.save(tmp_path / "file")
    assert str(caught.value).startswith(f"cannot write {tmp_path}/file/")
    assert str(caught.value).endswith("choose a folder that can be written")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path / "nowhere")
    assert (
        str(caught.value)
        == f"no file {tmp_path}/nowhere/tokenizer.json: expected a folder that a tokenizer was saved to "
        "(with tokenizer.json in it)"
    )


def test_the_wrong_class(tmp_path):
    CharTokenizer("abc", "none").save(tmp_path)
    with pytest.raises(InputError, match=r"holds a 'char' tokenizer, expected 'sentencepiece'"):
        SentencePieceTokenizer.load(tmp_path)


GOOD = {"format_version": 1, "tokenizer": "char", "normalization": "none", "characters": "abc"}
WORD = {"tokenizer": "word", "words": ["a", "b"], "spaced": True}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        (b"\xff\xfe{}", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "expected a JSON object, found list"),
        ("{}", "the field 'format_version' is missing"),
        ({"format_version": 2}, "format_version is 2, this program reads 1"),
        ({"format_version": True}, "the field 'format_version' should be int, found bool"),
        ({"tokenizer": 5}, "the field 'tokenizer' should be str, found int"),
        (
            {"tokenizer": "chars"},
            (
                "unknown tokenizer 'chars' (did you mean 'char'?) (known are char, byte, word, sentencepiece,"
                " huggingface, wordpiece, sentencepiece-model)"
            ),
        ),
        ({"normalization": "nfx"}, "unknown normalization 'nfx'"),
        ({"normalization": None}, "unknown normalization None"),
        ({"normalization": []}, "unknown normalization []"),
        ({"characters": ["a"]}, "the field 'characters' should be str, found list"),
        ({"characters": ""}, "the field 'characters' is empty"),
        ({"characters": "aab"}, "the field 'characters' is not in ascending order without repeats"),
        ({"characters": "a\ud800"}, "the field 'characters' has a lone surrogate"),
        ({"tokenizer": "word"}, "the field 'words' is missing"),
        ({**WORD, "words": []}, "the field 'words' is empty"),
        ({**WORD, "words": ["a", 5]}, "the field 'words' has an entry that is not a word"),
        ({**WORD, "words": ["a", ""]}, "the field 'words' has an entry that is not a word"),
        ({**WORD, "words": ["a b"]}, "the field 'words' has an entry that is not a word"),
        ({**WORD, "words": ["a\u2028"]}, "the field 'words' has an entry that is not a word"),
        ({**WORD, "words": ["a", "\udc0a"]}, "the field 'words' has a lone surrogate"),
        ({**WORD, "words": ["a", "b", "a"]}, "the field 'words' has <unk>, or a word twice"),
        ({**WORD, "words": ["a", "<unk>"]}, "the field 'words' has <unk>, or a word twice"),
        ({**WORD, "spaced": 1}, "the field 'spaced' should be bool, found int"),
        ({**WORD, "blank": 1}, "the field 'blank' should be bool, found int"),
    ],
)
def test_damaged_settings(content, reason, tmp_path):
    if isinstance(content, dict):
        content = json.dumps({**GOOD, **content})
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path} is damaged or no tokenizer: {reason}")
    assert message.endswith("; restore it from a copy or train the tokenizer again")
    assert "\n" not in message


def test_the_good_settings_are_good(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(GOOD))
    assert load_tokenizer(tmp_path).encode("cab") == [4, 2, 3]
    (tmp_path / "tokenizer.json").write_text(json.dumps({**GOOD, **WORD}))
    assert load_tokenizer(tmp_path).encode("b a c") == [4, 3, 1, 2]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_damaged_model(damage, tmp_path):
    train_tokenizer("sentencepiece", TEXTS, vocab_size=330, normalization="none").save(tmp_path)
    path = tmp_path / "sentencepiece.model"
    content = bytearray(path.read_bytes())
    content[1234] ^= 4
    path.write_bytes(content[:-7] if damage == "cut" else content)
    if damage == "missing":
        path.unlink()
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    if damage == "missing":
        assert str(caught.value).startswith(
            f"no file {path}: expected a folder that a tokenizer was saved to"
        )
    else:
        assert "sentencepiece.model beside it does not have the sha256 noted there" in str(caught.value)


def test_model_of_another_size(tmp_path):
    train_tokenizer("sentencepiece", TEXTS, vocab_size=330, normalization="none").save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace("330", "331"))
    with pytest.raises(InputError, match=r"sentencepiece.model beside it has 330 pieces"):
        load_tokenizer(tmp_path)
