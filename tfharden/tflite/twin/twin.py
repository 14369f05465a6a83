"""Twin of a .tflite: the same graph in TensorFlow, differentiable, straight through at each rounding."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from tfharden._io import Path
from tfharden.errors import InputError
from tfharden.tflite import ops
from tfharden.tflite.graph import Operator, Tensor
from tfharden.tflite.kernels.kernel_set import Function, KernelSet, per_image, refuse
from tfharden.tflite.kernels.straight_through import quantised
from tfharden.tflite.model import TFLiteFile, read
from tfharden.tflite.twin import agreement

KERNELS = ("xnnpack", "reference")
# What stands between the logits and the output, and gives attacks no better gradients.
_SEEN_THROUGH = ("SOFTMAX", "LOG_SOFTMAX", "DEQUANTIZE", "QUANTIZE", "RESHAPE")


class Twin:
    """A .tflite as differentiable TensorFlow.

    Forwards it computes what the kernels compute: for integers to the bit, as far as `verify` finds; for real numbers
    to rounding. Backwards every rounding counts as the identity (the straight-through estimator of Bengio et al. 2013,
    arXiv:1308.3432). So does the saturation of an integer type; a fused activation has its own slope. Any batch runs,
    whatever batch is baked into the file.

    It is there to aim attacks. What a file answers, the interpreter says (`Runtime`).

    Args:
        file: a file, or its path.
        kernels: "xnnpack" (what devices run by default) or "reference".

    Attributes:
        graph: tensors and operators.
        target: the tensor that holds the logits, before a softmax and a dequantisation at the end.
        seen_through: operators between it and the output, by LiteRT's names, the last one first.

    Raises:
        InputError: a missing or broken file, other kernels, an operator that the twin doesn't know, or one that mixes
            the images of a batch.
    """

    def __init__(self, file: TFLiteFile | Path, kernels: str = "xnnpack") -> None:
        if kernels not in KERNELS:
            raise InputError(f"a twin imitates {' or '.join(KERNELS)} kernels, not {kernels!r}")
        file = file if isinstance(file, TFLiteFile) else read(file)
        self.file = file
        self.kernels = kernels
        self.graph = file.graph
        try:
            _check_known(self.graph.operators)
            self._imitated = KernelSet(kernels, file.content, self.graph.batch)
            self._steps = self._built(self._imitated)
            self.target, self.seen_through = self._logits_tensor()
            images = [tf.TensorSpec([None, *file.input.shape[1:]], tf.float32)]
            self.logits = tf.function(self.logits_fn, input_signature=images, autograph=False)
            self.tensors = tf.function(self._tensors, input_signature=images, autograph=False)
            # What doesn't fit comes out here, and not in the midst of an attack.
            self.logits.get_concrete_function()
        except InputError as error:
            raise InputError(f"{file.name}: {error}") from error

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:
        """Logits `[n, classes]`, in real units, of images `[n, ...]` in the units of the model's input; differentiable.

        A softmax and a dequantisation at the end of the file are seen through.
        """
        values = self._run(images)[self.target.index]
        if self.target.quantised:
            values = values * self.target.scale32
        return tf.reshape(values, [-1, self.file.output.shape[1]])

    def verify(self, images: np.ndarray) -> agreement.Agreement:
        """Runs twin and interpreter on the same images, and compares what each operator made.

        Args:
            images: `[n, ...]`, float32, in the units of the model's input.

        Raises:
            InputError: no images, or images of another shape.
        """
        images = np.asarray(images, np.float32)
        if not len(images) or images.shape[1:] != self.file.input.shape[1:]:
            raise InputError(f"expected images {('n', *self.file.input.shape[1:])}, got {images.shape}")
        made = {int(index): value.numpy() for index, value in self.tensors(images).items()}
        source = self.graph.input
        stored = (made[source.index] + source.zero_point).astype(source.dtype) if source.quantised else images
        return agreement.compare(self.file, self.kernels, self.operators, self.target, stored, made)

    @property
    def operators(self) -> list[Operator]:
        """Those that depend on the image, in the order in which they run."""
        return [operator for operator, _ in self._steps]

    def _built(self, kernels: KernelSet) -> list[tuple[Operator, Function]]:
        """Operators and their functions; those of constants alone are worked out here."""
        steps: list[tuple[Operator, Function]] = []
        folded: dict[int, Tensor] = {}
        for operator in self.graph.operators:
            inputs = tuple(None if t is None else folded.get(t.index, t) for t in operator.inputs)
            operator = dataclasses.replace(operator, inputs=inputs)  # noqa: PLW2901
            with _naming(operator):
                function = _function(operator, kernels)
            if operator.opcode == "SHAPE" or all(tensor is None or tensor.data is not None for tensor in inputs):
                with _naming(operator), tf.init_scope():
                    value = function(*(None if t is None or t.data is None else t.centred for t in inputs))
                    folded[operator.output.index] = _constant(operator.output, np.asarray(value))
            else:
                steps.append((operator, function))
        return steps

    def _run(self, images: tf.Tensor) -> dict[int, tf.Tensor]:
        source = self.graph.input
        scaled = source.quantised
        values = {source.index: quantised(images, source) if scaled else images}
        for operator, function in self._steps:
            with _naming(operator):
                given = [_given(tensor, values) for tensor in operator.inputs]
                outputs = function(*given)
                outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
                _check_shapes(operator, outputs, self._imitated)
            values.update(zip((tensor.index for tensor in operator.outputs), outputs, strict=True))
        return values

    def _tensors(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {str(index): value for index, value in self._run(images).items()}

    def _logits_tensor(self) -> tuple[Tensor, list[str]]:
        tensor, passed = self.graph.output, []
        while (maker := self.graph.maker(tensor)) is not None and maker.opcode in _SEEN_THROUGH:
            given = maker.inputs[0]
            if given is self.graph.input or np.prod(given.shape) != np.prod(self.graph.output.shape):
                break
            tensor = given
            passed.append(maker.opcode)
        return tensor, passed


# What a file that lies makes Python and TensorFlow raise.
_BUILD_ERRORS = (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, tf.errors.OpError)


def known() -> list[str]:
    """Names of the operators that the twin has."""
    return sorted(name for name, spec in ops.KNOWN.items() if spec.kernel is not None)


def _check_known(operators: Sequence[Operator]) -> None:
    """Refuses operators that the twin doesn't have, by name."""
    missing = sorted({operator.opcode for operator in operators if ops.of(operator).kernel is None})
    if missing:
        raise InputError(f"the twin doesn't know {', '.join(missing)}")


def _function(operator: Operator, kernels: KernelSet) -> Function:
    """The function of one operator.

    Raises:
        InputError: types or options that the twin doesn't know, or an operator that mixes the images of a batch.
    """
    spec = ops.of(operator)
    if spec.kernel is None:
        raise InputError(f"the twin doesn't know {operator.opcode}")
    affine = {(float(t.scale32), t.zero_point) for t in (*operator.inputs, *operator.outputs) if t and t.quantised}
    if spec.keeps_integers and len(affine) > 1:
        raise refuse(operator, "its inputs have other scales than its output")
    return spec.kernel(operator, kernels)


@contextlib.contextmanager
def _naming(operator: Operator) -> Iterator[None]:
    """Turns what comes of inputs and options that don't fit into an error that names the operator."""
    try:
        yield
    except _BUILD_ERRORS as error:
        if isinstance(error, InputError):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise refuse(operator, reason) from error


def _check_shapes(operator: Operator, outputs: Sequence[tf.Tensor], kernels: KernelSet) -> None:
    """Compares outputs with what the file says of them.

    Raises:
        InputError: their shapes differ, which no later operator would forgive.
    """
    for tensor, value in zip(operator.outputs, outputs, strict=True):
        image = per_image(tensor, kernels)
        if image is None or not value.shape[1:].is_compatible_with(image):
            raise refuse(operator, f"an image's part of {tensor.shape} is {value.shape[1:]}")


def _given(tensor: Tensor | None, values: dict[int, tf.Tensor]) -> tf.Tensor | np.ndarray | None:
    if tensor is None:
        return None
    return values[tensor.index] if tensor.data is None else tensor.centred


def _constant(tensor: Tensor, value: np.ndarray) -> Tensor:
    """A tensor that has turned out to be constant; `value` is centred."""
    if tensor.quantised:
        value = (value.astype(np.float64) + tensor.along_axis(tensor.zero_points)).astype(tensor.dtype)
    return dataclasses.replace(tensor, folded=value)
