"""From sums over a split to perplexity, bits per byte and the rest: the one place where this is done."""

import math

from lm_keras.data.store import TextCounts


def measures(nats: float, tokens: int, counts: TextCounts | None = None) -> dict[str, float | None]:
    """Turn summed cross-entropy into the measures of the field.

    Args:
        nats: summed cross-entropy of `tokens` targets.
        tokens: how many targets that sum is over.
        counts: what the whole split holds, if the sum is over the whole split. Measures per word, byte and
            character are None without it, or when the tokenizer lost text.

    Returns:
        nats_per_token, perplexity = exp(nats / tokens), word_perplexity = exp(nats / words), bits_per_byte
        and bits_per_character. What is not finite is None.

    Example:
        >>> counts = TextCounts(tokens=4, bytes=16, words=4, characters=8)
        >>> measures(math.log(2) * 8, 4, counts)["bits_per_byte"]
        0.5
    """
    lossless = counts is not None and not counts.unknown
    bits = nats / math.log(2)
    values = {
        "nats_per_token": _ratio(nats, tokens),
        "perplexity": _exp(_ratio(nats, tokens)),
        "word_perplexity": _exp(_ratio(nats, counts.words)) if lossless else None,
        "bits_per_byte": _ratio(bits, counts.bytes) if lossless else None,
        "bits_per_character": _ratio(bits, counts.characters) if lossless else None,
    }
    return {name: finite(value) for name, value in values.items()}


def finite(value: float | None) -> float | None:
    """Return the value, or None if it is no finite number: JSON has no other way to say so.

    With floatx bfloat16 Keras hands out tensors, which become numbers here.
    """
    return float(value) if value is not None and math.isfinite(value) else None


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None


def _exp(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        return math.exp(value)
    except OverflowError:
        return None
