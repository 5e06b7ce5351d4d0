"""What the families have in common: token embedding and output matrix, and what is at either end of a
network.

tokens [B, T] -> (embedding) -> a family's own layers -> features [B, T, D] -> logits [B, T, V].
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.errors import InputError
from lm_keras.layers import taps
from lm_keras.layers.casting import cast
from lm_keras.layers.dropout import ScheduledDropout
from lm_keras.models.costs import Product
from lm_keras.models.heads import Classes, Head, Vocabulary
from lm_keras.models.pooling import alone, pooled
from lm_keras.models.saving import SavableModel, TokenEmbedding

DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
"""Number formats: weights, sums and the carried state are in float32 with all of them."""

Initializer = str | keras.initializers.Initializer
"""What draws a matrix, or its name in Keras."""


class LanguageModel(SavableModel):
    """A network from tokens to logits, but for what happens between embedding and features.

    A family calls `_add_dropouts` and adds its layers, then calls `_add_output`; it sets `context_tokens` and
    defines `initial_state`, `forward`, `_hidden_products` and `activation_bytes`, as `lm_keras.models` says.

    Args:
        vocab_size: V.
        embedding_dim: E, width of the token embedding.
        tie_embeddings: use the embedding as output matrix (Press and Wolf, 2017); where the hidden values
            have another width than E a projection to E comes before it.
        init_scale: draw all matrices from U(-s, s); None for U(-0.05, 0.05) and Glorot, as Keras does.
        own: the arguments that only the family has, by name; None for none.
        embedding_initializer: what draws the embedding where `init_scale` does not.
        num_outputs: classes of the head; None for the vocabulary. With classes the documents of a row, by
            `document` of the inputs, are what each would be alone.
        pooling: with classes, how the features of a text come of those of its tokens, see
            `lm_keras.models.pooling`; None where each token has classes of its own.

    Attributes:
        head: turns features into logits, see `lm_keras.models.heads`.
        remarks: what a user should know of how it is computed here.
        context_length: the most tokens that a row or a state can take; None: any number.
        has_encoder: whether it reads a source apart from the text that it predicts, see
            `lm_keras.models.encoder_decoder`.
        forward_one_token, product_matrices: see `lm_keras.models`; None where a network has no such thing.
    """

    forward_one_token: Callable | None = None
    product_matrices: list | None = None
    remarks: tuple[str, ...] = ()
    context_length: int | None = None
    has_encoder = False

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        tie_embeddings: bool = False,
        init_scale: float | None = None,
        own: dict[str, Any] | None = None,
        embedding_initializer: Initializer = "uniform",
        num_outputs: int | None = None,
        pooling: str | None = None,
        **kwargs: Any,
    ):
        # Products are cast where they happen; the weights themselves and the carried state stay as they are.
        super().__init__(autocast=False, **kwargs)
        if self.dtype_policy.name not in DTYPES:
            raise InputError(
                f"a network with dtype={self.dtype_policy.name}: expected {', '.join(DTYPES)}; where no dtype"
                " is given, keras.config.dtype_policy() decides"
            )
        self._settings = {
            "vocab_size": vocab_size,
            "embedding_dim": embedding_dim,
            "tie_embeddings": tie_embeddings,
            "init_scale": init_scale,
            **(own or {}),
            **({} if num_outputs is None else {"num_outputs": num_outputs, "pooling": pooling}),
        }
        self.vocab_size, self.num_outputs, self.pooling = vocab_size, num_outputs, pooling
        self.class_dropout: ScheduledDropout | None = None
        self.tie_embeddings = tie_embeddings
        self.init_scale = init_scale
        self.embedding = TokenEmbedding(
            vocab_size,
            embedding_dim,
            embeddings_initializer=self._initializer(embedding_initializer),
            dtype=self.dtype_policy,
            name="embedding",
        )
        self.embedding.build((None, None))

    def _initializer(self, usual: Initializer) -> Initializer:
        # One for each matrix: Keras's initializers give the same numbers whenever they are called.
        scale = self.init_scale
        return keras.initializers.RandomUniform(-scale, scale) if scale else usual

    def _matrix(
        self, shape: tuple[int, int], name: str, usual: Initializer = "glorot_uniform"
    ) -> keras.Variable:
        initializer = self._initializer(usual)
        return self.add_weight(shape=shape, initializer=initializer, autocast=False, name=name)

    def _bias(self, width: int, name: str) -> keras.Variable:
        return self.add_weight(shape=(width,), initializer="zeros", autocast=False, name=name)

    def _add_dropouts(self, rate: float, count: int, batch_axis: int = 0) -> None:
        """Add dropout layers; none at a rate of 0."""
        self.dropouts = [
            ScheduledDropout(
                rate, index=index, batch_axis=batch_axis, dtype=self.dtype_policy, name=f"dropout_{index}"
            )
            for index in range(count if rate else 0)
        ]

    def _drop(self, index: int, x: tf.Tensor, draw: Draw | None, training: bool) -> tf.Tensor:
        return self.dropouts[index](x, training=training, draw=draw) if self.dropouts else x

    def _add_class_dropout(self, rate: float, index: int) -> None:
        """Add a place for dropout before classes; none at a rate of 0."""
        if rate and self.num_outputs is not None:
            self.class_dropout = ScheduledDropout(
                rate, index=index, dtype=self.dtype_policy, name="class_dropout"
            )

    def _read_off(
        self, hidden: tf.Tensor, inputs: Mapping[str, tf.Tensor], draw: Draw | None, training: bool
    ) -> tf.Tensor:
        """Return features [B, K, D] at the positions `predicted` of the inputs; without, of all tokens."""
        if "predicted" in inputs:
            hidden = pooled(self.pooling, hidden, inputs["predicted"], inputs.get("document"))
        if self.class_dropout is not None:
            hidden = self.class_dropout(hidden, training=training, draw=draw)
        return hidden

    def _add_output(
        self,
        hidden_units: int,
        features: int,
        bias: bool = True,
        initializer: Initializer = "glorot_uniform",
    ) -> None:
        """Add the head, for features of that width: of the vocabulary, or of classes where their number is
        given.
        """
        self.projection = self.output_kernel = self.output_bias = None
        if self.num_outputs is not None:
            kernel = self._matrix((features, self.num_outputs), "class_kernel", initializer)
            self.head: Head = Classes(kernel, self._bias(self.num_outputs, "class_bias"))
        else:
            self.head = self._vocabulary(hidden_units, features, bias, initializer)
        self.built = True

    def _vocabulary(
        self, hidden_units: int, features: int, bias: bool, initializer: Initializer
    ) -> Vocabulary:
        """Add the output matrix, or what makes an output of the embedding; and the bias."""
        embedding_dim = self.embedding.output_dim
        if self.tie_embeddings and hidden_units != embedding_dim:
            self.projection = self._matrix((hidden_units, embedding_dim), "projection")
        if not self.tie_embeddings:
            self.output_kernel = self._matrix((features, self.vocab_size), "output_kernel", initializer)
        self.output_bias = self._bias(self.vocab_size, "output_bias") if bias else None
        return Vocabulary(self.embedding, self.output_kernel, self.output_bias)

    def _projected(self, x: tf.Tensor, time_major: bool = False) -> tf.Tensor:
        """Turn hidden values [..., H] into features [..., D]; a projection is there for tied embeddings
        only.
        """
        if self.projection is None:
            return x
        features = tf.tensordot(x, cast(self.projection, x.dtype), 1)
        taps.product(features, x, self.projection, rows=0 if time_major else x.shape[0])
        return features

    @property
    def head_weights(self) -> list[keras.Variable]:
        """Return the weights that belong to the head, and not to the body that another task can use."""
        return [v for v in (self.projection, *self.head.weights) if v is not None]

    @property
    def optional_weights(self) -> list[keras.Variable]:
        """Return weights of the body that may be new where the rest is copied from another network."""
        return []

    def output_weights(self) -> tuple[tf.Tensor, tf.Tensor | None, bool]:
        """Return `(matrix, bias, transposed)`: [D, O], or [O, D] if transposed, and [O] or None, float32."""
        return self.head.output_weights()

    def project(self, features: tf.Tensor) -> tf.Tensor:
        """Turn features [..., D] into logits [..., O] in float32; O is V but for classes."""
        return self.head.project(features)

    def reorder(self, state: Any, rows: tf.Tensor) -> Any:
        """Return a state, or any other tensors by row, of some of its rows.

        Args:
            state: as `initial_state` or `forward` returns it; numbers of no row stay.
            rows: [rows] int32, those that are taken; a row may come several times.
        """
        return tf.nest.map_structure(
            lambda value: tf.gather(value, rows) if value.shape.rank else value, state
        )

    def products(self, rows: int, length: int, predictions: int | None = None) -> dict[str, list[Product]]:
        """Return the matrix products of a forward pass, by part of the network.

        Args:
            rows: rows of a batch.
            length: positions of a row that the network reads.
            predictions: positions of a row at which it predicts; None for all.
        """
        positions = rows * (length if predictions is None else predictions)
        parts = {"embedding": [], **self._hidden_products(rows, length)}  # A look-up.
        if self.projection is not None:
            parts["projection"] = [Product(positions, *self.projection.shape)]
        matrix = self.head.matrix
        width, outputs = reversed(matrix.shape) if self.head.transposed else matrix.shape
        return {**parts, "output": [Product(positions, width, outputs)]}

    def flops(self, length: int, predictions: int | None = None) -> dict[str, int]:
        """Return the FLOPs of a row's forward pass by part; arguments as those of `products`."""
        return {
            part: sum(product.flops for product in products)
            for part, products in self.products(1, length, predictions).items()
        }

    def get_config(self) -> dict[str, Any]:
        frozen = [layer.name for layer in self.layers if not layer.trainable] if self.trainable else []
        return {**super().get_config(), **self._settings, **({"frozen": frozen} if frozen else {})}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LanguageModel":
        """Build a network from what `get_config` returned; layers that were frozen are so again."""
        frozen = set(config.get("frozen", ()))
        model = cls(**{name: value for name, value in config.items() if name != "frozen"})
        for layer in model.layers:
            if layer.name in frozen:
                layer.trainable = False
        return model

    def call(self, tokens: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return logits [B, T, V] float32 for tokens [B, T], each row a document's beginning.

        With classes each row is a text; the logits are [B, C] with a pooling, else [B, T, C].

        Args:
            tokens: integers of any kind, or whole numbers in float32, as an untyped `keras.Input` has them.
                With classes negative ones behind a text are padding.
            training: whether the dropout layers are active.

        Raises:
            InputError: the tokens are not a matrix, too many, or came in half precision, which rounds them.
        """
        tokens, inputs = self._as_indices(tokens), {}
        if self.num_outputs is not None:
            tokens, inputs = alone(tokens, self.pooling)
        state = self.initial_state(tf.shape(tokens)[0])
        features, _ = self.forward({"tokens": tokens, **inputs}, state, training=training)
        logits = self.project(features)
        return logits if self.pooling is None else tf.squeeze(logits, 1)

    def _as_indices(self, tokens: Any) -> tf.Tensor:
        """Return tokens as `tf.gather` takes them."""
        if isinstance(tokens, (tf.RaggedTensor, tf.SparseTensor)):
            raise InputError(
                f"tokens came as {type(tokens).__name__}: expected a matrix [rows, tokens]; pad shorter rows,"
                " and give their padding the sample weight 0"
            )
        tokens = tf.convert_to_tensor(tokens)
        self._check(tokens.shape, tokens.dtype.name)
        return tokens if tokens.dtype in (tf.int32, tf.int64) else tf.cast(tokens, tf.int32)

    def _check(self, shape: Sequence[int | None], dtype: str) -> None:
        """Raise InputError unless tokens of that shape and kind can be read."""
        if len(shape) != 2:
            raise InputError(f"tokens came with the shape {tuple(shape)}: expected [rows, tokens]")
        longest = self.context_length
        if longest is not None and shape[1] is not None and shape[1] > longest:
            raise InputError(
                f"a row has {shape[1]} tokens, and this network was built for context_length={longest}"
            )
        if dtype in ("bfloat16", "float16"):
            raise InputError(
                f"tokens came as {dtype}, which rounds large ones; put keras.Input([None], dtype='int32')"
                " before the network"
            )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the logits for tokens of a shape."""
        return (*(input_shape if self.pooling is None else input_shape[:1]), self.head.outputs)

    def compute_output_spec(self, tokens: keras.KerasTensor, training: bool = False) -> keras.KerasTensor:
        """Return shape and dtype of the logits: float32, whatever the products are in."""
        del training
        self._check(tokens.shape, keras.backend.standardize_dtype(tokens.dtype))
        return keras.KerasTensor(self.compute_output_shape(tokens.shape), dtype="float32")
