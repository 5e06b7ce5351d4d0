"""Which tokens of its source a decoder looks at, for each token of the target that it has generated.

S tokens of a source, T tokens of a target.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lm_keras.corpora.documents import Pair
from lm_keras.data.words import encoded_text
from lm_keras.tasks.seq2seq import Seq2Seq
from lm_keras.text.tokenizer import Tokenizer

DIGITS = 3
"""Decimals of a weight that is written."""


def source_attention(
    model: keras.Model, task: Seq2Seq, tokenizer: Tokenizer, pair: Pair, output: str
) -> dict[str, Any]:
    """Return the attention of the last decoder layer, the mean over its heads; it can be written as JSON.

    Args:
        model: a network with `attention_to_source`.
        task: of the network.
        tokenizer: of the text.
        pair: its source is read.
        output: what was generated for it.

    Returns:
        The tokens of `source` [S] and `output` [T] as text, each with its end token, and `weights` [T, S].
    """
    source = task.fitting(task.source_ids(tokenizer, pair.source, pair.language))
    target = encoded_text(tokenizer, output)[: task.sequence_length - 1]
    rows = task.encoder_rows([source])
    inputs = {name: tf.constant(values) for name, values in rows.items()}
    inputs["tokens"] = tf.constant([[task.first_id, *target.tolist()]], tf.int32)
    inputs["document"] = tf.zeros_like(inputs["tokens"])
    weights = np.asarray(model.attention_to_source(inputs))[0]  # [T, S]
    read = int(np.count_nonzero(rows["source_document"][0] == 0))
    tokens = rows["source"][0, :read].tolist(), [*target.tolist(), task.end_id]
    names = [[tokenizer.label(token) for token in side] for side in tokens]
    return {"source": names[0], "output": names[1], "weights": weights[:, :read].round(DIGITS).tolist()}
