"""A model in Python: train, load, generate, score, look inside."""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from lm_keras import paths
from lm_keras.answers import answer_for
from lm_keras.answers.chat import ChatReply
from lm_keras.answers.tagger import Span
from lm_keras.answers.translator import Target
from lm_keras.checkpoints.run_folder import RunFolder
from lm_keras.config import Config
from lm_keras.conversations.messages import Message
from lm_keras.data.examples import source_at
from lm_keras.data.labels import Labels
from lm_keras.data.preparation import ScoredText, split_of_run, whole_corpus
from lm_keras.errors import InputError
from lm_keras.evaluation import scorer_for
from lm_keras.evaluation.answers import answers_for
from lm_keras.evaluation.cloze import matches_in
from lm_keras.evaluation.evaluator import Evaluator
from lm_keras.evaluation.generation import GeneratedTargets, generated_for, sample_of
from lm_keras.evaluation.predictions import Predictions
from lm_keras.evaluation.scorer import ScoredToken
from lm_keras.layers.casting import Int8Matrices
from lm_keras.objectives.rouge import USUAL, RougeSettings
from lm_keras.registry import TASKS
from lm_keras.sampling.continuation import Continuation
from lm_keras.sampling.int8 import int8_of
from lm_keras.sampling.masks import Filled
from lm_keras.sampling.prompts import check_text
from lm_keras.surroundings import each_with_usual_settings, usual_settings, with_usual_settings
from lm_keras.tasks import task_of
from lm_keras.tasks.task import Task
from lm_keras.text.tokenizer import Tokenizer
from lm_keras.training.weights import best_or_last, restore_for_reading


@with_usual_settings
def load(
    run_dir: str | os.PathLike,
    checkpoint: str | None = "last",
    jit: bool = False,
    weights: str = "float32",
) -> "TrainedModel":
    """Load the model of a run; nothing but its folder is needed.

    Args:
        run_dir: the folder of the run, finished, stopped or training; `~` is expanded.
        checkpoint: `last`, `best` by the validation and `--best_by`, or None: the best where there is one,
            else the last.
        jit: for a gpt or glm: XLA compiles the work for a token as one program. It takes a second or two for
            each number of texts and each cache size (64, 128, ...), then a text comes faster. On a CPU
            TensorFlow keeps several texts at once in bfloat16.
        weights: `float32`, in the number format of the run's products, or `int8` (gpt and glm, on a CPU):
            products read 8-bit weights with a scale for each output channel, and round their input to 8
            bits; all else is float32. All methods do so; `model` itself does not. Text comes from a program
            of TensorFlow Lite's, which takes some seconds where `jit` takes one or two.

    Raises:
        InputError: the run or the checkpoint is missing, or `jit` or `weights` is for another model.

    Example:
        >>> lm = lm_keras.load("runs/quickstart")
        >>> lm.generate(["To be"], max_new_tokens=40, temperature=0.8, seed=1)
    """
    if checkpoint not in ("last", "best", None):
        raise InputError(f"checkpoint={checkpoint!r} is unknown; choose last or best")
    folder = RunFolder(paths.expanded(os.fspath(run_dir)))
    if checkpoint is None:
        checkpoint = best_or_last(folder)
    config, tokenizer = folder.config(), folder.tokenizer()
    model, step = restore_for_reading(folder, checkpoint, _warn, "float32" if weights == "int8" else None)
    int8 = int8_of(model, weights)
    data = {**folder.read_data(), "end_tokens": folder.end_tokens()}
    lm = TrainedModel(model, tokenizer, config, step, data, bool(jit), int8, folder.labels())
    if lm.labels:
        lm.fitted_temperature = folder.temperature(step)
    return lm


def train(**settings: Any) -> "TrainedModel":
    """Train a model as `scripts/train.py` does, and return it loaded.

    Results go to standard output and progress to standard error. The same call continues a run that was
    stopped, and loads a run that is finished.

    Args:
        **settings: flags of `scripts/train.py`, by name. A flag that is left out has its default. Without
            `run_dir` the run goes to a new temporary folder, which one line names. `dry_run` is for the
            script only.

    Returns:
        What `load(run_dir)` returns: the model at its last step.

    Raises:
        InputError: a name is unknown, a value is not allowed, or the script would refuse the run.
        KeyboardInterrupt: Ctrl-C stopped the run; it is saved.
        SystemExit: SIGTERM or SIGHUP stopped the run; it is saved, and the code is that of the script.

    Example:
        >>> lm = lm_keras.train(run_dir="runs/books", corpus="text:books/*.txt", model="gpt", steps=500)
        >>> lm.generate(["Once"], max_new_tokens=40)
    """
    from lm_keras.training import in_python  # With all callbacks, which `load` does without.

    return load(in_python.train(settings))


def _warn(line: str) -> None:
    sys.stderr.write(f"{line}\n")


class TrainedModel:
    """A network with its tokenizer.

    Attributes:
        model: the network, a `keras.Model`; `model(ids)` gives logits.
        tokenizer: text to ids and back.
        config: the settings of the run.
        step: optimizer steps that made these weights.
        answer: what turns the network into text, or into labels of a text.
        labels: those that it predicts, or None.
        cache_dir: where the text that it scores is kept tokenized; that of the run, unless it is set.
        fitted_temperature: that fits the validation text, where the run has found it for these weights.
    """

    def __init__(
        self,
        model: keras.Model,
        tokenizer: Tokenizer,
        config: Config,
        step: int,
        data: dict,
        jit: bool = False,
        int8: Int8Matrices | None = None,
        labels: Labels | None = None,
    ):
        self.labels, self.fitted_temperature = labels, None
        self.model, self.tokenizer, self.config, self.step = model, tokenizer, config, step
        self.cache_dir = config.data.cache_dir
        self._data, self._int8 = data, int8
        self._makes_pairs = TASKS[config.task].pairs
        task = self.task if labels is not None or self._makes_pairs else config.task
        self.answer = answer_for(task, model, tokenizer, _warn, jit, int8, data.get("end_tokens", ()))
        self._scorer = scorer_for(config.task, model, tokenizer)

    @functools.cached_property
    def task(self) -> Task:
        """Return what the network predicts of a text."""
        return task_of(self.config, self.tokenizer.vocab_size, self.tokenizer, self.labels)

    @with_usual_settings
    def generate(self, prompts: list[str], **settings) -> list[str]:
        """Continue each prompt and return the continuations only.

        Args:
            prompts: any number of strings; an empty one starts a document.
            **settings: max_new_tokens [100], temperature [1.0] (0: greedy), top_k [0, off], top_p [1.0, off],
                seed [0] and the other fields of `lm_keras.sampling.settings.SamplingSettings`.

        Raises:
            InputError: a prompt or a setting is not allowed.
        """
        return self.answer.generate(prompts, **settings)

    @with_usual_settings
    def sample(self, prompts: list[str], **settings) -> list[Continuation]:
        """Continue each prompt, and tell the tokens, their log-probabilities and the reason of each end.

        The arguments are those of `generate`; top_logprobs [0] tells that many of the likeliest tokens, too.

        Returns:
            A `lm_keras.sampling.continuation.Continuation` for each text that `generate` returns, in its
            order.

        Raises:
            InputError: a prompt or a setting is not allowed.
        """
        return self.answer.sample(prompts, **settings)

    def stream(self, prompt: str, **settings) -> Iterator[str]:
        """Continue one prompt piece by piece.

        Args:
            prompt: one string; an empty one starts a document.
            **settings: as for `generate`, with num_samples=1 and num_beams=1.

        Returns:
            An iterator over the pieces of the continuation, which joined are what `generate` returns. No
            piece ends within a character or within what may begin a stop string.

        Raises:
            InputError: the prompt or a setting is not allowed.
        """
        with usual_settings():
            pieces = self.answer.stream(prompt, **settings)
        return each_with_usual_settings(pieces)

    def chat(
        self, messages: Sequence[Message | dict[str, str]], stream: bool = False, **settings
    ) -> str | ChatReply:
        """Answer in a conversation; for `--task=chat` and for instruct models of others.

        Args:
            messages: of the conversation, each with `role` (`system`, `user` or `assistant`) and `content`.
            stream: return the answer as it comes instead.
            **settings: as for `generate`; max_new_tokens is 512 where it is not given. With
                long_prompt="keep_end" the oldest turns of a conversation that is too long are left out.

        Returns:
            The answer; or, with stream=True, an iterator over its pieces, whose `ended_by` tells at last why
            it ended: "eod" (the model ended its turn), "stop", "length" (max_new_tokens) or "context": an
            answer ends where the conversation has filled the context of the model.

        Raises:
            InputError: the model has no chat template, the template refuses the messages, they are too many
                for the model's context, or a setting is not allowed.

        Example:
            >>> lm.chat([{"role": "user", "content": "What is the capital of France?"}], temperature=0)
            'The capital of France is Paris.'
        """
        with usual_settings():
            answer = self.answer.reply(messages, stream, **settings)
        if stream:
            answer.pieces = each_with_usual_settings(answer.pieces)
        return answer

    @with_usual_settings
    def fill(self, text: str, words: int = 5, **settings) -> Filled:
        """Fill the `[MASK]`s of a text; for `--model=bert` and `--model=glm`.

        Args:
            text: with a `[MASK]` for each masked token (bert) or each span of any length (glm), at least one.
            words: how many of the likeliest tokens to return for each (bert).
            **settings: fields of `SamplingSettings`, such as temperature [0] and seed (glm).

        Raises:
            InputError: the text lacks a `[MASK]`, the text is too long, or the model generates text instead.
        """
        return self.answer.fill(text, words, **settings)

    @with_usual_settings
    def fillings(self, text: str, settings: dict[str, Any]) -> list[Filled]:
        """Fill the text of `fill` as often as settings of `scripts/sample.py`, by name, ask for."""
        return self.answer.fillings(text, settings)

    @with_usual_settings
    def classify(self, texts: list[str], **settings) -> list[dict[str, Any]]:
        """Return the likeliest class of each text; for `--task=classification`.

        Args:
            texts: any number of strings.
            **settings: `too_long` [cut_end] and `batch_size`, see `lm_keras.answers.classifier.Classifier`.

        Returns:
            For each text its `label`, its `probability`, and the `probabilities` of all classes by name.

        Raises:
            InputError: a text is empty, or the model predicts something else.
        """
        return self.answer.classify(texts, **settings)

    @with_usual_settings
    def tag(self, texts: list[str | list[str]], **settings) -> list[list[Span]]:
        """Return the spans of each text; for `--task=tagging`.

        Args:
            texts: strings, or lists of words.
            **settings: `too_long` [windows] and `batch_size`, see `lm_keras.answers.tagger.Tagger`.

        Returns:
            For each text its spans from left to right, with their characters, type and probability.

        Raises:
            InputError: a text is none, or the model predicts something else.
        """
        return self.answer.tag(texts, **settings)

    @with_usual_settings
    def translate(self, texts: list[str], num_beams: int = 5, **settings) -> list[str]:
        """Return the best target of each source; for `--task=seq2seq`, whatever its targets are.

        Args:
            texts: sources, any number of strings.
            num_beams: beams of the search; 1: greedy.
            **settings: `too_long` [cut_end], `batch_size` [64], and `length_penalty` [1.0],
                `no_repeat_ngram` [0] and the other fields of
                `lm_keras.sampling.pair_settings.PairSettings`.

        Raises:
            InputError: a source is empty, a setting is not allowed, or the model predicts something else.
        """
        return self.answer.translate(texts, num_beams=num_beams, **settings)

    @with_usual_settings
    def targets(self, texts: list[str], num_beams: int = 5, **settings) -> list[list[Target]]:
        """Return for each source up to `num_samples` [1] targets, the best first, with tokens and scores.

        The arguments are those of `translate`.
        """
        return self.answer.targets(texts, num_beams=num_beams, **settings)

    @with_usual_settings
    def scale_temperature(self, say: Callable[[str], None] = lambda line: None) -> None:
        """Divide all logits from now on by the temperature that fits the validation text of the run best.

        Labels stay the same; probabilities come closer to the share that is right.

        Args:
            say: called with a line before longer work.

        Raises:
            InputError: the model predicts no labels, or the run has no validation text.

        Reference: Guo et al. (2017), section 4.2.
        """
        if self._makes_pairs:
            raise InputError("--temperature_scaling is for models that predict labels; leave it out")
        self.answer.check_predicts()
        temperature = self.fitted_temperature
        if temperature is None:
            sums = Evaluator(self.model, self.task).sums(self._text("valid", None, say).store)
            temperature = Predictions.of(sums, self.labels.names).temperature
        self.answer.scale(temperature)
        say(f"the temperature that fits the validation text is {temperature:.2f}")

    @property
    def read_fields(self) -> tuple[str, str | None]:
        """Return the field of a record that is read, and the one of what is predicted."""
        data = self.config.data
        if self._makes_pairs:
            return data.source_field or "source", data.target_field or "target"
        return data.text_field, data.label_field

    @property
    def tokens_generated(self) -> int:
        """Return how many tokens `generate` and `stream` have generated so far."""
        return self.answer.tokens_generated

    def unknown_parts(self, prompt: str) -> list[str]:
        """Return what of a prompt the vocabulary lacks; mostly an empty list."""
        return self.answer.unknown_parts(prompt)

    @with_usual_settings
    def score(self, texts: list[str]) -> list[dict]:
        """Return `{"nats", "tokens", "bytes", "unknown"}` of each text, scored as a document begins.

        Bytes are those of what the tokens say. Where `unknown` is not 0, bits per byte have no meaning.

        With `--model=bert` the nats are a pseudo-log-likelihood, no probability of the text, and `"pseudo"`
        is true there (Salazar et al., 2020).
        """
        with self._weights():
            return self._scorer.score(texts)

    @with_usual_settings
    def token_scores(self, text: str | list[int], likeliest: int = 0) -> list[ScoredToken]:
        """Return the log-probability and the rank of each token of a text, scored as `score` does; for
        `--task=causal_lm` and `--task=chat`.

        Args:
            text: a string, or its tokens.
            likeliest: how many of the likeliest tokens to tell with each.

        Raises:
            InputError: the text is no text, or the model predicts something else.
        """
        if isinstance(text, str):
            check_text("text", text)
            text = self.tokenizer.encode(text)
        with self._weights():
            return self._scorer.token_scores(text, likeliest)

    @with_usual_settings
    def logits(self, ids: ArrayLike) -> np.ndarray:
        """Return the logits for ids [B, T] as float32 [B, T, V], each row a document's beginning.

        V counts the tokens of the network: a glm has three more than its tokenizer.
        """
        with self._weights():
            return self._scorer.logits(ids)

    @with_usual_settings
    def features(self, ids: ArrayLike, segments: ArrayLike | None = None) -> np.ndarray:
        """Return the last hidden states for ids [B, T] as float32 [B, T, D].

        Args:
            ids: [B, T], each row a document's beginning.
            segments: [B, T], for a bert only: 0 for tokens of the first text, 1 for those of the second.
        """
        with self._weights():
            return self._scorer.features(ids, segments)

    @with_usual_settings
    def evaluate(
        self,
        split: str = "valid",
        corpus: str | None = None,
        stride: int | None = None,
        say: Callable[[str], None] = lambda line: None,
        bleu_tokenize: str = "auto",
        rouge_settings: RougeSettings = USUAL,
        target_languages: str | None = None,
        by_label: bool = False,
    ) -> dict:
        """Score a whole split, every target once; with pairs also generate their targets and score these, and
        with conversations some answers.

        Args:
            split: `train`, `valid` or `test` of the run's own text.
            corpus: other text, whole, as `--corpus` names it; of a data set without a split the one that
                `split` names.
            stride: evaluate in windows of the context length that each score this number of targets; None
                carries the state through the split if the model was trained so. Not for n-gram models and
                masked tokens.
            say: called with a line before longer work.
            bleu_tokenize, rouge_settings: of pairs: see
                `lm_keras.evaluation.generation.GeneratedTargets.measures`.
            target_languages: of the pairs of `corpus`, as `--target_languages` names them; None for those of
                the run.
            by_label: of a model that predicts labels, add the scores of each: `by_class`, or `by_type` of
                spans.

        Returns:
            The fields of `scripts/evaluate.py --json`.

        Raises:
            InputError: the run lacks the split, its text cannot be read, or the stride has no meaning.
        """
        if (bleu_tokenize, rouge_settings) != ("auto", USUAL) and not self._makes_pairs:
            raise InputError(
                f"how BLEU and ROUGE are computed is for --task=seq2seq, and this model has"
                f" --task={self.config.task}; leave that out"
            )
        evaluator = Evaluator(self.model, self.task.in_windows(stride))
        text = self._text(split, corpus, say, target_languages)
        with self._weights():
            sums = evaluator.sums(text.store)
            found = evaluator.measured(sums, text.store, corpus or split, self.step)
            if self._makes_pairs:
                found |= self._generated(text).measures(bleu_tokenize, rouge_settings)
            if TASKS[self.config.task].messages:
                found |= self._answered(text, say)
        if by_label and self.labels:
            found |= Predictions.of(sums, self.labels.names).by_label()
        return found

    def _generated(self, text: ScoredText) -> GeneratedTargets:
        """Return the targets of the pairs of a text, decoded as the answer's settings say."""
        return generated_for(self.answer.translate_pairs, text.split.documents(), self.answer.settings)

    def _answered(self, text: ScoredText, say: Callable[[str], None]) -> dict[str, Any]:
        """Return the measures of answers in a sample of the conversations of a text."""
        counted = len(text.store.documents), self.config.running.eval_answers
        sample = sample_of(text.split.documents(), *counted)
        context_length = self.model.context_length
        answers = answers_for(self.answer.replies, sample, self.tokenizer, context_length, say)
        return {} if answers is None else answers.measures()

    @with_usual_settings
    def pseudo_likelihood(
        self, split: str = "valid", corpus: str | None = None, say: Callable[[str], None] = lambda line: None
    ) -> dict[str, float | None]:
        """Mask every token of a split in turn and predict it from all others of its row; for a bert only.

        The pseudo-log-likelihood is not a probability of the text. Compare it with other berts only.

        Args:
            split, corpus, say: as for `evaluate`.

        Returns:
            `pseudo_nats_per_token`, `pseudo_perplexity` and `pseudo_bits_per_byte`; the last is None where
            text is unknown.

        Raises:
            InputError: the model reads from left to right, or as for `evaluate`.

        Reference: Salazar et al. (2020), section 2, equations 1 and 3.
        """
        return self._scorer.of_split(self.task, lambda: self._text(split, corpus, say).store, say)

    def _weights(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which products read the weights that the model was loaded with."""
        return contextlib.nullcontext() if self._int8 is None else self._int8.used(self._int8.made())

    @with_usual_settings
    def exact_matches(
        self, split: str = "test", count: int = 200, say: Callable[[str], None] = lambda line: None
    ) -> dict[str, float]:
        """Return the share of cloze items of a split that is filled exactly; see `lm_keras.evaluation.cloze`.

        Args:
            split: `train`, `valid` or `test` of the run's own text.
            count: cloze items of each length, one to five words.
            say: called with a line before longer work.

        Raises:
            InputError: the run lacks the split, or it has no such words.
        """
        return matches_in(self, self._text(split, None, say).store, split, count)

    def _text(
        self,
        split: str,
        corpus: str | None,
        say: Callable[[str], None],
        target_languages: str | None = None,
    ) -> ScoredText:
        """Return a split of the run's own text, or another corpus, with its tokens."""
        where = dataclasses.replace(self.config.data, cache_dir=self.cache_dir)
        if target_languages and not corpus:
            raise InputError(
                f"target_languages={target_languages} are those of another text; name that with corpus, or"
                " leave them out"
            )
        if target_languages:
            where = dataclasses.replace(where, target_languages=target_languages, target_language_field=None)
        needed = {"columns": self.task.columns, "fields": self.task.fields, "labels": self.labels}
        if corpus:
            text = whole_corpus(corpus, where, self.tokenizer, split, say, **needed)
        else:
            text = split_of_run(where, self.tokenizer, self._data, split, say, **needed)
        self.task.check_scored(split, text.store, functools.partial(source_at, text.split), say)
        return text
