"""A network of keras.applications, softmax, scales and all; benchmarks.export exports three at full width."""

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.exporting import one_line
from tfharden.export import ExportError

SHAPE, BOUNDS = (32, 32, 3), (-1.0, 1.0)


@pytest.fixture(scope="module")
def x():
    """Images with large and small shapes, that fill the bounds."""
    coarse = np.random.default_rng(0).choice([-1.0, 1.0], (32, 4, 4, 3)).astype(np.float32)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module")
def mobile_net():
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2(SHAPE, alpha=0.35, weights=None, classes=10)


@pytest.mark.slow
def test_without_statistics_the_layer_is_named(mobile_net, x):
    with pytest.raises(ExportError, match=r"to int8: layer block_\d+_\w+ spans .* too little for integers") as error:
        th.export.to_tflite(mobile_net, "int8", x, BOUNDS)
    assert one_line(error)


@pytest.mark.slow
def test_with_statistics_it_is_exported(mobile_net, x):
    model = keras.models.clone_model(mobile_net)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    artifact = th.export.to_tflite(model, "int8", x, BOUNDS, least_agreement=0, target="mcu")
    assert artifact.bounds == BOUNDS
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX"} <= set(artifact.file.operators)
    assert artifact.file.input.scale == pytest.approx(2 / 255, rel=1e-3)
