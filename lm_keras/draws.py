"""Random numbers that belong to (seed, step, row): of dropout, of noise and of masks."""

import dataclasses

import tensorflow as tf

_PHILOX = 1
"""The counter-based generator's number in TensorFlow's stateless random operations (Salmon et al., 2011)."""


def below(rate: tf.Tensor | float) -> tf.Tensor:
    """Return the uint32 number that a share `rate` (below 1) of all uint32 numbers lies below.

    The integers of a draw are compared as they are because float uniforms differ under XLA.
    """
    return tf.cast(tf.cast(rate, tf.float64) * 2.0**32, tf.uint32)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Everything that decides the random numbers of some rows at one step, of dropout and of noise.

    Attributes:
        seed: the run's seed.
        step: optimizer step, int64 scalar tensor.
        rate: share that is dropped or replaced at that step, float32 scalar tensor.
        first_row: number of the first row within the global batch, int64 scalar tensor.
    """

    seed: int
    step: tf.Tensor
    rate: tf.Tensor
    first_row: tf.Tensor

    def keep(self, layer: int | tf.Tensor, rows: tf.Tensor, size: int) -> tf.Tensor:
        """Return which values stay, [rows, size] bool."""
        return self.bits(layer, rows, size) >= below(self.rate)

    def bits(self, layer: int | tf.Tensor, rows: tf.Tensor, size: int) -> tf.Tensor:
        """Return random numbers [rows, size] uint32 that belong to (seed, step, layer, row).

        Philox turns a counter into four numbers, so row r starts at counter r * ceil(size / 4): a
        process that computes some of the rows gets the same bits as one that computes all. The layer is in
        the counter's high word: XLA reads 32 bits of a seed's word.
        """
        blocks = -(-size // 4)
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(self.step, tf.int64)])
        key = tf.raw_ops.StatelessRandomGetKeyCounter(seed=seed).key
        counter = tf.cast(self.first_row, tf.uint64) * tf.constant(blocks, tf.uint64)
        bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
            shape=tf.stack([rows, 4 * blocks]),
            key=key,
            counter=tf.stack([counter, tf.cast(layer, tf.uint64)]),
            alg=_PHILOX,
            dtype=tf.uint32,
        )
        return bits[:, :size]
