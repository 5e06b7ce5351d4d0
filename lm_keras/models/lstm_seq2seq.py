"""The LSTM with attention: a bidirectional encoder reads the source, and a decoder writes the target.

Read from top to bottom: source [B, S] -> embeddings -> encoder layers, each in both directions -> memory [B,
S, 2 H]; tokens [B, T] -> embeddings, plus a summary of the source -> decoder layers [B, T, H] -> attention
to the memory -> features [B, T, D] -> logits [B, T, V].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.draws import Draw
from lm_keras.layers import cudnn
from lm_keras.layers.attention import attention
from lm_keras.layers.attention_mask import AttentionMask
from lm_keras.layers.casting import cast, times
from lm_keras.layers.compiled_recurrence import row_groups
from lm_keras.layers.decoder import mean_weights
from lm_keras.layers.dropout import ScheduledDropout
from lm_keras.layers.recurrence import activation_values
from lm_keras.layers.recurrent import LSTM
from lm_keras.models.costs import Product
from lm_keras.models.encoder_decoder import EncoderDecoder, check_vocabulary
from lm_keras.models.lstm_in_groups import layer_in_groups
from lm_keras.models.positions import goes_on

State = Sequence[Mapping[str, tf.Tensor]]
"""`{"h", "c"}` of each layer of the decoder, [rows, H] each."""


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    check_vocabulary(num_outputs)
    return LSTMSeq2Seq(
        vocab_size,
        embedding_dim=model.embedding_dim,
        hidden_units=model.units,
        num_layers=model.num_layers,
        encoder_layers=model.encoder_depth,
        dropout=model.dropout,
        weight_drop=model.weight_drop,
        tie_embeddings=model.tied,
        forget_bias=model.forget_bias,
        init_scale=model.init_scale,
        jit=config.running.jit,
        dtype=config.learning.precision,
        name="lstm_seq2seq",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    del num_outputs
    model = config.model
    embedding, units, layers = model.embedding_dim, model.units, model.num_layers
    encoder_layers = model.encoder_depth
    features = embedding if model.tied else units
    inputs = [embedding] + [2 * units] * (encoder_layers - 1)
    encoder = sum(2 * 4 * units * (width + units + 1) for width in inputs)
    decoder = sum(4 * units * (width + units + 1) for width in [embedding] + [units] * (layers - 1))
    read = 2 * units * (embedding + units) + 3 * units * features
    output = vocab_size * (1 if model.tied else features + 1)
    return vocab_size * embedding + encoder + decoder + read + output


@keras.saving.register_keras_serializable(package="lm_keras", name="LSTMSeq2Seq")
class LSTMSeq2Seq(EncoderDecoder):
    """Predict the next token of a target from its source and the tokens before it.

    `model({"source": [B, S], "tokens": [B, T]})` returns logits [B, T, V] and works with plain `compile`,
    `fit` and `summary`.

    What the decoder reads at each step is the sum of the embedded token and of a summary of the source: the
    last state of either direction, times a matrix. So each document of a row begins with a state of zeros.

    Args:
        vocab_size: V, of source and target together.
        embedding_dim: E, width of the token embedding.
        hidden_units: H, width of every recurrent layer, in each direction.
        num_layers: layers of the decoder.
        encoder_layers: layers of the encoder.
        dropout: rate at the inputs, between layers and at the output, with a fresh mask at each time step.
        weight_drop, forget_bias: see `lm_keras.layers.recurrent.LSTM`.
        jit: see `LSTMLanguageModel`.
        **kwargs: see `LanguageModel`; `init_scale` holds for the recurrent layers, too. Without it the
            embedding is drawn from N(0, 1 / E). Embedded tokens are multiplied by sqrt(E). The features have
            the width E if the embeddings are tied, else H.

    Attributes:
        context_tokens: None: a prediction depends on all tokens before it.

    Reference: Luong, Pham and Manning (2015), section 3.1, with the score `general`, over sqrt(H), and
        without input feeding, so that all positions of a target are computed at once; the encoder: Bahdanau,
        Cho and Bengio (2015), section 3.2; the summary: Cho et al. (2014), section 2.2.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int = 128,
        hidden_units: int = 256,
        num_layers: int = 1,
        encoder_layers: int | None = None,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
        weight_drop: float = 0.0,
        jit: str = "auto",
        **kwargs: Any,
    ):
        encoder_layers = encoder_layers or num_layers
        own = {
            "hidden_units": hidden_units,
            "num_layers": num_layers,
            "encoder_layers": encoder_layers,
            "dropout": dropout,
            "forget_bias": forget_bias,
            "weight_drop": weight_drop,
            "jit": jit,
        }
        # From a smaller embedding the way out of the frequencies of the tokens takes some hundred steps.
        normal = keras.initializers.RandomNormal(stddev=embedding_dim**-0.5)
        super().__init__(vocab_size, embedding_dim, own=own, embedding_initializer=normal, **kwargs)

        def layers(name: str, count: int, first: int, width: int) -> list[LSTM]:
            made = [
                LSTM(
                    hidden_units,
                    forget_bias,
                    self.init_scale,
                    weight_drop,
                    first + number,
                    use_cudnn=jit != "on",
                    dtype=self.dtype_policy,
                    name=f"{name}_{number}",
                )
                for number in range(count)
            ]
            for number, layer in enumerate(made):
                layer.build((None, None, width if number else embedding_dim))
            return made

        self.decoder = layers("decoder", num_layers, 0, hidden_units)
        self.encoder = layers("encoder", encoder_layers, num_layers, 2 * hidden_units)
        self.backward = layers(
            "encoder_backward", encoder_layers, num_layers + encoder_layers, 2 * hidden_units
        )
        self._add_dropouts(dropout, num_layers + 1)
        self.source_dropouts = [
            ScheduledDropout(dropout, index=index, dtype=self.dtype_policy, name=f"source_dropout_{index}")
            for index in range(num_layers + 1, num_layers + 1 + (encoder_layers if dropout else 0))
        ]
        features = embedding_dim if self.tie_embeddings else hidden_units
        self.summary_kernel = self._matrix((2 * hidden_units, embedding_dim), "summary_kernel")
        self.key_kernel = self._matrix((2 * hidden_units, hidden_units), "key_kernel")
        self.attention_kernel = self._matrix((3 * hidden_units, features), "attention_kernel")
        self._add_output(features, features=features)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say who runs the recurrent layers, where there is a choice."""
        if cudnn.available():
            return ("no cuDNN, whose rows hold one text each",)
        return ("recurrence compiled by XLA",) if self._may_compile else ()

    @property
    def _may_compile(self) -> bool:
        return self._settings["jit"] == "recurrence" and not tf.config.list_physical_devices("GPU")

    def initial_state(
        self, batch_size: int | tf.Tensor, length: int | None = None
    ) -> list[dict[str, tf.Tensor]]:
        """Return the decoder's state before a target.

        Args:
            batch_size: rows of the decoder.
            length: the most tokens that will come, if they come in several parts; the state has a fixed size
                anyway. None for rows that come whole, which have no state.

        Returns:
            Nothing, or `{"h", "c"}` of zeros [rows, H] for every layer.
        """
        return [] if length is None else [layer.initial_state(batch_size) for layer in self.decoder]

    def encode(
        self,
        source: tf.Tensor,
        source_document: tf.Tensor,
        draw: Draw | None = None,
        training: bool = False,
    ) -> dict[str, tf.Tensor]:
        """Return `{"values": [B, S, 2 H], "keys": [B, S, H], "document": [B, S]}`; see
        `EncoderDecoder.encode`.
        """
        x = self._embedded(source)
        ahead, back = goes_on(source_document), goes_on(source_document[:, ::-1])
        zeros = self.encoder[0].initial_state(source.shape[0] or tf.shape(source)[0])
        for number, (forward, backward) in enumerate(zip(self.encoder, self.backward)):
            if self.source_dropouts:
                x = self.source_dropouts[number](x, draw=draw, training=training)
            y, _ = self._over_time(forward, x, zeros, ahead, draw, training)
            z, _ = self._over_time(backward, x[:, ::-1], zeros, back, draw, training)
            x = tf.concat([y, z[:, ::-1]], -1)
        return {"values": x, "keys": self._product(x, self.key_kernel), "document": source_document}

    def decode(
        self,
        inputs: Mapping[str, tf.Tensor],
        memory: Mapping[str, tf.Tensor],
        state: State,
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Run the decoder up to the features, see `EncoderDecoder.decode`."""
        tokens, document = inputs["tokens"], inputs.get("document")
        rows, time = (known or tf.shape(tokens)[axis] for axis, known in enumerate(tokens.shape))
        sources = memory["document"]
        queried = self._queries(document, tokens, sources.shape[0] or tf.shape(sources)[0])  # [B, n T]
        keep = None if document is None else goes_on(document)
        before = state or [layer.initial_state(rows) for layer in self.decoder]
        summary = self._product(_ends(memory["values"], sources, queried), self.summary_kernel)  # [B, n T, E]
        x = self._embedded(tokens) + tf.reshape(summary, [rows, time, -1])
        after = []
        for number, layer in enumerate(self.decoder):
            x = self._drop(number, x, draw, training)
            x, new = self._over_time(layer, x, before[number], keep, draw, training)
            after.append(new)
        shape = tf.shape(queried)
        queries = tf.reshape(x, [shape[0], 1, shape[1], x.shape[-1]])
        if x.shape[0] == sources.shape[0] and x.shape.is_fully_defined():
            queries = tf.reshape(x, [x.shape[0], 1, *x.shape[1:]])
        mask = AttentionMask(0, queried, sources, causal=False)
        if memory.get("weights") is not None:
            memory["weights"].append(mean_weights(queries, memory["keys"][:, None], mask))
        context = attention(queries, memory["keys"][:, None], memory["values"][:, None], mask)
        context = tf.reshape(context, [rows, time, 2 * x.shape[-1]])
        features = tf.tanh(self._product(tf.concat([context, x], -1), self.attention_kernel))
        features = self._drop(len(self.decoder), features, draw, training)
        return features, after if state else []

    def _embedded(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return embedded tokens [B, T, E] in the compute dtype."""
        x = tf.gather(tf.convert_to_tensor(self.embedding.embeddings), tokens)
        return tf.cast(tf.cast(x, tf.float32) * self.embedding.output_dim**0.5, self.compute_dtype)

    def _product(self, x: tf.Tensor, matrix: keras.Variable) -> tf.Tensor:
        """Return x [B, T, k] times a matrix [k, n], [B, T, n] in the compute dtype."""
        product = times(tf.reshape(x, [-1, x.shape[-1]]), cast(matrix, x.dtype))
        known = [size or tf.shape(x)[axis] for axis, size in enumerate(x.shape[:-1])]
        return tf.reshape(product, [*known, matrix.shape[-1]])

    def _over_time(
        self,
        layer: LSTM,
        x: tf.Tensor,
        state: Mapping[str, tf.Tensor],
        keep: tf.Tensor | None,
        draw: Draw | None,
        training: bool,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Run a layer over x [B, T, D]: [B, T, H] and the state after the last step."""
        traced = not tf.executing_eagerly() and x.shape.is_fully_defined() and x.shape[1] > 1
        if self._may_compile and traced:
            # Two directions are two groups of programs already.
            groups = row_groups(x.shape[0]) if layer in self.decoder else 1
            return layer_in_groups(layer, x, state, layer.recurrent_matrix(draw, training), keep, groups)
        keep = None if keep is None else tf.transpose(keep)
        y, after = layer(tf.transpose(x, [1, 0, 2]), state, draw=draw, training=training, keep=keep)
        return tf.transpose(y, [1, 0, 2]), after

    def _hidden_products(self, rows: int, length: int) -> dict[str, list[Product]]:
        units = self._settings["hidden_units"]
        layers = {
            layer.name: [
                Product(rows * length, *layer.kernel.shape),
                Product(rows, *layer.recurrent_kernel.shape, times=length),
            ]
            for layer in (*self.encoder, *self.backward, *self.decoder)
        }
        return {
            **layers,
            "summary": [Product(rows * length, *self.summary_kernel.shape)],
            "attention": [
                Product(rows * length, *self.key_kernel.shape),
                Product(length, units, length, batch=rows),
                Product(length, length, 2 * units, batch=rows),
                Product(rows * length, *self.attention_kernel.shape),
            ],
        }

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        units, embedded = self._settings["hidden_units"], self._settings["embedding_dim"]
        layers = len(self.encoder) + len(self.backward) + len(self.decoder)
        hidden = (activation_values(length, layers) + 12) * units
        return round(4 * rows * length * (3 * embedded + hidden + 2 * length))


def _ends(values: tf.Tensor, sources: tf.Tensor, documents: tf.Tensor) -> tf.Tensor:
    """Return for each document number [B, K] the last state of either direction over its source, [B, K, 2 H].

    Args:
        values: [B, S, 2 H], states from left to right, and from right to left.
        sources: [B, S] int32, rising numbers of documents.
        documents: [B, K] int32.
    """
    length = tf.shape(sources)[1]
    first = tf.minimum(tf.searchsorted(sources, documents), length - 1)
    last = tf.maximum(tf.searchsorted(sources, documents, side="right") - 1, 0)
    ahead, back = tf.split(values, 2, -1)
    return tf.concat([tf.gather(ahead, last, batch_dims=1), tf.gather(back, first, batch_dims=1)], -1)
