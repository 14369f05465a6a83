"""Other shapes for the same values: reshaping, transposing, blocks of pixels; and operators that tell shapes."""

import math

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import MAX_RANK, Operator, Shape
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, per_image, refuse
from tfharden.tflite.ops.common import image_shape
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _reshaped_shape(call: Call) -> Shape:
    option = call.option("new_shape")
    # Files of old have the shape among the options alone.
    if len(call.shapes) == 1 and option is None:
        raise ValueError("no shape")
    wanted = call.whole(1) if len(call.shapes) > 1 else np.atleast_1d(option).tolist()
    if len(call.shapes) == 1 and wanted == [0]:
        wanted = []
    count = math.prod(call.shapes[0])
    if wanted.count(-1) == 1:
        known = -math.prod(wanted)
        wanted[wanted.index(-1)] = count // known
    if math.prod(wanted) != count:
        raise ValueError("elements don't fit")
    return tuple(wanted)


def _rank_fits(operator: Operator) -> bool:
    option = operator.option("new_shape", None)
    shape = operator.inputs[1].shape if len(operator.inputs) > 1 else ()
    return math.prod(shape) <= MAX_RANK and (option is None or len(option) <= MAX_RANK)


def _expanded_shape(call: Call) -> Shape:
    (number,) = call.whole(1)
    axis = call.axis(number, len(call.shapes[0]) + 1)
    return (*call.shapes[0][:axis], 1, *call.shapes[0][axis:])


def _squeezed_shape(call: Call) -> Shape:
    shape, listed = call.shapes[0], call.option("squeeze_dims")
    axes = [axis for axis, size in enumerate(shape) if size == 1]
    if np.size(listed) and isinstance(listed, np.ndarray):
        axes = [call.axis(int(axis), len(shape)) for axis in listed]
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError("an axis isn't 1")
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _unchanged(call: Call) -> np.ndarray | None:
    return call.values[0]


def _reshape(op: Operator, kernels: KernelSet) -> Function:
    """To the shape that the file gives the output, whatever batch is baked into it."""
    if op.inputs[0].data is not None:
        return lambda x, *_: np.reshape(x, op.output.shape)
    image = per_image(op.output, kernels)
    if image is None or np.prod(op.inputs[0].shape) != np.prod(op.output.shape):
        raise refuse(op, f"it mixes the images of a batch in {op.output.shape}")
    return lambda x, *_: tf.reshape(x, [tf.shape(x)[0], *image])


def _transposed_shape(call: Call) -> Shape:
    order = [call.axis(axis, len(call.shapes[0])) for axis in call.whole(1)]
    if sorted(order) != list(range(len(call.shapes[0]))):
        raise ValueError("no permutation")
    return tuple(call.shapes[0][axis] for axis in order)


def _transpose(op: Operator, kernels: KernelSet) -> Function:
    """Axes in another order, the batch first."""
    order = [int(axis) % len(op.inputs[0].shape) for axis in op.inputs[1].data]
    if op.inputs[0].data is None and order[:1] != [0]:
        raise refuse(op, "it moves the batch axis")
    return lambda x, _: tf.transpose(x, order)


def _from_depth_shape(call: Call) -> Shape:
    """Channels to blocks of pixels."""
    (count, height, width, channels), block = image_shape(call.shapes[0]), call.option("block_size")
    if channels % block**2:
        raise ValueError("blocks don't fit")
    return (count, height * block, width * block, channels // block**2)


def _depth_to_space(op: Operator, kernels: KernelSet) -> Function:
    """Channels to blocks of pixels."""
    return lambda x: tf.nn.depth_to_space(x, op.option("block_size"))


def _to_depth_shape(call: Call) -> Shape:
    """Blocks of pixels to channels."""
    (count, height, width, channels), block = image_shape(call.shapes[0]), call.option("block_size")
    if height % block or width % block:
        raise ValueError("blocks don't fit")
    return (count, height // block, width // block, channels * block**2)


def _space_to_depth(op: Operator, kernels: KernelSet) -> Function:
    """Blocks of pixels to channels."""
    return lambda x: tf.nn.space_to_depth(x, op.option("block_size"))


def _to_batch_shape(call: Call) -> Shape:
    """Blocks of pixels to images."""
    (count, *sizes), blocks = call.shapes[0], call.whole(1)
    widths = np.reshape(call.whole(2), (-1, 2)).sum(axis=1).tolist()
    padded = [size + width for size, width in zip(sizes[: len(blocks)], widths, strict=True)]
    if any(size % block for size, block in zip(padded, blocks, strict=True)):
        raise ValueError("blocks don't fit")
    cut = [size // block for size, block in zip(padded, blocks, strict=True)]
    return (count * math.prod(blocks), *cut, *sizes[len(blocks) :])


def _from_batch_shape(call: Call) -> Shape:
    """Images to blocks of pixels."""
    (count, *sizes), blocks = call.shapes[0], call.whole(1)
    crops = np.reshape(call.whole(2), (-1, 2)).sum(axis=1).tolist()
    if count % math.prod(blocks):
        raise ValueError("blocks don't fit")
    joined = [size * block - crop for size, block, crop in zip(sizes[: len(blocks)], blocks, crops, strict=True)]
    return (count // math.prod(blocks), *joined, *sizes[len(blocks) :])


def _broadcast_to_shape(call: Call) -> Shape:
    wanted = tuple(call.whole(1))
    if np.broadcast_shapes(call.shapes[0], wanted) != wanted:
        raise ValueError("shapes don't fit")
    return wanted


def _shape_of(op: Operator, kernels: KernelSet) -> Function:
    """The shape at the file's own batch: what is made of it is a shape, and those of the file are known."""
    return lambda _: np.array(op.inputs[0].shape, op.output.dtype)


register(OperatorSpec(
    "RESHAPE", ("d -> d", "di -> d"), _reshaped_shape, "ReshapeOptions", safety=_rank_fits, values=_unchanged,
    kernel=_reshape, keeps_integers=True,
))  # fmt: skip
register(OperatorSpec(
    "EXPAND_DIMS", "dI -> d", _expanded_shape, values=_unchanged, kernel=_reshape, keeps_integers=True
))  # fmt: skip
register(OperatorSpec(
    "SQUEEZE", "d -> d", _squeezed_shape, "SqueezeOptions", values=_unchanged, kernel=_reshape, keeps_integers=True
))  # fmt: skip
register(OperatorSpec("TRANSPOSE", "dI -> d", _transposed_shape, kernel=_transpose, keeps_integers=True))
register(OperatorSpec(
    "DEPTH_TO_SPACE", "d -> d", _from_depth_shape, "DepthToSpaceOptions", kernel=_depth_to_space, keeps_integers=True
))  # fmt: skip
register(OperatorSpec(
    "SPACE_TO_DEPTH", "d -> d", _to_depth_shape, "SpaceToDepthOptions", kernel=_space_to_depth, keeps_integers=True
))  # fmt: skip
register(OperatorSpec("SPACE_TO_BATCH_ND", "dII -> d", _to_batch_shape))
register(OperatorSpec("BATCH_TO_SPACE_ND", "dII -> d", _from_batch_shape))
register(OperatorSpec("BROADCAST_TO", "di -> d", _broadcast_to_shape))
register(OperatorSpec(
    "SHAPE", "a -> i", lambda call: (len(call.shapes[0]),), "ShapeOptions", values=lambda call: call.shapes[0],
    kernel=_shape_of,
))  # fmt: skip
register(OperatorSpec("RANK", "a -> i", lambda _: (), values=lambda call: len(call.shapes[0])))
