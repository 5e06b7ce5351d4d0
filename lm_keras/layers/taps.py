"""What goes into products, tables and norms and what comes out of them, for gradients of single rows.

The gradient of a matrix is a sum over the positions of all rows. What a single row adds to it follows from
the inputs of the product and the gradient of its result, and is never formed. Layers hand over both here.
Where nobody records, these functions do nothing.

Shapes: B rows, T positions of a row. Values are [B, T, ...], [B T, ...], or [T, B, ...] where `rows` is 0.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

_RECORDED: contextvars.ContextVar["Recorded | None"] = contextvars.ContextVar("recorded", default=None)


@dataclasses.dataclass(eq=False)
class Tap:
    """One use of weights.

    Attributes:
        result: whose gradient is taken.
        rows: B where rows come first, 0 where time does.
    """

    result: tf.Tensor
    rows: int

    def by_row(self, values: tf.Tensor) -> tf.Tensor:
        """Return values as [B, T, width]."""
        if self.rows:
            return tf.reshape(values, [self.rows, -1, values.shape[-1]])
        return tf.transpose(values, [1, 0, 2])


@dataclasses.dataclass(eq=False)
class ProductTap(Tap):
    """result = the sum of `inputs` times `kernels`, + bias.

    Attributes:
        inputs, kernels: one or two each; kernels [D, K], or [K, D] if transposed.
        bias: [K], or None.
        transposed: whether the kernels are.
    """

    inputs: list[tf.Tensor]
    kernels: list[keras.Variable]
    bias: keras.Variable | None
    transposed: bool


@dataclasses.dataclass(eq=False)
class LookupTap(Tap):
    """result = rows of a table, to which something may be added.

    Attributes:
        index: which rows, [B, T] or, where time comes first, [T, B].
        table: [V, D].
    """

    index: tf.Tensor
    table: keras.Variable


@dataclasses.dataclass(eq=False)
class NormTap(Tap):
    """result = the input, normalized, times gain + bias.

    Attributes:
        kind, values, epsilon: what is normalized; see `lm_keras.layers.normalization.normalized`.
        gain: [D].
        bias: [D], or None.
    """

    kind: str
    values: tf.Tensor
    epsilon: float
    gain: keras.Variable
    bias: keras.Variable | None


@dataclasses.dataclass(eq=False)
class Recorded:
    """The uses of weights in a forward pass.

    Attributes:
        watch: called with each result, before anything is computed of it.
        taps: the uses, in their order.
    """

    watch: Callable[[tf.Tensor], None]
    taps: list[Tap] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def recording(watch: Callable[[tf.Tensor], None]) -> Iterator[list[Tap]]:
    """Record what layers do within, in the list that is returned.

    Args:
        watch: such as `tf.GradientTape.watch`.
    """
    recorded = Recorded(watch)
    token = _RECORDED.set(recorded)
    try:
        yield recorded.taps
    finally:
        _RECORDED.reset(token)


def recorded() -> bool:
    """Tell whether somebody records; kernels that hide their products are left out then."""
    return _RECORDED.get() is not None


def product(
    result: tf.Tensor,
    inputs: tf.Tensor | Callable[[], tf.Tensor],
    kernel: keras.Variable,
    bias: keras.Variable | None = None,
    rows: int = 0,
    transposed: bool = False,
) -> None:
    """Hand over a product, with or without its bias; a function makes inputs that exist for this only."""
    if (recorded := _RECORDED.get()) is not None:
        inputs = inputs() if callable(inputs) else inputs
        recorded.watch(result)
        recorded.taps.append(ProductTap(result, rows, [inputs], [kernel], bias, transposed))


def recurrence(
    projected: tf.Tensor, before: Callable[[], tf.Tensor], recurrent_kernel: keras.Variable
) -> None:
    """Hand over that states times a matrix were added to a product, after they were.

    Args:
        projected: the result of that product.
        before: makes the state before each step.
        recurrent_kernel: the matrix.
    """
    if (recorded := _RECORDED.get()) is not None:
        tap = next(tap for tap in recorded.taps if tap.result is projected)
        tap.inputs.append(before())
        tap.kernels.append(recurrent_kernel)


def lookup(
    result: tf.Tensor, index: tf.Tensor | Callable[[], tf.Tensor], table: keras.Variable, rows: int = 0
) -> None:
    """Hand over rows of a table, or a sum with them; a function makes an index that exists for this only."""
    if (recorded := _RECORDED.get()) is not None:
        index = index() if callable(index) else index
        recorded.watch(result)
        recorded.taps.append(LookupTap(result, rows, index, table))


def norm(
    result: tf.Tensor,
    kind: str,
    values: tf.Tensor,
    epsilon: float,
    weights: tuple[keras.Variable, keras.Variable | None],
    rows: int,
) -> None:
    """Hand over a norm; `weights` are its gain and its bias."""
    if (recorded := _RECORDED.get()) is not None:
        recorded.watch(result)
        recorded.taps.append(NormTap(result, rows, kind, values, epsilon, *weights))
