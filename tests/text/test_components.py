"""Parts of a tokenizer.json and settings of a tokenizer_config.json: each known, and refused where it cannot
be carried out.
"""

import json
from pathlib import Path

import pytest
import tokenizers as library
import zoo

from lm_keras.errors import InputError
from lm_keras.text import components, find_tokenizer, load_tokenizer, switches
from lm_keras.text.huggingface import HuggingFaceTokenizer

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "huggingface.md"
MODULES = {
    "normalizer": library.normalizers, "pre_tokenizer": library.pre_tokenizers, "model": library.models,
    "decoder": library.decoders, "post_processor": library.processors,
}  # fmt: skip
NO_PARTS = {"Normalizer", "NORMALIZERS", "PreTokenizer", "Model", "Decoder", "DecodeStream", "PostProcessor"}


def test_the_page_has_the_tables():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for row in [*components.rows(), *switches.rows()]:
        assert row in lines, (
            "write the rows of components.py and switches.py into docs/reference/huggingface.md"
        )


@pytest.mark.parametrize("part", list(MODULES))
def test_every_part_of_the_library_is_listed(part):
    """A type that a later library brings is one to decide about."""
    there = {name for name in dir(MODULES[part]) if name[0].isupper()} - NO_PARTS
    assert there <= {one.kind for one in components.COMPONENTS if one.part == part}


@pytest.fixture(scope="module")
def contents():
    return {
        name: json.loads(zoo.MAKERS[name]().to_str())
        for name in ("gpt2", "gpt2 few bytes", "llama", "suffix", "wordpiece", "words", "gpt2 added")
    }


STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
FUSE, FALLBACK = {"type": "Fuse"}, {"type": "ByteFallback"}


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("gpt2", {"model__dropout": 0.1}, "its model has dropout 0.1, which draws the tokens of a text at "
            "random: set it to null"),
        ("gpt2", {"decoder": None}, "its tokens are spelled in bytes, which its decoder does not read: set "
            "decoder to ByteLevel"),
        ("gpt2", {"decoder": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|",
            "cleanup": True}},
            "its decoder is CTC, which is refused: it joins equal tokens, as in speech; take a tokenizer "
            "without it"),
        ("gpt2", {"decoder__speed": 3}, "its decoder ByteLevel has the setting 'speed', which nothing here "
            "reads; remove it if it has no effect"),
        ("llama", {"decoder": None}, "it writes '▁' for a space, which its decoder does not read: set "
            "decoder to Metaspace, or to Replace"),
        ("llama", {"decoder": {"type": "Sequence", "decoders": [{"type": "Replace",
            "pattern": {"String": "▁"},
            "content": " "}, FALLBACK, STRIP]}},
            "its decoder has Strip at a place where the text of a token cannot be told"),
        ("llama", {"decoder": {"type": "Sequence", "decoders": [{"type": "Replace",
            "pattern": {"String": "▁"}, "content": " "}, FUSE, {**STRIP,
            "stop": 1}]}}, "its decoder has Strip at a place where the text of a token cannot be told"),
        ("suffix", {"decoder": None}, "its tokens end words with '</w>', which its decoder does not read: "
            "set decoder to BPEDecoder with that suffix"),
        ("suffix", {"decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
            "use_regex": True}},
            "its tokens are spelled in bytes and end words with '</w>', as CLIP's, and no decoder reads "
            "both: take another tokenizer"),
        ("suffix", {"decoder": {"type": "BPEDecoder", "suffix": "@"}}, "its tokens end words with '</w>', "
            "which its decoder does not read"),
        ("wordpiece", {"decoder": FUSE}, "its tokens go on within words with '##', which its decoder does "
            "not read: set decoder to WordPiece with that prefix"),
        ("gpt2 added", {"added_tokens__4__id": 999}, "its added token 'dog ran' has the id 999, and the "
            "library gives it 373: ids of added tokens have to follow those of the model without a gap"),
        ("words", {"model__vocab__cat": 3}, "its tokens '[MASK]' and 'cat' have one id, 3"),
        ("gpt2 few bytes", {"model__unk_token": "</s>"}, "its unknown token '</s>' is the one that ends "
            "documents, and its vocabulary does not spell every text"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "",
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused(contents, name, parts, message):
    with pytest.raises(InputError) as caught:
        _change(contents, name, parts)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def _change(contents, name, parts):
    made = json.loads(json.dumps(contents[name]))
    for key, value in parts.items():
        *path, last = [int(step) if step.isdigit() else step for step in key.split("__")]
        place = made
        for step in path:
            place = place[step]
        place[last] = value
    return HuggingFaceTokenizer(json.dumps(made).encode(), 2)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gpt2", {"model__dropout": 0.0}),
        ("gpt2", {"truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst",
            "stride": 0}}),
        ("gpt2", {"padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"}}),
        ("gpt2", {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>",
            "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A",
            "type_id": 0}}, {"Sequence": {"id": "B",
            "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}}),
    ],
    ids=["no dropout", "truncation", "padding", "template"],
)  # fmt: skip
def test_what_has_no_effect(contents, name, parts):
    text = "The cat sat on the mat, isn't it?\n"
    assert _change(contents, name, parts).encode(text) == _change(contents, name, {}).encode(text)


def test_a_model_without_an_unknown_token_says_what_it_cannot_encode(contents):
    tokenizer = _change(contents, "words", {"model__unk_token": "<none>"})
    assert tokenizer.unknown_id is None and tokenizer.encode("The cat")
    with pytest.raises(InputError) as caught:
        tokenizer.encode("The zebra")
    assert str(caught.value).startswith(
        "the tokenizer cannot encode the text that begins with 'The zebra': Word"
    )


def test_only_a_proven_tokenizer_is_lossless():
    proven = {
        name
        for name, make in zoo.MAKERS.items()
        if HuggingFaceTokenizer(make().to_str().encode(), 2).lossless
    }
    assert proven == {"gpt2", "gpt2 no regex", "gpt2 added words", "llama3"}


@pytest.fixture
def folder(tmp_path):
    """A function that writes a folder with the tokenizer of that name, and with such files beside it."""

    def write(name, **beside):
        if name == "vocab.json":
            model = json.loads(zoo.MAKERS["gpt2"]().to_str())["model"]
            (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
            (tmp_path / "merges.txt").write_text("\n".join(map(" ".join, model["merges"])))
        elif name == "vocab.txt":
            (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\n")
        elif name:
            zoo.MAKERS[name]().save(str(tmp_path / "tokenizer.json"))
        for file, content in beside.items():
            (tmp_path / f"{file}.json").write_text(json.dumps(content))
        return tmp_path

    return write


UNK = {"content": "<unk>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
    "special": True}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("gpt2", {"add_prefix_space": True}, "says add_prefix_space True, and tokenizer.json does as with "
            "False: make them say the same"),
        ("llama", {"add_prefix_space": False}, "says add_prefix_space False, and tokenizer.json does as with "
            "True: make them say the same"),
        ("unigram never", {"add_prefix_space": True}, "says add_prefix_space True, and tokenizer.json does "
            "as with False: make them say the same"),
        ("gpt2", {"do_lower_case": True}, "says do_lower_case True, and tokenizer.json does as with False: "
            "make them say the same"),
        ("suffix", {"do_lower_case": False}, "says do_lower_case False, and tokenizer.json does as with "
            "True: make them say the same"),
        ("wordpiece", {"strip_accents": False}, "says strip_accents False, and tokenizer.json does as with "
            "None: make them say the same"),
        ("gpt2", {"add_prefix_space": "no"}, "has 'no' for 'add_prefix_space', expected true or false"),
        ("gpt2", {"added_tokens_decoder": {"420": {**UNK, "content": "<new>"}}}, "has the added token "
            "'<new>' with the id 420, which tokenizer.json has not; save the tokenizer"),
        ("gpt2", {"added_tokens_decoder": {"1": UNK}}, "has the added token '<unk>' with the id 1, which "
            "tokenizer.json has in another way; save"),
        ("gpt2", {"added_tokens_decoder": [1]}, "has an added_tokens_decoder that is none; restore it from a "
            "copy"),
        ("vocab.txt", {"tokenizer_class": "BertJapaneseTokenizer"}, "says tokenizer_class "
            "'BertJapaneseTokenizer', which is not read from vocab.txt; save the tokenizer"),
        ("vocab.txt", {"do_basic_tokenize": False}, "says do_basic_tokenize False, which is not carried out "
            "with vocab.txt; save the tokenizer"),
        ("vocab.json", {"tokenizer_class": "CLIPTokenizer"}, "says tokenizer_class 'CLIPTokenizer', which is "
            "not read from vocab.json; save the tokenizer"),
        ("vocab.json", {"added_tokens_decoder": {"420": {**UNK, "content": "<new>", "special": False}}},
            "adds the token '<new>' to a vocabulary that lacks it; save the tokenizer"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_carried_out_are_refused(folder, name, settings, message):
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder(name, tokenizer_config=settings))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("gpt2", {"add_prefix_space": False, "do_lower_case": False, "added_tokens_decoder": {"0": UNK}}),
        ("llama", {"add_prefix_space": True, "legacy": False, "add_eos_token": True}),
        ("unigram", {"clean_up_tokenization_spaces": True, "split_special_tokens": True}),
        ("vocab.txt", {"tokenizer_class": "BertTokenizerFast", "never_split": None, "do_lower_case": True}),
        ("vocab.json", {"tokenizer_class": "GPT2Tokenizer", "errors": "replace", "eos_token": "</s>"}),
    ],
    ids=str,
)
def test_settings_that_agree_or_have_no_effect(folder, name, settings):
    place = folder(name)
    before = load_tokenizer(place).encode("the cat")
    (place / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_tokenizer(place).encode("the cat") == before


def test_a_blank_before_every_text_of_two_files(folder):
    plain = load_tokenizer(folder("vocab.json"))
    prefixed = load_tokenizer(folder("vocab.json", tokenizer_config={"add_prefix_space": True}))
    assert prefixed.decode(prefixed.encode("cat")) == " cat" and plain.decode(plain.encode("cat")) == "cat"
    assert plain.lossless and not prefixed.lossless


def test_the_end_is_what_the_settings_call_it(folder):
    place = folder("gpt2", tokenizer_config={"eos_token": {"content": "[MASK]"}})
    assert load_tokenizer(place).eod_id == 3
    (place / "config.json").write_text('{"eos_token_id": 1}')
    assert load_tokenizer(place).eod_id == 1


def test_the_begin_is_what_the_post_processor_puts_first(folder):
    """Where nothing else tells it."""
    place = folder("gpt2")
    content = json.loads((place / "tokenizer.json").read_text())
    content["post_processor"] = {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1],
        "trim_offsets": True, "add_prefix_space": False}  # fmt: skip
    (place / "tokenizer.json").write_text(json.dumps(content))
    assert (load_tokenizer(place).begin_id, load_tokenizer(place).eod_id) == (1, 2)
    folder(None, tokenizer_config={"add_bos_token": False})
    assert load_tokenizer(place).begin_id == 2
    folder(None, tokenizer_config={}, config={"bos_token_id": 3})
    assert load_tokenizer(place).begin_id == 3


@pytest.mark.parametrize("file", ["spiece.model", "sentencepiece.bpe.model", "tekken.json"])
def test_a_file_that_is_not_read_is_named(file, tmp_path):
    (tmp_path / file).write_bytes(b"\x0a\x0e")
    for read in (find_tokenizer, load_tokenizer):
        with pytest.raises(
            InputError,
            match=rf"has its tokenizer only in {file}, which is not read here; save the tokenizer with",
        ):
            read(str(tmp_path))


def test_added_tokens_beside_a_vocabulary(folder):
    place = folder("vocab.json", added_tokens={"<new>": 420})
    with pytest.raises(InputError, match="adds the token '<new>' to a vocabulary that lacks it"):
        load_tokenizer(place)
    (place / "added_tokens.json").write_text('{"</s>": 2}')
    assert load_tokenizer(place).eod_id == 2


def _places(part, path=()):
    """Yield where anything stands in a tokenizer.json, but for its vocabulary."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for key, value in inside:
        if key not in ("vocab", "merges"):
            yield (*path, key)
            yield from _places(value, (*path, key))


@pytest.mark.parametrize("name", ["gpt2 added", "suffix", "llama"])
def test_a_forged_tokenizer_is_refused_or_is_one(contents, name):
    """Whatever stands in the place of one of its settings."""
    for path in _places(contents[name]):
        for value in ("missing", None, "x", [], {"type": "Fuse"}, True):
            made = json.loads(json.dumps(contents[name]))
            place = made
            for step in path[:-1]:
                place = place[step]
            if value == "missing":
                del place[path[-1]]
            else:
                place[path[-1]] = value
            try:
                tokenizer = HuggingFaceTokenizer(json.dumps(made).encode(), 2)
                text = "the cat \u00e9\n"
                ids = tokenizer.encode_array(text)
                tokenizer.count_unknown(text, ids)
                assert tokenizer.canonical(text) == tokenizer.decode(ids.tolist())
            except InputError as error:
                assert "\n" not in str(error)
