"""How the target of a source is decoded: every setting with its default and its range."""

import dataclasses

from lm_keras.errors import InputError
from lm_keras.fields import check, setting


@dataclasses.dataclass(frozen=True)
class PairSettings:
    """How targets of sources are found (translations, summaries).

    Raises:
        InputError: a value is outside of what its setting allows, or two contradict each other.
    """

    num_beams: int = setting(5, "beams of the search for the likeliest target; 1: greedy", low=1)
    num_samples: int = setting(1, "targets of each source, the best ones (jsonl)", low=1)
    length_penalty: float = setting(
        1.0,
        "alpha of the search: a target of n tokens is ranked by its log-probability over ((5 + n) / "
        "6)^alpha, so a higher alpha gives longer targets; 0: by the log-probability alone",
        low=-100,
        high=100,
    )
    no_repeat_ngram: int = setting(
        0, "never generate the same n tokens of a target in a row twice; 0: off", low=0
    )
    max_length_ratio: float = setting(
        1.5, "a target has at most this many times the tokens of its source, and --max_length_more", low=0
    )
    max_length_more: int = setting(10, "tokens of a target beyond --max_length_ratio, at most", low=1)
    min_length_ratio: float = setting(
        0.0, "a target has at least this many times the tokens of its source", low=0
    )
    temperature: float = setting(
        0.0, "with --num_beams=1: above 0, sample from logits that are divided by it; 0: greedy", low=0
    )
    top_p: float = setting(
        1.0, "with --temperature: sample the fewest tokens whose probability reaches p", above=0, high=1
    )
    target_language: str | None = setting(
        None, "into which a model of several languages translates, as the training text names it"
    )
    seed: int = setting(0, "with --temperature: same seed and source, same target", low=0)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field, getattr(self, field.name))
        if self.temperature and self.num_beams > 1:
            raise InputError(
                f"--temperature={self.temperature} samples, and --num_beams={self.num_beams} searches for the"
                " likeliest target; take --num_beams=1, or leave the temperature out"
            )
        if self.top_p < 1 and not self.temperature:
            raise InputError(f"--top_p={self.top_p} has no meaning without --temperature; leave one out")
        if self.temperature and self.min_length_ratio:
            raise InputError(
                f"--min_length_ratio={self.min_length_ratio} has no meaning where tokens are sampled; leave"
                " it or --temperature out"
            )
        if self.num_samples > self.num_beams and not self.temperature:
            raise InputError(
                f"--num_samples={self.num_samples} of --num_beams={self.num_beams}: a search gives at most as"
                " many targets as it has beams; use more beams"
            )
        if self.min_length_ratio > self.max_length_ratio:
            raise InputError(
                f"--min_length_ratio={self.min_length_ratio} is above"
                f" --max_length_ratio={self.max_length_ratio}; expected at most as much"
            )

    def most(self, tokens: int) -> int:
        """Return the tokens that the target of a source with `tokens` may have."""
        return int(self.max_length_ratio * tokens) + self.max_length_more

    def least(self, tokens: int) -> int:
        """Return the tokens that it has at least."""
        return int(self.min_length_ratio * tokens)


def pair_settings_from(changes: dict) -> PairSettings:
    """Return the defaults with `changes`, setting name -> value.

    Raises:
        InputError: a name is unknown, or a value is not allowed.
    """
    names = [field.name for field in dataclasses.fields(PairSettings)]
    for name in changes:
        if name not in names:
            raise InputError(f"{name!r} is no setting of a translation; the settings are {', '.join(names)}")
    return PairSettings(**changes)
