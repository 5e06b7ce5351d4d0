"""The run folder: everything that a run is, in one place.

config.json       every setting           checkpoints/    the newest and the best weights
flags.txt         the same as a flagfile  events/         TensorBoard
data.json         counts, sha256          metrics.jsonl   one JSON object a line
environment.json  versions, machines      samples.jsonl   text samples, one JSON object a line
tokenizer/        learnt from the text    results.json    once the run is finished
README.md         a model card            lock            held while a run writes
huggingface.json  the files of the model of another project that it began with, to be written back

Nothing here imports TensorFlow before a checkpoint is asked for.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lm_keras import paths, text
from lm_keras.checkpoints import records
from lm_keras.checkpoints.locked_folder import LockedFolder
from lm_keras.config import Config, from_flat
from lm_keras.disk.files import bytes_of, write_atomically
from lm_keras.errors import InputError
from lm_keras.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lm_keras.checkpoints.state import Checkpoints
    from lm_keras.data.labels import Labels

EMBEDDINGS = "word embeddings"
"""What `kind` says in the `config.json` of a run of scripts/train_embeddings.py; others have no `kind`."""

LABELS = "labels.json"
"""File of a run whose task has labels."""

KEPT_FILES = "huggingface.json"
"""File of a run that began with a model of another project."""


class RunFolder(LockedFolder):
    """One run on disk.

    Args:
        path: the folder; it need not exist.
    """

    @property
    def results(self) -> dict | None:
        """Return the results of a finished run, or None."""
        path = self.path / "results.json"
        try:
            return records.read(path) if path.exists() else None
        except InputError:
            if path.exists():
                raise
            return None  # The run has gone on meanwhile.

    def sound_results(self, warn: Callable[[str], None]) -> dict | None:
        """Return the results of a finished run, or None if there are none, or not the ones that were written.

        Args:
            warn: called with one line in the latter case: they can be computed again.
        """
        path = self.path / "results.json"
        try:
            content = records.unsealed(bytes_of(path, records.MAX_BYTES))
            if problem := records.wrong(content, records.SHAPES[path.name]):
                raise ValueError(problem)  # Another file of the run, perhaps.
            return content
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; check its permissions") from None
        except (OSError, ValueError) as error:
            reason = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else error
        warn(f"{path} {reason}; the results are computed again from the last checkpoint")
        return None

    def temperature(self, step: int) -> float | None:
        """Return the temperature that fits the validation text with the weights of a step, if the run has
        found it.
        """
        try:
            results = self.results or {}
        except InputError:
            return None  # It can be found again.
        for scored in (results, results.get("best", {})):
            if scored.get("step") == step:
                found = scored.get("splits", {}).get("valid", {}).get("scores", {}).get("temperature")
                return found if found and found > 0 else None
        return None

    def write_results(self, results: dict) -> None:
        """Write down what a run reached: it is finished."""
        self.write_text("results.json", records.sealed(results))

    def forget_results(self) -> None:
        """Delete the results of a run that goes on."""
        (self.path / "results.json").unlink(missing_ok=True)

    def config(self) -> Config:
        """Return the settings of the run.

        Raises:
            InputError: the folder holds no run, or its settings are damaged.
        """
        if not self.exists:
            raise InputError(
                f"--run_dir={self.path} holds no run (no config.json); train one with scripts/train.py"
                f" --run_dir={paths.as_word(self.path)}"
            )
        path = self.path / "config.json"
        settings = records.read(path)
        if settings.get("kind") == EMBEDDINGS:
            raise InputError(
                f"--run_dir={self.path} holds word embeddings and no language model; ask them with"
                " scripts/embeddings.py, or let a model begin with them,"
                f" --embedding_init={paths.as_word(self.path / 'vectors.txt')}"
            )
        try:
            return from_flat(settings)
        except InputError as error:
            raise InputError(f"{path}: {error}; restore it from a copy") from None

    def tokenizer(self) -> Tokenizer:
        """Return the tokenizer of the run.

        Raises:
            InputError: it is damaged, or another one than `data.json` tells of.
        """
        tokenizer = text.load_tokenizer(self.path / "tokenizer")
        learnt = {"kind": tokenizer.name, "fingerprint": tokenizer.fingerprint()}
        if self.read_data().get("tokenizer", learnt) != learnt:
            raise InputError(
                f"the tokenizer in {self.path / 'tokenizer'} is not the one with which the run began; "
                "restore it from a copy, or begin a new run with another --run_dir"
            )
        return tokenizer

    def checkpoints(self, keep: int = 2, warn: Callable[[str], None] = lambda line: None) -> "Checkpoints":
        """Return the checkpoints of the run."""
        from lm_keras.checkpoints.state import Checkpoints

        return Checkpoints(self.path / "checkpoints", keep, warn)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a JSON file of the run, whole or not at all.

        All have a sum of themselves but `config.json`: there a person may write where the text has gone, and
        all that decides about the weights is checked against them.
        """
        content = content if name == "config.json" else records.signed(content)
        write_atomically(
            self.path / name, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
        )

    def write_text(self, name: str, content: str) -> None:
        """Write a text file of the run, whole or not at all."""
        write_atomically(self.path / name, content.encode())

    @property
    def launches(self) -> list[dict]:
        """Return on what the run was carried out, each time that it began or went on."""
        path = self.path / "environment.json"
        return records.read(path)["lives"] if path.exists() else []

    def add_launch(self, launch: dict) -> None:
        """Write down on what the run begins or goes on."""
        self.write_json("environment.json", {"lives": [*self.launches, launch]})

    @property
    def kept_files(self) -> dict[str, str]:
        """Return the files of the model of another project that the run began with, by name; none for other
        runs.
        """
        path = self.path / KEPT_FILES
        return records.read(path)["files"] if path.exists() else {}

    def keep_files(self, files: dict[str, str]) -> None:
        """Keep files of the model of another project that the run begins with; does nothing without any."""
        if files:
            self.write_json(KEPT_FILES, {"files": files})

    def end_tokens(self) -> list[int]:
        """Return the tokens that end a text of the model of another project that the run began with; none for
        other runs.
        """
        from lm_keras.checkpoints.foreign.files import end_tokens

        return end_tokens(self.kept_files)

    def write_labels(self, labels: "Labels | None") -> None:
        """Write down the labels of the run; does nothing without any."""
        if labels:
            self.write_json(LABELS, labels.to_json())

    def labels(self) -> "Labels | None":
        """Return the labels of the run, or None if its task has none.

        Raises:
            InputError: the file with them is damaged.
        """
        from lm_keras.data.labels import Labels

        path = self.path / LABELS
        if not path.exists():
            return None
        try:
            return Labels.from_json(records.read(path))
        except ValueError as error:
            raise InputError(f"{path}: {error}; restore it from a copy") from None

    def read_data(self) -> dict:
        """Return what `data.json` says of the text."""
        return records.read(self.path / "data.json")
