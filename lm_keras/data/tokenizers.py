"""The tokenizer of a run: learnt from its text, found in the cache, or taken from a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lm_keras import text
from lm_keras.config import DataConfig
from lm_keras.corpora import Split
from lm_keras.data.cache import fingerprint_of
from lm_keras.disk.folders import cached_folder
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

MEASURED = (text.HuggingFaceTokenizer.name, text.SentencePieceModel.name)
"""Tokenizers whose text is measured, because nobody chose that it changes."""

LIMITED = ("sentencepiece",)
"""Tokenizers that take much memory for each character that they learn from."""

MOST_CHARACTERS = 2**22
"""Characters that these learn from where a text is examples with labels; of more, evenly spaced lines."""


def saved_tokenizer(config: DataConfig, needs_mask: bool = False) -> Tokenizer | None:
    """Return the tokenizer of the folder that `--tokenizer` names, or None where it names a kind.

    Args:
        config: the data settings.
        needs_mask: whether it gets a `mask_id` if it has none.

    Raises:
        InputError: the folder is missing, what it holds is damaged, or another setting contradicts it.
    """
    folder = text.find_tokenizer(config.tokenizer)
    if folder is None:
        return None
    tokenizer = text.load_tokenizer(folder)
    has = tokenizer.settings()
    given = {name: value for name, value in config.given_for_tokenizer().items() if value != has.get(name)}
    if given:
        different = "; ".join(
            f"--{name}={value}, but it has {has.get(name, 'no such setting')}"
            for name, value in given.items()
        )
        raise InputError(
            f"--tokenizer={config.tokenizer} brings its own settings: {different}; "
            f"leave them out, and clear what a flagfile sets with {' '.join(f'--{name}=' for name in given)}"
        )
    return tokenizer.with_mask() if needs_mask else tokenizer


def warn_of_unknown(name: str, unknown: int, tokens: int, say: Callable[[str], None]) -> None:
    """Say which share of a split the tokenizer does not know, if any."""
    if not unknown:
        return
    if unknown > tokens:  # A tokenizer from elsewhere that makes no token of what it lacks.
        what = (
            f"{unknown:,} letters or bytes of the {name} text are unknown to the tokenizer, which has "
            f"{tokens:,} tokens for the rest"
        )
    else:
        what = (
            f"{unknown:,} of {tokens:,} tokens ({unknown / tokens:.2%}) of the {name} text are unknown to "
            "the tokenizer"
        )
    say(
        f"{what}: what they stand for is lost, so bits per byte are left out; byte and sentencepiece lose "
        "nothing"
    )


def warn_of_changes(
    name: str, tokenizer: Tokenizer, said: int, given: int, say: Callable[[str], None]
) -> None:
    """Say how many bytes the tokens of a split say where a tokenizer from elsewhere changes the text.

    Args:
        name: of the split.
        tokenizer: what made the tokens.
        said: bytes that the tokens say.
        given: bytes of the text.
        say: called with a line, if there is one.
    """
    if tokenizer.name in MEASURED and said != given:
        say(
            f"the tokenizer changes the {name} text: its tokens say {said:,} bytes, and the text has "
            f"{given:,}; bits per byte and word perplexity are of what they say"
        )


def trained_tokenizer(
    config: DataConfig,
    splits: dict[str, Split],
    cache: Path,
    say: Callable[[str], None],
    needs_mask: bool = False,
    of_examples: bool = False,
) -> Tokenizer:
    """Return the tokenizer that the settings ask for; learn it unless the cache has it.

    Args:
        config: the data settings; `tokenizer` is the name of a kind.
        splits: the text of the run.
        cache: the cache folder.
        say: called with a line before longer work, and with what speaks against that kind for that text.
        needs_mask: whether it gets a `mask_id` if it has none; the cache keeps it without.
        of_examples: whether the text is examples with labels, of which there may be millions: then a kind
            that takes much memory learns from fewer of them.

    Raises:
        InputError: a setting is wrong, or the text does not allow it.
    """
    settings = config.tokenizer_settings()
    if of_examples and config.tokenizer in LIMITED:
        settings["most_characters"] = MOST_CHARACTERS
    folder, learn_from = _in_cache(config, splits, cache, settings)

    def train(path: Path) -> None:
        say(f"training a {config.tokenizer} tokenizer")
        texts = _pieces(splits, learn_from)
        text.train_tokenizer(config.tokenizer, texts, **settings).save(path)

    cached_folder(folder, train, say)
    tokenizer = text.load_tokenizer(folder)
    if tokenizer.warning:
        say(tokenizer.warning)
    return tokenizer.with_mask() if needs_mask else tokenizer


def cached_tokenizer(
    config: DataConfig, splits: dict[str, Split], cache: Path, needs_mask: bool
) -> Tokenizer | None:
    """Return the tokenizer that `trained_tokenizer` would find in the cache, or None."""
    folder, _ = _in_cache(config, splits, cache, config.tokenizer_settings())
    if not folder.is_dir():
        return None
    tokenizer = text.load_tokenizer(folder)
    return tokenizer.with_mask() if needs_mask else tokenizer


def _in_cache(
    config: DataConfig, splits: dict[str, Split], cache: Path, settings: dict[str, Any]
) -> tuple[Path, list[str]]:
    """Return where the cache keeps a tokenizer, and the names of the splits that it is learnt from."""
    learn_from = ["train"]
    whole = not text.TOKENIZERS[config.tokenizer].learns_from_train
    if whole and splits["train"].rule != "the whole corpus":
        learn_from = list(splits)
    content = {
        "settings": {"name": config.tokenizer, **settings},
        "sources": [splits[name].fingerprint() for name in learn_from],
    }
    return cache / "tokenizers" / fingerprint_of(content), learn_from


def _pieces(splits: dict[str, Split], names: list[str]) -> Iterator[str]:
    for name in names:
        for document in splits[name].documents():
            yield from document.pieces()
