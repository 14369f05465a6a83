"""Calibration images: ranges of activations are measured on them, so they have to look like what is to come.

Images on another scale than the model's are the commonest cause of an integer file that answers nonsense.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable
from typing import Self

import keras
import numpy as np
import tensorflow as tf

from tfharden.errors import InputError
from tfharden.graphs import rebuilt

# Images that ranges are measured on, taken evenly from all that were given: ranges settle long before.
MAX_IMAGES = 1000
# Images of less than 1/16 of the model's range leave 4 of the 8 bits of its input unused.
MIN_SPAN_SHARE = 1 / 16
# An activation may have 4 times the range that it needs, which wastes 2 of its 8 bits,
MAX_RANGE_RATIO = 4.0
# and a tenth of its values may lie outside, where a file clips them.
MAX_CLIPPED_SHARE = 0.1
# The converter gives no activation a smaller range than 2e-6, so that this one wastes as much.
_MIN_RANGE = 2e-6 / MAX_RANGE_RATIO
_BATCH_SIZE = 16  # of which all activations fit into memory

Activations = Callable[[np.ndarray], Iterable[list[np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a file keeps of the images that it was calibrated on: the SHA-256 of all of them, and their number."""

    sha256: str
    examples: int

    @classmethod
    def of(cls, images: np.ndarray) -> Self:
        """That of float32 images `[n, ...]`, whose hash covers shape and values."""
        digest = hashlib.sha256(f"{images.dtype} {images.shape}".encode())
        digest.update(np.ascontiguousarray(images).data)
        return cls(digest.hexdigest(), len(images))


def evenly(images: np.ndarray) -> np.ndarray:
    """At most `MAX_IMAGES` of the images, with the same number left out between any two."""
    return images[:: max(1, -(-len(images) // MAX_IMAGES))]


def check_span(images: np.ndarray, bounds: tuple[float, float]) -> None:
    """Refuses images that can't tell the ranges of activations: without content, or on another scale.

    Args:
        images: float32 `[n, ...]`, within the bounds.
        bounds: range of the model's input.

    Raises:
        InputError: images of one colour each, or that span a small part of the bounds; the line names both ranges.
    """
    low, high = bounds
    smallest, largest = float(images.min()), float(images.max())
    told = f"calibration images span [{smallest:g}, {largest:g}], the model takes [{low:g}, {high:g}]"
    if largest - smallest < MIN_SPAN_SHARE * (high - low):
        raise InputError(f"{told}: scale them as the images that the model was trained on, or state its own range")
    places = images.reshape(len(images), -1, images.shape[-1] if images.ndim == 4 else 1)  # noqa: PLR2004 - NHWC
    if places.shape[1] > 1 and not np.ptp(places, axis=1).any():
        raise InputError(f"{told}, but each of them is of one colour throughout: give images that show something")


def check_alike(model: keras.Model, images: np.ndarray, others: np.ndarray) -> None:
    """Refuses calibration images that give activations other ranges than the images that the model will meet.

    Args:
        model: the float model.
        images: those for calibration, float32 `[n, ...]`.
        others: those that the model will meet, likewise.

    Raises:
        InputError: the first layer whose values would be clipped, or whose range would be wasted, with both ranges.
    """
    names, activations = _activations(model)
    ranges = _ranges(activations, images)
    others_ranges, clipped = _ranges(activations, others), _clipped(activations, others, ranges)
    for name, (low, high), (other_low, other_high), share in zip(names, ranges, others_ranges, clipped, strict=True):
        wasted = high - low > MAX_RANGE_RATIO * (other_high - other_low) > 0
        if wasted or share > MAX_CLIPPED_SHARE:
            harm = "most of that range would be wasted" if wasted else f"{share:.0%} of these values would be clipped"
            raise InputError(
                f"calibration images don't look like what the model meets: {name} spans [{low:.3g}, {high:.3g}] on "
                f"them and [{other_low:.3g}, {other_high:.3g}] on the images to compare with, so {harm}"
            )


def vanishing(model: keras.Model, images: np.ndarray) -> str:
    """The first layer whose values are too small for integers, and its range, in words; empty if there is none.

    Networks that never saw an image are like that: without statistics, batch normalisation lets their values fade.
    """
    names, activations = _activations(model)
    for name, (low, high) in zip(names, _ranges(activations, images), strict=True):
        if 0 < high - low < _MIN_RANGE:
            return (
                f"{name} spans [{low:.3g}, {high:.3g}] on the calibration images, which is too little for integers: "
                f"train the model, or let its batch normalisation see images"
            )
    return ""


def _activations(model: keras.Model) -> tuple[list[str], Activations]:
    """Names of the input and of each layer with a float output, and a function from a batch to their values."""
    found: dict[str, keras.KerasTensor] = {}

    def call(layer: keras.layers.Layer, *given: object, **settings: object) -> object:
        output = layer(*given, **settings)
        if isinstance(output, keras.KerasTensor) and "float" in output.dtype:
            found.setdefault(f"layer {layer.name}", output)
        return output

    again = rebuilt(model, call)
    outputs = keras.Model(again.input, [again.input, *found.values()])
    run = tf.function(lambda batch: outputs(batch, training=False), autograph=False, reduce_retracing=True)
    return ["the input", *found], lambda images: (
        [np.asarray(values, np.float32) for values in run(tf.constant(images[start : start + _BATCH_SIZE]))]
        for start in range(0, len(images), _BATCH_SIZE)
    )


def _ranges(activations: Activations, images: np.ndarray) -> np.ndarray:
    """Least and greatest value of each activation, `[activations, 2]`."""
    found = np.array([[(values.min(), values.max()) for values in batch] for batch in activations(images)])
    return np.stack([found[..., 0].min(axis=0), found[..., 1].max(axis=0)], axis=-1)


def _clipped(activations: Activations, images: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """Share of each activation's values that lie outside its range by more than rounding."""
    counts, sizes = np.zeros(len(ranges)), np.zeros(len(ranges))
    for batch in activations(images):
        for index, (values, (low, high)) in enumerate(zip(batch, ranges, strict=True)):
            slack = 1e-3 * (high - low)
            counts[index] += np.count_nonzero((values < low - slack) | (values > high + slack))
            sizes[index] += values.size
    return counts / sizes
