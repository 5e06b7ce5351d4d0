"""The package `gguf`, which is imported when a file is read or written."""

import types

from lm_keras.errors import InputError


def imported() -> types.ModuleType:
    """Return the package.

    Raises:
        InputError: it is not installed.
    """
    try:
        import gguf
    except ImportError:
        raise InputError(
            "reading and writing GGUF needs the package gguf: pip install 'lm_keras[gguf]'"
        ) from None
    return gguf
