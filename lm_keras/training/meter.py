"""What steps reported, added up for a training line."""

import dataclasses

import numpy as np

from lm_keras.objectives.losses import SUMS
from lm_keras.training.guard import LEFT_OUT, empty_steps
from lm_keras.training.step import VALUES


@dataclasses.dataclass
class Meter:
    """Sums since the last training line; part of every checkpoint, so that a resumed run logs the same.

    Attributes:
        sums: `SUMS` over the targets of the steps.
        gradient_norm: sum of the norms before clipping.
        data_wait: seconds in which steps waited for their batches.
        left_out: steps that were left out.
        empty: steps without a target.
        steps: all steps.
        timed_tokens, timed_seconds: targets and seconds of the calls in which nothing was compiled.
    """

    sums: dict[str, float] = dataclasses.field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))
    gradient_norm: float = 0.0
    data_wait: float = 0.0
    left_out: float = 0.0
    empty: int = 0
    steps: int = 0
    timed_tokens: float = 0.0
    timed_seconds: float = 0.0

    def add(self, values: dict[str, np.ndarray], seconds: float | None) -> None:
        """Add some steps.

        Args:
            values: for each of `VALUES` what the steps reported, [steps].
            seconds: what they took, or None if that includes compiling.
        """
        # Side by side, so that numbers are added in the order of the steps.
        table = np.stack([values[name] for name in VALUES], axis=1)  # [steps, values]
        totals = dict(zip(VALUES, table.sum(axis=0, dtype=np.float64).tolist()))
        self.sums = {name: total + totals[name] for name, total in self.sums.items()}
        self.gradient_norm += totals["gradient_norm"]
        self.data_wait += totals["data_wait"]
        self.left_out += sum(totals[name] for name in LEFT_OUT)
        self.empty += int(np.count_nonzero(empty_steps(values)))
        self.steps += len(table)
        if seconds is not None:
            self.timed_tokens += totals["weight"]
            self.timed_seconds += seconds

    def saved(self) -> dict[str, float]:
        """Return all numbers by name, as checkpoints hold them."""
        others = dataclasses.asdict(self)
        return {**others.pop("sums"), **others}

    @classmethod
    def of_saved(cls, numbers: dict[str, float]) -> "Meter":
        """Return the meter of what `saved` returned; TypeError for a name that it does not know."""
        sums = {name: numbers.get(name, 0.0) for name in SUMS}
        return cls(sums, **{name: number for name, number in numbers.items() if name not in SUMS})
