"""Graph of a verified .tflite: tensors with their numbers, operators with their options. Everything reads this one."""

import dataclasses
import functools
import math
from typing import Any

import numpy as np

from tfharden.tflite.format import schema, sparsity
from tfharden.tflite.format.flatbuffer import Table

Shape = tuple[int, ...]

ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_ELEMENTS = {element.name: element for element in schema.ELEMENTS.values()}
MAX_RANK = 6  # of a tensor
_NAME_CHARACTERS = 60  # of a stranger's name in a message


def quoted(name: str | None) -> str:
    """A stranger's text on one line, without control characters, of bounded length."""
    return repr((name or "")[:_NAME_CHARACTERS])


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor: real value = (stored - zero point) * scale.

    The twin computes on `stored - zero point`, which is called centred here: whole numbers in float32, in which a real
    zero, such as padding, is 0.

    Attributes:
        index: its number in the file.
        name: its name there.
        element: LiteRT's name of its type.
        shape: sizes, at the file's own batch.
        signature: sizes, with -1 where they depend on the batch.
        scales: float32 `[1]`, or one for each channel along `axis`; empty if it isn't quantised.
        zero_points: int64, as many.
        axis: dimension of the channels.
        stored: bytes of a constant in the file; None for any other tensor.
        sparsity: index of a constant that is stored without its zeros.
        folded: value that was worked out from constants.
    """

    index: int
    name: str
    element: str
    shape: Shape
    signature: Shape
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int = 0
    stored: np.ndarray | None = dataclasses.field(default=None, repr=False)
    sparsity: Table | None = dataclasses.field(default=None, repr=False)
    folded: np.ndarray | None = dataclasses.field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Number and name, fit for a message."""
        return f"tensor {self.index} {quoted(self.name)}"

    @property
    def bits(self) -> int:
        """Bits of an element."""
        return _ELEMENTS[self.element].bits

    @property
    def dtype(self) -> np.dtype:
        """NumPy type that holds an element as stored."""
        return np.dtype(_ELEMENTS[self.element].numpy)

    @property
    def scale(self) -> float:
        """The scale, of a tensor that has one for all channels; 0.0 if it isn't quantised."""
        return float(self.scales[0]) if len(self.scales) and self.dtype.kind != "f" else 0.0

    @property
    def scale32(self) -> np.float32:
        """The scale in the type in which kernels compute.

        Raises:
            IndexError: the tensor isn't quantised.
        """
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point, likewise; 0 if it isn't quantised."""
        return int(self.zero_points[0]) if len(self.zero_points) and self.dtype.kind != "f" else 0

    @property
    def whole(self) -> bool:
        """Whether it holds shapes, axes or indices: whole numbers without a scale."""
        return self.dtype.kind in "iub" and not len(self.scales)

    @property
    def quantised(self) -> bool:
        """Whether it holds integers with a scale."""
        return self.dtype.kind in "iu" and len(self.scales) > 0

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest centred value that it can hold."""
        bounds = np.iinfo(self.dtype)
        return int(bounds.min) - self.zero_point, int(bounds.max) - self.zero_point

    @functools.cached_property
    def data(self) -> Any:  # noqa: ANN401 - an array where rules ask for a constant
        """A constant as stored, whole; None for any other tensor, and for sparse ones of fewer than 8 bits."""
        if self.folded is not None:
            return self.folded
        if self.stored is None:
            # A tensor without elements needs no data.
            return np.zeros(self.shape, self.dtype) if 0 in self.shape else None
        if self.bits < 8:  # noqa: PLR2004 - several in a byte
            return None if self.sparsity else self._unpacked(self.stored)
        values = self.stored.view(self.dtype)
        return sparsity.dense(self.sparsity, self.shape, values) if self.sparsity else values.reshape(self.shape)

    def _unpacked(self, stored: np.ndarray) -> np.ndarray:
        """Numbers of 2 or 4 bits; the first one lies in the lowest bits."""
        bits = self.bits
        fields = np.stack([stored >> shift for shift in range(0, 8, bits)], axis=-1) & (2**bits - 1)
        flat = fields.reshape(-1)[: math.prod(self.shape)].astype(np.int16)
        signed = flat - 2**bits * (flat >= 2 ** (bits - 1)) * (self.dtype.kind == "i")
        return signed.astype(self.dtype).reshape(self.shape)

    @functools.cached_property
    def centred(self) -> np.ndarray:
        """A constant as the twin has it: centred, as float32; whole numbers as they are, real ones in float32."""
        if self.whole:
            return self.data
        if not self.quantised:
            return self.data.astype(np.float32)
        return (self.data.astype(np.float64) - self.along_axis(self.zero_points)).astype(np.float32)

    def along_axis(self, values: np.ndarray) -> np.ndarray:
        """One value for all, or one a channel, in a shape that broadcasts against the tensor."""
        if len(values) == 1:
            return values[0]
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(len(self.shape))])


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """One operator; an input that is left out is None, and options that are left out are zeros.

    Attributes:
        number: its place in the file.
        opcode: LiteRT's name.
        inputs: tensors or None.
        outputs: tensors.
        options: one attribute an option; None where the file has none.
        options_table: LiteRT's name of the table that the options are.
    """

    number: int
    opcode: str
    inputs: tuple[Any, ...]  # the rules of its spec say which ones are there
    outputs: tuple[Tensor, ...]
    options: Table | None = None
    options_table: str | None = "NONE"

    @property
    def label(self) -> str:
        """Number and name, fit for a message."""
        return f"operator {self.number} ({self.opcode})"

    @property
    def output(self) -> Tensor:
        """The only output."""
        return self.outputs[0]

    def option(self, name: str, default: Any = 0) -> Any:  # noqa: ANN401
        """An option, or the default where the file has no table of options."""
        return getattr(self.options, name, default)

    @property
    def activation(self) -> str:
        """The fused activation, by LiteRT's name."""
        return ACTIVATIONS[self.option("fused_activation_function")]

    @property
    def padding(self) -> str:
        """Padding by TensorFlow's name."""
        return ("SAME", "VALID")[self.option("padding")]


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Tensors by their numbers, and operators in an order in which they can run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def input(self) -> Tensor:
        """The first input."""
        return self.inputs[0]

    @property
    def output(self) -> Tensor:
        """The first output."""
        return self.outputs[0]

    @property
    def batch(self) -> int:
        """The file's own batch."""
        return self.input.shape[0]

    def maker(self, tensor: Tensor) -> Operator | None:
        """The operator that makes a tensor; None for inputs and constants."""
        return next((operator for operator in self.operators if tensor in operator.outputs), None)


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A verified file: its graphs, its metadata (names and octets), and its buffers as the flatbuffer has them."""

    graphs: tuple[Graph, ...]
    metadata: tuple[tuple[str, np.ndarray | None], ...]
    buffers: tuple[Table, ...]

    @property
    def has_outside_data(self) -> bool:
        """Whether constants lie behind the flatbuffer."""
        return any(buffer.offset > 1 for buffer in self.buffers)
