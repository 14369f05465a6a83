"""Fixtures that several folders share."""

import os

# These have to be set before TensorFlow loads. Each worker of xdist keeps one processor busy: more threads in it would
# wait for each other, and cost a tenth of the processor time.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import keras
import numpy as np
import pytest

from tfharden import data
from tfharden.classifiers import KerasClassifier


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def digits():
    return data.load("digits")


@pytest.fixture(scope="session")
def digits_model(digits):
    """A small network with smooth units, fitted for seconds: right on most digits, robust on few."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="tanh"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*digits.train, epochs=8, batch_size=64, verbose=0)
    return model


@pytest.fixture
def linear():
    """Makes a classifier whose logits are `images.reshape(n, -1) @ weights + bias`."""

    def make(shape, weights, bias=None):
        weights = np.asarray(weights, np.float32)
        model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(weights.shape[1])])
        bias = np.zeros(weights.shape[1]) if bias is None else bias
        model.layers[-1].set_weights([weights, np.asarray(bias, np.float32)])
        return KerasClassifier(model)

    return make
