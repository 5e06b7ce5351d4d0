"""The corpus `jsonl:GLOB`: a JSON object a line, with a text and a label, with words and tags, with a source
and a target, or with messages.
"""

from collections.abc import Iterator

from lm_keras.corpora.conversations import MESSAGES, conversation_of
from lm_keras.corpora.decoding import NOT_TEXT, Counts
from lm_keras.corpora.documents import Document, Reading, Word
from lm_keras.corpora.json_lines import MISSING, Field, kind_of, record_of
from lm_keras.corpora.pairs import SOURCE, TARGET, pair_of
from lm_keras.corpora.record_files import REMEDY, RecordFiles
from lm_keras.errors import InputError, nearest, shown

TEXT = "text"
WORDS = ("words", "tokens")
"""Fields in which words are looked for, too, where `--text_field` is `text`."""


class Number:
    """A number as it is written: a label 7.0 is called so.

    Args:
        digits: of it.
    """

    def __init__(self, digits: str):
        self.digits = digits


class JsonFiles(RecordFiles):
    """Lines of JSON.

    A label is a string, a number or a boolean. Words are an array of strings, and tags are another one of the
    same length.

    Args:
        globs: paths or globs, separated by commas.
        reading: how they are read. Its `text_field` also names the words; `text` stands for `words` and
            `tokens` then. Its `label_field` also names the tags.
    """

    def __init__(self, globs: str, reading: Reading):
        super().__init__("jsonl", globs, reading)
        fields = reading.fields
        self._text = Field(reading.text_field)
        self._words = [self._text, *(Field(name) for name in WORDS if reading.text_field == TEXT)]
        self._label = Field(reading.label_field or ("tags" if "tags" in fields else "label"))
        self._used = [*(self._words if "words" in fields else [self._text])]
        if "tags" in fields or "label" in fields:
            self._used.append(self._label)
        self._sides = [
            Field(getattr(reading, f"{name}_field") or name) for name in (SOURCE, TARGET) if name in fields
        ]
        self._language = Field(reading.language_field) if reading.language_field else None
        if self._sides:
            self._used = [*self._sides, *([self._language] if self._language else [])]
        if MESSAGES in fields:
            self._used = [Field(MESSAGES), Field("role"), Field("content")]
        self._needs = f"with {' and '.join(fields)}"

    def _records(
        self, path: str, lines: Iterator[tuple[int, str]], counts: Counts
    ) -> Iterator[Document | InputError | None]:
        for number, line in lines:
            if not line.strip():
                continue
            place = f"{shown(path)}:{number}"
            try:
                record = record_of(line, self._used, self._needs, Number)
                if self._sides:
                    yield self._pair(place, record, counts)
                elif MESSAGES in self.reading.fields:
                    yield conversation_of(place, record, counts, self._cleaned)
                elif "words" in self.reading.fields:
                    yield self._tagged(place, record, counts)
                else:
                    label = self._name(record) if "label" in self.reading.fields else None
                    yield self._document(place, self._text.text_in(record), label, counts)
            except InputError as error:
                yield error if str(error).startswith(place) else InputError(f"{place}: {error}")

    def _pair(self, place: str, record: dict, counts: Counts) -> Document | InputError | None:
        """Return the pair of a record; a source may be an array of sentences, a target one of references."""
        sides = [
            _side(field, record, name, f"--{name}_field")
            for name, field in zip((SOURCE, TARGET), self._sides)
        ]
        language = None
        if self._language:
            language = _side(self._language, record, "language of the target", "--target_language_field")[0]
            if not language.strip():
                raise InputError(f"the language of the target is empty; {REMEDY}")
        source, *targets = sides
        source = " ".join(sentence.strip() for sentence in source)
        targets = [target for several in targets for target in several]
        return pair_of(place, source, targets, self.reading, counts, self._cleaned, language)

    def _name(self, record: dict) -> str:
        """Return the label of a record."""
        value = self._label.of(record)
        if value is MISSING:
            raise InputError(
                f"no field {self._label.name!r}{nearest(self._label.name, list(record))}: name the one with"
                " the label with --label_field, or leave the line out"
            )
        name = _as_name(value)
        if name is None:
            raise InputError(
                f"the field {self._label.name!r} is a JSON {kind_of(value)}: expected a label, which is a"
                " string, a number or a boolean"
            )
        if not name.strip():
            raise InputError(f"the label is empty; {REMEDY}")
        return name

    def _tagged(self, place: str, record: dict, counts: Counts) -> Document | None:
        field = next((field for field in self._words if field.of(record) is not MISSING), self._words[:2][-1])
        words = self._strings(field, record, "words", "--text_field")
        names: list[str | None] = [None] * len(words)
        if "tags" in self.reading.fields:
            names = self._strings(self._label, record, "tags", "--label_field")
        if len(names) != len(words):
            raise InputError(f"{len(words)} words and {len(names)} tags: expected as many; {REMEDY}")
        if not words:
            raise InputError(f"no words; {REMEDY}")
        if NOT_TEXT.search("".join([*words, *filter(None, names)])):
            words = self._cleaned(place, words, counts)
            names = words and (self._cleaned(place, names, counts) if None not in names else names)
            if not names:
                return None
        return Document.from_words(
            place,
            (Word(word, tag, f"{place} word {n}") for n, (word, tag) in enumerate(zip(words, names), 1)),
        )

    def _strings(self, field: Field, record: dict, what: str, setting: str) -> list[str]:
        values = field.of(record)
        if values is MISSING:
            raise InputError(
                f"no field {field.name!r}{nearest(field.name, list(record))}: name the one with the"
                f" {what} with {setting}"
            )
        if not isinstance(values, list):
            raise InputError(
                f"the field {field.name!r} is a JSON {kind_of(values)}: expected an array of {what}"
            )
        names = values if what == "words" else [_as_name(value) for value in values]
        for number, (name, value) in enumerate(zip(names, values), 1):
            if not isinstance(name, str) or not name.strip():
                raise InputError(
                    f"number {number} of the {what} in the field {field.name!r} is"
                    f" {'empty' if isinstance(name, str) else 'a JSON ' + kind_of(value)}: expected a string"
                )
        return names


def open_source(rest: str, reading: Reading) -> JsonFiles:
    """Return the lines of JSON in files that globs name, several with commas between; see `JsonFiles`."""
    return JsonFiles(rest, reading)


def _side(field: Field, record: dict, what: str, setting: str) -> list[str]:
    """Return the texts of a side of a pair: a string, or an array of at least one."""
    value = field.of(record)
    if value is MISSING:
        raise InputError(
            f"no field {field.name!r}{nearest(field.name, list(record))}: name the one with the {what} with"
            f" {setting}"
        )
    texts = value if isinstance(value, list) else [value]
    wrong = next((text for text in texts if not isinstance(text, str)), None)
    if wrong is not None or not texts:
        kind = "an empty array" if not texts else f"a JSON {kind_of(wrong)}"
        raise InputError(
            f"the field {field.name!r} is or holds {kind}: expected a string with the {what}, or an array of"
            f" strings; {REMEDY}"
        )
    return texts


def _as_name(value: object) -> str | None:
    """Return the name of a label, or None if the value is none."""
    if isinstance(value, Number):
        return value.digits
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else None
