"""Every setting of scripts/train_embeddings.py beside those of the text."""

import dataclasses

from lm_keras.config import DataConfig
from lm_keras.fields import LARGEST, GroupedSettings, changeable, check_line, setting
from lm_keras.registry import tokenizers_described

METHODS = ("skipgram", "cbow")

RATES = {"skipgram": 0.025, "cbow": 0.075}
"""Base learning rates: those of word2vec, and for CBOW three times as much, because its gradient is that of
the mean of the context (İrsoy et al., 2021, section 3), which word2vec forgets to divide."""


@dataclasses.dataclass(frozen=True)
class TextConfig(DataConfig):
    """Where the text comes from; words, where language models take pieces."""

    tokenizer: str = setting(
        "word",
        f"how text becomes tokens: {tokenizers_described()}, or the folder of a saved tokenizer or of a "
        "run, so that its model can begin with these vectors",
        path=True,
    )


@dataclasses.dataclass(frozen=True)
class EmbeddingConfig:
    """What is learnt, and how."""

    method: str = setting(
        "skipgram",
        "skipgram: a word predicts each word near it; cbow: the mean of the words near it predicts a word",
        choices=METHODS,
    )
    embedding_dim: int = setting(100, "numbers of a vector", low=1)
    window: int = setting(
        5, "words on either side, at most: drawn from 1 to this for each word", low=1, high=100
    )
    negatives: int = setting(5, "negative samples of a pair", low=1, high=1000)
    subsample: float = setting(
        1e-3,
        "share of the text from which on a word is left out at times, the oftener the more frequent; 0: "
        "never",
        low=0,
        high=1,
    )
    min_count: int = setting(5, "occurrences that a token needs to get a vector", low=1)
    within_lines: bool = setting(False, "pair no words of two lines")
    batch_size: int = setting(16, "rows of one step (B)", low=1)
    sequence_length: int = setting(256, "tokens of the text in a row (T)", low=2)
    epochs: int = setting(5, "passes over the training text", low=1)
    learning_rate: float | None = setting(
        None,
        "base learning rate, which falls to nothing in a straight line [skipgram: 0.025, cbow: 0.075]",
        above=0,
    )
    seed: int = setting(
        1,
        "seed of initial vectors, order of the text, windows, sub-sampling and negatives",
        low=0,
        high=LARGEST,
    )

    @property
    def rate(self) -> float:
        """Return `--learning_rate`, with the method's default filled in."""
        return self.learning_rate or RATES[self.method]


@dataclasses.dataclass(frozen=True)
class EmbeddingRunningConfig:
    """How the run is executed; nothing here changes what is learnt."""

    log_every: int = setting(
        100, "steps between lines in metrics.jsonl and points in TensorBoard", low=1, on_resume="always"
    )
    checkpoint_every: int | None = setting(
        None, "steps between checkpoints [a tenth of the run]", low=1, on_resume="always"
    )
    projector: bool = setting(
        True, "write the vectors for TensorBoard's projector at the end", on_resume="always"
    )


@dataclasses.dataclass(frozen=True)
class EmbeddingRunOptions:
    """Which run the command is about."""

    run_dir: str | None = setting(
        None,
        "folder of the run: settings, tokenizer, checkpoints, curves, and at the end vectors.txt",
        path=True,
    )

    def __post_init__(self) -> None:
        check_line("run_dir", self.run_dir)


@dataclasses.dataclass(frozen=True)
class Settings(GroupedSettings):
    """All settings of a run.

    Raises:
        InputError: when a value is out of range.
    """

    text: TextConfig = TextConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()
    running: EmbeddingRunningConfig = EmbeddingRunningConfig()

    def __post_init__(self) -> None:
        self.check_each()


GROUPS = Settings.groups()
"""The groups in the order in which they are shown."""

FIELDS = Settings.settings()
"""Every setting by its flag's name."""

CHANGEABLE = changeable(FIELDS)
"""Settings that may differ when a run goes on."""

from_flat = Settings.from_flat
"""Build `Settings` from settings by flag name; what is missing takes its default."""
