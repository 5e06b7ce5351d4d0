"""BERT: a stack of Transformer blocks in which each token sees all others, to predict masked tokens.

Read from top to bottom: tokens [B, T] -> embeddings of tokens, positions and segments, added and normalized,
[R, D] -> blocks [R, D] -> hidden states [B, T, D] -> those of the masked positions [B, K, D] -> head ->
features [B, K, D] -> logits [B, K, V]; R = B T.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.layers.activations import activated
from lm_keras.layers.attention_mask import AttentionMask
from lm_keras.layers.casting import cast
from lm_keras.layers.normalization import normalized
from lm_keras.layers.transformer import DROPOUTS, BlockSettings, TransformerBlock
from lm_keras.models.costs import Product, block_products, blocks_bytes
from lm_keras.models.language_model import LanguageModel
from lm_keras.models.pooling import pooled
from lm_keras.models.positions import positions_within

INITIAL_DEVIATION = 0.02
"""Standard deviation of all initial matrices."""

SEGMENTS = 2

NO_HEAD = (
    "this BERT was imported without the head that predicts masked tokens: it has hidden states "
    "(features) and predicts "
    "nothing; train one with --init_from"
)


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    return BERTLanguageModel(
        vocab_size,
        num_layers=model.num_layers,
        context_length=config.context_length,
        block=block_settings(config),
        prediction_head=model.prediction_head,
        tie_embeddings=model.tied,
        init_scale=model.init_scale,
        num_outputs=num_outputs,
        pooling=config.pooling,
        dtype=config.learning.precision,
        name="bert_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def block_settings(config: Config) -> BlockSettings:
    """Return what the blocks of these settings look like."""
    model = config.model
    return BlockSettings(
        model.embedding_dim, model.num_heads, model.num_heads, model.units, norm_epsilon=model.norm_epsilon,
        activation="gelu_erf", dropout=model.dropout, attention_chunk=model.attention_chunk,
        rematerialize=config.running.rematerialize, post_norm=True,
    )  # fmt: skip


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    model = config.model
    width = model.embedding_dim
    tables = vocab_size + config.context_length + SEGMENTS
    head, dense = 0, width * (width + 1)
    if num_outputs is not None:
        head = num_outputs * (width + 1) + (dense if config.pooling == "first" else 0)
    elif model.prediction_head:
        tables += 0 if model.tied else vocab_size
        head = dense + 2 * width + vocab_size
    return width * tables + 2 * width + model.num_layers * block_settings(config).parameters + head


@keras.saving.register_keras_serializable(package="lm_keras", name="BERTLanguageModel")
class BERTLanguageModel(LanguageModel):
    """Predict masked tokens, from all tokens of a row.

    `model(tokens)` returns logits [B, T, V] of all positions and works with plain `compile`, `fit` and
    `summary`.

    Args:
        vocab_size: V.
        num_layers: blocks.
        context_length: L, the most tokens that a row may have.
        block: what a block looks like, or the same as a dictionary; its norms follow what they add.
        prediction_head: whether it can predict masked tokens; without, it has hidden states only. With
            classes there is no such part; with the pooling `first` there is a pooler before them, as in BERT.
        tie_embeddings: use the embedding as output matrix.
        init_scale: draw all matrices from U(-s, s); None for N(0, 0.02).

    Attributes:
        context_tokens: None: all tokens of a row count.
        context_length: L.

    Reference: Devlin et al. (2019), section 3; without its second task, whether two sentences follow each
    other, which Liu et al. (2019), section 4.2, leave out, too.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        num_layers: int,
        context_length: int,
        block: BlockSettings | dict,
        prediction_head: bool = True,
        tie_embeddings: bool = True,
        init_scale: float | None = None,
        **kwargs: Any,
    ):
        block = BlockSettings(**block) if isinstance(block, dict) else block
        own = {
            "num_layers": num_layers,
            "context_length": context_length,
            "block": dataclasses.asdict(block),
            "prediction_head": prediction_head,
        }
        super().__init__(vocab_size, block.width, tie_embeddings, init_scale, own, _normal(), **kwargs)
        self.context_length, self.block_settings = context_length, block
        width = block.width
        self.places = self._matrix((context_length, width), "places", _normal())
        self.segments = self._matrix((SEGMENTS, width), "segments", _normal())
        self.embedding_norm = self._norm(width, "embedding_norm")
        self._add_dropouts(block.dropout, 1)
        self._add_class_dropout(block.dropout, 1 + DROPOUTS * num_layers)
        self.blocks = [
            TransformerBlock(
                block,
                lambda name: self._initializer(_normal()),
                index,
                dtype=self.dtype_policy,
                name=f"block_{index}",
            )
            for index in range(num_layers)
        ]
        self.prediction_head, self.pooler = prediction_head, []
        if self.num_outputs is not None:
            if self.pooling == "first":
                kernel = self._matrix((width, width), "pooler_kernel", _normal())
                self.pooler = [kernel, self._bias(width, "pooler_bias")]
            self._add_output(width, features=width, initializer=_normal())
            return
        if not prediction_head:
            self.built = True
            return
        self.head_kernel = self._matrix((width, width), "head_kernel", _normal())
        self.head_bias = self._bias(width, "head_bias")
        self.head_norm = self._norm(width, "head_norm")
        self._add_output(width, features=width, initializer=_normal())

    def _norm(self, width: int, name: str) -> list[keras.Variable]:
        """Return gain and bias of a LayerNorm."""
        return [
            self.add_weight(shape=(width,), initializer=initializer, autocast=False, name=f"{name}_{part}")
            for part, initializer in (("gain", "ones"), ("bias", "zeros"))
        ]

    @property
    def head_weights(self) -> list[keras.Variable]:
        """Return the weights that belong to the head; none without one."""
        if self.num_outputs is not None:
            return [*self.pooler, *super().head_weights]
        if not self.prediction_head:
            return []
        return [self.head_kernel, self.head_bias, *self.head_norm, *super().head_weights]

    def initial_state(self, batch_size: int | tf.Tensor, length: int | None = None) -> dict[str, tf.Tensor]:
        """Return nothing: a row is read as a whole."""
        return {}

    def forward(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: Mapping[str, tf.Tensor],
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Run the network up to the features: the one forward pass of training, evaluation and filling.

        Args:
            inputs: `tokens` [B, T] integers, T at most L; optionally `predicted` [B, K] int32, where features
                are wanted, all where it is missing; `document` [B, T] int32: tokens see those of the same
                number only, and with classes their positions count from its beginning; `segment` [B, T]
                int32, 0 or 1.
            state: nothing.
            draw: masks of the dropout layers; without it they are active only if `training`.

        Returns:
            features [B, K, D] in the compute dtype, and nothing.

        Raises:
            InputError: it has no head.
        """
        self._check_head()
        hidden = self.hidden_states(inputs, draw, training)  # [B, T, D]
        if self.num_outputs is not None:
            return self._read_off(hidden, inputs, draw, training), {}
        if "predicted" in inputs:
            hidden = tf.gather(hidden, inputs["predicted"], batch_dims=1)
        shape = tf.shape(hidden)
        flat = tf.reshape(hidden, [-1, self.block_settings.width])
        x = activated(
            "gelu_erf",
            tf.matmul(flat, cast(self.head_kernel, self.compute_dtype)),
            tf.convert_to_tensor(self.head_bias),
        )
        features = self._normalized(tf.cast(x, tf.float32), self.head_norm, self.compute_dtype)
        static = hidden.shape
        return tf.ensure_shape(tf.reshape(features, shape), static), {}

    def hidden_states(
        self, inputs: Mapping[str, tf.Tensor], draw: Draw | None = None, training: bool = False
    ) -> tf.Tensor:
        """Return the hidden states after the last block, [B, T, D] in the compute dtype; arguments as those
        of `forward`."""
        tokens = inputs["tokens"]
        rows, time = (known or tf.shape(tokens)[axis] for axis, known in enumerate(tokens.shape))
        if tokens.shape[1] is not None and tokens.shape[1] > self.context_length:
            raise ValueError(
                f"a row has {tokens.shape[1]} tokens, and this network was built for "
                f"context_length={self.context_length}"
            )
        document = inputs.get("document")
        attention_mask = AttentionMask(0, document, document, causal=False)
        x = tf.cast(
            tf.gather(tf.convert_to_tensor(self.embedding.embeddings), tokens), tf.float32
        )  # [B, T, D]
        table = tf.convert_to_tensor(self.places)
        within = self.num_outputs is not None and document is not None
        x += tf.gather(table, positions_within(document)) if within else table[:time]
        segments = tf.convert_to_tensor(self.segments)
        x += tf.gather(segments, inputs["segment"]) if "segment" in inputs else segments[0]
        x = self._normalized(x, self.embedding_norm)
        x = tf.reshape(self._drop(0, x, draw, training), [-1, self.block_settings.width])
        for block in self.blocks:
            x, _ = block(x, rows=rows, attention_mask=attention_mask, draw=draw, training=training)
        return tf.reshape(tf.cast(x, self.compute_dtype), [rows, time, self.block_settings.width])

    def _normalized(self, x: tf.Tensor, norm: list[keras.Variable], dtype: str = "float32") -> tf.Tensor:
        gain, bias = map(tf.convert_to_tensor, norm)
        return normalized("layer", x, gain, bias, self.block_settings.norm_epsilon, dtype)

    def _read_off(
        self, hidden: tf.Tensor, inputs: Mapping[str, tf.Tensor], draw: Draw | None, training: bool
    ) -> tf.Tensor:
        """Return features [B, K, D] of texts, behind the pooler if there is one, or [B, T, D] of tokens."""
        if self.pooler:
            hidden = pooled(self.pooling, hidden, inputs["predicted"])
            kernel, bias = self.pooler
            product = tf.tensordot(hidden, cast(kernel, hidden.dtype), 1)
            hidden = tf.tanh(product + tf.cast(tf.convert_to_tensor(bias), hidden.dtype))
            inputs = {name: value for name, value in inputs.items() if name != "predicted"}
        return super()._read_off(hidden, inputs, draw, training)

    def _check(self, shape: Sequence[int | None], dtype: str) -> None:
        self._check_head()
        super()._check(shape, dtype)

    def _check_head(self) -> None:
        """Raise InputError for a network without a head."""
        if not self.prediction_head and self.num_outputs is None:
            raise InputError(NO_HEAD)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "embedding_dim"}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "BERTLanguageModel":
        """Build a network from what `get_config` returned; older files also say what training hid."""
        return super().from_config({name: value for name, value in config.items() if name != "mask_rate"})

    def products(self, rows: int, length: int, predictions: int | None = None) -> dict[str, list[Product]]:
        """Return the matrix products of a forward pass, by part; arguments as those of `LanguageModel`."""
        block, positions = self.block_settings, rows * (length if predictions is None else predictions)
        parts = block_products(block, rows, length)
        has_layer = self.num_outputs is None or bool(self.pooler)
        return {
            "embedding": [],
            "places": [],
            "segments": [],
            "embedding_norm": [],
            **{layer.name: parts for layer in self.blocks},
            "head": [Product(positions, block.width, block.width)] * has_layer,
            "output": [Product(positions, block.width, self.head.outputs)],
        }

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        return blocks_bytes(self.block_settings, len(self.blocks), rows, length)


def _normal() -> keras.initializers.Initializer:
    # One for each matrix: Keras's initializers give the same numbers whenever they are called.
    return keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)
