"""What a run with labels keeps at its end beside the measures: predictions, scores by class, baselines."""

import json
from collections.abc import Mapping
from typing import Any

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.data.preparation import PreparedData
from lm_keras.disk.files import writing_atomically
from lm_keras.evaluation.baselines import baselines
from lm_keras.evaluation.predictions import Predictions, described
from lm_keras.tasks.labelled import Labelled


def write_predictions(folder: RunFolder, data: PreparedData, predictions: Mapping[str, Predictions]) -> None:
    """Write `predictions/SPLIT.jsonl`, a line for each example of the held-out splits."""
    for split, found in predictions.items():
        with writing_atomically(folder.path / "predictions" / f"{split}.jsonl") as file:
            for line in found.lines(data.texts[split].documents()):
                file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def details_of(task: Labelled, data: PreparedData, predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Return what results.json says of each held-out split beside its measures.

    Args:
        task: of the run.
        data: its text.
        predictions: for each of these splits.

    Returns:
        For each split `scores`, see `Predictions.details`, and `baselines`, the measures of each of them.
    """
    train, found = task.texts(data.splits["train"]), {}
    scores = scores_of(task, predictions)
    for split, own in predictions.items():
        store = data.splits[split]
        guesses = baselines(train, task.texts(store), len(task.labels.names), task.vocab_size)
        sums = {"true": own.true, **({} if own.begins is None else {"begins": own.begins})}
        found[split] = {
            "scores": scores[split],
            "baselines": {
                name: task.measures({**sums, "log_probabilities": values}, store.counts)
                for name, values in guesses.items()
            },
        }
    return found


def scores_of(task: Labelled, predictions: Mapping[str, Predictions]) -> dict[str, dict[str, Any]]:
    """Return the `scores` of each split, see `Predictions.details`."""
    # Of the validation text: fitted on the test text itself it would be too good.
    temperature = predictions["valid"].temperature if "valid" in predictions else None
    return {split: own.details(task.seed, temperature) for split, own in predictions.items()}


def texts_of(task: Labelled, data: PreparedData, predictions: Mapping[str, Predictions]) -> dict[str, Any]:
    """Return how long the examples of each split are, how full their rows, and how often each label comes."""
    found = {}
    for split, store in data.splits.items():
        rows = task.plan(store, None if split == "train" else task.too_long_to_score)
        lengths = rows.texts.ends - rows.texts.begins
        labels = dict(zip(task.labels.names, task.labels.counts))
        if split in predictions:
            labels = predictions[split].label_counts()
        tokens = rows.text_tokens + task.frame.size * len(rows.members)
        padding = 1 - tokens / max(1, rows.count * rows.length)
        found[split] = {**described(lengths, rows.length - task.frame.size, padding), "labels": labels}
    return found
