"""Randomised models: gradients have to be averaged over draws."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests._helpers.linear_problem import IMAGES, true_labels
from tfharden.attacks import APGD, MIFGSM, PGD, EoT, Square
from tfharden.attacks.core.criteria import Targeted, Untargeted, criterion_value
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError
from tfharden.losses import cross_entropy
from tfharden.threats import Linf


class Ripple(keras.layers.Layer):
    """Adds waves of random phase: too low to change an answer, too steep for one gradient to tell the slope."""

    def __init__(self, slope, frequency=1e4):
        super().__init__()
        self.slope, self.frequency = slope, frequency
        self.draws = keras.random.SeedGenerator(0)

    def call(self, x):
        phase = keras.random.uniform(keras.ops.shape(x), 0, 2 * np.pi, seed=self.draws)
        # The wave's slope, without the rounding that its frequency would bring.
        wave = self.slope * keras.ops.cos(phase)
        return x + (x - keras.ops.stop_gradient(x)) * wave


def _randomised(slope):
    image = keras.Input((4, 4, 1))
    height = keras.ops.mean(Ripple(slope)(keras.layers.Flatten()(image)), axis=1, keepdims=True)
    # An error where the mean pixel has risen by 0.08 of the 0.1 that the ball allows.
    return KerasClassifier(keras.Model(image, keras.ops.concatenate([0 * height, 50 * (height - 0.58)], axis=1)))


def test_eot_breaks_a_randomised_model_that_pgd_does_not():
    classifier, x, y = _randomised(slope=6.0), np.full((60, 4, 4, 1), 0.5, np.float32), np.zeros(60, int)
    attack = PGD(Linf(0.1), steps=10)
    assert attack(classifier, x, y).robust_accuracy > 0.9
    assert EoT(attack, samples=200)(classifier, x, y).robust_accuracy < 0.1
    # Without the waves there is nothing to break: one gradient tells all.
    assert attack(_randomised(slope=0.0), x, y).robust_accuracy == 0


def test_on_a_model_without_chance_nothing_changes(two_classes):
    y = true_labels()
    for attack in (PGD(Linf(0.1), steps=6), MIFGSM(Linf(0.1), steps=6), APGD(Linf(0.1), steps=12)):
        plain, averaged = attack(two_classes, IMAGES, y), EoT(attack, samples=3)(two_classes, IMAGES, y)
        np.testing.assert_allclose(averaged.adversarial, plain.adversarial, atol=1e-5)
        np.testing.assert_array_equal(averaged.gradients, 3 * plain.gradients)
        assert averaged.name == f"eot-{attack.name}"
        x, labels = tf.constant(IMAGES), tf.constant(y)
        np.testing.assert_allclose(
            EoT(attack, samples=3).perturb(two_classes.logits_fn, x, labels),
            attack.perturb(two_classes.logits_fn, x, labels),
            atol=1e-5,
        )


@pytest.mark.parametrize("criterion", [Untargeted(np.array([0, 1])), Targeted(np.array([0, 1]), np.array([2, 0]))])
def test_what_is_averaged_is_the_loss_and_the_probability(criterion):
    logits = np.random.default_rng(0).normal(0, 3, (2, 5, 3)).astype(np.float32)
    answers = tf.constant(logits.reshape(10, 3))
    values, reached = criterion_value(lambda x: answers, criterion, cross_entropy, draws=5)(tf.zeros([2, 1]))
    sign, wanted = (1, criterion.labels) if isinstance(criterion, Untargeted) else (-1, criterion.targets)
    each = -sign * special.log_softmax(logits, axis=2)[[0, 1], :, wanted]
    np.testing.assert_allclose(values, each.mean(1), rtol=1e-5)
    classes = special.softmax(logits, axis=2).mean(1).argmax(1)
    np.testing.assert_array_equal(reached, criterion.reached(classes))


def test_only_gradients_can_be_averaged():
    with pytest.raises(InputError, match="eot averages the gradients of an attack such as pgd"):
        EoT(Square(Linf(0.1)))
    with pytest.raises(InputError, match="samples=0 has to be a whole number >= 1"):
        EoT(PGD(Linf(0.1)), samples=0)
