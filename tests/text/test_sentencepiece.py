import random
import re

import pytest

from lm_keras.errors import InputError
from lm_keras.text import SentencePieceTokenizer, train_tokenizer
from lm_keras.text import sentencepiece as module
from lm_keras.text import sentencepiece_training as training

LINES = ["low lower lowest\n", "new newer newest\n", "wide wider widest 月光\n"]


def train(texts=LINES * 9, vocab_size=290, **settings):
    return train_tokenizer("sentencepiece", texts, vocab_size=vocab_size, normalization="none", **settings)


def test_layout_of_the_ids():
    tokenizer = train()
    assert tokenizer.vocab_size == 290
    assert [tokenizer.label(i) for i in (0, 2, 3, 258)] == ["<eod>", "\\n", "<U+0000>", "<0xFF>"]
    assert tokenizer.encode("\n") == [2]
    assert tokenizer.token_bytes(2) == b"\n"
    assert [tokenizer.token_bytes(i) for i in (3, 258)] == [b"\0", b"\xff"]


def test_docstring_example():
    tokenizer = train_tokenizer(
        "sentencepiece", ["low lower lowest\n"] * 9, vocab_size=270, normalization="none"
    )
    assert [tokenizer.label(i) for i in tokenizer.encode("low\n")] == ["low", "\\n"]


def test_no_piece_crosses_a_line_feed_and_spaces_are_kept():
    tokenizer = train()
    pieces = [tokenizer.token_bytes(i) for i in tokenizer.encode("  low\n wide\n\n")]
    assert b"".join(pieces) == b"  low\n wide\n\n"
    assert pieces.count(b"\n") == 3


def test_the_space_mark_is_spelled_in_bytes():
    tokenizer = train()
    assert tokenizer.encode("\u2581") == [3 + 0xE2, 3 + 0x96, 3 + 0x81]
    assert tokenizer.encode("\u2581") != tokenizer.encode(" ")


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_a_space_where_the_training_text_had_none(model_type):
    tokenizer = train(["abab\nbaba\n"] * 9, 263, model_type=model_type)
    assert [tokenizer.token_bytes(token) for token in tokenizer.encode("  \n ")] == [b" ", b" ", b"\n", b" "]
    assert tokenizer.decode(tokenizer.encode(" ab \u2581 b")) == " ab \u2581 b"


def test_without_byte_fallback_the_unknown_token():
    tokenizer = train(vocab_size=60, byte_fallback=False)
    assert not tokenizer.lossless
    assert tokenizer.unknown_id == 1
    assert tokenizer.encode("\u2581\n") == [1, 2]
    assert tokenizer.decode(tokenizer.encode("low Ж\u2581\n")) == "low \ufffd\ufffd\n"
    assert tokenizer.decode(tokenizer.encode("".join(LINES))) == "".join(LINES)


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_training_is_deterministic_and_takes_pieces_or_the_whole(model_type):
    texts = [f"{word} {number}\n" for number in range(211) for word in ("low", "newer", "widest")]
    first = train(texts, 320, model_type=model_type)
    second = train(["".join(texts)], 320, model_type=model_type)
    assert first.fingerprint() == second.fingerprint()
    assert train(texts, 319, model_type=model_type).fingerprint() != first.fingerprint()


def test_the_trainer_is_silent(capfd):
    train()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "text",
    ["a\0b \u2585 \u2581\n", "<unk> <s> <0x0A> <0xFF>\n", "\u2585eod\u2585newline\n", "tab\ttab\n", "\r\n"],
)
def test_text_that_the_trainer_reserves(text):
    tokenizer = train([*LINES * 9, *[text] * 200])
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not {0, 1} & set(tokenizer.encode(text))


def test_long_lines_are_learned_from(monkeypatch):
    monkeypatch.setattr(training, "MAX_LINE_CHARACTERS", 53)
    tokenizer = train(["abracadabra " * 400], 280)
    assert b" abracadabra" in [tokenizer.token_bytes(i) for i in range(280)]


def test_a_huge_corpus_is_thinned_evenly():
    lines = [f"{number:05d}" for number in range(173)]
    assert training._thinned(lines, 100) == lines[::16]


@pytest.mark.parametrize("asked", [50_021, 2**31 - 1])
@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_too_large_a_vocabulary_names_the_largest(model_type, asked):
    with pytest.raises(InputError) as caught:
        train(vocab_size=asked, model_type=model_type)
    found = re.fullmatch(
        rf"vocab_size is {asked}, but this corpus allows at most (\d+) pieces: "
        r"set vocab_size to \1 or less, or use a larger corpus",
        str(caught.value),
    )
    largest = int(found[1])
    assert train(vocab_size=largest, model_type=model_type).vocab_size == largest


def test_too_small_a_vocabulary_names_the_smallest():
    with pytest.raises(InputError) as caught:
        train(vocab_size=100)
    found = re.match(
        r"vocab_size is 100, but the 256 bytes, the special tokens and the characters of this corpus need"
        r" (\d+): "
        r"set vocab_size to \1 or more",
        str(caught.value),
    )
    assert train(vocab_size=int(found[1])).vocab_size == int(found[1])


@pytest.mark.parametrize("size", [0, -7, 10**12])
def test_senseless_sizes(size):
    with pytest.raises(InputError) as caught:
        train(vocab_size=size)
    assert str(caught.value) == f"vocab_size is {size}: expected a number of pieces above 0, such as 8000"


@pytest.mark.parametrize("texts", [[], [""], ["\n\n", "\n"], ["\0\u2581"]])
def test_nothing_to_train_on(texts):
    with pytest.raises(InputError, match="no text to train a tokenizer on: expected a corpus"):
        train(texts)


def test_wrong_settings():
    with pytest.raises(
        InputError, match=r"unknown model_type 'unigramm' .did you mean 'unigram'..: expected bpe or"
    ):
        train(model_type="unigramm")
    with pytest.raises(InputError, match=r"character_coverage is 1.5: expected 0.98 to 1"):
        train(character_coverage=1.5)
    with pytest.raises(InputError, match="the sentencepiece tokenizer needs a vocab_size, for instance 8000"):
        train_tokenizer("sentencepiece", LINES, vocab_size=None, normalization="none")
    with pytest.raises(InputError) as caught:
        train_tokenizer("sentencpiece", LINES, vocab_size=300, normalization="none")
    assert (
        str(caught.value)
        == "unknown tokenizer 'sentencpiece' (did you mean 'sentencepiece'?): expected one of char, byte,"
        " word, sentencepiece, or a folder with a saved tokenizer or a model's"
    )


def test_an_error_of_the_corpus_passes_through():
    def texts():
        yield LINES[0]
        raise InputError("data/a.txt is empty")

    with pytest.raises(InputError, match=r"^data/a.txt is empty$"):
        train(texts())


def test_models_that_were_not_trained_here():
    with pytest.raises(InputError, match="not a sentencepiece model: "):
        SentencePieceTokenizer(b"nonsense", "none")
    with pytest.raises(InputError, match="not a sentencepiece model: "):
        SentencePieceTokenizer(b"", "none")


WORDS = ["the", "cats", "sees", "trees", " ", "   ", "x", "é", "\t"]


FORGED = {
    "a prefix": lambda proto: setattr(proto.normalizer_spec, "add_dummy_prefix", True),
    "other white space": lambda proto: setattr(proto.normalizer_spec, "remove_extra_whitespaces", True),
    "no space marks": lambda proto: setattr(proto.normalizer_spec, "escape_whitespaces", False),
    "rules on the way back": lambda proto: setattr(proto.denormalizer_spec, "name", "identity"),
    "spaces at the end": lambda proto: setattr(proto.trainer_spec, "treat_whitespace_as_suffix", True),
    "a model of words": lambda proto: setattr(proto.trainer_spec, "model_type", proto.trainer_spec.WORD),
    "a piece that comes first": lambda proto: setattr(proto.pieces[270], "type",
        proto.SentencePiece.USER_DEFINED),
    "a newline that is none": lambda proto: setattr(proto.pieces[2], "piece", "x"),
    "bytes in another order": lambda proto: proto.pieces.insert(3, proto.pieces.pop(4)),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_model_that_would_change_a_text(what):
    proto = module.sentencepiece_model_pb2.ModelProto.FromString(train()._model)
    SentencePieceTokenizer(proto.SerializeToString(), "none")
    FORGED[what](proto)
    with pytest.raises(InputError, match="this sentencepiece model was not trained here: expected ids 0 end"):
        SentencePieceTokenizer(proto.SerializeToString(), "none")


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
def test_a_long_line_is_cut_where_no_token_changes(monkeypatch, model_type):
    pick = random.Random(7).choice
    text = "\n".join("".join(pick(WORDS) + pick(["", " "]) for _ in range(30)) for _ in range(200))
    tokenizer = train([text], 300, model_type=model_type)
    lines = text.split("\n")
    whole = [tokenizer.encode(line) for line in lines]
    monkeypatch.setattr(module, "MAX_ENCODED_CHARACTERS", 41)
    assert all(len(list(module._cut_line(line))) > 1 for line in lines)
    assert [tokenizer.encode(line) for line in lines] == whole
    # The control: cuts anywhere, which keep the text all the same.
    monkeypatch.setattr(module, "_cut_line", lambda line: [line[:20], "", line[20:]])
    cut = [tokenizer.encode(line) for line in lines]
    assert cut != whole
    assert list(map(tokenizer.decode, cut)) == lines


def test_a_long_line_without_blanks_keeps_its_text(monkeypatch):
    tokenizer = train()
    monkeypatch.setattr(module, "MAX_ENCODED_CHARACTERS", 7)
    for text in ("lowlowestnewer" * 5 + "\n low", " " * 40, "月光" * 10, "a\u2581" * 9):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_more_characters_than_a_vocabulary_has_room_for():
    """Of 900 characters that come twice each and 20 frequent ones, a vocabulary of 399 keeps 70."""
    rare = "".join(chr(0x4E00 + code) for code in range(900))
    frequent = "".join(chr(0x6000 + code) for code in range(20))
    text = "".join(f"{character}{frequent}\n" for character in rare * 2)
    tokenizer = train_tokenizer("sentencepiece", [text], vocab_size=399, normalization="none")
    assert tokenizer.vocab_size == 399
    assert tokenizer.decode(tokenizer.encode(text)) == text
    lengths = [len(tokenizer.encode(character)) for character in rare]
    assert set(lengths) == {1, 3}  # a piece, or three bytes
    assert lengths.count(1) == 50
    assert all(len(tokenizer.encode(character)) == 1 for character in frequent)
    assert len(tokenizer.encode(frequent)) < 20  # there was room for more than characters
    # Without bytes to fall back on every character needs its piece.
    with pytest.raises(InputError, match=r"need \d+: set vocab_size to \d+ or more$"):
        train_tokenizer("sentencepiece", [text], vocab_size=399, normalization="none", byte_fallback=False)


@pytest.mark.parametrize("model_type", ["bpe", "unigram"])
@pytest.mark.parametrize("size", [1, 259, 260, 261, 266, 8000])
@pytest.mark.parametrize(
    "text",
    ["the cat sat on the mat\na dog ran to the log\n" * 50, "".join(map(chr, range(0x4E00, 0x4E40))) + "\n"],
    ids=["English", "Chinese"],
)
def test_the_size_that_an_error_names_works(text, size, model_type):
    """Also where rare characters were kept from the trainer, which then complains of another text than the
    user's.
    """
    settings = {"normalization": "none", "model_type": model_type}
    try:
        train_tokenizer("sentencepiece", [text], vocab_size=size, **settings)
    except InputError as error:
        named = int(re.search(r"set vocab_size to (\d+) or (more|less)", str(error))[1])
        assert train_tokenizer("sentencepiece", [text], vocab_size=named, **settings).vocab_size == named
    else:
        assert size > 259
