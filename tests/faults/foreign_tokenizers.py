"""What can be wrong with a tokenizer, above all with one of another project."""

import json
from collections.abc import Callable
from pathlib import Path

from faults import ENGLISH, Fault, files

FLAGS = ("--corpus=text:a.txt", "--tokenizer=tok")
SAVE = (
    "save the tokenizer with its tokenizer.json:"
    " AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)
END = "<|endoftext|>"
LOST = (
    "{} of {} tokens ({}%) of the {} text are unknown to the tokenizer: what they stand for is lost, so "
    "bits per byte are left out; byte and sentencepiece lose nothing"
)
CHANGED = (
    "the tokenizer changes the {} text: its tokens say {} bytes, and the text has {}; bits per byte and word"
    " perplexity are of what they say"
)


def byte_level(content: dict) -> None:
    """A tokenizer of single bytes, as GPT-2's without merges."""
    from lm_keras.text.chains import ALPHABET

    content["model"] = {"type": "BPE", "vocab": {END: 0, **{c: n + 1 for n, c in enumerate(ALPHABET)}},
        "merges": []}  # fmt: skip
    content["pre_tokenizer"] = content["decoder"] = {"type": "ByteLevel", "add_prefix_space": False,
        "trim_offsets": True, "use_regex": True}  # fmt: skip


def words(content: dict) -> None:
    """A tokenizer of the words of the text, which has no tokens for white space."""
    found = sorted({*ENGLISH.replace(".", " .").split()})
    vocab = {END: 0, "<unk>": 1, **{word: n + 2 for n, word in enumerate(found)}}
    content["model"] = {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"}
    content["pre_tokenizer"] = {"type": "Whitespace"}


def folder_of(*changes: Callable[[dict], object], **beside: object) -> Callable[[Path], None]:
    """Return a function that writes a text, and a tokenizer with changes and with files beside it."""

    def make(folder: Path) -> None:
        special = {"id": 0, "content": END, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False, "special": True}  # fmt: skip
        content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [special],
            "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}  # fmt: skip
        for change in changes:
            change(content)
        written = {f"tok/{name}.json": json.dumps(value) for name, value in beside.items()}
        files({"a.txt": ENGLISH, "tok/tokenizer.json": json.dumps(content), **written})(folder)

    return make


def without_capitals(content: dict) -> None:
    """Without tokens for `T`."""
    content["model"]["vocab"].pop("T")


def tokenizer(name: str, how: str, make: Callable, line: str, **more) -> Fault:
    """A fault of the tokenizer in `tok`."""
    return Fault(name, how, make, more.pop("flags", FLAGS), line, **more)


FAULTS = [
    tokenizer("a tokenizer that draws tokens at random", '`"dropout": 0.1`', folder_of(byte_level,
        lambda content: content["model"].update(dropout=0.1)),
        "tok/tokenizer.json: its model has dropout 0.1, which draws the tokens of a text at random: set it "
        "to null"),
    tokenizer("a tokenizer without a decoder for its bytes", '`"decoder": null`', folder_of(byte_level,
        lambda content: content.update(decoder=None)),
        "tok/tokenizer.json: its tokens are spelled in bytes, which its decoder does not read: set decoder "
        "to ByteLevel"),
    tokenizer("a tokenizer of speech", "a decoder of the type CTC", folder_of(words,
        lambda content: content.update(decoder={"type": "CTC", "pad_token": "<pad>",
            "word_delimiter_token": "|",
            "cleanup": True})),
            "tok/tokenizer.json: its decoder is CTC, which is refused: it joins equal tokens, as in speech; "
            "take a tokenizer without it"),
    tokenizer("an added token with an id that the library does not keep", "the id 999 after 256",
        folder_of(byte_level, lambda content: content["added_tokens"].append({**content["added_tokens"][0],
            "content": "<new>",
            "id": 999})),
            "tok/tokenizer.json: its added token '<new>' has the id 999, and the library gives it 257: ids "
            "of added tokens have to follow those of the model without a gap"),
    tokenizer("a tokenizer and its settings that contradict each other", "`add_prefix_space` in "
        "tokenizer_config.json", folder_of(byte_level, tokenizer_config={"add_prefix_space": True}),
        "tok/tokenizer_config.json says add_prefix_space True, and tokenizer.json does as with False: make "
        "them say the same"),
    tokenizer("a tokenizer in a file that is not read", "`spiece.model` alone", files({"a.txt": ENGLISH,
        "tok/spiece.model": b"\n\x0e"}),
        f"tok has its tokenizer only in spiece.model, which is not read here; {SAVE}"),
    tokenizer("a tokenizer.model that is none", "a vocabulary of tiktoken", files({"a.txt": ENGLISH,
        "tok/tokenizer.model": b"IQ== 0\nIg== 1\n"}),
        f"tok/tokenizer.model: damaged or no model of sentencepiece: no pieces; or {SAVE}"),
    tokenizer("a tokenizer that loses bytes", "a byte-level one without a token for `T`",
        folder_of(byte_level, without_capitals),
        " / ".join(LOST.format(*numbers) for numbers in (("55", "1,496", "3.68", "train"), ("3", "80", "3.75",
            "valid"), ("2", "56", "3.57", "test"))), code=0),
    tokenizer("a tokenizer that loses white space", "a list of words", folder_of(words),
        " / ".join(CHANGED.format(*numbers) for numbers in (("train", "1,605", "1,551"), ("valid", "85",
            "83"), ("test", "59", "58"))), code=0),
    tokenizer("too few pieces for the characters of a text", "`--vocab_size=259`", files({"a.txt": ENGLISH}),
        "vocab_size is 259, but the 256 bytes, the special tokens and the characters of this corpus need "
        "278: set vocab_size to 278 or more",
        flags=("--corpus=text:a.txt", "--tokenizer=sentencepiece", "--vocab_size=259")),
]  # fmt: skip
