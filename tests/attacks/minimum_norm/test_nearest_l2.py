"""Requirements of every attack that looks for the smallest L2 perturbation."""

import dataclasses
import itertools

import keras
import numpy as np
import pytest
from scipy import optimize

from tests._helpers import linear_problem
from tests._helpers.linear_problem import OFFSET, SHAPE, SLOPE, WEIGHTS, WIDE, two_logits
from tfharden.attacks.composite.multi_targeted import MultiTargeted
from tfharden.attacks.minimum_norm.carlini_wagner import CarliniWagner
from tfharden.attacks.minimum_norm.lbfgs import LBFGS
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L2, Linf

IMAGES, FLAT, LABELS = linear_problem.IMAGES[:40], linear_problem.FLAT[:40], linear_problem.true_labels()[:40]
BOTH = pytest.mark.parametrize("kind", [CarliniWagner, LBFGS])
# Three quarters of the values are black or white, as in many pictures.
SHARP = np.clip(4 * IMAGES - 1.5, 0, 1).astype(np.float32)


def _closed_form(images, offset):
    """The shortest way to w . x + b = 0 in the box [0, 1]: x + t w, cut at the box, for the t that gets there."""
    return np.array([_way_in_the_box(x, x @ SLOPE + offset) for x in images.reshape(len(images), -1).astype(float)])


def _way_in_the_box(x, value):
    def moved(t):
        return np.clip(x - t * np.sign(value) * SLOPE, 0, 1) - x

    return np.linalg.norm(moved(optimize.brentq(lambda t: value + moved(t) @ SLOPE, 0, 100)))


def _assert_shortest(found, expected, rtol=2e-3):
    """float32 can't tell on which side of the boundary an image lies that is 1e-5 away."""
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-5)
    assert (found > expected * (1 - 1e-4) - 1e-5).all()


@BOTH
def test_two_classes_without_edges(two_classes, kind):
    expected = np.abs(FLAT @ SLOPE + OFFSET) / np.linalg.norm(SLOPE)
    result = kind(L2(10.0, WIDE))(two_classes, IMAGES, LABELS)
    _assert_shortest(result.minimum, expected)
    assert result.success.all()
    np.testing.assert_allclose(result.distance, result.minimum, rtol=1e-5)


@BOTH
def test_two_classes_where_the_edges_of_the_box_are_in_the_way(linear, kind):
    offset = -np.median(SHARP.reshape(40, -1) @ SLOPE)
    classifier = linear(SHAPE, WEIGHTS, [0, offset])
    expected = _closed_form(SHARP, offset)
    free = np.abs(SHARP.reshape(40, -1) @ SLOPE + offset) / np.linalg.norm(SLOPE)
    assert (expected > 1.05 * free).mean() > 0.5  # the edges matter
    result = kind(L2(10.0))(classifier, SHARP, classifier.predict(SHARP))
    _assert_shortest(result.minimum, expected)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("bounds", [(-1, 1), (0, 255), (-123.68, 151.06)])
def test_lengths_grow_with_the_input_range(linear, kind, bounds):
    low, span = bounds[0], bounds[1] - bounds[0]
    offset = -np.median(SHARP.reshape(40, -1) @ SLOPE)
    classifier = linear(SHAPE, WEIGHTS / span, [0, offset - low / span * SLOPE.sum()])
    x = (low + span * SHARP).astype(np.float32)
    result = kind(L2(10.0 * span, bounds))(classifier, x, classifier.predict(x))
    np.testing.assert_allclose(result.minimum / span / _closed_form(SHARP, offset), 1, atol=4e-3)
    assert low <= result.adversarial.min() <= result.adversarial.max() <= bounds[1]


@pytest.mark.slow
@BOTH
def test_epsilon_decides_success_and_not_the_minimum(two_classes, kind):
    expected = np.abs(FLAT @ SLOPE + OFFSET) / np.linalg.norm(SLOPE)
    for epsilon in np.quantile(expected, [0.2, 0.7]):
        result = kind(L2(float(epsilon), WIDE))(two_classes, IMAGES, LABELS)
        clear = np.abs(expected - epsilon) > 0.01 * epsilon
        np.testing.assert_array_equal(result.success[clear], (expected < epsilon)[clear])
        assert (result.distance <= epsilon * (1 + 1e-5)).all()
        _assert_shortest(result.minimum, expected)


THREE = np.random.default_rng(3).normal(size=(12, 3)).astype(np.float32)


def _nearest_of_three(x, target):
    """The shortest change after which class `target` is ahead of both others: one or both borders are met."""
    slopes = np.stack([THREE[:, target] - THREE[:, other] for other in range(3) if other != target]).astype(float)
    gaps = slopes @ x.astype(float)
    lengths = [0.0] if (gaps >= 0).all() else []
    for met in ([0], [1], [0, 1]):
        change = -np.linalg.pinv(slopes[met]) @ gaps[met]
        if (slopes @ change + gaps > -1e-9).all():
            lengths.append(np.linalg.norm(change))
    return min(lengths)


@pytest.mark.slow
@BOTH
def test_three_classes_with_and_without_a_target(linear, kind):
    classifier = linear(SHAPE, THREE)
    x, y = IMAGES, classifier.predict(IMAGES)
    targets = (y + 1) % 3
    to_each = np.array([[_nearest_of_three(image.ravel(), target) for target in range(3)] for image in x])
    to_each[np.arange(40), y] = np.inf
    untargeted = kind(L2(30.0, WIDE))(classifier, x, y)
    ratio = untargeted.minimum / to_each.min(axis=1)
    # The margin follows the class that is nearest at the moment, which may not be the one with the nearest border.
    assert np.isclose(ratio, 1, atol=3e-3).mean() > 0.8
    assert ratio.min() > 1 - 1e-4
    targeted = kind(L2(30.0, WIDE))(classifier, x, y, targets=targets)
    np.testing.assert_allclose(targeted.minimum / to_each[np.arange(40), targets], 1, atol=1e-2)
    np.testing.assert_array_equal(classifier.predict(targeted.adversarial), targets)
    each = MultiTargeted(kind(L2(30.0, WIDE)))(classifier, x, y)
    np.testing.assert_allclose(each.minimum / to_each.min(axis=1), 1, atol=3e-3)


@pytest.mark.slow
@BOTH
def test_a_softmax_at_the_end_changes_nothing(linear, kind):
    plain = linear(SHAPE, 30 * WEIGHTS, [0, 30 * OFFSET])  # so sure that probabilities round to 0 and 1
    image = keras.Input(SHAPE)
    softmax = KerasClassifier(keras.Model(image, keras.activations.softmax(plain.model(image))))
    expected = kind(L2(10.0, WIDE))(plain, IMAGES[:20], LABELS[:20]).minimum
    found = kind(L2(10.0, WIDE))(softmax, IMAGES[:20], LABELS[:20]).minimum
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("lattice", [1 / 255, 1 / 16, 0.3])
def test_what_counts_is_what_the_device_receives(two_classes, kind, lattice):
    threat = L2(10.0, lattice=lattice)
    result = kind(threat)(two_classes, IMAGES, LABELS)
    origin = np.asarray(threat.round_to_lattice(IMAGES))
    steps = result.adversarial / lattice
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert 0 <= result.adversarial.min() <= result.adversarial.max() <= 1
    np.testing.assert_array_equal(result.success, two_classes.predict(result.adversarial) != LABELS)
    assert result.success.mean() > 0.9
    solved = result.success
    length = np.sqrt(np.square(result.adversarial - origin, dtype=float).sum((1, 2, 3)))
    np.testing.assert_allclose(result.minimum[solved], length[solved], atol=1e-5)
    ideal = np.abs(origin.reshape(40, -1) @ SLOPE + OFFSET) / np.linalg.norm(SLOPE)
    assert np.median(result.minimum[solved] - ideal[solved]) < lattice * np.sqrt(12) / 2 + 0.02


@BOTH
def test_a_planted_adversarial_example_is_found_at_its_near_side(kind):
    """The model errs within 0.1 of one point alone."""
    centre = (0.5 + 0.2 * np.random.default_rng(1).uniform(-1, 1, 16)).astype(np.float32)
    classifier = two_logits(lambda x: 0.1**2 - keras.ops.sum(keras.ops.square(x - centre), axis=1))
    x, y = np.full((4, 4, 4, 1), 0.5, np.float32), np.zeros(4, int)
    expected = np.linalg.norm(centre - 0.5) - 0.1
    result = kind(L2(4.0))(classifier, x, y)
    np.testing.assert_allclose(result.minimum, expected, rtol=3e-3)
    assert not kind(L2(0.98 * expected))(classifier, x, y).success.any()
    assert kind(L2(1.02 * expected))(classifier, x, y).success.all()


@BOTH
def test_a_tie_is_no_error_and_not_the_end(linear, kind):
    """Both logits are 0 at first, which the model answers with class 0."""
    classifier = linear((2, 2, 1), [[0, 1]] * 4, [0, -2])
    x, y = np.full((1, 2, 2, 1), 0.5, np.float32), np.zeros(1, int)
    assert classifier.predict(x) == 0
    result = kind(L2(1.0))(classifier, x, y)
    assert result.success.all()
    assert result.minimum < 0.06


@BOTH
def test_clean_errors_cost_nothing(two_classes, kind):
    y = np.where(np.arange(40) < 15, 1 - LABELS, LABELS)
    result = kind(L2(10.0, WIDE))(two_classes, IMAGES, y)
    assert not (result.minimum[:15].any() or result.gradients[:15].any() or result.distance[:15].any())
    assert (result.minimum[15:] > 0).all()
    assert (result.gradients[15:] > 0).all()


@pytest.mark.slow
@BOTH
def test_what_lies_within_epsilon_may_be_left_alone(two_classes, kind):
    expected = np.abs(FLAT @ SLOPE + OFFSET) / np.linalg.norm(SLOPE)
    attack = kind(L2(float(np.median(expected)), WIDE))
    late, early = (
        dataclasses.replace(attack, early_exit=early)(two_classes, IMAGES, LABELS) for early in (False, True)
    )
    clear = np.abs(expected / attack.threat.epsilon - 1) > 0.01
    np.testing.assert_array_equal(early.success[clear], late.success[clear])
    assert early.gradients[late.success].sum() < 0.5 * late.gradients[late.success].sum()
    others = ~late.success & clear
    np.testing.assert_allclose(early.minimum[others], late.minimum[others], rtol=1e-3)
    if kind is CarliniWagner:
        np.testing.assert_array_equal(early.gradients[others], late.gradients[others])
    # A line search of L-BFGS branches on the last bit, and so on what else is in the batch.
    np.testing.assert_allclose(early.gradients[others].sum(), late.gradients[others].sum(), rtol=0.1)


@pytest.mark.slow
@BOTH
def test_equal_calls_give_equal_images(digits, digits_classifier, kind):
    x, y = digits.test[0][:20], digits.test[1][:20]
    first, second = (kind(L2(8.0))(digits_classifier, x, y) for _ in range(2))
    np.testing.assert_array_equal(first.adversarial, second.adversarial)
    np.testing.assert_array_equal(first.gradients, second.gradients)
    alone = np.concatenate([kind(L2(8.0))(digits_classifier, x[i : i + 1], y[i : i + 1]).minimum for i in range(5)])
    np.testing.assert_allclose(alone, first.minimum[:5], rtol=2e-3)


@pytest.mark.slow
def test_both_find_the_same_on_digits(digits, digits_classifier):
    x, y = digits.test[0][:40], digits.test[1][:40]
    for targets in (None, (y + 3) % 10):
        ours, theirs = (
            kind(L2(8.0))(digits_classifier, x, y, targets=targets).minimum for kind in (CarliniWagner, LBFGS)
        )
        assert np.isfinite(ours).all()
        wrong = ours == 0
        ratio = ours[~wrong] / theirs[~wrong]
        np.testing.assert_allclose(np.median(ratio), 1, atol=3e-3)
        assert np.mean(np.abs(ratio - 1) < 0.02) > 0.9


@pytest.mark.slow
@BOTH
def test_targets_are_farther_than_any_error(digits, digits_classifier, kind):
    x, y = digits.test[0][:30], digits.test[1][:30]
    targets = (y + 5) % 10
    any_error, one_class = (
        kind(L2(8.0))(digits_classifier, x, y),
        kind(L2(8.0))(digits_classifier, x, y, targets=targets),
    )
    np.testing.assert_array_equal(digits_classifier.predict(one_class.adversarial), targets)
    assert (one_class.minimum >= any_error.minimum - 0.01 * one_class.minimum).all()
    assert np.median(one_class.minimum) > 1.2 * np.median(any_error.minimum)


@BOTH
def test_what_can_not_be_done_is_refused_in_one_line(kind):
    with pytest.raises(InputError, match=f"{kind.name} searches L2 balls, not Linf"):
        kind(Linf(0.1))
    for name, value in itertools.product(("steps", "search_steps"), (0, -1, 1.5, True)):
        with pytest.raises(InputError, match=f"^{kind.name}: {name}=.*$"):
            kind(L2(1.0), **{name: value})
    box = CallableClassifier(lambda images: np.eye(2)[np.zeros(len(images), int)], SHAPE, 2)
    with pytest.raises(InputError, match="gives no gradients"):
        kind(L2(1.0))(box, IMAGES, np.zeros(40, int))


@BOTH
def test_configuration_survives_keras_serialisation(kind):
    attack = kind(L2(0.5, lattice=1 / 255), steps=7, search_steps=3, early_exit=True)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack)) == attack
