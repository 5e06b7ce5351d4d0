"""JSON with a sum of itself, so that not one changed bit of it goes unnoticed."""

import json
from typing import Any

from lm_keras.checkpoints.records import OWN_SUM, signed


def sealed(content: dict[str, Any]) -> str:
    """Return the text of a JSON file.

    Args:
        content: JSON values by name.
    """
    return json.dumps(signed(content), indent=1, ensure_ascii=False) + "\n"


def unsealed(text: bytes) -> dict[str, Any]:
    """Return the content of a file that `sealed` wrote.

    Raises:
        ValueError: it has other content than was written; the message is a part of a sentence on the file.
    """
    try:
        content = json.loads(text)
        del content[OWN_SUM]
        # The text itself, for two texts can be the same JSON.
        if sealed(content).encode() == text:
            return content
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise ValueError("has other content than was written")
