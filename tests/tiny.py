"""The settings of a run of a few seconds."""

TINY = {
    "tokenizer": "char", "embedding_dim": 7, "hidden_units": 13, "sequence_length": 11, "batch_size": 12,
    "steps": 24, "steps_per_call": 5, "log_every": 4, "eval_every": 8, "checkpoint_every": 8,
    "learning_rate": 0.02,
}  # fmt: skip
