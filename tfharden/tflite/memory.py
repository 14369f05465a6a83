"""The memory that a graph needs on LiteRT, from its shapes alone, before native code asks for any of it."""

import math
from collections.abc import Callable

from tfharden.errors import InputError
from tfharden.tflite import shapes
from tfharden.tflite.format.flatbuffer import Table
from tfharden.tflite.shapes import Dims

MOST_BYTES = 2**30
_POINTER = 8


def check(graph: Table) -> None:
    """Verifies that tensors have the shapes that their makers make, and bounds the memory of a run at these.

    Raises:
        InputError: an operator makes another shape than the file claims, or a run needs more than 1 GiB.
    """
    dims = shapes.infer(graph)
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensors[index]
            if not _true(tensor, dims[index]):
                raise InputError(f"{operator.label} makes {dims[index]}, but {tensor.label} claims {tensor.dims}")
    _bound(graph, dims)


def _true(tensor: Table, made: Dims) -> bool:
    """Whether a claim holds; sizes that depend on the batch, -1 in the signature, are whatever the converter put."""
    signature = tensor.dims if tensor.shape_signature is None else tuple(tensor.shape_signature.tolist())
    free = signature if len(signature) == len(tensor.dims) else tensor.dims
    return len(made) == len(tensor.dims) and all(
        claim == size or known < 0 for claim, size, known in zip(tensor.dims, made, free, strict=True)
    )


def check_batch(graph: Table, batch: int) -> None:
    """Bounds the memory of a run on another batch than the file's own.

    Raises:
        InputError: the batch doesn't fit the operators, or needs more than 1 GiB.
    """
    _bound(graph, shapes.infer(graph, batch))


def _bound(graph: Table, dims: dict[int, Dims]) -> None:
    """Adds up what lives at one time: tensors from maker to last user, and what the operator at work keeps."""
    last = {index: place for place, operator in enumerate(graph.operators) for index in operator.inputs}
    last |= dict.fromkeys(graph.outputs, len(graph.operators))
    sizes = {index: _size(graph.tensors[index], shape) for index, shape in dims.items()}
    alive = sum(sizes[index] for index in graph.inputs)
    for place, operator in enumerate(graph.operators):
        alive += sum(sizes[index] for index in operator.outputs)
        needed = alive + scratch(operator, graph, dims)
        if needed > MOST_BYTES:
            raise InputError(f"{operator.label} needs {needed / 2**30:.1f} GiB of memory, more than 1 GiB")
        over = {index for index in (*operator.inputs, *operator.outputs) if last.get(index, place) == place}
        alive -= sum(sizes.get(index, 0) for index in over)


def scratch(operator: Table, graph: Table, dims: dict[int, Dims]) -> int:
    """Bytes that kernels take for themselves while they run an operator, at most.

    For each place of a window they keep what lies in the window, or pointers to it.
    """
    function = _SCRATCH.get(operator.opcode)
    if function is None:
        return 0
    bits = max(graph.tensors[index].element.bits for index in operator.outputs)
    return function(operator, [dims.get(index, ()) for index in operator.inputs], dims[operator.outputs[0]], bits // 8)


def _size(tensor: Table, dims: Dims) -> int:
    """Of a tensor that lives in memory of its own: a constant stays in the file."""
    return math.prod(dims) * max(tensor.element.bits, 8) // 8 if tensor.data is None else 0


def _gathered(_: Table, inputs: list[Dims], output: Dims, size: int) -> int:
    # Patches side by side (im2col), or pointers to their pixels.
    window, channels = math.prod(inputs[1][1:3]), inputs[0][-1]
    return math.prod(output[:3]) * window * max(channels * size, _POINTER)


def _spread(_: Table, inputs: list[Dims], output: Dims, __: int) -> int:
    # Products in 32 bits before they are summed up, or pointers to pixels.
    window = math.prod(inputs[1][1:3])
    return window * max(4 * math.prod(inputs[2][:3]) * output[-1], _POINTER * math.prod(output[:3]))


def _pooled(operator: Table, _: list[Dims], output: Dims, __: int) -> int:
    options = operator.builtin_options
    return math.prod(output[:3]) * options.filter_height * options.filter_width * _POINTER


def _between(_: Table, __: list[Dims], output: Dims, ___: int) -> int:
    # Pointers to the four neighbours, and as many weights.
    return math.prod(output[:3]) * 8 * _POINTER


_SCRATCH: dict[str, Callable[[Table, list[Dims], Dims, int], int]] = {
    **dict.fromkeys(["CONV_2D", "DEPTHWISE_CONV_2D"], _gathered),
    **dict.fromkeys(["AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"], _pooled),
    **dict.fromkeys(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"], _between),
    "TRANSPOSE_CONV": _spread,
}
