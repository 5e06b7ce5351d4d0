"""The folder of a run of scripts/train_embeddings.py: that of a run, with its own settings, and vectors at
the end.
"""

from collections.abc import Iterable
from typing import Any

from lm_keras.checkpoints import records
from lm_keras.checkpoints.changes import elsewhere
from lm_keras.checkpoints.run_folder import EMBEDDINGS, RunFolder
from lm_keras.embeddings.settings import Settings, from_flat
from lm_keras.errors import InputError

VECTORS = "vectors.txt"


class EmbeddingFolder(RunFolder):
    """One run on disk; `config.json` says that it is one of word embeddings."""

    def settings(self) -> Settings:
        """Return the settings of the run.

        Raises:
            InputError: they are damaged, or those of a language model.
        """
        path = self.path / "config.json"
        content = records.read(path)
        if content.pop("kind", None) != EMBEDDINGS:
            raise InputError(
                f"--run_dir={self.path} holds no word embeddings but a run of scripts/train.py; choose"
                " another folder"
            )
        try:
            return from_flat(content)
        except InputError as error:
            raise InputError(f"{path}: {error}; restore it from a copy") from None

    def check_same(self, settings: Settings, changeable: Iterable[str]) -> None:
        """Raise InputError if the run has other settings, but for those that may change."""
        before, now = self.settings().flat(), settings.flat()
        known = {*changeable, *(elsewhere(before, now) - {"tokenizer"})}  # `check_text` compares the text.
        changed = [
            f"--{name}: {before[name]} in the run, {now[name]} now"
            for name in now
            if name not in known and before[name] != now[name]
        ]
        if changed:
            raise InputError(
                f"--run_dir={self.path} holds a run with other settings: {'; '.join(changed)}. "
                "Use the same settings to go on, or another --run_dir"
            )

    def check_text(self, report: dict[str, Any]) -> None:
        """Raise InputError if the training text is no longer that with which the run began."""
        before, now = (content["splits"]["train"] for content in (self.read_data(), report))
        if before.get("fingerprint") != now["fingerprint"]:
            raise InputError(
                f"the train text of {now['corpus']} has changed since the run in {self.path} began; restore"
                " it, or begin a new run with another --run_dir"
            )

    def begin(self, settings: Settings, data: dict[str, Any], flagfile: str) -> None:
        """Write down what the run is; `config.json` comes last, so that it stands for a complete folder."""
        self.write_json("data.json", data)
        self.write_text("flags.txt", flagfile)
        self.write_json("config.json", {"kind": EMBEDDINGS, **settings.flat()})
