"""What turns a user's input into output with a trained network: one file a kind of answer.

`ANSWERS` maps each task to its answer, as the rows of `lm_keras.registry.TASKS` say.
"""

from collections.abc import Callable, Sequence

import keras

from lm_keras import registry
from lm_keras.answers.answer import Answer
from lm_keras.answers.chat import Chat, ends_of_turns
from lm_keras.errors import InputError
from lm_keras.layers.casting import Int8Matrices
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer

ANSWERS: dict[str, type[Answer]] = {
    name: registry.imported("answers", row.answer) for name, row in registry.TASKS.items()
}


def answer_for(
    task: str | Task,
    model: keras.Model,
    tokenizer: Tokenizer,
    say: Callable[[str], None] = lambda line: None,
    jit: bool = False,
    int8: Int8Matrices | None = None,
    end_ids: Sequence[int] = (),
) -> Answer:
    """Return what turns the network of a task into text.

    Args:
        task: the task, or its name where the answer needs to know no more of it.
        model: the network.
        tokenizer: the tokenizer the network was trained with.
        say: called with lines on what happens to a text.
        jit, int8, end_ids: see `lm_keras.sampling.generate.Sampler`.

    Raises:
        InputError: `jit` is for another network.
    """
    if jit and model.forward_one_token is None:
        raise InputError(
            f"--jit=on (jit=True) is for --model={' or '.join(registry.families_with('cache'))}, whose work "
            "for a token it compiles; leave it out"
        )
    name = task.name if isinstance(task, Task) else task
    row = registry.TASKS[name]
    if jit and row.pairs:
        raise InputError(
            f"--jit=on (jit=True) and --weights=int8 have no meaning for --task={name}; leave them out"
        )
    if row.labels or row.pairs:
        return ANSWERS[name](task, model, tokenizer, say)
    if row.messages:
        end_ids = ends_of_turns(tokenizer, end_ids)
    kind = Chat if name == "causal_lm" and tokenizer.chat_template is not None else ANSWERS[name]
    return kind(model, tokenizer, say, jit=jit, int8=int8, end_ids=end_ids)
