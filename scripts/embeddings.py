"""Ask word embeddings: python scripts/embeddings.py nearest return --run_dir=runs/embeddings_quickstart

nearest WORD ...    the words nearest to each of these       analogy A B C    what is to C as B is to A
"""

import dataclasses
import json

from lm_keras import InputError, flags
from lm_keras.embeddings import neighbours
from lm_keras.fields import setting


@dataclasses.dataclass(frozen=True)
class EmbeddingsOptions:
    """Whose vectors, and how many answers."""

    run_dir: str | None = setting(None, "folder of a finished run of scripts/train_embeddings.py", path=True)
    vectors: str | None = setting(None, "instead, a file in the text format of word2vec or GloVe", path=True)
    most_words: int | None = setting(None, "words to read, the first ones of the file [all]", low=2)
    num_answers: int = setting(10, "words that are printed for each question", low=1)
    json: bool = setting(False, "print one JSON object a question instead of a table")


def main(*words: str) -> int:
    """Answer the questions on standard output."""
    options = flags.read(EmbeddingsOptions)
    command, *given = words or ("",)
    if command not in ("nearest", "analogy") or not given or (command == "analogy" and len(given) != 3):
        raise InputError("expected `nearest WORD ...` or `analogy A B C`; see --help")
    vectors = neighbours.Vectors.read(
        neighbours.vectors_of(options.run_dir, options.vectors), options.most_words
    )
    for question in given if command == "nearest" else [given]:
        asked = [question] if command == "nearest" else question
        found = getattr(vectors, command)(*asked, options.num_answers)
        if options.json:
            print(json.dumps({"words": asked, "answers": found}))
        else:
            print("\n".join([" ".join(asked), *(f"  {cosine:6.3f}  {name}" for name, cosine in found)]))
    return 0


if __name__ == "__main__":
    flags.define(EmbeddingsOptions)
    flags.run(main, commands=None)
