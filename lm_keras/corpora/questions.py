"""The corpus `python-docs:questions`: conversations about the standard library. Nothing is downloaded, and no
file is imported.
"""

import ast
import inspect
import re
from collections.abc import Iterator

from lm_keras.conversations.messages import ASSISTANT, USER, Message
from lm_keras.corpora.documents import Document
from lm_keras.corpora.python_docs import LibraryCorpus, different, scopes
from lm_keras.corpora.signatures import in_words

FEWEST_WORDS, MOST_WORDS = 3, 25
"""Words of an answer."""

_END = re.compile(r"(?<=[.!?])\s")


class QuestionDocs(LibraryCorpus):
    """Conversations of a question about a name and its answer, the first sentence of the docstring.

    The name is that of a function or a class with a docstring, in words, and behind it that of what encloses
    it. Words are parted at underscores, at capital letters and at digits, and are in lower case:

        user       What does "clear" of "cookie jar" do?
        assistant  Clear some cookies.

    Of a class the question is `What is "cookie jar"?`. White space in an answer is one space. Names with
    a leading underscore are left out, and so are answers without a full stop, with fewer than `FEWEST_WORDS`
    words or more than `MOST_WORDS`, and a question that comes again.

    Args:
        fields: what is read: without `messages` question and answer are one text.
    """

    spec = "python-docs:questions"

    def _read(self) -> list[tuple[str, str, str]]:
        return different(questions)

    def _document(self, place: str, question: str, answer: str) -> Document:
        if "messages" in self._fields:
            return Document.from_messages(place, (Message(USER, question), Message(ASSISTANT, answer)))
        return Document.from_text(place, f"{question}\n{answer}\n")


def questions(source: str | bytes, path: str) -> Iterator[tuple[str, str, str]]:
    r"""Yield place, question and answer of the docstrings in a file; see `QuestionDocs`.

    Example:
        >>> source = 'class A:\n    def get_URL(self):\n        "Return the URL. Or None."\n'
        >>> list(questions(source, "a.py"))[0][1:]
        ('What does "get url" of "a" do?', 'Return the URL.')
    """
    for name, scope in scopes(source):
        text = ast.get_docstring(scope, clean=False)
        parts = name.split(".")
        if not text or not name.isascii() or any(part.startswith("_") for part in parts):
            continue
        answer = first_sentence(text)
        if not FEWEST_WORDS <= len(answer.split()) <= MOST_WORDS:
            continue
        if not (answer.isascii() and answer.endswith(".")):
            continue
        words = " of ".join(f'"{in_words(part)}"' for part in reversed(parts[-2:]))
        is_class = isinstance(scope, ast.ClassDef)
        yield f"{path}:{name}", f"What is {words}?" if is_class else f"What does {words} do?", answer


def first_sentence(docstring: str) -> str:
    r"""Return the first sentence of a docstring, in which white space is one space.

    Example:
        >>> first_sentence("Return a\n    copy. The copy is deep.")
        'Return a copy.'
    """
    paragraph = inspect.cleandoc(docstring).partition("\n\n")[0]
    return _END.split(" ".join(paragraph.split()))[0]
