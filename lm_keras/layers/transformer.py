"""The Transformer block: attention and a feed-forward part, each behind a norm and added to what came in.

Shapes: B rows, T time, R = B T, D width, H heads, K heads of keys and values, d width of a head, D / H
unless settings say otherwise, F units of the feed-forward part.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.layers import taps
from lm_keras.layers.activations import activated
from lm_keras.layers.attention import Cache, Scalar, attention, attention_beside
from lm_keras.layers.attention_mask import AttentionMask, Index
from lm_keras.layers.block_settings import BlockSettings
from lm_keras.layers.casting import Int8Matrix, cast, times
from lm_keras.layers.dropout import Mask, ScheduledDropout
from lm_keras.layers.fused import added
from lm_keras.layers.normalization import normalized
from lm_keras.layers.rematerialization import computed_again
from lm_keras.layers.rotary import rotated

DROPOUTS = 3
"""Places for dropout in a block: the attention's weights, and what either part adds."""


@keras.saving.register_keras_serializable(package="lm_keras", name="TransformerBlock")
class TransformerBlock(keras.layers.Layer):
    """A pre-norm block: x + attention(norm(x)), then x + feed_forward(norm(x)); post-norm: norm(x +
    attention(x)), and so on.

    The values between blocks are float32; products run in the layer's compute dtype.

    Args:
        settings: of the block.
        initializer: called with the name of a matrix for what draws it; or a dictionary of both, of
            initializers as Keras serializes them.
        index: number of the block, so that no two blocks share dropout masks.

    Reference: Radford et al. (2019), section 2.3; Vaswani et al. (2017), section 3.
    """

    def __init__(
        self,
        settings: BlockSettings | dict[str, Any],
        initializer: Callable[[str], keras.initializers.Initializer] | dict[str, Any],
        index: int = 0,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        settings = BlockSettings(**settings) if isinstance(settings, dict) else settings
        self.settings, self.index = settings, index
        if isinstance(initializer, dict):
            given = initializer
            initializer = lambda name: keras.initializers.get(given[name])  # noqa: E731
        self._initializers = {}
        places = [1 + DROPOUTS * index + place for place in range(DROPOUTS if settings.dropout else 0)]
        self.dropouts = [
            ScheduledDropout(settings.dropout, index=place, dtype=self.dtype_policy, name=f"dropout_{place}")
            for place in places
        ]
        usual = {"gain": "ones", "bias": "zeros"}
        self.by_name = {}
        for name, shape in settings.weights().items():
            drawn = usual.get(name.rpartition("_")[2])
            if drawn is None:
                drawn = self._initializers[name] = initializer(name)
            self.by_name[name] = self.add_weight(shape=shape, initializer=drawn, autocast=False, name=name)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        initializers = {
            name: keras.initializers.serialize(drawn) for name, drawn in self._initializers.items()
        }
        own = {
            "settings": dataclasses.asdict(self.settings),
            "initializer": initializers,
            "index": self.index,
        }
        return {**super().get_config(), **own}

    def call(
        self,
        x: tf.Tensor,
        rows: Index,
        attention_mask: AttentionMask,
        turn: tuple[tf.Tensor, tf.Tensor] | None = None,
        cache: Cache | None = None,
        draw: Draw | None = None,
        training: bool = False,
        cache_apart: bool = False,
    ) -> tuple[tf.Tensor, Cache | None]:
        """Run the block.

        Args:
            x: [R, D] float32.
            rows: B, an integer or a scalar int32.
            attention_mask: which keys a query sees.
            turn: cosines and sines for rotary positions, as `rotations` returns them, or None.
            cache: keys and values of the tokens before, `attention_mask.first_query` of them; None where
                there are none.
            draw: masks of the dropout layers; without it they are active only if `training`.
            cache_apart: leave the cache as it is, and return one of the new tokens alone, one a row.

        Returns:
            [R, D] float32, and the cache with the new tokens, or None.
        """
        masks = self._masks(draw, training)
        how = Pass(
            self.settings, self.compute_dtype, rows, attention_mask, turn, masks, cache_apart,
            variables=self.by_name,
        )  # fmt: skip
        return self._run(x, cache, how)

    def _masks(self, draw: Draw | None, training: bool) -> list[Mask | None]:
        return [dropout.mask(training, draw) for dropout in self.dropouts] or [None] * DROPOUTS

    def _run(self, x: tf.Tensor, cache: Cache | None, how: "Pass") -> tuple[tf.Tensor, Cache | None]:
        names, dtype = list(self.by_name), self.compute_dtype

        def compute(x: tf.Tensor, cache: Cache | None, *weights: tf.Tensor) -> tuple[tf.Tensor, Cache | None]:
            return _block(x, cache, dict(zip(names, weights)), how)

        weights = [cast(v, dtype if len(v.shape) == 2 else "float32") for v in self.by_name.values()]
        learns = not any(isinstance(weight, Int8Matrix) for weight in weights)
        if self.settings.rematerialize and cache is None and learns:
            return computed_again(
                lambda *arguments: compute(arguments[0], None, *arguments[1:])[0], x, *weights
            ), None
        return compute(x, cache, *weights)


class Pass(NamedTuple):
    """What a pass through a block is given beside values and weights; see `TransformerBlock.call`.

    Attributes:
        dtype: of the products.
        masks: dropout of the attention's weights, and of what either part adds.
        between: computed of x [R, D] between the two parts; None for nothing.
        variables: the weights by name, where their uses are handed over.
    """

    settings: BlockSettings
    dtype: str
    rows: Index
    attention_mask: AttentionMask
    turn: tuple[tf.Tensor, tf.Tensor] | None
    masks: list[Mask | None]
    cache_apart: bool = False
    between: Callable[[tf.Tensor], tf.Tensor] | None = None
    variables: Mapping[str, keras.Variable] | None = None

    def hand_over_norm(self, name: str, kind: str, result: tf.Tensor, values: tf.Tensor) -> None:
        """Hand over a norm; see `lm_keras.layers.taps`."""
        if self.variables is not None:
            weights = self.variables[f"{name}_gain"], self.variables.get(f"{name}_bias")
            taps.norm(result, kind, values, self.settings.norm_epsilon, weights, self.rows)


def _block(
    x: tf.Tensor, cache: Cache | None, weights: Mapping[str, tf.Tensor], how: Pass
) -> tuple[tf.Tensor, Cache | None]:
    """Run a block over x [R, D]."""
    settings, dtype = how.settings, how.dtype

    def norm(name: str, x: tf.Tensor, dtype: str | tf.DType) -> tf.Tensor:
        gain, bias = weights[f"{name}_gain"], weights.get(f"{name}_bias")
        y = normalized(settings.norm, x, gain, bias, settings.norm_epsilon, dtype)
        how.hand_over_norm(name, settings.norm, y, x)
        return y

    def before(name: str, x: tf.Tensor) -> tf.Tensor:
        """Return what a part reads."""
        return tf.cast(x, dtype) if settings.post_norm else norm(name, x, dtype)

    def after(name: str, x: tf.Tensor) -> tf.Tensor:
        """Return what passes by once a part has added to it."""
        return norm(name, x, tf.float32) if settings.post_norm else x

    def product(name: str, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return a product, and the bias that is still to be added."""
        y = times(x, weights[f"{name}_kernel"])
        if how.variables is not None:
            variables = how.variables[f"{name}_kernel"], how.variables.get(f"{name}_bias")
            taps.product(y, x, *variables, rows=how.rows)
        return y, weights.get(f"{name}_bias")

    def add(x: tf.Tensor, y: tf.Tensor, bias: tf.Tensor | None, mask: Mask | None) -> tf.Tensor:
        return added(x, y, bias) if mask is None else added(x, y, bias, *kept(x, how.rows, mask))

    together, bias = product("query_key_value", before("attention_norm", x))
    together = together if bias is None else together + tf.cast(bias, dtype)
    mixed, cache = _attended(together, cache, weights, how)
    x = after("attention_norm", add(x, *product("attention_output", mixed), how.masks[1]))
    x = x if how.between is None else how.between(x)
    wide = activated(settings.activation, *product("feed_forward", before("feed_forward_norm", x)))
    return after("feed_forward_norm", add(x, *product("feed_forward_output", wide), how.masks[2])), cache


def _attended(
    together: tf.Tensor, cache: Cache | None, weights: Mapping[str, tf.Tensor], how: Pass
) -> tuple[tf.Tensor, Cache | None]:
    """Return the attention [R, H d] of queries, keys and values side by side, [R, (H + 2 K) d]."""
    settings, rows, attention_mask, mask = how.settings, how.rows, how.attention_mask, how.masks[0]
    width = settings.num_heads * settings.head_width
    queries, keys, values = _heads(settings, together, rows)
    if settings.qk_norm:
        queries, keys = (
            _head_norm(name, x, weights, how) for name, x in (("query_norm", queries), ("key_norm", keys))
        )
    if how.turn is not None:
        queries, keys = rotated(queries, *how.turn), rotated(keys, *how.turn)
    if how.cache_apart:
        mixed = attention_beside(cache.keys, cache.values, queries, keys, values, attention_mask)
        return tf.reshape(mixed, [-1, width]), Cache(keys, values)
    if cache is not None:
        cache = keys, values = cache.extended(keys, values, attention_mask.first_query)
    chunk = settings.attention_chunk if cache is None else None

    def keep(begin: Index, count: int, seen: int) -> tf.Tensor:
        return mask.keep([rows, settings.num_heads, count, seen], begin // chunk + 1 if chunk else 0)

    dropout = {} if mask is None else {"keep": keep, "rate": mask.rate}
    mixed = attention(queries, keys, values, attention_mask, chunk, **dropout)
    return tf.reshape(tf.transpose(mixed, [0, 2, 1, 3]), [-1, width]), cache


def _head_norm(name: str, x: tf.Tensor, weights: Mapping[str, tf.Tensor], how: Pass) -> tf.Tensor:
    """Return queries or keys [B, H, T, d] with the norm of each head."""
    x = tf.cast(x, tf.float32)
    y = normalized("rms", x, weights[f"{name}_gain"], None, how.settings.norm_epsilon, how.dtype)
    how.hand_over_norm(name, "rms", y, x)
    return y


def _heads(settings: BlockSettings, together: tf.Tensor, rows: Index) -> list[tf.Tensor]:
    """Return queries [B, H, T, d], keys and values [B, K, T, d] of arrays side by side, [R, (H + 2 K)
    d].
    """
    known = isinstance(rows, int) and together.shape[0] is not None
    time = together.shape[0] // rows if known else -1
    heads, shared = settings.num_heads, settings.num_kv_heads
    if heads == shared:
        # One copy in place of six: what then stands one behind the other is taken apart where it is.
        together = tf.reshape(together, [rows, time, 3, heads, settings.head_width])
        return tf.unstack(tf.transpose(together, [2, 0, 3, 1, 4]))
    together = tf.reshape(together, [rows, time, heads + 2 * shared, settings.head_width])
    parts = tf.split(together, [heads, shared, shared], axis=2)
    return [tf.transpose(part, [0, 2, 1, 3]) for part in parts]


def kept(x: tf.Tensor, rows: Index, mask: Mask) -> tuple[tf.Tensor, Scalar]:
    """Return which values of x [R, D] stay, and what they are multiplied by."""
    by_row = tf.reshape(x, [rows, -1, x.shape[-1]])
    time = by_row.shape[1] or tf.shape(by_row)[1]
    keep = mask.keep([rows, time, x.shape[-1]])
    keep = tf.reshape(keep, x.shape if x.shape.is_fully_defined() else tf.shape(x))
    return keep, tf.cast(1.0 / (1.0 - mask.rate), x.dtype)
