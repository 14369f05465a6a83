"""Golden vectors: inputs whose right answers are known, to check a device by."""

import dataclasses
import math
from typing import Self

import numpy as np

from tfharden.data.examples import check_images
from tfharden.errors import InputError
from tfharden.tflite import Runtime, TFLiteFile

COUNT = 10
# Images that tflite-micro is compared on, taken evenly from all that were given.
MAX_COMPARED_IMAGES = 100
_MAX_STORED_IMAGES = 1000
# Share of the input's range by which images may exceed it (they saturate), and which they have to fill at least.
MAX_EXCESS_SHARE, MIN_SPAN_SHARE = 1 / 4, 1 / 32


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """Inputs [n, ...] and the outputs [n, classes] of LiteRT's reference kernels, both as stored."""

    inputs: np.ndarray
    outputs: np.ndarray

    def golden(self) -> Self:
        """COUNT of them, taken evenly."""
        chosen = _evenly(len(self.inputs), COUNT)
        return type(self)(self.inputs[chosen], self.outputs[chosen])


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How tflite-micro answers beside LiteRT's reference kernels.

    Attributes:
        images: that both ran.
        identical: of these, with the same outputs to the bit.
        same_class: of these, with the same class.
        largest: largest difference of an output, in steps of its scale.
    """

    images: int
    identical: int
    same_class: int
    largest: int


def answers(file: TFLiteFile, images: np.ndarray) -> Answers:
    """Answers to at most MAX_COMPARED_IMAGES of the images that differ, taken evenly.

    Args:
        file: the file.
        images: `[n, ...]`, in the units of the model's input.

    Raises:
        InputError: images that don't fit the file, are in other units, or of which too few differ.
    """
    try:
        images = check_images(images, file.input.shape[1:], (-math.inf, math.inf))
        runtime = Runtime(file, kernels="reference", batch_size=1)
        _check_units(images, *input_range(file))
        stored = runtime.quantize(images[_evenly(len(images), _MAX_STORED_IMAGES)])
        different = np.stack(list({image.tobytes(): image for image in stored}.values()))
        if len(different) < COUNT:
            raise InputError(f"{len(different)} different images are too few: golden vectors need {COUNT}")
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from error
    chosen = different[_evenly(len(different), MAX_COMPARED_IMAGES)]
    return Answers(chosen, runtime.predict_raw(chosen))


def compare(expected: Answers, outputs: np.ndarray) -> tuple[Agreement, Answers]:
    """How other outputs for the same inputs agree, and the answers where they do to the bit."""
    difference = np.abs(expected.outputs.astype(np.int64) - outputs)
    same = difference.max(axis=-1) == 0
    same_class = expected.outputs.argmax(axis=-1) == outputs.argmax(axis=-1)
    agreement = Agreement(len(outputs), int(same.sum()), int(same_class.sum()), int(difference.max()))
    return agreement, Answers(expected.inputs[same], expected.outputs[same])


def input_range(file: TFLiteFile) -> tuple[float, float]:
    """The least and the greatest real value that the file's integer input can hold."""
    limits = np.iinfo(file.input.dtype)
    low, high = ((limit - file.input.zero_point) * file.input.scale for limit in (limits.min, limits.max))
    return low, high


def _evenly(count: int, most: int) -> np.ndarray:
    """Indices of at most `most` of `count` things."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def _check_units(images: np.ndarray, low: float, high: float) -> None:
    smallest, largest = float(images.min()), float(images.max())
    beyond = max(low - smallest, largest - high)
    if beyond > MAX_EXCESS_SHARE * (high - low) or largest - smallest < MIN_SPAN_SHARE * (high - low):
        raise InputError(
            f"images span [{smallest:.4g}, {largest:.4g}] and the input holds [{low:.4g}, {high:.4g}]: give images in "
            f"the units of the model (--input_range)"
        )
