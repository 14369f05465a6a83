"""Cached teacher: answers that are computed once and kept on disk."""

import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf

from tfharden import _io
from tfharden.classifiers import KerasClassifier
from tfharden.data.examples import check_images
from tfharden.errors import InputError

# Largest difference from the answers of another run, relative to the largest logit: logits are kept in half precision.
RELATIVE_TOLERANCE = 5e-3
# Number of first images whose answers are checked before a training.
CHECKED_IMAGES = 32


class CachedTeacher(NamedTuple):
    """Labels and a teacher's answers, in the place of `y` in `Distiller.fit(x, y)`.

    The student has to see the very images that the teacher answered: no augmentation, and of the objectives those
    that ask the teacher about clean images only. `fit` asks the teacher again about the first images and refuses
    answers that are not its own.

    Attributes:
        labels: `[n]`; the teacher's classes where there were none.
        logits: `[n, classes]`, float16.
    """

    labels: np.ndarray
    logits: np.ndarray

    @classmethod
    def by(
        cls,
        teacher: keras.Model,
        x: np.ndarray,
        y: np.ndarray | None = None,
        *,
        folder: str | os.PathLike[str],
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> Self:
        """Asks `teacher` about `x`, or reads what it answered before.

        Args:
            teacher: built classifier; preprocessing of its own belongs into the model.
            x: images, `[n, ...]`.
            y: labels.
            folder: where answers are kept, one file for each teacher and images: its name is the SHA-256 of both.
            bounds: range of valid images.

        Raises:
            InputError: images that don't fit the teacher, a folder that can't be written.
        """
        classifier = KerasClassifier(teacher, bounds=bounds)
        x = check_images(x, classifier.input_shape, bounds)
        path = pathlib.Path(folder) / f"{_key(classifier, x)}.npy"
        logits = _kept(path, (len(x), classifier.num_classes))
        if logits is None:
            logits = classifier.logits(x).astype(np.float16)
            with _io.replacing(path) as beside, beside.open("wb") as file:
                np.save(file, logits, allow_pickle=False)
        return cls(logits.argmax(axis=-1).astype(np.int32) if y is None else y, logits)

    def check(self, teacher_logits_fn: Callable[[tf.Tensor], tf.Tensor], x: Any) -> None:  # noqa: ANN401
        """Asks the teacher about the first images again.

        Raises:
            InputError: it answers otherwise.
        """
        given = np.asarray(self.logits[:CHECKED_IMAGES], np.float32)
        answers = np.asarray(teacher_logits_fn(tf.cast(x[:CHECKED_IMAGES], tf.float32)))
        apart = np.abs(given - answers).max() if given.shape == answers.shape else np.inf
        if not apart <= RELATIVE_TOLERANCE * max(1.0, np.abs(answers).max()):
            raise InputError(
                f"the kept answers are off by up to {apart:.3g}: they were given by another teacher, or about "
                "other images, such as ones before augmentation; only the same images have the same answers"
            )


def _key(classifier: KerasClassifier, x: np.ndarray) -> str:
    """What tells one set of answers from another: weights, layers and images."""
    digest = hashlib.sha256(classifier.fingerprint().encode())
    digest.update(json.dumps(keras.saving.serialize_keras_object(classifier.model), sort_keys=True).encode())
    digest.update(f"{x.shape}".encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()


def _kept(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The answers in that file, if it is whole."""
    try:
        logits = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    fits = isinstance(logits, np.ndarray) and logits.shape == shape and logits.dtype == np.float16
    return logits if fits and np.isfinite(logits).all() else None
