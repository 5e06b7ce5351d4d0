"""What a Transformer block looks like.

Shapes: D width, H heads, K heads of keys and values, d width of a head, F units of the feed-forward part.
"""

import dataclasses
import math

from lm_keras.layers.activations import WIDTHS
from lm_keras.layers.normalization import norm_weights


@dataclasses.dataclass(frozen=True)
class BlockSettings:
    """What a block looks like.

    Attributes:
        width: D.
        num_heads: H; it divides D, unless `head_dim` is given.
        num_kv_heads: K; it divides H.
        hidden_units: F.
        norm, norm_epsilon: see `normalized`.
        activation: `gelu` or `swiglu`.
        biases: whether products and LayerNorms have one.
        dropout: share of the attention's weights, and of what either part adds, that is dropped.
        attention_chunk: see `attention`.
        rematerialize: compute everything inside again for the gradient instead of keeping it.
        post_norm: norms follow what the parts add, as in the first Transformer, not before the parts.
        head_dim: d; None for D / H.
        qkv_biases: whether the product of queries, keys and values has a bias; None for `biases`.
        qk_norm: whether the queries and keys of each head go through an RMSNorm, as in Qwen3.
    """

    width: int
    num_heads: int
    num_kv_heads: int
    hidden_units: int
    norm: str = "layer"
    norm_epsilon: float = 1e-5
    activation: str = "gelu"
    biases: bool = True
    dropout: float = 0.0
    attention_chunk: int | None = None
    rematerialize: bool = False
    post_norm: bool = False
    head_dim: int | None = None
    qkv_biases: bool | None = None
    qk_norm: bool = False

    @property
    def head_width(self) -> int:
        """Return d."""
        return self.head_dim or self.width // self.num_heads

    def kernels(self) -> dict[str, tuple[int, int]]:
        """Return the shapes of the matrices by name, in the order in which they are used."""
        heads = self.num_heads + 2 * self.num_kv_heads
        return {
            "query_key_value": (self.width, heads * self.head_width),
            "attention_output": (self.num_heads * self.head_width, self.width),
            "feed_forward": (self.width, WIDTHS[self.activation] * self.hidden_units),
            "feed_forward_output": (self.hidden_units, self.width),
        }

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for norm, names in (
            ("attention_norm", ("query_key_value", "attention_output")),
            ("feed_forward_norm", ("feed_forward", "feed_forward_output")),
        ):
            for name, shape in norm_weights(self.norm, self.width, self.biases).items():
                shapes[f"{norm}_{name}"] = shape
            for name in names:
                shapes[f"{name}_kernel"] = self.kernels()[name]
                own = self.qkv_biases if name == "query_key_value" else None
                if self.biases if own is None else own:
                    shapes[f"{name}_bias"] = self.kernels()[name][1:]
        if self.qk_norm:
            shapes |= {"query_norm_gain": (self.head_width,), "key_norm_gain": (self.head_width,)}
        return shapes

    @property
    def parameters(self) -> int:
        """Return how many numbers a block learns."""
        return sum(map(math.prod, self.weights().values()))
