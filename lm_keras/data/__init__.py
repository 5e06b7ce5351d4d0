"""From text to batches.

Shape glossary, used throughout the package:

    B  rows of a batch        T  tokens in a row        V  tokens in the vocabulary
    D  width of the features  H  hidden units           E  width of the embedding

A batch is a `Batch`; `lm_keras.data.batch` has the table of what its inputs may hold.
"""
