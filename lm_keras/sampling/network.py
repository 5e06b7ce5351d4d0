"""A network as decoding uses it: prompts go through it part by part, then the text token by token.

B batch (rows), T time, S positions of a source, V vocabulary, D width.
"""

import contextlib
import enum
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.errors import InputError
from lm_keras.layers.casting import CastOnce, Int8Matrices, products_of_halves
from lm_keras.surroundings import tell_who_waits
from lm_keras.text.tokenizer import Tokenizer

PREFILL_TOKENS = 1024
"""Prompt tokens of a row that go through the network at once, at most."""

PREFILL_ROWS = 8
"""Rows of which so many go through at once; of more rows fewer, so that what is held does not grow with the
rows, nor, where each token sees all slots of a cache, with more slots than `PREFILL_TOKENS`.
"""

LEAST_PREFILLED = 64
"""Tokens of a row that go through at once however many rows there are."""

SMALLEST_STATE = 64
"""Slots of a cache: this, doubled until a text fits, up to the model's context. Every slot costs time, taken
or not.
"""

State = Any
"""A network's state: a structure of tensors, first axis B where there is one."""

Memory = Any
"""What an encoder made of sources: a structure of tensors, first axis the sources. Empty without an encoder.
"""


class Way(enum.Enum):
    """How the work for a token of each row is done."""

    PLAIN = "operation by operation"
    COMPILED = "as a program of XLA's"
    COMPILED_ROW = "as a program of XLA's for one row"
    PROGRAM = "as a program of TensorFlow Lite's"


class DecodingNetwork:
    """A network, and its matrices as decoding reads them.

    Args:
        model: a network: `forward(inputs, state)`, `project(features)`, `initial_state(batch_size, length)`.
        jit: compile what the network, which has `forward_one_token` and `append_to_cache` then, does for a
            token of each row as one program of XLA's, which takes a second or two for each number of rows and
            of slots of the state; but not where that costs more than it saves, see `compiles`.
        int8: the network's matrices as integers, which the products read then; a token's work is a program
            of TensorFlow Lite's then, whatever `jit` says, and takes some seconds to make for each number of
            rows and of slots.
        reads_in_parts: whether a prompt may go through the network part by part: its tokens see none after
            them.

    Attributes:
        model, jit, int8: as given.
        matrices: the network's, cast once for a text, or `int8`.
        state_specs: see `state_specs`.
        memory_specs: the structure of `encoded`, as `state_specs` is of the state.
    """

    def __init__(
        self,
        model: keras.Model,
        jit: bool = False,
        int8: Int8Matrices | None = None,
        reads_in_parts: bool = True,
    ):
        self.model, self.jit, self._reads_in_parts = model, jit, reads_in_parts
        self.state_specs, self.int8 = state_specs(model), int8
        self.matrices = int8 or CastOnce(model, transposed=jit)
        self._compiled = {
            way: tf.function(
                functools.partial(self._logits_of_one_token, way=way), jit_compile=True, autograph=False
            )
            for way in (Way.COMPILED, Way.COMPILED_ROW)
        }
        self._program, self._programs = None, {}
        self._one_at_a_time = threading.Lock()
        self._encode, self.memory_specs = None, {}
        if getattr(model, "encode", None) is not None:
            source = tf.TensorSpec([None, None], tf.int32)
            self._encode = tf.function(model.encode, input_signature=[source, source], autograph=False)
            made = self._encode.get_concrete_function().structured_outputs
            self.memory_specs = tf.nest.map_structure(
                lambda part: tf.TensorSpec(part.shape, part.dtype), made
            )
        tokens, reset = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.bool)
        self._prefill = tf.function(
            self._prefill_block,
            input_signature=[tokens, reset, self.state_specs, self.matrices.specs],
            autograph=False,
        )

    @property
    def traces(self) -> int:
        """How often the prefill was traced: at most once."""
        return self._prefill.experimental_get_tracing_count()

    def encoded(self, source: np.ndarray, source_document: np.ndarray) -> Memory:
        """Return what the encoder makes of sources [B, S], which `forward` takes as `memory` of its inputs.

        Args:
            source: tokens, padded behind each source.
            source_document: 0 at the tokens of a source, and 1 beyond it.
        """
        return self._encode(tf.constant(source), tf.constant(source_document))

    def prefilled(
        self, tokens: np.ndarray, begins: np.ndarray, cache_size: int, matrices: list[tf.Tensor]
    ) -> State:
        """Return the state with `cache_size` slots after tokens [B, T], which may be none, of texts that
        begin at columns [B].

        `matrices` are those that `CastOnce.made` returned.
        """
        state, length = self.model.initial_state(len(tokens), length=cache_size), tokens.shape[1]
        at_once = PREFILL_ROWS * PREFILL_TOKENS // len(tokens)
        if self.model.context_length is not None:
            at_once = at_once * PREFILL_TOKENS // max(PREFILL_TOKENS, cache_size)
        at_once = min(PREFILL_TOKENS, max(LEAST_PREFILLED, at_once))
        if not self._reads_in_parts:
            at_once = max(1, length)
        cuts = {0, length, *begins.tolist(), *range(0, length, at_once)}
        for first, last in itertools.pairwise(sorted(cut for cut in cuts if cut <= length)):
            part = tf.constant(tokens[:, first:last]), tf.constant(begins == first)
            state = self._prefill(*part, state, matrices)
        return state

    def compiles(self, rows: int) -> bool:
        """Tell whether XLA compiles the network's work for a token of `rows` rows.

        On a CPU its products of several rows in bfloat16 take twice the time of TensorFlow's
        (`scripts/benchmark.py sample`, "compiled"); float16 is treated likewise.
        """
        on_gpu = bool(tf.config.list_physical_devices("GPU"))
        fast = rows == 1 or on_gpu or self.model.compute_dtype == "float32"
        return self.jit and fast

    def way(self, rows: int) -> Way:
        """Return how the work for a token of each of `rows` rows is done."""
        if self.int8 is not None:
            return Way.PROGRAM
        if not self.compiles(rows):
            return Way.PLAIN
        on_cpu = not tf.config.list_physical_devices("GPU")
        alone = rows == 1 and on_cpu and self.model.compute_dtype == "float32"
        return Way.COMPILED_ROW if alone else Way.COMPILED

    def way_of_search(self) -> Way:
        """Return the same for a search, which has several rows that become fewer: too many sizes for programs
        of TensorFlow Lite's.
        """
        return Way.COMPILED if self.int8 is not None or self.compiles(rows=2) else Way.PLAIN

    @contextlib.contextmanager
    def ready(self, state: State) -> Iterator[Callable[[State], State]]:
        """Be ready for `next_logits` after a state.

        A program of TensorFlow Lite's has a state of its own, which goes on there, while the one that
        `next_logits` is given and returns stays as it was. No other thread has the program meanwhile. The
        last two are kept.

        Yields:
            What makes the state after the last token, of the one that `next_logits` returned.
        """
        if self.int8 is None:
            yield lambda state: state
            return
        from lm_keras.sampling.lite import LiteProgram  # Only text from 8-bit weights needs TensorFlow Lite.

        rows, _, slots, _ = state["keys"][0].shape
        with self._one_at_a_time:
            there = self._programs.pop((rows, slots), None)
            if there is None:
                tell_who_waits(f"making a program for 8-bit text of up to {slots:,} tokens, in some seconds")
            self._program = there or LiteProgram(self.model, self.int8, rows, slots)
            self._programs = dict([*self._programs.items()][-1:]) | {(rows, slots): self._program}
            self._program.put(state)
            yield lambda _: self._program.state()

    def next_logits(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: State,
        matrices: list[tf.Tensor],
        way: Way,
    ) -> tuple[tf.Tensor, State]:
        """Return the logits [B, V] that follow a token of each row, and the state after it; within a compiled
        function.

        Args:
            inputs: `tokens` [B, 1], and optionally `reset` [B] and `memory`; see the network's `forward`.
            state: before the token.
            matrices: those that `CastOnce.made` returned.
            way: what `way` says.
        """
        if way is Way.PROGRAM:
            given = [inputs["tokens"], inputs["reset"]]
            logits = tf.numpy_function(lambda *given: self._program.step(*given), given, tf.float32)
            return tf.ensure_shape(logits, [None, self.int8.matrices[-1].values.shape[0]]), state
        if way in self._compiled:
            logits, addition = self._compiled[way](inputs, state, matrices)
            return logits, self.model.append_to_cache(state, addition)
        with self.matrices.used(matrices):
            features, state = self.model.forward(inputs, state)  # [B, 1, D]
            return self.model.project(features[:, 0]), state

    def _logits_of_one_token(
        self, inputs: Mapping[str, tf.Tensor], state: State, matrices: list[tf.Tensor], way: Way
    ) -> tuple[tf.Tensor, State]:
        halves = products_of_halves() if way is Way.COMPILED_ROW else contextlib.nullcontext()
        with halves, self.matrices.used(matrices, **({} if self.int8 is None else {"integers": True})):
            features, addition = self.model.forward_one_token(inputs, state)
            return self.model.project(features[:, 0]), addition

    def _prefill_block(
        self, tokens: tf.Tensor, reset: tf.Tensor, state: State, matrices: list[tf.Tensor]
    ) -> State:
        with self.matrices.used(matrices):
            return self.model.forward({"tokens": tokens, "reset": reset}, state)[1]


def cache_size_for(model: keras.Model, tokens: int) -> int | None:
    """Return the cache size for a text of `tokens` tokens; None if the model's state takes
    any number.
    """
    if model.context_length is None:
        return None
    cache_size = SMALLEST_STATE
    while cache_size < tokens:
        cache_size *= 2
    return min(cache_size, model.context_length)


def state_specs(model: keras.Model) -> State:
    """Return the structure of a network's state as `tf.TensorSpec`, with None for every axis that varies.

    Axes that vary with the batch size or with the length are found by asking for two states that differ in
    both.
    """
    one, other = model.initial_state(2, length=3), model.initial_state(5, length=7)

    def spec(a: tf.Tensor, b: tf.Tensor) -> tf.TensorSpec:
        return tf.TensorSpec([m if m == n else None for m, n in zip(a.shape, b.shape)], a.dtype)

    return tf.nest.map_structure(spec, one, other)


def allowed_tokens(model: keras.Model, tokenizer: Tokenizer, ends: Iterable[int] = ()) -> np.ndarray:
    """Return [V] bool: neither the unknown token nor the mask token, and nothing beyond the vocabulary
    (logits may be padded), but tokens that end a text.

    One real step through the model finds V. It also builds a model that has not been called yet, which must
    not happen inside of the compiled loop.

    Raises:
        InputError: the model has fewer logits than the tokenizer has tokens.
    """
    tokens = tf.constant([[tokenizer.begin_id]], tf.int32)
    features, _ = model.forward({"tokens": tokens}, model.initial_state(1, length=1))
    width = int(model.project(features).shape[-1])
    if width < tokenizer.vocab_size:
        raise InputError(
            f"the model has {width} logits, but the tokenizer has {tokenizer.vocab_size} tokens; "
            "use the tokenizer that the model was trained with"
        )
    allowed = np.arange(width) < tokenizer.vocab_size
    allowed[list(tokenizer.special_ids - {tokenizer.eod_id, *ends})] = False
    return allowed
