"""Tables of what LiteRT makes of every value that an operator can be given, where integers have 8 or 16 bits.

Kernels for functions of single values differ by kernel set, version and processor: tables of their own, polynomials in
fixed point, floats. All of them are exactly what they are seen to do.
"""

import copy
import types
from collections.abc import Mapping

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from tfharden.tflite import litert
from tfharden.tflite.format.schema import IDENTIFIER
from tfharden.tflite.graph import Operator, Tensor
from tfharden.tflite.kernels.activations import Activation
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.kernels.straight_through import straight_through


def function_of_values(op: Operator, kernels: KernelSet, function: Activation) -> Function:
    """A function of one real value, as the kernels have it."""
    source, target = op.inputs[0], op.output
    if not source.quantised:
        return function
    table = tf.constant(_centred(_answers(op, kernels, {0: _every(source)[None]})[0], target))
    low, _ = source.limits

    def exact(x: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, tf.cast(x - low, tf.int32))

    return lambda x: straight_through(exact, lambda x: function(x * source.scale32) / target.scale32, x)


def function_of_pairs(op: Operator, kernels: KernelSet) -> Function:
    """The exact function of two centred tensors of 8 bits, as the kernels have it."""
    first, second = op.inputs
    pairs = {0: np.repeat(_every(first), 256), 1: np.tile(_every(second), 256)}
    if op.opcode == "DIV":
        # LiteRT refuses to divide by zero.
        pairs[1][pairs[1] == second.zero_point] = _every(second)[0 if second.limits[0] else 1]
    table = tf.constant(_centred(_answers(op, kernels, {k: v[None] for k, v in pairs.items()})[0], op.output))
    offset = 256 * first.limits[0] + second.limits[0]
    return lambda a, b: tf.gather(table, tf.cast(256 * a + (b - offset), tf.int32))


def _answers(op: Operator, kernels: KernelSet, inputs: Mapping[int, np.ndarray]) -> np.ndarray:
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
    content = _alone(kernels.tree, op, dict.fromkeys(inputs, shape), {p: inputs[p] for p in constant})
    try:
        runner = litert.interpreter(content, kernels.name)
        given = [place for place in inputs if place not in constant]
        for place, detail in zip(given, runner.get_input_details(), strict=True):
            runner.set_tensor(detail["index"], inputs[place])
        runner.invoke()
    except (RuntimeError, ValueError) as error:
        raise refuse(op, f"LiteRT can't run it: {' '.join(str(error).split())[:200]}") from error
    return runner.get_tensor(runner.get_output_details()[0]["index"])


def _alone(
    tree: schema.ModelT, op: Operator, shapes: Mapping[int, tuple[int, ...]], constants: Mapping[int, np.ndarray]
) -> bytes:
    """A file with this operator only."""
    model, graph = copy.copy(tree), copy.copy(tree.subgraphs[0])
    node = copy.copy(graph.operators[op.number])
    chosen = [index for index in [*node.inputs, *node.outputs] if index >= 0]
    places = {int(index): place for place, index in enumerate(dict.fromkeys(chosen))}
    tensors = [copy.copy(graph.tensors[index]) for index in places]
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
        if place is not None and place in constants:
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
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _buffer(source: object) -> schema.BufferT:
    buffer = schema.BufferT()
    buffer.data = getattr(source, "data", None)
    return buffer


def _every(tensor: Tensor) -> np.ndarray:
    """All values that a tensor can hold, as stored, in order."""
    bounds = np.iinfo(tensor.dtype)
    return np.arange(bounds.min, bounds.max + 1).astype(tensor.dtype)


def _centred(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Stored integers as the twin has them."""
    return (stored.astype(np.int32) - tensor.zero_point).astype(np.float32)
