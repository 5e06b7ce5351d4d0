"""One file a family, and `language_model.py` for what they have in common.

The families are the rows of `lm_keras.registry.FAMILIES`. `FAMILIES` here maps the name of each, a value of
`--model`, to the function that builds it.

`build(config, vocab_size, num_outputs)`, with the tokens of the text and the `extra_tokens` of the task, and
the classes of the head or None for the vocabulary, returns a `keras.Model` for which training, evaluation,
sampling and the dry run need no more than this:

- `vocab_size`, and `model(tokens)` -> logits [B, T, V] for plain `compile`, `fit` and `summary`;
- `initial_state(batch_size, length)`, which has a cache for `length` tokens; without a length rows
  come whole, or the state has a fixed size; `forward(inputs, state, draw)` -> features [B, T, D] and state,
  which is reset in the rows [B] of `reset`, and `project(features)` -> logits; `output_weights()` ->
  matrix, bias and whether the matrix is transposed, which the training loss takes in place of logits;
- `reorder(state, rows)`: the state of some of its rows, as a beam search needs it; `has_encoder`, and with an
  encoder `encode(source, source_document)` -> memory, which `forward` takes as `memory` of its inputs, see
  `lm_keras.models.encoder_decoder`;
- optionally `forward_one_token(inputs, state)` and `append_to_cache(state, addition)`: `forward` for one
  token a row in two parts, of which XLA can compile the first; and `product_matrices`: the matrices that a
  token's products read;
- `head_weights`, those of the head, and `optional_weights`, those of the body that another network need not
  have, when weights are copied; `num_outputs` and `pooling`, the classes of the head or None, and how the
  features of a text come of those of its tokens or None. With classes the documents of a row are what each
  would be alone, and `places` of the inputs says where features are read off;
- `context_tokens`: how far a prediction looks back, None where that has no end; `context_length`: the most
  tokens that a state or a row can take, None where that has no end;
- `products(rows, length, predictions)` -> {part: [Product]}: the matrix products of a forward pass over
  `rows` x `length` tokens, at `predictions` of which it predicts, by part of the network (its layers' names,
  or any others), none for a part without; `flops(length, predictions)` -> {part: FLOPs} counts those of a
  row, 2 FLOPs a multiply-add;
- `activation_bytes(rows, length)`: what a forward and backward pass over `rows` x `length` tokens holds at
  its peak besides weights, gradients and logits.

`NUM_PARAMETERS` maps it to the function that counts the weights from settings, before anything is built:
`num_parameters(config, vocab_size, num_outputs)`.
"""

from lm_keras.surroundings import require_backend

require_backend()

from lm_keras import registry

_MODULES = {name: registry.module_of("models", family) for name, family in registry.FAMILIES.items()}
FAMILIES = {name: module.build for name, module in _MODULES.items()}
NUM_PARAMETERS = {name: module.num_parameters for name, module in _MODULES.items()}
