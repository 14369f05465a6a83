"""Random noise against its closed forms."""

import numpy as np
import pytest
from scipy import stats

from tests._helpers.linear_problem import IMAGES, SHAPE, WIDE, true_labels
from tfharden.attacks import FGSM, Noise
from tfharden.threats import L1, L2, Linf


def test_noise_is_as_long_as_the_threat_allows(two_classes):
    for threat in (Linf(0.3, WIDE), L2(0.3, WIDE), L1(0.3, WIDE), Linf(0.3, WIDE, lattice=0.1)):
        result = Noise(threat)(two_classes, IMAGES, true_labels())
        attacked = result.queries > 0
        np.testing.assert_allclose(result.distance[attacked], 0.3, atol=1e-5)
        assert threat.violation(result.adversarial, threat.round_to_lattice(IMAGES)) <= threat.tolerance
    in_the_box = Noise(Linf(0.3))(two_classes, IMAGES, true_labels())
    assert Linf(0.3).violation(in_the_box.adversarial, IMAGES) <= 1e-6


def test_in_l2_it_fells_as_many_as_the_cap_of_a_sphere_holds(linear):
    """A random direction u of n dimensions has w . u > h with a probability that the beta distribution tells."""
    slope, gap, size = 3.0, 0.4, np.prod(SHAPE)
    weights = np.zeros((size, 2), np.float32)
    weights[0, 1] = slope
    classifier = linear(SHAPE, weights, [gap, 0])
    images = np.zeros((4000, *SHAPE), np.float32)
    share = Noise(L2(0.3, WIDE))(classifier, images, np.zeros(4000, int)).success.mean()
    height = gap / (slope * 0.3)
    expected = stats.beta.sf(height**2, 0.5, (size - 1) / 2) / 2
    assert share == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))
    tenfold = Noise(L2(0.3, WIDE), draws=10)(classifier, images, np.zeros(4000, int))
    assert tenfold.success.mean() == pytest.approx(1 - (1 - expected) ** 10, abs=0.03)
    assert tenfold.queries.mean() == pytest.approx((1 - (1 - expected) ** 10) / expected, abs=0.2)


def test_it_is_no_match_for_an_attack(digits, digits_classifier):
    x, y = digits.test
    threat = Linf(0.1)
    clean = (digits_classifier.predict(x) == y).mean()
    assert Noise(threat)(digits_classifier, x, y).robust_accuracy > clean - 0.05
    assert FGSM(threat)(digits_classifier, x, y).robust_accuracy < clean - 0.3


def test_targets_and_seeds(linear):
    weights = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    classifier = linear(SHAPE, weights)
    y = classifier.predict(IMAGES)
    targets = (y + 1) % 3
    result = Noise(Linf(0.2), draws=3)(classifier, IMAGES, y, targets=targets)
    assert 0.1 < result.success.mean() < 1
    np.testing.assert_array_equal(classifier.predict(result.adversarial)[result.success], targets[result.success])
    again, other = (Noise(Linf(0.5), seed=seed)(classifier, IMAGES, y).adversarial for seed in (0, 1))
    np.testing.assert_array_equal(again, Noise(Linf(0.5))(classifier, IMAGES, y).adversarial)
    assert (again != other).any()
