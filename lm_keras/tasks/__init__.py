"""What is predicted of a text: one file a task, and `task.py` for the contract.

`TASKS` maps the name of `--task` to its class; `lm_keras.registry.tasks_of` says which of them each family
has.
"""

from lm_keras.config import Config
from lm_keras.tasks.causal_lm import CausalLM
from lm_keras.tasks.infilling import Infilling
from lm_keras.tasks.masked_lm import MaskedLM
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer

TASKS: dict[str, type[Task]] = {"causal_lm": CausalLM, "masked_lm": MaskedLM, "infilling": Infilling}


def task_of(config: Config, vocab_size: int, tokenizer: Tokenizer | None = None) -> Task:
    """Return the task of a run; the one place where it is made.

    Args:
        config: the settings.
        vocab_size: tokens of the text.
        tokenizer: of the text; None in a dry run that has none yet.

    Raises:
        InputError: nothing can be predicted of such a text.
    """
    return TASKS[config.task].of(config, vocab_size, tokenizer)
