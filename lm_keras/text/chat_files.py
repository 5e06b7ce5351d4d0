"""The chat template of another project's model, in the files beside its tokenizer."""

from pathlib import Path
from typing import Any

from lm_keras.disk.files import bytes_of
from lm_keras.errors import InputError
from lm_keras.text import switches
from lm_keras.text.special import TEMPLATE_FILE

TEMPLATE_BYTES = 2**20
"""More than any template has."""

VARIABLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""What a template may read beside a conversation: names of tokens."""


def template_in(folder: Path, *settings: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Return the chat template of a folder, or None, and what it may read beside a conversation.

    The file chat_template.jinja comes before the field of tokenizer_config.json. Of several templates, which
    have names there, it is the one that is called default.

    Args:
        folder: of the model.
        settings: in tokenizer_config.json, and in special_tokens_map.json, which comes after it.

    Raises:
        InputError: the template is no text.
    """
    path = folder / TEMPLATE_FILE
    try:
        template = bytes_of(path, TEMPLATE_BYTES).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        template = settings[0].get("chat_template")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8; restore it from a copy") from None
    try:
        return template_named({**settings[0], "chat_template": template}, *settings[1:])
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def template_named(*settings: dict[str, Any]) -> tuple[str | None, dict[str, str]]:
    """Return the chat template that settings name, and what it may read; see `template_in`."""
    template, found = settings[0].get("chat_template"), {}
    if isinstance(template, list):
        named = {one.get("name"): one.get("template") for one in template if isinstance(one, dict)}
        template = named.get("default")
    if template is None:
        return None, {}
    if not isinstance(template, str):
        raise InputError(f"its chat template is a {type(template).__name__}; expected a string")
    for given in reversed(settings):
        found |= {name: value for name in VARIABLES if (value := switches.name_in(given, name)) is not None}
    return template, found
