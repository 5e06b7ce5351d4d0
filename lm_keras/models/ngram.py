"""The feed-forward language model: the n - 1 tokens before decide, through layers z = W x + b, a = ReLU(z).

Read from top to bottom: tokens [B, T] -> embeddings [B, n - 2 + T, E] -> hidden values [B, T, H] -> features
[B, T, D] -> logits [B, T, V]. With n = 4 and the tokens a b c, a row that starts a document (0) predicts from

    position   0       1       2
    x          0 0 a   0 a b   a b c
"""

import functools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config, ModelConfig
from lm_keras.draws import Draw
from lm_keras.layers import taps
from lm_keras.layers.casting import cast
from lm_keras.models.costs import Product
from lm_keras.models.language_model import LanguageModel
from lm_keras.text.tokenizer import Tokenizer


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    return NGramLanguageModel(
        vocab_size,
        ngram_order=model.ngram_order,
        embedding_dim=model.embedding_dim,
        hidden_units=model.units,
        num_layers=model.num_layers,
        dropout=model.dropout,
        tie_embeddings=model.tied,
        direct_connections=model.direct_connections,
        init_scale=model.init_scale,
        num_outputs=num_outputs,
        dtype=config.learning.precision,
        name="ngram_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    model = config.model
    embedding, hidden, tied = model.embedding_dim, model.units, model.tied
    context = (model.ngram_order - 1) * embedding
    layers = hidden * (context + (model.num_layers - 1) * hidden + model.num_layers)
    projection = hidden * embedding if tied and hidden != embedding and num_outputs is None else 0
    features = hidden + (context if model.direct_connections else 0)
    output = vocab_size * (1 if tied else features + 1)
    if num_outputs is not None:
        output = num_outputs * (features + 1)
    return vocab_size * embedding + layers + projection + output


@keras.saving.register_keras_serializable(package="lm_keras", name="NGramLanguageModel")
class NGramLanguageModel(LanguageModel):
    """Predict the next token from the n - 1 tokens before it.

    `model(tokens)` returns logits [B, T, V] and works with plain `compile`, `fit` and `summary`.

    Args:
        vocab_size: V.
        ngram_order: n, at least 2. Before a document come n - 1 end-of-document tokens.
        embedding_dim: E, width of the token embedding; x is n - 1 of them side by side.
        hidden_units: H, width of every hidden layer.
        num_layers: hidden layers.
        dropout: rate at the input, between layers and at the output.
        tie_embeddings: use the embedding as output matrix; where H differs from E a projection comes before
            it.
        direct_connections: let x also reach the output without a hidden layer, the W x of Bengio's equation
            1.
        **kwargs: see `LanguageModel`.

    Attributes:
        context_tokens: n - 1, tokens that a prediction depends on.

    Reference: Bengio, Ducharme, Vincent and Jauvin (2003), section 2, with ReLU for tanh; the article's
    section 4.2, which has the same equations for n = 2.
    """

    def __init__(
        self,
        vocab_size: int,
        ngram_order: int = ModelConfig.ngram_order,
        embedding_dim: int = ModelConfig.embedding_dim,
        hidden_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        tie_embeddings: bool = False,
        direct_connections: bool = False,
        **kwargs: Any,
    ):
        own = {
            "ngram_order": ngram_order,
            "hidden_units": hidden_units,
            "num_layers": num_layers,
            "dropout": dropout,
            "direct_connections": direct_connections,
        }
        super().__init__(vocab_size, embedding_dim, tie_embeddings, own=own, **kwargs)
        self.context_tokens = ngram_order - 1
        self.direct_connections = direct_connections
        self._add_dropouts(dropout, num_layers + 1)
        context_width = self.context_tokens * embedding_dim
        widths = [context_width] + [hidden_units] * num_layers
        self.kernels = [
            self._matrix((widths[layer], hidden_units), f"kernel_{layer}") for layer in range(num_layers)
        ]
        self.biases = [self._bias(hidden_units, f"bias_{layer}") for layer in range(num_layers)]
        self._add_output(hidden_units, hidden_units + (context_width if direct_connections else 0))

    def initial_state(self, batch_size: int | tf.Tensor, length: int | None = None) -> dict[str, tf.Tensor]:
        """Return the state before a document: `{"tokens": [B, n - 1]}` int32, end-of-document tokens."""
        del length  # The context has the same length everywhere.
        return {"tokens": tf.fill([batch_size, self.context_tokens], Tokenizer.eod_id)}

    def forward(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: Mapping[str, tf.Tensor],
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Run the network up to the features: the one forward pass of training, evaluation and sampling.

        Args:
            inputs: `tokens` [B, T] integers, and optionally `reset` [B] bool, rows whose context is reset.
            state: `{"tokens": [B, n - 1]}` int32, the tokens before.
            draw: masks of the dropout layers; without it they are active only if `training`.

        Returns:
            features [B, T, D], D = E if the embeddings are tied, else H (and n - 1 embeddings with direct
            connections); and the last n - 1 tokens.
        """
        before = state["tokens"]
        if "reset" in inputs:
            before = tf.where(inputs["reset"][:, None], Tokenizer.eod_id, before)
        tokens = tf.concat([before, tf.cast(inputs["tokens"], tf.int32)], 1)  # [B, n - 1 + T]
        table = tf.convert_to_tensor(self.embedding.embeddings)
        # The oldest token of the context makes room for the first token of the inputs.
        embedded = tf.cast(tf.gather(table, tokens[:, 1:]), self.compute_dtype)  # [B, n - 2 + T, E]
        taps.lookup(embedded, tokens[:, 1:], self.embedding.embeddings, tokens.shape[0])
        embedded = self._drop(0, embedded, draw, training)
        read, x = functools.partial(self._side_by_side, embedded), self._first_product(embedded)
        for layer, bias in enumerate(self.biases):
            if layer:
                read, x = x, tf.tensordot(x, cast(self.kernels[layer], x.dtype), 1)
            taps.product(x, read, self.kernels[layer], bias, tokens.shape[0])
            x = tf.nn.relu(x + tf.cast(bias, x.dtype))  # [B, T, H]
            x = self._drop(layer + 1, x, draw, training)
        x = self._projected(x)
        if self.direct_connections:
            x = tf.concat([x, self._side_by_side(embedded)], -1)
        return x, {"tokens": tokens[:, -self.context_tokens :]}

    def _first_product(self, embedded: tf.Tensor) -> tf.Tensor:
        """Return W x [B, T, H], where x is n - 1 neighbouring embeddings side by side, the oldest first.

        W x = sum_k W_k e_k is a convolution over time. It is faster than the product with x itself, which
        would first have to be put together (1.1 to 2.6 times, forward and backward, on a CPU).
        """
        matrix = cast(self.kernels[0], embedded.dtype)
        filters = tf.reshape(matrix, [self.context_tokens, embedded.shape[-1], -1])
        return tf.nn.conv1d(embedded, filters, stride=1, padding="VALID")

    def _side_by_side(self, embedded: tf.Tensor) -> tf.Tensor:
        """Return x [B, T, (n - 1) E]."""
        time = tf.shape(embedded)[1] - self.context_tokens + 1
        return tf.concat([embedded[:, k : k + time] for k in range(self.context_tokens)], -1)

    def _hidden_products(self, rows: int, length: int) -> dict[str, list[Product]]:
        return {
            f"hidden_{layer}": [Product(rows * length, *kernel.shape)]
            for layer, kernel in enumerate(self.kernels)
        }

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`.

        Each hidden layer keeps its sum and its output, and the layer at work adds the gradient of either.
        """
        size = 4 if self.compute_dtype == "float32" else 2
        values = (
            2 * self._settings["embedding_dim"] + (2 * len(self.kernels) + 2) * self._settings["hidden_units"]
        )
        return size * rows * length * values
