"""Stop when validation no longer improves."""

from typing import Any

from lm_keras.callbacks.watched import BY_LOSS, Watched


class EarlyStopping(Watched):
    """Stop after `patience` evaluations in a row without a better measure of validation.

    Args:
        patience: evaluations to wait.
        by: the measure and whether `low` or `high` is better.

    Reference: Prechelt (1998), Early stopping - but when?, section 2.
    """

    def __init__(self, patience: int, by: tuple[str, str] = BY_LOSS):
        super().__init__(by)
        self.patience = patience

    def wait(self) -> None:
        if self.waited >= self.patience:
            self.model.stop_training = True

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.wait()
