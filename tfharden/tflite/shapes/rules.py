"""The shape that each operator makes of the shapes it is given, as LiteRT works it out."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfharden.errors import InputError
from tfharden.tflite.shapes import images
from tfharden.tflite.shapes.call import Call, Dims


def made(call: Call) -> list[Dims]:
    """The shape of each output.

    Raises:
        InputError: inputs and options don't fit each other.
    """
    try:
        shapes = _RULES[call.operator.opcode](call)
    except InputError:
        raise
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise unfit(call) from error
    shapes = shapes if isinstance(shapes, list) else [shapes]
    if len(shapes) != len(call.operator.outputs) or any(size < 0 for shape in shapes for size in shape):
        raise unfit(call)
    return shapes


def unfit(call: Call) -> InputError:
    """An error that names the operator and the shapes."""
    given = ", ".join(map(str, call.dims))
    return InputError(f"{call.operator.label} can't work on shapes {given} with its options")


# Of single operators. Where something doesn't fit, they raise one of the errors that `made` turns into its own.


def _same(call: Call) -> Dims:
    return call.dims[0]


def _broadcast(call: Call) -> Dims:
    return np.broadcast_shapes(*call.dims)


def _select(call: Call) -> Dims:
    return call.dims[1]


def _dense(call: Call) -> Dims:
    data, (units, width) = call.dims[:2]
    if math.prod(data) % width or (call.option("keep_num_dims") and data[-1] != width):
        raise ValueError("rows don't fit")
    return (*data[:-1], units) if call.option("keep_num_dims") else (math.prod(data) // width, units)


def _matrices(call: Call) -> Dims:
    (*first, n, k), (*second, rows, m) = call.dims
    n, k = (k, n) if call.option("adj_x") else (n, k)
    rows, m = (m, rows) if call.option("adj_y") else (rows, m)
    if k != rows:
        raise ValueError("matrices don't fit")
    return (*np.broadcast_shapes(tuple(first), tuple(second)), n, m)


def _concatenated(call: Call) -> Dims:
    axis = call.axis(call.option("axis"), len(call.dims[0]))
    rests = {dims[:axis] + dims[axis + 1 :] for dims in call.dims}
    if len(rests) != 1 or len({len(dims) for dims in call.dims}) != 1:
        raise ValueError("parts don't fit")
    return _with(call.dims[0], axis, sum(dims[axis] for dims in call.dims))


def _with(dims: Dims, axis: int, *sizes: int) -> Dims:
    return (*dims[:axis], *sizes, *dims[axis + 1 :])


def _packed(call: Call) -> Dims:
    dims = call.dims[0]
    if len(set(call.dims)) != 1:
        raise ValueError("parts don't fit")
    axis = call.axis(call.option("axis"), len(dims) + 1)
    return (*dims[:axis], len(call.dims), *dims[axis:])


def _unpacked(call: Call) -> list[Dims]:
    axis = call.axis(call.option("axis"), len(call.dims[0]))
    if call.dims[0][axis] != len(call.operator.outputs):
        raise ValueError("parts don't fit")
    return [_with(call.dims[0], axis)] * len(call.operator.outputs)


def _split(call: Call) -> list[Dims]:
    dims, parts = call.dims[1], len(call.operator.outputs)
    axis = call.axis(call.whole(0)[0], len(dims))
    if dims[axis] % parts:
        raise ValueError("parts don't fit")
    return [_with(dims, axis, dims[axis] // parts)] * parts


def _split_v(call: Call) -> list[Dims]:
    dims, sizes = call.dims[0], call.whole(1)
    axis = call.axis(call.whole(2)[0], len(dims))
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = dims[axis] - sum(sizes) - 1
    if sum(sizes) != dims[axis]:
        raise ValueError("parts don't fit")
    return [_with(dims, axis, size) for size in sizes]


def _slice(call: Call) -> Dims:
    starts, sizes = call.whole(1), call.whole(2)
    made = [d - b if n == -1 else n for d, b, n in zip(call.dims[0], starts, sizes, strict=True)]
    if any(b < 0 or n < 0 or b + n > d for d, b, n in zip(call.dims[0], starts, made, strict=True)):
        raise ValueError("it cuts outside")
    return tuple(made)


def _strided_slice(call: Call) -> Dims:
    # As numpy cuts, on an array that takes no memory.
    return np.broadcast_to(np.int8(0), call.dims[0])[box(call)].shape


def box(call: Call) -> tuple[Any, ...]:
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


def _gathered(call: Call) -> Dims:
    data, places = call.dims
    axis = call.axis(call.option("axis"), len(data))
    shared = call.axis(call.option("batch_dims"), len(places) + 1)
    if shared > axis or data[:shared] != places[:shared]:
        raise ValueError("batches don't fit")
    return (*data[:axis], *places[shared:], *data[axis + 1 :])


def _gathered_nd(call: Call) -> Dims:
    data, places = call.dims
    if not 0 < places[-1] <= len(data):
        raise ValueError("indices don't fit")
    return (*places[:-1], *data[places[-1] :])


def _padded(call: Call) -> Dims:
    widths = np.reshape(call.whole(1), (-1, 2)).tolist()
    if min(map(min, widths)) < 0:
        raise ValueError("negative padding")
    return tuple(size + before + after for size, (before, after) in zip(call.dims[0], widths, strict=True))


def _tiled(call: Call) -> Dims:
    return tuple(size * count for size, count in zip(call.dims[0], call.whole(1), strict=True))


def _broadcast_to(call: Call) -> Dims:
    wanted = tuple(call.whole(1))
    if np.broadcast_shapes(call.dims[0], wanted) != wanted:
        raise ValueError("shapes don't fit")
    return wanted


def _turned(call: Call) -> Dims:
    order = [call.axis(axis, len(call.dims[0])) for axis in call.whole(1)]
    if sorted(order) != list(range(len(call.dims[0]))):
        raise ValueError("no permutation")
    return tuple(call.dims[0][axis] for axis in order)


def _reduced(call: Call) -> Dims:
    axes = {call.axis(axis, len(call.dims[0])) for axis in call.whole(1)}
    if call.option("keep_dims"):
        return tuple(1 if axis in axes else size for axis, size in enumerate(call.dims[0]))
    return tuple(size for axis, size in enumerate(call.dims[0]) if axis not in axes)


def _largest(call: Call) -> Dims:
    (number,) = call.whole(1)
    return _with(call.dims[0], call.axis(number, len(call.dims[0])))


def _top(call: Call) -> list[Dims]:
    (count,) = call.whole(1)
    if not 0 < count <= call.dims[0][-1]:
        raise ValueError("there aren't as many")
    return [(*call.dims[0][:-1], count)] * 2


def _reshaped(call: Call) -> Dims:
    options = call.option("new_shape")
    # Files of old have the shape among the options alone.
    wanted = call.whole(1) if len(call.dims) > 1 else np.atleast_1d(options).tolist()
    if len(call.dims) == 1 and wanted == [0]:
        wanted = []
    count = math.prod(call.dims[0])
    if wanted.count(-1) == 1:
        known = -math.prod(wanted)
        wanted[wanted.index(-1)] = count // known
    if math.prod(wanted) != count:
        raise ValueError("elements don't fit")
    return tuple(wanted)


def _expanded(call: Call) -> Dims:
    (number,) = call.whole(1)
    axis = call.axis(number, len(call.dims[0]) + 1)
    return (*call.dims[0][:axis], 1, *call.dims[0][axis:])


def _squeezed(call: Call) -> Dims:
    dims, listed = call.dims[0], call.option("squeeze_dims")
    axes = [axis for axis, size in enumerate(dims) if size == 1]
    if np.size(listed) and isinstance(listed, np.ndarray):
        axes = [call.axis(int(axis), len(dims)) for axis in listed]
    if any(dims[axis] != 1 for axis in axes):
        raise ValueError("an axis isn't 1")
    return tuple(size for axis, size in enumerate(dims) if axis not in axes)


_SAME = (
    "ABS", "ADD_N", "CAST", "CEIL", "COS", "CUMSUM", "DENSIFY", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "GELU",
    "HARD_SWISH", "L2_NORMALIZATION", "LEAKY_RELU", "LOCAL_RESPONSE_NORMALIZATION", "LOG", "LOGICAL_NOT", "LOGISTIC",
    "LOG_SOFTMAX", "NEG", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "REVERSE_V2", "ROUND", "RSQRT",
    "SIGN", "SIN", "SOFTMAX", "SQRT", "SQUARE", "TANH", "ZEROS_LIKE",
)  # fmt: skip
_BROADCAST = (
    "ADD", "ATAN2", "DIV", "EQUAL", "FLOOR_DIV", "FLOOR_MOD", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL",
    "LOGICAL_AND", "LOGICAL_OR", "MAXIMUM", "MINIMUM", "MUL", "NOT_EQUAL", "POW", "PRELU", "SELECT_V2",
    "SQUARED_DIFFERENCE", "SUB",
)  # fmt: skip
_RULES: dict[str, Callable[[Call], Dims | list[Dims]]] = {
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(_BROADCAST, _broadcast),
    **dict.fromkeys(["MEAN", "SUM", "REDUCE_ALL", "REDUCE_ANY", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"], _reduced),
    **dict.fromkeys(["CONV_2D", "DEPTHWISE_CONV_2D"], images.convolution),
    **dict.fromkeys(["AVERAGE_POOL_2D", "L2_POOL_2D", "MAX_POOL_2D"], images.pool),
    **dict.fromkeys(["PAD", "PADV2", "MIRROR_PAD"], _padded),
    **dict.fromkeys(["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"], images.resized),
    **dict.fromkeys(["ARG_MAX", "ARG_MIN"], _largest),
    "BATCH_MATMUL": _matrices,
    "BATCH_TO_SPACE_ND": images.from_batch,
    "BROADCAST_TO": _broadcast_to,
    "CONCATENATION": _concatenated,
    "DEPTH_TO_SPACE": images.from_depth,
    "EXPAND_DIMS": _expanded,
    "FULLY_CONNECTED": _dense,
    "GATHER": _gathered,
    "GATHER_ND": _gathered_nd,
    "PACK": _packed,
    "RANK": lambda _: (),
    "RESHAPE": _reshaped,
    "SELECT": _select,
    "SHAPE": lambda call: (len(call.dims[0]),),
    "SLICE": _slice,
    "SPACE_TO_BATCH_ND": images.to_batch,
    "SPACE_TO_DEPTH": images.to_depth,
    "SPLIT": _split,
    "SPLIT_V": _split_v,
    "SQUEEZE": _squeezed,
    "STRIDED_SLICE": _strided_slice,
    "TILE": _tiled,
    "TOPK_V2": _top,
    "TRANSPOSE": _turned,
    "TRANSPOSE_CONV": images.transposed,
    "UNPACK": _unpacked,
}
