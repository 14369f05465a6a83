"""Shapes of all tensors of a graph, from those of its inputs, worked out as LiteRT does, without it.

Whole numbers that say where to cut or what shape to give are followed through the graph, so that a shape made of
another tensor's shape is known as well.
"""

import math

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.graph import Graph, Shape, Tensor
from tfharden.tflite.ops import Call, of

_MAX_VALUES = 64  # of a tensor that is followed through the graph
_MISFITS = (ValueError, IndexError, ZeroDivisionError)


def infer(graph: Graph, batch: int | None = None) -> dict[int, Shape]:
    """Shapes of the tensors of a graph by their numbers: at the file's own batch, or with `batch` images in each input.

    Raises:
        InputError: naming the operator whose inputs and options don't fit each other.
    """
    shapes = {tensor.index: tensor.shape for tensor in graph.tensors if tensor.stored is not None}
    for tensor in graph.inputs:
        shapes[tensor.index] = tensor.shape if batch is None else (batch, *tensor.shape[1:])
    values: dict[int, np.ndarray] = {}
    for operator in graph.operators:
        for tensor in operator.inputs:
            if tensor is not None:
                shapes.setdefault(tensor.index, tensor.shape)  # has no elements, and needs no maker
                _remember(values, tensor)
        call = Call(
            operator,
            [() if tensor is None else shapes[tensor.index] for tensor in operator.inputs],
            [None if tensor is None else values.get(tensor.index) for tensor in operator.inputs],
        )
        made = _made(call)
        shapes.update(zip((tensor.index for tensor in operator.outputs), made, strict=True))
        _follow(call, made, values)
    return shapes


def _made(call: Call) -> list[Shape]:
    """The shape of each output.

    Raises:
        InputError: inputs and options don't fit each other.
    """
    try:
        shapes = of(call.operator).shape(call)
    except InputError:
        raise
    except _MISFITS as error:
        raise _misfit(call) from error
    shapes = shapes if isinstance(shapes, list) else [shapes]
    if len(shapes) != len(call.operator.outputs) or any(size < 0 for shape in shapes for size in shape):
        raise _misfit(call)
    return shapes


def _misfit(call: Call) -> InputError:
    given = ", ".join(map(str, call.shapes))
    return InputError(f"{call.operator.label} can't work on shapes {given} with its options")


def _remember(values: dict[int, np.ndarray], tensor: Tensor) -> None:
    known = tensor.stored is not None or 0 in tensor.shape
    if known and tensor.element in ("INT32", "INT64") and not tensor.sparsity:
        values.setdefault(tensor.index, tensor.data)


def _follow(call: Call, made: list[Shape], values: dict[int, np.ndarray]) -> None:
    """Works out whole numbers that are made of shapes and of other known ones."""
    rule, target = of(call.operator).values, call.operator.outputs[0]
    if (
        rule is None
        or call.option("fused_activation_function")
        or target.element not in ("INT32", "INT64")
        or math.prod(made[0]) > _MAX_VALUES
    ):
        return
    if call.operator.opcode not in ("SHAPE", "RANK") and any(value is None for value in call.values):
        return
    try:
        value = np.asarray(rule(call)).astype(target.dtype).reshape(made[0])
    except _MISFITS as error:
        raise _misfit(call) from error
    values[target.index] = value
