"""A linear problem of two classes whose optima are known in closed form, and models made of one function."""

import functools

import keras
import numpy as np

from tfharden.classifiers import KerasClassifier

WIDE = (-10.0, 10.0)
SHAPE = (3, 4, 1)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(12, 2)).astype(np.float32)
SLOPE = WEIGHTS[:, 1] - WEIGHTS[:, 0]
IMAGES = RNG.uniform(size=(80, *SHAPE)).astype(np.float32)
FLAT = IMAGES.reshape(80, -1)
OFFSET = -np.median(FLAT @ SLOPE)  # half of the images to each class


def true_labels(offset=0.0):
    return (FLAT @ SLOPE + OFFSET + offset > 0).astype(np.int32)


def closed_form_rise(threat):
    """How much the true class can lose against the other, by the closed form of a linear function."""
    sign = np.where(true_labels() == 0, 1, -1)[:, None]
    low, high = threat.bounds
    if threat.norm == "Linf":
        reach = np.clip(FLAT + threat.epsilon * np.sign(sign * SLOPE), low, high) - FLAT
        return (sign * SLOPE * reach).sum(1)
    return np.full(80, threat.epsilon * np.linalg.norm(SLOPE))


def two_logits(function, shape=(4, 4, 1)):
    """A model that says class 1 where `function(image)` is positive."""
    image = keras.Input(shape)
    value = function(layers_flat := keras.layers.Flatten()(image))
    assert layers_flat.shape[1] == np.prod(shape)
    value = keras.ops.reshape(value, (-1, 1))
    return KerasClassifier(keras.Model(image, keras.ops.concatenate([keras.ops.zeros_like(value), value], axis=1)))


def linear_classifier(shape, weights, bias=None):
    """A classifier whose logits are `images.reshape(n, -1) @ weights + bias`; equal ones are one and the same."""
    weights = np.asarray(weights, np.float32)
    bias = np.asarray(np.zeros(weights.shape[1]) if bias is None else bias, np.float32)
    return _linear_classifier(tuple(shape), weights.tobytes(), bias.tobytes())


@functools.cache
def _linear_classifier(shape, weights, bias):
    bias = np.frombuffer(bias, np.float32)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(len(bias))])
    model.layers[-1].set_weights([np.frombuffer(weights, np.float32).reshape(-1, len(bias)), bias])
    return KerasClassifier(model)
