"""What a run of pairs generates: targets of a sample at each evaluation, of all held-out pairs at the end."""

import functools
import json
from typing import Any, Protocol

import keras

from lm_keras.answers.translator import Translator
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.corpora.documents import Document
from lm_keras.data.pair_rows import PairRows
from lm_keras.data.pairs import Pairs
from lm_keras.data.preparation import PreparedData
from lm_keras.disk.files import writing_atomically
from lm_keras.evaluation.generation import GeneratedTargets, generated_for, sample_of
from lm_keras.evaluation.pair_baselines import baselines
from lm_keras.evaluation.predictions import described
from lm_keras.evaluation.source_attention import source_attention
from lm_keras.sampling.pair_settings import PairSettings
from lm_keras.tasks.seq2seq import Seq2Seq

PICTURED = 6
"""Pairs whose attention is written."""


class PairRun(Protocol):
    """What is asked of a run.

    Attributes:
        config: the settings.
        folder: where it is.
        data: its text.
        task: of pairs.
        model: the network as it is.
        answer: of it.
    """

    config: Config
    folder: RunFolder
    data: PreparedData
    task: Seq2Seq
    model: keras.Model
    answer: Translator


class PairResults:
    """Generates and scores targets of held-out pairs.

    Args:
        run: the run.

    Attributes:
        sampled: what the last evaluation generated, or None.
    """

    def __init__(self, run: PairRun):
        self._run, self._task, self._data, self._settings = run, run.task, run.data, run.config.running
        self.sampled: GeneratedTargets | None = None

    @functools.cached_property
    def _sample(self) -> list[Document]:
        count = len(self._data.splits["valid"].documents)
        return sample_of(self._data.texts["valid"].documents(), count, self._settings.eval_pairs)

    def of_sample(self) -> dict[str, Any]:
        """Generate the targets of the sample greedily; return their scores by name, none without a sample."""
        if not self._settings.eval_pairs or not self._sample:
            return {}
        count = len(self._data.splits["valid"].documents)
        said = f"{len(self._sample):,} of {count:,} pairs"
        greedy = PairSettings(num_beams=1)
        self.sampled = generated_for(self._run.answer.translate_pairs, self._sample, greedy, said)
        measures = self.sampled.measures()
        del measures["signature"], measures["rouge_settings"]
        return measures

    def of_splits(self) -> dict[str, dict[str, Any]]:
        """Generate the targets of all held-out pairs and write them to `predictions/SPLIT.jsonl`.

        Returns:
            For each split the scores by name, `by_length`, see `GeneratedTargets`, and `baselines`.
        """
        found = {}
        how = PairSettings(num_beams=self._settings.eval_beams)
        for split, store in self._data.splits.items():
            if split == "train":
                continue
            text = self._data.texts[split]
            generated = generated_for(self._run.answer.translate_pairs, text.documents(), how)
            with writing_atomically(self._run.folder.path / "predictions" / f"{split}.jsonl") as file:
                for line in generated.lines():
                    file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            pairs = [Pairs.in_store(one) for one in (store, self._data.splits["train"])]
            guesses = baselines(*pairs, self._data.texts["train"].documents(), generated)
            found[split] = {
                **generated.measures(),
                "by_length": generated.by_length(),
                "baselines": {name: _scores(own) for name, own in guesses.items()},
            }
        if found:
            self._write_attention(generated)  # Of the last split.
        return found

    def _write_attention(self, generated: GeneratedTargets) -> None:
        """Write the attention of some outputs to `predictions/attention.jsonl`, if the network has any."""
        model, tokenizer = self._run.model, self._data.tokenizer
        if not hasattr(model, "attention_to_source"):
            return
        count = len(generated.outputs)
        with writing_atomically(self._run.folder.path / "predictions" / "attention.jsonl") as file:
            for number in sorted({n * count // PICTURED for n in range(PICTURED)} if count else ()):
                asked = generated.pairs[number], generated.outputs[number]
                found = source_attention(model, self._task, tokenizer, *asked)
                file.write((json.dumps(found, ensure_ascii=False) + "\n").encode())

    def texts(self) -> dict[str, Any]:
        """Return how long the sources and the targets of each split are, and how full their rows."""
        found = {}
        for split, store in self._data.splits.items():
            plan, longest = self._task.plan(store), self._task.source_room
            for name, sizes in (
                ("sources", plan.pairs.source_sizes),
                ("targets", plan.pairs.target_sizes),
            ):
                found[f"{split}, {name}"] = described(sizes, longest, _padding(self._task, plan))
        return found


def _padding(task: Seq2Seq, plan: PairRows) -> float:
    """Return the share of the positions of rows without a token."""
    beside = task.frame.source_size if task.has_encoder else int(task.mask_id is not None)
    used = int(plan.fitted.source_sizes.sum()) + plan.targets + beside * len(plan.members)
    return 1 - used / max(1, (1 + task.has_encoder) * plan.count * plan.length)


def _scores(generated: GeneratedTargets) -> dict[str, Any]:
    """Return the numbers among the measures of a baseline."""
    return {name: value for name, value in generated.measures().items() if not isinstance(value, str)}
