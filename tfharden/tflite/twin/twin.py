"""The differentiable twin of a .tflite: the same graph in TensorFlow, straight through at each rounding."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfharden.errors import InputError
from tfharden.tflite.model import TFLiteFile
from tfharden.tflite.twin import graph as graphs
from tfharden.tflite.twin import registry, verification
from tfharden.tflite.twin.graph import Operator, Tensor
from tfharden.tflite.twin.operators.quantisation import quantised

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
        file: a verified file.
        kernels: "xnnpack" (what devices run by default) or "reference".

    Attributes:
        graph: tensors and operators.
        target: the tensor that holds the logits, before a softmax and a dequantisation at the end.
        seen_through: operators between it and the output, by LiteRT's names, the last one first.

    Raises:
        InputError: other kernels, an operator that the twin doesn't know, or one that mixes the images of a batch.
    """

    def __init__(self, file: TFLiteFile, kernels: str = "xnnpack") -> None:
        if kernels not in KERNELS:
            raise InputError(f"a twin imitates {' or '.join(KERNELS)} kernels, not {kernels!r}")
        self.file = file
        self.kernels = kernels
        self.graph = graphs.load(file.content)
        try:
            registry.check([operator.opcode for operator in self.graph.operators])
            self._imitated = registry.Kernels(kernels, file.content, self.graph.batch)
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
            values = values * self.target.scale
        return tf.reshape(values, [-1, self.file.output.shape[1]])

    def verify(self, images: np.ndarray) -> verification.Agreement:
        """Compares every tensor with the interpreter's, on images `[n, ...]` in the units of the model's input."""
        return verification.verify(self, images)

    @property
    def operators(self) -> list[Operator]:
        """Those that depend on the image, in the order in which they run."""
        return [operator for operator, _ in self._steps]

    def _built(self, kernels: registry.Kernels) -> list[tuple[Operator, registry.Function]]:
        """Operators and their functions; those of constants alone are worked out here."""
        steps, folded = [], {}
        for operator in self.graph.operators:
            inputs = tuple(None if t is None else folded.get(t.index, t) for t in operator.inputs)
            operator = dataclasses.replace(operator, inputs=inputs)  # noqa: PLW2901
            with registry.naming(operator):
                function = registry.build(operator, kernels)
            if operator.opcode == "SHAPE" or all(tensor is None or tensor.data is not None for tensor in inputs):
                with registry.naming(operator), tf.init_scope():
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
            with registry.naming(operator):
                given = [_given(tensor, values) for tensor in operator.inputs]
                outputs = function(*given)
                outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
                registry.check_shapes(operator, outputs, self._imitated)
            values.update(zip((tensor.index for tensor in operator.outputs), outputs, strict=True))
        return values

    def _tensors(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {str(index): value for index, value in self._run(images).items()}

    def _logits_tensor(self) -> tuple[Tensor, list[str]]:
        tensor, passed = self.graph.output, []
        while (maker := self.graph.maker(tensor)) is not None and maker.opcode in _SEEN_THROUGH:
            given = maker.inputs[0]
            if given is self.graph.input or np.prod(given.dims) != np.prod(self.graph.output.dims):
                break
            tensor = given
            passed.append(maker.opcode)
        return tensor, passed


def _given(tensor: Tensor | None, values: dict[int, tf.Tensor]) -> tf.Tensor | np.ndarray | None:
    if tensor is None:
        return None
    return values[tensor.index] if tensor.data is None else tensor.centred


def _constant(tensor: Tensor, value: np.ndarray) -> Tensor:
    """A tensor that has turned out to be constant; `value` is centred."""
    if tensor.quantised:
        value = (value.astype(np.float64) + tensor.along_axis(tensor.zero_points)).astype(tensor.dtype)
    return dataclasses.replace(tensor, data=value)
