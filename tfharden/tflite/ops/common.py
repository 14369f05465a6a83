"""Rules that operators of several families share."""

from tfharden.tflite.graph import Operator, Shape, Tensor
from tfharden.tflite.kernels.kernel_set import refuse
from tfharden.tflite.ops.spec import Call

# Element types of integers that have a scale.
SCALED = ("INT8", "UINT8", "INT16")


def same_shape(call: Call) -> Shape:
    """That of the first input."""
    return call.shapes[0]


def with_sizes(shape: Shape, axis: int, *sizes: int) -> Shape:
    """A shape with other sizes in the place of one axis."""
    return (*shape[:axis], *sizes, *shape[axis + 1 :])


def image_shape(shape: Shape) -> Shape:
    """The shape if it is one of images `[n, height, width, channels]`.

    Raises:
        ValueError: it isn't.
    """
    if len(shape) != 4:  # noqa: PLR2004
        raise ValueError("no images")
    return shape


def keeps_shape(operator: Operator) -> bool:
    """Safety rule of kernels that write as many elements as they read."""
    return operator.inputs[0].shape == operator.output.shape


def image_axis(op: Operator, axis: int, tensor: Tensor) -> int:
    """An axis within each image, counted from the batch axis.

    Raises:
        InputError: it is the batch axis.
    """
    axis %= len(tensor.shape)
    if axis == 0 and any(t is not None and t.data is None for t in op.inputs):
        raise refuse(op, "it works along the batch axis")
    return axis


def check_constant(op: Operator, *tensors: Tensor) -> None:
    """Refuses numbers that say where to cut or pad and only come about during a run.

    Raises:
        InputError: they do.
    """
    if any(tensor.data is None for tensor in tensors):
        raise refuse(op, "where it cuts or pads isn't constant")
