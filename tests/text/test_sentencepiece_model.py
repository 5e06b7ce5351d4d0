"""Folders with only a tokenizer.model: beside sentencepiece itself."""

import functools
import io
import json
import random

import pytest
import sentencepiece as library
import zoo

from lm_keras.errors import InputError
from lm_keras.text import SentencePieceModel, load_tokenizer, long_documents
from lm_keras.text.model_folder import read_tokenizer

KINDS = {
    "llama": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 370,
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "gemma": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 370,
        "normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False,
        "user_defined_symbols": ["<user>", "\n\n"]},
    "t5": {"model_type": "unigram", "vocab_size": 110},
    "characters": {"model_type": "char", "vocab_size": 70},
}  # fmt: skip
PIECES = [
    "The", " the", " cat", "\n", " ", "  ", "12", "é", "e\u0301", "😀", "床前明月", ",", "it's", "\n\n", "\t",
    "</s>", "<s>", "▁", "Z", "ﬁ", "<0x41>",
    "<user>", "<unk>",
]  # fmt: skip


@functools.cache
def model_of(kind):
    made = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter("".join(zoo.TEXT).split("\n")), model_writer=made, minloglevel=2,
        hard_vocab_limit=False,
        **KINDS[kind],
    )  # fmt: skip
    return made.getvalue()


@pytest.fixture(params=list(KINDS))
def kind(request):
    return request.param


def random_text(seed, count=25):
    return "".join(random.Random(seed).choices(PIECES, k=count))


def test_ids_and_text_are_those_of_sentencepiece(kind):
    theirs = library.SentencePieceProcessor(model_proto=model_of(kind))
    mine = SentencePieceModel(model_of(kind), None)
    assert (mine.eod_id, mine.unknown_id) == (2, 0) and {0, 1, 2} <= mine.special_ids
    for text in ["", " ", "\n", "a", *(random_text(seed) for seed in range(80))]:
        ids = mine.encode_array(text)
        assert ids.tolist() == theirs.encode(text)
        assert not {1, 2} & set(ids.tolist())
        said = mine.decode(ids.tolist())
        assert said == mine.canonical(text)
        decoder = mine.decoder()
        assert "".join(decoder.push([token]) for token in ids) + decoder.finish() == said
        if not mine.count_unknown(text, ids):
            assert said == theirs.decode(ids.tolist())


def test_long_documents_have_the_tokens_of_the_whole(kind, monkeypatch):
    for size, value in (("BLOCK", 600), ("OVERLAP", 300), ("MARGIN", 60)):
        monkeypatch.setattr(long_documents, size, value)
    mine, text = SentencePieceModel(model_of(kind), None), random_text(3, 1500)
    pieces = list(mine.pieces([text[:1000], text[1000:]]))
    assert len(pieces) > 3 and "".join(pieces) == text
    assert [token for piece in pieces for token in mine.encode(piece)] == mine.encode(text)
    assert "".join(map(mine.canonical, pieces)) == mine.canonical(text)


def test_behind_others_there_is_no_blank_too_many():
    mine = SentencePieceModel(model_of("llama"), None)
    assert mine.decode(mine.encode("the") + mine.encode_inside(" cat")) == "the cat"
    assert mine.decode(mine.encode("the") + mine.encode(" cat")) == "the  cat"
    assert mine.decoder("the").push(mine.encode("cat")) == " cat"


@pytest.fixture
def folder(tmp_path):
    def write(kind="llama", **beside):
        (tmp_path / "tokenizer.model").write_bytes(model_of(kind))
        for name, content in beside.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("config", "beside", "begin", "end"),
    [
        ({"vocab_size": 400, "bos_token_id": 1, "eos_token_id": 2}, {}, 1, 2),
        ({"vocab_size": 400}, {"add_bos_token": False}, 2, 2),
        ({"vocab_size": 400, "eos_token_id": 399}, {}, 1, 399),
        (
            {"vocab_size": 400},
            {"bos_token": "</s>", "tokenizer_class": "LlamaTokenizer", "legacy": True},
            2,
            2,
        ),
    ],
    ids=str,
)
def test_the_folder_of_a_model(folder, tmp_path, config, beside, begin, end):
    tokenizer = read_tokenizer(folder(config=config, tokenizer_config=beside))
    assert (tokenizer.begin_id, tokenizer.eod_id, tokenizer.vocab_size) == (begin, end, 400)
    tokenizer.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.fingerprint() == tokenizer.fingerprint() and type(again) is SentencePieceModel
    assert (again.begin_id, again.eod_id, again.vocab_size) == (begin, end, 400)
    assert again.encode("the cat") == tokenizer.encode("the cat")
    assert tokenizer.foreign_files["tokenizer.model"] == model_of("llama")
    blank = tokenizer.with_mask()
    assert blank is tokenizer


@pytest.mark.parametrize(
    ("content", "beside", "message"),
    [
        (b"", {}, "damaged or no model of sentencepiece: "),
        (b"IQ== 0\nIg== 1\n", {}, "damaged or no model of sentencepiece: "),
        (None, {"tokenizer_class": "XLNetTokenizer"}, "says tokenizer_class 'XLNetTokenizer', which is not "
            "read from tokenizer.model; save"),
        (None, {"add_prefix_space": False}, "says add_prefix_space False, and tokenizer.model does as with "
            "True: make them say the same"),
        (None, {"sp_model_kwargs": {"enable_sampling": True}},
            "says sp_model_kwargs {'enable_sampling': True}, which is not carried out with"),
        (None, {"added_tokens_decoder": {"380": {"content": "<new>", "special": False}}},
            "adds the token '<new>' to a vocabulary that lacks it; save"),
    ],
    ids=["empty", "tiktoken", "class", "prefix", "sampling", "added"],
)  # fmt: skip
def test_what_is_not_read_is_refused_with_its_name(folder, content, beside, message):
    place = folder(tokenizer_config=beside)
    if content is not None:
        (place / "tokenizer.model").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_tokenizer(place)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "AutoTokenizer" in str(caught.value) or "make them say the same" in str(caught.value)
