"""What a network with labels gets wrong while it trains: worst examples and confusions, in TensorBoard."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from lm_keras.callbacks.base import StepCallback
from lm_keras.callbacks.tensorboard import TensorBoard
from lm_keras.corpora.documents import Document
from lm_keras.evaluation.predictions import Predictions

WORST = 10
"""Examples that are shown."""

LONGEST_TEXT = 300
"""Characters of an example that are shown."""

MAX_NAMED = 20
"""Classes of a confusion matrix that is drawn, at most."""


class PredictionSamples(StepCallback):
    """Shows the worst examples and the confusion matrix of each validation.

    Args:
        predictions: returns those of the validation that has just ended; None for none.
        documents: returns the validation text.
        tensorboard: shows them.
    """

    def __init__(
        self,
        predictions: Callable[[], Predictions | None],
        documents: Callable[[], Iterable[Document]],
        tensorboard: TensorBoard,
    ):
        super().__init__()
        self._predictions, self._documents, self._tensorboard = predictions, documents, tensorboard

    def on_test_end(self, logs=None):
        found, step = self._predictions(), self.step(logs)
        if found is None:
            return
        head = ["source", "text", "true", "predicted", "nats"]
        rows = list(worst_lines(found, self._documents()))
        self._tensorboard.table(step, "worst_examples", head, rows)
        confusion = found.confusion()
        if confusion and len(confusion["names"]) <= MAX_NAMED:
            self._tensorboard.image(step, "confusion", picture_of(confusion["names"], confusion["counts"]))


def worst_lines(found: Predictions, documents: Iterable[Document], most: int = WORST) -> Iterator[list[str]]:
    """Yield the examples whose true labels have the lowest probability as rows of a table, the worst first.

    Args:
        found: predictions for a split.
        documents: its texts, in order.
        most: examples, at most.
    """
    chosen = set(np.argsort(-found.costs(), kind="stable")[:most].tolist())
    for line in sorted(found.lines(documents, chosen), key=lambda line: -line["nats"]):
        yield _cells(line)


def _cells(line: dict[str, Any]) -> list[str]:
    if "text" in line:
        text, true, predicted = line["text"], line["label"], line["predicted"]
    else:
        text = " ".join(line["words"])
        wrong = [
            (word, str(tag), guess)
            for word, tag, guess in zip(line["words"], line["tags"], line["predicted"])
            if tag != guess
        ]
        true, predicted = (", ".join(f"{one[0]}: {one[k]}" for one in wrong) for k in (1, 2))
    return [line["source"], text[:LONGEST_TEXT], str(true), predicted, f"{line['nats']:.2f}"]


def picture_of(names: list[str], counts: list[list[int]]) -> np.ndarray:
    """Draw a confusion matrix, a row for each true class, as an image [height, width, 3] uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = np.array(counts)
    figure = Figure(figsize=(2 + 0.4 * len(names), 1.6 + 0.4 * len(names)), layout="tight")
    canvas, axes = FigureCanvasAgg(figure), figure.add_subplot()
    axes.imshow(table / np.maximum(table.sum(1, keepdims=True), 1), vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for (i, j), count in np.ndenumerate(table):
        if count:
            axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=7)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
