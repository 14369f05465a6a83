"""Tensors put together and taken apart: CONCATENATION, PACK, SPLIT, SPLIT_V and UNPACK."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.activations import fused
from tfharden.tflite.kernels.fixed_point import OutputRange
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.ops.common import image_axis, with_sizes
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _concatenated_shape(call: Call) -> Shape:
    axis = call.axis(call.option("axis"), len(call.shapes[0]))
    rests = {shape[:axis] + shape[axis + 1 :] for shape in call.shapes}
    if len(rests) != 1 or len({len(shape) for shape in call.shapes}) != 1:
        raise ValueError("parts don't fit")
    return with_sizes(call.shapes[0], axis, sum(shape[axis] for shape in call.shapes))


def _concatenation(op: Operator, kernels: KernelSet) -> Function:
    """Tensors one after the other along an axis."""
    axis = image_axis(op, op.option("axis"), op.output)
    if not op.output.quantised:
        activation = fused(op)
        return lambda *values: activation(tf.concat(_like(values), axis))
    if any(tensor.scale32 != op.output.scale32 or tensor.zero_point != op.output.zero_point for tensor in op.inputs):
        raise refuse(op, "its inputs have other scales than its output")
    output_range = OutputRange.of(op)
    if output_range.gate is None:
        return lambda *values: tf.concat(_like(values), axis)
    return lambda *values: output_range.clip(tf.concat(_like(values), axis))


def _like(values: tuple[tf.Tensor | np.ndarray, ...]) -> list[tf.Tensor]:
    """Constants repeated for each image."""
    batch = next(tf.shape(value)[0] for value in values if tf.is_tensor(value))
    return [v if tf.is_tensor(v) else tf.repeat(tf.constant(v), batch, axis=0) for v in values]


def _packed_shape(call: Call) -> Shape:
    shape = call.shapes[0]
    if len(set(call.shapes)) != 1:
        raise ValueError("parts don't fit")
    axis = call.axis(call.option("axis"), len(shape) + 1)
    return (*shape[:axis], len(call.shapes), *shape[axis:])


def _packs_all(operator: Operator) -> bool:
    return operator.option("values_count") == len(operator.inputs)


def _pack(op: Operator, kernels: KernelSet) -> Function:
    """Tensors side by side along a new axis, not the first where they are images."""
    axis = op.option("axis") % len(op.output.shape)
    if axis == 0 and any(tensor.data is None for tensor in op.inputs):
        raise refuse(op, "it adds an axis before the batch")
    return lambda *values: tf.stack(values, axis)


def _split_shapes(call: Call) -> list[Shape]:
    shape, parts = call.shapes[1], len(call.operator.outputs)
    axis = call.axis(call.whole(0)[0], len(shape))
    if shape[axis] % parts:
        raise ValueError("parts don't fit")
    return [with_sizes(shape, axis, shape[axis] // parts)] * parts


def _split_v_shapes(call: Call) -> list[Shape]:
    shape, sizes = call.shapes[0], call.whole(1)
    axis = call.axis(call.whole(2)[0], len(shape))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = shape[axis] - sum(sizes) - 1
    if sum(sizes) != shape[axis]:
        raise ValueError("parts don't fit")
    return [with_sizes(shape, axis, size) for size in sizes]


def _makes_all(operator: Operator) -> bool:
    axis = operator.inputs[0] if operator.opcode == "SPLIT" else operator.inputs[2]
    return math.prod(axis.shape) == 1 and operator.option("num_splits") == len(operator.outputs)


def _split(op: Operator, kernels: KernelSet) -> Function:
    """Equal parts along an axis."""
    axis = image_axis(op, int(op.inputs[0].data.reshape(-1)[0]), op.inputs[1])
    return lambda _, x: tf.split(x, len(op.outputs), axis)


def _split_v(op: Operator, kernels: KernelSet) -> Function:
    """Parts of given sizes along an axis."""
    axis = image_axis(op, int(op.inputs[2].data.reshape(-1)[0]), op.inputs[0])
    sizes = [tensor.shape[axis] for tensor in op.outputs]
    return lambda x, *_: tf.split(x, sizes, axis)


def _unpacked_shapes(call: Call) -> list[Shape]:
    axis = call.axis(call.option("axis"), len(call.shapes[0]))
    if call.shapes[0][axis] != len(call.operator.outputs):
        raise ValueError("parts don't fit")
    return [with_sizes(call.shapes[0], axis)] * len(call.operator.outputs)


def _unpacks_all(operator: Operator) -> bool:
    return operator.option("num") == len(operator.outputs)


def _unpack(op: Operator, kernels: KernelSet) -> Function:
    """Each place along an axis, without the axis."""
    axis = image_axis(op, op.option("axis"), op.inputs[0])
    return lambda x: tf.unstack(x, len(op.outputs), axis)


register(OperatorSpec(
    "CONCATENATION", "d* -> d", _concatenated_shape, "ConcatenationOptions",
    values=lambda call: np.concatenate(call.values, axis=call.option("axis")), kernel=_concatenation,
))  # fmt: skip
register(OperatorSpec(
    "PACK", "d* -> d", _packed_shape, "PackOptions", safety=_packs_all,
    values=lambda call: np.stack(call.values, axis=call.option("axis")), kernel=_pack, keeps_integers=True,
))  # fmt: skip
register(OperatorSpec(
    "SPLIT", "Id -> d*", _split_shapes, "SplitOptions", safety=_makes_all, kernel=_split, keeps_integers=True
))  # fmt: skip
register(OperatorSpec(
    "SPLIT_V", "dNN -> d*", _split_v_shapes, "SplitVOptions", safety=_makes_all, kernel=_split_v, keeps_integers=True
))  # fmt: skip
register(OperatorSpec(
    "UNPACK", "d -> d*", _unpacked_shapes, "UnpackOptions", safety=_unpacks_all, kernel=_unpack, keeps_integers=True
))  # fmt: skip
