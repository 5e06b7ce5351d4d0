"""Print, as JSON, by how many MiB the peak of this process's memory rises: chunks at T 2,048, at T 4,096, and
all at once there.
"""

import json
import re
import sys
from pathlib import Path

import tensorflow as tf

from lm_keras.layers.attention import attention
from lm_keras.layers.attention_mask import AttentionMask

CHUNK, HEADS, WIDTH = 256, 3, 8


def peak() -> float:
    """The most memory that this process had so far, in MiB."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def rise(time: int, chunk: int | None) -> float:
    """By how much the peak rises with the gradient of one attention."""

    @tf.function(autograph=False)
    def gradients(queries, keys, values):
        with tf.GradientTape() as tape:
            tape.watch([queries, keys, values])
            total = tf.reduce_sum(attention(queries, keys, values, AttentionMask(), chunk) ** 2)
        return tape.gradient(total, [queries, keys, values])

    before = peak()
    gradients(*(tf.random.stateless_normal([1, HEADS, time, WIDTH], [time, n]) for n in range(3)))
    return round(peak() - before, 1)


if __name__ == "__main__":
    rise(512, CHUNK)  # What TensorFlow and XLA take when they are first used.
    print(json.dumps([rise(2048, CHUNK), rise(4096, CHUNK), rise(4096, None)]))
    sys.exit(0)
