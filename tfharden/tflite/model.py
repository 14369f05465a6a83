"""A .tflite classifier, verified: its input, its output, its graph. No native code runs here."""

import collections
import dataclasses
import hashlib
import math
import pathlib
from typing import Any

from tfharden._io import Path
from tfharden.errors import InputError
from tfharden.tflite import ops
from tfharden.tflite.arithmetic import multiply_adds
from tfharden.tflite.format import flatbuffer, metadata, verifier
from tfharden.tflite.graph import Graph, Model, Tensor

_INPUT_RANKS = (2, 3, 4)
_MATRIX = 2
_INTEGERS = ("int8", "uint8", "int16")
_WEIGHT_ROLES = "wbdqsa"
_NOT_WEIGHTS = ("INT32", "INT64", "BOOL")


@dataclasses.dataclass(frozen=True, eq=False)
class TFLiteFile:
    """A verified image classifier.

    `parameters` counts the elements of all constant weights, biases and other factors, at their dense size and each
    once; constant shapes, axes and indices don't count. `multiply_adds` are those of one image. `activation_bytes` is
    the size of the largest tensor that isn't constant, at the file's own batch. `operators` counts operators by
    LiteRT's names, `dtypes` tensors by their element types.
    """

    path: pathlib.Path
    name: str
    content: bytes = dataclasses.field(repr=False)
    sha256: str
    input: Tensor
    output: Tensor
    operators: collections.Counter[str]
    parameters: int
    multiply_adds: int
    activation_bytes: int
    dtypes: collections.Counter[str]
    model: Model = dataclasses.field(repr=False)

    @property
    def graph(self) -> Graph:
        """The graph that runs, the first one in the file."""
        return self.model.graphs[0]

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says of how it was made, if tfharden made it; empty if not. Its maker's claims, no facts.

        Raises:
            InputError: under our name stands something else than one JSON object of bounded size.
        """
        try:
            return metadata.read(self.model)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error


def read(path: Path) -> TFLiteFile:
    """Reads and verifies the image classifier in `path`.

    It has one input [batch, ...] of rank 2 to 4 and one output [batch, classes], in float32 or in integers of 8 or 16
    bits.

    Raises:
        InputError: the file is missing, unreadable, not a valid .tflite, or not such a classifier.
    """
    path = pathlib.Path(path)
    return parse(_content(path), path)


def parse(content: bytes, path: Path = "model.tflite") -> TFLiteFile:
    """The same for a file's content; `path` is only what it is called.

    Raises:
        InputError: not a valid .tflite, or not such a classifier.
    """
    path = pathlib.Path(path)
    try:
        model = verifier.parse(content)
        graph = model.graphs[0]
        source, target = _ends(graph)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    return TFLiteFile(
        path=path,
        name=path.name,
        content=content,
        sha256=hashlib.sha256(content).hexdigest(),
        input=source,
        output=target,
        operators=collections.Counter(operator.opcode for operator in graph.operators),
        parameters=_parameters(graph),
        multiply_adds=multiply_adds(graph),
        activation_bytes=max(math.prod(t.shape) * t.bits // 8 for t in graph.tensors if t.stored is None),
        dtypes=collections.Counter(tensor.element for tensor in graph.tensors),
        model=model,
    )


def verify(content: bytes) -> None:
    """Verifies the bytes of any .tflite: its flatbuffer, its indices and sizes, and its operators.

    Raises:
        InputError: one line that says what is wrong or what isn't supported.
    """
    verifier.parse(content)


def _content(path: pathlib.Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"can't read {path}: not a file")
        if path.stat().st_size > flatbuffer.MAX_BYTES:
            raise InputError(f"{path}: not a usable TFLite file (more than 2 GiB)")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"can't read {path}: {error.strerror or error}") from error
    if not content:
        raise InputError(f"{path}: the file is empty")
    return content


def _ends(graph: Graph) -> tuple[Tensor, Tensor]:
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        counts = f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs"
        raise InputError(f"not an image classifier: {counts}, expected one of each")
    source, target = graph.input, graph.output
    for tensor in (source, target):
        if len(tensor.scales) > 1 and tensor.dtype.kind != "f":
            raise InputError(f"{tensor.label} has a scale for each channel, which an input or output can't have")
    if len(source.shape) not in _INPUT_RANKS or min(source.shape) < 1:
        raise InputError(f"not an image classifier: its input has shape {source.shape}, expected [batch, ...]")
    if len(target.shape) != _MATRIX or target.shape[0] != source.shape[0] or target.shape[1] < _MATRIX:
        raise InputError(f"not an image classifier: its output has shape {target.shape}, expected [batch, classes]")
    for tensor in (source, target):
        if tensor.dtype.name not in ("float32", *_INTEGERS):
            raise InputError(f"inputs and outputs of type {tensor.dtype} aren't supported")
    return source, target


def _parameters(graph: Graph) -> int:
    weights = {
        tensor.index: tensor
        for operator in graph.operators
        # The roles of outputs come last.
        for role, tensor in zip(ops.of(operator).roles(operator), operator.inputs, strict=False)
        if tensor is not None and role in _WEIGHT_ROLES and tensor.stored is not None
        if role == "b" or tensor.element not in _NOT_WEIGHTS
    }
    return sum(math.prod(tensor.shape) for tensor in weights.values())
