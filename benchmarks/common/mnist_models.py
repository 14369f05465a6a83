"""The two networks that the attacks are measured on: MNIST, natural and adversarially trained, made once and kept."""

import pathlib

import keras
import numpy as np
from keras import layers

import tfharden as th
from tfharden.data.examples import Examples

EPSILON = 0.3
# Radius, epochs, and by how much the learning rate falls: at 0.3 from the start the training sticks at chance.
RAMP = ((0.1, 2, 1.0), (0.2, 2, 1.0), (EPSILON, 8, 5e-3))
STEPS, RATE = 10, 2e-3


def network(*, as_pytorch: bool = False) -> keras.Model:
    """The network of Wong, Rice and Kolter (2020) for MNIST: two strided convolutions and two dense layers.

    `as_pytorch` draws first weights and biases as PyTorch does, evenly within 1 / sqrt(inputs of a unit).
    """

    def uniform(inputs: int) -> dict[str, keras.initializers.Initializer]:
        if not as_pytorch:
            return {}
        limit = inputs**-0.5
        return {f"{name}_initializer": keras.initializers.RandomUniform(-limit, limit) for name in ("kernel", "bias")}

    inputs = keras.Input((28, 28, 1), name="image")
    relu = {"activation": "relu"}
    x = layers.Conv2D(16, 4, 2, padding="same", name="conv1", **relu, **uniform(16))(inputs)
    x = layers.Conv2D(32, 4, 2, padding="same", name="conv2", **relu, **uniform(16 * 16))(x)
    x = layers.Dense(100, name="hidden", **relu, **uniform(7 * 7 * 32))(layers.Flatten(name="flatten")(x))
    return keras.Model(inputs, layers.Dense(10, name="logits", **uniform(100))(x), name="wong")


def natural(examples: Examples) -> keras.Model:
    """Four epochs of Adam."""
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    model.fit(*examples, batch_size=128, epochs=4, verbose=2)
    return model


def hardened(examples: Examples) -> keras.Model:
    """PGD-10 adversarial training (Madry et al. 2018) with a growing radius."""
    model = network()
    for epsilon, epochs, end in RAMP:
        rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * -(-len(examples[0]) // 256), alpha=end)
        trainer = th.RobustModel(model, th.attacks.PGD(th.Linf(epsilon), steps=STEPS))
        trainer.compile(keras.optimizers.Adam(rate), metrics=["accuracy"])
        trainer.fit(*examples, batch_size=256, epochs=epochs, verbose=2)
    return model


def load_or_train(folder: pathlib.Path, data: th.data.Dataset) -> dict[str, keras.Model]:
    """Both models by name, from `folder` or made and put there."""
    folder.mkdir(parents=True, exist_ok=True)
    models = {}
    for make in (natural, hardened):
        path = folder / f"mnist_{make.__name__}.keras"
        if not path.exists():
            keras.utils.set_random_seed(0)
            make(data.train).save(path)
        models[make.__name__] = th.load_model(path)
    return models


def test_images(data: th.data.Dataset, count: int) -> Examples:
    """The same random test images for every model and attack."""
    x, y = th.data.take(data.test, count, seed=0)
    return x, y.astype(np.int64)
