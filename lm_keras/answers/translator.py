"""Networks that turn a source into a target: translating and summarizing texts.

N sources of a call, K beams or samples of each, V tokens of the network's vocabulary.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.answers.answer import Answer
from lm_keras.answers.labeller import check_too_long, name_of
from lm_keras.corpora.documents import Pair
from lm_keras.errors import InputError
from lm_keras.sampling.beam import MAX_NUMBERS, BeamSearch
from lm_keras.sampling.continuation import unknown_parts
from lm_keras.sampling.hypotheses import NOT_FINITE, Hypothesis, Lengths, Width
from lm_keras.sampling.loop import NOTHING, DecodeLoop
from lm_keras.sampling.network import DecodingNetwork
from lm_keras.sampling.pair_settings import PairSettings, pair_settings_from
from lm_keras.sampling.prompts import check_texts
from lm_keras.sampling.rules import RuleSettings
from lm_keras.sampling.uniforms import key_of
from lm_keras.tasks.seq2seq import Seq2Seq
from lm_keras.text.sentences import parts_of, together
from lm_keras.text.tokenizer import Tokenizer

SOURCES = 64
"""Sources that are decoded at once."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A target of a source.

    Attributes:
        text: what was generated.
        score: by which beam search ranks it; of a sample its log-probability, in nats.
        token_ids: its tokens, with the one that ended it.
        log_probabilities: of each of these tokens.
    """

    text: str
    score: float
    token_ids: tuple[int, ...]
    log_probabilities: tuple[float, ...]


class Translator(Answer):
    """Generates the targets of sources, with one search that is compiled once.

    Args:
        task: of the network.
        model, tokenizer: the network and the tokenizer that it was trained with.
        say: called with a line on sources that are too long.

    Attributes:
        settings: how targets are decoded where a call says nothing else.
    """

    task = "seq2seq"
    instead = "translate with scripts/predict.py, or translate in Python"
    columns = ("target", "score")
    usually_too_long = "cut_end"
    usual_batch_size = SOURCES
    tags_words = False
    tokens_generated = 0

    def __init__(
        self,
        task: Seq2Seq,
        model: keras.Model,
        tokenizer: Tokenizer,
        say: Callable[[str], None] = lambda line: None,
    ):
        self._task, self._model, self._tokenizer, self._say = task, model, tokenizer, say
        self.settings = PairSettings()
        self._network = DecodingNetwork(model, reads_in_parts=task.mask_id is None)
        allowed = np.arange(task.network_vocab_size) < tokenizer.vocab_size
        allowed[list(tokenizer.special_ids)] = False
        allowed[task.end_id] = True
        self._beams = BeamSearch(self._network, task.end_id, allowed, apart=True)
        self._loop = DecodeLoop(self._network, task.end_id, allowed)
        self._width = len(allowed)
        self._read = self._longer = 0

    @property
    def traces(self) -> int:
        """How often a function was traced so far: at most 3, the search, the sampling and the prefill."""
        return self._beams.traces + self._loop.traces + self._network.traces

    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Refuse: a target does not go on from a text."""
        raise InputError(
            f"--task={self.task} turns a source into a target and continues no text; use"
            " scripts/predict.py, or translate in Python"
        )

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a text the tokenizer does not know."""
        return unknown_parts(self._tokenizer, prompt)

    def check_predicts(self) -> None:
        """Accept the network."""

    def decode_with(self, settings: PairSettings) -> None:
        """Decode targets as some settings say from now on."""
        self.settings = settings

    def translate(
        self, texts: list[str], too_long: str = "cut_end", batch_size: int = SOURCES, **settings: Any
    ) -> list[str]:
        """Return the best target of each source; see `targets`."""
        return [found[0].text for found in self.targets(texts, too_long, batch_size, **settings)]

    def targets(
        self, texts: list[str], too_long: str = "cut_end", batch_size: int = SOURCES, **settings: Any
    ) -> list[list[Target]]:
        """Return for each source its targets, the best first.

        Args:
            texts: sources, in any order; one may not be empty.
            too_long: what is done with a source that has more tokens than the network reads: `error`,
                `cut_end`, `cut_start`, or `windows`: it is split at sentences, and the targets are joined.
            batch_size: sources that are decoded at once; it changes nothing but time and memory.
            **settings: fields of `lm_keras.sampling.pair_settings.PairSettings`.

        Raises:
            InputError: a source is empty or a setting is not allowed, or a source is longer than the network
                reads where that is an error.
        """
        how = pair_settings_from({**dataclasses.asdict(self.settings), **settings})
        found = self._targets(texts, too_long, batch_size, how)
        self.tell_of_long(too_long)
        return found

    def translate_pairs(self, pairs: Sequence[Pair], how: PairSettings) -> list[str]:
        """Return the best target of the source of each pair; a long source is cut as in training.

        Args:
            pairs: their targets are not looked at.
            how: targets are decoded.
        """
        too_long = self._task.too_long or self.usually_too_long
        too_long = "cut_end" if too_long == "error" else too_long
        texts, languages = [pair.source for pair in pairs], [pair.language for pair in pairs]
        found = self._targets(texts, too_long, SOURCES, how, languages=languages)
        self._read = self._longer = 0  # The run has told of them.
        return [targets[0].text for targets in found]

    def records(
        self, inputs: list[str], too_long: str, batch_size: int, names: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        found = self._targets(inputs, too_long, batch_size, self.settings, names)
        return [
            {
                "source": text,
                "target": targets[0].text,
                "score": targets[0].score,
                "hypotheses": [{"text": one.text, "score": one.score} for one in targets],
            }
            for text, targets in zip(inputs, found)
        ]

    def _targets(
        self,
        texts: list[str],
        too_long: str,
        batch_size: int,
        how: PairSettings,
        names: Sequence[str] = (),
        languages: Sequence[str | None] | None = None,
    ) -> list[list[Target]]:
        check_texts(texts)
        check_too_long(too_long)
        ids, counts = [], []
        for number, text in enumerate(texts, 1):
            if not text.strip():
                raise InputError(f"{name_of(number, names)} is empty; expected a source")
            language = languages[number - 1] if languages else how.target_language
            parts = self._parts(text.strip(), language, too_long, name_of(number, names))
            ids += [self._task.fitting(part, too_long) for part in parts]
            counts.append(len(parts))
        found = iter(self._decoded(ids, batch_size, how))
        return [_joined(list(itertools.islice(found, count))) for count in counts]

    def _parts(self, text: str, language: str | None, too_long: str, name: str) -> list[np.ndarray]:
        """Return the tokens of a source, or where it is too long and has to be split those of its parts."""

        def encoded(part: str) -> np.ndarray:
            return self._task.source_ids(self._tokenizer, part, language)

        room, whole = self._task.source_room, encoded(text)
        size = len(whole)
        self._read += 1
        if size <= room:
            return [whole]
        if too_long == "error":
            raise InputError(
                f"{name} has {size:,} tokens, and the model reads {room:,}; shorten it, or choose"
                " --too_long=cut_end, cut_start or windows"
            )
        self._longer += 1
        if too_long != "windows":
            return [whole]
        return list(map(encoded, parts_of(text, lambda part: len(encoded(part)), room)))

    @property
    def room(self) -> int:
        """Return the tokens of a source that the network reads, at most."""
        return self._task.source_room

    def count_tokens(self, text: str, target_language: str | None = None) -> int:
        """Return the tokens of a source before it is cut."""
        return len(self._task.source_ids(self._tokenizer, text.strip(), target_language))

    def tell_of_long(self, too_long: str) -> None:
        """Tell how many of the sources since the last time had more tokens than the network reads."""
        if self._longer:
            done = "split at sentences" if too_long == "windows" else f"cut (--too_long={too_long})"
            room = self._task.source_room
            longer = f"{self._longer:,} of {self._read:,} sources have more than {room:,} tokens"
            self._say(f"{longer} and were {done}")
        self._read = self._longer = 0

    def _decoded(self, ids: list[np.ndarray], batch_size: int, how: PairSettings) -> list[list[Target]]:
        """Return the targets of sources, in their order."""
        found: list[list[Target]] = [[] for _ in ids]
        rows = how.num_samples if how.temperature else how.num_beams
        most = max(1, MAX_NUMBERS // (rows * max(self._width, 2 * how.most(self._task.source_room))))
        for numbers in self._batches(ids, min(batch_size, most)):
            some = [ids[number] for number in numbers]
            decoded = self._sampled(some, how) if how.temperature else self._searched(some, how)
            for number, own in zip(numbers, decoded):
                found[number] = [self._target(one) for one in own]
        return found

    def _batches(self, ids: list[np.ndarray], most: int) -> Iterator[list[int]]:
        """Yield the numbers of sources of like length; of equal length where a network reads them as prompts.

        The longest come first, so that what does not fit is known at once.
        """
        order = sorted(range(len(ids)), key=lambda number: -len(ids[number]))
        groups = [order]
        if not self._task.has_encoder:
            groups = [list(group) for _, group in itertools.groupby(order, lambda number: len(ids[number]))]
        for group in groups:
            yield from (group[begin : begin + most] for begin in range(0, len(group), most))

    def _begun(self, ids: list[np.ndarray]) -> tuple[list[list[int]], Any]:
        """Return what the network reads before each target, and the memory of its encoder, if it has one."""
        prompts = [self._task.prefix(source) for source in ids]
        if self._task.has_encoder:
            return prompts, self._network.encoded(**self._task.encoder_rows(ids))
        return prompts, None

    def _lengths(self, ids: list[np.ndarray], prompt: int, how: PairSettings) -> Lengths:
        """Return how many tokens the targets of sources may have, within what the network looks back on."""
        room = self._model.context_length
        most = [how.most(len(source)) for source in ids]
        if room is not None:
            most = [min(one, room + 1 - prompt) for one in most]
        return Lengths(most, [min(how.least(len(source)), one - 1) for source, one in zip(ids, most)])

    def _searched(self, ids: list[np.ndarray], how: PairSettings) -> list[list[Hypothesis]]:
        prompts, memory = self._begun(ids)
        width = Width(how.num_beams, how.length_penalty, how.num_samples)
        rules = RuleSettings.of(no_repeat_ngram=how.no_repeat_ngram)
        lengths = self._lengths(ids, len(prompts[0]), how)
        return self._beams.search(prompts, lengths, width, rules, memory=memory)

    def _sampled(self, ids: list[np.ndarray], how: PairSettings) -> list[list[Hypothesis]]:
        """Return `num_samples` targets of each source, the likeliest first."""
        prompts, memory = self._begun(ids)
        count = how.num_samples
        rules = RuleSettings.of(
            temperature=how.temperature, top_p=how.top_p, no_repeat_ngram=how.no_repeat_ngram
        )
        most = self._lengths(ids, len(prompts[0]), how).most
        keys = [key_of(how.seed, source.tolist(), sample) for source in ids for sample in range(count)]
        begun, carry = self._loop.start([p for p in prompts for _ in range(count)], max(most), memory=memory)
        # The rules look at the target alone.
        limits = begun.limits._replace(texts=tf.fill([len(keys)], begun.limits.end))
        begun = begun._replace(limits=limits)
        uniforms = self._loop.uniforms(begun, carry, keys, max(most))
        chosen, _ = self._loop.advance(begun, carry, uniforms, rules)
        if np.isnan(chosen.log_probabilities).any():
            raise InputError(NOT_FINITE)
        found = []
        for number, (tokens, nats, *_) in enumerate(zip(*chosen)):
            size = min(int((tokens != NOTHING).sum()), most[number // count])
            found.append(Hypothesis(tokens[:size].tolist(), nats[:size].tolist(), float(nats[:size].sum())))
        rows = [found[begin : begin + count] for begin in range(0, len(found), count)]
        return [sorted(row, key=lambda one: -one.score) for row in rows]

    def _target(self, found: Hypothesis) -> Target:
        ids = found.token_ids
        self.tokens_generated += len(ids)
        said = ids[:-1] if ids[-1] == self._task.end_id else ids
        text = self._tokenizer.decode(said).strip()
        return Target(text, found.score, tuple(ids), tuple(found.log_probabilities))


def _joined(parts: list[list[Target]]) -> list[Target]:
    """Return the targets of a source of those of its parts: the best of all parts, the second best, ..."""
    if len(parts) == 1:
        return parts[0]
    return [
        Target(
            together([one.text for one in some]),
            sum(one.score for one in some),
            tuple(token for one in some for token in one.token_ids),
            tuple(nats for one in some for nats in one.log_probabilities),
        )
        for some in zip(*parts)
    ]
