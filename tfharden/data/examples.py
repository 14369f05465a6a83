"""Checks on images and labels from outside, each with one clear line."""

import numpy as np

from tfharden.errors import InputError
from tfharden.threats import TOLERANCE

Examples = tuple[np.ndarray, np.ndarray]


def check_images(images: np.ndarray, shape: tuple[int, ...], bounds: tuple[float, float]) -> np.ndarray:
    """The images as float32 `[n, *shape]`, once they are known to fit a model that takes `shape` within `bounds`.

    Raises:
        InputError: no images, another shape, NaN or infinity, values outside the bounds.
    """
    images = np.asarray(images)
    if images.dtype.kind not in "fiub":
        raise InputError(f"images are of type {images.dtype}: give numbers")
    if images.size == 0:
        raise InputError("the dataset is empty: there is no image in it")
    if images.shape[1:] != tuple(shape):
        raise InputError(f"images have the shape {images.shape[1:]}, the model takes {tuple(shape)}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is counted
        images = images.astype(np.float32)
    wrong = np.count_nonzero(~np.isfinite(images.reshape(len(images), -1)).all(axis=1))
    if wrong:
        raise InputError(f"{wrong} of {len(images)} images hold NaN or infinity: every value has to be finite")
    low, high = bounds
    slack = TOLERANCE * max(1.0, abs(low), abs(high))
    smallest, largest = float(images.min()), float(images.max())
    if smallest < low - slack or largest > high + slack:
        raise InputError(
            f"images span [{smallest:g}, {largest:g}], the model takes [{low:g}, {high:g}]: scale the images, "
            f"or state the model's own range (--input_range, bounds=)"
        )
    return images


def check_labels(labels: np.ndarray, count: int, num_classes: int) -> np.ndarray:
    """The labels as int32 `[count]`, once they are known to lie in 0 .. num_classes - 1.

    Raises:
        InputError: another number of labels than images, fractions, one-hot rows, labels outside the classes.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:  # noqa: PLR2004 - a column, as CIFAR-10 has it
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(
            f"labels have the shape {labels.shape}: give one class number an image, [{count}], not one-hot rows"
        )
    if len(labels) != count:
        raise InputError(f"there are {count} images and {len(labels)} labels: give one label an image")
    if labels.dtype.kind not in "iuf" or not np.array_equal(labels, np.round(labels)):
        raise InputError("labels have to be whole class numbers")
    if count and not 0 <= labels.min() <= labels.max() < num_classes:
        raise InputError(
            f"labels span [{labels.min():g}, {labels.max():g}], the model has {num_classes} classes "
            f"(0 to {num_classes - 1})"
        )
    return labels.astype(np.int32)


def check_targets(targets: np.ndarray | int, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The targets as int32 `[count]`, once they are known to be classes other than the labels.

    Args:
        targets: one for each label, or one for all.
        labels: true classes, checked.
        num_classes: number of classes.

    Raises:
        InputError: another number of targets than labels, what is no class, a target that is the label.
    """
    targets = np.asarray(targets)
    if targets.ndim == 0:
        targets = np.full(len(labels), targets)
    try:
        targets = check_labels(targets, len(labels), num_classes)
    except InputError as error:
        raise InputError(f"targets: {error}") from error
    same = np.flatnonzero(targets == labels)
    if len(same):
        raise InputError(
            f"{len(same)} of {len(labels)} targets equal the true label (the first at index {same[0]}): "
            f"a target has to be another class"
        )
    return targets
