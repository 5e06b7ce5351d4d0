"""The text of a run, read once and divided into splits."""

import dataclasses
from collections.abc import Callable

from lm_keras.config import DataConfig
from lm_keras.corpora import Corpus, Split, make_splits, open_corpus
from lm_keras.corpora.mixed import MixedCorpus, specs_in
from lm_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class DividedText:
    """The text of a run, read once and divided, not tokenized yet.

    Attributes:
        splits: `train` and, where they exist, `valid` and `test`.
        corpora: what they were taken from: that of `--corpus` is `train`.
    """

    splits: dict[str, Split]
    corpora: dict[str, Corpus]

    @property
    def bytes(self) -> int:
        """Return the size of the text of all splits."""
        return sum(split.num_bytes for split in self.splits.values())


def divide(
    config: DataConfig,
    say: Callable[[str], None] = lambda line: None,
    begun: dict | None = None,
    fields: tuple[str, ...] = ("text",),
) -> DividedText:
    """Read the text that the settings name once and divide it; say what is wrong with it and is read all the
    same.

    Args:
        config: the data settings.
        say: called with a line each.
        begun: what `data.json` says of a run that goes on; its text is divided as it was.
        fields: what each record must have; see `Reading`.

    Raises:
        InputError: a text cannot be read or divided so.
    """
    specs = {"train": config.corpus, "valid": config.valid_corpus, "test": config.test_corpus}
    specs = {name: spec for name, spec in specs.items() if spec}
    every = [one for spec in specs.values() for one in specs_in(spec)]
    if config.document_separator and not any(spec.startswith("text:") for spec in every):
        raise InputError(
            f"--document_separator={config.document_separator} has no meaning for --corpus={config.corpus},"
            " whose documents are divided already; leave it out"
        )
    if config.label_field and not {"label", "tags"} & set(fields):
        raise InputError(
            f"--label_field={config.label_field} has no meaning for this task, which reads no labels;"
            " leave it out"
        )
    corpora = {name: opened_corpus(spec, config, name, say, fields) for name, spec in specs.items()}
    corpora = {**corpora["train"].held_out(), **corpora}
    say(f"reading {corpora['train'].spec}")
    before = begun["splits"].get("train", {}).get("rule") if begun else None
    try:
        splits = make_splits(
            corpora["train"],
            corpora.get("valid"),
            corpora.get("test"),
            fractions_of(config.split),
            before,
            say,
        )
    finally:
        say_of(corpora, say)
    return DividedText(splits, corpora)


def opened_corpus(
    spec: str,
    config: DataConfig,
    part: str,
    say: Callable[[str], None],
    fields: tuple[str, ...] = ("text",),
) -> Corpus:
    """Open a corpus as the settings of a run say.

    Args:
        spec: what names it.
        config: the data settings; their own corpora are not looked at.
        part: `train`, `valid` or `test`; see `open_corpus`.
        say: called with a line before longer work.
        fields: what each record must have; see `Reading`.

    Raises:
        InputError: as `open_corpus`.
    """
    specs = specs_in(spec)
    opened = [
        open_corpus(
            one,
            text_field=config.text_field,
            on_bad_text=config.on_bad_text,
            part=part,
            say=say,
            document_separator=config.document_separator,
            fields=fields,
            label_field=config.label_field,
            header=config.header,
            source_field=config.source_field,
            target_field=config.target_field,
            language_field=config.target_language_field,
            language=language,
        )
        for one, language in zip(specs, _languages_of(config, specs))
    ]
    return opened[0] if len(opened) == 1 else MixedCorpus(opened)


def _languages_of(config: DataConfig, specs: list[str]) -> list[str | None]:
    """Return the target language of each corpus, as `--target_languages` says; None where it does not."""
    if config.target_languages is None:
        return [None] * len(specs)
    if config.target_language_field:
        raise InputError(
            f"--target_languages={config.target_languages} and --target_language_field="
            f"{config.target_language_field} contradict each other; leave one of them out"
        )
    languages = [name.strip() for name in config.target_languages.split(",")]
    if not all(languages) or len(languages) not in (1, len(specs)):
        raise InputError(
            f"--target_languages={config.target_languages} names {len(languages)} languages for"
            f" {len(specs)} {'corpus' if len(specs) == 1 else 'corpora'}, {' '.join(specs)}: expected one for"
            " each, or one for all; a text with several has them in a field, --target_language_field"
        )
    return languages * len(specs) if len(languages) == 1 else languages


def say_of(corpora: dict[str, Corpus], say: Callable[[str], None]) -> None:
    """Say what looks wrong in corpora that were read, and what was repaired or left out."""
    for line in dict.fromkeys(remark for corpus in corpora.values() for remark in corpus.remarks()):
        say(line)
    for name, corpus in corpora.items():
        if counts := corpus.report():
            repaired = ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items())
            say(f"bad text in {name}: {repaired}")


def fractions_of(split: str) -> tuple[float, float, float]:
    """Read `--split`, three percentages with slashes between.

    Example:
        >>> fractions_of("90/10/0")
        (90.0, 10.0, 0.0)
    """
    try:
        train, valid, test = (float(part) for part in split.split("/"))
    except ValueError:
        raise InputError(f"--split={split}: expected three percentages such as 90/5/5") from None
    return train, valid, test
