"""What samples from a network, and what scores texts with it, by what its tokens see."""

from collections.abc import Callable

import keras

from lm_keras.errors import InputError
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
):
    """Return what turns a model into text; `jit` as for a `Sampler`."""
    if jit and not hasattr(model, "forward_apart"):
        raise InputError(
            "--jit=on (jit=True) compiles what a gpt or a glm does for a token, and this model is neither; leave it out"
        )
    sampler = _chosen(model, Filler, InfillSampler, Sampler)
    return sampler(model, tokenizer, say, **({} if sampler is Filler else {"jit": jit}))


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
