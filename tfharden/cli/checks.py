"""Checks that tools make before any work is done."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

import tfharden as th
from tfharden import _io
from tfharden.errors import InputError

if TYPE_CHECKING:
    import keras


def check_output(path: _io.Path, *, overwrite: bool, suffix: str = "") -> None:
    """Refuses an output that can't be written.

    Raises:
        InputError: another suffix, something that stands there already (without --overwrite), no right to write.
    """
    path = pathlib.Path(path)
    if path.suffix != suffix and suffix:
        raise InputError(f"--output={path} has to end in {suffix}")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already: give --overwrite to replace it")
    _io.check_writable(path)


def check_fit(model: keras.Model, dataset: th.data.Dataset) -> None:
    """Refuses a model that takes other images, or knows fewer classes, than the dataset has.

    Raises:
        InputError: so it is.
    """
    shape, classes = th.classifiers.shapes(model)
    th.data.check_images(dataset.train[0][:1], shape, dataset.bounds)
    th.data.check_labels(dataset.train[1], len(dataset.train[1]), classes)
