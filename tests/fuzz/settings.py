"""Settings: whatever sizes and numbers they have, a run begins or says why not"""

import functools
import json
import math
import shutil
from pathlib import Path
from unittest import mock

from faults import ENGLISH
from hypothesis import strategies as st
from in_process import train

from fuzz import Law, folder_for_this_process
from fuzz.flags import value_of
from fuzz.run_folders import quick
from fuzz.schedules import GOOD
from lm_keras.config import FIELDS, from_flat
from lm_keras.optimizers import OPTIMIZERS
from lm_keras.training import estimates
from lm_keras.training import run as training_run

MEMORY = 2**28
"""What the machine is said to have, so that nobody waits for large networks."""

SIZES = [
    "embedding_dim", "hidden_units", "num_layers", "sequence_length", "batch_size", "micro_batches", "steps",
    "epochs",
    "steps_per_call", "eval_every", "checkpoint_every", "log_every", "sample_every", "keep_checkpoints",
    "histogram_every",
    "warmup_steps", "early_stopping_evals", "vocab_size", "ngram_order", "seed",
]  # fmt: skip
SIZE = (
    st.integers(1, 40)
    | st.integers(1, 2**31 - 1)
    | st.sampled_from([1, 2**16, 10**6, 10**9, 2**31 - 1, 10**12])
)
SIZED = st.tuples(
    st.sampled_from(["lstm", "ngram"]),
    st.sampled_from(["char", "byte", "word"]),
    st.dictionaries(st.sampled_from(SIZES), SIZE, min_size=1, max_size=4),
)  # fmt: skip


@functools.cache
def folder() -> Path:
    """A folder with a text."""
    made = folder_for_this_process()
    (made / "text.txt").write_text(ENGLISH)
    return made


def settings_of(**more) -> dict:
    """Return settings of a small run, with others."""
    small = {
        "tokenizer": "char",
        "embedding_dim": 3,
        "hidden_units": 5,
        "sequence_length": 7,
        "batch_size": 4,
        "steps": 3,
    }
    places = {"corpus": f"text:{folder()}/text.txt", "cache_dir": str(folder() / "cache")}
    if "epochs" in more:
        del small["steps"]
    return {**small, **places, **more}


def holds_sized(case) -> None:
    """No size is too large to be refused; what is not refused fits into memory as far as can be told."""
    family, tokenizer, sizes = case
    config = from_flat(settings_of(model=family, tokenizer=tokenizer, **sizes))
    begun = []

    def begin(self, config, folder, devices, data, task, total_steps, origin):
        begun.append(estimates.least_memory(task, config, 1))

    with (
        mock.patch("lm_keras.training.memory.total_memory", return_value=MEMORY),
        mock.patch.object(training_run.Run, "__init__", begin),
        mock.patch.object(training_run.Run, "execute", lambda self: 0),
    ):
        try:
            assert train(config, folder() / "run").code == 0
        finally:
            assert begun or not (folder() / "run").exists()
            shutil.rmtree(folder() / "run", ignore_errors=True)
    assert max(begun) <= MEMORY


NUMBERS = [
    "dropout", "init_scale", "state_reset", "learning_rate", "token_noise", "beta_1", "beta_2", "clip_norm",
    "weight_decay",
    "l1", "l2", "label_smoothing",
]  # fmt: skip
EXTREME = st.tuples(
    st.sampled_from(sorted(OPTIMIZERS)),
    st.sampled_from(["float32", "float32", "mixed_bfloat16", "mixed_float16"]),
    st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=3, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: value_of(FIELDS[name]) for name in names})
    ),
    st.just("cosine") | GOOD,
)


def holds_trained(case) -> None:
    """A run of three steps ends with results that are numbers or null, or says what is wrong."""
    optimizer, precision, numbers, schedule = case
    more = {"batching": "stream"} if numbers.get("state_reset") else {}
    config = from_flat(
        settings_of(
            model="ngram", optimizer=optimizer, precision=precision, learning_rate_schedule=schedule,
            **numbers, **more
        )
    )  # fmt: skip
    try:
        with quick():
            ended = train(config, folder() / "run")
        assert ended.code == 0
        results = json.loads((folder() / "run" / "results.json").read_text())
        numbers = [value for scores in results["splits"].values() for value in scores.values()]
        assert all(math.isfinite(value) for value in numbers if isinstance(value, float)), results
        for line in (folder() / "run" / "metrics.jsonl").read_text().splitlines():
            json.loads(line, parse_constant=lambda name: 1 / 0)  # NaN is no JSON
    finally:
        shutil.rmtree(folder() / "run", ignore_errors=True)


LAWS = [
    Law("sizes that no memory holds are refused at once", "one to four sizes, up to 10^12", SIZED,
        holds_sized, 40, 800),
    Law("extreme numbers train or are refused", "an optimizer, a precision, a schedule, and one to three "
        "numbers at their limits", EXTREME, holds_trained, 3, 150),
]  # fmt: skip
