"""metrics.jsonl: one JSON object a line."""

from pathlib import Path
from typing import Any

from lm_keras.callbacks.base import Logs, StepCallback
from lm_keras.checkpoints.records import append_lines
from lm_keras.objectives.measures import counted, finite, measured


class MetricsFile(StepCallback):
    """Append training lines every `every` steps, and a line for each evaluation.

    Args:
        path: the file.
        every: steps between training lines.
    """

    def __init__(self, path: Path, every: int):
        super().__init__()
        self._path, self.interval = path, every
        self._evaluations: list[dict[str, Any]] = []

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        step = self.step(logs)
        lines = []
        if step % self.interval == 0 or (logs or {}).get("last"):
            lines.append(counted(measured({**(logs or {}), "step": step})))
        self._write([*lines, *self._evaluations])

    def on_test_end(self, logs: Logs | None = None) -> None:
        fields = {"step": self.step(logs), "split": "valid", **(logs or {})}
        if self.own_loop:  # Which has it under its own name, too.
            fields.pop("loss", None)
        # Keras sorts what it hands to callbacks.
        known = {name: fields.pop(name) for name in ("step", "split")}
        self._evaluations.append(counted({**known, **measured(fields)}))
        if not self.own_loop:
            self._write(self._evaluations)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        if lines:
            append_lines(self._path, [_finite(line) for line in lines])
        self._evaluations = []


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, (int, str)) else finite(value) for name, value in line.items()}
