"""Parts of tensors, and borders round them: slices, gathers, padding, tiles and reversal."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, refuse
from tfharden.tflite.ops.common import check_constant, image_axis, same_shape
from tfharden.tflite.ops.spec import Call, OperatorSpec, register


def _slice_shape(call: Call) -> Shape:
    starts, sizes = call.whole(1), call.whole(2)
    made = [d - b if n == -1 else n for d, b, n in zip(call.shapes[0], starts, sizes, strict=True)]
    if any(b < 0 or n < 0 or b + n > d for d, b, n in zip(call.shapes[0], starts, made, strict=True)):
        raise ValueError("it cuts outside")
    return tuple(made)


def _names_all_axes(operator: Operator) -> bool:
    source, *indices = operator.inputs
    return all(index.shape == (len(source.shape),) for index in indices)


def _box(call: Call) -> tuple[Any, ...]:
    """The index of a strided slice, by numpy's rules."""
    begin, end, steps = (call.whole(place) for place in (1, 2, 3))
    if call.option("offset"):
        end = [b + e for b, e in zip(begin, end, strict=True)]
    names = ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask", "begin_mask", "end_mask")
    masks = [call.option(name) for name in names]
    chosen: list[Any] = []
    for axis, step in enumerate(steps):
        ellipsis, added, shrunk, from_first, to_last = (mask >> axis & 1 for mask in masks)
        box = slice(None if from_first else begin[axis], None if to_last else end[axis], step)
        chosen.append(... if ellipsis else None if added else begin[axis] if shrunk else box)
    return tuple(chosen)


def _strided_slice_shape(call: Call) -> Shape:
    # As numpy cuts, on an array that takes no memory.
    return np.broadcast_to(np.int8(0), call.shapes[0])[_box(call)].shape


def _names_enough_axes(operator: Operator) -> bool:
    source, begin, *others = operator.inputs
    if len(begin.shape) != 1 or any(index.shape != begin.shape for index in others):
        return False
    (count,) = begin.shape
    added = operator.option("new_axis_mask") & (2**count - 1)
    return count <= len(source.shape) + added.bit_count()


def _slice(op: Operator, kernels: KernelSet) -> Function:
    """A box."""
    source, begin, size = op.inputs
    check_constant(op, begin, size)
    if source.data is not None:
        return lambda x, *_: tf.slice(x, begin.data, size.data)
    ends = [d if n < 0 else b + n for b, n, d in zip(begin.data, size.data, source.shape, strict=True)]
    return _cut(op, [slice(int(b), int(e)) for b, e in zip(begin.data, ends, strict=True)])


def _strided_slice(op: Operator, kernels: KernelSet) -> Function:
    """A box, in steps; an axis may be shrunk away."""
    source, *bounds = op.inputs
    check_constant(op, *bounds)
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
    dims = op.inputs[0].shape
    first = chosen[0]
    if not isinstance(first, slice) or first.indices(dims[0]) != (0, dims[0], 1):
        raise refuse(op, "it cuts the batch")
    rest = (slice(None), *chosen[1:])
    return lambda x, *_: x[rest]


def _padded_shape(call: Call) -> Shape:
    widths = np.reshape(call.whole(1), (-1, 2)).tolist()
    if min(map(min, widths)) < 0:
        raise ValueError("negative padding")
    return tuple(size + before + after for size, (before, after) in zip(call.shapes[0], widths, strict=True))


def _padding_fits(operator: Operator) -> bool:
    """The one operator that makes a tensor of any size from a few bytes; the size it claims was checked."""
    shape, widths = operator.inputs[0].shape, operator.inputs[1].data
    if widths.shape != (len(shape), 2) or (widths < 0).any():
        return False
    return tuple(np.array(shape, np.int64) + widths.astype(np.int64).sum(axis=1)) == operator.output.shape


def _pad(op: Operator, kernels: KernelSet) -> Function:
    """Zeros, another constant or a mirror image round each image."""
    widths = op.inputs[1].data.reshape(-1, 2)
    if widths[0].any():
        raise refuse(op, "it pads the batch")
    if op.opcode == "MIRROR_PAD":
        mode = ("REFLECT", "SYMMETRIC")[op.option("mode")]
        return lambda x, _: tf.pad(x, widths, mode)
    if op.opcode == "PAD":
        return lambda x, _: tf.pad(x, widths)
    check_constant(op, op.inputs[2])
    value = float(op.inputs[2].centred.reshape(-1)[0])
    return lambda x, *_: tf.pad(x, widths, constant_values=value)


def _gathered_shape(call: Call) -> Shape:
    data, places = call.shapes
    axis = call.axis(call.option("axis"), len(data))
    shared = call.axis(call.option("batch_dims"), len(places) + 1)
    if shared > axis or data[:shared] != places[:shared]:
        raise ValueError("batches don't fit")
    return (*data[:axis], *places[shared:], *data[axis + 1 :])


def _gathered_nd_shape(call: Call) -> Shape:
    data, places = call.shapes
    if not 0 < places[-1] <= len(data):
        raise ValueError("indices don't fit")
    return (*places[:-1], *data[places[-1] :])


def _gather(op: Operator, kernels: KernelSet) -> Function:
    """Chosen places along an axis."""
    if op.inputs[0].data is None:
        check_constant(op, op.inputs[1])
        if op.option("batch_dims"):
            raise refuse(op, "it gathers for each image")
        image_axis(op, op.option("axis"), op.inputs[0])
    return lambda x, indices: tf.gather(x, indices, axis=op.option("axis"))


def _tiled_shape(call: Call) -> Shape:
    return tuple(size * count for size, count in zip(call.shapes[0], call.whole(1), strict=True))


register(OperatorSpec(
    "SLICE", "dii -> d", _slice_shape, safety=_names_all_axes,
    values=lambda call: call.values[0][call.whole(1)[0] :][: call.whole(2)[0]], kernel=_slice, keeps_integers=True,
))  # fmt: skip
register(OperatorSpec(
    "STRIDED_SLICE", "diii -> d", _strided_slice_shape, "StridedSliceOptions", safety=_names_enough_axes,
    values=lambda call: call.values[0][_box(call)], kernel=_strided_slice, keeps_integers=True,
))  # fmt: skip
for _name, _signature, _options in (
    ("PAD", "dI -> d", ""), ("PADV2", "dId -> d", ""), ("MIRROR_PAD", "dI -> d", "MirrorPadOptions")
):  # fmt: skip
    register(OperatorSpec(
        _name, _signature, _padded_shape, _options, safety=_padding_fits, kernel=_pad, keeps_integers=True
    ))  # fmt: skip
register(OperatorSpec(
    "GATHER", "dn -> d", _gathered_shape, "GatherOptions",
    values=lambda call: np.take(call.values[0], call.values[1], axis=call.option("axis")), kernel=_gather,
    keeps_integers=True,
))  # fmt: skip
register(OperatorSpec("GATHER_ND", "dn -> d", _gathered_nd_shape))
register(OperatorSpec("TILE", "dI -> d", _tiled_shape))
register(OperatorSpec("REVERSE_V2", "dI -> d", same_shape))
