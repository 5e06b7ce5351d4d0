"""The weights of a run: read for use, or given to another run to begin with."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from lm_keras import paths, text
from lm_keras.checkpoints import exchange
from lm_keras.checkpoints.copying import copy_weights
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.checkpoints.state import ATTEMPTS, Checkpoints, Gone
from lm_keras.config import FIELDS, Config, DataConfig
from lm_keras.data.labels import Labels
from lm_keras.data.tokenizers import saved_tokenizer
from lm_keras.errors import InputError
from lm_keras.models import FAMILIES, NUM_PARAMETERS
from lm_keras.registry import WITH_LABELS, WITH_MASKS, WITH_PAIRS
from lm_keras.tasks import task_of
from lm_keras.text.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a run begins with (`--init_from`): the weights of another run, or of a model of another project.

    Optimizer, schedules and step start again.

    Attributes:
        path: the folder of the run or model.
        step: of its weights; `copy_to` takes newer ones if a run that trains has written them meanwhile.
        tokenizer: its tokenizer, which the new run takes over.
        copy: does the work of `copy_to`, and returns the step and what to say of weights that were not
            copied.
        files: those of a model of another project that the new run keeps, so that `scripts/convert.py` can
            write them back.
        remark: on weights that were not copied.
    """

    path: Path
    step: int
    tokenizer: Tokenizer
    copy: Callable[[keras.Model, int | None, Labels | None], tuple[int, str]]
    files: dict[str, str] = dataclasses.field(default_factory=dict)
    remark: str = ""

    @property
    def description(self) -> str:
        """Say with what the run begins."""
        return f"with the weights of {self.path} at step {self.step:,}{self.remark}"

    def copy_to(self, model: keras.Model, step: int | None = None, labels: Labels | None = None) -> "Origin":
        """Copy the weights into a new network, and return this with the step that they have.

        Args:
            model: the new network.
            step: whose weights; None for those that are the newest or best now.
            labels: those of the new network, if its task has labels.

        Raises:
            InputError: they were deleted meanwhile, or the bodies of the networks do not match.
        """
        found, remark = self.copy(model, step, labels)
        return dataclasses.replace(self, step=found, remark=remark)

    @classmethod
    def of(cls, config: Config, folder: RunFolder | None, warn: Callable[[str], None]) -> "Origin | None":
        """Return where the run in `folder` begins, or None without `--init_from` or with weights of its own.

        Args:
            config: settings of the new run.
            folder: of the new run, or None where a dry run has none.
            warn: called with one line when a checkpoint of the other run is damaged.

        Raises:
            InputError: the run or the model is missing, it has no weights yet, or they do not fit.
        """
        path = config.model.init_from
        if not path or (folder and folder.checkpoints().newest() is not None):
            return None
        source = RunFolder(path)
        if not source.exists:
            raise InputError(
                f"--init_from={path} holds no run (no config.json); expected the folder of a trained run"
            )
        chosen = config.model.init_checkpoint
        if exchange.is_foreign(source.path):
            if chosen != "last":
                raise InputError(
                    f"--init_checkpoint={chosen} has no meaning for --init_from={path}, which holds a model"
                    " of another project and only one set of weights; leave it out"
                )
            imported = exchange.read(source.path)
            same = " ".join(f"--{name}={value}" for name, value in imported.settings.items())
            remedy = f"Use the same settings, here {same}; --sequence_length may be shorter"
            _check_fits(config, imported.config, imported.tokenizer, remedy)
            copy = functools.partial(_copy_imported, imported)
            for line in imported.remarks_for(config):
                warn(line)
            return cls(source.path, imported.step, imported.tokenizer, copy, imported.files)
        tokenizer, flagfile = source.tokenizer(), paths.as_word(source.path / "flags.txt")
        remedy = f"Use the same settings, for instance with --flagfile={flagfile} before all other flags"
        _check_fits(config, source.config(), tokenizer, remedy)
        copy = functools.partial(_copy_trained, source, chosen)
        return cls(source.path, step_for_reading(source, chosen, warn), tokenizer, copy, source.kept_files)


def _check_fits(config: Config, there: Config, tokenizer: Tokenizer, remedy: str) -> None:
    """Raise InputError if the weights of a run or model do not fit the settings of a new run."""
    before, now = _shape(there), _shape(config)
    if {there.task, config.task} & {*WITH_LABELS}:  # Only a vocabulary is tied to the embedding.
        del before["tie_embeddings"], now["tie_embeddings"]
    different = _other_tokenizer(config.data, there.data, tokenizer)
    if config.needs_mask and tokenizer.mask_id is None:
        what = f"--model={config.model.model}" if config.task in WITH_MASKS else "--token_noise_kind=blank"
        different.append(
            f"{what} needs a token that says nothing, such as [MASK], and the tokenizer there has none"
        )
    different += [
        f"--{name}: {before[name]} there, {now[name]} here" for name in now if before[name] != now[name]
    ]
    if different:
        raise InputError(
            f"the weights of --init_from={config.model.init_from} do not fit: {'; '.join(different)}."
            f" {remedy}"
        )


def _copy_imported(
    imported: exchange.Imported, model: keras.Model, step: int | None = None, labels: Labels | None = None
) -> tuple[int, str]:
    if labels is None and model.vocab_size > imported.vocab_size:
        return imported.step, copy_weights(imported.build(), model).remark
    return imported.step, imported.copy_to(model, labels).remark


def _copy_trained(
    source: RunFolder,
    chosen: str,
    model: keras.Model,
    step: int | None = None,
    labels: Labels | None = None,
) -> tuple[int, str]:
    # What is damaged there was said when the step was chosen first.
    trained, found = restore_for_reading(source, chosen if step is None else step, lambda line: None)
    there = source.labels()
    return found, copy_weights(trained, model, there and there.names, labels and labels.names).remark


def _shape(config: Config) -> dict[str, Any]:
    """Return the settings that decide what the weights are, with the family's defaults filled in."""
    model = config.model
    encoder = config.task in WITH_PAIRS and model.has("encoder")
    learned = model.has("attention") and model.positions == "learned"
    settings = {
        **dataclasses.asdict(model),
        "hidden_units": model.units,
        "tie_embeddings": model.tied,
        "num_kv_heads": model.kv_heads,
        "encoder_layers": model.encoder_depth if encoder else None,
        "context_length": config.context_length if learned else None,
    }
    return {name: value for name, value in settings.items() if not FIELDS[name].metadata["keeps_weights"]}


def _other_tokenizer(here: DataConfig, there: DataConfig, tokenizer: Tokenizer) -> list[str]:
    """Say in which settings the tokenizer of the new run would be another one than that of the weights."""
    folder = here.tokenizer not in text.TOKENIZERS
    if folder and here.tokenizer == there.tokenizer and not text.saved_in(here.tokenizer):
        return []  # The run has a copy of its own, wherever that folder is now.
    saved = saved_tokenizer(here)
    if saved:
        known = [one.without_chat().fingerprint() for one in (saved, saved.with_mask())]
        same = tokenizer.without_chat().fingerprint() in known  # Which a task adds.
        return (
            [] if same else [f"--tokenizer={here.tokenizer} holds another tokenizer than that of the weights"]
        )
    lines = []
    if here.tokenizer not in (there.tokenizer, tokenizer.name):
        lines.append(f"--tokenizer: {tokenizer.name} there, {here.tokenizer} here")
    has = tokenizer.settings()
    for name, value in here.given_for_tokenizer().items():
        if value not in (getattr(there, name), has.get(name)):
            lines.append(f"--{name}: {has.get(name, getattr(there, name))} there, {value} here")
    return lines


def restore_for_reading(
    folder: RunFolder,
    checkpoint: str | int,
    warn: Callable[[str], None],
    precision: str | None = None,
) -> tuple[keras.Model, int]:
    """Build the network of a run and read its weights; the run may be training meanwhile.

    Args:
        folder: the run.
        checkpoint: `last` or `best`, or the step of a checkpoint.
        warn: called with one line when a checkpoint is damaged.
        precision: as `--precision`; None for that of the run.

    Returns:
        The network and the step of its weights.

    Raises:
        InputError: the checkpoint is missing, or it does not fit.
    """
    model = None
    for _ in range(ATTEMPTS):
        step = checkpoint if isinstance(checkpoint, int) else step_for_reading(folder, checkpoint, warn)
        try:
            model = model or _network(
                folder, step, precision
            )  # Built once: a checkpoint may be deleted soon.
            folder.checkpoints().restore(step, {"model": model.variables}, everything=False)
            return model, step
        except Gone:
            if isinstance(checkpoint, int):
                raise InputError(
                    f"the checkpoint of step {step:,} in {folder.path} was deleted by the run that trains"
                    " there; wait until it ends, or begin again"
                ) from None
    raise folder.checkpoints().gone()


def best_or_last(folder: RunFolder) -> str:
    """Return `best` if a checkpoint of a run was validated, else `last`."""
    return "last" if folder.checkpoints().best() is None else "best"


def step_for_reading(folder: RunFolder, checkpoint: str, warn: Callable[[str], None]) -> int:
    """Return the step of the `last` or `best` checkpoint that is whole.

    Raises:
        InputError: there is none.
    """
    checkpoints = folder.checkpoints(warn=warn)
    step = checkpoints.best() if checkpoint == "best" else checkpoints.newest()
    damaged = checkpoints.damaged() if step is None or checkpoint == "best" else {}
    if step is None and damaged and len(damaged) == len(checkpoints.steps()):
        raise all_damaged(checkpoints)
    if checkpoint == "best":
        for other, problem in damaged.items():
            warn(f"the checkpoint of step {other:,} is damaged ({problem}); using the best of the others")
    if step is None and checkpoint == "best" and checkpoints.sound():
        raise InputError(
            f"the run in {folder.path} has no validated checkpoint, so none is the best; take the last one,"
            " or go on training with text to validate on"
        )
    if step is None:
        raise InputError(f"the run in {folder.path} has no checkpoint yet; go on training it first")
    return step


def all_damaged(checkpoints: Checkpoints) -> InputError:
    """Return the error for a run whose checkpoints are all damaged."""
    return InputError(
        f"every checkpoint in {checkpoints.folder} is damaged; restore one from a copy, "
        "or begin a new run with another --run_dir"
    )


def _network(folder: RunFolder, step: int, precision: str | None) -> keras.Model:
    """Build the network of a run, if the checkpoint that will be read has as many weights."""
    config = folder.config()
    tokenizer, labels = folder.tokenizer(), folder.labels()
    if labels is None and config.task in WITH_LABELS:
        raise InputError(
            f"{folder.path} holds a run of --task={config.task} without labels.json; restore it from a copy"
        )
    task = task_of(config, tokenizer.vocab_size, tokenizer, labels)
    sizes = task.network_vocab_size, task.outputs
    needed = 4 * NUM_PARAMETERS[config.model.model](config, *sizes)
    found = folder.checkpoints().size(step)
    if needed > found:  # Before memory is taken for what a config.json says.
        raise InputError(
            f"the checkpoint of step {step:,} in {folder.path} does not fit this network ({needed:,} bytes of"
            f" weights, and it has {found:,}); was the run folder put together from two runs?"
        )
    if precision is not None:
        config = dataclasses.replace(
            config, learning=dataclasses.replace(config.learning, precision=precision)
        )
    return FAMILIES[config.model.model](config, *sizes)
