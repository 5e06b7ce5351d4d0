"""The names that a user chooses from, and what stands behind each of them: a row a name.

A row names the file that does the work, and that file is imported when the work begins. So flags, checks and
help texts know every name without Keras and TensorFlow.

To add a family, write `lm_keras/models/NAME.py` and add a row to `FAMILIES`.
"""

import dataclasses

CAPABILITIES = {
    "ngram": "reads the n - 1 tokens before, side by side",
    "recurrence": "carries a state from token to token and from row to row",
    "attention": "is a stack of Transformer blocks",
    "grouped_queries": "several heads of queries may share keys and values",
    "block_styles": "norm, activation and biases of the blocks can be chosen",
    "rotary": "positions may be rotary",
    "documents": "can keep the documents of a row apart",
    "cache": "keeps keys and values, so that a token is generated without reading the text again",
    "rematerialization": "can compute a block again for the gradient",
    "xla_on_cpu": "float32 gradients compiled by XLA take less time on a CPU (docs/performance.md)",
    "masked_lm": "predicts hidden tokens from all others",
    "infilling": "predicts hidden spans token by token",
}
"""What a family may have or do. Settings and checks ask for a capability, never for the name of a family."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of networks.

    Attributes:
        module: its file in `lm_keras/models/`, which has `build` and `num_parameters`; see `lm_keras.models`.
        capabilities: keys of `CAPABILITIES`.
    """

    module: str
    capabilities: tuple[str, ...]


FAMILIES = {
    "ngram": Family("ngram", ("ngram",)),
    "lstm": Family("lstm", ("recurrence",)),
    "gpt": Family(
        "gpt",
        ("attention", "grouped_queries", "block_styles", "rotary", "documents", "cache", "rematerialization")
        + ("xla_on_cpu",),
    ),
    "bert": Family("bert", ("attention", "masked_lm")),
    "glm": Family("glm", ("attention", "grouped_queries", "block_styles", "cache", "infilling")),
}
"""The choices of `--model`."""


def families_with(*capabilities: str) -> tuple[str, ...]:
    """Return the families that have at least one of these capabilities.

    Example:
        >>> families_with("rotary"), families_with("masked_lm", "infilling")
        (('gpt',), ('bert', 'glm'))
    """
    return tuple(name for name, family in FAMILIES.items() if {*capabilities} & {*family.capabilities})


def listed(*capabilities: str) -> str:
    """Return the families that have at least one of these capabilities as words of a text.

    Example:
        >>> listed("attention")
        'gpt, bert, glm'
    """
    return ", ".join(families_with(*capabilities))
