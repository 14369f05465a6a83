"""Models that no recipe can export: one line each, in the words of the model, and the process lives on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from exporting import CLASSES, one_line
from keras import layers

import tfharden as th
from tfharden.errors import InputError
from tfharden.export import ExportError

SEQUENCE = (8, 6)


class Branch(layers.Layer):
    def call(self, x):
        return tf.cond(tf.reduce_sum(x) > 1, lambda: 2 * x, lambda: x + 1)

    def compute_output_shape(self, shape):
        return shape


def around(layer, shape=SEQUENCE):
    inputs = keras.Input(shape)
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(layer(inputs))), name="model")


def images(shape=SEQUENCE):
    return np.random.default_rng(0).random((16, *shape), np.float32)


@pytest.mark.parametrize("recipe", th.export.RECIPES)
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.LSTM(4), "model has a loop in it.*unroll=True"),
        (lambda: layers.GRU(4), "model has a loop in it"),
        (lambda: keras.ops.erfinv, "no built-in operator does Erfinv"),
        (Branch, "operator IF isn't supported|can't be converted"),
    ],
    ids=["lstm", "gru", "erfinv", "branch"],
)
def test_layers_without_an_operator(make, match, recipe, capfd):
    """TensorFlow's calibrator crashes the process at a loop, so none may reach it."""
    capfd.readouterr()
    with pytest.raises(ExportError, match=match) as error:
        th.export.to_tflite(around(make()), recipe, images())
    assert one_line(error)
    assert "/" not in str(error.value)  # no paths of TensorFlow's own files
    assert "rror" not in capfd.readouterr().err  # nor its own pages on it


def test_an_unrolled_loop_is_exported():
    artifact = th.export.to_tflite(around(layers.LSTM(4, unroll=True)), "int8", images())
    assert "WHILE" not in artifact.file.operators


@pytest.mark.parametrize("recipe", ["float32", "int8"])
def test_several_inputs(recipe):
    inputs = [keras.Input(SEQUENCE), keras.Input(SEQUENCE)]
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(layers.Add()(inputs))))
    with pytest.raises(InputError, match="one input") as error:
        th.export.to_tflite(model, recipe, images())
    assert one_line(error)
