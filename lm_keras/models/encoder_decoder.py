"""What networks of an encoder and a decoder have in common: the encoder reads a source, the decoder predicts
the target token by token.

Shapes: B sentences, n rows of a sentence in the decoder (its hypotheses; 1 while it trains), S positions of a
source, T of a target, D width of the features, V tokens.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.models.language_model import LanguageModel

State = Any
"""What the decoder carries from token to token, see `initial_state` of a network."""


class EncoderDecoder(LanguageModel):
    """A network from a source and the tokens of its target so far to the next token.

    A network of this kind defines `encode` and `decode`; all else is as for any `LanguageModel`.
    """

    has_encoder = True

    def encode(
        self,
        source: tf.Tensor,
        source_document: tf.Tensor,
        draw: Draw | None = None,
        training: bool = False,
    ) -> dict[str, Any]:
        """Return the memory: what the decoder needs to know of some sources.

        Args:
            source: [B, S] integers.
            source_document: [B, S] int32, rising numbers of the documents that they belong to; of padding a
                larger one.
            draw: masks of the dropout layers; without it they are active only if `training`.
            training: see `draw`.

        Returns:
            Tensors, and lists of tensors, all with B rows. `reorder` takes some of them.
        """
        raise NotImplementedError

    def decode(
        self,
        inputs: Mapping[str, tf.Tensor],
        memory: Mapping[str, Any],
        state: State,
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Run the decoder up to the features.

        Args:
            inputs: `tokens` [B n, T] integers; optionally `document` [B, T] int32, rising numbers of the
                documents that they belong to, those of their sources, all 0 where it is missing.
            memory: as `encode` returns it. The n rows of a sentence stand one behind the other, and share its
                rows.
            state: as `initial_state` returns it.
            draw, training: as for `encode`.

        Returns:
            features [B n, T, D] in the compute dtype; and the state after the last token.
        """
        raise NotImplementedError

    def forward(
        self,
        inputs: Mapping[str, Any],
        state: State,
        draw: Draw | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, State]:
        """Run the network up to the features: the one forward pass of training, evaluation and generation.

        Args:
            inputs: as for `decode`, and `source` and `source_document` as for `encode`, or their `memory`.
            state: as `initial_state` returns it.
            draw, training: as for `encode`.

        Returns:
            features [B n, T, D] in the compute dtype; and the state after the last token.
        """
        memory = inputs.get("memory")
        if memory is None:
            memory = self.encode(inputs["source"], inputs["source_document"], draw, training)
        return self.decode(inputs, memory, state, draw, training)

    def attention_to_source(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return how much each token of a target attends to each position of its source, [B, T, S] float32.

        They are the weights of the last block of a Transformer, their mean over its heads, or those of an
        LSTM. Those of a token sum to 1.

        Args:
            inputs: as for `forward`, with a `source`.
        """
        weights: list[tf.Tensor] = []
        memory = self.encode(inputs["source"], inputs["source_document"])
        self.decode(inputs, {**memory, "weights": weights}, self.initial_state(tf.shape(inputs["tokens"])[0]))
        return weights[-1]

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Return logits [B, T, V] float32.

        Args:
            inputs: `source` [B, S], a source each, negative numbers behind it are padding; `tokens` [B, T],
                the begin token and the tokens of its target. Integers of any kind, or whole numbers in
                float32.
            training: whether the dropout layers are active.

        Raises:
            InputError: one of both is no matrix, too long, or came in half precision, which rounds tokens.
        """
        source, tokens = self._as_indices(inputs["source"]), self._as_indices(inputs["tokens"])
        read = {
            "source": tf.maximum(source, 0),
            "source_document": tf.where(source < 0, 1, 0),
            "tokens": tokens,
        }
        features, _ = self.forward(read, self.initial_state(tf.shape(tokens)[0]), training=training)
        return self.project(features)

    def compute_output_shape(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> tuple:
        """Return the shape of the logits for shapes of `source` and `tokens`."""
        return (*input_shape["tokens"], self.head.outputs)

    def compute_output_spec(
        self, inputs: Mapping[str, keras.KerasTensor], training: bool = False
    ) -> keras.KerasTensor:
        """Return shape and dtype of the logits: float32, whatever the products are in."""
        del training
        for name in ("source", "tokens"):
            self._check(inputs[name].shape, keras.backend.standardize_dtype(inputs[name].dtype))
        return keras.KerasTensor((*inputs["tokens"].shape, self.head.outputs), dtype="float32")

    def export(
        self,
        filepath: str | os.PathLike,
        format: str = "tf_saved_model",
        verbose: bool | None = None,
        input_signature: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Export the network, as `keras.Model.export` does; unless a signature says otherwise, for any rows
        of any length.
        """
        if input_signature is None:
            names = ("source", "tokens")
            specs = {name: keras.InputSpec(shape=(None, None), dtype="int32", name=name) for name in names}
            input_signature = [specs]
        return super().export(filepath, format, verbose, input_signature, **kwargs)

    def _queries(self, document: tf.Tensor | None, tokens: tf.Tensor, memory_rows: Any) -> tf.Tensor:
        """Return the documents [B, n T] of the tokens [B n, T], those of a sentence side by side."""
        document = tf.zeros_like(tokens, tf.int32) if document is None else document
        return tf.reshape(document, [memory_rows, -1])


def check_vocabulary(num_outputs: int | None) -> None:
    """Raise InputError for a head of classes, which such a network does not have."""
    if num_outputs is not None:
        raise InputError("a network of an encoder and a decoder predicts tokens and has no classes")
