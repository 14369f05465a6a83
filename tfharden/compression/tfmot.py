"""tensorflow-model-optimization, imported late and without its side effects."""

import functools
import importlib
import os
from types import ModuleType

import tensorflow as tf

# What tfmot's import sets, so that `tf.keras` becomes Keras 2 in this process and in all that it starts.
SWITCH = "TF_USE_LEGACY_KERAS"


@functools.cache
def load(module: str = "") -> ModuleType:
    """The package, or the module of that name within it; `tf.keras` stays what it was.

    Only its pure TensorFlow pieces are used: schedules, quantizers, centroid initialisers. Its layers and models are
    Keras 2.
    """
    before, keras = os.environ.get(SWITCH), tf.__dict__.get("keras")
    try:
        found = importlib.import_module(f"tensorflow_model_optimization{module and '.' + module}")
    finally:
        if before is None:
            os.environ.pop(SWITCH, None)
        else:
            os.environ[SWITCH] = before
        if keras is not None:
            tf.__dict__["keras"] = keras
    return found
