import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests._helpers.linear_problem import (
    FLAT,
    IMAGES,
    OFFSET,
    RNG,
    SHAPE,
    SLOPE,
    WEIGHTS,
    WIDE,
    closed_form_rise,
    true_labels,
    two_logits,
)
from tfharden import losses
from tfharden.attacks import BIM, FGSM, PGD, MarginPGD
from tfharden.threats import L2, Linf


def _long_steps(kind):
    """In L2 a random start is forgotten as exp(-radii walked): the default of 2.5 radii leaves too much of it here."""
    return lambda threat, **settings: kind(threat, steps=30, step_size=threat.epsilon / 4 or None, **settings)


KINDS = [FGSM, BIM, functools.partial(BIM, steps=8), _long_steps(PGD), _long_steps(MarginPGD)]
NAMES = ["fgsm", "bim-10", "bim-8", "pgd", "pgd-margin"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
@pytest.mark.parametrize("threat", [Linf(0.1, WIDE), Linf(0.15), L2(0.3, WIDE)], ids=["linf", "linf-box", "l2"])
def test_a_linear_model_falls_as_far_as_the_closed_form_says(two_classes, kind, threat):
    y = true_labels()
    after = -np.abs(FLAT @ SLOPE + OFFSET) + closed_form_rise(threat)
    clear = np.abs(after) > 2e-3
    result = kind(threat)(two_classes, IMAGES, y)
    np.testing.assert_array_equal(result.success[clear], after[clear] > 0)
    assert 10 < result.success.sum() < 70  # the test tells the two apart
    strongest = dataclasses.replace(kind(threat), early_exit=False)(two_classes, IMAGES, y)
    np.testing.assert_allclose(losses.margin(two_classes.logits(strongest.adversarial), y), after, atol=2e-3)
    np.testing.assert_array_equal(strongest.success[clear], after[clear] > 0)


@pytest.mark.parametrize("threat", [Linf(0.1, WIDE), L2(0.3, WIDE)])
def test_fgsm_is_one_step_along_the_gradient_of_the_cross_entropy(linear, threat):
    weights = RNG.normal(size=(12, 6)).astype(np.float32)
    classifier, y = linear(SHAPE, weights), np.arange(80) % 6
    gradient = (special.softmax(FLAT @ weights, axis=1) - np.eye(6)[y]) @ weights.T
    step = np.sign(gradient) if threat.norm == "Linf" else gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    found = FGSM(threat).perturb(classifier.logits_fn, tf.constant(IMAGES), tf.constant(y))
    np.testing.assert_allclose(found.numpy().reshape(80, -1), FLAT + threat.epsilon * step, atol=1e-5)


@pytest.mark.parametrize("kind", [*KINDS, functools.partial(PGD, restarts=2, early_exit=False)])
@pytest.mark.parametrize("threat", [Linf(0.0), L2(0.0)])
def test_without_a_radius_nothing_moves_and_accuracy_is_the_clean_one(two_classes, kind, threat):
    y = true_labels(offset=0.3)
    result = kind(threat)(two_classes, IMAGES, y)
    np.testing.assert_array_equal(result.adversarial, IMAGES)
    np.testing.assert_array_equal(result.success, two_classes.predict(IMAGES) != y)
    assert 0 < result.success.sum() < 80
    assert not (result.gradients.any() or result.queries.any() or result.distance.any())


@pytest.mark.slow
@pytest.mark.parametrize("norm", [Linf, functools.partial(L2, bounds=(0, 1))])
def test_accuracy_falls_with_radius_steps_and_restarts(digits, digits_classifier, norm):
    x, y = digits.test[0][:200], digits.test[1][:200]
    radius = 0.1 if norm is Linf else 0.6

    def robust(epsilon=radius, **settings):
        return PGD(norm(epsilon), **{"steps": 10} | settings)(digits_classifier, x, y).robust_accuracy

    curve = [robust(epsilon) for epsilon in (0, radius / 4, radius / 2, radius, 3 * radius)]
    assert curve == sorted(curve, reverse=True)
    assert curve[0] > 0.9
    assert curve[-1] < 0.3
    assert robust(steps=1, step_size=radius / 10) > robust(steps=10, step_size=radius / 10) >= robust(steps=30) - 0.01
    assert robust() >= robust(restarts=3)


@pytest.mark.parametrize("lattice", [None, 1 / 16])
@pytest.mark.parametrize("kind", KINDS[1:], ids=NAMES[1:])
def test_dropping_examples_early_changes_no_verdict(two_classes, kind, lattice):
    threat, y = Linf(0.15, lattice=lattice), true_labels()
    early, late = (kind(threat, early_exit=early)(two_classes, IMAGES, y) for early in (True, False))
    after = np.abs(late.success.astype(int) - early.success).sum()
    assert after == 0
    assert early.gradients.sum() < late.gradients.sum()
    assert 5 < late.success.sum() < 75


def test_on_a_coarse_lattice_the_attack_goes_on_until_the_received_image_falls(linear):
    """Every value has to rise by 0.12, which takes two lattice steps of 0.1 though the float iterate falls at 0.15."""
    classifier = linear((2, 2, 1), [[-1, 1]] * 4, [0, -4 - 8 * 0.12])
    x, y = np.full((20, 2, 2, 1), 0.5, np.float32), np.zeros(20, int)
    for seed in range(3):
        result = PGD(Linf(0.3, lattice=0.1), steps=40, step_size=0.03, seed=seed)(classifier, x, y)
        assert result.success.all()
        np.testing.assert_allclose(result.adversarial * 10, np.round(result.adversarial * 10), atol=1e-5)


THREATS = [
    Linf(0.1),
    Linf(8 / 255, lattice=1 / 255),
    Linf(0.2, (-1, 1), 2 / 255),
    Linf(8, (0, 255)),
    Linf(8.5, (0, 255), 1),
    Linf(10.3, (-123.68, 151.06)),
    L2(0.5),
    L2(0.5, lattice=1 / 255),
    L2(90, (0, 255)),
    L2(1.0, (-1, 1), 2 / 255),
]


@pytest.mark.slow
@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("early_exit", [True, False])
def test_results_keep_ball_box_and_lattice(linear, threat, early_exit):
    low, high = threat.bounds
    scale = np.float32(high - low)
    classifier = linear(SHAPE, WEIGHTS / scale)
    x = np.clip(low + scale * IMAGES * 1.2 - 0.1 * scale, low, high).astype(np.float32)
    y = classifier.predict(x)
    for attack in (FGSM(threat), PGD(threat, steps=12, restarts=2, early_exit=early_exit)):
        result = attack(classifier, x, y)
        origin, found = np.asarray(threat.round_to_lattice(x), np.float64), result.adversarial.astype(np.float64)
        slack = 1e-6 * max(1, *map(abs, threat.bounds), threat.epsilon)
        length = np.abs(found - origin).max((1, 2, 3))
        if threat.norm == "L2":
            length = np.sqrt(np.square(found - origin).sum((1, 2, 3)))
        assert length.max() <= threat.epsilon + slack
        assert low - slack <= found.min() <= found.max() <= high + slack
        if threat.lattice:
            steps = (found - low) / threat.lattice
            np.testing.assert_allclose(steps, np.round(steps), atol=slack / threat.lattice)
        np.testing.assert_allclose(result.distance, length, atol=2 * slack)
        np.testing.assert_array_equal(result.success, classifier.predict(result.adversarial) != y)
        assert result.success.any()


def test_a_planted_adversarial_example_is_found():
    """Within the ball the model errs only in a ball of radius 0.02 round one point, 1e-15 of the volume."""
    centre = 0.5 + 0.08 * np.random.default_rng(1).uniform(-1, 1, 16).astype(np.float32)
    classifier = two_logits(lambda x: 0.02**2 - keras.ops.sum(keras.ops.square(x - centre), axis=1))
    x, y = np.full((4, 4, 4, 1), 0.5, np.float32), np.zeros(4, int)
    distance = np.abs(centre - 0.5).max()
    attack = PGD(Linf(0.1), steps=200, step_size=0.002)
    for loss in (losses.cross_entropy, losses.margin):
        result = dataclasses.replace(attack, loss=loss)(classifier, x, y)
        assert result.success.all()
        assert np.linalg.norm(result.adversarial.reshape(4, 16) - centre, axis=1).max() < 0.02
    assert not attack.with_threat(Linf(float(distance) - 0.03))(classifier, x, y).success.any()
    inside = Linf(0.1).random_start(np.full((1000, 4, 4, 1), 0.5, np.float32), tf.constant([0, 0]))
    assert not (classifier.predict(inside.numpy()) == 1).any()  # chance doesn't find it


@pytest.mark.parametrize("early_exit", [True, False])
def test_the_best_iterate_counts_and_not_the_last(early_exit):
    """0.5 -> 0.53, where the model errs -> 0.56, where it no longer does."""
    classifier = two_logits(lambda x: 0.01 - keras.ops.abs(x - 0.535), (1, 1, 1))
    x, y = np.full((1, 1, 1, 1), 0.5, np.float32), np.zeros(1, np.int32)
    attack = BIM(Linf(0.1), steps=2, step_size=0.03, early_exit=early_exit)
    result = attack(classifier, x, y)
    np.testing.assert_allclose(result.adversarial.ravel(), [0.53], atol=1e-6)
    assert result.success.all()
    # Training takes the last one.
    last = attack.perturb(classifier.logits_fn, tf.constant(x), tf.constant(y))
    np.testing.assert_allclose(last.numpy().ravel(), [0.56], atol=1e-6)


def test_a_failed_attack_returns_the_iterate_of_highest_loss():
    classifier = two_logits(lambda x: -0.01 - keras.ops.abs(x - 0.535), (1, 1, 1))
    result = BIM(Linf(0.1), steps=2, step_size=0.03)(classifier, np.full((1, 1, 1, 1), 0.5), np.zeros(1, int))
    assert not result.success.any()
    np.testing.assert_allclose(result.adversarial.ravel(), [0.53], atol=1e-6)
