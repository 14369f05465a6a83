"""What `fit` and `evaluate` are given: examples, looked at before any work is done, and batches."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfharden.classifiers import shapes
from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError
from tfharden.hardening.objectives.base import Batch


def check_examples(x: Any, y: Any, model: keras.Model, bounds: tuple[float, float]) -> None:  # noqa: ANN401
    """Looks at arrays as a whole, at datasets of TensorFlow's by their first batch; generators can't be rewound.

    Raises:
        InputError: images of another shape or outside the bounds, NaN, labels that are no classes of the model's.
    """
    if isinstance(x, tf.data.Dataset):
        x, y, _ = keras.utils.unpack_x_y_sample_weight(next(iter(x.take(1)), (None, None)))
    if isinstance(x, np.ndarray | tf.Tensor) and isinstance(y, np.ndarray | tf.Tensor):
        shape, classes = shapes(model)
        check_images(np.asarray(x), shape, bounds)
        check_labels(np.asarray(y), len(x), classes)


def unpack(data: Any) -> Batch:  # noqa: ANN401
    """The batch that `fit` brings, as Keras packs it.

    Raises:
        InputError: no labels, or one-hot rows.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if y is None:
        raise InputError("adversarial training needs labels: give fit() x and y")
    if len(y.shape) == 2 and y.shape[-1] == 1:  # noqa: PLR2004 - a column of labels
        y = y[:, 0]
    if len(y.shape) != 1:
        raise InputError(f"labels have the shape {y.shape}: give one class number an image, not one-hot rows")
    if sample_weight is not None:
        sample_weight = tf.reshape(sample_weight, [-1])  # a column times the losses would be a matrix
    return Batch(tf.cast(x, tf.float32), tf.cast(y, tf.int32), sample_weight)
