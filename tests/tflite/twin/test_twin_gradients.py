"""Gradients of a twin lead to errors of the file itself."""

import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tfharden.attacks import PGD, Transfer
from tfharden.classifiers import KerasClassifier, TwinClassifier

THREAT = th.Linf(0.1)


def gradient(classifier, x, y):
    with tf.GradientTape() as tape:
        x = tf.constant(x)
        tape.watch(x)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, classifier.logits_fn(x))
    return tape.gradient(loss, x).numpy()


def cosines(a, b):
    a, b = (v.reshape(len(v), -1) for v in (a, b))
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_of_real_numbers_they_are_those_of_the_source(digits, digits_network):
    x, y = digits.test[0][:50], digits.test[1][:50]
    twin = TwinClassifier(th.export.to_tflite(digits_network, "float32").file)
    source = gradient(KerasClassifier(digits_network), x, y)
    np.testing.assert_allclose(gradient(twin, x, y), source, rtol=1e-3, atol=1e-4 * np.abs(source).max())


@pytest.mark.parametrize("kernels", ["xnnpack", "reference"])
def test_of_integers_they_point_where_those_of_the_source_point(digits, digits_network, digits_int8, kernels):
    x, y = digits.test[0][:50], digits.test[1][:50]
    found = gradient(TwinClassifier(digits_int8, kernels=kernels), x, y)
    assert np.abs(found).reshape(len(x), -1).max(axis=1).all()
    assert np.median(cosines(found, gradient(KerasClassifier(digits_network), x, y))) > 0.9


def test_a_twin_aims_better_than_the_source(digits, digits_network, digits_int8):
    """The attack on the file counts on the interpreter, on the lattice, and beats transfer from the float model."""
    x, y = digits.test[0][:100], digits.test[1][:100]
    file, attack = TwinClassifier(digits_int8), PGD(THREAT, steps=10)
    direct, transfer = attack(file, x, y), Transfer(attack, KerasClassifier(digits_network))(file, x, y)
    assert direct.robust_accuracy <= transfer.robust_accuracy
    assert direct.robust_accuracy < (file.predict(x) == y).mean() - 0.2
    assert not direct.lost.any()
    raw = direct.adversarial / file.file.input.scale
    np.testing.assert_allclose(raw, np.round(raw), atol=1e-3)


def test_what_a_dishonest_twin_wins_is_lost_on_the_interpreter(digits, digits_int8, monkeypatch):
    """Success is the interpreter's: a twin that answers otherwise gets nothing."""
    x, y = digits.test[0][:50], digits.test[1][:50]
    file = TwinClassifier(digits_int8)
    honest = file.logits_fn
    monkeypatch.setattr(file, "logits_fn", lambda images: tf.roll(honest(images), 1, axis=1))
    result = PGD(th.Linf(1e-6), steps=2)(file, x, y)
    assert result.robust_accuracy == (file.predict(x) == y).mean()
    assert result.lost.sum() == (file.predict(x) == y).sum()
