"""One file a family; `FAMILIES` maps the name of `--model` to the function that builds it.

What a network is, beyond a `keras.Model` that maps tokens [B, T] to logits [B, T, V]:

    forward(inputs, state, draw, training) -> (features [B, T, D], state)
    project(features) -> logits               initial_state(batch_size, length) -> state
    vocab_size, context_tokens                None where the context has no end
    multiply_adds_per_token()                 by part of the network, for a look before the run
    activation_bytes_per_token()              kept by the forward pass, with the gradients
"""

from lm_keras.models import lstm, ngram

FAMILIES = {"ngram": ngram.build, "lstm": lstm.build}
