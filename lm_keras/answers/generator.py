"""Networks that predict the next token: continuing a text."""

from lm_keras.answers.answer import Answer
from lm_keras.sampling.generate import Sampler


class Generator(Sampler, Answer):
    """Continues texts; see `lm_keras.sampling.generate.Sampler`."""

    task = "causal_lm"

    def between(self, before: str, removed: str, after: str, most: int) -> str:
        """Return what goes on from the text before, no more words of it than `removed` has."""
        (text,) = self.generate([before], max_new_tokens=most, temperature=0.0)
        return as_many_words(text, removed)


def as_many_words(text: str, removed: str) -> str:
    """Cut a text behind as many words as another one has, words behind one space each, and at the end of its
    line.

    Example:
        >>> as_many_words(" the first line\\nand", " a b")
        ' the first'
    """
    return " ".join(text.partition("\n")[0].split(" ")[: 1 + removed.count(" ")])
