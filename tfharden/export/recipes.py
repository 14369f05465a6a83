"""Converter recipes: what a .tflite file holds its numbers in."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from tfharden.errors import InputError

# Images that ranges are measured on, taken evenly from all that were given: ranges settle long before.
MOST_CALIBRATION = 1000


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of the converter.

    Attributes:
        name: as users give it.
        calibrated: whether it needs images to measure the ranges of activations on.
        operators: operator sets that it may draw on; TensorFlow's own (Flex) never.
        io: type of the file's input and output.
    """

    name: str
    calibrated: bool
    operators: tuple[tf.lite.OpsSet, ...]
    io: tf.DType

    def apply(self, converter: tf.lite.TFLiteConverter, calibration: np.ndarray | None) -> None:
        """Sets up the converter.

        Raises:
            InputError: the recipe needs calibration images and there are none.
        """
        converter.target_spec.supported_ops = list(self.operators)
        converter.inference_input_type = converter.inference_output_type = self.io
        if self.calibrated:
            if calibration is None:
                raise InputError(
                    f"recipe {self.name} needs calibration images: give some hundred that the model will see"
                )
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = _one_by_one(calibration[:: max(1, len(calibration) // MOST_CALIBRATION)])


FLOAT32 = Recipe("float32", False, (tf.lite.OpsSet.TFLITE_BUILTINS,), tf.float32)
INT8 = Recipe("int8", True, (tf.lite.OpsSet.TFLITE_BUILTINS_INT8,), tf.int8)
BY_NAME = {recipe.name: recipe for recipe in (FLOAT32, INT8)}


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        InputError: an unknown name (the message lists the known ones).
    """
    if name not in BY_NAME:
        raise InputError(f"unknown recipe {name!r}: known are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _one_by_one(images: np.ndarray) -> Callable[[], Iterator[list[np.ndarray]]]:
    return lambda: ([image[np.newaxis]] for image in images)
