"""Windows that convolutions and pools move over images `[n, height, width, channels]`."""

from collections.abc import Sequence

from tfharden.tflite.graph import Shape
from tfharden.tflite.ops.common import image_shape
from tfharden.tflite.ops.spec import Call

POINTER_BYTES = 8


def places(size: int, window: int, stride: int, padding: int) -> int:
    """The number of places of a window along an axis of `size`; padding as in the file, 0 for SAME."""
    return -(-size // stride) if padding == 0 else -(-(size - window + 1) // stride)


def output_sizes(call: Call, window: Sequence[int], dilation: Sequence[int] = (1, 1)) -> Shape:
    """Height and width of what a window makes of the first input.

    Raises:
        ValueError: the first input isn't images, or the window doesn't fit in.
    """
    _, *sizes, _ = image_shape(call.shapes[0])
    strides = call.option("stride_h"), call.option("stride_w")
    reaches = [(size - 1) * step + 1 for size, step in zip(window, dilation, strict=True)]
    padding = call.option("padding")
    made = [places(*axis, padding) for axis in zip(sizes, reaches, strides, strict=True)]
    if min(made) < 1:
        raise ValueError("the window doesn't fit")
    return tuple(made)
