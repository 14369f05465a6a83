"""Checks of a .tflite from a stranger before it meets native code, which believes whatever a file says.

They take time linear in the size of the file. Shapes are those that operators make, at the file's own batch what the
file claims, and none comes about during a run only: so `memory` can tell what a run needs.
"""

import math

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite import memory
from tfharden.tflite.format import flatbuffer, safety_rules, schema, sparsity
from tfharden.tflite.format.flatbuffer import Table
from tfharden.tflite.operators import SIGNATURES

MAX_TENSOR_BYTES = 2**31
_FIRST_OUTSIDE = 2  # buffer offsets 0 and 1 mean that the data lie in the flatbuffer


def check(content: bytes) -> None:
    """Verifies the bytes of a .tflite: its flatbuffer, its indices and sizes, and its operators.

    Raises:
        InputError: one line that says what is wrong or what isn't supported.
    """
    parse(content)


def parse(content: bytes) -> Table:
    """The verified tree of a .tflite, as `flatbuffer.read` returns it, with these additions.

    Each tensor has `dims` (tuple of int), `element` (`schema.Element`), `data` (bytes of a constant, None for any
    other tensor) and `label` (its name, fit for a message); each operator has `opcode` (LiteRT's name), `label`
    and `roles` (one letter for each input and output, see `operators`). Inputs and outputs are lists of int, and
    vectors of tables are empty instead of None.

    Raises:
        InputError: as `check`.
    """
    model = flatbuffer.read(content)
    if model.version != schema.VERSION:
        raise InputError(f"TFLite schema version {model.version} isn't supported, only {schema.VERSION}")
    if model.external_buffers or model.external_buffer_groups:
        raise InputError("weights outside the file aren't supported")
    for name in ("operator_codes", "subgraphs", "buffers", "metadata", "signature_defs"):
        setattr(model, name, getattr(model, name) or [])
    if not model.subgraphs:
        raise InputError("the file holds no graph")
    buffers = [buffer_data(buffer, content) for buffer in model.buffers]
    opcodes = [_opcode(code) for code in model.operator_codes]
    for graph in model.subgraphs:
        _check_graph(graph, buffers, opcodes)
    _check_metadata(model)
    _check_signatures(model)
    return model


def buffer_data(buffer: Table, content: bytes) -> memoryview | None:
    """What a buffer holds, inside the flatbuffer or behind it; None for the empty one of a tensor that isn't constant.

    Raises:
        InputError: it leads out of the file.
    """
    if buffer.data is not None:
        return memoryview(buffer.data)
    if buffer.offset < _FIRST_OUTSIDE:
        return None
    if buffer.offset + buffer.size > len(content):
        raise InputError("damaged TFLite file: a buffer leads out of the file")
    return memoryview(content)[buffer.offset : buffer.offset + buffer.size]


def _opcode(code: Table) -> str:
    # Numbers above 127 didn't fit the first field, so the schema gained a second one; the larger counts.
    number = max(code.builtin_code, code.deprecated_builtin_code)
    name = schema.operator_names().get(number)
    if name is None:
        raise InputError(f"unknown operator number {number}: a damaged file, or one newer than LiteRT")
    if name == "CUSTOM":
        raise InputError(f"custom operators aren't supported, and the file uses {_quoted(code.custom_code)}")
    if name not in SIGNATURES:
        raise InputError(f"operator {name} isn't supported in an image classifier")
    return name


def _check_graph(graph: Table, buffers: list[memoryview | None], opcodes: list[str]) -> None:
    graph.tensors = graph.tensors or []
    graph.operators = graph.operators or []
    graph.inputs = _indices(graph.inputs)
    graph.outputs = _indices(graph.outputs)
    if not graph.inputs or not graph.outputs:
        raise InputError("a graph needs inputs and outputs")
    for number, tensor in enumerate(graph.tensors):
        tensor.label = f"tensor {number} {_quoted(tensor.name)}"
        _check_tensor(tensor, buffers)
    _check_order(graph, opcodes)
    for operator in graph.operators:
        safety_rules.check(operator, graph.tensors)
    memory.check(graph)


def _check_tensor(tensor: Table, buffers: list[memoryview | None]) -> None:
    where = tensor.label
    tensor.element = schema.ELEMENTS.get(tensor.type)
    if tensor.element is None:
        raise InputError(f"{where} has element type {tensor.type}, which an image classifier doesn't use")
    tensor.dims = tuple(_indices(tensor.shape))
    if len(tensor.dims) > safety_rules.MAX_RANK or min(tensor.dims, default=0) < 0:
        raise InputError(f"{where} has an impossible shape {_shortened(tensor.dims)}")
    # An empty dimension mustn't hide absurd ones.
    if math.prod(max(size, 1) for size in tensor.dims) * tensor.element.bits // 8 > MAX_TENSOR_BYTES:
        raise InputError(f"{where} has an absurd shape {tensor.dims}, more than 2 GiB")
    signature = _indices(tensor.shape_signature)
    if signature and (len(signature) != len(tensor.dims) or min(signature) < -1):
        raise InputError(f"{where} has a shape signature that doesn't fit its shape")
    if tensor.is_variable or tensor.variant_tensors or tensor.external_buffer:
        raise InputError(f"{where} keeps state or lies outside the file, which isn't supported")
    if tensor.buffer >= max(len(buffers), 1):
        raise InputError(f"damaged TFLite file: {where} names buffer {tensor.buffer} of {len(buffers)}")
    tensor.data = buffers[tensor.buffer] if tensor.buffer else None
    _check_constant(tensor)
    _check_quantization(tensor)


def _check_constant(tensor: Table) -> None:
    if tensor.data is None:
        if tensor.sparsity:
            raise InputError(f"{tensor.label} is sparse but not a constant")
        return
    if tensor.sparsity:
        elements = sparsity.stored_elements(tensor.sparsity, tensor.dims, tensor.label)
    else:
        elements = math.prod(tensor.dims)
    required = -(-elements * tensor.element.bits // 8)
    if len(tensor.data) != required:
        raise InputError(f"damaged TFLite file: {tensor.label} needs {required} bytes and has {len(tensor.data)}")


def _check_quantization(tensor: Table) -> None:
    quantization = tensor.quantization
    if quantization is None:
        return
    where = f"the quantisation of {tensor.label}"
    if quantization.details_type > 1:
        raise InputError(f"{where} is blockwise or of an unknown kind, which isn't supported")
    scale, zero_point = quantization.scale, quantization.zero_point
    if scale is None or not len(scale):
        return
    if zero_point is None or len(zero_point) != len(scale):
        raise InputError(f"{where} has {len(scale)} scales but not as many zero points")
    dimension = quantization.quantized_dimension
    if dimension < 0 or dimension >= max(len(tensor.dims), 1):
        raise InputError(f"{where} names dimension {dimension} of {len(tensor.dims)}")
    if len(scale) > 1 and (not tensor.dims or len(scale) != tensor.dims[dimension]):
        raise InputError(f"{where} has {len(scale)} scales for shape {tensor.dims}")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{where} has a scale that isn't finite and positive")
    low, high = _integer_range(tensor.element)
    if (zero_point < low).any() or (zero_point > high).any():
        raise InputError(f"{where} has a zero point outside {low}..{high}")


def _integer_range(element: schema.Element) -> tuple[int, int]:
    bits = min(element.bits, 32)
    if element.name.startswith("UINT"):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _check_order(graph: Table, opcodes: list[str]) -> None:
    """Every tensor is made before it is used, and by one operator only, so that there are no cycles."""
    count = len(graph.tensors)
    if not all(0 <= index < count for index in graph.inputs + graph.outputs):
        raise InputError("damaged TFLite file: an input or output of the graph names a tensor that isn't there")
    constants = {index for index, tensor in enumerate(graph.tensors) if tensor.data is not None}
    if not constants.isdisjoint(graph.inputs) or len(set(graph.inputs)) != len(graph.inputs):
        raise InputError("the graph has an input that is a constant or comes twice")
    # A tensor without elements needs no data: the shape of a scalar, for one.
    empty = {index for index, tensor in enumerate(graph.tensors) if 0 in tensor.dims}
    ready = constants | empty | set(graph.inputs)
    made = constants | set(graph.inputs)
    for number, operator in enumerate(graph.operators):
        if operator.opcode_index >= len(opcodes):
            raise InputError(f"damaged TFLite file: operator {number} has no code")
        operator.opcode = opcodes[operator.opcode_index]
        operator.label = f"operator {number} ({operator.opcode})"
        operator.inputs = _indices(operator.inputs)
        operator.outputs = _indices(operator.outputs)
        _check_operator(operator, count)
        for index in operator.inputs:
            if index != safety_rules.ABSENT and index not in ready:
                raise InputError(f"{operator.label} uses {graph.tensors[index].label} before it is made")
        for index in operator.outputs:
            if index in made:
                raise InputError(f"{operator.label} makes {graph.tensors[index].label}, which is already there")
            made.add(index)
            ready.add(index)
    if not ready.issuperset(graph.outputs):
        raise InputError("the graph has an output that no operator makes")


def _check_operator(operator: Table, count: int) -> None:
    where = operator.label
    present = [index for index in operator.inputs if index != safety_rules.ABSENT]
    if not all(0 <= index < count for index in present + operator.outputs + _indices(operator.intermediates)):
        raise InputError(f"damaged TFLite file: {where} names a tensor that isn't there")
    if operator.builtin_options_2_type:
        raise InputError(f"{where} has options of StableHLO, which aren't supported")


def _check_metadata(model: Table) -> None:
    for entry in model.metadata:
        if entry.name is None or entry.buffer >= len(model.buffers):
            raise InputError("damaged TFLite file: metadata without a name or a buffer")
        if entry.name == "model_control_dependencies":
            raise InputError("a file that prescribes an order of its operators isn't supported")


def _check_signatures(model: Table) -> None:
    for signature in model.signature_defs:
        entries = (signature.inputs or []) + (signature.outputs or [])
        if signature.signature_key is None or signature.subgraph_index >= len(model.subgraphs):
            raise InputError("damaged TFLite file: a signature without a name or a graph")
        count = len(model.subgraphs[signature.subgraph_index].tensors)
        if any(entry.name is None or entry.tensor_index >= count for entry in entries):
            raise InputError("damaged TFLite file: a signature names a tensor that isn't there")


def _indices(vector: np.ndarray | None) -> list[int]:
    return [] if vector is None else vector.tolist()


def _quoted(name: str | None) -> str:
    """A stranger's text on one line, without control characters, of bounded length."""
    return repr((name or "")[:60])


def _shortened(dims: tuple[int, ...]) -> str:
    return str(dims) if len(dims) <= safety_rules.MAX_RANK else f"of rank {len(dims)}"
