"""A small classifier of digits, and its file in integers."""

import keras
import pytest

import tfharden as th


@pytest.fixture(scope="session")
def digits_network(digits):
    """A small convolutional network, fitted for seconds."""
    keras.utils.set_random_seed(0)
    model = th.models.build("cnn", (8, 8, 1), 10, width=8, seed=0)
    model.compile(keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(*digits.train, epochs=6, batch_size=64, verbose=0)
    return model


@pytest.fixture(scope="session")
def digits_int8(digits, digits_network):
    """The same in integers of 8 bits."""
    return th.export.to_tflite(digits_network, "int8", digits.train[0]).file
