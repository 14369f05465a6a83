"""The shapes that operators on images `[n, height, width, channels]` make.

What doesn't fit raises ValueError, IndexError or ZeroDivisionError.
"""

import math
from collections.abc import Sequence

import numpy as np

from tfharden.tflite.shapes.call import Call, Dims

_RANK = 4


def _windows(size: int, window: int, stride: int, padding: int) -> int:
    """The number of places of a window along an axis of `size`; padding as in the file, 0 for SAME."""
    return -(-size // stride) if padding == 0 else -(-(size - window + 1) // stride)


def _windowed(call: Call, window: Sequence[int], dilation: Sequence[int]) -> Dims:
    _, *sizes, _ = _images(call.dims[0])
    strides = call.option("stride_h"), call.option("stride_w")
    reaches = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    padding = call.option("padding")
    places = [_windows(*axis, padding) for axis in zip(sizes, reaches, strides, strict=True)]
    if min(places) < 1:
        raise ValueError("the window doesn't fit")
    return tuple(places)


def _images(dims: Dims) -> Dims:
    if len(dims) != _RANK:
        raise ValueError("no images")
    return dims


def convolution(call: Call) -> Dims:
    """Places of the window, and as many channels as there are filters."""
    data, weights = call.dims[:2]
    dilation = call.option("dilation_h_factor"), call.option("dilation_w_factor")
    places = _windowed(call, weights[1:3], dilation)
    if call.operator.opcode == "DEPTHWISE_CONV_2D":
        fits, channels = weights[0] == 1 and weights[3] % data[3] == 0, weights[3]
    else:
        fits, channels = data[3] % weights[3] == 0 and weights[0] % (data[3] // weights[3]) == 0, weights[0]
    if not fits:
        raise ValueError("channels don't fit")
    return (data[0], *places, channels)


def transposed(call: Call) -> Dims:
    """What a convolution with these options makes the data of."""
    weights, (count, *sizes, channels) = call.dims[1], _images(call.dims[2])
    batch, *outputs, made = _images(tuple(call.whole(0)))
    padding, strides = call.option("padding"), (call.option("stride_h"), call.option("stride_w"))
    # The size is free only as far as the convolution back leads to the data.
    back = [_windows(*axis, padding) for axis in zip(outputs, weights[1:3], strides, strict=True)]
    if (batch, made, channels, back) != (count, weights[0], weights[3], sizes):
        raise ValueError("it isn't the transpose of a convolution")
    return (batch, *outputs, made)


def pool(call: Call) -> Dims:
    """Places of the window."""
    data = _images(call.dims[0])
    return (data[0], *_windowed(call, (call.option("filter_height"), call.option("filter_width")), (1, 1)), data[3])


def to_batch(call: Call) -> Dims:
    """Blocks of pixels to images."""
    (count, *sizes), blocks = call.dims[0], call.whole(1)
    widths = np.reshape(call.whole(2), (-1, 2)).sum(axis=1).tolist()
    padded = [size + width for size, width in zip(sizes[: len(blocks)], widths, strict=True)]
    if any(size % block for size, block in zip(padded, blocks, strict=True)):
        raise ValueError("blocks don't fit")
    cut = [size // block for size, block in zip(padded, blocks, strict=True)]
    return (count * math.prod(blocks), *cut, *sizes[len(blocks) :])


def from_batch(call: Call) -> Dims:
    """Images to blocks of pixels."""
    (count, *sizes), blocks = call.dims[0], call.whole(1)
    crops = np.reshape(call.whole(2), (-1, 2)).sum(axis=1).tolist()
    if count % math.prod(blocks):
        raise ValueError("blocks don't fit")
    joined = [size * block - crop for size, block, crop in zip(sizes[: len(blocks)], blocks, crops, strict=True)]
    return (count // math.prod(blocks), *joined, *sizes[len(blocks) :])


def to_depth(call: Call) -> Dims:
    """Blocks of pixels to channels."""
    (count, height, width, channels), block = _images(call.dims[0]), call.option("block_size")
    if height % block or width % block:
        raise ValueError("blocks don't fit")
    return (count, height // block, width // block, channels * block**2)


def from_depth(call: Call) -> Dims:
    """Channels to blocks of pixels."""
    (count, height, width, channels), block = _images(call.dims[0]), call.option("block_size")
    if channels % block**2:
        raise ValueError("blocks don't fit")
    return (count, height * block, width * block, channels // block**2)


def resized(call: Call) -> Dims:
    """The size that is asked for."""
    count, _, _, channels = _images(call.dims[0])
    height, width = call.whole(1)
    return (count, height, width, channels)
