"""What LiteRT makes of every value that an operator can be given: a table, where integers have 8 or 16 bits.

Kernels for functions of single values differ by kernel set, version and processor: tables of their own, polynomials in
fixed point, floats. All of them are exactly what they are seen to do.
"""

import types
from collections.abc import Mapping

import flatbuffers
import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from tfharden import _native
from tfharden.tflite.format import schema as format_
from tfharden.tflite.runtime import KERNELS
from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.registry import Kernels, refuse


def answers(op: Operator, kernels: Kernels, inputs: Mapping[int, np.ndarray]) -> np.ndarray:
    """What one operator, alone in a file, answers to inputs as stored.

    Args:
        op: the operator, which has one output and treats each value by itself.
        kernels: what to run it on.
        inputs: by their places among the operator's inputs, of one shape. Those that are constant in the file are
            constant here; other constants stay as they are.

    Returns:
        Outputs as stored, in the shape of the inputs.

    Raises:
        InputError: LiteRT can't run it.
    """
    shape = next(iter(inputs.values())).shape
    constant = [place for place in inputs if op.inputs[place].data is not None]
    content = _alone(kernels.content, op, dict.fromkeys(inputs, shape), {p: inputs[p] for p in constant})
    try:
        with _native.native_stderr():
            runner = litert.Interpreter(
                model_content=content,
                experimental_op_resolver_type=getattr(litert.OpResolverType, KERNELS[kernels.name]),
            )
            runner.allocate_tensors()
        given = [place for place in inputs if place not in constant]
        for place, detail in zip(given, runner.get_input_details(), strict=True):
            runner.set_tensor(detail["index"], inputs[place])
        runner.invoke()
    except (RuntimeError, ValueError) as error:
        raise refuse(op, f"LiteRT can't run it: {' '.join(str(error).split())[:200]}") from error
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def _alone(
    content: bytes, op: Operator, shapes: Mapping[int, tuple[int, ...]], constants: Mapping[int, np.ndarray]
) -> bytes:
    """A file with this operator only."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    node = graph.operators[op.number]
    chosen = [index for index in [*node.inputs, *node.outputs] if index >= 0]
    places = {int(index): place for place, index in enumerate(dict.fromkeys(chosen))}
    tensors = [graph.tensors[index] for index in places]
    buffers = [schema.BufferT()]
    for tensor in tensors:
        data = model.buffers[tensor.buffer].data
        tensor.buffer = 0
        if data is not None and len(data):
            buffers.append(types.SimpleNamespace(data=data))
            tensor.buffer = len(buffers) - 1
    for place, shape in [*shapes.items(), (None, next(iter(shapes.values())))]:
        index = int(node.outputs[0] if place is None else node.inputs[place])
        tensor = tensors[places[index]]
        tensor.shape, tensor.shapeSignature = np.array(shape, np.int32), None
        if place in constants:
            buffers[tensor.buffer] = types.SimpleNamespace(data=np.frombuffer(constants[place].tobytes(), np.uint8))
    model.buffers = [_buffer(buffer) for buffer in buffers]
    given = [place for place in shapes if place not in constants]
    graph.inputs = np.array([places[int(node.inputs[place])] for place in given], np.int32)
    node.inputs = np.array([places.get(int(index), -1) for index in node.inputs], np.int32)
    node.outputs = np.array([places[int(index)] for index in node.outputs], np.int32)
    graph.tensors, graph.operators, graph.outputs = tensors, [node], node.outputs
    model.operatorCodes = [model.operatorCodes[node.opcodeIndex]]
    node.opcodeIndex = 0
    model.subgraphs, model.metadata, model.metadataBuffer, model.signatureDefs = [graph], None, None, None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=format_.IDENTIFIER)
    return bytes(builder.Output())


def _buffer(source: object) -> schema.BufferT:
    buffer = schema.BufferT()
    buffer.data = getattr(source, "data", None)
    return buffer
