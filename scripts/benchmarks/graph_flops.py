"""The FLOPs of a step, counted in its graph."""

import math

import tensorflow as tf

from lm_keras.training.trainer import Trainer


def counted_flops(trainer: Trainer) -> dict[str, int]:
    """Trace the compiled step and count the FLOPs in its graph.

    Returns:
        `products`: those of matrix products and convolutions of one step, loops as often as they turn.
        `others`: the elements that additions, multiplications, roots and so on of one step make.
    """
    rates = {"learning_rate": tf.zeros([1]), "dropout": tf.zeros([1])}
    traced = trainer.compiled_step.__call__.get_concrete_function(
        trainer._distributed_batches(),
        trainer._workers.scattered(trainer._carried),
        trainer._recent,
        tf.constant(0, tf.int64),
        rates,
        tf.constant(1),
    )
    return count(traced.graph)


def count(graph) -> dict[str, int]:
    """Count the FLOPs of a graph and of the loops and functions in it."""
    found = {"products": 0, "others": 0}
    for operation in graph.get_operations():
        kind, times = operation.type, 1
        found["products"] += _products(operation)
        if kind in ELEMENTWISE or kind in REDUCING:
            elements = [*operation.inputs, *operation.outputs][0 if kind in REDUCING else -1].shape
            if elements.is_fully_defined():
                found["others"] += REDUCING.get(kind, 1) * math.prod(elements)
        if kind in UPDATES:
            operations, gradient = UPDATES[kind]
            found["others"] += operations * math.prod(operation.inputs[gradient].shape)
        inside = []
        if kind in ("While", "StatelessWhile"):
            inside, times = ["body"], _turns(graph, operation)
        elif kind in ("PartitionedCall", "StatefulPartitionedCall"):
            inside = ["f"]
        elif kind in ("If", "StatelessIf"):  # One branch leaves the step out and does nothing.
            inside = ["then_branch", "else_branch"]
        for function in inside:
            name = operation.get_attr(function).name
            for sort, flops in count(graph._get_function(name).graph).items():
                found[sort] += times * flops
    return found


def _products(operation) -> int:
    """Return the FLOPs of a matrix product or of a convolution without padding, forward or
    backward; else 0.
    """
    kind, inputs, outputs = operation.type, operation.inputs, operation.outputs
    if kind in ("MatMul", "BatchMatMulV2"):
        if outputs[0].shape[-1] == 1:
            return 0  # A matrix times a vector: the sum that is the gradient of a bias.
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        return 2 * inputs[0].shape[-2 if transposed else -1] * math.prod(outputs[0].shape)
    convolutions = {
        "Conv2D": lambda: (inputs[1], outputs[0]),
        "Conv2DBackpropInput": lambda: (inputs[1], inputs[2]),
        "Conv2DBackpropFilter": lambda: (outputs[0], inputs[2]),
    }
    if kind not in convolutions:
        return 0
    filters, result = convolutions[kind]()
    return 2 * math.prod(filters.shape[:-1]) * math.prod(result.shape)


ELEMENTWISE = {
    "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Square", "Sqrt", "Rsqrt", "Maximum", "Sign", "Pow", "Abs",
    "Neg",
    "Sigmoid", "Tanh", "AssignAddVariableOp", "AssignSubVariableOp",
}  # fmt: skip

UPDATES = {
    "ResourceApplyGradientDescent": (2, 2),
    "ResourceApplyKerasMomentum": (4, 3),
    "ResourceApplyAdam": (12, 9),
}
"""Operations for each element of the gradient, and which input that is."""

REDUCING = {"Sum": 1, "Mean": 1, "Max": 1, "L2Loss": 2}
"""Operations for each element that goes in."""


def _turns(graph, loop) -> int:
    """Return how often a loop turns; the loop over the steps of a call counts once."""
    condition = graph._get_function(loop.get_attr("cond").name).graph
    limits = [
        tf.get_static_value(less.inputs[1]) for less in condition.get_operations() if less.type == "Less"
    ]
    return next((int(limit) for limit in limits if limit is not None), 1)
