"""Small files of few operators, as the converter makes them, for the twin to be compared on."""

import warnings

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from tfharden import _native
from tfharden.tflite import parse

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

    def whole(x):
        return tf.reshape(function(x), [batch, -1])

    concrete = tf.function(whole).get_concrete_function(tf.TensorSpec((batch, *shape), tf.float32))
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
    return parse(changed(content, unsigned) if recipe == "uint8" else content)


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
