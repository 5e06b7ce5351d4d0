"""What a run of conversations generates: answers of a sample of held-out conversations."""

import functools
import json
from typing import Any, Protocol

import keras

from lm_keras import callbacks
from lm_keras.answers.chat import Chat
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.corpora.documents import Document
from lm_keras.data.preparation import PreparedData
from lm_keras.disk.files import writing_atomically
from lm_keras.evaluation.answers import GeneratedAnswers, answers_for, shuffled_questions, store_of
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.evaluation.generation import sample_of
from lm_keras.evaluation.predictions import described
from lm_keras.tasks.chat import ChatLM


class ChatRun(Protocol):
    """What is asked of a run.

    Attributes:
        config: the settings.
        folder: where it is.
        data: its text.
        task: of conversations.
        model: the network as it is.
        evaluator: of it.
        answer: of it.
        progress: the callback that shows lines.
    """

    config: Config
    folder: RunFolder
    data: PreparedData
    task: ChatLM
    model: keras.Model
    evaluator: Evaluator
    answer: Chat
    progress: callbacks.Progress


class ChatResults:
    """Generates answers in held-out conversations.

    Args:
        run: the run.

    Attributes:
        sampled: what the last evaluation generated, or None.
    """

    def __init__(self, run: ChatRun):
        self._run, self._task, self._data, self._settings = run, run.task, run.data, run.config.running
        self.sampled: GeneratedAnswers | None = None
        self._told: set[str] = set()

    @functools.cached_property
    def _sample(self) -> list[Document]:
        return self._sample_of("valid")

    def _sample_of(self, split: str) -> list[Document]:
        count = len(self._data.splits[split].documents)
        return sample_of(self._data.texts[split].documents(), count, self._settings.eval_answers)

    def _answers(self, split: str, documents: list[Document]) -> GeneratedAnswers | None:
        run = self._run

        def say(line: str) -> None:
            if split not in self._told:
                self._told.add(split)
                run.progress.say(f"{split}: {line}")

        context_length = run.model.context_length
        return answers_for(run.answer.replies, documents, self._data.tokenizer, context_length, say)

    def of_sample(self) -> dict[str, Any]:
        """Generate the answers of the sample; return their measures by name, none without a sample."""
        self.sampled = self._answers("valid", self._sample) if self._settings.eval_answers else None
        return {} if self.sampled is None else self.sampled.measures()

    def of_splits(self) -> dict[str, dict[str, Any]]:
        """Generate the answers of a sample of each held-out split and write them to
        `predictions/SPLIT.jsonl`.

        Returns:
            For each split the measures by name, and `baselines`: the loss where the questions are shuffled.
        """
        found = {}
        for split in self._data.splits:
            if split == "train":
                continue
            answers = self._answers(split, self._sample_of(split)) if self._settings.eval_answers else None
            if answers is not None:
                path = self._run.folder.path / "predictions" / f"{split}.jsonl"
                with writing_atomically(path) as file:
                    for line in answers.lines():
                        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            measures = {} if answers is None else answers.measures()
            found[split] = {**measures, "baselines": {"shuffled_questions": self._shuffled(split)}}
        return found

    def _shuffled(self, split: str) -> dict[str, Any]:
        """Return the measures of a split in which each question is that of another conversation."""
        documents = shuffled_questions(self._data.texts[split].documents())
        store = store_of(documents, self._data.tokenizer)
        return self._task.measures(self._run.evaluator.sums(store), store.counts)

    def texts(self) -> dict[str, Any]:
        """Return how long the conversations of each split are, and how full their rows."""
        found = {}
        for split, store in self._data.splits.items():
            plan = self._task.plan(store)
            padding = 1 - plan.text_tokens / max(1, plan.count * plan.length)
            sizes = plan.texts.ends - plan.texts.begins
            found[split] = described(sizes, self._task.sequence_length, padding)
        return found
