"""Gradients of a twin lead to errors of the file itself."""

import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.twin_files import file_of, images, weights
from tfharden.attacks import PGD, Transfer
from tfharden.classifiers import KerasClassifier, TwinClassifier
from tfharden.tflite import Twin

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


@pytest.mark.slow
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


@pytest.mark.parametrize(("recipe", "bound"), [("float32", 1e-5), ("dynamic", 0.02), ("int8", 0.02)])
def test_of_grouped_convolutions_they_are_those_of_each_group(recipe, bound):
    """TensorFlow has no gradient of grouped convolutions on CPU; the values are in test_twin_products.py."""
    kernel = weights(3, 3, 4, 24)

    def by_groups(x):
        parts = zip(tf.split(x, 3, axis=3), tf.split(kernel, 3, axis=3), strict=True)
        return tf.reshape(tf.concat([tf.nn.conv2d(*part, 2, "SAME") for part in parts], 3), [len(x), -1])

    file = file_of(lambda x: tf.reshape(tf.nn.conv2d(x, kernel, 2, "SAME"), [1, -1]), (6, 6, 12), recipe)
    assert [operator.opcode for operator in file.graph.operators if "CONV" in operator.opcode] == ["CONV_2D"]
    x = tf.constant(images((6, 6, 12), 5, -0.9, 0.9))
    upstream = np.random.default_rng(1).normal(size=(5, 3 * 3 * 24)).astype(np.float32)
    found = []
    for function in (Twin(file).logits, by_groups):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = function(x)
        found.append(tape.gradient(values, x, output_gradients=upstream).numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=bound * np.abs(found[1]).max())


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
