"""Small teachers, students and examples that the tests of distillation share."""

import keras
import numpy as np

import tfharden as th

SHAPE, CLASSES = (8, 8, 1), 3
THREAT = th.Linf(0.1)


def cnn(width=4, seed=0, *, shape=SHAPE, classes=CLASSES, name=None):
    keras.utils.set_random_seed(seed)
    return th.models.cnn(shape, classes, width=width, name=name or f"cnn{width}")


def examples(count=8, seed=0):
    random = np.random.default_rng(seed)
    return random.random((count, *SHAPE), np.float32), random.integers(0, CLASSES, count).astype(np.int32)


def distiller(
    student, teacher, losses, attack=None, objective=None, *, rate=0.1, metrics=None, run_eagerly=True, **settings
):
    """A compiled trainer. Its steps run eagerly, since tracing a graph takes longer than the few steps of a test."""
    made = th.Distiller(student, teacher, losses, attack, objective, **settings)
    made.compile(keras.optimizers.SGD(rate), metrics=metrics, run_eagerly=run_eagerly)
    return made


def copies(model):
    return [w.numpy().copy() for w in model.weights]


def assert_identical(model, before):
    for variable, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, old, err_msg=variable.path)


def log_softmax(scores):
    scores = np.asarray(scores, np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def divergence(target, estimate):
    """KL(softmax(target) || softmax(estimate)) of each row."""
    p, q = log_softmax(target), log_softmax(estimate)
    return np.sum(np.exp(p) * (p - q), axis=-1)


def one_line(error):
    return "\n" not in str(error.value) and str(error.value)
