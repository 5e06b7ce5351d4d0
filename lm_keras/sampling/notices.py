"""Lines that tell what a user of a sampler would otherwise wonder about."""

import functools
import math
import re
from collections.abc import Callable

from lm_keras.sampling.continuation import Continuation
from lm_keras.sampling.settings import SamplingSettings
from lm_keras.text.tokenizer import Tokenizer


class Notices:
    """Tells which texts ended at once, and which stop strings can never come.

    Args:
        tokenizer: of the model.
        say: called with each line.
    """

    def __init__(self, tokenizer: Tokenizer, say: Callable[[str], None]):
        self._tokenizer, self._say, self._told = tokenizer, say, set()

    def tell_early_ends(self, found: list[Continuation], settings: SamplingSettings) -> None:
        """Say how many of some texts the model ended before anything but white space."""
        ended = [one for one in found if one.ended_by == "eod" and not one.text.strip()]
        if not ended:
            return
        which = f"{len(ended):,} of {len(found):,} texts" if len(found) > 1 else "the text"
        likeliest = max(math.exp(sum(one.log_probabilities)) for one in ended)
        kept = ",".join(f"{token}:-1000" for token in sorted({one.token_ids[-1] for one in ended}))
        drawn = settings.temperature > 0 and settings.num_beams == 1
        self._say(
            f"the model ended {which} at once, with a probability of"
            f" {'up to ' if len(ended) > 1 else ''}{likeliest:.2g};"
            f" {'another seed gives another text, and ' if drawn else ''}logit_bias={kept} keeps it"
            " from ending"
        )

    def tell_stops(self, stop: tuple[str, ...]) -> None:
        r"""Say once of each stop string that it can never come, or is hardly what was meant, as a backslash
        and an n.
        """
        for text in stop:
            if text in self._told:
                continue
            self._told.add(text)
            line, missing = f"the stop string {text!r}", self._characters.without(text)
            if missing:
                line += f" can never come: the vocabulary has no {', '.join(map(repr, missing))}"
                normal = self._tokenizer.normalize(text)
                line += "" if self._characters.without(normal) else f", its texts have {normal!r} instead"
            escaped = re.search(r"\\[nrt]", text)
            if escaped:
                line += (
                    f"{'; it' if missing else ''} has a backslash and a letter where bash writes"
                    f" $'{escaped[0]}'"
                )
            if missing or escaped:
                self._say(line)

    @functools.cached_property
    def _characters(self) -> "Characters":
        return Characters(self._tokenizer)


class Characters:
    """The characters that texts of a vocabulary can have.

    Args:
        tokenizer: its tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer):
        self._whole: set[str] = set()
        self._bytes: set[int] = set()
        for token in set(range(tokenizer.vocab_size)) - tokenizer.special_ids:
            content = tokenizer.token_bytes(token)
            try:
                content.decode("utf-8")
            except UnicodeDecodeError:  # A part of a character, which others may complete.
                self._bytes.update(content)
            else:
                self._whole.update(tokenizer.decoder(before="x").push([token]))

    def without(self, text: str) -> list[str]:
        """Return the characters of a text, each once, that texts of the vocabulary cannot have."""

        def there(character: str) -> bool:
            return character in self._whole or self._bytes.issuperset(
                character.encode("utf-8", "surrogatepass")
            )

        return [character for character in dict.fromkeys(text) if not there(character)]
