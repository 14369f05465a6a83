"""Keras models as classifiers: their shapes, and the logits behind their outputs."""

import functools
import hashlib
import os
import pathlib
from collections.abc import Callable

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf

from tfharden._late_imports import late_import
from tfharden.classifiers.base import BATCH_SIZE, Classifier, are_probabilities, in_batches
from tfharden.errors import InputError

# Forward passes need little memory: small images go through in larger batches, up to so many values at a time.
FORWARD_BATCH_SIZE, FORWARD_VALUES = 1024, 2**20


class KerasClassifier(Classifier):
    """A Keras model with one image input; a softmax at its end is seen through.

    Args:
        model: built model, `[batch, *shape]` to `[batch, classes]`.
        name: what reports call it; the model's own name by default.
        bounds: range of valid inputs, from which the probe for probabilities is drawn.
        path: the file that it was loaded from, if any.

    Raises:
        InputError: several inputs or outputs, unknown shapes, fewer than two classes.
    """

    differentiable = True

    def __init__(
        self,
        model: keras.Model,
        name: str | None = None,
        bounds: tuple[float, float] = (0.0, 1.0),
        path: pathlib.Path | None = None,
    ) -> None:
        self.model = model
        self.path = path
        self.name = name or model.name
        self.input_shape, self.num_classes = shapes(model)
        self._to_logits, self.scores = logits_of(model, bounds)
        signature = [tf.TensorSpec([None, *self.input_shape], tf.float32)]
        self._compiled = tf.function(self.logits_fn, input_signature=signature, autograph=False)

    def logits_fn(self, images: tf.Tensor) -> tf.Tensor:  # noqa: D102
        return self._to_logits(self.model(images, training=False))

    def logits(self, images: np.ndarray) -> np.ndarray:  # noqa: D102
        values = int(np.prod(self.input_shape))
        size = max(BATCH_SIZE, min(FORWARD_BATCH_SIZE, FORWARD_VALUES // values))
        return in_batches(lambda batch: self._compiled(batch).numpy(), images, size)

    def fingerprint(self) -> str:
        """By its weights."""
        digest = hashlib.sha256(super().fingerprint().encode())
        for weight in self.model.weights:
            digest.update(np.ascontiguousarray(weight).tobytes())
        return digest.hexdigest()


def load_model(path: str | os.PathLike[str]) -> keras.Model:
    """A .keras file loaded in safe mode: a file that carries code (a Lambda layer) is refused, never run.

    Raises:
        InputError: missing, broken or unsafe file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    late_import("saved layers")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever the archive, the JSON or HDF5 library raised
        reason = " ".join(str(error).split())
        if "Lambda" in reason or "unsafe" in reason:
            reason = "it holds a Lambda layer, that is code of its maker's, which is refused (safe mode)"
        raise InputError(f"{path}: can't be loaded: {reason[:300]}") from error


def shapes(model: keras.Model) -> tuple[tuple[int, ...], int]:
    """Shape of one image, and number of classes, of a Keras classifier.

    Raises:
        InputError: several inputs or outputs, unknown shapes, fewer than two classes.
    """
    try:
        (batch, *image), output = model.input_shape, model.output_shape
        _, classes = output
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"{model.name}: a classifier takes one batch of images and gives one row of logits an image; "
            f"a subclassed model has to be built with a Functional graph for that"
        ) from error
    if not image or not all(isinstance(size, int) for size in (*image, classes)) or classes < 2:  # noqa: PLR2004
        raise InputError(
            f"{model.name}: takes {(batch, *image)} and gives {output}: a classifier has one input and one output "
            f"of fixed sizes, and two classes or more"
        )
    return tuple(image), int(classes)


def logits_of(
    model: keras.Model, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[Callable[[tf.Tensor], tf.Tensor], str]:
    """A function from the model's outputs to float32 logits, and a word on what those are (`Classifier.scores`)."""
    probe = np.random.default_rng(0).uniform(*bounds, (16, *shapes(model)[0])).astype(np.float32)
    outputs = model(probe, training=False)
    if not tf.is_tensor(outputs):
        raise InputError(f"{model.name}: gives a {type(outputs).__name__}: a classifier gives one tensor of logits")
    rounding = 100 * ml_dtypes.finfo(outputs.dtype.as_numpy_dtype).eps
    scores = "logits"
    if hasattr(outputs, "_keras_logits"):
        scores = "logits before the last activation"
    elif are_probabilities(np.asarray(outputs, np.float32), tolerance=float(rounding)):
        scores = "log of probabilities"
    return functools.partial(to_logits, probabilities=scores != "logits"), scores


def to_logits(outputs: tf.Tensor, *, probabilities: bool) -> tf.Tensor:
    """Float32 logits of a model's outputs, `[batch, classes]`.

    Keras keeps the input of a softmax on its output, for its own cross entropy to use, and that is taken. Where
    probabilities come without it, their logarithm serves, down to the smallest normal float32 (1e-38), which stands
    for 0.
    """
    if probabilities:
        logits = getattr(outputs, "_keras_logits", None)
        if logits is None:
            return tf.math.log(tf.maximum(tf.cast(outputs, tf.float32), np.finfo(np.float32).tiny))
        outputs = logits
    return tf.cast(outputs, tf.float32)
