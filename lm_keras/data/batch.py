"""One batch, and the one table of what its inputs may hold.

B rows of a batch, T positions of a row that the network reads, K positions at which it predicts, S positions
of a row of sources.
"""

from typing import Any, NamedTuple


class Batch(NamedTuple):
    """What a training step or a call of the evaluation takes.

    Attributes:
        inputs: what the network reads, by the names of `INPUTS`.
        targets: [B, K] int32, the tokens that are predicted. K = T where every token has a target.
        weights: [B, K] float32, 0 where there is no target.
    """

    inputs: dict[str, Any]
    targets: Any
    weights: Any


class Input(NamedTuple):
    """One array of a batch's inputs: its shape, its type and its meaning."""

    shape: str
    dtype: str
    meaning: str


INPUTS: dict[str, Input] = {
    "tokens": Input("[B, T]", "int32", "tokens that the network reads"),
    "source": Input("[B, S]", "int32", "tokens of the sources of pairs, where the network reads them apart"),
    "source_document": Input(
        "[B, S]", "int32", "the pair of each token of a source; beyond the last source a larger number"
    ),
    "reset": Input("[B]", "bool", "rows whose carried state is reset before the first token"),
    "document": Input(
        "[B, T]",
        "int32",
        "rising numbers of the documents, examples or pairs of a row; beyond the text -1, or with labels or "
        "pairs a larger one",
    ),
    "predicted": Input(
        "[B, K]", "int32", "positions at which the network predicts; all of them where it is missing"
    ),
    "number": Input(
        "[B, K]",
        "int32",
        "the example or word of the split that is predicted, -1 for none; no network reads it",
    ),
    "position": Input("[B, T]", "int32", "position in part A of each token, or of its span in part B"),
    "within": Input("[B, T]", "int32", "0 in part A; in part B the position in the span, from 1 on"),
    "order": Input("[B, T]", "int32", "a token sees those whose order is not above its own"),
}
"""Every array that a batch's `inputs` may hold; a task says which of them its batches have."""
