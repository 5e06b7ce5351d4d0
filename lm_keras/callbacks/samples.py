"""Text samples while a model trains."""

from collections.abc import Callable

import keras

from lm_keras.answers import answer_for
from lm_keras.callbacks.base import DrawingCallback
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

SAMPLE_SETTINGS = {"max_new_tokens": 120, "temperature": 0.8, "seed": 1, "long_prompt": "keep_end"}
"""The same prompt and the same random numbers each time: what changes is the model. A long prompt ends no
run."""


class TextSamples(DrawingCallback):
    """Continue fixed prompts with a fixed seed every so often.

    Args:
        tokenizer: of the model.
        prompts: what to continue.
        every: steps between samples; in plain `fit` a sample is drawn at the end of each epoch.
        show: called with the step and a dict prompt -> continuation.
        task: what the model predicts.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        prompts: list[str],
        every: int,
        show: Callable[[int, dict[str, str]], None],
        task: str = "causal_lm",
    ):
        super().__init__()
        self._tokenizer, self._prompts, self.interval, self._show = tokenizer, prompts, every, show
        self._task, self._answer = task, None

    def set_model(self, model: keras.Model) -> None:
        if model is not self.model:
            self._answer = None
        super().set_model(model)
        if not hasattr(model, "forward"):
            raise InputError(
                "text samples need a network of this package, with a state to carry from token to token; "
                f"{type(model).__name__} {model.name!r} has no forward()"
            )

    def draw(self, step: int) -> None:
        self._answer = self._answer or answer_for(self._task, self.model, self._tokenizer)
        texts = self._answer.generate(self._prompts, **SAMPLE_SETTINGS)
        self._show(step, dict(zip(self._prompts, texts)))
