"""The work for a token of each row as a program of TensorFlow Lite, whose products are of 8-bit integers.

XNNPACK, which carries the program out, uses the processor's instructions for such products (AVX512-VNNI and
their like). XLA turns each integer into a float first, and oneDNN's product costs a call for each matrix.

TensorFlow Lite's converter can round weights, but takes a minute for 100 million. So it converts a network
whose matrices are inputs, in seconds whatever their size, and in what it returns each of these inputs becomes
a constant: the 8-bit integers that there are already.

B rows, S slots of the cache, V vocabulary.
"""

import logging
import warnings
from collections.abc import Callable
from typing import Any

import flatbuffers
import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from lm_keras.layers.casting import FloatMatrix, Int8Matrices
from lm_keras.surroundings import captured_stderr, usable_cores

IDENTIFIER = b"TFL3"
"""Of a file in TensorFlow Lite's format."""

SCALE_FOR_EACH_CHANNEL = 9
"""Version of the operation FULLY_CONNECTED that reads 8-bit weights with a scale for each channel."""

ALIGNMENT = 64
"""Bytes of which the numbers of a matrix begin at a multiple."""

TABLE = "table"
"""Name of the input that is the embedding, which stays in float32."""


class LiteProgram:
    """A network's work for a token of each of B rows, and a state of S slots; for one thread at a time.

    Args:
        model: a network with `forward_one_token` and `product_matrices`, built, whose weights stay as they
            are.
        int8: its matrices.
        rows: B.
        slots: S.

    Example:
        >>> program = LiteProgram(model, Int8Matrices(model), rows=1, slots=64)
        >>> program.put(state)
        >>> logits = program.step(tokens, reset)
        >>> state = program.state()
    """

    def __init__(self, model: keras.Model, int8: Int8Matrices, rows: int, slots: int):
        self._before = model.initial_state(rows, length=slots)
        self._interpreter = _interpreter_of_network(model, int8, rows, self._before)
        given = {d["name"].split(":")[0]: d["index"] for d in self._interpreter.get_input_details()}
        self._logits, *self._after = (d["index"] for d in self._interpreter.get_output_details())
        self._tokens, self._reset = given.get("tokens"), given.get("reset")
        names = [name for name, _ in _named_parts(self._before)]
        self._parts = [given[name] for name in names]
        self._caches = [name.startswith(("keys", "values")) for name in names]
        self._length, self._latest = given["length"], None

    def put(self, state: Any) -> None:
        """Go on from a copy of a state; of what `state` returned last nothing is copied."""
        if state is not self._latest:
            for index, part in zip(self._parts, tf.nest.flatten(state), strict=True):
                self._interpreter.set_tensor(index, part.numpy())

    def state(self) -> Any:
        """Return a copy of the state."""
        parts = [tf.constant(self._interpreter.get_tensor(index)) for index in self._parts]
        self._latest = tf.nest.pack_sequence_as(self._before, parts)
        return self._latest

    def step(self, tokens: np.ndarray, reset: np.ndarray) -> np.ndarray:
        """Return the logits [B, V] float32 after a token of each row, and go on to the state after it.

        Args:
            tokens: [B, 1] int32.
            reset: [B] bool, rows whose text begins with this token.
        """
        run, self._latest = self._interpreter, None
        run.set_tensor(self._tokens, tokens)
        run.set_tensor(self._reset, reset)
        slot = int(run.get_tensor(self._length))
        run.invoke()
        for before, after, is_cache in zip(self._parts, self._after, self._caches):
            if is_cache:  # [B, K, S, d], of which a slot is written.
                run.tensor(before)()[:, :, slot : slot + 1] = run.get_tensor(after)
            else:
                run.set_tensor(before, run.get_tensor(after))
        return run.get_tensor(self._logits)


def interpreter_of(
    function: Callable, specs: list, constants: dict[str, tuple[tf.Tensor, tf.Tensor | None]]
) -> tf.lite.Interpreter:
    """Return a function as a program of TensorFlow Lite's, ready to run.

    Args:
        function: of tensors to tensors.
        specs: its arguments, `tf.TensorSpec` with names, or lists of them.
        constants: the value of each argument, by name, that is none of the program's inputs; and for a matrix
            of 8-bit integers the scales of its rows. The function takes such a matrix as floats and does
            nothing but multiply by it.
    """
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    logger = logging.getLogger("absl")
    level = logger.level
    try:
        # It warns that an object which has the function is missing. With one it may rename the arguments.
        logger.setLevel(logging.ERROR)
        content = tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert()
    finally:
        logger.setLevel(level)
    content = _with_constants(content, constants)
    with captured_stderr(), warnings.catch_warnings():  # Both say which interpreter this is.
        warnings.simplefilter("ignore")
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=usable_cores())
        interpreter.allocate_tensors()
    return interpreter


def matrix_specs(int8: Int8Matrices) -> tuple[list[tf.TensorSpec], dict[str, tuple[tf.Tensor, tf.Tensor]]]:
    """Return the matrices as arguments of a function, and their values, for `interpreter_of`."""
    named = {f"matrix_{number}": matrix for number, matrix in enumerate(int8.matrices)}
    specs = [tf.TensorSpec(matrix.values.shape, tf.float32, name) for name, matrix in named.items()]
    return specs, {name: (matrix.values, matrix.scales) for name, matrix in named.items()}


def _interpreter_of_network(
    model: keras.Model, int8: Int8Matrices, rows: int, state: Any
) -> tf.lite.Interpreter:
    table = model.embedding.embeddings

    def logits_and_state(
        tokens: tf.Tensor, reset: tf.Tensor, embedding: tf.Tensor, parts: list, floats: list
    ) -> list[tf.Tensor]:
        before = tf.nest.pack_sequence_as(state, parts)
        matrices = [FloatMatrix(matrix, None, None) for matrix in floats]
        with keras.StatelessScope([(table, embedding)]), int8.replaced(matrices):
            features, after = model.forward_one_token({"tokens": tokens, "reset": reset}, before)
            return [model.project(features[:, 0]), *tf.nest.flatten(after)]

    floats, constants = matrix_specs(int8)
    specs = [
        tf.TensorSpec([rows, 1], tf.int32, "tokens"),
        tf.TensorSpec([rows], tf.bool, "reset"),
        tf.TensorSpec(table.shape, tf.float32, TABLE),
        [tf.TensorSpec(part.shape, part.dtype, name) for name, part in _named_parts(state)],
        floats,
    ]
    return interpreter_of(logits_and_state, specs, {**constants, TABLE: (tf.convert_to_tensor(table), None)})


def _with_constants(program: bytes, constants: dict[str, tuple[tf.Tensor, tf.Tensor | None]]) -> bytes:
    """Return a program with constants in place of the inputs of these names: each the numbers, and for 8-bit
    integers the scales of its first axis.
    """
    program = schema.ModelT.InitFromPackedBuf(program, 0)
    (graph,) = program.subgraphs
    left, values, constants = [], {}, dict(constants)
    for index in graph.inputs:
        tensor = graph.tensors[index]
        constant, scales = constants.pop(tensor.name.decode().split(":")[0], (None, None))
        if constant is None:
            left.append(index)
            continue
        tensor.buffer = len(program.buffers)
        program.buffers.append(schema.BufferT())
        values[tensor.buffer] = constant.numpy()
        if scales is not None:
            tensor.type, tensor.quantization = schema.TensorType.INT8, schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(scales)
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
    if constants:
        raise ValueError(f"the program has no inputs {', '.join(constants)}")
    graph.inputs = np.array(left, np.int32)
    for code in program.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = max(code.version, SCALE_FOR_EACH_CHANNEL)
    return _packed(program, values)


def _packed(program: Any, values: dict[int, np.ndarray]) -> bytes:
    """Return a program as a file, with the numbers of some buffers, by their index, behind all else: that may
    have 2 GiB at most.
    """

    def described(begin: int) -> bytes:
        """Return the file without these numbers, which begin at a byte."""
        for index, numbers in values.items():
            program.buffers[index].offset, program.buffers[index].size = begin, numbers.nbytes
            begin += numbers.nbytes + -numbers.nbytes % ALIGNMENT
        builder = flatbuffers.Builder()
        builder.Finish(program.Pack(builder), IDENTIFIER)
        return bytes(builder.Output()) + bytes(-len(builder.Output()) % ALIGNMENT)

    size = len(described(ALIGNMENT))
    pieces = [described(size)]
    if len(pieces[0]) != size:
        raise ValueError(f"the description of a program has {len(pieces[0])} bytes, and had {size}")
    for numbers in values.values():
        pieces += [memoryview(numbers).cast("B"), bytes(-numbers.nbytes % ALIGNMENT)]
    return b"".join(pieces)


def _named_parts(state: dict[str, Any]) -> list[tuple[str, tf.Tensor]]:
    """Return the tensors of a state, as `tf.nest.flatten` does, with names: `keys_0`, `keys_1`, `length`."""
    found = []
    for name in sorted(state):
        part = state[name]
        found += (
            [(f"{name}_{n}", each) for n, each in enumerate(part)]
            if isinstance(part, list)
            else [(name, part)]
        )
    return found
