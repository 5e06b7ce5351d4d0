"""The Transformer: an encoder that reads the source, and a decoder that writes the target.

Read from top to bottom: source [B, S] -> embeddings [B S, D] -> encoder blocks -> memory; tokens [B, T] ->
embeddings [B T, D] -> decoder blocks, which attend to the memory -> features [B, T, D] -> logits [B, T, V].
One table embeds source and target and, tied, is the output matrix.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.draws import Draw
from lm_keras.layers.attention import Cache
from lm_keras.layers.attention_mask import AttentionMask
from lm_keras.layers.decoder import DecoderBlock, SourceMemory, cross_parameters, cross_weights
from lm_keras.layers.dropout import ScheduledDropout
from lm_keras.layers.normalization import norm_weights, normalized
from lm_keras.layers.rotary import rotations
from lm_keras.layers.transformer import DROPOUTS, BlockSettings, TransformerBlock
from lm_keras.models.costs import Product, block_products, blocks_bytes
from lm_keras.models.encoder_decoder import EncoderDecoder, check_vocabulary
from lm_keras.models.positions import positions_within, sinusoids

POSITIONS = ("learned", "rotary", "sinusoidal")
"""How the network knows the order of tokens."""


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    check_vocabulary(num_outputs)
    return TransformerSeq2Seq(
        vocab_size,
        num_layers=model.num_layers,
        encoder_layers=model.encoder_depth,
        context_length=config.context_length,
        block=block_settings(config),
        positions=model.positions,
        rotary_base=model.rotary_base,
        tie_embeddings=model.tied,
        init_scale=model.init_scale,
        dtype=config.learning.precision,
        name="transformer",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def block_settings(config: Config) -> BlockSettings:
    """Return what the blocks of these settings look like."""
    model = config.model
    return BlockSettings(
        model.embedding_dim, model.num_heads, model.kv_heads, model.units, model.norm, model.norm_epsilon,
        model.activation, model.biases, model.dropout, model.attention_chunk, post_norm=model.post_norm,
    )  # fmt: skip


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    del num_outputs
    model, block = config.model, block_settings(config)
    encoder_layers, width = model.encoder_depth, model.embedding_dim
    tables = vocab_size * (1 if model.tied else 2)
    tables += 2 * config.context_length if model.positions == "learned" else 0
    norm = 0 if model.post_norm else sum(map(math.prod, _norm_shapes(block).values()))
    blocks = (model.num_layers + encoder_layers) * block.parameters
    return width * tables + blocks + model.num_layers * cross_parameters(block) + 2 * norm + vocab_size


def _norm_shapes(block: BlockSettings) -> dict[str, tuple[int]]:
    return norm_weights(block.norm, block.width, block.biases)


@keras.saving.register_keras_serializable(package="lm_keras", name="TransformerSeq2Seq")
class TransformerSeq2Seq(EncoderDecoder):
    """Predict the next token of a target from its source and the tokens before it.

    `model({"source": [B, S], "tokens": [B, T]})` returns logits [B, T, V] and works with plain `compile`,
    `fit` and `summary`.

    Args:
        vocab_size: V, of source and target together.
        num_layers: blocks of the decoder.
        encoder_layers: blocks of the encoder.
        context_length: L, the most positions of a learned table.
        block: what a block looks like, or the same as a dictionary. With `post_norm` there is no norm behind
            the last block.
        positions: `learned`, a vector for each position, one table for either side; `rotary`, see
            `lm_keras.layers.rotary.rotations`; or `sinusoidal`, see `lm_keras.models.positions.sinusoids`.
        rotary_base: of rotary positions.
        tie_embeddings: use the embedding as output matrix.
        **kwargs: see `LanguageModel`; without `init_scale` the embedding is drawn from N(0, 1 / D), and the
            other matrices as Glorot and Bengio (2010) say. Embedded tokens are multiplied by sqrt(D).

    Attributes:
        context_tokens: None: all tokens of a row count.
        context_length: L where positions are learned, else None.

    Reference: Vaswani et al. (2017), section 3; norms before the parts: Xiong et al. (2020), section 3.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        num_layers: int,
        context_length: int,
        block: BlockSettings | dict,
        encoder_layers: int | None = None,
        positions: str = "rotary",
        rotary_base: float = 10_000.0,
        tie_embeddings: bool = True,
        **kwargs: Any,
    ):
        block = BlockSettings(**block) if isinstance(block, dict) else block
        encoder_layers = encoder_layers or num_layers
        own = {
            "num_layers": num_layers,
            "encoder_layers": encoder_layers,
            "context_length": context_length,
            "block": dataclasses.asdict(block),
            "positions": positions,
            "rotary_base": rotary_base,
        }
        width = block.width
        normal = keras.initializers.RandomNormal(stddev=width**-0.5)
        super().__init__(vocab_size, width, tie_embeddings, own=own, embedding_initializer=normal, **kwargs)
        self.block_settings, self.positions = block, positions
        self.rotary_base = rotary_base if positions == "rotary" else None
        self.places = self.source_places = None
        if positions == "learned":
            self.context_length = context_length
            for name in ("places", "source_places"):
                normal = keras.initializers.RandomNormal(stddev=width**-0.5)
                setattr(self, name, self._matrix((context_length, width), name, normal))
        # Masks of the decoder's blocks come first, then those of the encoder's, then what is around them.
        around = 1 + DROPOUTS * (num_layers + encoder_layers)
        self._add_dropouts(block.dropout, 1)
        self.source_dropout = None
        if block.dropout:
            self.source_dropout = ScheduledDropout(
                block.dropout, index=around + num_layers, dtype=self.dtype_policy, name="source_dropout"
            )

        def initializer(name: str) -> keras.initializers.Initializer:
            # One for each matrix: Keras's initializers give the same numbers whenever they are called.
            return self._initializer(keras.initializers.GlorotUniform())

        self.encoder = [
            TransformerBlock(block, initializer, num_layers + n, dtype=self.dtype_policy, name=f"encoder_{n}")
            for n in range(encoder_layers)
        ]
        self.decoder = [
            DecoderBlock(block, initializer, n, around + n, dtype=self.dtype_policy, name=f"decoder_{n}")
            for n in range(num_layers)
        ]
        self.norms = {} if block.post_norm else {side: self._norm(side) for side in ("encoder", "decoder")}
        self._add_output(width, features=width, bias=True)

    def _norm(self, side: str) -> list[keras.Variable]:
        initial = {"gain": "ones", "bias": "zeros"}
        return [
            self.add_weight(
                shape=shape, initializer=initial[part], autocast=False, name=f"{side}_norm_{part}"
            )
            for part, shape in _norm_shapes(self.block_settings).items()
        ]

    def initial_state(self, batch_size: int | tf.Tensor, length: int | None = None) -> dict[str, Any]:
        """Return the decoder's state before a target.

        Args:
            batch_size: rows of the decoder.
            length: the most tokens that will come, if they come in several parts; None for rows that come
                whole, which have no state.

        Returns:
            Nothing, or `{"length": [], "keys": [[rows, K, length, d] for each block], "values": likewise}`: a
            cache of `length` slots, of which `length` [] are taken.
        """
        if length is None:
            return {}
        block = self.block_settings
        shape = [batch_size, block.num_kv_heads, length, block.head_width]
        keys, values = ([tf.zeros(shape, self.compute_dtype) for _ in self.decoder] for _ in range(2))
        return {"length": tf.constant(0), "keys": keys, "values": values}

    def encode(
        self,
        source: tf.Tensor,
        source_document: tf.Tensor,
        draw: Draw | None = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """Return `{"keys": [[B, K, S, d] for each block of the decoder], "values": likewise, "document": [B,
        S]}`; see `EncoderDecoder.encode`.
        """
        rows, time = (known or tf.shape(source)[axis] for axis, known in enumerate(source.shape))
        positions = positions_within(source_document)
        x = self._embedded(source, positions, time, self.source_places)
        if self.source_dropout is not None:
            x = self.source_dropout(x, draw=draw, training=training)
        x = tf.reshape(x, [-1, self.block_settings.width])
        mask = AttentionMask(0, source_document, source_document, causal=False)
        turn = self._turn(positions)
        for block in self.encoder:
            x, _ = block(x, rows=rows, attention_mask=mask, turn=turn, draw=draw, training=training)
        x = self._normalized("encoder", x)
        caches = [block.cross_attention.keys_and_values(x, rows) for block in self.decoder]
        keys, values = [cache.keys for cache in caches], [cache.values for cache in caches]
        return {"keys": keys, "values": values, "document": source_document}

    def decode(
        self,
        inputs: Mapping[str, tf.Tensor],
        memory: Mapping[str, Any],
        state: Mapping[str, Any],
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Run the decoder up to the features, see `EncoderDecoder.decode`."""
        tokens, document = inputs["tokens"], inputs.get("document")
        rows, time = (known or tf.shape(tokens)[axis] for axis, known in enumerate(tokens.shape))
        first = state["length"] if state else 0
        if document is None:
            positions = first + tf.range(time)[None]
            own = AttentionMask(first)
        else:
            positions = positions_within(document)
            own = AttentionMask(first, document, document)
        sources = memory["document"]
        queries = self._queries(document, tokens, sources.shape[0] or tf.shape(sources)[0])
        to_source = AttentionMask(0, queries, sources, causal=False)
        x = self._drop(0, self._embedded(tokens, positions, time, self.places), draw, training)
        x = tf.reshape(x, [-1, self.block_settings.width])
        turn = self._turn(positions)
        after: dict[str, Any] = {"length": first + time, "keys": [], "values": []}
        for number, block in enumerate(self.decoder):
            cache = Cache(state["keys"][number], state["values"][number]) if state else None
            weights = memory.get("weights") if block is self.decoder[-1] else None
            x, cache = block(
                x,
                rows=rows,
                attention_mask=own,
                memory=SourceMemory(memory["keys"][number], memory["values"][number], to_source, weights),
                turn=turn,
                cache=cache,
                draw=draw,
                training=training,
            )
            if state:
                after["keys"].append(cache.keys)
                after["values"].append(cache.values)
        features = tf.reshape(self._normalized("decoder", x), [rows, time, self.block_settings.width])
        return features, after if state else {}

    def _embedded(
        self, tokens: tf.Tensor, positions: tf.Tensor, time: int | tf.Tensor, places: keras.Variable | None
    ) -> tf.Tensor:
        """Return embedded tokens [B, T, D] float32, with their positions where they are added."""
        width = self.block_settings.width
        x = tf.gather(tf.convert_to_tensor(self.embedding.embeddings), tokens)
        x = tf.cast(x, tf.float32) * width**0.5
        if places is not None:
            x += tf.gather(tf.convert_to_tensor(places), positions)
        elif self.positions == "sinusoidal":
            # Those of the first row would do where all rows have the same, as those of a state have.
            alone = positions.shape[0] == 1
            x += (
                sinusoids(positions, width)
                if alone
                else tf.gather(sinusoids(tf.range(time), width), positions)
            )
        return x

    def _turn(self, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
        if self.rotary_base is None:
            return None
        return rotations(positions, self.block_settings.head_width, self.rotary_base)

    def _normalized(self, side: str, x: tf.Tensor) -> tf.Tensor:
        """Return x [R, D] behind the last norm of a side, in the compute dtype."""
        settings = self.block_settings
        if settings.post_norm:
            return tf.cast(x, self.compute_dtype)
        gain, *bias = map(tf.convert_to_tensor, self.norms[side])
        bias = bias[0] if bias else None
        return normalized(settings.norm, x, gain, bias, settings.norm_epsilon, self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {name: value for name, value in super().get_config().items() if name != "embedding_dim"}

    def _hidden_products(self, rows: int, length: int) -> dict[str, list[Product]]:
        block = self.block_settings
        parts = block_products(block, rows, length)
        heads = rows * block.num_heads
        cross = [Product(rows * length, *s) for n, s in cross_weights(block).items() if n.endswith("kernel")]
        cross += [
            Product(length, block.head_width, length, batch=heads),
            Product(length, length, block.head_width, batch=heads),
        ]
        encoder = {layer.name: parts for layer in self.encoder}
        decoder = {}
        for layer in self.decoder:
            decoder |= {layer.name: parts, layer.cross_attention.name: cross}
        return {"places": [], **encoder, **decoder, "norm": []}

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        block, layers = self.block_settings, len(self.decoder)
        vectors = 7 * block.width + 2 * block.num_kv_heads * block.head_width
        cross = layers * rows * length * (vectors + 2 * block.num_heads * length)
        return blocks_bytes(block, layers + len(self.encoder), rows, length) + 4 * cross
