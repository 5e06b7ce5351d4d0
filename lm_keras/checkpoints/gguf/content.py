"""What a GGUF file holds, before anything is made of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_keras.checkpoints.foreign.keys import shown
from lm_keras.checkpoints.gguf import package
from lm_keras.checkpoints.gguf.names import ARCHITECTURES, Architecture
from lm_keras.disk.files import opened
from lm_keras.errors import InputError


class Content(NamedTuple):
    """What a file holds.

    Attributes:
        path: the file.
        values: settings by name.
        tensors: weights by name, as the package has them.
    """

    path: Path
    values: Mapping[str, Any]
    tensors: Mapping[str, Any]

    def setting(self, name: str, kinds: tuple[type, ...], default: Any = None) -> Any:
        """Return a setting, or the default of one that is missing.

        Raises:
            InputError: it has another type.
        """
        value = self.values.get(name, default)
        if name in self.values and type(value) not in kinds:
            raise InputError(f"{self.path} has {shown(value)} for {name!r}")
        return value

    def items(self, name: str, kind: type) -> list | None:
        """Return a list of a setting, or None if it is missing.

        Raises:
            InputError: it is not a list, or has other items.
        """
        found = self.setting(name, (list,))
        if found is not None and not all(type(item) is kind for item in found):
            raise InputError(f"{self.path} has {name!r} with items of another type than {kind.__name__}")
        return found


def open_file(path: Path) -> Content:
    """Open a file.

    Raises:
        InputError: it cannot be read, is damaged, or is one of several.
    """
    gguf = package.imported()

    class WholeReader(gguf.GGUFReader):
        def _get(self, offset: Any, dtype: Any, count: int = 1, *more: Any, **others: Any) -> np.ndarray:
            found = super()._get(offset, dtype, count, *more, **others)
            if len(found) < count:  # The package would read on for ever.
                raise ValueError("it ends too soon")
            return found

    try:
        with opened(path):  # Which does not wait for a named pipe.
            reader = WholeReader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise
    except Exception as error:  # Of a damaged file the package says many things.
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(
            f"{path} is damaged, or not a GGUF file ({reason}); restore it from a copy"
        ) from None
    if values.get("split.count", 0) not in (0, 1):
        raise InputError(f"{path} is one of several files; join them with llama-gguf-split --merge")
    return Content(path, values, tensors)


def architecture_of(content: Content) -> Architecture:
    """Return the family of networks of a file.

    Raises:
        InputError: it is unknown here.
    """
    name = content.values.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise InputError(
            f"{content.path} has the architecture {shown(name)}; known are {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]
