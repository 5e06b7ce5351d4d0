"""The GPT: a stack of Transformer blocks in which each token sees itself and those before it.

Read from top to bottom: tokens [B, T] -> embeddings, with positions, [R, D] -> blocks [R, D] -> norm ->
features [B, T, D] -> logits [B, T, V]; R = B T. The defaults are GPT-2's; rotary positions, RMSNorm, SwiGLU,
grouped queries and no biases make it a LLaMA, biases of queries, keys and values then a Qwen2, and norms of
queries and keys a Qwen3.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config, ModelConfig
from lm_keras.draws import Draw
from lm_keras.layers import taps
from lm_keras.layers.attention import Cache
from lm_keras.layers.attention_mask import AttentionMask
from lm_keras.layers.normalization import norm_weights, normalized
from lm_keras.layers.rotary import rotations
from lm_keras.layers.transformer import DROPOUTS, BlockSettings, TransformerBlock
from lm_keras.models.costs import Product, block_products, blocks_bytes
from lm_keras.models.language_model import LanguageModel
from lm_keras.models.positions import Arranged, positions_within
from lm_keras.registry import WITH_MESSAGES, WITH_PAIRS
from lm_keras.rotary_scaling import parse

INITIAL_DEVIATION = 0.02
"""Standard deviation of initial weights; of matrices that add to what passes by, over sqrt(2 layers)."""


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    return GPTLanguageModel(
        vocab_size,
        num_layers=model.num_layers,
        context_length=config.context_length,
        block=block_settings(model, config.running.rematerialize),
        positions=model.positions,
        rotary_base=model.rotary_base,
        rotary_scaling=model.rotary_scaling,
        separate_documents=model.separate_documents or config.task in (*WITH_PAIRS, *WITH_MESSAGES),
        tie_embeddings=model.tied,
        init_scale=model.init_scale,
        num_outputs=num_outputs,
        pooling=config.pooling,
        dtype=config.learning.precision,
        name="gpt_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def block_settings(model: ModelConfig, rematerialize: bool = False) -> BlockSettings:
    """Return what the blocks of these settings look like."""
    return BlockSettings(
        model.embedding_dim, model.num_heads, model.kv_heads, model.units, model.norm, model.norm_epsilon,
        model.activation, model.biases, model.dropout, model.attention_chunk, rematerialize,
        head_dim=model.head_dim, qkv_biases=model.qkv_biases, qk_norm=model.qk_norm,
    )  # fmt: skip


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    model, block = config.model, block_settings(config.model)
    positions = config.context_length if model.positions == "learned" else 0
    tables = vocab_size * (1 if model.tied or num_outputs is not None else 2) + positions
    head = 0 if num_outputs is None else num_outputs * (model.embedding_dim + 1)
    norm = sum(map(math.prod, norm_weights(model.norm, model.embedding_dim, model.biases).values()))
    return model.embedding_dim * tables + model.num_layers * block.parameters + norm + head


@keras.saving.register_keras_serializable(package="lm_keras", name="GPTLanguageModel")
class GPTLanguageModel(LanguageModel):
    """Predict the next token from up to `context_length` tokens: itself and those before it.

    `model(tokens)` returns logits [B, T, V] and works with plain `compile`, `fit` and `summary`.

    Args:
        vocab_size: V.
        num_layers: blocks.
        context_length: L, the most tokens that a row may have, those of its state included.
        block: what a block looks like, or the same as a dictionary.
        positions: `learned`, a vector for each position, or `rotary`, see `lm_keras.layers.rotary.rotations`.
        rotary_base: of rotary positions.
        rotary_scaling: of rotary positions, as `lm_keras.rotary_scaling.parse` reads it, or None.
        separate_documents: tokens see those of their own document only, by `document` of the inputs, and
            positions count from its beginning, so that documents side by side in a row are what each would be
            alone.
        tie_embeddings: use the embedding as output matrix.
        **kwargs: see `LanguageModel`; without `init_scale` matrices are drawn from N(0, 0.02), as in GPT-2.

    Attributes:
        context_tokens: None: all tokens of a row count.
        context_length: L.

    Reference: Radford et al. (2019), section 2.3; Touvron et al. (2023), section 2.2.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        num_layers: int,
        context_length: int,
        block: BlockSettings | dict,
        positions: str = "learned",
        rotary_base: float = ModelConfig.rotary_base,
        separate_documents: bool = False,
        tie_embeddings: bool = True,
        rotary_scaling: str | None = None,
        **kwargs: Any,
    ):
        block = BlockSettings(**block) if isinstance(block, dict) else block
        own = {
            "num_layers": num_layers,
            "context_length": context_length,
            "block": dataclasses.asdict(block),
            "positions": positions,
            "rotary_base": rotary_base,
            "rotary_scaling": rotary_scaling,
            "separate_documents": separate_documents,
        }
        normal = keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)
        super().__init__(
            vocab_size, block.width, tie_embeddings, own=own, embedding_initializer=normal, **kwargs
        )
        self.context_length, self.block_settings = context_length, block
        self.separate_documents = separate_documents
        self.rotary_base = rotary_base if positions == "rotary" else None
        self.rotary_scaling = parse(rotary_scaling) if rotary_scaling else None
        self.places = None
        if positions == "learned":
            normal = keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)
            self.places = self._matrix((context_length, block.width), "places", normal)
        self._add_dropouts(block.dropout, 1)
        self._add_class_dropout(block.dropout, 1 + DROPOUTS * num_layers)
        small = INITIAL_DEVIATION / math.sqrt(2 * num_layers)

        def initializer(name: str) -> keras.initializers.Initializer:
            # One for each matrix: Keras's initializers give the same numbers whenever they are called.
            deviation = small if "output" in name else INITIAL_DEVIATION
            return self._initializer(keras.initializers.RandomNormal(stddev=deviation))

        self.blocks = [
            TransformerBlock(block, initializer, index, dtype=self.dtype_policy, name=f"block_{index}")
            for index in range(num_layers)
        ]
        names = norm_weights(block.norm, block.width, block.biases)
        vector = functools.partial(self.add_weight, shape=(block.width,), autocast=False)
        self.norm_gain = vector(initializer="ones", name="norm_gain")
        self.norm_bias = vector(initializer="zeros", name="norm_bias") if "bias" in names else None
        normal = keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)
        self._add_output(block.width, features=block.width, bias=False, initializer=normal)

    def initial_state(self, batch_size: int | tf.Tensor, length: int | None = None) -> dict[str, Any]:
        """Return the state before a document.

        Args:
            batch_size: B.
            length: the most tokens that will come, up to L, if they come in several parts; None for rows that
                come whole, which have no state.

        Returns:
            Nothing, or
            `{"length": [], "begins": [B], "keys": [[B, K, length, d] for each block], "values": likewise}`:
            a cache of `length` slots, of which `length` [] are taken, each row's from slot `begins` on.
        """
        if length is None:
            return {}
        block, layers = self.block_settings, len(self.blocks)
        shape = [batch_size, block.num_kv_heads, length, block.head_width]
        keys, values = ([tf.zeros(shape, self.compute_dtype) for _ in range(layers)] for _ in range(2))
        first = {"length": tf.constant(0), "begins": tf.zeros([batch_size], tf.int32)}
        return {**first, "keys": keys, "values": values}

    def forward(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: Mapping[str, Any],
        draw: Draw | None = None,
        training: bool = False,
        cache_apart: bool = False,
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Run the network up to the features: the one forward pass of training, evaluation and sampling.

        Args:
            inputs: `tokens` [B, T] integers, T at most L; with `separate_documents` or classes also
                `document` [B, T] int32, rising numbers of the documents that they belong to, all the same
                where it is missing; with classes optionally `predicted` [B, K]; and with a state optionally
                `reset` [B] bool, rows whose state is reset.
            state: as `initial_state` returns it.
            draw: masks of the dropout layers; without it they are active only if `training`.
            cache_apart: see `forward_one_token`.

        Returns:
            features [B, T or K, D] in the compute dtype; and the state after the last token.
        """
        tokens = inputs["tokens"]
        rows, time = (known or tf.shape(tokens)[axis] for axis, known in enumerate(tokens.shape))
        if tokens.shape[1] is not None and tokens.shape[1] > self.row_length:
            raise ValueError(
                f"a row has {tokens.shape[1]} tokens, and this network was built for"
                f" context_length={self.context_length}"
            )
        arranged = self._arranged(inputs, state, time)
        positions, attention_mask = arranged.positions, arranged.attention_mask
        x = tf.gather(tf.convert_to_tensor(self.embedding.embeddings), tokens)  # [B, T, D]
        taps.lookup(x, tokens, self.embedding.embeddings, rows)
        x = tf.cast(x, tf.float32)  # Keras casts the table where a mixed network is called as a layer.
        x = self._placed(x, arranged)
        x = tf.reshape(self._drop(0, x, draw, training), [-1, self.block_settings.width])
        turn = (
            rotations(positions, self.block_settings.head_width, self.rotary_base, self.rotary_scaling)
            if self.rotary_base
            else None
        )
        after = {**arranged.after, "keys": [], "values": []}
        for number, block in enumerate(self.blocks):
            cache = Cache(state["keys"][number], state["values"][number]) if state else None
            x, cache = block(
                x, rows=rows, attention_mask=attention_mask, turn=turn, cache=cache, draw=draw,
                training=training, cache_apart=cache_apart,
            )  # fmt: skip
            if state:
                after["keys"].append(cache.keys)
                after["values"].append(cache.values)
        bias = None if self.norm_bias is None else tf.convert_to_tensor(self.norm_bias)
        settings = self.block_settings
        y = normalized(settings.norm, x, tf.convert_to_tensor(self.norm_gain), bias, settings.norm_epsilon)
        taps.norm(y, settings.norm, x, settings.norm_epsilon, (self.norm_gain, self.norm_bias), rows)
        features = tf.reshape(tf.cast(y, self.compute_dtype), [rows, time, settings.width])
        return self._read_off(features, inputs, draw, training), after if state else {}

    def forward_one_token(
        self, inputs: Mapping[str, tf.Tensor], state: Mapping[str, Any]
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Run the network over one token of each row, as `forward` does, without a copy of the state.

        A program of XLA's cannot write into what it is given, and would copy keys and values of all tokens to
        add one.

        Args:
            inputs: as for `forward`, T = 1.
            state: of `initial_state` with a length.

        Returns:
            features [B, 1, D]; and what `append_to_cache` makes the state after the token of.
        """
        return self.forward(inputs, state, cache_apart=True)

    def append_to_cache(self, state: Mapping[str, Any], addition: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state after a token of each row, from the one before and what `forward_one_token`
        returned.
        """
        parts = zip(state["keys"], state["values"], addition["keys"], addition["values"])
        caches = [
            Cache(old_keys, old_values).extended(keys, values, state["length"])
            for old_keys, old_values, keys, values in parts
        ]
        return {**addition, "keys": [c.keys for c in caches], "values": [c.values for c in caches]}

    @property
    def product_matrices(self) -> list[tuple[keras.Variable, bool]]:
        """Return the matrices that a token's products read, and of each whether its first axis are the output
        channels.
        """
        names = [f"{name}_kernel" for name in self.block_settings.kernels()]
        kernels = [(block.by_name[name], False) for block in self.blocks for name in names]
        return [*kernels, (self.head.matrix, self.head.transposed)]

    @property
    def row_length(self) -> int:
        """Return the most tokens that go through the network at once."""
        return self.context_length

    def _arranged(
        self, inputs: Mapping[str, tf.Tensor], state: Mapping[str, Any], time: int | tf.Tensor
    ) -> Arranged:
        """Return the positions of the T tokens of a row and what they see."""
        apart = self.separate_documents or self.num_outputs is not None
        documents = inputs.get("document") if apart and not state else None
        if documents is not None:
            return Arranged(positions_within(documents), AttentionMask(0, documents, documents), {})
        if not state:
            return Arranged(tf.range(time)[None], AttentionMask(0), {})
        first, begins = state["length"], state["begins"]
        if "reset" in inputs:
            begins = tf.where(inputs["reset"], first, begins)
        positions = first + tf.range(time)[None] - begins[:, None]
        return Arranged(
            positions, AttentionMask(first, row_begins=begins), {"length": first + time, "begins": begins}
        )

    def _placed(self, x: tf.Tensor, arranged: Arranged) -> tf.Tensor:
        """Return embedded tokens [B, T, D] plus their positions."""
        if self.places is not None:
            index = functools.partial(tf.broadcast_to, arranged.positions, tf.shape(x)[:2])
            x += tf.gather(tf.convert_to_tensor(self.places), arranged.positions)
            taps.lookup(x, index, self.places, x.shape[0])
        return x

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "embedding_dim"}

    def _hidden_products(self, rows: int, length: int) -> dict[str, list[Product]]:
        parts = block_products(self.block_settings, rows, length)
        return {"places": [], **{layer.name: parts for layer in self.blocks}, "norm": []}

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        return blocks_bytes(self.block_settings, len(self.blocks), rows, length)
