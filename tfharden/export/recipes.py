"""Recipes of the converter: types in which a .tflite holds its numbers, and how close it then comes to its source."""

import dataclasses
import functools
import importlib.util
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfharden._deprecation import renamed_names
from tfharden._registry import Registry
from tfharden.errors import InputError
from tfharden.export import calibration as calibrations

TARGETS = ("any", "mcu")
# The package, an extra, that makes some of them.
QUANTIZER = "ai-edge-quantizer"

_OPS = tf.lite.OpsSet
# Float kernels sum in another order than Keras' own; a broken file is off by the size of the logits themselves.
_SUMMATION_ERROR = 1e-3
# Rounding adds noise in each layer. Noises are independent: those of 64 layers add up to 8 times that of one, and the
# worst logit of all images is off by some 4 times what is usual.
_WORST_OF_64_LAYERS = 8 * 4
# A half has 11 significant bits, so a weight is off by 2^-11 of itself at most.
_HALF_PRECISION_ERROR = _WORST_OF_64_LAYERS * 2**-11
# Steps of 1/127 of a channel's largest weight, some 3 standard deviations, give an error of 0.7% (root mean square, in
# standard deviations), and inputs in 255 steps over some 4 of theirs 0.5%: together 0.9%, about 2^-7.
_EIGHT_BITS_ERROR = _WORST_OF_64_LAYERS * 2**-7


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
        quantizer: what ai-edge-quantizer calls the recipe by which it makes the file from the float32 one; empty where
            TensorFlow's converter makes it.
        sparse: whether weights that are mostly zero are stored as those that aren't, and where. Unpacked when loaded.
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
    quantizer: str = ""
    sparse: bool = False
    dynamic_batch: bool = False

    @property
    def packages(self) -> tuple[str, ...]:
        """What makes the file besides TensorFlow's converter."""
        return (QUANTIZER,) if self.quantizer else ()

    def apply(self, converter: tf.lite.TFLiteConverter, calibration: np.ndarray | None) -> None:
        """Sets up the converter.

        Raises:
            InputError: the recipe needs calibration images and there are none.
        """
        converter.target_spec.supported_ops = list(self.operators)
        converter.inference_input_type = converter.inference_output_type = self.io
        if self.element != "FLOAT32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if self.sparse:
            converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        if self.element == "FLOAT16":
            converter.target_spec.supported_types = [tf.float16]
        if self.per_channel_dense is not None:
            converter._experimental_disable_per_channel_quantization_for_dense_layers = not self.per_channel_dense
        images = self.ranged(calibration)
        if images is not None:
            converter.representative_dataset = _one_by_one(images)

    def ranged(self, calibration: np.ndarray | None) -> np.ndarray | None:
        """The images to measure ranges of activations on; None if the recipe needs none.

        Raises:
            InputError: it needs some and there are none.
        """
        if not self.calibrated:
            return None
        if calibration is None:
            raise InputError(f"recipe {self.name} needs calibration images: give some hundred that the model will see")
        return calibrations.evenly(calibration)


_float = functools.partial(Recipe, operators=(_OPS.TFLITE_BUILTINS,), io=tf.float32)
_rounded_weights = functools.partial(
    _float, element="INT8", tolerance=_EIGHT_BITS_ERROR, micro=False, per_channel_dense=True
)
_integers = functools.partial(Recipe, element="INT8", calibrated=True, per_channel_dense=True)
_int8 = functools.partial(_integers, operators=(_OPS.TFLITE_BUILTINS_INT8,))
_INT16X8 = (_OPS.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,)

FLOAT32 = _float("float32", element="FLOAT32", tolerance=_SUMMATION_ERROR)
KNOWN: Registry[Recipe] = Registry(
    "recipe",
    {
        recipe.name: recipe
        for recipe in (
            FLOAT32,
            _float("float16", element="FLOAT16", tolerance=_HALF_PRECISION_ERROR, micro=False),
            _float("sparse", element="FLOAT32", tolerance=_SUMMATION_ERROR, micro=False, sparse=True),
            _rounded_weights("dynamic"),
            _int8("int8", io=tf.int8),
            _int8("int8-uint8", io=tf.uint8),
            _int8("int8-float", io=tf.float32),
            _integers("int16x8", operators=_INT16X8, io=tf.int16, element="INT16"),
            _int8("aeq-int8", io=tf.int8, quantizer="static_wi8_ai8"),
            _rounded_weights("aeq-dynamic", quantizer="dynamic_wi8_afp32"),
            _rounded_weights("aeq-weight-only", quantizer="weight_only_wi8_afp32"),
        )
    },
)


def get(name: str, *, per_channel_dense: bool = True, dynamic_batch: bool = False, target: str = "any") -> Recipe:
    """The recipe of that name, with options.

    Args:
        name: "float32"; "float16", weights in half precision; "sparse", float32 without the zeros of a pruned model;
            "dynamic", weights in 8 bits, activations quantised on the fly; "int8", integers throughout; "int8-uint8"
            and "int8-float", the same inside, with input and output in uint8 or float32; "int16x8", activations in 16
            bits, weights in 8; "aeq-int8", "aeq-dynamic" and "aeq-weight-only" by ai-edge-quantizer, the last with
            weights in 8 bits that become floats again when they are used.
        per_channel_dense: False for one scale for all of a Dense layer's weights, which old runtimes need.
        dynamic_batch: the file takes any number of images at a time, not one.
        target: "any", or "mcu" for LiteRT for Microcontrollers.

    Raises:
        InputError: an unknown name (the message lists the known ones), or options that don't fit the recipe.
    """
    recipe = KNOWN.find(name)
    if target not in TARGETS:
        raise InputError(f"unknown target {target!r}: known are {', '.join(TARGETS)}")
    if recipe.quantizer and importlib.util.find_spec(QUANTIZER.replace("-", "_")) is None:
        raise InputError(f"recipe {name} needs {QUANTIZER}: pip install 'tfharden[quantizer]'")
    if recipe.quantizer and not per_channel_dense:
        raise InputError(f"recipe {name} gives each output of a Dense layer a scale of its own, always")
    if recipe.per_channel_dense is None and not per_channel_dense:
        raise InputError(
            f"recipe {name} quantises no Dense layer: one scale for all its weights (per tensor) is for "
            f"{', '.join(each.name for each in KNOWN.values() if each.per_channel_dense and not each.quantizer)}"
        )
    if target == "mcu" and not recipe.micro:
        raise InputError(
            f"recipe {name} doesn't run on microcontrollers, whose kernels take weights of the activations' own kind: "
            f"those that do are {', '.join(known.name for known in KNOWN.values() if known.micro)}"
        )
    if target == "mcu" and dynamic_batch:
        raise InputError("a dynamic batch doesn't fit microcontrollers, which lay out their memory for one image")
    kept = None if recipe.per_channel_dense is None else per_channel_dense
    return dataclasses.replace(recipe, per_channel_dense=kept, dynamic_batch=dynamic_batch)


def _one_by_one(images: np.ndarray) -> Callable[[], Iterator[list[np.ndarray]]]:
    return lambda: ([image[np.newaxis]] for image in images)


__getattr__ = renamed_names(__name__, {"BY_NAME": "KNOWN"}, globals())
