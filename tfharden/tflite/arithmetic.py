"""Multiply-adds of a graph, counted from the shapes of its own operators."""

import math
from collections.abc import Callable

from tfharden.tflite.format.flatbuffer import Table


def multiply_adds(graph: Table) -> int:
    """Multiply-adds of a verified graph for one image: those of convolutions and matrix products.

    Products with padding count, as the usual formulas count them; so do those with weights that are zero. Additions of
    a bias, activations, pooling and all other operators don't.
    """
    total = 0
    for operator in graph.operators:
        if operator.opcode in _COUNTS:
            tensors = [graph.tensors[index] for index in operator.inputs if index >= 0]
            total += _COUNTS[operator.opcode](operator, tensors, graph.tensors[operator.outputs[0]])
    return total // max(graph.tensors[graph.inputs[0]].dims[0], 1)


# Of one operator: (operator, inputs, output) -> multiply-adds. The verifier knows the rank of the weights, but that of
# no other tensor.


def _convolution(_: Table, inputs: list[Table], output: Table) -> int:
    """Each output is a product over the window and the input channels: weights are [out, height, width, in]."""
    return math.prod(output.dims) * math.prod(inputs[1].dims[1:])


def _depthwise(_: Table, inputs: list[Table], output: Table) -> int:
    """Each output is a product over the window alone: weights are [1, height, width, out]."""
    return math.prod(output.dims) * math.prod(inputs[1].dims[1:3])


def _transposed(_: Table, inputs: list[Table], __: Table) -> int:
    """Each input is spread over the window and the output channels: [out, height, width, in]."""
    _, weights, data = inputs[:3]
    return math.prod(data.dims) * math.prod(weights.dims[:3])


def _dense(_: Table, inputs: list[Table], output: Table) -> int:
    """Weights are [out, in]."""
    return math.prod(output.dims) * inputs[1].dims[1]


def _matrices(operator: Table, inputs: list[Table], output: Table) -> int:
    """[..., n, k] by [..., k, m], where either may come transposed."""
    transposed = getattr(operator.builtin_options, "adj_x", False)
    shared = inputs[0].dims[-2:]
    return math.prod(output.dims) * (shared[0 if transposed else -1] if shared else 1)


_COUNTS: dict[str, Callable[[Table, list[Table], Table], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _dense,
    "BATCH_MATMUL": _matrices,
}
