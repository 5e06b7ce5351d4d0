"""What a network generates while it trains, in TensorBoard: source, reference and output."""

from collections.abc import Callable

from lm_keras.callbacks.base import StepCallback
from lm_keras.callbacks.tensorboard import TensorBoard
from lm_keras.evaluation.answers import GeneratedAnswers
from lm_keras.evaluation.generation import GeneratedTargets

SHOWN = 10
"""Texts that are shown, the first ones."""

LONGEST_TEXT = 400
"""Characters of a text that are shown."""


class GeneratedSamples(StepCallback):
    """Shows some targets or answers of each validation beside their references.

    Args:
        generated: returns those of the validation that has just ended; None for none.
        tensorboard: shows them.
    """

    def __init__(
        self, generated: Callable[[], GeneratedTargets | GeneratedAnswers | None], tensorboard: TensorBoard
    ):
        super().__init__()
        self._generated, self._tensorboard = generated, tensorboard

    def on_test_end(self, logs=None):
        found = self._generated()
        if found is None:
            return
        firsts = [own[0] for own in found.references]
        rows = list(zip(found.sources, firsts, found.outputs))[:SHOWN]
        shown = [[text[:LONGEST_TEXT] for text in row] for row in rows]
        self._tensorboard.table(self.step(logs), found.title, ["source", "reference", "output"], shown)
