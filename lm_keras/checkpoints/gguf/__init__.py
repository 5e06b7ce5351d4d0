"""Models as GGUF, the format of llama.cpp: one file with settings, tokenizer and weights.

A file is translated into what a Hugging Face folder of the same model holds, and back, so that
`lm_keras.checkpoints.foreign` says what a network may be. The package `gguf` reads and writes the format; it
is imported when it is needed.
"""
