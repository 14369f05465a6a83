"""Small integer files for the tests of the MCU kit, made once."""

import functools
import importlib
import importlib.util
import pathlib
import shutil
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfharden import data, models
from tfharden.tflite import parse

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "models"
needs_micro = pytest.mark.skipif(
    importlib.util.find_spec("tflite_micro") is None, reason="the extra micro isn't installed"
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")


@functools.cache
def digits():
    return data.load("digits")


def converted(model, images=None, batch=1, io=tf.int8, quantised=True, sixteen=False):
    """A .tflite of a Keras model."""
    sets = tf.lite.OpsSet
    signature = [tf.TensorSpec((batch, *shape[1:]), tf.float32) for shape in _shapes(model)]
    graph = tf.function(lambda *x: model(x if len(x) > 1 else x[0], training=False), input_signature=signature)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()], model)
    converter.experimental_lower_to_saved_model = False
    if quantised:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if images is not None:
        chosen = (
            sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8 if sixteen else sets.TFLITE_BUILTINS_INT8
        )
        converter.representative_dataset = lambda: (
            [np.repeat(image[np.newaxis], batch, axis=0)] * len(signature) for image in images[:100]
        )
        converter.target_spec.supported_ops = [chosen]
        converter.inference_input_type = converter.inference_output_type = io
    with warnings.catch_warnings(action="ignore"):
        return parse(converter.convert(), f"{model.name}.tflite")


def _shapes(model):
    return model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]


@functools.cache
def trained():
    """A convolutional network, right on most digits."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.DepthwiseConv2D(3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(10),
        ],
        name="tiny",
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*digits().train, epochs=4, batch_size=64, verbose=0)
    return model


@functools.cache
def int8():
    return converted(trained(), digits().train[0])


@functools.cache
def zoo(name):
    """A model of the zoo with random weights, in int8."""
    keras.utils.set_random_seed(0)
    return converted(models.build(name, (8, 8, 1), 10, width=8), digits().train[0])


def micro_interpreter(content, arena_size):
    """tflite-micro's own, without anything around it."""
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    return runtime.Interpreter.from_bytes(content, arena_size=arena_size)


def text_of(folder):
    """Every file in a folder, by its path within."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def images(count=60):
    return digits().test[0][:count]
