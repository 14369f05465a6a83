"""What each operator computes, by its name."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from tfharden.errors import InputError
from tfharden.tflite.twin.graph import Operator, Tensor

# From the inputs that an operator is given, in its own order, to its output (or a list of outputs).
Function = Callable[..., Any]
# Makes the function of one operator, for its own scales, options and constants.
Builder = Callable[[Operator, "Kernels"], Function]

# What a file that lies makes Python and TensorFlow raise.
_LIES = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, tf.errors.OpError)
# Kernels that hand on integers as stored, whatever their scales say.
_COPYING = ("AVERAGE_POOL_2D", "DEPTH_TO_SPACE", "EXPAND_DIMS", "GATHER", "MAX_POOL_2D", "MIRROR_PAD", "PACK", "PAD",
            "PADV2", "REDUCE_MAX", "REDUCE_MIN", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE",
            "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQUEEZE", "STRIDED_SLICE", "TRANSPOSE", "UNPACK")  # fmt: skip
_MOST_ELEMENTS = 2**26

_BUILDERS: dict[str, Builder] = {}


class Kernels:
    """The kernels that are to be imitated.

    Attributes:
        name: "xnnpack" or "reference".
        content: the file, for kernels that are imitated by what they are seen to do.
        batch: the file's own batch.
    """

    def __init__(self, name: str, content: bytes, batch: int) -> None:
        self.name = name
        self.content = content
        self.batch = batch

    @property
    def reference(self) -> bool:
        """Whether they are the reference kernels."""
        return self.name == "reference"


def operator(*names: str) -> Callable[[Builder], Builder]:
    """Registers a builder for operators of these names."""

    def register(builder: Builder) -> Builder:
        _BUILDERS.update(dict.fromkeys(names, builder))
        return builder

    return register


def known() -> list[str]:
    """Names of the operators that the twin has."""
    return sorted(_BUILDERS)


def check(names: Sequence[str]) -> None:
    """Refuses operators that the twin doesn't have, by name.

    Raises:
        InputError: there are some.
    """
    missing = sorted(set(names) - set(_BUILDERS))
    if missing:
        raise InputError(f"the twin doesn't know {', '.join(missing)}")


def build(operator: Operator, kernels: Kernels) -> Function:
    """The function of one operator.

    Raises:
        InputError: types or options that the twin doesn't know, or an operator that mixes the images of a batch.
    """
    affine = {(float(t.scale), t.zero_point) for t in (*operator.inputs, *operator.outputs) if t and t.quantised}
    if operator.opcode in _COPYING and len(affine) > 1:
        raise refuse(operator, "its inputs have other scales than its output")
    return _BUILDERS[operator.opcode](operator, kernels)


def refuse(operator: Operator, reason: str) -> InputError:
    """An error that names the operator."""
    return InputError(f"the twin can't do {operator.label}: {reason}")


@contextlib.contextmanager
def naming(operator: Operator) -> Iterator[None]:
    """Turns what comes of inputs and options that don't fit into an error that names the operator."""
    try:
        yield
    except _LIES as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise refuse(operator, reason) from error


def check_shapes(operator: Operator, outputs: Sequence[tf.Tensor], kernels: Kernels) -> None:
    """Compares outputs with what the file says of them.

    Raises:
        InputError: their shapes differ, which no later operator would forgive.
    """
    for tensor, value in zip(operator.outputs, outputs, strict=True):
        image = per_image(tensor, kernels)
        if image is None or not value.shape[1:].is_compatible_with(image):
            raise refuse(operator, f"an image's part of {tensor.dims} is {value.shape[1:]}")


def check_size(operator: Operator, dims: Sequence[int]) -> None:
    """Bounds a constant that the twin makes for itself.

    Raises:
        InputError: it would have more than 64 million elements.
    """
    if math.prod(map(int, dims)) > _MOST_ELEMENTS:
        raise refuse(operator, f"it would need a constant of shape {tuple(map(int, dims))}")


def per_image(tensor: Tensor, kernels: Kernels) -> tuple[int, ...] | None:
    """The part of a shape that belongs to each image; None where it can't be told.

    At batch 1 a tensor may lack the batch axis, and belongs to the image all the same: the twin puts one before it.
    """
    if tensor.dims[:1] == (kernels.batch,):
        return tensor.dims[1:]
    return tensor.dims if kernels.batch == 1 else None
