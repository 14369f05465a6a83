"""Well-known networks, and images of their size."""

from collections.abc import Callable

import keras
import numpy as np

import tfharden as th

SIZE, CLASSES, CALIBRATION, PROBES = 96, 10, 64, 100
# Makers, and the range of what each takes: the network itself scales nothing, or all that it needs.
NETWORKS: dict[str, tuple[Callable[..., keras.Model], tuple[float, float]]] = {
    "MobileNetV2": (keras.applications.MobileNetV2, (-1.0, 1.0)),
    "EfficientNetB0": (keras.applications.EfficientNetB0, (0.0, 255.0)),
    "ResNet50V2": (keras.applications.ResNet50V2, (-1.0, 1.0)),
}


def images(bounds: tuple[float, float]) -> np.ndarray:
    """Digits, enlarged and in three equal channels, in the range of the network's input."""
    x = th.data.load("digits").train[0][: CALIBRATION + PROBES]
    x = np.kron(x, np.ones((1, SIZE // 8, SIZE // 8, 3), np.float32))
    return bounds[0] + (bounds[1] - bounds[0]) * x


def set_batch_statistics(model: keras.Model, x: np.ndarray) -> keras.Model:
    """The network with statistics of images in its batch normalisation; without, values fade from layer to layer."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    return model
