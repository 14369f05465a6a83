"""FAB against closed forms, and against the radius at which other attacks succeed."""

import numpy as np
import pytest
from scipy import optimize

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SHAPE, SLOPE, WIDE, true_labels
from tfharden.attacks import FAB, PGD, MultiTargeted
from tfharden.losses import margin
from tfharden.threats import L1, L2, Linf

GAP = np.abs(FLAT @ SLOPE + OFFSET)


@pytest.mark.parametrize(
    ("threat", "dual"),
    [
        (Linf(20.0, WIDE), np.abs(SLOPE).sum()),
        (L2(20.0, WIDE), np.linalg.norm(SLOPE)),
        (L1(20.0, WIDE), np.abs(SLOPE).max()),
    ],
    ids=["linf", "l2", "l1"],
)
def test_on_a_linear_model_the_distance_is_that_of_the_hyperplane(two_classes, threat, dual):
    for attack in (FAB(threat, steps=20), MultiTargeted(FAB(threat, steps=20))):
        result = attack(two_classes, IMAGES, true_labels())
        assert result.success.all()
        np.testing.assert_allclose(result.minimum, GAP / dual, rtol=0.03, atol=1e-4)
        np.testing.assert_allclose(result.distance, result.minimum, atol=1e-5)


def test_in_the_box_the_distance_is_the_optimum(two_classes):
    result = FAB(Linf(1.0), steps=30)(two_classes, IMAGES, true_labels())
    for image, label, found in zip(FLAT[:20], true_labels(), result.minimum, strict=False):
        direction = np.sign(SLOPE) * (1 if label == 0 else -1)

        def lead(radius, image=image, direction=direction):
            return (np.clip(image + radius * direction, 0, 1) @ SLOPE + OFFSET) * direction[0] * np.sign(SLOPE[0])

        assert found == pytest.approx(optimize.brentq(lead, 0, 1), rel=0.03, abs=1e-4)


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.2), L1(0.5), Linf(0.05, lattice=1 / 255)])
def test_success_is_what_lies_within_epsilon(digits, digits_classifier, threat):
    x, y = digits.test[0][:100], digits.test[1][:100]
    result = FAB(threat, steps=30)(digits_classifier, x, y)
    inside = result.minimum <= threat.epsilon + threat.tolerance
    assert (result.success >= inside).all()
    assert 0.05 < result.success.mean() < 0.95
    assert threat.violation(result.adversarial, threat.round_to_lattice(x)) <= threat.tolerance
    robust = PGD(threat, loss=margin, steps=50, restarts=2)(digits_classifier, x, y).robust_accuracy
    assert result.robust_accuracy <= robust + 0.02
    np.testing.assert_array_equal(result.gradients[result.minimum > 0], 30)


@pytest.mark.parametrize("threat", [Linf(1.0), L2(8.0)])
def test_a_lattice_costs_no_more_than_a_step_of_it(digits, digits_classifier, threat):
    x, y = digits.test[0][:100], digits.test[1][:100]
    step = 1 / 255
    smooth, stepped = (
        FAB(type(threat)(threat.epsilon, lattice=lattice), steps=60)(digits_classifier, x, y).minimum
        for lattice in (None, step)
    )
    # Rounding moves each value by half a step at most; in L2 such moves hardly ever add up.
    assert np.median(stepped) <= np.median(smooth) + 1.5 * step


def test_restarts_and_targets_come_no_less_near(digits, digits_classifier):
    x, y = digits.test[0][:60], digits.test[1][:60]
    once, thrice = (FAB(L2(0.3), steps=15, restarts=n)(digits_classifier, x, y).minimum for n in (1, 3))
    assert (thrice <= once).all()
    targets = (y + 1) % 10
    result = FAB(L2(8.0), steps=30)(digits_classifier, x, y, targets=targets)
    np.testing.assert_array_equal(
        digits_classifier.predict(result.adversarial)[result.success], targets[result.success]
    )
    assert result.success.mean() > 0.95


def test_zero_gradients_are_counted_as_blind(linear):
    constant = linear(SHAPE, np.zeros((12, 2)), [1, 0])
    result = FAB(Linf(0.1), steps=5)(constant, IMAGES, np.zeros(80, int))
    np.testing.assert_array_equal(result.zero_gradients, 5)
    assert np.isinf(result.minimum).all()
    assert not result.success.any()
