"""Verifier of a .tflite from a stranger before it meets native code, which believes whatever a file says.

Its checks take time linear in the size of the file. Shapes are those that operators make, at the file's own batch what
the file claims, and none comes about during a run only: so `memory` can tell what a run needs.
"""

import math
from collections.abc import Sequence

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite import memory
from tfharden.tflite.format import flatbuffer, safety_rules, schema, sparsity
from tfharden.tflite.format.flatbuffer import Table
from tfharden.tflite.graph import MAX_RANK, Graph, Model, Operator, Tensor, quoted
from tfharden.tflite.ops import KNOWN

MAX_TENSOR_BYTES = 2**31
_ABSENT = -1  # index of an input that is left out
_FIRST_OUTSIDE = 2  # buffer offsets 0 and 1 mean that the data lie in the flatbuffer


def parse(content: bytes) -> Model:
    """The graphs of a .tflite, verified: its flatbuffer, its indices and sizes, and its operators.

    Raises:
        InputError: one line that says what is wrong or what isn't supported.
    """
    tree = flatbuffer.read(content)
    if tree.version != schema.VERSION:
        raise InputError(f"TFLite schema version {tree.version} isn't supported, only {schema.VERSION}")
    if tree.external_buffers or tree.external_buffer_groups:
        raise InputError("weights outside the file aren't supported")
    if not tree.subgraphs:
        raise InputError("the file holds no graph")
    buffers = [_buffer_data(buffer, content) for buffer in tree.buffers or []]
    opcodes = [_opcode(code) for code in tree.operator_codes or []]
    graphs = tuple(_graph(table, buffers, opcodes) for table in tree.subgraphs)
    metadata = _metadata(tree.metadata or [], buffers)
    _check_signatures(tree.signature_defs or [], graphs)
    return Model(graphs, metadata, tuple(tree.buffers or []))


def _buffer_data(buffer: Table, content: bytes) -> np.ndarray | None:
    """What a buffer holds, inside the flatbuffer or behind it; None for the empty one of a tensor that isn't constant.

    Raises:
        InputError: it leads out of the file.
    """
    if buffer.data is not None:
        return buffer.data
    if buffer.offset < _FIRST_OUTSIDE:
        return None
    if buffer.offset + buffer.size > len(content):
        raise InputError("damaged TFLite file: a buffer leads out of the file")
    return np.frombuffer(content, np.uint8, buffer.size, buffer.offset)


def opcode_name(code: Table) -> str | None:
    """LiteRT's name of an operator code; None if it has none."""
    # Numbers above 127 didn't fit the first field, so the schema gained a second one; the larger counts.
    return schema.operator_names().get(max(code.builtin_code, code.deprecated_builtin_code))


def _opcode(code: Table) -> str:
    name = opcode_name(code)
    if name is None:
        number = max(code.builtin_code, code.deprecated_builtin_code)
        raise InputError(f"unknown operator number {number}: a damaged file, or one newer than LiteRT")
    if name == "CUSTOM":
        raise InputError(f"custom operators aren't supported, and the file uses {quoted(code.custom_code)}")
    if name not in KNOWN:
        raise InputError(f"operator {name} isn't supported in an image classifier")
    return name


def _graph(table: Table, buffers: list[np.ndarray | None], opcodes: list[str]) -> Graph:
    inputs, outputs = _numbers(table.inputs), _numbers(table.outputs)
    if not inputs or not outputs:
        raise InputError("a graph needs inputs and outputs")
    tensors = tuple(_tensor(index, tensor, buffers) for index, tensor in enumerate(table.tensors or []))
    if not all(0 <= index < len(tensors) for index in inputs + outputs):
        raise InputError("damaged TFLite file: an input or output of the graph names a tensor that isn't there")
    operators = _operators(table.operators or [], tensors, opcodes, inputs, outputs)
    graph = Graph(
        tensors, operators, tuple(tensors[index] for index in inputs), tuple(tensors[index] for index in outputs)
    )
    for operator in operators:
        safety_rules.check_operator(operator)
    memory.check_memory(graph)
    return graph


def _tensor(index: int, table: Table, buffers: list[np.ndarray | None]) -> Tensor:
    where = f"tensor {index} {quoted(table.name)}"
    element = schema.ELEMENTS.get(table.type)
    if element is None:
        raise InputError(f"{where} has element type {table.type}, which an image classifier doesn't use")
    shape = tuple(_numbers(table.shape))
    if len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise InputError(f"{where} has an impossible shape {_shortened(shape)}")
    # An empty dimension mustn't hide absurd ones.
    if math.prod(max(size, 1) for size in shape) * element.bits // 8 > MAX_TENSOR_BYTES:
        raise InputError(f"{where} has an absurd shape {shape}, more than 2 GiB")
    signature = tuple(_numbers(table.shape_signature))
    if signature and (len(signature) != len(shape) or min(signature) < -1):
        raise InputError(f"{where} has a shape signature that doesn't fit its shape")
    if table.is_variable or table.variant_tensors or table.external_buffer:
        raise InputError(f"{where} keeps state or lies outside the file, which isn't supported")
    if table.buffer >= max(len(buffers), 1):
        raise InputError(f"damaged TFLite file: {where} names buffer {table.buffer} of {len(buffers)}")
    stored = buffers[table.buffer] if table.buffer else None
    _check_constant(where, shape, element, stored, table.sparsity)
    scales, zero_points, axis = _quantization(where, shape, element, table.quantization)
    return Tensor(
        index=index,
        name=table.name or "",
        element=element.name,
        shape=shape,
        signature=signature or shape,
        scales=scales,
        zero_points=zero_points,
        axis=axis,
        stored=stored,
        sparsity=table.sparsity,
    )


def _check_constant(
    where: str, shape: tuple[int, ...], element: schema.Element, stored: np.ndarray | None, index: Table | None
) -> None:
    if stored is None:
        if index:
            raise InputError(f"{where} is sparse but not a constant")
        return
    elements = sparsity.stored_elements(index, shape, where) if index else math.prod(shape)
    required = -(-elements * element.bits // 8)
    if len(stored) != required:
        raise InputError(f"damaged TFLite file: {where} needs {required} bytes and has {len(stored)}")


def _quantization(
    tensor: str, shape: tuple[int, ...], element: schema.Element, table: Table | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Scales, zero points and the dimension of the channels, checked."""
    none = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    if table is None:
        return none
    where = f"the quantisation of {tensor}"
    if table.details_type > 1:
        raise InputError(f"{where} is blockwise or of an unknown kind, which isn't supported")
    scale, zero_point = table.scale, table.zero_point
    if scale is None or not len(scale):
        return none
    if zero_point is None or len(zero_point) != len(scale):
        raise InputError(f"{where} has {len(scale)} scales but not as many zero points")
    dimension = table.quantized_dimension
    if dimension < 0 or dimension >= max(len(shape), 1):
        raise InputError(f"{where} names dimension {dimension} of {len(shape)}")
    if len(scale) > 1 and (not shape or len(scale) != shape[dimension]):
        raise InputError(f"{where} has {len(scale)} scales for shape {shape}")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise InputError(f"{where} has a scale that isn't finite and positive")
    low, high = _integer_range(element)
    if (zero_point < low).any() or (zero_point > high).any():
        raise InputError(f"{where} has a zero point outside {low}..{high}")
    return np.asarray(scale, np.float32), np.asarray(zero_point, np.int64), dimension


def _integer_range(element: schema.Element) -> tuple[int, int]:
    bits = min(element.bits, 32)
    if element.name.startswith("UINT"):
        return 0, 2**bits - 1
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def _operators(
    tables: list[Table], tensors: Sequence[Tensor], opcodes: list[str], inputs: list[int], outputs: list[int]
) -> tuple[Operator, ...]:
    """Operators of a graph in which every tensor is made before it is used, by one operator only: without cycles."""
    constants = {tensor.index for tensor in tensors if tensor.stored is not None}
    if not constants.isdisjoint(inputs) or len(set(inputs)) != len(inputs):
        raise InputError("the graph has an input that is a constant or comes twice")
    # A tensor without elements needs no data: the shape of a scalar, for one.
    empty = {tensor.index for tensor in tensors if 0 in tensor.shape}
    ready = constants | empty | set(inputs)
    made = constants | set(inputs)
    operators = []
    for number, table in enumerate(tables):
        operator = _operator(number, table, tensors, opcodes)
        for tensor in operator.inputs:
            if tensor is not None and tensor.index not in ready:
                raise InputError(f"{operator.label} uses {tensor.label} before it is made")
        for tensor in operator.outputs:
            if tensor.index in made:
                raise InputError(f"{operator.label} makes {tensor.label}, which is already there")
            made.add(tensor.index)
            ready.add(tensor.index)
        operators.append(operator)
    if not ready.issuperset(outputs):
        raise InputError("the graph has an output that no operator makes")
    return tuple(operators)


def _operator(number: int, table: Table, tensors: Sequence[Tensor], opcodes: list[str]) -> Operator:
    if table.opcode_index >= len(opcodes):
        raise InputError(f"damaged TFLite file: operator {number} has no code")
    where = f"operator {number} ({opcodes[table.opcode_index]})"
    inputs, outputs = _numbers(table.inputs), _numbers(table.outputs)
    named = [index for index in inputs if index != _ABSENT] + outputs + _numbers(table.intermediates)
    if not all(0 <= index < len(tensors) for index in named):
        raise InputError(f"damaged TFLite file: {where} names a tensor that isn't there")
    if table.builtin_options_2_type:
        raise InputError(f"{where} has options of StableHLO, which aren't supported")
    return Operator(
        number=number,
        opcode=opcodes[table.opcode_index],
        inputs=tuple(None if index == _ABSENT else tensors[index] for index in inputs),
        outputs=tuple(tensors[index] for index in outputs),
        options=table.builtin_options,
        options_table=schema.option_tables().get(table.builtin_options_type),
    )


def _metadata(entries: list[Table], buffers: list[np.ndarray | None]) -> tuple[tuple[str, np.ndarray | None], ...]:
    for entry in entries:
        if entry.name is None or entry.buffer >= len(buffers):
            raise InputError("damaged TFLite file: metadata without a name or a buffer")
        if entry.name == "model_control_dependencies":
            raise InputError("a file that prescribes an order of its operators isn't supported")
    return tuple((entry.name, buffers[entry.buffer]) for entry in entries)


def _check_signatures(signatures: list[Table], graphs: Sequence[Graph]) -> None:
    for signature in signatures:
        entries = (signature.inputs or []) + (signature.outputs or [])
        if signature.signature_key is None or signature.subgraph_index >= len(graphs):
            raise InputError("damaged TFLite file: a signature without a name or a graph")
        count = len(graphs[signature.subgraph_index].tensors)
        if any(entry.name is None or entry.tensor_index >= count for entry in entries):
            raise InputError("damaged TFLite file: a signature names a tensor that isn't there")


def _numbers(vector: np.ndarray | None) -> list[int]:
    return [] if vector is None else vector.tolist()


def _shortened(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= MAX_RANK else f"of rank {len(shape)}"
