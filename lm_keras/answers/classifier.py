"""Networks that predict a class: naming the class of a text.

n texts, C classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lm_keras.answers.labeller import ROWS, Labeller, check_too_long, name_of
from lm_keras.data.example_rows import Example
from lm_keras.data.words import encoded_text
from lm_keras.errors import InputError
from lm_keras.sampling.prompts import check_texts


class Classifier(Labeller):
    """Names the class of each text; see `Labeller`."""

    task = "classification"
    in_python, instead = "classify", "use classify"

    def classify(
        self, texts: list[str], too_long: str = "cut_end", batch_size: int = ROWS
    ) -> list[dict[str, Any]]:
        """Return the likeliest class of each text.

        Args:
            texts: any number of strings.
            too_long: what is done with a text that has more tokens than the network reads: `error`,
                `cut_end`, `cut_start`, or `windows`, whose probabilities are averaged.
            batch_size: rows that go through the network at once; it changes nothing but time and memory.

        Returns:
            For each text its `label`, the `probability` of that class, and the `probabilities` of all
            classes by name.

        Raises:
            InputError: a text is empty, or longer than the network reads where that is an error.
        """
        found = self._classified(texts, too_long, batch_size)
        self.tell_of_long(too_long)
        return found

    def _classified(
        self, texts: list[str], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        check_texts(texts)
        check_too_long(too_long)
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise InputError(f"{name_of(number, names)} is empty; expected a text to classify")
        examples = [self._example(text) for text in texts]
        scores, _ = self.log_probabilities(examples, batch_size, too_long, names)
        return [self._described(np.exp(row.astype(float))) for row in scores]

    def records(
        self, inputs: list[str], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        found = self._classified(inputs, too_long, batch_size, names)
        return [{"text": text, **answer} for text, answer in zip(inputs, found)]

    def _example(self, text: str) -> Example:
        return Example(encoded_text(self._tokenizer, text))

    def _described(self, probabilities: np.ndarray) -> dict[str, Any]:
        best = int(np.argmax(probabilities))
        return {
            "label": self.names[best],
            "probability": float(probabilities[best]),
            "probabilities": dict(zip(self.names, probabilities.tolist())),
        }
