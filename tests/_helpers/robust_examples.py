"""Small models and examples for the tests of RobustModel, and its arithmetic written out in NumPy."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tfharden as th

SHAPE, CLASSES, EPSILON, RATE = (4, 4, 1), 3, 0.1, 0.5
THREAT = th.Linf(EPSILON)


def linear(*, softmax=False, seed=0, classes=CLASSES, **dense):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(
                classes,
                activation="softmax" if softmax else None,
                bias_initializer=keras.initializers.RandomNormal(),
                **dense,
            ),
        ]
    )


def examples(count=8, seed=0, classes=CLASSES):
    random = np.random.default_rng(seed)
    return random.random((count, *SHAPE), np.float32), random.integers(0, classes, count).astype(np.int32)


def probabilities(logits):
    scores = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


class Numpy:
    """The softmax model with its gradients, written out in float64."""

    def __init__(self, model):
        self.kernel, self.bias = (w.astype(np.float64) for w in model.get_weights())

    def residual(self, x, y):
        """p - onehot(y), the gradient of the cross entropy by the logits."""
        logits = x.reshape(len(x), -1).astype(np.float64) @ self.kernel + self.bias
        return probabilities(logits) - np.eye(logits.shape[-1])[y]

    def losses(self, x, y):
        return -np.log((self.residual(x, y) + np.eye(len(self.bias))[y])[np.arange(len(y)), y])

    def predict(self, x):
        return (x.reshape(len(x), -1) @ self.kernel + self.bias).argmax(axis=-1)

    def fgsm(self, x, y, epsilon=EPSILON):
        gradient = (self.residual(x, y) @ self.kernel.T).reshape(x.shape)
        return np.clip(x + epsilon * np.sign(gradient), 0, 1)

    def after_step(self, batches, rate=RATE):
        """Kernel and bias after one SGD step on the mean of `weight * cross entropy` over (x, y, weight) batches."""
        kernel, bias = self.kernel, self.bias
        for x, y, weight in batches:
            error = np.broadcast_to(weight, len(y))[:, None] * self.residual(x, y) / len(y)
            kernel, bias = kernel - rate * x.reshape(len(x), -1).T @ error, bias - rate * error.sum(axis=0)
        return kernel, bias


def robust(
    model, attack=None, objective=None, *, rate=RATE, settings=None, seed=0, run_eagerly=True, **compile_options
):
    """A compiled trainer. Its steps run eagerly, since tracing a graph takes longer than the few steps of a test."""
    trainer = th.RobustModel(model, attack, objective, seed=seed, **(settings or {}))
    trainer.compile(keras.optimizers.SGD(rate), run_eagerly=run_eagerly, **compile_options)
    return trainer


def recording(seen):
    """Madry's objective that keeps what it was given at run time, in graph mode too."""

    class Recording(th.objectives.Madry):
        def __call__(self, forward, x, x_adversarial, y):
            tf.numpy_function(lambda *images: seen.append(images) or np.int32(0), [x, x_adversarial], tf.int32)
            return super().__call__(forward, x, x_adversarial, y)

    return Recording()


def assert_same_weights(given, expected, **tolerance):
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other, **({"rtol": 1e-5, "atol": 1e-6} | tolerance))


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)
