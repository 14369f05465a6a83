"""Conversion of models and files to classifiers."""

import os
import pathlib

import keras

from tfharden.classifiers.base import Classifier
from tfharden.classifiers.keras_models import KerasClassifier, load_model
from tfharden.classifiers.tflite_files import tflite_classifier
from tfharden.errors import InputError
from tfharden.tflite import TFLiteFile


def as_classifier(
    model: object,
    bounds: tuple[float, float] = (0.0, 1.0),
    *,
    name: str | None = None,
    kernels: str = "xnnpack",
    threads: int = 2,
    **unknown: object,
) -> Classifier:
    """A classifier from a classifier, a Keras model, a checked file, or the path of a .keras or .tflite file.

    Files for TFLite have the gradients of their twins where `tflite.Twin` can do their operators.

    Args:
        model: what becomes a classifier; a classifier stays as it is.
        bounds: range of valid inputs of a Keras model.
        name: what reports call it; the name of the model or file by default.
        kernels: of a .tflite: "xnnpack" (what phones run), "builtin" or "reference".
        threads: interpreter threads of a .tflite.
        **unknown: nothing; other options are refused.

    Raises:
        InputError: something else, an unknown option, a missing or broken file, a .keras file with code in it (a
            Lambda layer).
    """
    if unknown:
        raise InputError(f"as_classifier has no option {', '.join(unknown)}: known are bounds, name, kernels, threads")
    if isinstance(model, Classifier):
        return model
    if isinstance(model, keras.Model):
        return KerasClassifier(model, name, bounds)
    if isinstance(model, TFLiteFile):
        return tflite_classifier(model, name, kernels, threads)
    if isinstance(model, str | os.PathLike):
        path = pathlib.Path(model)
        if path.suffix == ".keras":
            return KerasClassifier(load_model(path), name or path.name, bounds, path)
        if path.suffix == ".tflite":
            return tflite_classifier(path, name, kernels, threads)
        raise InputError(f"{path}: unknown kind of model file; known are .keras and .tflite")
    raise InputError(
        f"can't attack a {type(model).__name__}: give a Keras model, a .keras or .tflite path, a classifier"
    )
