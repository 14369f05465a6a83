"""Kernel sets that the twin imitates, and what their kernels refuse."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfharden.errors import InputError
from tfharden.tflite.graph import Operator, Shape, Tensor

# From the inputs that an operator is given, in its own order, to its output (or a list of outputs).
Function = Callable[..., Any]

_MAX_ELEMENTS = 2**26  # of a constant that the twin makes


@dataclasses.dataclass(frozen=True)
class KernelSet:
    """The kernels that are imitated.

    Attributes:
        name: "xnnpack" or "reference".
        content: the file, for kernels that are imitated by what they are seen to do.
        batch: the file's own batch.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)
    batch: int

    @functools.cached_property
    def tree(self) -> schema.ModelT:
        """The file as LiteRT's object API has it, to take parts from."""
        return schema.ModelT.InitFromPackedBuf(self.content, 0)

    @property
    def reference(self) -> bool:
        """Whether they are the reference kernels."""
        return self.name == "reference"


def refuse(operator: Operator, reason: str) -> InputError:
    """An error that names the operator."""
    return InputError(f"the twin can't do {operator.label}: {reason}")


def check_size(operator: Operator, shape: Sequence[int]) -> None:
    """Bounds a constant that the twin makes for itself.

    Raises:
        InputError: it would have more than 64 million elements.
    """
    if math.prod(map(int, shape)) > _MAX_ELEMENTS:
        raise refuse(operator, f"it would need a constant of shape {tuple(map(int, shape))}")


def per_image(tensor: Tensor, kernels: KernelSet) -> Shape | None:
    """The part of a shape that belongs to each image; None where it can't be told.

    At batch 1 a tensor may lack the batch axis, and belongs to the image all the same: the twin puts one before it.
    """
    if tensor.shape[:1] == (kernels.batch,):
        return tensor.shape[1:]
    return tensor.shape if kernels.batch == 1 else None
