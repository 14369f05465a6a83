"""The shapes of all tensors of a graph, from those of its inputs.

Whole numbers that say where to cut or what shape to give are followed through the graph, so that a shape made of
another tensor's shape is known as well.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfharden.tflite.format.flatbuffer import Table
from tfharden.tflite.shapes import rules
from tfharden.tflite.shapes.call import Call, Dims

_MOST_VALUES = 64  # of a tensor that is followed through the graph


def infer(graph: Table, batch: int | None = None) -> dict[int, Dims]:
    """Shapes of the tensors of a graph by their numbers: at the file's own batch, or with `batch` images in each input.

    Raises:
        InputError: naming the operator whose inputs and options don't fit each other.
    """
    dims = {index: tensor.dims for index, tensor in enumerate(graph.tensors) if tensor.data is not None}
    for index in graph.inputs:
        own = graph.tensors[index].dims
        dims[index] = own if batch is None else (batch, *own[1:])
    values: dict[int, np.ndarray] = {}
    for operator in graph.operators:
        given = [None if index < 0 else graph.tensors[index] for index in operator.inputs]
        for index, tensor in zip(operator.inputs, given, strict=True):
            if tensor is not None:
                dims.setdefault(index, tensor.dims)  # has no elements, and needs no maker
                _remember(values, index, tensor)
        call = Call(
            operator,
            [dims.get(index, ()) for index in operator.inputs],
            [values.get(index) for index in operator.inputs],
        )
        made = rules.made(call)
        dims.update(zip(operator.outputs, made, strict=True))
        _follow(call, graph, made, values)
    return dims


def _remember(values: dict[int, np.ndarray], index: int, tensor: Table) -> None:
    known = tensor.data is not None or 0 in tensor.dims
    if known and tensor.element.name in ("INT32", "INT64") and not tensor.sparsity:
        values.setdefault(index, np.frombuffer(tensor.data or b"", tensor.element.numpy).reshape(tensor.dims))


def _follow(call: Call, graph: Table, made: list[Dims], values: dict[int, np.ndarray]) -> None:
    """Works out whole numbers that are made of shapes and of other known ones."""
    function = _VALUES.get(call.operator.opcode)
    target = graph.tensors[call.operator.outputs[0]]
    if (
        function is None
        or call.option("fused_activation_function")
        or target.element.name not in ("INT32", "INT64")
        or math.prod(made[0]) > _MOST_VALUES
    ):
        return
    if call.operator.opcode not in ("SHAPE", "RANK") and any(value is None for value in call.values):
        return
    try:
        value = np.asarray(function(call)).astype(target.element.numpy).reshape(made[0])
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise rules.unfit(call) from error
    values[call.operator.outputs[0]] = value


# What operators make of whole numbers that are known.
_VALUES: dict[str, Callable[[Call], Any]] = {
    "SHAPE": lambda call: call.dims[0],
    "RANK": lambda call: len(call.dims[0]),
    **dict.fromkeys(["CAST", "RESHAPE", "SQUEEZE", "EXPAND_DIMS"], lambda call: call.values[0]),
    "SLICE": lambda call: call.values[0][call.whole(1)[0] :][: call.whole(2)[0]],
    "STRIDED_SLICE": lambda call: call.values[0][rules.box(call)],
    "GATHER": lambda call: np.take(call.values[0], call.values[1], axis=call.option("axis")),
    "PACK": lambda call: np.stack(call.values, axis=call.option("axis")),
    "CONCATENATION": lambda call: np.concatenate(call.values, axis=call.option("axis")),
    "ADD": lambda call: np.add(*call.values),
    "SUB": lambda call: np.subtract(*call.values),
    "MUL": lambda call: np.multiply(*call.values),
    "FLOOR_DIV": lambda call: np.floor_divide(*call.values),
    "MAXIMUM": lambda call: np.maximum(*call.values),
    "MINIMUM": lambda call: np.minimum(*call.values),
    "REDUCE_PROD": lambda call: np.prod(call.values[0], axis=tuple(call.whole(1))),
}
