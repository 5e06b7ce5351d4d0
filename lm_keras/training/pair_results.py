"""What a run of pairs generates: targets of a sample at each evaluation, of all held-out pairs at the end."""

import functools
import json
from typing import Any

from lm_keras.answers.translator import Translator
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import RunningConfig
from lm_keras.corpora.documents import Document
from lm_keras.data.pairs import Pairs
from lm_keras.data.preparation import PreparedData
from lm_keras.disk.files import writing_atomically
from lm_keras.evaluation.generation import GeneratedTargets, generated_for, sample_of
from lm_keras.evaluation.pair_baselines import baselines
from lm_keras.evaluation.predictions import described
from lm_keras.sampling.pair_settings import PairSettings
from lm_keras.tasks.seq2seq import Seq2Seq


class PairResults:
    """Generates and scores targets of held-out pairs.

    Args:
        translator: the answer of the network that is trained.
        task: of the run.
        data: its text.
        settings: how many pairs, and with how many beams.

    Attributes:
        sampled: what the last evaluation generated, or None.
    """

    def __init__(self, translator: Translator, task: Seq2Seq, data: PreparedData, settings: RunningConfig):
        self._translator, self._task, self._data, self._settings = translator, task, data, settings
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
        self.sampled = generated_for(self._translator.translate_pairs, self._sample, greedy, said)
        measures = self.sampled.measures()
        return {
            name: value for name, value in measures.items() if name not in ("signature", "rouge_settings")
        }

    def of_splits(self, folder: RunFolder) -> dict[str, dict[str, Any]]:
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
            generated = generated_for(self._translator.translate_pairs, text.documents(), how)
            with writing_atomically(folder.path / "predictions" / f"{split}.jsonl") as file:
                for line in generated.lines():
                    file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            pairs = [Pairs.in_store(one) for one in (store, self._data.splits["train"])]
            guesses = baselines(*pairs, self._data.texts["train"].documents(), generated)
            found[split] = {
                **generated.measures(),
                "by_length": generated.by_length(),
                "baselines": {name: _scores(own) for name, own in guesses.items()},
            }
        return found

    def texts(self) -> dict[str, Any]:
        """Return how long the sources and the targets of each split are, and how full their rows."""
        found = {}
        for split, store in self._data.splits.items():
            plan, longest = self._task.plan(store), self._task.source_room
            for name, sizes in (
                ("sources", plan.pairs.source_sizes),
                ("targets", plan.pairs.target_sizes),
            ):
                found[f"{split}, {name}"] = described(sizes, longest, plan.padding)
        return found


def _scores(generated: GeneratedTargets) -> dict[str, Any]:
    """Return the numbers among the measures of a baseline."""
    return {name: value for name, value in generated.measures().items() if not isinstance(value, str)}
