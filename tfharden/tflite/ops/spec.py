"""OperatorSpec: what is known of one .tflite operator, and the registry of all of them.

Operators without a spec (control flow, state, strings, random numbers, custom code) are refused by name: a feed-forward
classifier needs none of them, and each would be one more native kernel within reach of a stranger's file.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tfharden._registry import Registry
from tfharden.errors import InputError
from tfharden.tflite.graph import Operator, Shape
from tfharden.tflite.kernels.kernel_set import Function, KernelSet


@dataclasses.dataclass(frozen=True)
class Call:
    """An operator and the inputs that it is given.

    Attributes:
        operator: the operator.
        shapes: those of its inputs, which may differ from the file's with the batch.
        values: whole numbers of the inputs that are known before a run; None for the others.
    """

    operator: Operator
    shapes: list[Shape]
    values: list[Any]

    def option(self, name: str) -> Any:  # noqa: ANN401
        """An option; absent ones are zeros."""
        return self.operator.option(name)

    def whole(self, place: int) -> list[int]:
        """The whole numbers at an input.

        Raises:
            InputError: they only come about during a run.
        """
        value = self.values[place]
        if value is None:
            raise InputError(f"{self.operator.label} needs numbers that aren't known before it runs")
        return value.reshape(-1).tolist()

    def axis(self, number: int, rank: int) -> int:
        """An axis, counted from the first.

        Raises:
            IndexError: there is no such axis.
        """
        return range(rank)[number]


# Shape of the output, or of each output. What doesn't fit raises ValueError, IndexError or ZeroDivisionError.
ShapeRule = Callable[[Call], Shape | list[Shape]]
# Makes the function of one operator, for its own scales, options and constants.
Kernel = Callable[[Operator, KernelSet], Function]


@dataclasses.dataclass(frozen=True)
class OperatorSpec:
    """One builtin operator of LiteRT.

    A signature has one letter for each tensor, `"dwb -> d"`. A star repeats the letter before it, one or more times.

    - `d`: data. All of an operator have one element type, and integers of 8 or 16 bits have exactly one scale.
    - `w`: weights of a product with data. They may have a scale for each channel.
    - `b`: bias. It may be absent, as the last input or as tensor -1.
    - `i`, `I`: whole numbers (a shape, an axis), 12 at most; the capital is for constants.
    - `n`, `N`: whole numbers, however many.
    - `m`: booleans. `q`: quantised or half-precision numbers. `s`: a sparse constant. `a`: anything.

    Attributes:
        name: LiteRT's name, such as "CONV_2D".
        signature: the letters of inputs and outputs, or several alternatives.
        shape: rule from the shapes of the inputs to those of the outputs, as LiteRT works them out.
        options: LiteRT's name of its table of options in `format/schema.py`; empty if none are read.
        safety: rule that tells whether inputs, outputs and options fit each other. What doesn't fit may crash LiteRT.
        options_fault: what is wrong with options beyond what is checked of all, in words; empty if nothing is.
        weights: dimension of weights that may have a scale for each channel, and their rank.
        values: what it makes of whole numbers that are known before a run, such as shapes.
        scratch: bytes that kernels take for themselves, at most, from the call, the output's shape and its element's
            bytes.
        multiply_adds: of the whole batch.
        kernel: builder of the twin's function: values as LiteRT's kernels compute them, differentiable. None if the
            twin has none.
        keeps_integers: whether kernels hand on integers as stored, so that inputs and outputs need the same scale.
    """

    name: str
    signature: str | tuple[str, ...]
    shape: ShapeRule
    options: str = ""
    safety: Callable[[Operator], bool] | None = None
    options_fault: Callable[[Mapping[str, Any]], str] | None = None
    weights: tuple[int, int] | None = None
    values: Callable[[Call], Any] | None = None
    scratch: Callable[[Call, Shape, int], int] | None = None
    multiply_adds: Callable[[Operator], int] | None = None
    kernel: Kernel | None = None
    keeps_integers: bool = False

    @property
    def signatures(self) -> tuple[tuple[str, str], ...]:
        """Letters of inputs and outputs of each alternative."""
        given = (self.signature,) if isinstance(self.signature, str) else self.signature
        pairs = (one.split("->") for one in given)
        return tuple((inputs.strip(), outputs.strip()) for inputs, outputs in pairs)

    def roles(self, operator: Operator) -> str:
        """The letter of each input and output of an operator; empty if their numbers fit no signature."""
        for inputs, outputs in self.signatures:
            given, made = _repeated(inputs, len(operator.inputs)), _repeated(outputs, len(operator.outputs))
            if given and made:
                return given + made
        return ""


def _repeated(pattern: str, count: int) -> str:
    if pattern.endswith("*"):
        return pattern[0] * count
    if pattern.endswith("b") and count == len(pattern) - 1:
        return pattern[:-1]
    return pattern if count == len(pattern) else ""


KNOWN: Registry[OperatorSpec] = Registry("operator")


def register(spec: OperatorSpec, *, replace: bool = False) -> OperatorSpec:
    """Adds an operator to those that files may have.

    Args:
        spec: the operator.
        replace: whether it takes the place of the one of the same name.

    Raises:
        InputError: there is one of that name already.
    """
    if replace:
        KNOWN[spec.name] = spec
    return KNOWN.register(spec.name)(spec)


def of(operator: Operator) -> OperatorSpec:
    """The spec of an operator of a verified graph."""
    return KNOWN[operator.opcode]
