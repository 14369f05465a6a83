import keras
import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SLOPE, WIDE, true_labels, two_logits
from tfharden import losses
from tfharden.attacks.minimum_norm.carlini_wagner import CarliniWagner
from tfharden.attacks.minimum_norm.constant_search import ConstantSearch, LinearEstimate
from tfharden.errors import InputError
from tfharden.threats import L2

LENGTH = np.linalg.norm(SLOPE)


@pytest.mark.parametrize("confidence", [0.5, 2.0])
def test_confidence_is_a_margin_to_be_had(two_classes, confidence):
    attack = CarliniWagner(L2(30.0, WIDE), confidence=confidence)
    result = attack(two_classes, IMAGES, true_labels())
    margins = losses.margin(two_classes.logits(result.adversarial), true_labels())
    np.testing.assert_allclose(margins, confidence, atol=0.01)
    assert np.min(margins) >= confidence - 1e-5
    np.testing.assert_allclose(result.minimum, (np.abs(FLAT @ SLOPE + OFFSET) + confidence) / LENGTH, rtol=3e-3)


def test_very_near_and_very_far_boundaries_of_large_images(linear):
    """In 3,072 values a step of the paper's learning rate is many times longer than the shortest perturbation."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3072, 2)).astype(np.float32)
    slope = (weights[:, 1] - weights[:, 0]).astype(float)
    expected = np.geomspace(0.01, 4, 12)
    start = rng.uniform(0.3, 0.7, size=(12, 3072))
    offset = -start.mean(0) @ slope
    unit = slope / np.linalg.norm(slope)
    x = start - np.outer((start @ slope + offset) / np.linalg.norm(slope) + expected, unit)
    classifier = linear((32, 32, 3), weights, [0, offset])
    result = CarliniWagner(L2(50.0))(classifier, x.reshape(12, 32, 32, 3).astype(np.float32), np.zeros(12, int))
    np.testing.assert_allclose(result.minimum / expected, 1, atol=5e-3)


def test_a_constant_and_a_learning_rate_of_the_user_s(two_classes):
    """From 1e-3 the search has to climb by powers of ten first, and from 1e6 to come down."""
    expected = np.abs(FLAT @ SLOPE + OFFSET) / LENGTH
    for constant in (1e-3, 1e6):
        attack = CarliniWagner(L2(10.0, WIDE), search_steps=12, learning_rate=0.005, initial_constant=constant)
        result = attack(two_classes, IMAGES, true_labels())
        far = expected > 0.02  # a step of this length goes beyond nearer ones
        np.testing.assert_allclose(result.minimum[far], expected[far], rtol=1e-2)


def test_more_steps_and_rounds_find_nearer_images(digits, digits_classifier):
    x, y = digits.test[0][:50], digits.test[1][:50]

    def mean(**settings):
        return CarliniWagner(L2(8.0), **settings)(digits_classifier, x, y).minimum.mean()

    assert mean(steps=20, search_steps=1) > mean(steps=100, search_steps=1) > mean(steps=200, search_steps=5)
    assert mean(steps=200, search_steps=9) == pytest.approx(mean(steps=1000, search_steps=9), rel=3e-3)


def test_books_of_a_model_without_slope():
    """One look for the first constant; a round ends when three times 20 steps after the first 20 brought no fall."""
    classifier = two_logits(lambda x: 0 * keras.ops.sum(x, axis=1) - 1)
    x, y = np.full((3, 4, 4, 1), 0.3, np.float32), np.zeros(3, int)
    result = CarliniWagner(L2(4.0), steps=150, search_steps=3)(classifier, x, y)
    np.testing.assert_array_equal(result.gradients, 1 + 3 * 4 * 20)
    np.testing.assert_array_equal(result.zero_gradients, result.gradients)
    assert not result.queries.any()
    assert np.isinf(result.minimum).all()
    np.testing.assert_array_equal(result.adversarial, x)


def test_books_of_a_search_that_goes_to_the_end(linear):
    """The boundary is out of the box, and 5 steps don't bring the objective to rest."""
    classifier = linear((2, 2, 1), [[0, 1]] * 4, [0, -5])
    x, y = np.full((2, 2, 2, 1), 0.1, np.float32), np.zeros(2, int)
    result = CarliniWagner(L2(2.0), steps=5, search_steps=2)(classifier, x, y)
    np.testing.assert_array_equal(result.gradients, 1 + 2 * 5)
    assert not (result.zero_gradients.any() or result.success.any())
    assert np.isinf(result.minimum).all()
    assert (result.adversarial > x).all()  # the best attempt


def test_the_search_for_a_constant():
    search = ConstantSearch(np.array([1.0, 1.0, 1e-10]))
    for succeeded, following in (
        ([False, True, True], [10, 0.1, 1e-10]),
        ([False, False, True], [100, np.sqrt(0.1), 1e-10]),
        ([True, True, True], [np.sqrt(1000), np.sqrt(0.1 * np.sqrt(0.1)), 1e-10]),
        ([True, False, True], [np.sqrt(10 * np.sqrt(1000)), np.sqrt(np.sqrt(0.1) * 0.1**0.75), 1e-10]),
    ):
        search.narrow(np.array(succeeded))
        np.testing.assert_allclose(search.values, following)


def test_the_guess_of_a_linear_model():
    shortfall, slope = np.array([2.0, 3.0, 1.0, 0.0]), np.array([1.0, 0.5, 0.0, 1.0])
    guess = LinearEstimate(shortfall, slope**2)
    np.testing.assert_allclose(guess.length, [2, 6, np.inf, np.inf])

    def minimiser(k, m, g):
        """Of d^2 + k max(0, m - g d), from a fine grid."""
        d = np.linspace(0, 2 * m / g, 200_001)
        return d[np.argmin(d**2 + k * np.maximum(0, m - g * d))]

    for k, m, g in zip(guess.constant[:2], shortfall[:2], slope[:2], strict=True):
        assert minimiser(k, m, g) == pytest.approx(m / g, rel=1e-3)
        assert minimiser(k / 4.1, m, g) < 0.99 * m / g  # four times what is needed
    np.testing.assert_array_equal(guess.constant[2:], 1)


def test_bad_settings_are_refused_in_one_line():
    for settings in ({"learning_rate": 0}, {"learning_rate": np.nan}, {"initial_constant": -1}, {"confidence": -0.1}):
        (name,) = settings
        with pytest.raises(InputError, match=f"^cw: {name}=.*$"):
            CarliniWagner(L2(1.0), **settings)


@pytest.mark.parametrize("targeted", [False, True])
def test_never_farther_than_foolbox_at_the_same_budget(digits, digits_model, targeted, digits_classifier):
    """With Foolbox's own learning rate black pixels hardly move in 100 steps: it gets one that suits it."""
    foolbox = pytest.importorskip("foolbox", reason="Foolbox comes with the extra [test]")
    right = digits_classifier.predict(digits.test[0]) == digits.test[1]
    x, y = digits.test[0][right][:40], digits.test[1][right][:40]
    targets = (y + 1) % 10
    criterion = (
        foolbox.criteria.TargetedMisclassification(tf.constant(targets, tf.int64))
        if targeted
        else foolbox.criteria.Misclassification(tf.constant(y, tf.int64))
    )
    theirs = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=6, steps=100, stepsize=0.1)
    model = foolbox.TensorFlowModel(digits_model, bounds=(0, 1))
    images, _, found = theirs(model, tf.constant(x), criterion, epsilons=None)
    distance = np.where(found.numpy(), np.sqrt(np.square(images.numpy() - x).sum((1, 2, 3))), np.inf)
    attack = CarliniWagner(L2(8.0), steps=100, search_steps=6)
    result = attack(digits_classifier, x, y, targets=targets if targeted else None)
    assert result.success.all()
    assert np.median(result.minimum) <= 1.005 * np.median(distance)
    assert np.mean(result.minimum <= 1.01 * distance) >= 0.9
    assert result.gradients.max() <= 1 + 600
