"""Settings and texts that would break the promise of a private run, each refused in one line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lm_keras import schedules
from lm_keras.checkpoints.exchange import is_foreign
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import FIELDS, Config
from lm_keras.errors import InputError
from lm_keras.text import find_tokenizer

WITHOUT_TEXT = ("byte",)
"""Kinds of tokenizers that learn nothing from a text."""


def check_settings(config: Config) -> None:
    """Raise InputError where a setting contradicts privacy, or has no meaning without it."""
    given = config.privacy
    if not given.limits:
        for name in ("dp_delta", "dp_clip", "dp_unit", "dp_accountant", "dp_seed"):
            if getattr(given, name) != FIELDS[name].default:
                raise InputError(
                    f"--{name}={getattr(given, name)} has no meaning without --dp_epsilon or --dp_noise; give"
                    " one of them too, or leave it out"
                )
        return
    if given.dp_epsilon is not None and given.dp_noise is not None:
        raise InputError(
            f"--dp_epsilon={given.dp_epsilon:g} and --dp_noise={given.dp_noise:g} contradict each other: one"
            " decides the other; leave one of them out"
        )
    if given.dp_noise and given.dp_noise < 0.05:
        raise InputError(f"--dp_noise={given.dp_noise:g} hides nothing; take 0.05 or more, or 0 for tests")
    for name, value, why in _refused(config):
        raise InputError(f"--{name}={value}: {why}")


def _refused(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Yield settings that break the promise: name, value, and why."""
    model, learning, data = config.model, config.learning, config.data
    private = "with --dp_epsilon or --dp_noise"
    if config.batching == "stream":
        yield "batching", "stream", f"{private} a row must not know what came before it; leave it out"
    for name in ("dropout", "weight_drop"):
        if value := getattr(model, name):
            why = "its masks follow from --seed, and noise regularizes anyway; leave it out"
            yield name, value, f"has no meaning {private}: {why}"
    if learning.token_noise:
        why = f"{private} what is replaced must not follow from --seed and the text; leave it out"
        yield "token_noise", learning.token_noise, why
    if learning.clip_norm not in (0, FIELDS["clip_norm"].default):
        why = f"has no meaning {private}, where --dp_clip clips the gradient of each row; leave it out"
        yield "clip_norm", learning.clip_norm, why
    if learning.spike_sigma:
        why = f"{private} no step may be left out because of what it saw; leave it out"
        yield "spike_sigma", learning.spike_sigma, why
    if learning.precision == "mixed_float16":
        why = f"{private} the loss scale would follow the private text; take float32 or mixed_bfloat16"
        yield "precision", learning.precision, why
    if data.corpus_weights:
        yield "corpus_weights", data.corpus_weights, f"{private} all units are equally likely; leave it out"
    watched = "ends the run by private text; leave it out, or give public text with --valid_corpus"
    if learning.early_stopping_evals and not data.valid_corpus:
        yield "early_stopping_evals", learning.early_stopping_evals, watched
    if schedules.plateau_of(learning.learning_rate_schedule) and not data.valid_corpus:
        why = "lowers the rate by private text; take another one, or give public text with --valid_corpus"
        yield "learning_rate_schedule", learning.learning_rate_schedule, why
    known = model.init_from or find_tokenizer(data.tokenizer) is not None
    if not known and data.tokenizer not in WITHOUT_TEXT:
        why = (
            "would be learnt from the private text; take byte, the folder of a tokenizer of other text"
            " (scripts/train_tokenizer.py), or --init_from a run on other text"
        )
        yield "tokenizer", data.tokenizer, why


def check_origins(config: Config, splits: dict[str, dict[str, Any]], say: Callable[[str], None]) -> None:
    """Raise InputError if weights or tokenizer come from a run on the same text that was not private.

    Args:
        config: the settings of the private run.
        splits: what `data.json` says of its text.
        say: called with a line for each private run on the same text.
    """
    texts = _texts_of(splits)
    for flag, path in _origins(config):
        folder = RunFolder(path)
        try:
            there, data = folder.config(), folder.read_data()
        except InputError:
            continue  # A tokenizer alone, or a run that has moved on.
        if not texts & _texts_of(data["splits"]):
            continue
        learnt = flag == "tokenizer" and there.data.tokenizer not in WITHOUT_TEXT
        if not there.privacy.limits or learnt:
            raise InputError(
                f"--{flag}={path} has learnt the same text without privacy, which no noise can take back;"
                " begin with a run on other text, or leave it out"
            )
        epsilon = data.get("privacy", {}).get("epsilon")
        if flag == "init_from":
            known = "" if epsilon is None else f" (epsilon {epsilon:.3g} there)"
            say(f"{path} has learnt the same text privately: the two epsilons add up{known}")


def _origins(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield where weights and tokenizer come from: flag and run folder, those of a run before it, too."""
    folder = find_tokenizer(config.data.tokenizer)
    if folder is not None:
        yield "tokenizer", Path(folder).parent if Path(folder).name == "tokenizer" else Path(folder)
    seen, path = set(), config.model.init_from
    while path and path not in seen and not is_foreign(Path(path)) and RunFolder(path).exists:
        seen.add(path)
        yield "init_from", Path(path)
        path = RunFolder(path).config().model.init_from


def _texts_of(splits: dict[str, dict[str, Any]]) -> set[str]:
    """Return what tells the training text of a run from others: of the part, and of the whole corpus."""
    train = splits.get("train", {})
    return {train[name] for name in ("fingerprint", "corpus_sha256") if train.get(name)}
