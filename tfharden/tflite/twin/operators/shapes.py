"""Operators that give values another shape, image by image, and those that only tell shapes."""

import numpy as np
import tensorflow as tf

from tfharden.tflite.twin.graph import Operator
from tfharden.tflite.twin.registry import Function, Kernels, operator, per_image, refuse


@operator("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(op: Operator, kernels: Kernels) -> Function:
    """To the shape that the file gives the output, whatever batch is baked into it."""
    if op.inputs[0].data is not None:
        return lambda x, *_: np.reshape(x, op.output.dims)
    image = per_image(op.output, kernels)
    if image is None or np.prod(op.inputs[0].dims) != np.prod(op.output.dims):
        raise refuse(op, f"it mixes the images of a batch in {op.output.dims}")
    return lambda x, *_: tf.reshape(x, [tf.shape(x)[0], *image])


@operator("DENSIFY")
def densify(op: Operator, kernels: Kernels) -> Function:
    """A sparse constant, which has been unpacked by the time it gets here."""
    if op.inputs[0].data is None:
        raise refuse(op, f"it unpacks {op.inputs[0].element}")
    return lambda x: x


@operator("TRANSPOSE")
def transpose(op: Operator, kernels: Kernels) -> Function:
    """Axes in another order, the batch first."""
    order = [int(axis) % len(op.inputs[0].dims) for axis in op.inputs[1].data]
    if op.inputs[0].data is None and order[:1] != [0]:
        raise refuse(op, "it moves the batch axis")
    return lambda x, _: tf.transpose(x, order)


@operator("DEPTH_TO_SPACE")
def depth_to_space(op: Operator, kernels: Kernels) -> Function:
    """Channels to blocks of pixels."""
    return lambda x: tf.nn.depth_to_space(x, op.option("block_size"))


@operator("SPACE_TO_DEPTH")
def space_to_depth(op: Operator, kernels: Kernels) -> Function:
    """Blocks of pixels to channels."""
    return lambda x: tf.nn.space_to_depth(x, op.option("block_size"))


@operator("SHAPE")
def shape(op: Operator, kernels: Kernels) -> Function:
    """The shape at the file's own batch: what is made of it is a shape, and those of the file are known."""
    return lambda _: np.array(op.inputs[0].dims, op.output.dtype)


@operator("PACK")
def pack(op: Operator, kernels: Kernels) -> Function:
    """Tensors side by side along a new axis, not the first where they are images."""
    axis = op.option("axis") % len(op.output.dims)
    if axis == 0 and any(tensor.data is None for tensor in op.inputs):
        raise refuse(op, "it adds an axis before the batch")
    return lambda *values: tf.stack(values, axis)
