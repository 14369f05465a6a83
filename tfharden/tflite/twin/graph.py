"""The graph of a verified .tflite as the twin sees it: tensors with their numbers, operators with their options."""

import dataclasses
import functools
import math
import types
from typing import Any

import numpy as np

from tfharden.tflite.format import sparsity, verifier
from tfharden.tflite.format.flatbuffer import Table
from tfharden.tflite.format.safety_rules import ABSENT


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor: real value = (stored - zero point) * scale.

    The twin computes on `stored - zero point`, which is called centred here: whole numbers in float32, in which a real
    zero, such as padding, is 0.

    Attributes:
        index: its number in the file.
        name: its name there.
        element: LiteRT's name of its type.
        dims: shape, at the file's own batch.
        dtype: numpy type that holds it as stored.
        data: a constant as stored; None for any other tensor.
        scales: float32 `[1]`, or one for each channel along `axis`; empty if it isn't quantised.
        zero_points: int64, as many.
        axis: dimension of the channels.
    """

    index: int
    name: str
    element: str
    dims: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray | None
    scales: np.ndarray
    zero_points: np.ndarray
    axis: int

    @property
    def whole(self) -> bool:
        """Whether it holds shapes, axes or indices: whole numbers without a scale."""
        return self.dtype.kind in "iub" and not len(self.scales)

    @property
    def quantised(self) -> bool:
        """Whether it holds integers with a scale."""
        return self.dtype.kind in "iu" and len(self.scales) > 0

    @property
    def scale(self) -> np.float32:
        """The scale, of a tensor that has one for all channels."""
        return self.scales[0]

    @property
    def zero_point(self) -> int:
        """The zero point, likewise."""
        return int(self.zero_points[0])

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest centred value that it can hold."""
        bounds = np.iinfo(self.dtype)
        return int(bounds.min) - self.zero_point, int(bounds.max) - self.zero_point

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
        return values.reshape([-1 if axis == self.axis else 1 for axis in range(len(self.dims))])


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """One operator; an input that is left out is None, and options that are left out are zeros.

    Attributes:
        number: its place in the file.
        opcode: LiteRT's name.
        label: both, fit for a message.
        inputs: tensors or None.
        outputs: tensors.
        options: one attribute an option.
    """

    number: int
    opcode: str
    label: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    @property
    def output(self) -> Tensor:
        """The only output."""
        return self.outputs[0]

    def option(self, name: str, default: float = 0) -> Any:  # noqa: ANN401
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


ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Tensors by their numbers, and operators in an order in which they can run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: Tensor
    output: Tensor

    @property
    def batch(self) -> int:
        """The file's own batch."""
        return self.input.dims[0]

    def maker(self, tensor: Tensor) -> Operator | None:
        """The operator that makes a tensor; None for inputs and constants."""
        return next((operator for operator in self.operators if tensor in operator.outputs), None)


def load(content: bytes) -> Graph:
    """The first graph of a .tflite.

    Raises:
        InputError: not a valid .tflite.
    """
    graph = verifier.parse(content).subgraphs[0]
    tensors = tuple(_tensor(index, table) for index, table in enumerate(graph.tensors))
    operators = tuple(
        Operator(
            number=number,
            opcode=table.opcode,
            label=table.label,
            inputs=tuple(None if index == ABSENT else tensors[index] for index in table.inputs),
            outputs=tuple(tensors[index] for index in table.outputs),
            options=table.builtin_options or types.SimpleNamespace(),
        )
        for number, table in enumerate(graph.operators)
    )
    return Graph(tensors, operators, tensors[graph.inputs[0]], tensors[graph.outputs[0]])


def _tensor(index: int, table: Table) -> Tensor:
    quantization = table.quantization
    scales = None if quantization is None else quantization.scale
    known = scales is not None and len(scales) > 0
    dtype = np.dtype(table.element.numpy)
    return Tensor(
        index=index,
        name=table.name or "",
        element=table.element.name,
        dims=table.dims,
        dtype=dtype,
        data=_constant(table, dtype),
        scales=np.asarray(scales if known else [], np.float32),
        zero_points=np.asarray(quantization.zero_point if known else [], np.int64),
        axis=quantization.quantized_dimension if known else 0,
    )


def _constant(table: Table, dtype: np.dtype) -> np.ndarray | None:
    if table.data is None:
        # A tensor without elements needs no data.
        return np.zeros(table.dims, dtype) if 0 in table.dims else None
    stored = np.frombuffer(table.data, np.uint8)
    bits = table.element.bits
    if bits < 8:  # noqa: PLR2004 - several in a byte
        if table.sparsity:
            return None
        # The first element lies in the lowest bits.
        fields = np.stack([stored >> shift for shift in range(0, 8, bits)], axis=-1) & (2**bits - 1)
        flat = fields.reshape(-1)[: math.prod(table.dims)].astype(np.int16)
        stored = (flat - 2**bits * (flat >= 2 ** (bits - 1)) * (dtype.kind == "i")).astype(dtype)
        return stored.reshape(table.dims)
    stored = stored.view(dtype)
    return sparsity.dense(table.sparsity, table.dims, stored) if table.sparsity else stored.reshape(table.dims)
