"""metrics.jsonl: one JSON object a line."""

from pathlib import Path

from lm_keras.callbacks.base import StepCallback
from lm_keras.checkpoints.run_folder import append_lines
from lm_keras.objectives.metrics import finite

TRAINING_FIELDS = (
    "step", "loss", "perplexity", "bits_per_byte", "accuracy", "learning_rate", "dropout",
    "token_noise", "gradient_norm", "skipped", "data_wait", "tokens_per_second", "seconds",
)  # fmt: skip

EVALUATION_FIELDS = (
    "step", "split", "tokens", "bytes", "words", "characters", "unknown", "nats_per_token", "perplexity",
    "word_perplexity", "bits_per_byte", "bits_per_character", "accuracy", "context", "stride",
)  # fmt: skip

_WHOLE = {"step", "skipped", "tokens", "bytes", "words", "characters", "unknown", "context", "stride"}
"""Counts, which Keras turns into floats on their way to a callback."""


class MetricsFile(StepCallback):
    """Append training lines every `every` steps, and a line for each evaluation.

    Args:
        path: the file.
        every: steps between training lines.
    """

    def __init__(self, path: Path, every: int):
        super().__init__()
        self._path, self.interval = path, every
        self._evaluations: list[dict] = []

    def on_train_batch_end(self, batch, logs=None):
        step = self.step(logs)
        lines = []
        if step % self.interval == 0 or (logs or {}).get("last"):
            fields = {"step": step, **{name: value for name, value in (logs or {}).items() if name != "step"}}
            lines.append(_counted({name: fields[name] for name in TRAINING_FIELDS if name in fields}))
        self._write([*lines, *self._evaluations])

    def on_test_end(self, logs=None):
        fields = {"step": self.step(logs), "split": "valid", **(logs or {})}
        names = [name for name in EVALUATION_FIELDS if name in fields] if self.own_loop else list(fields)
        self._evaluations.append(_counted({name: fields[name] for name in names}))
        if not self.own_loop:
            self._write(self._evaluations)

    def _write(self, lines):
        if lines:
            append_lines(self._path, [_finite(line) for line in lines])
        self._evaluations = []


def _counted(line: dict) -> dict:
    return {
        name: int(value) if name in _WHOLE and value is not None else value for name, value in line.items()
    }


def _finite(line: dict) -> dict:
    return {name: value if isinstance(value, (int, str)) else finite(value) for name, value in line.items()}
