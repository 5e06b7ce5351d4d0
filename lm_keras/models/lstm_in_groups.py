"""The recurrent layers of an LSTM with their recurrence compiled by XLA, for one or two groups of rows."""

import dataclasses
from collections.abc import Mapping, Sequence

import tensorflow as tf

from lm_keras.draws import Draw
from lm_keras.layers import taps
from lm_keras.layers.compiled_recurrence import row_groups
from lm_keras.layers.recurrent import LSTM
from lm_keras.models.language_model import LanguageModel
from lm_keras.models.positions import goes_on

State = Sequence[Mapping[str, tf.Tensor]]
"""`{"h", "c"}` of each layer, [B, H] each."""


def traced_with_known_shape(tokens: tf.Tensor) -> bool:
    """Tell whether tokens [B, T] of more than one step are traced with a known shape, for which XLA compiles
    once.
    """
    return not tf.executing_eagerly() and tokens.shape.is_fully_defined() and tokens.shape[1] > 1


def in_groups(
    network: LanguageModel,
    tokens: tf.Tensor,
    state: State,
    document: tf.Tensor | None,
    draw: Draw | None,
    training: bool,
) -> tuple[tf.Tensor, State]:
    """Run all layers with their recurrence compiled, for one or two groups of rows.

    See `compiled_recurrence.row_groups`. Two directions are two groups already.

    Args:
        network: the LSTM.
        tokens: [B, T], of a known shape.
        state: of each layer.
        document: [B, T], the documents, each of which resets the state; None for one.
        draw, training: as `forward` takes them.

    Returns:
        hidden states [B, T, H], and the state after the last token.
    """
    rows = tokens.shape[0]
    groups = 1 if network.backward else row_groups(rows)
    layers = [*network.recurrent, *network.backward]
    matrices = [layer.recurrent_matrix(draw, training) for layer in layers]
    parts, states = [], []
    for k in range(groups):
        first, end = k * rows // groups, (k + 1) * rows // groups
        of_group = [{name: value[first:end] for name, value in layer.items()} for layer in state]
        own = dataclasses.replace(draw, first_row=draw.first_row + first) if draw is not None else None
        documents = None if document is None else document[first:end]
        part, after = _group(network, tokens[first:end], of_group, matrices, documents, own, training)
        parts.append(part)
        states.append(after)
    return tf.concat(parts, 0), tf.nest.map_structure(lambda *values: tf.concat(values, 0), *states)


def _group(
    network: LanguageModel,
    tokens: tf.Tensor,
    state: State,
    matrices: list[tf.Tensor],
    document: tf.Tensor | None,
    draw: Draw | None,
    training: bool,
) -> tuple[tf.Tensor, State]:
    """Run all layers over some rows: tokens [R, T] -> hidden states [R, T, H], and the state
    after them.
    """
    table = tf.convert_to_tensor(network.embedding.embeddings)
    keep = None if document is None else goes_on(document)
    back = None if document is None else goes_on(document[:, ::-1])
    x, after = tf.cast(tf.gather(table, tokens), network.compute_dtype), []  # [R, T, E]
    taps.lookup(x, tokens, network.embedding.embeddings, tokens.shape[0])
    for number, layer in enumerate(network.recurrent):
        x = _dropped(network, number, x, draw, training)
        y, new = layer.compiled(x, state[number], matrices[number], keep)
        after.append(new)
        if network.backward:
            matrix = matrices[len(network.recurrent) + number]
            z, _ = network.backward[number].compiled(x[:, ::-1], state[number], matrix, back)
            y = tf.concat([y, z[:, ::-1]], -1)
        x = y
    return _dropped(network, len(network.recurrent), x, draw, training), after


def _dropped(
    network: LanguageModel, index: int, x: tf.Tensor, draw: Draw | None, training: bool
) -> tf.Tensor:
    """Apply dropout to rows [R, T, D], which are time-major elsewhere."""
    mask = network.dropouts[index].mask(training, draw) if network.dropouts else None
    return x if mask is None else mask.apply(x, mask.keep(x.shape))


def layer_in_groups(
    layer: LSTM,
    x: tf.Tensor,
    state: Mapping[str, tf.Tensor],
    matrix: tf.Tensor,
    keep: tf.Tensor | None,
    groups: int,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Run a layer over x [B, T, D] with its recurrence compiled, for some groups of rows."""
    rows, found = x.shape[0], []
    for k in range(groups):
        part = slice(k * rows // groups, (k + 1) * rows // groups)
        own = {name: value[part] for name, value in state.items()}
        found.append(layer.compiled(x[part], own, matrix, None if keep is None else keep[part]))
    return tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *found)
