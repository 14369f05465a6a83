"""Small files of few operators, as the converter makes them, for the twin to be compared on."""

import warnings

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from tfharden import _native
from tfharden.tflite import Twin, litert, parse

_OPS = tf.lite.OpsSet
_SETS = {
    "int8": _OPS.TFLITE_BUILTINS_INT8,
    "int16x8": _OPS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
_INT8, _UINT8 = schema.TensorType.INT8, schema.TensorType.UINT8


def images(shape=(8, 8, 4), count=16, low=-1.0, high=1.0, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (count, *shape)).astype(np.float32)


def weights(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 0.4, shape).astype(np.float32)


def file_of(function, shape=(8, 8, 4), recipe="int8", low=-1.0, high=1.0, per_channel=True, batch=1):
    """A file of `function`, from images `[batch, *shape]` to anything, whose values end in a row for each image."""
    return parse(_converted([function], shape, recipe, low, high, per_channel, batch))


def compared(functions, kernels, shape=(8, 8, 4), recipe="int8", per_channel=True):
    """Twin and interpreter on one file of many functions: share of equal values and largest difference, by name.

    Differences are in steps of the integers, or a share of the largest real number, of which 1e-5 is none. The
    interpreter gives all outputs, so that kernels can't hide one inside another. A twin needs one output: it gets the
    same file with all of them put together at the end.
    """
    content = _converted(list(functions.values()), shape, recipe, -1.0, 1.0, per_channel, 1)
    file = parse(changed(content, _joined))
    # Somewhat beyond the range that was calibrated on.
    x = images(shape, 8, -1.2, 1.2)
    made = {}
    for kind in kernels:
        twin = Twin(file, kind)
        values = twin.tensors(x)
        source = file.input
        first = values[str(source.index)].numpy()
        stored = (first + source.zero_point).astype(source.dtype) if source.quantised else first
        outputs = _interpreted(content, kind, stored)
        assert len(outputs) == len(functions)
        for name, (index, expected) in zip(functions, outputs, strict=True):
            tensor = file.graph.tensors[index]
            difference = np.abs(values[str(index)].numpy().reshape(len(x), -1) + tensor.zero_point - expected)
            unit, bound = (1.0, 0.0) if tensor.quantised else (np.abs(expected).max(), 1e-5)
            made[name, kind] = float(np.mean(difference <= bound * unit)), float(difference.max() / unit)
    return made


def _interpreted(content, kernels, stored):
    """Numbers of the outputs and their values `[n, ...]`, in the order of the functions."""
    runner = litert.interpreter(content, kernels)
    (source,), details = runner.get_input_details(), runner.get_output_details()
    rows = [[] for _ in details]
    for image in stored:
        runner.set_tensor(source["index"], image[np.newaxis])
        runner.invoke()
        for row, detail in zip(rows, details, strict=True):
            row.append(runner.get_tensor(detail["index"])[0])
    return [(detail["index"], np.stack(row).astype(np.float64)) for detail, row in zip(details, rows, strict=True)]


def _joined(model):
    """Outputs in real numbers, one after the other."""
    graph = model.subgraphs[0]
    rows = [_added(model, graph.tensors[index], index) for index in graph.outputs]
    width = sum(int(graph.tensors[index].shape[1]) for index in rows)
    options = schema.ConcatenationOptionsT()
    options.axis = 1
    graph.outputs = [_operator(model, schema.BuiltinOperator.CONCATENATION, rows, (1, width), options)]


def _added(model, tensor, index):
    if tensor.type == schema.TensorType.FLOAT32:
        return index
    return _operator(model, schema.BuiltinOperator.DEQUANTIZE, [index], tuple(tensor.shape))


def _operator(model, number, inputs, shape, options=None):
    """The number of the tensor that a new operator makes."""
    graph, code, operator, tensor = model.subgraphs[0], schema.OperatorCodeT(), schema.OperatorT(), schema.TensorT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    model.operatorCodes.append(code)
    tensor.name, tensor.shape, tensor.type = "joined", list(shape), schema.TensorType.FLOAT32
    graph.tensors.append(tensor)
    operator.opcodeIndex, operator.inputs = len(model.operatorCodes) - 1, list(inputs)
    operator.outputs = [len(graph.tensors) - 1]
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
    graph.operators.append(operator)
    return operator.outputs[0]


def _converted(functions, shape, recipe, low, high, per_channel, batch):
    """A file with a row for each image of the values of each function."""

    def whole(x):
        return [tf.reshape(function(x), [batch, -1]) for function in functions]

    concrete = tf.function(whole, autograph=False).get_concrete_function(tf.TensorSpec((batch, *shape), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], None)
    converter._experimental_disable_per_channel = not per_channel
    if recipe != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if recipe == "sparse":
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    if recipe == "float16":
        converter.target_spec.supported_types = [tf.float16]
    kind = "int8" if recipe == "uint8" else recipe
    if kind in _SETS:
        given = images(shape, 40 * batch, low, high, seed=9).reshape(40, batch, *shape)
        converter.representative_dataset = lambda: ([part] for part in given)
        converter.target_spec.supported_ops = [_SETS[kind]]
        converter.inference_input_type = converter.inference_output_type = tf.int16 if kind == "int16x8" else tf.int8
    with _native.native_stderr(), warnings.catch_warnings(action="ignore"):
        content = converter.convert()
    return changed(content, unsigned) if recipe == "uint8" else content


def changed(content, change):
    """The file after `change` has had its object tree."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    change(model)
    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def unsigned(model):
    """All integers of 8 bits without a sign: the same numbers, 128 higher."""
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == _INT8:
            tensor.type = _UINT8
            tensor.quantization.zeroPoint = tensor.quantization.zeroPoint + 128
            buffer = model.buffers[tensor.buffer]
            if buffer.data is not None and len(buffer.data):
                buffer.data = np.asarray(buffer.data, np.uint8) ^ 128
