"""Memory that a graph needs on LiteRT, from its shapes alone, before native code asks for any of it."""

import math

from tfharden.errors import InputError
from tfharden.tflite import shapes
from tfharden.tflite.graph import Graph, Operator, Shape, Tensor
from tfharden.tflite.ops import Call, of

MAX_BYTES = 2**30


def check_memory(graph: Graph) -> None:
    """Verifies that tensors have the shapes that their makers make, and bounds the memory of a run at these.

    Raises:
        InputError: an operator makes another shape than the file claims, or a run needs more than 1 GiB.
    """
    made = shapes.infer(graph)
    for operator in graph.operators:
        for tensor in operator.outputs:
            shape = made[tensor.index]
            if not _is_claimed(tensor, shape):
                raise InputError(f"{operator.label} makes {shape}, but {tensor.label} claims {tensor.shape}")
    _check_total(graph, made)


def _is_claimed(tensor: Tensor, made: Shape) -> bool:
    """Whether a claim holds; converters claim 1 for sizes that depend on the batch, -1 in the signature.

    LiteRT goes by the claim until the first run where a shape comes about during it.
    """
    return len(made) == len(tensor.shape) and all(
        claim == size or (claim == 1 and known < 0)
        for claim, size, known in zip(tensor.shape, made, tensor.signature, strict=True)
    )


def check_batch(graph: Graph, batch: int) -> None:
    """Bounds the memory of a run on another batch than the file's own.

    Raises:
        InputError: the batch doesn't fit the operators, or needs more than 1 GiB.
    """
    _check_total(graph, shapes.infer(graph, batch))


def _check_total(graph: Graph, made: dict[int, Shape]) -> None:
    """Adds up what lives at one time: tensors from maker to last user, and what the operator at work keeps."""
    last = {t.index: place for place, operator in enumerate(graph.operators) for t in operator.inputs if t is not None}
    last |= dict.fromkeys((tensor.index for tensor in graph.outputs), len(graph.operators))
    sizes = {index: _size(graph.tensors[index], shape) for index, shape in made.items()}
    alive = sum(sizes[tensor.index] for tensor in graph.inputs)
    for place, operator in enumerate(graph.operators):
        alive += sum(sizes[tensor.index] for tensor in operator.outputs)
        needed = alive + scratch(operator, made)
        if needed > MAX_BYTES:
            raise InputError(f"{operator.label} needs {needed / 2**30:.1f} GiB of memory, more than 1 GiB")
        used = {tensor.index for tensor in (*operator.inputs, *operator.outputs) if tensor is not None}
        alive -= sum(sizes.get(index, 0) for index in used if last.get(index, place) == place)


def scratch(operator: Operator, made: dict[int, Shape]) -> int:
    """Bytes that kernels take for themselves while they run an operator, at most.

    For each place of a window they keep what lies in the window, or pointers to it.
    """
    rule = of(operator).scratch
    if rule is None:
        return 0
    element_bytes = max(tensor.bits for tensor in operator.outputs) // 8
    given = [() if tensor is None else made.get(tensor.index, ()) for tensor in operator.inputs]
    return rule(Call(operator, given, []), made[operator.outputs[0].index], element_bytes)


def _size(tensor: Tensor, shape: Shape) -> int:
    """Of a tensor that lives in memory of its own: a constant stays in the file."""
    return math.prod(shape) * max(tensor.bits, 8) // 8 if tensor.stored is None else 0
