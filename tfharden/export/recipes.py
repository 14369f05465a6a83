"""Converter recipes: what a .tflite file holds its numbers in, and how close it then comes to its source."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfharden.errors import InputError

# Images that ranges are measured on, taken evenly from all that were given: ranges settle long before.
MOST_CALIBRATION = 1000
TARGETS = ("any", "mcu")

_OPS = tf.lite.OpsSet
# Float kernels sum in another order than Keras' own; a broken file is off by the size of the logits themselves.
_ORDER = 1e-3
# Rounding adds noise in each layer. Noises are independent: those of 64 layers add up to 8 times that of one, and the
# worst logit of all images is off by some 4 times what is usual.
_LAYERS_AND_WORST = 8 * 4
# A half has 11 significant bits, so a weight is off by 2^-11 of itself at most.
_HALF = _LAYERS_AND_WORST * 2**-11
# Steps of 1/127 of a channel's largest weight, some 3 standard deviations, give an error of 0.7% (root mean square, in
# standard deviations), and inputs in 255 steps over some 4 of theirs 0.5%: together 0.9%, about 2^-7.
_EIGHT_BITS = _LAYERS_AND_WORST * 2**-7


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of the converter.

    Attributes:
        name: as users give it.
        operators: operator sets that it may draw on; TensorFlow's own (Flex) never.
        io: type of the file's input and output.
        element: what it is there for: the element type, by LiteRT's name, that some tensors of the file must have.
        calibrated: whether it needs images to measure the ranges of activations on.
        tolerance: largest error of a logit, as a share of the largest logit. None where errors depend on the ranges of
            activations: there the share of classes that stay decides.
        micro: whether LiteRT for Microcontrollers runs it. It knows neither weights of another type than the
            activations' (but for int16x8) nor half precision.
        per_channel_dense: whether each output of a Dense layer has a scale of its own, as those of convolutions do;
            None where nothing is quantised.
        dynamic_batch: whether the file takes any number of images at a time, not one.
    """

    name: str
    operators: tuple[tf.lite.OpsSet, ...]
    io: tf.DType
    element: str
    calibrated: bool = False
    tolerance: float | None = None
    micro: bool = True
    per_channel_dense: bool | None = None
    dynamic_batch: bool = False

    def apply(self, converter: tf.lite.TFLiteConverter, calibration: np.ndarray | None) -> None:
        """Sets up the converter.

        Raises:
            InputError: the recipe needs calibration images and there are none.
        """
        converter.target_spec.supported_ops = list(self.operators)
        converter.inference_input_type = converter.inference_output_type = self.io
        if self.element != "FLOAT32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.element == "FLOAT16":
            converter.target_spec.supported_types = [tf.float16]
        if self.per_channel_dense is not None:
            converter._experimental_disable_per_channel_quantization_for_dense_layers = not self.per_channel_dense
        if self.calibrated:
            if calibration is None:
                raise InputError(
                    f"recipe {self.name} needs calibration images: give some hundred that the model will see"
                )
            converter.representative_dataset = _one_by_one(calibration[:: max(1, len(calibration) // MOST_CALIBRATION)])


_FLOAT = {"operators": (_OPS.TFLITE_BUILTINS,), "io": tf.float32}
_INT8 = {"operators": (_OPS.TFLITE_BUILTINS_INT8,), "element": "INT8", "calibrated": True, "per_channel_dense": True}
_INT16X8 = _INT8 | {
    "operators": (_OPS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,),
    "element": "INT16",
}

FLOAT32 = Recipe("float32", **_FLOAT, element="FLOAT32", tolerance=_ORDER)
BY_NAME = {
    recipe.name: recipe
    for recipe in (
        FLOAT32,
        Recipe("float16", **_FLOAT, element="FLOAT16", tolerance=_HALF, micro=False),
        Recipe("dynamic", **_FLOAT, element="INT8", tolerance=_EIGHT_BITS, micro=False, per_channel_dense=True),
        Recipe("int8", io=tf.int8, **_INT8),
        Recipe("int8-uint8", io=tf.uint8, **_INT8),
        Recipe("int8-float", io=tf.float32, **_INT8),
        Recipe("int16x8", io=tf.int16, **_INT16X8),
    )
}


def get(name: str, *, per_channel_dense: bool = True, dynamic_batch: bool = False, target: str = "any") -> Recipe:
    """The recipe of that name, with options.

    Args:
        name: "float32"; "float16", weights in half precision; "dynamic", weights in 8 bits, activations quantised on
            the fly; "int8", integers throughout; "int8-uint8" and "int8-float", the same inside, with input and output
            in uint8 or float32; "int16x8", activations in 16 bits, weights in 8.
        per_channel_dense: False for one scale for all of a Dense layer's weights, which old runtimes need.
        dynamic_batch: the file takes any number of images at a time, not one.
        target: "any", or "mcu" for LiteRT for Microcontrollers.

    Raises:
        InputError: an unknown name (the message lists the known ones), or options that don't fit the recipe.
    """
    if name not in BY_NAME:
        raise InputError(f"unknown recipe {name!r}: known are {', '.join(BY_NAME)}")
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}: known are {', '.join(TARGETS)}")
    recipe = BY_NAME[name]
    if recipe.per_channel_dense is None and not per_channel_dense:
        raise InputError(
            f"recipe {name} quantises no Dense layer: one scale for all its weights (per tensor) is for "
            f"{', '.join(known.name for known in BY_NAME.values() if known.per_channel_dense)}"
        )
    if target == "mcu" and not recipe.micro:
        raise InputError(
            f"recipe {name} doesn't run on microcontrollers, whose kernels take weights of the activations' own kind: "
            f"those that do are {', '.join(known.name for known in BY_NAME.values() if known.micro)}"
        )
    if target == "mcu" and dynamic_batch:
        raise InputError("a dynamic batch doesn't fit microcontrollers, which lay out their memory for one image")
    kept = None if recipe.per_channel_dense is None else per_channel_dense
    return dataclasses.replace(recipe, per_channel_dense=kept, dynamic_batch=dynamic_batch)


def _one_by_one(images: np.ndarray) -> Callable[[], Iterator[list[np.ndarray]]]:
    return lambda: ([image[np.newaxis]] for image in images)
