"""An LSTM layer's work by cuDNN, which keeps the recurrent matrix on the chip over all time steps
of a call.
"""

import tensorflow as tf

MATRICES = 4
"""Matrices of one kind: one for each gate. Input, forget, candidate, output in Keras's order and in cuDNN's.
"""


def available() -> bool:
    """Tell whether this process computes on an NVIDIA GPU."""
    return tf.test.is_built_with_cuda() and bool(tf.config.list_physical_devices("GPU"))


def lstm(
    x: tf.Tensor,
    kernel: tf.Tensor,
    recurrent: tf.Tensor,
    bias: tf.Tensor,
    h: tf.Tensor,
    c: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Run an LSTM layer over time; all arguments have the same dtype, and so has what is returned.

    Args:
        x: [T, B, D].
        kernel: [D, 4 H], as `keras.layers.LSTM` has it.
        recurrent: [H, 4 H].
        bias: [4 H].
        h, c: [B, H], the state before the first step.

    Returns:
        The hidden states [T, B, H], and h and c after the last step, [B, H] each.

    Reference: Chetlur et al. (2014); Appleyard, Kocisky and Blunsom (2016).
    """
    lengths = tf.fill(
        tf.shape(x)[1:2], tf.shape(x)[0]
    )  # All the same; cuDNN 9 refuses TensorFlow's calls without them.
    params = packed(kernel, recurrent, bias)
    outputs, h, c, _, _ = tf.raw_ops.CudnnRNNV3(
        input=x, input_h=h[None], input_c=c[None], params=params, sequence_lengths=lengths, rnn_mode="lstm"
    )
    return outputs, h[0], c[0]


def packed(kernel: tf.Tensor, recurrent: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return all weights of a layer in cuDNN's order, [4 H (D + H + 2)].

    That is the matrices of the inputs, each transposed, those of the state likewise, and two biases for each
    gate, of which the first is zero.
    """
    matrices = [*tf.split(kernel, MATRICES, axis=1), *tf.split(recurrent, MATRICES, axis=1)]
    flat = [tf.reshape(tf.transpose(matrix), [-1]) for matrix in matrices]
    return tf.concat([*flat, tf.zeros_like(bias), bias], axis=0)
