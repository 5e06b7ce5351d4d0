"""Prompts of flags, files and standard input, and checks of the texts that a caller gives."""

import re
import sys
from collections.abc import Callable

from lm_keras.corpora.decoding import OTHER_MARKS
from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

PROMPT_BYTES = 16 * 2**20
"""The longest prompt."""

MARK = "\ufeff"
"""The byte order mark: no text, as in a corpus."""


def given_prompt(prompt: str, path: str | None, interactive: bool = False) -> str:
    """Return the prompt: of the flag, of a file, or of standard input for the path `-`; one line end at the
    end is cut.

    Args:
        prompt: of the flag.
        path: of the file.
        interactive: whether prompts are lines of standard input, so that there may be none here.

    Raises:
        InputError: both are given, or the file cannot be read, is too large or is not UTF-8.
    """
    if interactive and (prompt or path):
        raise InputError(
            "--interactive reads its prompts from standard input; leave --prompt and --prompt_file out"
        )
    if path is None:
        return prompt
    if prompt:
        raise InputError("--prompt and --prompt_file contradict each other; give one of them")
    try:
        content = sys.stdin.buffer.read(PROMPT_BYTES + 1) if path == "-" else bytes_of(path, PROMPT_BYTES)
        if len(content) > PROMPT_BYTES:
            raise OSError(None, f"more than {PROMPT_BYTES:,} bytes", path)
        text = content.decode("utf-8")
    except OSError as error:
        raise InputError(f"--prompt_file={path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        other = next((name for mark, name in OTHER_MARKS.items() if content.startswith(mark)), None)
        remedy = f"; it is {other}, convert it (iconv -f {other} -t UTF-8)" if other else ""
        raise InputError(f"--prompt_file={path} is not UTF-8 at byte {error.start}{remedy}") from None
    return re.sub(r"\r?\n\Z", "", text)


def as_read(
    prompt: str, tokenizer: Tokenizer, unknown_parts: Callable[[str], list[str]]
) -> tuple[str, list[str]]:
    r"""Return a prompt without what is no text to a model: byte order marks, and carriage returns that its
    vocabulary lacks.

    Args:
        prompt: as it was given.
        tokenizer: of the model.
        unknown_parts: tells what of a text the model does not know.

    Returns:
        The prompt, and lines that tell what was changed and what may not be meant. A mark at the beginning is
        dropped without a word, as that of a corpus is.
    """
    text, said = prompt.removeprefix(MARK), []
    if marks := text.count(MARK):
        text = text.replace(MARK, "")
        said.append(f"byte order marks (U+FEFF) within the prompt were dropped: {marks:,}")
    if "\r" not in text:
        return text, said
    returns, without = text.count("\r"), re.sub("\r\n?", "\n", text)
    if unknown_parts("\r"):
        said.append(
            f"the vocabulary has no carriage return: those in the prompt were read as line ends ({returns:,})"
        )
    elif tokenizer.encode_prompt(text) != tokenizer.encode_prompt(without):
        said.append(
            f"the prompt has carriage returns ({returns:,}), and the model reads them; if the lines of its"
            " training text did not end with them, remove them (tr -d '\\r')"
        )
        return text, said
    return without, said


def check_prompts(prompts: list[str]) -> list[str]:
    """Return `prompts` as a list, or raise an error that says what is wrong with it.

    Raises:
        InputError: not a list or tuple of str, or a text that no encoding to bytes exists for.
    """
    if isinstance(prompts, str) or not isinstance(prompts, (list, tuple)):
        raise InputError(
            f"prompts is a {type(prompts).__name__}, not a list of strings; "
            'for one prompt write ["..."], for the start of a document [""]'
        )
    for index, prompt in enumerate(prompts):
        check_text(f"prompts[{index}]", prompt)
    return list(prompts)


def check_text(name: str, text: str) -> None:
    """Raise an `InputError` that names `name` unless `text` is a str of Unicode scalar values."""
    if not isinstance(text, str):
        raise InputError(
            f"{name} is a {type(text).__name__}, not a string; decode bytes with .decode('utf-8') first"
        )
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} has the lone surrogate U+{ord(text[error.start]):04X} at character {error.start}, "
            "which is not text; read the text as UTF-8, or drop such characters with text.encode('utf-8', "
            "'ignore').decode()"
        ) from None


def check_texts(texts: list[str]) -> None:
    """Raise an `InputError` unless `texts` is a list of texts."""
    if isinstance(texts, str) or not isinstance(texts, (list, tuple)):
        raise InputError(
            f'texts is a {type(texts).__name__}, not a list of strings; for one text write ["..."]'
        )
    for index, text in enumerate(texts):
        check_text(f"texts[{index}]", text)
