"""Networks that predict tags: names, places and other spans of a text.

w words of a sentence, C tags.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from lm_keras.answers.labeller import ROWS, Labeller, check_too_long, name_of
from lm_keras.data.example_rows import Example
from lm_keras.errors import InputError
from lm_keras.objectives.scores import spans_of
from lm_keras.objectives.viterbi import best_tags, has_spans
from lm_keras.sampling.prompts import check_text

NOT_READ = -1
"""In place of the tag of a word that was cut off."""


class Span(NamedTuple):
    """Words that a model gives a type.

    Attributes:
        start, end: the first character and the one behind the last, in the text; of a list of words in the
            words with a space between them.
        type: of the span.
        text: its words.
        probability: the product of the probabilities of its tags.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float


class Sentence(NamedTuple):
    """A text and its words.

    Attributes:
        text: the text.
        words: where each word begins and ends in it.
    """

    text: str
    words: list[tuple[int, int]]

    @classmethod
    def of(cls, given: str | list[str]) -> "Sentence":
        """Divide a string into words, or join words."""
        if isinstance(given, str):
            return cls(given, list(words_of(given)))
        ends = list(itertools.accumulate(len(word) + 1 for word in given))
        return cls(" ".join(given), [(end - 1 - len(word), end - 1) for word, end in zip(given, ends)])


class Tagger(Labeller):
    """Tags the words of sentences; see `Labeller`."""

    task = "tagging"
    in_python, instead = "tag", "use tag"
    tags_words = True
    usually_too_long = "windows"

    def tag(
        self, texts: list[str | list[str]], too_long: str = "windows", batch_size: int = ROWS
    ) -> list[list[Span]]:
        """Return the spans of each text.

        Args:
            texts: strings, which `words_of` divides into words, or lists of words.
            too_long: what is done with a text that has more tokens than the network reads: `error`,
                `cut_end` and `cut_start`, which leave words without a tag (`O`), or `windows` that overlap.
            batch_size: rows that go through the network at once; it changes nothing but time and memory.

        Returns:
            The spans of each text, from left to right. Where the tags of the model mark no spans, such as
            parts of speech, each word is a span of its tag.

        Raises:
            InputError: a text is not a string or a list of words, or longer than the network reads where that
                is an error.
        """
        sentences, tags, probabilities = self._tagged(texts, too_long, batch_size)
        self.tell_of_long(too_long)
        return [self._spans(*tagged) for tagged in zip(sentences, tags, probabilities)]

    def records(
        self, inputs: list[str | list[str]], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        found = []
        for sentence, tags, probabilities in zip(*self._tagged(inputs, too_long, batch_size, names)):
            spans = self._spans(sentence, tags, probabilities)
            found.append(
                {
                    "text": sentence.text,
                    "words": [sentence.text[begin:end] for begin, end in sentence.words],
                    "tags": tags,
                    "probabilities": probabilities,
                    "spans": [span._asdict() for span in spans],
                }
            )
        return found

    def _tagged(
        self, texts: list[str | list[str]], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> tuple[list[Sentence], list[list[str]], list[list[float]]]:
        """Return each text with its words, their tags, and the probabilities of these; a word that was cut
        off has `O` and 0.
        """
        check_words(texts, names)
        check_too_long(too_long)
        sentences = [Sentence.of(text) for text in texts]
        examples = [self._example(sentence) for sentence in sentences]
        scores, are_read = self.log_probabilities(examples, batch_size, too_long, names)
        tags, probabilities, first = [], [], 0
        for _, words in sentences:
            own, is_read = scores[first : first + len(words)], are_read[first : first + len(words)]
            first += len(words)
            chosen = np.full(len(words), NOT_READ)
            chosen[is_read] = best_tags(own[is_read], self.names)
            tags.append(["O" if tag == NOT_READ else self.names[tag] for tag in chosen])
            likely = np.where(is_read, np.exp(own[np.arange(len(words)), chosen]), 0.0)
            probabilities.append(likely.tolist())
        return sentences, tags, probabilities

    def _example(self, text: Sentence | str | list[str]) -> Example:
        sentence = text if isinstance(text, Sentence) else Sentence.of(text)
        return Example(*self._words(sentence.text[begin:end] for begin, end in sentence.words))

    def _spans(self, sentence: Sentence, tags: list[str], probabilities: list[float]) -> list[Span]:
        text, words = sentence
        if has_spans(self.names):
            spans = spans_of(tags)
        else:
            spans = [(word, word + 1, tag) for word, tag in enumerate(tags)]
        found = []
        for first, last, kind in spans:
            begin, end = words[first][0], words[last - 1][1]
            probability = float(np.prod(probabilities[first:last]))
            found.append(Span(begin, end, kind, text[begin:end], probability))
        return found


def check_words(texts: list[str | list[str]], names: Sequence[str] = ()) -> None:
    """Raise InputError unless every text is a string or a list of words, without white space around them."""
    if isinstance(texts, str):
        raise InputError("expected a list of texts, not one string; put it into a list")
    for number, text in enumerate(texts, 1):
        for word in text if isinstance(text, list | tuple) else [text]:
            check_text(name_of(number, names), word)
            if word is not text and not word.strip():
                raise InputError(f"{name_of(number, names)} has an empty word; leave it out")


_CHARACTERS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
"""Of languages without spaces between words: kana and Chinese characters."""

_RUN = re.compile(rf"[{_CHARACTERS}]|[^\s{_CHARACTERS}]+")
_SAME = re.compile(r"(.)\1*", re.DOTALL)
_OPENING, _CLOSING = "([{<\"'“‘«¿¡", ".,;:!?)]}>\"'”’»…"
_ABBREVIATION = re.compile(r"(?:[^\W\d_]\.)+")


def words_of(text: str) -> Iterator[tuple[int, int]]:
    """Yield where the words of a text begin and end.

    Words end at white space. Punctuation at their ends is a word of its own, and so is each Chinese or
    Japanese character. Nothing is cut within a word, nor from one without letters and digits.

    Example:
        >>> text = 'He said "U.S." (again), see http://t.co :)'
        >>> [text[begin:end] for begin, end in words_of(text)]
        ['He', 'said', '"', 'U.S.', '"', '(', 'again', ')', ',', 'see', 'http://t.co', ':)']
    """
    for run in _RUN.finditer(text):
        begin, end = run.span()
        if not any(character.isalnum() for character in run[0]):
            yield begin, end
            continue
        first, last = begin, end
        while text[first] in _OPENING:
            first += 1
        while text[last - 1] in _CLOSING and not _ABBREVIATION.fullmatch(text, first, last):
            last -= 1
        yield from (found.span() for found in _SAME.finditer(text, begin, first))
        yield first, last
        yield from (found.span() for found in _SAME.finditer(text, last, end))
