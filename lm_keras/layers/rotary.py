"""Rotary positions: queries and keys are turned by their position.

Shapes: B rows, T positions, H heads, d width of a head.
"""

import tensorflow as tf

from lm_keras.rotary_scaling import RotaryScaling


def rotations(
    positions: tf.Tensor, width: int, base: float, scaling: RotaryScaling | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return cosines and sines [..., width / 2] of the angles by which queries and keys at some positions are
    turned.

    Args:
        positions: [...] int32.
        width: d, of a head; even.
        base: the angles are position * base^(-2 i / d) for i = 0 ... d / 2 - 1.
        scaling: of the angles, and of the cosines and sines.

    Reference: Su et al. (2021), equation 15.
    """
    frequencies = base ** (-2.0 * tf.range(width // 2, dtype=tf.float32) / width)
    if scaling is not None:
        frequencies *= tf.constant(scaling.multipliers(width, base), tf.float32)
    angles = tf.cast(positions, tf.float32)[..., None] * frequencies
    factor = 1.0 if scaling is None else scaling.attention_factor
    if factor == 1.0:
        return tf.cos(angles), tf.sin(angles)
    return factor * tf.cos(angles), factor * tf.sin(angles)


def rotated(heads: tf.Tensor, cosines: tf.Tensor, sines: tf.Tensor) -> tf.Tensor:
    """Turn each pair of numbers (i, i + d / 2) of a head by its angle; the pairs are those of LLaMA's
    weights.

    Args:
        heads: [B, H, T, d].
        cosines, sines: [1 or B, T, d / 2].

    Returns:
        [B, H, T, d], in the dtype of the heads; the turn itself is in float32.
    """
    dtype = heads.dtype
    first, second = tf.split(tf.cast(heads, tf.float32), 2, axis=-1)
    cosines, sines = cosines[:, None], sines[:, None]  # [B, 1, T, d / 2]
    turned = [first * cosines - second * sines, second * cosines + first * sines]
    return tf.cast(tf.concat(turned, -1), dtype)
