"""What is predicted of a text: one file a task, and `task.py` for the contract.

The tasks are the rows of `lm_keras.registry.TASKS`. `TASKS` here maps the name of each, a value of `--task`,
to its class.
"""

from lm_keras import registry
from lm_keras.config import Config
from lm_keras.data.labels import Labels
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer

TASKS: dict[str, type[Task]] = {
    name: registry.class_of("tasks", row.task) for name, row in registry.TASKS.items()
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
