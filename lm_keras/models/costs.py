"""What a network costs: the matrix products of a forward pass, and the memory of a pass through blocks."""

from typing import NamedTuple

from lm_keras.layers.transformer import BlockSettings


class Product(NamedTuple):
    """So many products [m, k] x [k, n] of a forward pass with the same second matrix, one after the other or
    in one.

    Attributes:
        batch: how many of them, each with matrices of its own, are one operation.
    """

    m: int
    k: int
    n: int
    times: int = 1
    batch: int = 1

    @property
    def flops(self) -> int:
        """Return their FLOPs, 2 a multiply-add."""
        return 2 * self.m * self.k * self.n * self.times * self.batch

    def backward(self) -> list["Product"]:
        """Return the products of the gradients: each of the first matrix, and all of the second
        one in one.
        """
        first = Product(self.m, self.n, self.k, self.times, self.batch)
        return [first, Product(self.k, self.m * self.times, self.n, batch=self.batch)]


def block_products(block: BlockSettings, rows: int, length: int) -> list[Product]:
    """Return the products of a Transformer block over `rows` x `length` tokens, in their order."""
    kernels = [Product(rows * length, *shape) for shape in block.kernels().values()]
    heads = rows * block.num_heads
    scores = [
        Product(length, block.head_width, length, batch=heads),
        Product(length, length, block.head_width, batch=heads),
    ]
    return kernels[:1] + scores + kernels[1:]


def blocks_bytes(block: BlockSettings, layers: int, rows: int, length: int) -> int:
    """Return what a forward and backward pass through Transformer blocks holds at its peak, in bytes."""
    positions = rows * length
    wide = block.kernels()["feed_forward"][1]
    mixed, heads = block.kernels()["attention_output"][0], block.num_heads + block.num_kv_heads
    vectors = 7 * block.width + 2 * mixed + 2 * block.kernels()["query_key_value"][1] + 4 * wide
    vectors += 2 * heads * block.head_width if block.qk_norm else 0
    queries = min(length, block.attention_chunk or length)
    weights = rows * block.num_heads * queries * length
    inside = positions * vectors + weights * (1 if block.attention_chunk else 2)
    kept = layers * (positions * block.width if block.rematerialize else inside)
    return round(4 * (kept + inside))
