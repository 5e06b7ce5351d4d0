"""The LSTM language model: embedding, recurrent layers with carried state, output matrix.

Read from top to bottom: tokens [B, T] -> embeddings [T, B, E] -> hidden states [T, B, H] -> features
[B, T, D] -> logits [B, T, V].
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config, ModelConfig
from lm_keras.draws import Draw
from lm_keras.layers import cudnn, taps
from lm_keras.layers.recurrence import activation_values
from lm_keras.layers.recurrent import LSTM
from lm_keras.models import lstm_seq2seq
from lm_keras.models.costs import Product
from lm_keras.models.language_model import LanguageModel
from lm_keras.models.lstm_in_groups import State, in_groups, traced_with_known_shape
from lm_keras.models.positions import goes_on, positions_within
from lm_keras.registry import JIT_OF_PARTS, WITH_MESSAGES, WITH_PAIRS


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    if config.task in WITH_PAIRS:
        return lstm_seq2seq.build(config, vocab_size, num_outputs)
    model = config.model
    return LSTMLanguageModel(
        vocab_size,
        embedding_dim=model.embedding_dim,
        hidden_units=model.units,
        num_layers=model.num_layers,
        dropout=model.dropout,
        weight_drop=model.weight_drop,
        tie_embeddings=model.tied,
        forget_bias=model.forget_bias,
        init_scale=model.init_scale,
        jit=config.running.jit,
        num_outputs=num_outputs,
        pooling=config.pooling,
        bidirectional=model.bidirectional,
        separate_documents=config.task in WITH_MESSAGES,
        dtype=config.learning.precision,
        name="lstm_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    if config.task in WITH_PAIRS:
        return lstm_seq2seq.num_parameters(config, vocab_size, num_outputs)
    model = config.model
    embedding, hidden, tied = model.embedding_dim, model.units, model.tied
    directions = 2 if model.bidirectional else 1
    width = directions * hidden
    inputs = embedding + (model.num_layers - 1) * width
    recurrent = directions * 4 * hidden * (model.num_layers * (hidden + 1) + inputs)
    projection = hidden * embedding if tied and hidden != embedding and num_outputs is None else 0
    output = vocab_size * (1 if tied else hidden + 1)
    if num_outputs is not None:
        output = num_outputs * (width + 1)
    return vocab_size * embedding + recurrent + projection + output


@keras.saving.register_keras_serializable(package="lm_keras", name="LSTMLanguageModel")
class LSTMLanguageModel(LanguageModel):
    """Predict the next token from all tokens before it.

    `model(tokens)` returns logits [B, T, V] and works with plain `compile`, `fit` and `summary`.

    Args:
        vocab_size: V.
        embedding_dim: E, width of the token embedding.
        hidden_units: H, width of every recurrent layer.
        num_layers: recurrent layers.
        dropout: rate at the input, between layers and at the output, with a fresh mask at each time step.
        weight_drop: share of each recurrent matrix that is dropped, see `lm_keras.layers.recurrent.LSTM`.
        forget_bias: see `lm_keras.layers.recurrent.LSTM`.
        jit: what XLA compiles: with `on` the whole network, so that cuDNN cannot run the recurrent layers on
            an NVIDIA GPU, as it does else; with `recurrence` or `parts`, on a CPU, the recurrence, see
            `lm_keras.layers.compiled_recurrence`, where rows of more than one token are traced with a known
            shape.
        bidirectional: with classes, a second layer of as many units beside each one reads from right to left;
            their outputs are concatenated.
        separate_documents: reset the state where a document begins, by `document` of the inputs, so that
            documents side by side in a row are what each would be alone; with classes it is so anyway.
        **kwargs: see `LanguageModel`; `init_scale` holds for the recurrent layers, too.

    Attributes:
        context_tokens: None: a prediction depends on all tokens before it.

    Reference: Zaremba, Sutskever and Vinyals (2014), sections 3 and 4.1.
    """

    context_tokens = None

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int = ModelConfig.embedding_dim,
        hidden_units: int = 256,
        num_layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = ModelConfig.forget_bias,
        weight_drop: float = 0.0,
        jit: str = "auto",
        bidirectional: bool = False,
        separate_documents: bool = False,
        **kwargs: Any,
    ):
        own = {
            "hidden_units": hidden_units,
            "num_layers": num_layers,
            "dropout": dropout,
            "forget_bias": forget_bias,
            "weight_drop": weight_drop,
            "jit": jit,
            **({"bidirectional": True} if bidirectional else {}),
            **({"separate_documents": True} if separate_documents else {}),
        }
        super().__init__(vocab_size, embedding_dim, own=own, **kwargs)
        if bidirectional and self.num_outputs is None:
            raise ValueError("a bidirectional network needs classes: it has seen the token that comes next")
        self.separate_documents = separate_documents or self.num_outputs is not None

        def layers(first: int, suffix: str = "") -> list[LSTM]:
            return [
                LSTM(
                    hidden_units,
                    forget_bias,
                    self.init_scale,
                    weight_drop,
                    first + number,
                    use_cudnn=jit != "on",
                    dtype=self.dtype_policy,
                    name=f"lstm_{number}{suffix}",
                )
                for number in range(num_layers)
            ]

        self.recurrent = layers(0)
        self.backward = layers(num_layers, "_backward") if bidirectional else []
        self._add_dropouts(dropout, num_layers + 1, batch_axis=1)
        features = (2 if bidirectional else 1) * hidden_units
        for direction in (self.recurrent, self.backward):
            for layer, width in zip(direction, [embedding_dim] + [features] * num_layers):
                layer.build((None, None, width))
        self._add_output(hidden_units, features=features)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Say who runs the recurrent layers, where there is a choice."""
        if not cudnn.available():
            return (f"{JIT_OF_PARTS[self._settings['jit']]} compiled by XLA",) if self._may_compile else ()
        if self.separate_documents:
            return ("no cuDNN, whose rows hold one text each",)
        return ("recurrence by cuDNN" if self._settings["jit"] != "on" else "no cuDNN, which XLA rules out",)

    @property
    def optional_weights(self) -> list[keras.Variable]:
        """Return the weights of the layers from right to left, which a language model does not have."""
        return [weight for layer in self.backward for weight in layer.trainable_weights]

    def initial_state(
        self, batch_size: int | tf.Tensor, length: int | None = None
    ) -> list[dict[str, tf.Tensor]]:
        """Return the state before a document: `{"h", "c"}` of zeros [B, H] for every layer; nothing for a
        network with classes, which reads rows as a whole.
        """
        del length  # An LSTM's state does not grow with the text.
        if self.num_outputs is not None:
            return []
        return [layer.initial_state(batch_size) for layer in self.recurrent]

    def forward(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: State,
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Run the network up to the features: the one forward pass of training, evaluation and sampling.

        Args:
            inputs: `tokens` [B, T] int32, and optionally `reset` [B] bool, rows whose state is reset, and
                `predicted` [B, K]; with `separate_documents` or classes optionally `document` [B, T] int32,
                each of which resets the state, too.
            state: as `initial_state` returns it.
            draw: masks of the dropout layers; without it they are active only if `training`.

        Returns:
            features [B, T or K, D], D = E if the embeddings are tied, 2 H if the network is bidirectional,
            else H; and the state after the last token.
        """
        tokens = inputs["tokens"]
        document = inputs.get("document") if self.separate_documents else None
        if self.num_outputs is None:
            hidden, after = self._states(tokens, self._fresh(inputs, state), document, draw, training)
            return self._read_off(hidden, inputs, draw, training), after
        rows = tokens.shape[0] or tf.shape(tokens)[0]
        state = [layer.initial_state(rows) for layer in self.recurrent]
        hidden, _ = self._states(tokens, state, document, draw, training)
        return self._read_off(hidden, inputs, draw, training), []

    def _fresh(self, inputs: Mapping[str, tf.Tensor], state: State) -> State:
        """Return the state, zeros in the rows of `reset`."""
        if "reset" not in inputs:
            return state
        fresh = inputs["reset"][:, None]
        return tf.nest.map_structure(lambda value: tf.where(fresh, 0.0, value), state)

    def _states(
        self,
        tokens: tf.Tensor,
        state: State,
        document: tf.Tensor | None,
        draw: Draw | None,
        training: bool,
    ) -> tuple[tf.Tensor, State]:
        """Return the features of all tokens, [B, T, D], and the state after the last one."""
        if self._may_compile and traced_with_known_shape(tokens):
            features, after = in_groups(self, tokens, state, document, draw, training)
            return self._projected(features), after
        table = tf.convert_to_tensor(self.embedding.embeddings)
        x = tf.cast(tf.gather(table, tf.transpose(tokens)), self.compute_dtype)  # [T, B, E]
        taps.lookup(x, tf.transpose(tokens), self.embedding.embeddings)
        keep = None if document is None else tf.transpose(goes_on(document))
        back = None if document is None else tf.transpose(goes_on(document[:, ::-1]))
        after = []
        for number, layer in enumerate(self.recurrent):
            x = self._drop(number, x, draw, training)
            y, new = layer(x, state[number], draw=draw, training=training, keep=keep)  # [T, B, H]
            after.append(new)
            if self.backward:
                z, _ = self.backward[number](x[::-1], state[number], draw=draw, training=training, keep=back)
                y = tf.concat([y, z[::-1]], -1)
            x = y
        x = self._drop(len(self.recurrent), x, draw, training)
        return tf.transpose(self._projected(x, time_major=True), [1, 0, 2]), after

    def _read_off(
        self, hidden: tf.Tensor, inputs: Mapping[str, tf.Tensor], draw: Draw | None, training: bool
    ) -> tf.Tensor:
        """Return features [B, K, D]; of a text read in both directions at its last token, each direction at
        the token that it reads last.
        """
        if not (self.backward and self.pooling == "last" and "predicted" in inputs):
            return super()._read_off(hidden, inputs, draw, training)
        last, document = inputs["predicted"], inputs["document"]
        first = last - tf.gather(positions_within(document), last, batch_dims=1)
        halves = zip(tf.split(hidden, 2, -1), (last, first))
        return tf.concat([tf.gather(half, places, batch_dims=1) for half, places in halves], -1)

    @property
    def _may_compile(self) -> bool:
        return self._settings["jit"] in JIT_OF_PARTS and not tf.config.list_physical_devices("GPU")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LSTMLanguageModel":
        """Build a network from what `get_config` returned; older files have two settings for `jit`."""
        named = dict(config)
        by_cudnn, compiled = named.pop("use_cudnn", True), named.pop("compile_recurrence", False)
        old = "recurrence" if compiled else "auto" if by_cudnn else "on"
        return super().from_config({"jit": old, **named})

    def _hidden_products(self, rows: int, length: int) -> dict[str, list[Product]]:
        return {
            layer.name: [
                Product(rows * length, *layer.kernel.shape),
                Product(rows, *layer.recurrent_kernel.shape, times=length),
            ]
            for layer in (*self.recurrent, *self.backward)
        }

    def activation_bytes(self, rows: int, length: int) -> int:
        """Return what a forward and backward pass holds at its peak, in bytes; see `lm_keras.models`."""
        embedded = self._settings["embedding_dim"]  # The input of the first layer, or its gradient.
        layers = len(self.recurrent) + len(self.backward)
        hidden = activation_values(length, layers) * self._settings["hidden_units"]
        return round(4 * rows * length * (embedded + hidden))  # In float32 whatever the products are in.
