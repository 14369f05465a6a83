"""Quantisation-aware training: a model that rounds to int8 where an int8 file will."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers, tree

from tfharden.compression.fake_quantization import ActivationRange, QuantizedWeights
from tfharden.errors import InputError
from tfharden.graphs import rebuilt

# Layers with weights, which a file holds in int8.
WEIGHTED = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
# Layers that compute: what they give is rounded to int8 anew.
COMPUTING = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Concatenate,
    layers.AveragePooling2D,
    layers.GlobalAveragePooling2D,
    layers.Rescaling,
    layers.BatchNormalization,
    layers.ReLU,
    layers.LeakyReLU,
    layers.Activation,
    layers.Softmax,
)
# Layers that only move numbers: what they give has the range of what they got.
MOVING = (
    layers.InputLayer,
    layers.Flatten,
    layers.Reshape,
    layers.Permute,
    layers.MaxPooling2D,
    layers.GlobalMaxPooling2D,
    layers.ZeroPadding2D,
    layers.Cropping2D,
    layers.UpSampling2D,
    layers.Dropout,
    layers.SpatialDropout2D,
    layers.Identity,
)
# Activations that a file computes within the layer before.
FUSED = ("linear", "relu", "relu6")
# Ranges that TFLite fixes for the others, in steps of 1/256 and 1/128.
FIXED = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


def quantize_aware(model: keras.Model, *, left_float: Sequence[str] = ()) -> keras.Model:
    """A copy of `model` that computes in fake int8: kernels of convolutions by channel, activations by range.

    It is an ordinary Keras model: `RobustModel` and `Distiller` train it, attacks see its rounding (straight through,
    arXiv:1308.3432), `th.export.to_tflite(copy, "int8", images)` turns it into a file of integers with these ranges.
    Convolutions, BatchNormalization and ReLU in a row are rounded once, after the last, since the converter makes one
    operator of them: a scale by channel takes up what BatchNormalization multiplies. Call `calibrate` first.

    Args:
        model: built Functional or Sequential model, whose weights are copied.
        left_float: names of layers that stay float, and with them what follows; a file that holds such is no integer
            file any more.

    Raises:
        InputError: layers that can't be quantised (all are named), names that the model doesn't have.
    """
    _check(model, left_float)
    followed, seen = _followed(model), {}

    def received(tensor: keras.KerasTensor) -> keras.KerasTensor:
        """The image as the file receives it: in int8."""
        if not isinstance(getattr(tensor, "_keras_history", (None,))[0], layers.InputLayer):
            return tensor
        if id(tensor) not in seen:
            seen[id(tensor)] = ActivationRange(name="image_range")(tensor)
        return seen[id(tensor)]

    def replace(layer: layers.Layer) -> layers.Layer:
        config = layer.get_config()
        if not isinstance(layer, WEIGHTED) or layer.name in left_float:
            return layer.__class__.from_config(config)
        if _activation(layer) not in FUSED:
            config["activation"] = "linear"
        inner = layer.__class__.from_config(config)
        # The converter refuses fake quantisation by channel before the transpose that it makes of a dense layer.
        return QuantizedWeights(inner, per_channel=not isinstance(layer, layers.Dense), name=layer.name)

    def call(layer: layers.Layer, *given: object, **settings: object) -> object:
        output, before = layer(*tree.map_structure(received, given), **settings), model.get_layer(layer.name)
        if layer.name in left_float or isinstance(before, MOVING) or layer.name in followed:
            return output
        activation = _activation(before)
        if isinstance(before, WEIGHTED) and activation not in FUSED:
            output = ActivationRange(name=f"{layer.name}_range")(output)
            output = layers.Activation(activation, name=f"{layer.name}_{activation}")(output)
            return ActivationRange(FIXED.get(activation), name=f"{layer.name}_{activation}_range")(output)
        return ActivationRange(FIXED.get(activation), name=f"{layer.name}_range")(output)

    copy = rebuilt(model, call, replace)
    for layer in model.layers:
        if layer.weights:
            twin = copy.get_layer(layer.name)
            (twin.layer if isinstance(twin, QuantizedWeights) else twin).set_weights(layer.get_weights())
    return copy


def calibrate(model: keras.Model, images: np.ndarray, batch_size: int = 64) -> dict[str, tuple[float, float]]:
    """Sets each range to what passes there, in float, for these images: the smallest and the largest value.

    Give attacked images beside clean ones: ranges of clean images alone cut off the larger values of attacked ones, and
    where a value is cut off its gradient is gone, which makes a model look more robust than it is.

    Args:
        model: made by `quantize_aware`.
        images: `[n, ...]`.
        batch_size: images at a time.

    Returns:
        The ranges by name.

    Raises:
        InputError: a model without ranges, no images.
    """
    ranges = _ranges(model)
    if not len(images):
        raise InputError("there are no images to calibrate on")
    for layer in ranges:
        layer.observed = (0.0, 0.0)  # a range has to hold zero
    try:
        for start in range(0, len(images), batch_size):
            model(tf.convert_to_tensor(images[start : start + batch_size], tf.float32), training=False)
    finally:
        for layer in ranges:
            layer.settle()
    return {layer.name: layer.bounds for layer in ranges}


def cut_off(model: keras.Model, images: np.ndarray) -> dict[str, float]:
    """Share of the values that fall more than a step beyond each range, for these images.

    They have no gradient: where the share is high, an attack by gradients is weak.

    Raises:
        InputError: a model without ranges.
    """
    ranges = _ranges(model)
    inner = keras.Model(model.input, [layer.input for layer in ranges])
    values = inner.predict(images, verbose=0)
    shares = {}
    for layer, found in zip(ranges, values if isinstance(values, list) else [values], strict=True):
        low, high = layer.bounds
        step = (high - low) / 255
        shares[layer.name] = float(np.mean((found < low - step) | (found > high + step)))
    return shares


def _ranges(model: keras.Model) -> list[ActivationRange]:
    found = [layer for layer in model.layers if isinstance(layer, ActivationRange)]
    if not found:
        raise InputError(f"{model.name} has no ranges: make it by quantize_aware() first")
    return found


def _activation(layer: layers.Layer) -> str:
    """Name of the activation that a layer ends with; "linear" for what is none of TFLite's."""
    if isinstance(layer, layers.Softmax):
        return "softmax"
    if isinstance(layer, layers.ReLU):
        return "relu"
    return getattr(getattr(layer, "activation", None), "__name__", "linear")


def _followed(model: keras.Model) -> set[str]:
    """Names of layers whose output is not rounded: the next one's BatchNormalization or ReLU becomes part of them."""
    inside, ends = set(model.layers), {id(output) for output in model.outputs}
    found = set()
    for layer in model.layers:
        if not isinstance(layer, (*WEIGHTED, layers.BatchNormalization)) or _activation(layer) != "linear":
            continue
        consumers = {node.operation for node in layer._outbound_nodes if node.operation in inside}
        if id(layer.output) in ends or len(consumers) != 1:
            continue
        (consumer,) = consumers
        relu = isinstance(consumer, (layers.ReLU, layers.Activation)) and _activation(consumer) in ("relu", "relu6")
        norm = isinstance(consumer, layers.BatchNormalization) and isinstance(layer, WEIGHTED)
        if relu or norm:
            found.add(layer.name)
    return found


def _check(model: keras.Model, left_float: Sequence[str]) -> None:
    names = [layer.name for layer in model.layers]
    unknown = [name for name in left_float if name not in names]
    if unknown:
        raise InputError(f"{model.name} has no layer {unknown[0]!r} to leave float: it has {', '.join(names)}")
    known = (*WEIGHTED, *COMPUTING, *MOVING)
    others = [layer for layer in model.layers if not isinstance(layer, known) and layer.name not in left_float]
    if others:
        told = ", ".join(f"{layer.name} ({type(layer).__name__})" for layer in others)
        raise InputError(f"{model.name}: can't be quantised: {told}; left_float=[...] leaves such layers as they are")
