"""The GLM: a text with masks is read as a whole, and masked spans are generated token by token.

Its blocks are those of a GPT; what differs is what a token sees, and that it has two positions. A row is part
A, the text with masks, and part B, the tokens of the spans; `lm_keras.data.spans` shows one. Tokens of A see
all of A. Tokens of B see all of A and those before them in B. A token of B has the position of its span, and
its position within the span.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from lm_keras.config import Config
from lm_keras.draws import Draw
from lm_keras.layers.attention_mask import AttentionMask
from lm_keras.layers.transformer import BlockSettings
from lm_keras.models import gpt
from lm_keras.models.costs import Product, block_products
from lm_keras.models.gpt import INITIAL_DEVIATION, GPTLanguageModel
from lm_keras.models.positions import Arranged, positions_within

ONCE_EXTRA_TOKENS = 3
"""Tokens that an older file of a network does not count, though it has them."""


def build(config: Config, vocab_size: int, num_outputs: int | None = None) -> keras.Model:
    """Build the network of a run; its initial weights follow `keras.utils.set_random_seed`."""
    model = config.model
    return GLMLanguageModel(
        vocab_size,
        num_layers=model.num_layers,
        context_length=config.context_length,
        block=gpt.block_settings(model, config.running.rematerialize),
        tie_embeddings=model.tied,
        init_scale=model.init_scale,
        num_outputs=num_outputs,
        pooling=config.pooling,
        dtype=config.learning.precision,
        name="glm_language_model",  # Else Keras would number it, and the names in checkpoints would differ.
    )


def num_parameters(config: Config, vocab_size: int, num_outputs: int | None = None) -> int:
    """Return how many numbers the network of these settings learns."""
    second_positions = _second_positions(config.context_length) * config.model.embedding_dim
    return gpt.num_parameters(config, vocab_size, num_outputs) + second_positions


def _second_positions(context_length: int) -> int:
    return context_length + 2  # 0 for part A; a span has no more tokens than the text, and an end.


@keras.saving.register_keras_serializable(package="lm_keras", name="GLMLanguageModel")
class GLMLanguageModel(GPTLanguageModel):
    """Predict the masked spans of a text.

    `model(tokens)` returns logits [B, T, V] of part A and works with plain `compile`, `fit` and `summary`.

    Args:
        vocab_size: V, tokens of the text and those that mark masks and spans, the last ones.
        num_layers, block, tie_embeddings, init_scale: as for a GPT.
        context_length: C, the most tokens of a text, its masks included.

    Attributes:
        context_length: C.

    Reference: Du et al. (2022), section 2.2; the blocks are pre-norm, as theirs.
    """

    def __init__(
        self,
        vocab_size: int,
        num_layers: int,
        context_length: int,
        block: BlockSettings | dict,
        tie_embeddings: bool = True,
        init_scale: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            vocab_size, num_layers, context_length, block, tie_embeddings=tie_embeddings,
            init_scale=init_scale, **kwargs
        )  # fmt: skip
        normal = keras.initializers.RandomNormal(stddev=INITIAL_DEVIATION)
        shape = (_second_positions(context_length), self.block_settings.width)
        self.within = self._matrix(shape, "within", normal)

    @property
    def row_length(self) -> int:
        """Return the most tokens that go through the network at once: a whole text, masked and shown."""
        return 2 * self.context_length + 1

    def initial_state(self, batch_size: int | tf.Tensor, length: int | None = None) -> dict[str, Any]:
        """Return the state before a text; as that of a GPT, and `position` and `within` [B] of the latest
        token."""
        state = super().initial_state(batch_size, length)
        latest = {name: tf.zeros([batch_size], tf.int32) for name in ("position", "within")}
        return {**state, **latest} if state else {}

    def forward(
        self,
        inputs: Mapping[str, tf.Tensor],
        state: Mapping[str, Any],
        draw: Draw | None = None,
        training: bool = False,
        cache_apart: bool = False,
    ) -> tuple[tf.Tensor, dict[str, Any]]:
        """Run the network up to the features: the one forward pass of training, evaluation and filling.

        Args:
            inputs: without a state `tokens`, `position`, `within`, `order` [B, T] and `predicted` [B, K] as
                `Spans` makes them; of them only `tokens` is needed, for part A; optionally `document` as for
                a GPT: a token then sees those of its own document only. With a state `tokens` [B,
                T], all of part A where T is not known when traced, else the next token of a span; and
                optionally `reset` [B] bool, rows whose state is reset.
            state: as `initial_state` returns it; the next token belongs to the span at its `position`, behind
                `within` others.
            draw: masks of the dropout layers; without it they are active only if `training`.
            cache_apart: see `forward_one_token`.

        Returns:
            features [B, K or T, D] in the compute dtype; and the state after the last token.
        """
        return super().forward(inputs, state, draw, training, cache_apart)

    def _arranged(
        self, inputs: Mapping[str, tf.Tensor], state: Mapping[str, Any], time: int | tf.Tensor
    ) -> Arranged:
        if not state:
            order, documents = inputs.get("order"), inputs.get("document")
            positions, none = tf.range(time)[None], tf.zeros([1, time], tf.int32)
            if self.num_outputs is not None and documents is not None:
                attention_mask = AttentionMask(0, documents, documents, causal=False)
                return Arranged(positions_within(documents), attention_mask, {}, none)
            attention_mask = AttentionMask(0, documents, documents, causal=False, order=order)
            return Arranged(inputs.get("position", positions), attention_mask, {}, inputs.get("within", none))
        first, begins = state["length"], state["begins"]
        if "reset" in inputs:
            begins = tf.where(inputs["reset"], first, begins)
        end = first + time
        if inputs["tokens"].shape[1] == 1:
            positions, within = state["position"][:, None], state["within"][:, None] + 1
        else:
            positions = first + tf.range(time)[None] - begins[:, None]
            within = tf.zeros_like(positions)
        after = {"length": end, "begins": begins, "position": positions[:, -1], "within": within[:, -1]}
        return Arranged(
            positions, AttentionMask(first, row_begins=begins, causal=False, valid_keys=end), after, within
        )

    def _placed(self, x: tf.Tensor, arranged: Arranged) -> tf.Tensor:
        return super()._placed(x, arranged) + tf.gather(tf.convert_to_tensor(self.within), arranged.within)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        settings = super().get_config()
        for name in ("positions", "rotary_base", "rotary_scaling", "separate_documents"):
            del settings[name]
        return settings

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "GLMLanguageModel":
        """Build a network from what `get_config` returned; older files counted the tokens of the text
        alone."""
        if "long_spans" not in config:
            return super().from_config(config)
        named = {name: value for name, value in config.items() if name not in ("mask_rate", "long_spans")}
        return super().from_config({**named, "vocab_size": config["vocab_size"] + ONCE_EXTRA_TOKENS})

    def products(self, rows: int, length: int, predictions: int | None = None) -> dict[str, list[Product]]:
        """Return the matrix products of a forward pass, by part; arguments as those of `LanguageModel`."""
        positions = rows * (length if predictions is None else predictions)
        output = Product(positions, self.block_settings.width, self.head.outputs)
        parts = block_products(self.block_settings, rows, length)
        blocks = {layer.name: parts for layer in self.blocks}
        return {"embedding": [], "places": [], "within": [], **blocks, "norm": [], "output": [output]}
