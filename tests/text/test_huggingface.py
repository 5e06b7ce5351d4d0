"""Byte-level BPE of GPT-2's kind, learnt by the test; and pieces as sentencepiece spells them."""

import hashlib
import json
import random

import pytest
import tokenizers as library

from lm_keras.errors import InputError
from lm_keras.text import load_tokenizer
from lm_keras.text.byte_level_bpe import of_two_files
from lm_keras.text.chains import byte_alphabet
from lm_keras.text.huggingface import HuggingFaceTokenizer
from lm_keras.text.model_folder import read_folder

TEXT = "".join(f"The {n}th cat's hat -- isn't it? Ünïcödé 猫 {n * 7}\n  and  more\n" for n in range(300))
END = "<|endoftext|>"
STRINGS = [
    "", " ", "\n", "a", "Hello  world\n\n  foo", f"a{END}b", "é€😀\x00\u2028\u00a0", "it's I'll 12 345",
    "\r\n\t x", "猫猫",
]  # fmt: skip


def trained(size=400):
    """A tokenizer of the library, with the end token first."""
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(
        vocab_size=size, special_tokens=[END], initial_alphabet=sorted(alphabet), show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    return made


@pytest.fixture(scope="module")
def made():
    return trained()


@pytest.fixture(scope="module")
def tokenizer(made):
    return HuggingFaceTokenizer(made.to_str().encode(), 0)


def some_text(chance, length=30):
    parts = [
        "\n",
        " ",
        "a",
        "b",
        "the",
        "é",
        "😀",
        "\t",
        "'s",
        "1",
        ".",
        "\r\n",
        "\u00a0",
        "\u2028",
        "猫",
        "--",
    ]
    return "".join(chance.choice(parts) for _ in range(length))


def test_the_alphabet_has_every_byte_once():
    alphabet = byte_alphabet()
    assert sorted(alphabet.values()) == list(range(256)) and len(alphabet) == 256
    assert set(alphabet) == set(library.pre_tokenizers.ByteLevel.alphabet())
    # Spaces and line feeds, as everybody knows them from GPT-2's vocabulary.
    assert (alphabet["Ġ"], alphabet["Ċ"], alphabet["A"]) == (32, 10, 65)


def test_ids_are_those_of_the_library_and_decode_to_the_text(made, tokenizer):
    chance = random.Random(1)
    for text in [*STRINGS, *(some_text(chance) for _ in range(200))]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        if END not in text:
            assert ids == made.encode(text, add_special_tokens=False).ids
    assert tokenizer.lossless and tokenizer.vocab_size == 400
    assert len(tokenizer.encode(TEXT)) < len(TEXT.encode()) / 2
    # The name of a special token is ordinary text, although the library would take it for the token.
    assert 0 not in tokenizer.encode(END) and 0 in made.encode(END).ids


def wrong_pieces(tokenizer, cut):
    """How many of some texts have other tokens when they come in pieces."""
    chance, wrong = random.Random(2), 0
    for _ in range(300):
        text = some_text(chance)
        at = sorted(chance.sample(range(len(text) + 1), 3))
        pieces = [text[a:b] for a, b in zip([0, *at], [*at, len(text)])]
        ids = [token for piece in cut(pieces) for token in tokenizer.encode(piece)]
        wrong += ids != tokenizer.encode(text)
    return wrong


def test_pieces_have_the_tokens_of_the_whole(tokenizer):
    assert wrong_pieces(tokenizer, tokenizer.pieces) == 0
    assert wrong_pieces(tokenizer, lambda pieces: pieces) > 20
    # After any line feed is not good enough: what comes before it may be white space, too.
    assert wrong_pieces(tokenizer, lambda pieces: "".join(pieces).splitlines(keepends=True)) > 20
    assert list(tokenizer.pieces(["one\ntwo\n", " three\nfour"])) == ["one\n", "two\n three\n", "four"]


def test_two_files_make_the_same_tokenizer_as_one(made, tokenizer):
    model = json.loads(made.to_str())["model"]
    merges = "#version: 0.2\n" + "\n".join(" ".join(pair) for pair in model["merges"]) + "\n"
    other = of_two_files(json.dumps(model["vocab"]).encode(), merges.encode(), eod_id=0)
    for text in STRINGS:
        assert other.encode(text) == tokenizer.encode(text)


def test_it_is_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint() == tokenizer.fingerprint() and again.eod_id == 0
    assert again.encode(TEXT[:500]) == tokenizer.encode(TEXT[:500])
    blank = HuggingFaceTokenizer(tokenizer.model, 0).with_mask()
    blank.save(tmp_path / "blank")
    again = load_tokenizer(tmp_path / "blank")
    assert again.fingerprint() == blank.fingerprint() != tokenizer.fingerprint()
    assert again.vocab_size == blank.vocab_size and again.mask_id == blank.mask_id
    (tmp_path / "huggingface.json").write_bytes(tokenizer.model + b" ")
    with pytest.raises(InputError, match=r"huggingface\.json beside it has other content"):
        load_tokenizer(tmp_path)


def test_more_tokens_than_it_names(made):
    larger = HuggingFaceTokenizer(made.to_str().encode(), 0, vocab_size=500)
    assert larger.vocab_size == 500 and larger.decode([450]) == "\ufffd"
    with pytest.raises(InputError, match="the tokenizer has 400 tokens, and the network only 399"):
        HuggingFaceTokenizer(made.to_str().encode(), 0, vocab_size=399)


def test_pieces_of_sentencepiece():
    vocabulary = {
        "<unk>": 0,
        "</s>": 1,
        **{f"<0x{n:02X}>": n + 2 for n in range(256)},
        "\u2581": 258,
        "a": 259,
        "\u2581a": 260,
    }
    made = library.Tokenizer(
        library.models.BPE(vocab=vocabulary, merges=[("\u2581", "a")], byte_fallback=True, unk_token="<unk>")
    )
    made.normalizer = library.normalizers.Replace(" ", "\u2581")
    made.decoder = library.decoders.Sequence(
        [library.decoders.Replace("\u2581", " "), library.decoders.ByteFallback()]
    )
    tokenizer = HuggingFaceTokenizer(made.to_str().encode(), 1)
    assert tokenizer.encode("a aé") == [259, 260, 0xC3 + 2, 0xA9 + 2]
    assert tokenizer.decode(tokenizer.encode("a aé a")) == "a aé a"
    assert (tokenizer.unknown_id, tokenizer.lossless, tokenizer.byte_level) == (0, False, False)
    assert list(tokenizer.pieces(["a\n", "b"])) == ["a\nb"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b'{"version": "1.0", "model": {"type": "Nothing"}}',
        b"[" * 100_000,
        b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
        b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
    ],
    ids=lambda content: content[:20],
)  # fmt: skip
def test_what_is_no_tokenizer_is_refused_in_one_line(content, tmp_path):
    with pytest.raises(InputError, match=r"^damaged or no tokenizer that the library tokenizers reads: .+$"):
        HuggingFaceTokenizer(content, 0)
    settings = {
        "format_version": 1,
        "tokenizer": "huggingface",
        "normalization": "none",
        "eod_id": 0,
        "vocab_size": 5,
    }
    settings["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    (tmp_path / "huggingface.json").write_bytes(content)
    with pytest.raises(InputError, match="is damaged or no tokenizer"):
        load_tokenizer(tmp_path)


def test_the_folder_of_a_model(made, tokenizer, tmp_path):
    assert read_folder(tmp_path, eod_id=0, vocab_size=400) is None
    made.save(str(tmp_path / "tokenizer.json"))
    assert read_folder(tmp_path, eod_id=None, vocab_size=400).eod_id == 0
    assert read_folder(tmp_path, eod_id=7, vocab_size=410).eod_id == 7
    (tmp_path / "tokenizer.json").write_text(made.to_str().replace(END, "<|nothing|>"))
    with pytest.raises(
        InputError, match=r"nothing tells which token ends a document; write eos_token_id into config\.json"
    ):
        read_folder(tmp_path, eod_id=None, vocab_size=400)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(
        InputError, match=rf"{tmp_path}/tokenizer\.json: damaged or no tokenizer that the library"
    ):
        read_folder(tmp_path, eod_id=0, vocab_size=400)
    (tmp_path / "tokenizer.json").unlink()
    model = json.loads(made.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(pair) for pair in model["merges"]))
    assert read_folder(tmp_path, eod_id=None, vocab_size=400).encode(TEXT[:99]) == tokenizer.encode(TEXT[:99])
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("")
    with pytest.raises(InputError, match=r"vocab\.json has none of <\|endoftext\|>, .*; write eos_token_id"):
        read_folder(tmp_path, eod_id=None, vocab_size=400)
    for content in ("[]", "{", "7", '{"a": -1}', "[" * 100_000):
        (tmp_path / "vocab.json").write_text(content)
        with pytest.raises(InputError, match=r"vocab\.json and merges\.txt are damaged"):
            read_folder(tmp_path, eod_id=None, vocab_size=400)
    (tmp_path / "vocab.json").write_text("{}")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b c\n")
    with pytest.raises(InputError, match=r"vocab\.json and merges\.txt are damaged or no byte-level BPE"):
        read_folder(tmp_path, eod_id=0, vocab_size=400)
