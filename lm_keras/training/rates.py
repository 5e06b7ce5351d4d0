"""What the schedules of a run come to: whether they leave anything of a rate, and where another length lets
one jump.
"""

from lm_keras import schedules
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.errors import InputError
from lm_keras.training.run import schedule_callbacks


def check(config: Config, total_steps: int) -> None:
    """Raise InputError if a schedule leaves nothing of a rate that was asked for."""
    learning = config.learning
    text, base = learning.learning_rate_schedule, learning.learning_rate
    when = schedules.when_nothing(text, base, total_steps, learning.warmup_steps)
    if not when and (stair := schedules.first_stair_to_nothing(text, base, total_steps)):
        when = f"after step {stair:,}"
    if when:
        raise InputError(
            f"--learning_rate={base} times --learning_rate_schedule={text} is 0 in float32 {when}, so that"
            f" nothing more is learnt in a run of {total_steps:,} steps; give the schedule a value above 0"
        )
    for name, base in (("dropout", config.model.dropout), ("token_noise", learning.token_noise)):
        text = getattr(learning, f"{name}_schedule")
        if base and total_steps > 1 and (when := schedules.when_nothing(text, base, total_steps)):
            raise InputError(
                f"--{name}={base} times --{name}_schedule={text} is 0 in float32 {when} of a run of"
                f" {total_steps:,} steps; give the schedule a value above 0, or leave --{name} out"
            )


def jumps(config: Config, folder: RunFolder, before: int, now: int) -> str:
    """Return which rates another length of a run changes at once, in words, or an empty string if none."""
    done = max(folder.checkpoints().steps(), default=0)
    found = []
    for old, new in zip(schedule_callbacks(config, before), schedule_callbacks(config, now)):
        (expected,), (rate,) = old.table(done, 1), new.table(done, 1)
        if done and rate != expected:
            name = old.name.replace("_", " ")
            found.append(
                f"the {name} was {old.table(done - 1, 1)[0]:.3g} at step {done:,} and is {rate:.3g} at the"
                " next"
            )
    return "; its schedules stretch over the new length from here on: " + ", ".join(found) if found else ""
