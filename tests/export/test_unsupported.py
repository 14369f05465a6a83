"""Models that no recipe can export: one line each, in the words of the model, and the process lives on."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.exporting import CLASSES, one_line
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


def of(function, name):
    return layers.Lambda(function, output_shape=lambda shape: shape, name=name)


def inverse(name):
    return of(lambda x: tf.raw_ops.Erfinv(x=x), name)


def nested(layer):
    inputs = keras.Input(SEQUENCE)
    return keras.Model(inputs, layer(inputs), name="inner")


def after(name, function):
    layer = layers.Dense(SEQUENCE[1], name=name)
    return lambda x: function(layer(x))


def images(shape=SEQUENCE):
    return np.random.default_rng(0).random((16, *shape), np.float32)


# Without calibration and with it; all other recipes share the code of one of them up to here.
@pytest.mark.parametrize("recipe", ["float32", "int8"])
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.LSTM(4, name="memory"), r"model has a loop in it \(layer memory\).*unroll=True"),
        (lambda: layers.GRU(4, name="memory"), r"model has a loop in it \(layer memory\)"),
        (lambda: keras.ops.erfinv, "no built-in operator does Erfinv$"),
        (lambda: inverse("strange"), r"no built-in operator does Erfinv \(layer strange\)"),
        (lambda: nested(inverse("strange")), r"no built-in operator does Erfinv \(layer strange\)"),
        (lambda: after("known", keras.ops.erfinv), r"no built-in operator does Erfinv \(after layer known\)"),
        (lambda: of(tf.math.cumprod, "product"), r"no built-in operator does Cumprod \(layer product\)$"),
        (Branch, r"operator IF isn't supported.* \(layer branch(_\d+)?\)|can't be converted"),
    ],
    ids=["lstm", "gru", "erfinv", "in a layer", "in a model", "after a layer", "cumprod", "branch"],
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


def test_operators_that_no_classifier_has():
    shape = (4, 4, 4, 2)
    with pytest.raises(ExportError, match=r"operator CONV_3D isn't supported.* \(layer volume\)$") as error:
        th.export.to_tflite(around(layers.Conv3D(3, 2, name="volume"), shape), "float32", images(shape))
    assert one_line(error)


# What microcontrollers don't run.


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: layers.LayerNormalization(name="norm"), r"leaves NEG in floats \(layer norm\)"),
        (lambda: layers.UnitNormalization(name="norm"), r"leaves SQUARE in floats \(layer norm\)"),
        (lambda: layers.Activation("gelu", name="smooth"), r"LiteRT has no GELU there \(layer smooth\)"),
        (lambda: of(lambda x: tf.sort(x, axis=-1), "sorted"), r"LiteRT has no TOPK_V2 there \(layer sorted\)"),
    ],
    ids=["layer norm", "unit norm", "gelu", "sort"],
)
def test_microcontrollers(make, match):
    model = around(make())
    with pytest.raises(ExportError, match=f"the int8 file of model .*{match}") as error:
        th.export.to_tflite(model, "int8", images(), target="mcu")
    assert one_line(error)
    th.export.to_tflite(model, "int8", images())


# Values that fade.


def test_values_too_small_for_integers():
    """As in a deep network that never saw an image, whose batch normalisation doesn't keep values up."""
    inputs = keras.Input(SEQUENCE)
    x = layers.Flatten()(inputs)
    for name, scale in (("first", 1e-3), ("second", 1e-6), ("third", 1e-6)):
        x = layers.Dense(8, kernel_initializer=keras.initializers.RandomNormal(0, scale, seed=0), name=name)(x)
    model = keras.Model(inputs, layers.Dense(CLASSES)(x), name="model")
    with pytest.raises(ExportError, match=r"to int8: layer second spans .*too little for integers") as error:
        th.export.to_tflite(model, "int8", images())
    assert one_line(error)
    assert th.export.to_tflite(model, "float32").agreement == 1
