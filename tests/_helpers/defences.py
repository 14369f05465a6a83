"""Six defences that the literature broke, small, round an honest model: what they hide is the gradient."""

import keras
import numpy as np
from keras import layers, ops


class Staircase(layers.Layer):
    """Rounds to a few levels; the slope that is left leads nowhere (Guo et al. 2018, Buckman et al. 2018)."""

    def __init__(self, levels=8):
        super().__init__()
        self.levels = levels

    def call(self, inputs):
        # Steps of sigmoids so steep that float32 has no slope on the flat parts.
        steps = (ops.arange(self.levels, dtype="float32") + 0.5) / self.levels
        return ops.sum(ops.sigmoid(2000.0 * (inputs[..., None] - steps)), axis=-1) / self.levels


class ResizeAndPad(layers.Layer):
    """A random size of 7 or 8, at a random place (Xie et al. 2018)."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, inputs):
        variants = []
        for size in (7, 8):
            for top in range(9 - size):
                for left in range(9 - size):
                    small = ops.image.resize(inputs, (size, size))
                    variants.append(ops.pad(small, [[0, 0], [top, 8 - size - top], [left, 8 - size - left], [0, 0]]))
        chosen = keras.random.randint(ops.shape(inputs)[:1], 0, len(variants), seed=self.seeds)
        weights = ops.one_hot(chosen, len(variants), dtype="float32")
        return ops.einsum("nv,vnhwc->nhwc", weights, ops.stack(variants))


class Noisy(layers.Layer):
    """Noise in training and in inference (Liu et al. 2018)."""

    def __init__(self, deviation=0.1):
        super().__init__()
        self.deviation = deviation
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, inputs):
        return inputs + self.deviation * keras.random.normal(ops.shape(inputs), seed=self.seeds)


class Inspector(layers.Layer):
    """Takes the image apart by a threshold and keeps what it believes in; a sign has no slope (Lu et al. 2017)."""

    def call(self, inputs):
        ink = (ops.sign(inputs - 0.45) + 1.0) / 2.0
        near = ops.average_pool(ink, 3, strides=1, padding="same")
        # A pixel without neighbours is an adversary's.
        return ink * (ops.sign(near - 0.15) + 1.0) / 2.0


def staircase(model):
    return _before(model, Staircase())


def saturated(model, temperature=1e-3):
    """Probabilities at a temperature at which all of them are 0 or 1 (Papernot et al. 2016)."""
    inputs = keras.Input(model.input_shape[1:])
    logits = model(inputs) / temperature
    powers = ops.exp(logits - ops.max(logits, axis=-1, keepdims=True))
    return keras.Model(inputs, powers / ops.sum(powers, axis=-1, keepdims=True))


def resized(model, train):
    """Trained behind its layer, without which it would know nothing."""
    defended = _before(keras.models.clone_model(model), ResizeAndPad())
    defended.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    defended.fit(*train, epochs=8, batch_size=64, verbose=0)
    return defended


def noisy(model):
    return _before(model, Noisy())


def inspected(model):
    return _before(model, Inspector())


def squeezed(model, train, scale=100.0):
    """Trained on smoothed labels, then with logits made larger (Warde-Farley and Goodfellow 2016)."""
    twin = keras.models.clone_model(model)
    twin.compile(
        keras.optimizers.Adam(0.01), keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.5)
    )
    x, y = train
    twin.fit(x, np.eye(10, dtype=np.float32)[y], epochs=8, batch_size=64, verbose=0)
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, scale * twin(inputs))


def _before(model, layer):
    inputs = keras.Input(model.input_shape[1:])
    return keras.Model(inputs, model(layer(inputs)))
