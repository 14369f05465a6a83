"""Operators that cut tensors apart, put them together, or put something round them."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.kernels.activations import fused
from tfharden.tflite.twin.kernels.fixed_point import Range
from tfharden.tflite.twin.registry import Function, Kernels, operator, refuse


@operator("CONCATENATION")
def concatenation(op: Operator, kernels: Kernels) -> Function:
    """Tensors one after the other along an axis."""
    axis = _inside(op, op.option("axis"), op.output)
    if not op.output.quantised:
        activation = fused(op)
        return lambda *values: activation(tf.concat(_like(values), axis))
    if any(tensor.scale != op.output.scale or tensor.zero_point != op.output.zero_point for tensor in op.inputs):
        raise refuse(op, "its inputs have other scales than its output")
    range_ = Range.of(op)
    if range_.gate is None:
        return lambda *values: tf.concat(_like(values), axis)
    return lambda *values: range_.clip(tf.concat(_like(values), axis))


def _like(values: tuple[tf.Tensor | np.ndarray, ...]) -> list[tf.Tensor]:
    """Constants repeated for each image."""
    batch = next(tf.shape(value)[0] for value in values if tf.is_tensor(value))
    return [v if tf.is_tensor(v) else tf.repeat(tf.constant(v), batch, axis=0) for v in values]


@operator("SPLIT")
def split(op: Operator, kernels: Kernels) -> Function:
    """Equal parts along an axis."""
    axis = _inside(op, int(op.inputs[0].data.reshape(-1)[0]), op.inputs[1])
    return lambda _, x: tf.split(x, len(op.outputs), axis)


@operator("SPLIT_V")
def split_v(op: Operator, kernels: Kernels) -> Function:
    """Parts of given sizes along an axis."""
    axis = _inside(op, int(op.inputs[2].data.reshape(-1)[0]), op.inputs[0])
    sizes = [tensor.dims[axis] for tensor in op.outputs]
    return lambda x, *_: tf.split(x, sizes, axis)


@operator("UNPACK")
def unpack(op: Operator, kernels: Kernels) -> Function:
    """Each place along an axis, without the axis."""
    axis = _inside(op, op.option("axis"), op.inputs[0])
    return lambda x: tf.unstack(x, len(op.outputs), axis)


@operator("SLICE")
def slice_(op: Operator, kernels: Kernels) -> Function:
    """A box."""
    source, begin, size = op.inputs
    _constant(op, begin, size)
    if source.data is not None:
        return lambda x, *_: tf.slice(x, begin.data, size.data)
    ends = [d if n < 0 else b + n for b, n, d in zip(begin.data, size.data, source.dims, strict=True)]
    return _cut(op, [slice(int(b), int(e)) for b, e in zip(begin.data, ends, strict=True)])


@operator("STRIDED_SLICE")
def strided_slice(op: Operator, kernels: Kernels) -> Function:
    """A box, in steps; an axis may be shrunk away."""
    source, *bounds = op.inputs
    _constant(op, *bounds)
    if op.option("ellipsis_mask") or op.option("new_axis_mask") or op.option("offset"):
        raise refuse(op, "it adds axes, or leaves some out")
    begin, end, steps = (tensor.data.tolist() for tensor in bounds)
    masks = [op.option(f"{name}_mask") for name in ("begin", "end", "shrink_axis")]
    chosen = []
    for axis, step in enumerate(steps):
        from_first, to_last, shrunk = (mask >> axis & 1 for mask in masks)
        if shrunk:
            chosen.append(begin[axis])
        else:
            chosen.append(slice(None if from_first else begin[axis], None if to_last else end[axis], step))
    if source.data is not None:
        return lambda x, *_: x[tuple(chosen)]
    return _cut(op, chosen)


def _cut(op: Operator, chosen: list[slice | int]) -> Function:
    """A cut that leaves the batch as it is."""
    dims = op.inputs[0].dims
    first = chosen[0]
    if not isinstance(first, slice) or first.indices(dims[0]) != (0, dims[0], 1):
        raise refuse(op, "it cuts the batch")
    rest = (slice(None), *chosen[1:])
    return lambda x, *_: x[rest]


@operator("PAD", "PADV2", "MIRROR_PAD")
def pad(op: Operator, kernels: Kernels) -> Function:
    """Zeros, another constant or a mirror image round each image."""
    widths = op.inputs[1].data.reshape(-1, 2)
    if widths[0].any():
        raise refuse(op, "it pads the batch")
    if op.opcode == "MIRROR_PAD":
        mode = ("REFLECT", "SYMMETRIC")[op.option("mode")]
        return lambda x, _: tf.pad(x, widths, mode)
    if op.opcode == "PAD":
        return lambda x, _: tf.pad(x, widths)
    _constant(op, op.inputs[2])
    value = float(op.inputs[2].centred.reshape(-1)[0])
    return lambda x, *_: tf.pad(x, widths, constant_values=value)


@operator("GATHER")
def gather(op: Operator, kernels: Kernels) -> Function:
    """Chosen places along an axis."""
    if op.inputs[0].data is None:
        _constant(op, op.inputs[1])
        if op.option("batch_dims"):
            raise refuse(op, "it gathers for each image")
        _inside(op, op.option("axis"), op.inputs[0])
    return lambda x, indices: tf.gather(x, indices, axis=op.option("axis"))


def _inside(op: Operator, axis: int, tensor: Tensor) -> int:
    """An axis of each image, counted from the batch axis."""
    axis %= len(tensor.dims)
    if axis == 0 and any(t is not None and t.data is None for t in op.inputs):
        raise refuse(op, "it works along the batch axis")
    return axis


def _constant(op: Operator, *tensors: Tensor) -> None:
    if any(tensor.data is None for tensor in tensors):
        raise refuse(op, "where it cuts or pads isn't constant")
