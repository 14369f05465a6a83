"""Agreement of a twin with the interpreter, tensor by tensor."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from tfharden.tflite import litert
from tfharden.tflite.graph import Operator, Tensor
from tfharden.tflite.model import TFLiteFile

# Of real numbers, as a share of the largest.
_REAL_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class TensorAgreement:
    """Agreement in one tensor.

    Attributes:
        index: its number in the file.
        name: its name there.
        opcode: the operator that makes it.
        element: LiteRT's name of its type.
        exact: share of values that are the same; for real numbers, that differ by 1e-5 of the largest or less.
        largest: largest difference: in steps of the integers (LSB), or as a share of the largest real number.
    """

    index: int
    name: str
    opcode: str
    element: str
    exact: float
    largest: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of a twin with the interpreter.

    Attributes:
        images: number of images compared.
        kernels: that the twin imitates and the interpreter ran.
        logits: agreement in the tensor that holds the logits.
        tensors: agreement in all tensors that operators make, in their order.
        classes: share of images of which the largest logit is that of the same class.
    """

    images: int
    kernels: str
    logits: TensorAgreement
    tensors: tuple[TensorAgreement, ...]
    classes: float

    @property
    def exact(self) -> float:
        """Least share of equal values in any tensor."""
        return min(tensor.exact for tensor in self.tensors)

    @property
    def largest(self) -> float:
        """Largest difference in any tensor of integers, in LSB."""
        return max((tensor.largest for tensor in self.tensors if "INT" in tensor.element), default=0.0)

    def __str__(self) -> str:
        return (
            f"{self.kernels}: logits {self.logits.exact:.2%} exact, off by {self.logits.largest:.3g} at most; "
            f"all tensors at least {self.exact:.2%} exact; classes {self.classes:.2%}"
        )


def compare(
    file: TFLiteFile,
    kernels: str,
    operators: Sequence[Operator],
    logits: Tensor,
    stored: np.ndarray,
    made: Mapping[int, np.ndarray],
) -> Agreement:
    """Runs the interpreter and compares what its operators make with what a twin made.

    Args:
        file: the file.
        kernels: that the twin imitates.
        operators: those whose outputs are compared.
        logits: the tensor that holds the logits.
        stored: inputs `[n, ...]` as the file stores them.
        made: the twin's values by the numbers of their tensors, integers centred.
    """
    expected = _interpreted(file, kernels, operators, stored.astype(file.input.dtype))
    compared = {
        tensor.index: _compared(operator, tensor, made[tensor.index], expected[tensor.index])
        for operator in operators
        for tensor in operator.outputs
        if tensor.index in expected
    }
    rows = [values[logits.index].reshape(len(stored), -1).argmax(axis=1) for values in (made, expected)]
    same = float(np.mean(rows[0] == rows[1]))
    return Agreement(len(stored), kernels, compared[logits.index], tuple(compared.values()), same)


def _compared(operator: Operator, tensor: Tensor, made: np.ndarray, expected: np.ndarray) -> TensorAgreement:
    truth = expected.reshape(made.shape).astype(np.float64)
    difference = np.abs(made + (tensor.zero_point if tensor.quantised else 0.0) - truth)
    unit, bound = 1.0, 0.0
    if not tensor.quantised:
        unit, bound = max(float(np.abs(truth).max()), 1e-30), _REAL_TOLERANCE
    exact, largest = float(np.mean(difference <= bound * unit)), float(difference.max() / unit)
    return TensorAgreement(tensor.index, tensor.name, operator.opcode, tensor.element, exact, largest)


def _interpreted(
    file: TFLiteFile, kernels: str, operators: Sequence[Operator], stored: np.ndarray
) -> dict[int, np.ndarray]:
    """Every tensor as stored, `[n, ...]`, for inputs as stored, which run at the file's own batch."""
    # LiteRT warns that tensors which are kept take memory.
    with warnings.catch_warnings(action="ignore"):
        runner = litert.interpreter(file.content, kernels, keep_tensors=True)
    (source,) = runner.get_input_details()
    own = file.graph.batch
    wanted = [tensor.index for operator in operators for tensor in operator.outputs]
    collected: dict[int, list[np.ndarray]] = {index: [] for index in wanted}
    for start in range(0, len(stored), own):
        batch = stored[start : start + own]
        count = len(batch)
        batch = np.concatenate([batch, np.repeat(batch[-1:], own - count, axis=0)]) if count < own else batch
        runner.set_tensor(source["index"], batch)
        runner.invoke()
        for index in list(collected):
            try:
                value = runner.get_tensor(index)
            except ValueError:  # the kernels have merged it into another
                del collected[index]
                continue
            collected[index].append(value[:count] if own > 1 else value)
    return {index: np.stack(parts) if own == 1 else np.concatenate(parts) for index, parts in collected.items()}
