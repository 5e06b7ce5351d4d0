"""Stop when validation no longer improves."""

from lm_keras.callbacks.base import StepCallback


class EarlyStopping(StepCallback):
    """Stop after `patience` evaluations in a row without a lower validation loss.

    Args:
        patience: evaluations to wait.

    Reference: Prechelt (1998), Early stopping - but when?, section 2.
    """

    def __init__(self, patience: int):
        super().__init__()
        self.patience = patience
        self.best, self.waited = float("inf"), 0

    def on_train_begin(self, logs=None):
        self.best, self.waited = float("inf"), 0  # The own loop restores them after this.

    def on_test_end(self, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if loss < self.best:
            self.best, self.waited = float(loss), 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.model.stop_training = True

    def state(self):
        return {"best": self.best if self.best != float("inf") else None, "waited": self.waited}

    def restore(self, state):
        self.best = float("inf") if state["best"] is None else state["best"]
        self.waited = state["waited"]
        if self.waited >= self.patience:
            self.model.stop_training = True
