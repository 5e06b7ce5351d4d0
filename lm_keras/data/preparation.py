"""The text of a run: read, divided into splits, tokenized, or found in the cache."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lm_keras.config import DataConfig
from lm_keras.corpora import Split, make_splits
from lm_keras.corpora.mixed import specs_in
from lm_keras.data.cache import cache_folder
from lm_keras.data.columns import Column
from lm_keras.data.conversations import with_template
from lm_keras.data.corpus_weights import COLUMN, weights_of
from lm_keras.data.division import DividedText, divide, opened_corpus, say_of
from lm_keras.data.examples import documents_at, source_at
from lm_keras.data.labels import Labels, columns_of, labels_in
from lm_keras.data.pair_checks import languages_in
from lm_keras.data.store import TokenStore, store_in_cache, tokenized
from lm_keras.data.tokenizers import (
    cached_tokenizer,
    saved_tokenizer,
    trained_tokenizer,
    warn_of_changes,
    warn_of_unknown,
)
from lm_keras.errors import InputError, nearest
from lm_keras.text import TOKENIZERS, load_tokenizer, saved_in
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class PreparedData:
    """Everything that the text of a run became.

    Attributes:
        tokenizer: learnt from the training text (characters: from the whole corpus), or taken from a folder.
        splits: `train` and, where they exist, `valid` and `test`.
        report: counts, bytes, sha256, licence and citation by split, what was repaired, and kind and
            fingerprint of the tokenizer; can be written as JSON.
        labels: of the training text, where its records have any; else None.
        texts: what the splits were read from.
    """

    tokenizer: Tokenizer
    splits: dict[str, TokenStore]
    report: dict
    labels: Labels | None = None
    texts: dict[str, Split] = dataclasses.field(default_factory=dict)

    def source(self, name: str, number: int) -> str:
        """Return where a document of a split is from: `train.tsv:17`."""
        return source_at(self.texts[name], number)


class ScoredText(NamedTuple):
    """A text that is scored.

    Attributes:
        store: its tokens.
        split: its documents.
    """

    store: TokenStore
    split: Split


def is_prepared(
    config: DataConfig,
    divided: DividedText,
    tokenizer: Tokenizer | None,
    needs_mask: bool,
    columns: tuple[Column, ...] = (),
) -> bool:
    """Tell whether `prepare` would find everything in the cache."""
    cache = cache_folder(config.cache_dir)
    tokenizer = (
        tokenizer
        or saved_tokenizer(config, needs_mask)
        or cached_tokenizer(config, divided.splits, cache, needs_mask)
    )
    columns += _column_of_corpora(config)
    return tokenizer is not None and all(
        store_in_cache(split, tokenizer, cache, columns).is_dir() for split in divided.splits.values()
    )


def prepare(
    config: DataConfig,
    tokenizer: Tokenizer | None = None,
    say: Callable[[str], None] = lambda line: None,
    divided: DividedText | None = None,
    needs_mask: bool = False,
    begun: dict | None = None,
    columns: tuple[Column, ...] = (),
    fields: tuple[str, ...] = ("text",),
    labels: Labels | None = None,
) -> PreparedData:
    """Read, split and tokenize the text of a run, or find that in the cache.

    Args:
        config: the data settings.
        tokenizer: the tokenizer of a run that goes on; None makes the one that the settings ask for.
        say: called with a line before each longer piece of work, and with what speaks against the tokenizer.
        divided: the text, if it was read and split before.
        needs_mask: whether a tokenizer that is not given has to have a `mask_id`.
        begun: what `data.json` says of a run that goes on; its text is divided as it was.
        columns: what the stores hold beside the tokens and the labels.
        fields: what each record of the text must have, as the task says; see `Reading`.
        labels: those of a run that is there already; None reads them from the training text.

    Raises:
        InputError: for everything that text and settings can get wrong.
    """
    cache = cache_folder(config.cache_dir)
    saved = saved_tokenizer(config, needs_mask) if tokenizer is None else None
    divided = divided or divide(config, say, begun, fields)
    splits, corpora = divided.splits, divided.corpora
    labels = labels or labels_in(splits, fields, say)
    languages = languages_in(splits, fields, say)
    columns += (*columns_of(fields, labels), *_column_of_corpora(config))
    of_examples = labels is not None or {"source", "messages"} & {*fields}
    tokenizer = tokenizer or saved or trained_tokenizer(config, splits, cache, say, needs_mask, of_examples)
    tokenizer = tokenizer.with_languages(languages)
    if "messages" in fields:
        tokenizer = with_template(tokenizer)
    stores = {
        name: tokenized(split, tokenizer, cache, say, columns=columns) for name, split in splits.items()
    }
    for name, store in stores.items():
        say_of_store(name, splits[name], store, tokenizer, say)
    report = {
        name: {
            "corpus": split.description.spec,
            "licence": split.description.licence,
            "citation": split.description.citation,
            "rule": split.rule,
            "corpus_sha256": split.description.sha256,
            "fingerprint": split.fingerprint(),
            **({} if name == "train" else {"in_train": split.in_train}),
            **dataclasses.asdict(stores[name].counts),
        }
        for name, split in splits.items()
    }
    repaired = {name: corpus.report() for name, corpus in corpora.items() if corpus.report()}
    learnt = {"kind": tokenizer.name, "fingerprint": tokenizer.fingerprint()}
    report = {"splits": report, "bad_text": repaired, "tokenizer": learnt}
    return PreparedData(tokenizer, stores, report, labels, splits)


def _column_of_corpora(config: DataConfig) -> tuple[Column, ...]:
    """Return the column that says from which corpus a document is, where corpora are mixed by weight."""
    if weights_of(config.corpus_weights, len(specs_in(config.corpus))) is None:
        return ()
    return (Column(COLUMN, "document", "uint16", lambda document: document.corpus, ""),)


def say_of_store(
    name: str, split: Split, store: TokenStore, tokenizer: Tokenizer, say: Callable[[str], None]
) -> None:
    """Say what of a split its tokens do not say."""
    warn_of_unknown(name, store.counts.unknown, store.counts.tokens, say)
    if not store.counts.unknown:
        warn_of_changes(name, tokenizer, store.counts.bytes, split.num_bytes, say)
    say_of_filled(name, split, store, say)


def say_of_filled(name: str, split: Split, store: TokenStore, say: Callable[[str], None]) -> None:
    """Say which texts or words have no token of their own, if any; see `TokenStore.filled`."""
    if not store.filled:
        return
    count, number, place = store.filled
    document = documents_at(split, [number])[number]
    what, found = "texts", document
    if document.words is not None:
        what, found = "words", document.words[place]
    say(
        f"{found.source}: the tokenizer makes no token of the {what[:-1]}, which is read as an unknown one"
        f" ({count:,} such {what} in {name})"
    )


def save_tokenizer(
    config: DataConfig, folder: str | Path, say: Callable[[str], None] = lambda line: None
) -> dict[str, str | int | float]:
    """Save the tokenizer that a run with these settings would learn.

    Args:
        config: the data settings; `tokenizer` is the name of a kind.
        folder: where it goes.
        say: called with a line before each longer piece of work.

    Returns:
        kind, vocab_size, tokens_per_byte (of the training text) and fingerprint.

    Raises:
        InputError: the folder holds another tokenizer or cannot be written, or for text and settings.
    """
    if config.tokenizer not in TOKENIZERS:
        raise InputError(
            f"--tokenizer={config.tokenizer}{nearest(config.tokenizer, list(TOKENIZERS))} can't be trained; "
            f"choose one of {', '.join(TOKENIZERS)}"
        )
    cache = cache_folder(config.cache_dir)
    splits = divide(config, say).splits
    tokenizer = trained_tokenizer(config, splits, cache, say)
    there = saved_in(folder)
    if there is None:
        tokenizer.save(folder)
    elif load_tokenizer(there).fingerprint() != tokenizer.fingerprint():
        raise InputError(f"{there} holds another tokenizer; choose another --output_dir, or delete that one")
    counts = tokenized(splits["train"], tokenizer, cache, say).counts
    return {
        "kind": tokenizer.name,
        "vocab_size": tokenizer.vocab_size,
        "tokens_per_byte": round(counts.tokens / counts.bytes, 4),
        "fingerprint": tokenizer.fingerprint(),
    }


def split_of_run(
    config: DataConfig,
    tokenizer: Tokenizer,
    begun: dict,
    split: str,
    say: Callable[[str], None],
    columns: tuple[Column, ...] = (),
    fields: tuple[str, ...] = ("text",),
    labels: Labels | None = None,
) -> ScoredText:
    """Return a split of the text of a run, to be scored.

    Args:
        config: the data settings of the run.
        tokenizer: of the run.
        begun: what its `data.json` says.
        split: `train`, `valid` or `test`.
        say: called with a line before longer work.
        columns: what the store holds beside the tokens and the labels.
        fields: what each record of the text must have.
        labels: of the run, or None.

    Raises:
        InputError: the run lacks the split, or its text has changed since the run began.
    """
    if split not in begun["splits"]:
        raise InputError(
            f"split {split!r} is absent in this run; it has {', '.join(begun['splits']) or 'none'}; "
            "other text is scored with --corpus=text:GLOB"
        )
    data = prepare(config, tokenizer, say, begun=begun, columns=columns, fields=fields, labels=labels)
    before = begun["splits"][split]
    if data.report["splits"].get(split, {}).get("fingerprint") != before.get("fingerprint"):
        raise InputError(
            f"the {split} text of {before.get('corpus')} has changed since the run began; "
            "restore it, or score other text with --corpus=text:GLOB"
        )
    return ScoredText(data.splits[split], data.texts[split])


def whole_corpus(
    corpus: str,
    config: DataConfig,
    tokenizer: Tokenizer,
    split: str,
    say: Callable[[str], None],
    columns: tuple[Column, ...] = (),
    fields: tuple[str, ...] = ("text",),
    labels: Labels | None = None,
) -> ScoredText:
    """Return another text than that of a run, whole, to be scored.

    What looks wrong in it is said as of the text of a run.

    Args:
        corpus: names it.
        config: the data settings of the run.
        tokenizer: of the run.
        split: of a data set that has several, and that names none.
        say: called with a line before longer work.
        columns: what the store holds beside the tokens and the labels.
        fields: what each record of the text must have.
        labels: of the run, or None.

    Raises:
        InputError: it cannot be read.
    """
    opened = opened_corpus(corpus, config, split, say, fields)
    whole = make_splits(opened, fractions=(100, 0, 0))["train"]
    say_of({split: opened}, say)
    labels_in({split: whole}, fields, say, labels)
    cache = cache_folder(config.cache_dir)
    columns += columns_of(fields, labels)
    store = tokenized(whole, tokenizer, cache, say, whole.description.spec, columns)
    say_of_store(split, whole, store, tokenizer, say)
    return ScoredText(store, whole)
