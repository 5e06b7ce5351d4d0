"""How generated targets are scored: the choices that their scores depend on."""

import dataclasses
from typing import Any

from lm_keras.errors import InputError
from lm_keras.fields import setting
from lm_keras.objectives.bleu import TOKENIZERS
from lm_keras.objectives.rouge import RougeSettings


@dataclasses.dataclass(frozen=True)
class ScoringOptions:
    """How targets are scored, those of a model of pairs or of a file."""

    predictions: str | None = setting(
        None,
        "file with a target a line, which is scored instead of a model; .jsonl: objects with --target_field",
        path=True,
    )
    references: str | None = setting(
        None,
        "file with the references of --predictions, a line each; .jsonl: objects with --target_field, which "
        "may hold several; FILE,FILE: several references",
        path=True,
    )
    target_field: str = setting("target", "field of .jsonl files with the target, or with the references")
    bleu_tokenize: str = setting(
        "auto", "how BLEU cuts texts into words; auto: by their script", choices=TOKENIZERS
    )
    rouge_stem: bool = setting(False, "ROUGE counts English words with one stem as one word")
    rouge_several: str = setting(
        "best", "of several references: the best one, or their mean", choices=("best", "mean")
    )
    rouge_lines: bool = setting(False, "ROUGE-L reads a text line by line (rougeLsum)")
    rouge_references: str = setting("all", "references that ROUGE uses", choices=("all", "first"))
    target_languages: str | None = setting(
        None, "languages of the targets of --corpus, as in training [as the run's text has them]"
    )

    def __post_init__(self) -> None:
        if bool(self.predictions) != bool(self.references):
            given, missing = (
                ("predictions", "references") if self.predictions else ("references", "predictions")
            )
            raise InputError(
                f"--{given} needs --{missing}, too: a file of targets is compared with another one"
            )

    def check_alone(self, run_dir: str | None) -> None:
        """Raise InputError if both a file and a run are to be scored."""
        if self.predictions and run_dir:
            raise InputError("--run_dir and --predictions contradict each other; score a model, or a file")

    @property
    def choices(self) -> dict[str, Any]:
        """Return the arguments of `lm_keras.evaluation.generation.GeneratedTargets.measures` by name."""
        rouge = RougeSettings(self.rouge_stem, self.rouge_several, self.rouge_lines, self.rouge_references)
        return {"bleu_tokenize": self.bleu_tokenize, "rouge_settings": rouge}

    @property
    def changes(self) -> dict[str, Any]:
        """Return `choices` that are not the usual ones, and the target languages if they are given."""
        usual = type(self)().choices
        changed = {name: value for name, value in self.choices.items() if value != usual[name]}
        return {**changed, **({"target_languages": self.target_languages} if self.target_languages else {})}
