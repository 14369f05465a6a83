"""Fake quantisation: numbers that an int8 file can hold, in float, with gradients that pass straight through."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import layers

from tfharden.compression import tfmot
from tfharden.serialization import registered, saved_as


def quantized_weights(kernel: tf.Tensor, *, per_channel: bool = True, depthwise: bool = False) -> tf.Tensor:
    """The kernel as int8 in [-127, 127] would hold it: s * round(w / s), s = max |w| / 127.

    Jacob et al. 2018, arXiv:1712.05877. The scale follows from the weights as they are at every call, where tfmot's
    LastValueQuantizer keeps that of the last training step: what averaging, perturbing or restoring makes of them is
    quantised as it will be exported.

    Args:
        kernel: `[..., inputs, outputs]`, or `[height, width, inputs, multiplier]` of a depthwise convolution.
        per_channel: a scale for each output.
        depthwise: each input has outputs of its own.
    """
    given, kernel = kernel.dtype, tf.cast(kernel, tf.float32)
    shape = kernel.shape
    if depthwise:
        kernel = tf.reshape(kernel, [*shape[:2], shape[2] * shape[3]])
    if not per_channel:
        bound = tf.reduce_max(tf.abs(tf.stop_gradient(kernel)))
        made = tf.quantization.fake_quant_with_min_max_vars(kernel, -bound, bound, narrow_range=True)
    else:
        bound = tf.reduce_max(tf.abs(tf.stop_gradient(kernel)), axis=list(range(len(kernel.shape) - 1)))
        bound = tf.maximum(bound, 1e-8)  # a channel of zeros
        made = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -bound, bound, narrow_range=True)
    return tf.cast(tf.reshape(straight_through(kernel, made, bound / 127), shape), given)


@tf.custom_gradient
def straight_through(values: tf.Tensor, made: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """`made`, with the gradient of `values` where both lie at most a step apart (arXiv:1308.3432).

    TensorFlow's fake quantisation gives none to the part of a step by which it moves a range so that zero lies on a
    step, nor to a sigmoid's 1, which is 255/256 in a file. Those values are rounded, not cut off; black pixels and
    saturated activations are often just there, and without a gradient no attack moves them.
    """
    passes = tf.abs(made - values) <= step
    return tf.identity(made), lambda gradient: (tf.where(passes, gradient, 0), None, None)


@registered
class QuantizedWeights(layers.Wrapper):
    """A convolution or dense layer that computes with `quantized_weights`; its variables stay float.

    Args:
        layer: Conv2D, DepthwiseConv2D or Dense.
        per_channel: a scale for each output.
        name: the layer's name.
    """

    def __init__(
        self,
        layer: layers.Layer,
        *,
        per_channel: bool = True,
        name: str | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(layer, name=name or layer.name, **kwargs)
        self.per_channel = per_channel

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """What the layer makes of them with its kernel in int8."""
        variables = self.layer.trainable_variables + self.layer.non_trainable_variables
        values = {id(variable): tf.convert_to_tensor(variable) for variable in variables}
        kernel, depthwise = self.layer.kernel, isinstance(self.layer, layers.DepthwiseConv2D)
        values[id(kernel)] = quantized_weights(values[id(kernel)], per_channel=self.per_channel, depthwise=depthwise)
        # A scope of its own, in which all variables have a value: an outer one may have given them others.
        with keras.StatelessScope([(variable, values[id(variable)]) for variable in variables]):
            return self.layer.call(inputs)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """That of the layer."""
        return self.layer.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"per_channel": self.per_channel}


class _Host:
    """Lets a quantizer of tfmot's make its variables in a Keras 3 layer."""

    def __init__(self, layer: layers.Layer) -> None:
        self._layer = layer

    def add_weight(self, name: str, *, initializer: Any, trainable: bool, shape: Any = None) -> tf.Variable:  # noqa: ANN401
        """As Keras 2's, with an initialiser of its own kind."""
        first = float(initializer([]))
        made = self._layer.add_weight(
            () if shape is None else shape, keras.initializers.Constant(first), trainable=trainable, name=name
        )
        return made.value


@registered
@saved_as("Range")
class ActivationRange(layers.Layer):
    """Quantises what passes to int8 within a range that follows the batches: tfmot's MovingAverageQuantizer.

    In training the range moves by 1/1000 towards that of each batch; `calibrate` sets it to begin with. Values more
    than a step beyond it are cut off, and have no gradient.

    Args:
        fixed: (least, greatest), for activations whose range a file has fixed; nothing moves then.
        name: the layer's name.
    """

    def __init__(self, fixed: tuple[float, float] | None = None, name: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(name=name, **kwargs)
        self.fixed: tuple[float, float] | None = None if fixed is None else (fixed[0], fixed[1])
        self.observed: tuple[float, float] | None = None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Makes the range's two variables."""
        quantizers = tfmot.load().quantization.keras.quantizers
        self._quantizer = quantizers.MovingAverageQuantizer(8, per_axis=False, symmetric=False, narrow_range=False)
        self._range = self._quantizer.build(input_shape, "range", _Host(self)) if self.fixed is None else {}
        self.built = True

    @property
    def bounds(self) -> tuple[float, float]:
        """The range as it is."""
        return self.fixed or (float(self._range["min_var"].numpy()), float(self._range["max_var"].numpy()))

    def observe(self, values: tf.Tensor) -> None:
        """Widens what was observed before."""
        low, high = self.observed or (0.0, 0.0)
        self.observed = min(low, float(tf.reduce_min(values))), max(high, float(tf.reduce_max(values)))

    def settle(self) -> None:
        """Sets the range to what was observed."""
        if self.fixed is None and self.observed is not None:
            for name, value in zip(("min_var", "max_var"), self.observed, strict=True):
                self._range[name].assign(value)
        self.observed = None

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """The inputs as int8 would hold them."""
        values = tf.cast(inputs, tf.float32)
        if self.observed is not None:
            self.observe(values)
            return inputs
        if self.fixed is not None:
            low, high = self.fixed
            made = tf.quantization.fake_quant_with_min_max_args(values, low, high)
        else:
            made = self._quantizer(values, bool(training), self._range)
            low, high = self._range["min_var"], self._range["max_var"]
        return tf.cast(straight_through(values, made, (high - low) / 255), inputs.dtype)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The same."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"fixed": self.fixed}
