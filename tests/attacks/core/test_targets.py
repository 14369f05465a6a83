"""Attacks that want one class, and attacks that try each of several."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests._helpers.linear_problem import FLAT, IMAGES, RNG, SHAPE, WIDE, closed_form_rise, true_labels
from tfharden import losses
from tfharden.attacks import APGD, APGDDLR, BIM, FGSM, MIFGSM, PGD, MarginPGD, MultiTargeted
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L2, Linf

KINDS = [FGSM, BIM, PGD, MarginPGD, MIFGSM, APGD]


def _ladder():
    """One pixel: class 0 below 0.6, then class 1, from 0.7 class 2; and class 3 below 0.45."""
    image = keras.Input((1, 1, 1))
    value = keras.layers.Flatten()(image)
    scores = [0 * value, 10 * (value - 0.6), 20 * (value - 0.65), 10 * (0.45 - value)]
    return KerasClassifier(keras.Model(image, keras.ops.concatenate(scores, axis=1)))


@pytest.mark.parametrize("kind", [BIM, PGD, MarginPGD, APGD])
def test_only_the_target_counts(kind):
    classifier, y = _ladder(), np.zeros(4, int)
    x = np.full((4, 1, 1, 1), 0.55, np.float32)
    threat = Linf(0.2)
    any_error = kind(threat)(classifier, x, y)
    assert any_error.success.all()
    result = kind(threat)(classifier, x, y, targets=[1, 2, 2, 3])
    np.testing.assert_array_equal(classifier.predict(result.adversarial), [1, 2, 2, 3])
    assert result.success.all()
    near = kind(Linf(0.1))(classifier, x, y, targets=2)
    assert not near.success.any()  # class 1 is reached there, and isn't what was asked for


def test_an_image_that_errs_already_still_has_to_reach_its_target():
    classifier = _ladder()
    x = np.array([0.65, 0.75, 0.9], np.float32).reshape(3, 1, 1, 1)
    result = PGD(Linf(0.12), steps=10)(classifier, x, np.zeros(3, int), targets=2)
    np.testing.assert_array_equal(result.success, [1, 1, 1])
    np.testing.assert_array_equal(result.gradients > 0, [1, 0, 0])
    np.testing.assert_array_equal(result.distance > 0, [1, 0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("threat", [Linf(0.1, WIDE), L2(0.3, WIDE), Linf(0.15)])
def test_of_two_classes_the_other_is_reached_as_the_closed_form_says(two_classes, threat):
    y = true_labels()
    after = closed_form_rise(threat) - np.abs(two_classes.logits(IMAGES)[:, 1] - two_classes.logits(IMAGES)[:, 0])
    clear = np.abs(after) > 2e-3
    for kind in KINDS:
        settings = {"steps": 30, "step_size": threat.epsilon / 4} if kind in (PGD, MarginPGD) else {}
        result = kind(threat, **settings)(two_classes, IMAGES, y, targets=1 - y)
        np.testing.assert_array_equal(result.success[clear], after[clear] > 0)


def test_targeted_fgsm_is_one_step_down_the_cross_entropy_of_the_target(linear):
    weights = RNG.normal(size=(12, 6)).astype(np.float32)
    classifier, y = linear(SHAPE, weights), np.arange(80) % 6
    targets = (y + 2) % 6
    gradient = (np.eye(6)[targets] - special.softmax(FLAT @ weights, axis=1)) @ weights.T
    attack = FGSM(Linf(0.1, WIDE))
    found = attack.perturb(classifier.logits_fn, tf.constant(IMAGES), tf.constant(y), targets=tf.constant(targets))
    np.testing.assert_allclose(found.numpy().reshape(80, -1), FLAT + 0.1 * np.sign(gradient), atol=1e-5)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (lambda y: y, "80 of 80 targets equal the true label"),
        (
            lambda y: np.where(np.arange(80) == 7, y, 1 - y),
            r"1 of 80 targets equal the true label \(the first at index 7",
        ),
        (lambda y: 1 - y[:-1], "targets: there are 80 images and 79 labels"),
        (lambda y: y + 2, r"targets: labels span \[2, 3\], the model has 2 classes"),
        (lambda y: -1, "targets: labels span"),
        (lambda y: 0.5, "targets: labels have to be whole"),
    ],
)
def test_targets_that_make_no_sense_are_refused(two_classes, targets, message):
    y = true_labels()
    for attack in (PGD(Linf(0.1), steps=2), FGSM(Linf(0.0))):
        with pytest.raises(InputError, match=message):
            attack(two_classes, IMAGES, y, targets=targets(y))


def test_a_loss_without_a_targeted_form_is_refused(two_classes):
    y = true_labels()
    with pytest.raises(InputError, match="<lambda> has no targeted form: use one of cross_entropy, margin"):
        BIM(Linf(0.1), loss=lambda logits, labels: -logits[:, 0])(two_classes, IMAGES, y, targets=1 - y)


def _blind_alley():
    """Class 1 is nearest, and rises at first, but stays below; class 2 is farther off and can be reached."""
    image = keras.Input((1, 2, 1))
    a, b = image[:, 0, 0, :], image[:, 0, 1, :]
    scores = [0 * a, -0.1 + 0.05 * keras.ops.tanh(10 * (a - 0.5)), -0.5 + 2 * (b - 0.5)]
    return KerasClassifier(keras.Model(image, keras.ops.concatenate(scores, axis=1)))


def test_runner_ups_find_what_the_nearest_class_hides():
    classifier, x, y = _blind_alley(), np.full((3, 1, 2, 1), 0.5, np.float32), np.zeros(3, int)
    attack = BIM(Linf(0.3), steps=20, loss=losses.margin)
    assert not attack(classifier, x, y).success.any()
    result = MultiTargeted(attack)(classifier, x, y)
    assert result.success.all()
    np.testing.assert_array_equal(classifier.predict(result.adversarial), 2)
    assert result.name == "bim-t"
    # All steps towards class 1 in vain, then some towards class 2.
    assert set(result.queries) <= {1, 2}
    assert (result.gradients > 20).all()
    np.testing.assert_array_equal(MultiTargeted(attack, classes=1)(classifier, x, y).gradients, 20)
    assert not MultiTargeted(attack, classes=1)(classifier, x, y).success.any()


@pytest.mark.slow
@pytest.mark.parametrize("classes", [2, 3, 4, 6])
@pytest.mark.parametrize("attack", [MarginPGD(Linf(0.1)), APGDDLR(Linf(0.1)), MIFGSM(Linf(0.1))])
def test_runner_ups_try_as_many_targets_as_there_are(linear, classes, attack):
    weights = np.random.default_rng(classes).normal(size=(12, classes)).astype(np.float32)
    classifier = linear(SHAPE, weights, -FLAT.mean(0) @ weights)
    y = classifier.predict(IMAGES)
    result = MultiTargeted(attack)(classifier, IMAGES, y)
    # The optimum of each difference of two logits is a corner of ball and box.
    slopes = weights.T[None] - weights.T[y][:, None]
    corners = np.clip(FLAT[:, None] + 0.1 * np.sign(slopes), 0, 1)
    gaps = np.sum(slopes * (corners - FLAT.mean(0)), axis=2)
    gaps[np.arange(80), y] = -np.inf
    clear = np.abs(gaps.max(1)) > 0.02
    np.testing.assert_array_equal(result.success[clear], gaps.max(1)[clear] > 0)
    assert 5 < result.success.sum() < 78
    np.testing.assert_array_equal(result.gradients[~result.success], (classes - 1) * attack.steps)


def test_runner_ups_choose_their_own_targets(two_classes):
    y = true_labels()
    with pytest.raises(InputError, match="pgd-t has no targeted form: leave targets out"):
        MultiTargeted(PGD(Linf(0.1)))(two_classes, IMAGES, y, targets=1 - y)


LOGITS = np.random.default_rng(0).normal(0, 5, (50, 6))
LABELS = np.random.default_rng(2).integers(0, 6, 50)
TARGETS = (LABELS + np.random.default_rng(3).integers(1, 6, 50)) % 6
ROWS = np.arange(50)


def test_targeted_losses_by_their_formulas():
    z_t, z_y = LOGITS[ROWS, TARGETS], LOGITS[ROWS, LABELS]
    others = np.where(np.arange(6) == TARGETS[:, None], -np.inf, LOGITS).max(1)
    ranked = -np.sort(-LOGITS, axis=1)
    expected = {
        losses.cross_entropy: special.log_softmax(LOGITS, axis=1)[ROWS, TARGETS],
        losses.margin: z_t - others,
        losses.difference_of_logits_ratio: (z_t - z_y) / (ranked[:, 0] - (ranked[:, 2] + ranked[:, 3]) / 2),
    }
    for loss, values in expected.items():
        found = losses.targeted(loss)(tf.constant(LOGITS, tf.float32), LABELS, TARGETS)
        np.testing.assert_allclose(found, values, rtol=1e-4, atol=1e-4)


def test_targeted_dlr_of_few_classes():
    # Three classes: (z_t - z_y) / (z_(1) - (z_(2) + z_(3)) / 2) = (1 - 4) / (4 - 1 / 2); two: z_t - z_y.
    dlr = losses.targeted(losses.difference_of_logits_ratio)
    np.testing.assert_allclose(dlr(tf.constant([[4.0, 1.0, 0.0]]), [0], [1]), [-3 / 3.5], rtol=1e-6)
    np.testing.assert_allclose(dlr(tf.constant([[4.0, 1.0]]), [0], [1]), [-3], rtol=1e-6)
    four = dlr(tf.constant([[4.0, 1.0, 0.0, -2.0]]), [0], [1])
    np.testing.assert_allclose(four, [-3 / (4 - (0 - 2) / 2)], rtol=1e-6)
    np.testing.assert_allclose(dlr(3 * tf.constant([[4.0, 1.0, 0.0, -2.0]]) + 7, [0], [1]), four, rtol=1e-5)
