"""The models of a server: runs by name, what each can be asked, and newer checkpoints of runs that train."""

import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_keras import api, paths
from lm_keras.answers.chat import Chat
from lm_keras.answers.generator import Generator
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError
from lm_keras.evaluation.text_scorer import TextScorer
from lm_keras.registry import TASKS
from lm_keras.serving.bodies import Refused

ENDPOINTS = {
    "completions": lambda lm: isinstance(lm.answer, Generator),
    "chat/completions": lambda lm: isinstance(lm.answer, Chat),
    "score": lambda lm: TASKS[lm.config.task].scorer.endswith(f".{TextScorer.__name__}"),
    "classify": lambda lm: lm.config.task == "classification",
    "tag": lambda lm: lm.config.task == "tagging",
    "translate": lambda lm: lm.config.task == "seq2seq",
}
"""What a model may be asked, by the end of its address, and whether a model can."""


@dataclasses.dataclass(frozen=True)
class ServedModel:
    """A model at one checkpoint.

    Attributes:
        name: that requests call it.
        lm: the model.
        since: when it was loaded, in seconds of Unix time.
        steps: all checkpoints that its run had then.
    """

    name: str
    lm: api.TrainedModel
    since: int
    steps: tuple[int, ...]

    @property
    def endpoints(self) -> list[str]:
        """Return what it may be asked."""
        return [name for name, can in ENDPOINTS.items() if can(self.lm)]

    def require(self, endpoint: str) -> None:
        """Refuse a request that the model has no answer to."""
        if endpoint not in self.endpoints:
            others = ", ".join(f"/v1/{name}" for name in self.endpoints) or "nothing here"
            raise Refused(
                400,
                f"the model {self.name!r} has --task={self.lm.config.task}, and /v1/{endpoint} is not for it;"
                f" ask it {others}",
                "model",
                "model_not_supported",
            )

    def to_json(self) -> dict[str, Any]:
        """Return what `/v1/models` tells of it."""
        lm = self.lm
        return {
            "id": self.name,
            "object": "model",
            "created": self.since,
            "owned_by": "lm_keras",
            "family": lm.config.model.model,
            "task": lm.config.task,
            "step": lm.step,
            "endpoints": [f"/v1/{name}" for name in self.endpoints],
            "context_length": getattr(lm.model, "context_length", None),
            "vocab_size": lm.tokenizer.vocab_size,
            "labels": list(lm.labels.names) if lm.labels else None,
        }


class Models:
    """The models of a server.

    Args:
        run_dirs: the folders of their runs.
        checkpoint: `last`, `best`, or None: of models that predict labels or targets the best, as
            `scripts/predict.py`, else the last.
        say: called with a line when a model was loaded, or could not be loaded again.

    Raises:
        InputError: two runs have the same name, or one cannot be loaded.
    """

    def __init__(self, run_dirs: list[str], checkpoint: str | None, say: Callable[[str], None]):
        self._checkpoint, self._say = checkpoint, say
        self._folders: dict[str, Path] = {}
        for run_dir in run_dirs:
            path = Path(paths.expanded(run_dir)).resolve()
            if path.name in self._folders:
                raise InputError(
                    f"two runs are called {path.name!r}: {self._folders[path.name]} and {path}; rename one of"
                    " the folders, since requests name a model by its folder"
                )
            self._folders[path.name] = path
        self._models = {name: self._load(name) for name in self._folders}
        self._ends = threading.Event()

    @property
    def all(self) -> list[ServedModel]:
        """Return the models in the order of their runs."""
        return list(self._models.values())

    def named(self, name: str) -> ServedModel:
        """Return the model that a request names.

        Raises:
            Refused: there is none.
        """
        if name not in self._models:
            known = ", ".join(self._models)
            raise Refused(404, f"there is no such model; known are {known}", "model", "model_not_found")
        return self._models[name]

    def watch(self, seconds: float = 2.0) -> threading.Thread:
        """Load newer checkpoints as they come, in a thread that `stop_watching` ends.

        Requests that are under way keep the weights with which they began.
        """
        thread = threading.Thread(target=self._watch, args=(seconds,), name="reload", daemon=True)
        thread.start()
        return thread

    def stop_watching(self) -> None:
        """End the thread of `watch`, after the model that it loads."""
        self._ends.set()

    def _watch(self, seconds: float) -> None:
        while not self._ends.wait(seconds):
            for name, served in list(self._models.items()):
                self._reload(name, served)

    def _reload(self, name: str, served: ServedModel) -> None:
        try:
            steps = self._steps(name)
            if steps == served.steps:
                return
            newer = self._load(name)
        except (InputError, OSError) as error:
            self._say(f"{name}: no newer checkpoint could be read ({error}); step {served.lm.step:,} stays")
            newer = dataclasses.replace(served, steps=steps)
        self._models[name] = newer

    def _steps(self, name: str) -> tuple[int, ...]:
        return tuple(RunFolder(self._folders[name]).checkpoints().steps())

    def _load(self, name: str) -> ServedModel:
        folder = self._folders[name]
        steps = self._steps(name)
        checkpoint = self._checkpoint
        if checkpoint is None:
            row = TASKS[RunFolder(folder).config().task]
            checkpoint = None if row.labels or row.pairs else "last"
        lm = api.load(folder, checkpoint)
        lm.answer.tell(lambda line: None)  # Lines of an answer may repeat what a client has sent.
        served = ServedModel(name, lm, int(time.time()), steps)
        if not served.endpoints:
            raise InputError(
                f"--run_dir={folder} has --task={lm.config.task}, which no address of this server is for;"
                " fill its masks with scripts/sample.py"
            )
        if "completions" in served.endpoints:
            lm.generate([""], max_new_tokens=2)  # Compiles the loop, so that no request waits for it.
        self._say(f"{name}: {lm.config.task}, {lm.config.model.model}, step {lm.step:,}, from {folder}")
        return served
