"""The answer of a network that turns a source into a target."""

from lm_keras.answers.answer import Answer


class Translator(Answer):
    """Generates the target of each source."""

    task = "seq2seq"
