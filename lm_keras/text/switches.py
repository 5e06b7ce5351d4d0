"""What a tokenizer_config.json says of a tokenizer: carried out, without effect, or refused where it
contradicts the other files.
"""

import dataclasses
from pathlib import Path
from typing import Any

from lm_keras.errors import InputError
from lm_keras.text.components import ADDED, EXACT, NO_EFFECT, REFUSED, flat
from lm_keras.text.traits import prefixes

FILE = "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class Switch:
    """Settings of a tokenizer_config.json, what is done with them, and what a reader should know."""

    names: tuple[str, ...]
    what: str
    note: str


SWITCHES = [
    Switch(("bos_token", "add_bos_token"), EXACT, "the token that a document begins with, where config.json "
        "has no `bos_token_id`; none with `add_bos_token` false"),
    Switch(("eos_token",), EXACT, "the token that a document ends with, where config.json has no "
        "`eos_token_id`"),
    Switch(("add_eos_token",), NO_EFFECT, "a document always ends with its end token"),
    Switch(("add_prefix_space",), EXACT, "with tokenizer.json or tokenizer.model it has to say what is done "
        "there, else it is refused"),
    Switch(("do_lower_case", "strip_accents", "tokenize_chinese_chars"), EXACT, "with tokenizer.json they "
        "have to say what is done there, else they are refused"),
    Switch(("added_tokens_decoder",), EXACT, "it has to agree with tokenizer.json, else it is refused"),
    Switch(("do_basic_tokenize", "never_split", "wordpieces_prefix", "word_tokenizer_type",
        "subword_tokenizer_type",
        "sp_model_kwargs"), REFUSED, "without tokenizer.json, where they say anything but the usual"),
    Switch(("tokenizer_class",), EXACT, "with vocab.txt one of BERT's, with vocab.json and merges.txt one of "
        "GPT-2's, with tokenizer.model one of LLaMA's, else it is refused; with tokenizer.json it has no "
        "effect"),
    Switch(("clean_up_tokenization_spaces",), NO_EFFECT, "a text is shown as its tokens say it, with the "
        "spaces before punctuation marks"),
    Switch(("legacy", "split_special_tokens"), NO_EFFECT, "special tokens' names in a text are text"),
    Switch(("chat_template",), EXACT, "what makes tokens of a conversation, where there is no "
        "chat_template.jinja; of several the one that is called default"),
    Switch(("model_max_length", "padding_side", "truncation_side", "pad_token", "errors"), NO_EFFECT,
        "texts are encoded whole, one by one"),
]  # fmt: skip
"""In the order of the page. Settings that are not listed are not read."""

BERT_CLASSES = (
    "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "ConvBertTokenizer",
    "SqueezeBertTokenizer",
    "LayoutLMTokenizer", "FunnelTokenizer", "LxmertTokenizer", "SplinterTokenizer", "BasicTokenizer",
)  # fmt: skip
GPT2_CLASSES = (
    "GPT2Tokenizer", "RobertaTokenizer", "BartTokenizer", "LongformerTokenizer", "LEDTokenizer",
    "CodeGenTokenizer", "GPTNeoXTokenizer",
    "BlenderbotTokenizer", "DebertaTokenizer", "Qwen2Tokenizer", "WhisperTokenizer", "PreTrainedTokenizer",
)  # fmt: skip
LLAMA_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer")
"""Classes of transformers whose files these are; each may have `Fast` behind it."""

SAVE = (
    "save the tokenizer with its tokenizer.json:"
    " AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)
"""The remedy where the files of a folder do not suffice."""


def check_class(folder: Path, settings: dict[str, Any], classes: tuple[str, ...], file: str) -> None:
    """Raise InputError if the file of a vocabulary belongs to a class that reads it in another way, or other
    tokens come on top of it.
    """
    name = settings.get("tokenizer_class")
    if isinstance(name, str) and name.removesuffix("Fast") not in (*classes, "PreTrainedTokenizer"):
        raise InputError(
            f"{folder / FILE} says tokenizer_class {name!r}, which is not read from {file}; {SAVE}"
        )
    usual = {
        "do_basic_tokenize": (True,), "never_split": (), "wordpieces_prefix": ("##",),
        "word_tokenizer_type": ("basic",),
        "subword_tokenizer_type": ("wordpiece",), "sp_model_kwargs": ({},),
    }  # fmt: skip
    for setting, values in usual.items():
        value = settings.get(setting)
        if value is not None and value != [] and value not in values:
            raise InputError(
                f"{folder / FILE} says {setting} {value!r}, which is not carried out with {file}; {SAVE}"
            )


def check_added(folder: Path, names: set[str], beside: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise InputError if a folder without tokenizer.json names tokens that its vocabulary lacks, which would
    be found in texts.

    Args:
        folder: of the model.
        names: of the vocabulary.
        beside: content of its added_tokens.json.
        settings: content of its tokenizer_config.json.
    """
    found = {str(name) for name in beside}
    found |= {token["content"] for _, token in _decoder_of(folder, settings) if not token.get("special")}
    for name in sorted(found - names):
        raise InputError(f"{folder} adds the token {name!r} to a vocabulary that lacks it; {SAVE}")


def check_against(folder: Path, settings: dict[str, Any], content: dict[str, Any]) -> None:
    """Raise InputError if a tokenizer_config.json contradicts the tokenizer.json beside it.

    Which of them wins depends on the class and the version that reads them, so neither is guessed.
    """
    normalizers = list(flat(content.get("normalizer")))
    lowers = any(part["type"] == "Lowercase" or part.get("lowercase") for part in normalizers)
    for name, there in (("add_prefix_space", prefixes(content)), ("do_lower_case", lowers)):
        value = settings.get(name)
        if value is not None and not isinstance(value, bool):
            raise InputError(f"{folder / FILE} has {value!r} for {name!r}, expected true or false")
        if value is not None and value != there:
            raise _contradiction(folder, name, value, there)
    for part in normalizers:
        for theirs, ours in (
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        ):
            value = settings.get(theirs)
            if value is not None and part["type"] == "BertNormalizer" and value != part.get(ours):
                raise _contradiction(folder, theirs, value, part.get(ours))
    added = {token["id"]: token for token in content.get("added_tokens") or []}
    for number, token in _decoder_of(folder, settings):
        there = added.get(number)
        same = there and there["content"] == token["content"]
        if same and not (there["special"] and token.get("special")):
            same = all(token.get(name, there[name]) == there[name] for name in ADDED[2:])
        if not same:
            raise InputError(
                f"{folder / FILE} has the added token {token['content']!r} with the id {number}, which"
                f" tokenizer.json has {'in another way' if there else 'not'}; {SAVE}"
            )


def check_prefix(folder: Path, settings: dict[str, Any], there: bool) -> None:
    """Raise InputError if a tokenizer_config.json says otherwise whether the tokenizer.model beside it puts a
    space before a text.
    """
    value = settings.get("add_prefix_space")
    if value is not None and value != there:
        raise _contradiction(folder, "add_prefix_space", value, there, "tokenizer.model")


def _contradiction(
    folder: Path, name: str, value: Any, there: Any, file: str = "tokenizer.json"
) -> InputError:
    return InputError(
        f"{folder / FILE} says {name} {value!r}, and {file} does as with {there!r}: make them say the same"
    )


def _decoder_of(folder: Path, settings: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    given = settings.get("added_tokens_decoder") or {}
    try:
        found = [(int(number), dict(token)) for number, token in given.items()]
        if all(isinstance(token["content"], str) for _, token in found):
            return found
    except (AttributeError, TypeError, ValueError, KeyError):
        pass
    raise InputError(f"{folder / FILE} has an added_tokens_decoder that is none; restore it from a copy")


def name_in(settings: dict[str, Any], name: str) -> str | None:
    """Return the name of a token as a tokenizer_config.json has it, by itself or with its flags; None without
    one.
    """
    value = settings.get(name)
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def rows() -> list[str]:
    """Return the rows of the page's table."""
    return [
        f"| {', '.join(f'`{name}`' for name in one.names)} | {one.what} | {one.note} |" for one in SWITCHES
    ]
