"""Score a model on held-out text: python scripts/evaluate.py --run_dir=runs/quickstart --split=test"""

import dataclasses
import json
import sys

from lm_keras import InputError, flags, quiet
from lm_keras.fields import setting
from lm_keras.objectives.scoring_options import ScoringOptions


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """What to score, and how."""

    run_dir: str | None = setting(None, "folder of the run", path=True)
    checkpoint: str = setting("last", "which weights", choices=("last", "best"))
    split: str = setting("valid", "part of the run's text or data set", choices=("train", "valid", "test"))
    corpus: str | None = setting(None, "other text instead: text:GLOB, tfds:NAME[:SPLIT] or python-docs")
    cache_dir: str | None = setting(None, "where tokenized text is kept [--cache_dir of the run]", path=True)
    stride: int | None = setting(
        None, "targets that each window counts; not for ngram and bert [as the run was validated]", low=1
    )
    blanks: int | None = setting(None, "cloze items to fill, of one to five words each", low=1, high=10_000)
    pseudo: bool = setting(False, "also mask each token in turn: the pseudo-log-likelihood of a bert")
    weights: str = setting("float32", "int8: 8-bit weights", choices=("float32", "int8"), needs=("cache",))
    json: bool = setting(False, "print one JSON object")


def main() -> int:
    """Read the flags, score and print."""
    options, scoring = flags.read(EvaluateOptions), flags.read(ScoringOptions)
    run_dir = options.run_dir if scoring.predictions else flags.given_run(options.run_dir)
    quiet.import_tensorflow()
    from lm_keras import api
    from lm_keras.evaluation.scored_files import scores_of_files
    from lm_keras.training import report

    if options.blanks and options.corpus:
        raise InputError("--blanks is for the run's own text; leave --corpus out")
    scoring.check_alone(options.run_dir)
    if scoring.predictions:
        result = scores_of_files(scoring)
    else:
        lm, split = api.load(run_dir, options.checkpoint, weights=options.weights), options.split
        lm.cache_dir = options.cache_dir or lm.cache_dir
        pseudo = lm.pseudo_likelihood(split, options.corpus, report.say) if options.pseudo else {}
        how = {"by_label": not options.json, **scoring.changes}
        result = lm.evaluate(split, options.corpus, options.stride, report.say, **how) | pseudo
        if options.blanks:
            shares = lm.exact_matches(split, options.blanks, report.say)
            result |= {f"blanks_of_{words}": share for words, share in shares.items()}
    lines = [json.dumps(result)] if options.json else report.scores(result)
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    flags.define(EvaluateOptions, ScoringOptions)
    flags.run(main)
