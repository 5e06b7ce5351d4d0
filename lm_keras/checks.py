"""Which values settings may take, and which contradict each other; `config.py` lists the settings."""

import dataclasses
from typing import Any, Protocol

from lm_keras import rotary_scaling, schedules
from lm_keras.errors import InputError
from lm_keras.fields import LARGEST_FLOAT, SMALLEST_FLOAT, families_of, profiled_steps
from lm_keras.registry import (
    JIT_OF_PARTS,
    OF_WHOLE_TEXT,
    OPTIMIZERS,
    TASKS,
    WITH_EXAMPLES,
    WITH_LABELS,
    WITH_MASKS,
    WITH_PAIRS,
    families_with,
    scores_of,
    tasks_of,
)


class CheckedSettings(Protocol):
    """What is checked: a `lm_keras.config.Config`, which imports this file."""

    data: Any
    model: Any
    batches: Any
    learning: Any
    running: Any
    task: str
    batching: str
    context_length: int
    pooling: str | None

    def flat(self) -> dict[str, Any]:
        """Return every setting under its flag's name."""

    def check_each(self) -> None:
        """Raise InputError where one has a value that it may not take."""


def check_settings(config: CheckedSettings, fields: dict[str, dataclasses.Field]) -> None:
    """Raise InputError when a value is out of range or two settings contradict each other.

    Args:
        config: the settings.
        fields: its settings by name.
    """
    config.check_each()
    for name in ("corpus", "text_field", "tokenizer"):
        if not getattr(config.data, name).strip():
            raise InputError(f"--{name} is empty; expected {fields[name].metadata['help']}")
    batches, learning, running = config.batches, config.learning, config.running
    _check_meaning(config, fields)
    _check_family(config, fields)
    if batches.steps is not None and batches.epochs is not None:
        raise InputError(
            f"--steps={batches.steps} and --epochs={batches.epochs} contradict each other; "
            "give one of them, and clear the other one, if a flagfile sets it, with --steps= or --epochs="
        )
    _check_schedules(config)
    given = [
        f"--{name}={getattr(learning, name)}"
        for name in ("token_noise_kind", "token_noise_schedule")
        if getattr(learning, name) != fields[name].default
    ]
    if given and not learning.token_noise:
        raise InputError(f"{given[0]} has no meaning without noise; give --token_noise too, or leave it out")
    for name in ("beta_1", "beta_2"):
        if getattr(learning, name) is not None and not OPTIMIZERS[learning.optimizer].betas:
            others = ", ".join(other for other, row in OPTIMIZERS.items() if row.betas)
            raise InputError(
                f"--{name}={getattr(learning, name)} has no meaning for --optimizer={learning.optimizer}; "
                f"leave it out, or take one of {others}"
            )
    if learning.optimizer == "lion" and learning.beta_1 == 0:
        raise InputError(
            "--beta_1=0 would leave --optimizer=lion the sign of the gradient; give it a number above 0"
        )
    if running.jit in JIT_OF_PARTS and not config.model.has("recurrence"):
        raise InputError(
            f"--jit={running.jit} has no meaning for --model={config.model.model}; leave it out, or take "
            f"--model={families_with('recurrence')[0]}"
        )
    profiled_steps(running.profile_steps)
    parts = (running.replicas or 1) * batches.micro_batches
    if batches.batch_size % parts:
        raise InputError(
            f"--batch_size={batches.batch_size} rows can't be shared evenly by {running.replicas or 1} "
            f"replicas x {batches.micro_batches} micro-batches; take a multiple of {parts}"
        )
    if running.strategy == "one_device" and (running.replicas or 1) > 1:
        raise InputError(
            f"--strategy=one_device and --replicas={running.replicas} contradict each other; use "
            "--strategy=mirrored"
        )


def _check_schedules(config: CheckedSettings) -> None:
    learning = config.learning
    for name in ("learning_rate_schedule", "dropout_schedule", "token_noise_schedule"):
        try:
            schedules.parse(getattr(learning, name))
        except InputError as error:
            raise InputError(f"--{name}: {error}") from None
    schedules.build(learning.learning_rate_schedule, 1, learning.warmup_steps)
    largest = learning.learning_rate * schedules.largest(learning.learning_rate_schedule)
    if largest > LARGEST_FLOAT:
        raise InputError(
            f"--learning_rate={learning.learning_rate} times "
            f"--learning_rate_schedule={learning.learning_rate_schedule} reaches "
            f"{largest:g}; expected at most {LARGEST_FLOAT:.1e}, the limit of float32"
        )
    if 0 < largest < SMALLEST_FLOAT:
        raise InputError(
            f"--learning_rate={learning.learning_rate} times "
            f"--learning_rate_schedule={learning.learning_rate_schedule} reaches "
            f"{largest:g} at most, which is 0 in float32; expected at least {SMALLEST_FLOAT:.1e}"
        )
    for name, rate in (("dropout", config.model.dropout), ("token_noise", learning.token_noise)):
        text = getattr(learning, f"{name}_schedule")
        if schedules.plateau_of(text):
            raise InputError(
                f"--{name}_schedule=plateau is not possible; plateau is for the learning rate only"
            )
        largest = rate * schedules.largest(text)
        if largest > 1 - 2**-24:  # The largest float32 below 1.
            raise InputError(
                f"--{name}={rate} times --{name}_schedule={text} reaches {largest:g}; "
                "such a rate has to stay below 1"
            )


def _check_meaning(config: CheckedSettings, fields: dict[str, dataclasses.Field]) -> None:
    """Raise InputError if a setting was given that has no meaning for the family or the task."""
    family, task = config.model.model, config.task
    for name, value in config.flat().items():
        field, families = fields[name], families_of(fields[name])
        tasks = field.metadata["tasks"] or (task,)
        if value == field.default or (family in families and task in tasks):
            continue
        if family in families:
            flag, given = "task", task
            others = tuple(other for other in tasks_of(family) if other in tasks)
        else:
            flag, given, others = "model", family, families
        raise InputError(
            f"--{name}={value} has no meaning for --{flag}={given}; leave it out, or take "
            f"--{flag}={' or '.join(others)}"
        )


def _check_family(config: CheckedSettings, fields: dict[str, dataclasses.Field]) -> None:
    family, length, task = config.model.model, config.batches.sequence_length, TASKS[config.task]
    if config.task not in tasks_of(family):
        raise InputError(
            f"--task={config.task} has no meaning for --model={family}; take --model="
            f"{' or '.join(families_with(task.needs))}, or --task={' or '.join(tasks_of(family))}"
        )
    best_by = config.learning.best_by
    if config.task in WITH_MASKS and best_by in OF_WHOLE_TEXT:
        raise InputError(
            f"--best_by={best_by} has no meaning for --task={config.task}, which does not predict every "
            f"token; take one of {', '.join(scores_of(config.task))}"
        )
    if best_by and best_by not in scores_of(config.task):
        raise InputError(
            f"--best_by={best_by} has no meaning for --task={config.task}; take one of "
            f"{', '.join(scores_of(config.task))}"
        )
    if best_by in TASKS[config.task].scores and config.task in WITH_PAIRS and not config.running.eval_pairs:
        raise InputError(
            f"--best_by={best_by} judges targets, and --eval_pairs=0 generates none; take --eval_pairs=200"
        )
    _check_labels(config)
    _check_examples(config)
    if config.model.has("attention"):
        _check_transformer(config)
    if config.model.encoder_layers and not config.model.has("encoder"):
        raise InputError(
            f"--encoder_layers={config.model.encoder_layers} has no meaning for --model={family}, which has"
            " no encoder; leave it out"
        )
    if length < task.least_length:
        raise InputError(
            f"--sequence_length={length} is too short for --model={family}, which reads {task.reads}; take "
            f"at least {task.least_length}"
        )
    if config.task in fields["span_length"].metadata["tasks"] and config.model.span_length > length:
        raise InputError(
            f"--span_length={config.model.span_length} makes spans longer than a row of --sequence_length="
            f"{length} tokens; take shorter ones"
        )
    if config.task in WITH_MASKS and config.learning.token_noise:
        raise InputError(
            f"--token_noise={config.learning.token_noise} has no meaning for --model={family}, which masks "
            "tokens anyway; leave it out"
        )
    if config.model.init_checkpoint != "last" and not config.model.init_from:
        raise InputError(
            f"--init_checkpoint={config.model.init_checkpoint} has no meaning without --init_from; give that "
            "too, or leave it out"
        )
    begins = config.model.init_from or (config.learning.freeze == "embedding" and config.model.embedding_init)
    if config.learning.freeze != "none" and not begins:
        raise InputError(
            f"--freeze={config.learning.freeze} would keep weights as they were drawn; give --init_from too, "
            "or leave it out"
        )
    if config.model.init_from and config.model.embedding_init:
        raise InputError(
            "--init_from and --embedding_init contradict each other: the weights of a run have an embedding "
            "already; leave one of them out"
        )
    if config.model.direct_connections and config.model.tied:
        raise InputError(
            "--direct_connections and --tie_embeddings contradict each other: the embedding has no rows for "
            "what comes directly; leave one of them out"
        )
    if config.batches.state_reset and config.batching == "window":
        raise InputError(
            f"--state_reset={config.batches.state_reset} has no meaning for windows, which all start "
            "from nothing; leave it out, or take --batching=stream"
        )


def _check_labels(config: CheckedSettings) -> None:
    """Raise InputError for settings that have no meaning with labels, or none without them."""
    model = config.model
    if config.task not in WITH_LABELS:
        if model.bidirectional:
            raise InputError(
                f"--bidirectional=True has no meaning for --task={config.task}, which predicts tokens that "
                f"the network would have seen; leave it out, or take --task={' or '.join(WITH_LABELS)}"
            )
        return
    if config.pooling == "first" and not model.has("masked_lm", "infilling"):
        raise InputError(
            f"--pooling=first has no meaning for --model={model.model}, whose first token sees no other one; "
            "take last, mean or max"
        )


def _check_examples(config: CheckedSettings) -> None:
    """Raise InputError for settings that have no meaning where rows have whole examples."""
    if config.task not in WITH_EXAMPLES:
        return
    if config.task in WITH_PAIRS and config.data.too_long == "windows":
        raise InputError(
            f"--too_long=windows has no meaning for --task={config.task}, which reads a source as a whole; "
            "take cut_end, cut_start or error"
        )
    batches = config.batches
    for name, value in (("batching", batches.batching), ("state_reset", batches.state_reset)):
        if value:
            raise InputError(
                f"--{name}={value} has no meaning for --task={config.task}, whose rows have whole examples; "
                "leave it out"
            )


def _check_transformer(config: CheckedSettings) -> None:
    model, length = config.model, config.batches.sequence_length
    if model.embedding_dim % model.num_heads and not model.head_dim:
        raise InputError(
            f"--num_heads={model.num_heads} do not divide --embedding_dim={model.embedding_dim}; take a "
            "number of heads that does, or give --head_dim"
        )
    if model.num_heads % model.kv_heads:
        raise InputError(
            f"--num_kv_heads={model.num_kv_heads} do not divide --num_heads={model.num_heads}; take a number "
            "that does"
        )
    if model.positions == "sinusoidal" and not model.has("sinusoidal"):
        raise InputError(
            f"--positions=sinusoidal has no meaning for --model={model.model}; take learned or rotary"
        )
    if model.positions == "sinusoidal" and model.embedding_dim % 2:
        raise InputError(
            "--positions=sinusoidal has pairs of a sine and a cosine, and --embedding_dim="
            f"{model.embedding_dim} is odd; make it even"
        )
    if model.positions == "rotary" and model.head_width % 2:
        raise InputError(
            f"--positions=rotary turns pairs of numbers, and a head has {model.head_width} of them "
            f"({'--head_dim' if model.head_dim else '--embedding_dim over --num_heads'}); make that even"
        )
    if model.rotary_scaling is not None:
        try:
            rotary_scaling.parse(model.rotary_scaling)
        except InputError as error:
            raise InputError(f"--rotary_scaling={model.rotary_scaling}: {error}") from None
        if model.positions != "rotary":
            raise InputError(
                f"--rotary_scaling={model.rotary_scaling} has no meaning for --positions={model.positions}; "
                "leave it out, or take --positions=rotary"
            )
    if config.context_length < length:
        raise InputError(
            f"--context_length={model.context_length} is shorter than a row of --sequence_length={length} "
            "tokens; make it as long, or rows shorter"
        )
    if config.batching == "stream":
        raise InputError(
            f"--batching=stream carries a state from row to row, which --model={model.model} does not have; "
            "leave it out"
        )
