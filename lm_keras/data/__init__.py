"""From text to batches.

Shape glossary, used throughout the package:

    B  rows of a batch        T  tokens in a row        V  tokens in the vocabulary
    D  width of the features  H  hidden units           E  width of the embedding

A batch is `(inputs, targets, weights)`: inputs is a dict with `tokens` [B, T] int32, `reset` [B] bool (rows
whose state must be zeroed before the first token) and `document` [B, T] int32 (rising numbers of the
documents that the tokens of a row belong to); targets [B, T] int32; weights [B, T] float32, 0 where there is
no target.
"""
