"""The contract of an answer: a trained network and a user's input become output."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from lm_keras.errors import InputError
from lm_keras.sampling.continuation import Continuation
from lm_keras.sampling.masks import Filled

NO_CONVERSATIONS = (
    "this model has no chat template, and holds no conversations; train one with --task=chat, or convert an"
    " instruct model with scripts/convert.py"
)
"""Said of a model that is no chat model."""


class Answer:
    """Turns prompts into text. What a task has no meaning for is an error that says so.

    Attributes:
        task: of the network.
        tokens_generated: by all calls so far.
        fill_settings: the settings of `scripts/sample.py` that have a meaning where masks are filled.
        columns: what a table of predictions calls a prediction and its score.
        usual_batch_size: rows or sources that go through the network at once, where nothing else is said.
        instead: what to do with the network, for messages.
    """

    task: ClassVar[str]
    fill_settings: ClassVar[frozenset[str]] = frozenset()
    columns: ClassVar[tuple[str, str]] = ("predicted", "probability")
    usual_batch_size: ClassVar[int] = 16
    instead: ClassVar[str] = "continue or fill text with scripts/sample.py"
    tokens_generated: int

    def tell(self, say: Callable[[str], None]) -> None:
        """Call `say` from now on with lines on what happens to a text."""
        self._say = say

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Return what comes of the prompts: continuations, or the prompts with their masks filled."""
        raise NotImplementedError

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the tokenizer does not know."""
        raise NotImplementedError

    def sample(self, prompts: list[str], **settings) -> list[Continuation]:
        """Return continuations with their tokens and log-probabilities."""
        raise InputError(f"--task={self.task} fills masks and continues no text; use fill")

    def stream(self, prompt: str, **settings) -> Iterator[str]:
        """Return an iterator over the pieces of one continuation."""
        raise InputError(f"--task={self.task} fills masks and continues no text; use fill")

    def reply(self, messages: Sequence[Any], stream: bool = False, **settings) -> str | Iterator[str]:
        """Return the answer of the assistant to a conversation."""
        raise InputError(NO_CONVERSATIONS)

    def fill(self, text: str, words: int, **settings) -> Filled:
        """Return a text with its masks filled, and the likeliest words of each."""
        raise InputError(f"--task={self.task} generates text and fills no masks; use generate")

    def fillings(self, text: str, settings: dict[str, Any]) -> list[Filled]:
        """Return the text with its masks filled as often as the settings ask for.

        Args:
            text: with `[MASK]`s.
            settings: some of `fill_settings`, by name.
        """
        raise InputError(f"--task={self.task} generates text and fills no masks; use generate")

    def classify(self, texts: list[str], **settings) -> list[dict[str, Any]]:
        """Return the class of each text with its probabilities."""
        raise InputError(f"--task={self.task} names no class of a text; {self.instead}")

    def tag(self, texts: list[str | list[str]], **settings) -> list[list[Any]]:
        """Return the spans of each text."""
        raise InputError(f"--task={self.task} tags no words; {self.instead}")

    def translate(self, texts: list[str], **settings) -> list[str]:
        """Return the best target of each source."""
        raise InputError(f"--task={self.task} turns no source into a target; {self.instead}")

    def targets(self, texts: list[str], **settings) -> list[list[Any]]:
        """Return the targets of each source with their scores."""
        raise InputError(f"--task={self.task} turns no source into a target; {self.instead}")

    def decode_with(self, settings: Any) -> None:
        """Decode targets as some settings say from now on.

        Args:
            settings: `lm_keras.sampling.pair_settings.PairSettings`.

        Raises:
            InputError: one of them is not the usual one, and the network generates no targets; or it predicts
                nothing at all.
        """
        self.check_predicts()
        usual = type(settings)()
        for name in type(settings).__dataclass_fields__:
            if getattr(settings, name) != getattr(usual, name):
                raise InputError(
                    f"--{name}={getattr(settings, name)} is for --task=seq2seq, and this model has"
                    f" --task={self.task}; leave it out"
                )

    def records(
        self, inputs: list[Any], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return what `scripts/predict.py` writes of each text, or of each list of words.

        Args:
            inputs: texts.
            too_long: what is done with one that has more tokens than the network reads.
            batch_size: rows that go through the network at once.
            names: of the texts, for messages, such as their file and line; without any they are numbered.
        """
        raise InputError(f"--task={self.task} predicts no labels; {self.instead}")

    def scale(self, temperature: float) -> None:
        """Divide the logits of labels by a temperature from now on."""
        self.check_predicts()

    def tell_of_long(self, too_long: str) -> None:
        """Tell of texts that `records` has cut or read in windows."""

    def check_predicts(self) -> None:
        """Raise InputError unless the network predicts labels."""
        raise InputError(f"--task={self.task} predicts no labels; {self.instead}")

    def fills(self, prompt: str) -> bool:
        """Tell whether what `generate` returns for a prompt is the prompt itself with its masks filled."""
        return False

    def between(self, before: str, removed: str, after: str, most: int) -> str:
        """Return the likeliest text between two others.

        Args:
            before, after: the text around it.
            removed: what was there; only its length is used.
            most: tokens that are generated, at most.
        """
        raise NotImplementedError

    def tokens_between(self, removed: int, most: int) -> int:
        """Return the number of tokens that `between` needs in place of `removed`."""
        return max(most, removed)
