"""Special tokens and chat templates of tokenizers."""

import json

import pytest

from lm_keras.errors import InputError
from lm_keras.text import HuggingFaceTokenizer, load_tokenizer, train_tokenizer

TURNS = ("<|im_start|>", "<|im_end|>")
TEXT = "user\nthe cat <|im_start|> sat\n" * 20
KINDS = {"char": None, "byte": None, "word": None, "sentencepiece": 300}
every_kind = pytest.mark.parametrize("kind", KINDS)


def learnt(kind):
    return train_tokenizer(kind, [TEXT], vocab_size=KINDS[kind])


@every_kind
def test_no_text_becomes_a_control_token(kind):
    plain = learnt(kind)
    made = plain.with_special_tokens(TURNS)
    first = plain.vocab_size
    assert made.special_tokens == {TURNS[0]: first, TURNS[1]: first + 1}
    assert made.vocab_size == first + 2 and made.own_size == plain.own_size
    assert made.encode(TEXT) == plain.encode(TEXT) and max(made.encode(TEXT)) < first
    assert made.decode([*made.encode("cat"), first + 1]) == plain.decode(plain.encode("cat"))
    assert made.label(first) == TURNS[0] and {first, first + 1} <= made.special_ids
    assert made.with_special_tokens(TURNS) is made
    assert plain.vocab_size == first and not plain.special_tokens  # Control: the first one is as it was.


@every_kind
def test_they_are_saved_with_the_template(kind, tmp_path):
    for name, plain in (("plain", learnt(kind)), ("masked", learnt(kind).with_mask())):
        made = plain.with_special_tokens(TURNS).with_chat_template("{{ messages }}\n")
        made.save(tmp_path / name)
        again = load_tokenizer(tmp_path / name)
        assert again.special_tokens == made.special_tokens and again.mask_id == made.mask_id
        assert again.chat_template == made.chat_template and again.vocab_size == made.vocab_size
        assert again.fingerprint() == made.fingerprint()
        others = {plain.fingerprint(), made.with_chat_template(None).fingerprint()}
        assert len(others) == 2 and made.fingerprint() not in others


def test_they_are_behind_mask_and_languages():
    plain = learnt("char")
    made = plain.with_mask().with_languages(["de"]).with_special_tokens(TURNS)
    labels = [made.label(token) for token in range(plain.vocab_size, made.vocab_size)]
    assert labels == ["<2de>", *TURNS]
    with pytest.raises(InputError, match=r"the language 'fr' would need a token before them"):
        made.with_languages(["fr"])


def test_special_tokens_of_another_project():
    names = ["<|endoftext|>", *TURNS, *"abc"]
    added = [
        {"id": n, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for n, name in enumerate(names[:3])
    ]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {name: n for n, name in enumerate(names)}, "merges": [],
        },
    }  # fmt: skip
    theirs = HuggingFaceTokenizer(json.dumps(content).encode(), eod_id=0)
    assert theirs.special_tokens == {name: n for n, name in enumerate(names[:3])}
    assert theirs.with_special_tokens(TURNS) is theirs
    assert theirs.encode("a<|im_end|>") == theirs.encode("a")[:1]  # Its letters are not in that vocabulary.


def test_a_damaged_record_of_them_is_refused(tmp_path):
    learnt("char").with_special_tokens(TURNS).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text().replace('"<|im_start|>"', "7"))
    with pytest.raises(InputError, match="special tokens that are no names"):
        load_tokenizer(tmp_path)
