"""Augmentation: training images moved at random, against robust overfitting."""

import dataclasses
import math

import tensorflow as tf

from tfharden._validation import check_number
from tfharden.threats.base import uniform


@dataclasses.dataclass(frozen=True)
class Affine:
    """Rotates, zooms, shears and shifts each image at random, evenly within the limits, about its middle.

    What comes from outside the image has the lowest value of the batch. Between pixels values are interpolated, which
    blurs edges and makes images easier to attack than real ones; `contrast` makes up for it.

    Args:
        rotation: at most, in degrees.
        zoom: at most, as a share of the size, in [0, 1].
        shear: at most, as a share of the size, in [0, 1].
        shift: at most, as a share of the size, in [0, 1].
        contrast: factor by which the values are spread about the middle of their range, and cut there; 1.5 gives
            MNIST the share of grey pixels again that it had.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    contrast: float = 1.0

    def __post_init__(self) -> None:
        check_number("rotation", self.rotation, least=0)
        check_number("contrast", self.contrast, least=0)
        for name in ("zoom", "shear", "shift"):
            check_number(name, getattr(self, name), least=0, most=1)

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """The images `[batch, height, width, channels]`, moved; the same again for the same `seed`, int32 [2]."""
        height, width = images.shape[1:3]
        draws = uniform([tf.shape(images)[0], 5], seed, -1.0, 1.0)
        turn, zoom, shear, right, down = tf.unstack(draws, axis=1)
        turn, zoom, shear = turn * math.radians(self.rotation), 1 + zoom * self.zoom, shear * self.shear
        # Where each pixel of the new image comes from: about the middle, a matrix ((a, b), (c, d)), then the shift.
        a, b = zoom * tf.cos(turn), -zoom * tf.sin(turn) + shear
        c, d = zoom * tf.sin(turn), zoom * tf.cos(turn)
        x, y = (width - 1) / 2, (height - 1) / 2
        across, along = x - a * x - b * y + right * self.shift * width, y - c * x - d * y + down * self.shift * height
        zeros = tf.zeros_like(a)
        low, high = tf.reduce_min(images), tf.reduce_max(images)
        moved = tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=tf.stack([a, b, across, c, d, along, zeros, zeros], axis=1),
            output_shape=[height, width],
            fill_value=low,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )
        middle = (low + high) / 2
        return tf.clip_by_value(middle + self.contrast * (moved - middle), low, high)
