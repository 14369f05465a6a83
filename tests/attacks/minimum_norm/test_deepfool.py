"""DeepFool against closed forms, a step by hand, and Foolbox."""

import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SHAPE, SLOPE, WIDE, true_labels
from tfharden.attacks import FAB, DeepFool
from tfharden.errors import InputError
from tfharden.threats import L2, Linf

GAP = np.abs(FLAT @ SLOPE + OFFSET)


@pytest.mark.parametrize(
    ("threat", "dual"),
    [
        (Linf(20.0, WIDE), np.abs(SLOPE).sum()),
        (L2(20.0, WIDE), np.linalg.norm(SLOPE)),
    ],
    ids=["linf", "l2"],
)
def test_a_linear_model_falls_in_one_step_just_beyond_its_boundary(two_classes, threat, dual):
    result = DeepFool(threat, overshoot=0.05)(two_classes, IMAGES, true_labels())
    assert result.success.all()
    np.testing.assert_allclose(result.minimum, 1.05 * GAP / dual, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(result.gradients[result.minimum > 0], 1)


def test_of_many_linear_classes_the_nearest_is_taken(linear):
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(12, 6)).astype(np.float32)
    classifier = linear(SHAPE, weights)
    x = rng.uniform(-1, 1, size=(50, *SHAPE)).astype(np.float32)
    y = classifier.predict(x)
    logits = classifier.logits(x)
    gaps = np.take_along_axis(logits, y[:, None], 1) - logits
    slopes = np.linalg.norm(weights.T[None] - weights.T[y][:, None], axis=2)
    ways = np.divide(gaps, slopes, out=np.full_like(gaps, np.inf), where=slopes > 0)
    result = DeepFool(L2(20.0, WIDE), overshoot=0.001)(classifier, x, y)
    np.testing.assert_allclose(result.minimum, 1.001 * ways.min(1), rtol=1e-3)
    np.testing.assert_array_equal(classifier.predict(result.adversarial), ways.argmin(1))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.6), Linf(0.1, lattice=1 / 255)])
def test_minima_are_real_and_fab_comes_nearer(digits, digits_classifier, threat):
    x, y = digits.test[0][:150], digits.test[1][:150]
    everywhere = DeepFool(type(threat)(30.0 if threat.norm != "Linf" else 1.0, lattice=threat.lattice))
    result = everywhere(digits_classifier, x, y)
    # On a lattice a step may be rounded away.
    assert result.success.mean() >= (0.98 if threat.lattice else 1.0)
    np.testing.assert_array_equal(digits_classifier.predict(result.adversarial) != y, result.success)
    np.testing.assert_allclose(result.minimum[result.success], result.distance[result.success], atol=1e-5)
    within = everywhere.with_threat(threat)(digits_classifier, x, y)
    assert 0.05 < within.success.mean() < 0.95
    assert (within.success >= (within.minimum <= threat.epsilon)).all()
    assert threat.violation(within.adversarial, threat.round_to_lattice(x)) <= threat.tolerance
    assert np.median(FAB(threat, steps=30)(digits_classifier, x, y).minimum) <= np.median(result.minimum)


def test_targets_and_few_candidates(digits, digits_classifier):
    x, y = digits.test[0][:60], digits.test[1][:60]
    targets = (y + 1) % 10
    result = DeepFool(L2(8.0))(digits_classifier, x, y, targets=targets)
    np.testing.assert_array_equal(
        digits_classifier.predict(result.adversarial)[result.success], targets[result.success]
    )
    assert result.success.mean() > 0.9
    runner_up, all_of_them = (DeepFool(L2(8.0), classes=n)(digits_classifier, x, y).minimum for n in (1, 9))
    assert all_of_them.mean() < runner_up.mean() < 1.5 * all_of_them.mean()


def test_no_way_is_found_without_gradients(linear):
    constant = linear(SHAPE, np.zeros((12, 2)), [1, 0])
    result = DeepFool(Linf(0.1), steps=5)(constant, IMAGES, np.zeros(80, int))
    np.testing.assert_array_equal(result.zero_gradients, 5)
    assert np.isinf(result.minimum).all()
    with pytest.raises(InputError, match="overshoot=-1"):
        DeepFool(Linf(0.1), overshoot=-1)
    with pytest.raises(InputError, match="classes=0"):
        DeepFool(Linf(0.1), classes=0)


@pytest.mark.parametrize(("threat", "norm"), [(Linf(1.0), "Linf"), (L2(8.0), "L2")], ids=["linf", "l2"])
def test_no_farther_than_foolbox(digits, digits_model, threat, norm, digits_classifier):
    foolbox = pytest.importorskip("foolbox", reason="Foolbox comes with the extra [test]")
    x, y = digits.test[0][:100], digits.test[1][:100]
    theirs = getattr(foolbox.attacks, f"{norm}DeepFoolAttack")(steps=50)
    model = foolbox.TensorFlowModel(digits_model, bounds=(0, 1))
    criterion = foolbox.criteria.Misclassification(tf.constant(y, tf.int64))
    _, images, fooled = theirs(model, tf.constant(x), criterion, epsilons=None)
    expected = np.where(fooled, threat.distance(images, x), np.inf)
    found = DeepFool(threat)(digits_classifier, x, y).minimum
    assert np.median(found) <= 1.01 * np.median(expected)
    assert np.isfinite(found).mean() >= np.isfinite(expected).mean()
