"""What samples from a network, and what scores texts with it, by what its tokens see."""

from collections.abc import Callable

import keras
import tensorflow as tf

from lm_keras.errors import InputError, nearest
from lm_keras.layers.casting import Int8Matrices
from lm_keras.sampling.blanks import MASK, Filler, HidingScorer
from lm_keras.sampling.generate import Sampler
from lm_keras.sampling.infill import InfillSampler, InfillScorer
from lm_keras.sampling.score import Scorer
from lm_keras.text.tokenizer import Tokenizer


def sampler_for(
    model: keras.Model,
    tokenizer: Tokenizer,
    say: Callable[[str], None] = lambda line: None,
    jit: bool = False,
    int8: Int8Matrices | None = None,
):
    """Return what turns a model into text; `jit` and `int8` as for a `Sampler`."""
    if jit and not hasattr(model, "forward_apart"):
        raise InputError(
            "--jit=on (jit=True) compiles what a gpt or a glm does for a token, and this model is neither;"
            " leave it out"
        )
    sampler = _chosen(model, Filler, InfillSampler, Sampler)
    return sampler(model, tokenizer, say, **({} if sampler is Filler else {"jit": jit, "int8": int8}))


WEIGHTS = ("float32", "int8")
"""Number formats in which products may read weights; the first one stands for that of the run's
`--precision`.
"""


def int8_of(model: keras.Model, weights: str, jit: bool) -> Int8Matrices | None:
    """Return the matrices of a model as 8-bit integers, or None where `weights` asks for none.

    Raises:
        InputError: `weights` is unknown, or would do nothing: without `jit`, for other families than gpt and
            glm, and on a GPU.
    """
    if weights not in WEIGHTS:
        raise InputError(
            f"weights={weights!r} is unknown{nearest(weights, WEIGHTS)}; choose one of {', '.join(WEIGHTS)}"
        )
    if weights == "float32":
        return None
    flag = "--weights=int8 (weights='int8')"
    if not hasattr(model, "product_matrices"):
        raise InputError(f"{flag} is for a gpt or a glm, and this model is neither; leave it out")
    if not jit:
        raise InputError(
            f"{flag} needs --jit=on (jit=True): only a program of XLA's reads 8-bit weights faster; give it"
            " too, or leave both out"
        )
    if tf.config.list_physical_devices("GPU"):
        raise InputError(
            f"{flag} is for text from a CPU, and here is a GPU; leave it out, or set CUDA_VISIBLE_DEVICES=-1"
        )
    return Int8Matrices(model)


def scorer_for(model: keras.Model, tokenizer: Tokenizer):
    """Return what scores texts with a model."""
    return _chosen(model, HidingScorer, InfillScorer, Scorer)(model, tokenizer)


def fills(model: keras.Model, prompt: str) -> bool:
    """Tell whether what a model generates for a prompt is the prompt itself with its blanks filled."""
    return _chosen(model, True, MASK in prompt, False)


def _chosen(model, bidirectional, infills, others):
    if getattr(model, "bidirectional", False):
        return bidirectional
    return infills if getattr(model, "infills", False) else others
