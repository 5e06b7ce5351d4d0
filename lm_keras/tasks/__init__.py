"""What is predicted of a text: one file a task, and `task.py` for the contract.

The tasks are the rows of `lm_keras.registry.TASKS`. `TASKS` here maps the name of each, a value of `--task`,
to its class.
"""

from lm_keras import registry
from lm_keras.config import Config
from lm_keras.corpora.mixed import specs_in
from lm_keras.data.labels import Labels
from lm_keras.errors import InputError
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer

TASKS: dict[str, type[Task]] = {
    name: registry.imported("tasks", row.task) for name, row in registry.TASKS.items()
}


def task_of(
    config: Config, vocab_size: int, tokenizer: Tokenizer | None = None, labels: Labels | None = None
) -> Task:
    """Return the task of a run; the one place where it is made.

    Args:
        config: the settings.
        vocab_size: tokens of the text.
        tokenizer: of the text; None in a dry run that has none yet.
        labels: of the training text, for a task that predicts labels; None in a dry run that has none yet.

    Raises:
        InputError: nothing can be predicted of such a text.
    """
    return TASKS[config.task].of(config, vocab_size, tokenizer, labels)


def check_fields(config: Config) -> None:
    """Raise InputError if the records of a source of text lack a field that the task needs."""
    for flag in ("corpus", "valid_corpus", "test_corpus"):
        for spec in specs_in(getattr(config.data, flag) or ""):
            source = registry.SOURCES.get(spec.partition(":")[0])  # One that there is not is refused later.
            missing = [name for name in TASKS[config.task].fields if source and name not in source.fields]
            if missing:
                having = [row.form for row in registry.SOURCES.values() if missing[0] in row.fields]
                raise InputError(
                    f"--task={config.task} needs the field {missing[0]!r} of each record, and --{flag}={spec}"
                    f" has none; take one of {', '.join(having)}"
                )
