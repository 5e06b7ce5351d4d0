"""The block of a decoder: a Transformer block that also attends to another text, the source.

Shapes: B sentences, n rows of a sentence (its hypotheses; 1 while it trains), T positions of a row, R = B n
T, S positions of a source, D width, H heads, K heads of keys and values, d = D / H.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.layers.attention import Cache, attention
from lm_keras.layers.attention_mask import AttentionMask, Index
from lm_keras.layers.casting import cast, times
from lm_keras.layers.dropout import Mask, ScheduledDropout
from lm_keras.layers.fused import added
from lm_keras.layers.normalization import norm_weights, normalized
from lm_keras.layers.transformer import BlockSettings, Pass, TransformerBlock, kept


@dataclasses.dataclass(frozen=True, eq=False)
class SourceMemory:
    """A source as the blocks of a decoder read it.

    Attributes:
        keys, values: [B, K, S, d] in the compute dtype, of one block.
        attention_mask: which keys the n T queries of a sentence see.
        weights: takes the weights of the attention, see `mean_weights`; None where nobody asks for them.
    """

    keys: tf.Tensor
    values: tf.Tensor
    attention_mask: AttentionMask
    weights: list[tf.Tensor] | None = None


def mean_weights(queries: tf.Tensor, keys: tf.Tensor, attention_mask: AttentionMask) -> tf.Tensor:
    """Return the weights of queries [B, H, T, d] for keys [B, K, S, d], their mean over the heads, [B, T, S]
    float32.
    """
    rows, heads, length, _ = tf.unstack(tf.shape(keys))
    # Weights are the mean of vectors of which each has a 1 at its own position.
    own = tf.eye(length, batch_shape=[rows, heads], dtype=keys.dtype)
    own = tf.ensure_shape(own, [None, keys.shape[1], None, None])
    return tf.reduce_mean(tf.cast(attention(queries, keys, own, attention_mask), tf.float32), 1)


def cross_weights(settings: BlockSettings) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of the attention to a source, by name."""
    width, shared = settings.width, 2 * settings.num_kv_heads * settings.head_width
    norm = norm_weights(settings.norm, width, settings.biases)
    shapes: dict[str, tuple[int, ...]] = {f"norm_{name}": shape for name, shape in norm.items()}
    for name, columns in (("query", width), ("key_value", shared), ("output", width)):
        shapes[f"{name}_kernel"] = (width, columns)
        if settings.biases:
            shapes[f"{name}_bias"] = (columns,)
    return shapes


class CrossAttention(keras.layers.Layer):
    """Attention to a source behind a norm, added to what came in; with `post_norm` the norm follows.

    Args:
        settings: of the block that it belongs to.
        initializer: called with the name of a matrix for what draws it.
        index: number of its dropout masks.

    Reference: Vaswani et al. (2017), section 3.2.3.
    """

    def __init__(
        self,
        settings: BlockSettings,
        initializer: Callable[[str], keras.initializers.Initializer],
        index: int = 0,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self.settings = settings
        self.dropout = None
        if settings.dropout:
            self.dropout = ScheduledDropout(
                settings.dropout, index=index, dtype=self.dtype_policy, name=f"dropout_{index}"
            )
        usual = {"gain": "ones", "bias": "zeros"}
        self.by_name = {
            name: self.add_weight(
                shape=shape,
                initializer=usual.get(name.rpartition("_")[2]) or initializer(name),
                autocast=False,
                name=name,
            )
            for name, shape in cross_weights(settings).items()
        }
        self.built = True

    def keys_and_values(self, encoded: tf.Tensor, rows: Index) -> Cache:
        """Return keys and values [B, K, S, d] of a source: encoded [B S, D] in the compute dtype."""
        together = self._product("key_value", encoded)
        together = self._by_head(together, rows, 2 * self.settings.num_kv_heads)
        return Cache(*tf.split(together, 2, axis=1))

    def added_to(
        self, x: tf.Tensor, rows: Index, memory: SourceMemory, mask: Mask | None = None
    ) -> tf.Tensor:
        """Return x [R, D] float32 with the attention of `rows` rows to their sources added.

        Keras would take a dropout mask for one of its own, so this is no `call`.
        """
        settings, dtype = self.settings, self.compute_dtype
        sources = memory.keys.shape[0] or tf.shape(memory.keys)[0]
        queries = self._product("query", tf.cast(x, dtype) if settings.post_norm else self._norm(x, dtype))
        # The rows of a sentence share its source: their queries are those of one row.
        queries = self._by_head(queries, sources, settings.num_heads)  # [B, H, n T, d]
        if memory.weights is not None:
            memory.weights.append(mean_weights(queries, memory.keys, memory.attention_mask))
        mixed = attention(queries, memory.keys, memory.values, memory.attention_mask)
        mixed = tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, settings.width])
        bias = self.by_name.get("output_bias")
        bias = None if bias is None else tf.convert_to_tensor(bias)
        output = times(mixed, cast(self.by_name["output_kernel"], dtype))
        x = added(x, output, bias, *([] if mask is None else kept(x, rows, mask)))
        return self._norm(x, "float32") if settings.post_norm else x

    def _product(self, name: str, x: tf.Tensor) -> tf.Tensor:
        y, bias = times(x, cast(self.by_name[f"{name}_kernel"], x.dtype)), self.by_name.get(f"{name}_bias")
        return y if bias is None else y + tf.cast(tf.convert_to_tensor(bias), y.dtype)

    def _norm(self, x: tf.Tensor, dtype: str) -> tf.Tensor:
        gain, bias = self.by_name["norm_gain"], self.by_name.get("norm_bias")
        bias = None if bias is None else tf.convert_to_tensor(bias)
        settings = self.settings
        return normalized(settings.norm, x, tf.convert_to_tensor(gain), bias, settings.norm_epsilon, dtype)

    def _by_head(self, x: tf.Tensor, rows: Index, heads: int) -> tf.Tensor:
        """Return [B, heads, T, d] of x [B T, heads d]."""
        known = isinstance(rows, int) and x.shape[0] is not None
        time = x.shape[0] // rows if known else -1
        return tf.transpose(tf.reshape(x, [rows, time, heads, self.settings.head_width]), [0, 2, 1, 3])


@keras.saving.register_keras_serializable(package="lm_keras", name="DecoderBlock")
class DecoderBlock(TransformerBlock):
    """A Transformer block whose two parts have the attention to a source between them.

    Args:
        settings, initializer, index: as for a `TransformerBlock`.
        cross_index: number of the dropout masks of the attention to the source.
    """

    def __init__(
        self,
        settings: BlockSettings | dict[str, Any],
        initializer: Callable[[str], keras.initializers.Initializer] | dict[str, Any],
        index: int = 0,
        cross_index: int = 0,
        **kwargs: Any,
    ):
        super().__init__(settings, initializer, index, **kwargs)
        self.cross_index = cross_index
        if isinstance(initializer, dict):
            given = initializer
            initializer = lambda name: keras.initializers.get(given[name])  # noqa: E731

        def drawn(name: str) -> keras.initializers.Initializer:
            made = self._initializers[f"cross_{name}"] = initializer(f"cross_{name}")
            return made

        self.cross_attention = CrossAttention(
            self.settings, drawn, cross_index, dtype=self.dtype_policy, name=f"cross_attention_{index}"
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "cross_index": self.cross_index}

    def call(
        self,
        x: tf.Tensor,
        rows: Index,
        attention_mask: AttentionMask,
        memory: SourceMemory,
        turn: tuple[tf.Tensor, tf.Tensor] | None = None,
        cache: Cache | None = None,
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, Cache | None]:
        """Run the block.

        Args:
            x: [R, D] float32.
            rows: B n, an integer or a scalar int32.
            attention_mask: which keys of its own text a query sees.
            memory: the sources.
            turn, cache, draw, training: as for a `TransformerBlock`.

        Returns:
            [R, D] float32, and the cache with the new tokens, or None.
        """
        dropout = self.cross_attention.dropout
        mask = None if dropout is None else dropout.mask(training, draw)
        how = Pass(
            self.settings,
            self.compute_dtype,
            rows,
            attention_mask,
            turn,
            self._masks(draw, training),
            between=lambda y: self.cross_attention.added_to(y, rows, memory, mask),
        )
        return self._run(x, cache, how)


def cross_parameters(settings: BlockSettings) -> int:
    """Return how many numbers the attention to a source learns in a block."""
    return sum(map(math.prod, cross_weights(settings).values()))
