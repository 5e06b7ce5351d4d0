"""What finished runs with labels reach that differ in nothing but their seed."""

import statistics
from collections.abc import Iterator

from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.errors import InputError

MEASURES = ("span_f1", "accuracy")
"""The measure of a task is the first of these that its results have."""


def scores(paths: list[str], split: str) -> Iterator[dict]:
    """Yield mean and range of the measure of the task on a split, with the best weights by validation.

    Args:
        paths: of the run folders.
        split: `valid` or `test`.

    Raises:
        InputError: there is no run, one is not finished, has no such split, or differs in more than its seed.
    """
    if not paths:
        raise InputError("--runs= names no run; expected the folders of some, with commas between")
    folders = [RunFolder(path) for path in paths]
    first = _compared(folders[0])
    found, last, seconds, seeds = [], [], [], []
    for folder in folders:
        results = folder.results
        if results is None:
            raise InputError(f"the run in {folder.path} is not finished; go on training it first")
        if _compared(folder) != first:
            raise InputError(
                f"the runs in {folders[0].path} and {folder.path} differ in more than their seed"
            )
        if split not in results["splits"]:
            raise InputError(f"the run in {folder.path} has no {split} text")
        values = results["splits"][split]
        best = results.get("best", results)["splits"][split]
        measure = next(name for name in MEASURES if name in values)
        found.append(best[measure])
        last.append(values[measure])
        seconds.append(results["seconds"])
        seeds.append(folder.config().batches.seed)
    yield {
        "run": folders[0].path.name,
        "split": split,
        "measure": measure,
        "seeds": len(set(seeds)),
        "mean": round(statistics.mean(found), 4),
        "range": f"{min(found):.4f} to {max(found):.4f}",
        "mean_of_last_weights": round(statistics.mean(last), 4),
        "steps": results["step"],
        "training_seconds": f"{min(seconds):.0f} to {max(seconds):.0f}",
    }


def _compared(folder: RunFolder) -> dict:
    """Return the settings in which runs of a row agree."""
    return {
        name: value for name, value in folder.config().flat().items() if name not in ("seed", "cache_dir")
    }
