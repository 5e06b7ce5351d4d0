"""From text to batches.

Shape glossary, used throughout the package:

    B  rows of a batch        T  tokens in a row        V  tokens in the vocabulary
    D  width of the features  H  hidden units           E  width of the embedding

A batch is `(inputs, targets, weights)`: inputs is a dict with `tokens` [B, T] int32 and, for streams, `reset` [B]
bool (rows whose state must be zeroed before the first token); targets [B, T] int32; weights [B, T] float32, 0
where there is no target.
"""
