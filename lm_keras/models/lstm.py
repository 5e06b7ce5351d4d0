"""The LSTM language model: embedding, recurrent layers with carried state, output matrix.

Read from top to bottom: tokens [B, T] -> embeddings [T, B, E] -> hidden states [T, B, H] -> features
[B, T, D] -> logits [B, T, V].
"""

import math

import keras
import tensorflow as tf

from lm_keras.config import Config, ModelConfig
from lm_keras.layers.dropout import Draw, ScheduledDropout
from lm_keras.layers.recurrent import LSTM, activation_values


def build(config: Config, vocab_size: int) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    return LSTMLanguageModel(
        vocab_size,
        embedding_dim=model.embedding_dim,
        hidden_units=model.hidden_units,
        num_layers=model.num_layers,
        dropout=model.dropout,
        tie_embeddings=model.tie_embeddings,
        forget_bias=model.forget_bias,
        init_scale=model.init_scale,
        dtype=config.learning.precision,
        name="lstm_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def num_parameters(model: ModelConfig, vocab_size: int) -> int:
    """Return how many numbers the network of these settings learns."""
    embedding, hidden, tied = model.embedding_dim, model.hidden_units, model.tie_embeddings
    gates = 4 * hidden
    recurrent = gates * (model.num_layers * (hidden + 1) + embedding + (model.num_layers - 1) * hidden)
    projection = hidden * embedding if tied and hidden != embedding else 0
    output = vocab_size * (1 if tied else hidden + 1)
    return vocab_size * embedding + recurrent + projection + output


class LSTMLanguageModel(keras.Model):
    """Predict the next token from all tokens before it.

    `model(tokens)` returns logits [B, T, V] and works with plain `compile`, `fit` and `summary`.

    Args:
        vocab_size: V.
        embedding_dim: E, width of the token embedding.
        hidden_units: H, width of every recurrent layer.
        num_layers: recurrent layers.
        dropout: rate at the input, between layers and at the output, with a fresh mask at each time step.
        tie_embeddings: use the embedding as output matrix (Press and Wolf, 2017); where H differs from E a
            projection H -> E stands before it.
        forget_bias, init_scale: see `lm_keras.layers.recurrent.LSTM`; `init_scale` also holds for the embedding
            and the output.

    Attributes:
        context_tokens: None: a prediction depends on all tokens before it.

    Reference: Zaremba, Sutskever and Vinyals (2014), sections 3 and 4.1.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int = 128,
        hidden_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        tie_embeddings: bool = False,
        forget_bias: float = 1.0,
        init_scale: float | None = None,
        **kwargs,
    ):
        # Products are cast where they happen; the weights themselves and the carried state stay float32.
        super().__init__(autocast=False, **kwargs)
        self._settings = {
            "vocab_size": vocab_size,
            "embedding_dim": embedding_dim,
            "hidden_units": hidden_units,
            "num_layers": num_layers,
            "dropout": dropout,
            "tie_embeddings": tie_embeddings,
            "forget_bias": forget_bias,
            "init_scale": init_scale,
        }
        policy = self.dtype_policy
        self.init_scale = init_scale
        self.vocab_size = vocab_size
        self.tie_embeddings = tie_embeddings
        self.embedding = keras.layers.Embedding(
            vocab_size,
            embedding_dim,
            embeddings_initializer=self._initializer("uniform"),
            dtype=policy,
            name="embedding",
        )
        self.recurrent = [
            LSTM(hidden_units, forget_bias, init_scale, dtype=policy, name=f"lstm_{layer}")
            for layer in range(num_layers)
        ]
        self.dropouts = [
            ScheduledDropout(dropout, index=place, batch_axis=1, dtype=policy, name=f"dropout_{place}")
            for place in range(num_layers + 1 if dropout else 0)
        ]
        self.embedding.build((None, None))
        for layer, width in zip(self.recurrent, [embedding_dim] + [hidden_units] * num_layers):
            layer.build((None, None, width))
        self.projection = None
        if tie_embeddings and hidden_units != embedding_dim:
            self.projection = self._matrix((hidden_units, embedding_dim), "projection")
        self.output_kernel = None
        if not tie_embeddings:
            self.output_kernel = self._matrix((hidden_units, vocab_size), "output_kernel")
        self.output_bias = self.add_weight(
            shape=(vocab_size,), initializer="zeros", autocast=False, name="output_bias"
        )
        self.built = True

    def _initializer(self, usual):
        # One for each matrix: Keras's initializers give the same numbers whenever they are called.
        scale = self.init_scale
        return keras.initializers.RandomUniform(-scale, scale) if scale else usual

    def _matrix(self, shape, name):
        initializer = self._initializer("glorot_uniform")
        return self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)

    def initial_state(self, batch_size, length=None):
        """Return the state before a document: `{"h", "c"}` of zeros [B, H] for every layer."""
        del length  # An LSTM's state does not grow with the text.
        return [layer.initial_state(batch_size) for layer in self.recurrent]

    def forward(self, inputs, state, draw: Draw | None = None, training=False):
        """Run the network up to the features: the one forward pass of training, evaluation and sampling.

        Args:
            inputs: `tokens` [B, T] int32, and optionally `reset` [B] bool, rows whose state starts anew.
            state: as `initial_state` returns it.
            draw: masks of the dropout layers; without it they are active only if `training`.

        Returns:
            features [B, T, D], D = E if the embeddings are tied, else H; and the state after the last token.
        """
        if "reset" in inputs:
            fresh = inputs["reset"][:, None]
            state = tf.nest.map_structure(lambda value: tf.where(fresh, 0.0, value), state)
        table = tf.convert_to_tensor(self.embedding.embeddings)
        x = tf.cast(tf.gather(table, tf.transpose(inputs["tokens"])), self.compute_dtype)  # [T, B, E]
        after = []
        for number, layer in enumerate(self.recurrent):
            x = self._drop(number, x, draw, training)
            x, new = layer(x, state[number])  # [T, B, H]
            after.append(new)
        x = self._drop(len(self.recurrent), x, draw, training)
        if self.projection is not None:
            x = tf.matmul(x, tf.cast(self.projection, x.dtype))  # [T, B, E]
        return tf.transpose(x, [1, 0, 2]), after

    def _drop(self, place, x, draw, training):
        return self.dropouts[place](x, training=training, draw=draw) if self.dropouts else x

    def project(self, features):
        """Turn features [..., D] into logits [..., V] in float32."""
        matrix = self.embedding.embeddings if self.tie_embeddings else self.output_kernel
        flat = tf.reshape(features, [-1, features.shape[-1]])
        product = tf.matmul(flat, tf.cast(matrix, features.dtype), transpose_b=self.tie_embeddings)
        logits = tf.cast(product, tf.float32) + self.output_bias
        return tf.reshape(logits, tf.concat([tf.shape(features)[:-1], [self.vocab_size]], 0))

    def flops_per_token(self, length):
        """Return the FLOPs of one token's forward pass by part; see `lm_keras.models`."""
        del length  # An LSTM's work for a token does not grow with the text before it.
        parts = {"embedding": 0}  # A look-up.
        for layer in self.recurrent:
            parts[layer.name] = 2 * sum(math.prod(m.shape) for m in (layer.kernel, layer.recurrent_kernel))
        if self.projection is not None:
            parts["projection"] = 2 * math.prod(self.projection.shape)
        matrix = self.embedding.embeddings if self.tie_embeddings else self.output_kernel
        return {**parts, "output": 2 * math.prod(matrix.shape)}

    def activation_bytes(self, rows, length):
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        embedded = self._settings["embedding_dim"]  # The input of the first layer, or its gradient.
        hidden = activation_values(length, len(self.recurrent)) * self._settings["hidden_units"]
        return round(4 * rows * length * (embedded + hidden))  # In float32 whatever the products are in.

    def get_config(self):
        return {**super().get_config(), **self._settings}

    def call(self, tokens, training=False):
        """Return logits [B, T, V] float32 for tokens [B, T], each row a document's beginning."""
        features, _ = self.forward(
            {"tokens": tokens}, self.initial_state(tf.shape(tokens)[0]), training=training
        )
        return self.project(features)
