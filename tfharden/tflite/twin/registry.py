"""What each operator computes, by its name."""

from collections.abc import Callable, Sequence
from typing import Any

from tfharden.errors import InputError
from tfharden.tflite.twin.graph import Operator, Tensor

# From the inputs that an operator is given, in its own order, to its output (or a list of outputs).
Function = Callable[..., Any]
# Makes the function of one operator, for its own scales, options and constants.
Builder = Callable[[Operator, "Kernels"], Function]

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
    return _BUILDERS[operator.opcode](operator, kernels)


def refuse(operator: Operator, reason: str) -> InputError:
    """An error that names the operator."""
    return InputError(f"the twin can't do {operator.label}: {reason}")


def per_image(tensor: Tensor, kernels: Kernels) -> tuple[int, ...] | None:
    """The part of a shape that belongs to each image; None where it can't be told.

    At batch 1 a tensor may lack the batch axis, and belongs to the image all the same: the twin puts one before it.
    """
    if tensor.dims[:1] == (kernels.batch,):
        return tensor.dims[1:]
    return tensor.dims if kernels.batch == 1 else None
