import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SHAPE, SLOPE, WIDE, true_labels, two_logits
from tfharden import data
from tfharden.attacks import MultiTargeted, Transfer
from tfharden.attacks.universal import Universal
from tfharden.classifiers import CallableClassifier
from tfharden.errors import InputError
from tfharden.losses import margin
from tfharden.threats import L1, L2, Linf

THREATS = [Linf(0.3, WIDE), L2(0.5, WIDE), L1(1.5, WIDE)]
LABELS = true_labels()


def closed_form(threat, sign):
    """The steepest move of a linear function within the ball."""
    slope = sign * SLOPE
    if threat.norm == "Linf":
        return threat.epsilon * np.sign(slope)
    if threat.norm == "L2":
        return threat.epsilon * slope / np.linalg.norm(slope)
    return threat.epsilon * np.sign(slope) * (np.abs(slope) == np.abs(slope).max())


@pytest.mark.parametrize("threat", THREATS, ids=str)
@pytest.mark.parametrize("label", [0, 1])
def test_images_of_one_class_share_the_closed_form_of_a_linear_model(two_classes, threat, label):
    mine = label == LABELS
    delta = Universal(threat, examples=(IMAGES[mine], LABELS[mine])).fit(two_classes)
    assert (delta.shape, delta.dtype) == (SHAPE, np.float32)
    np.testing.assert_allclose(delta.ravel(), closed_form(threat, 1 if label == 0 else -1), atol=1e-5)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_both_classes_give_the_better_of_the_two_sides(two_classes, threat):
    """One perturbation can move the images to one side only: fitted on 30 of a class and 10 of the other, it is known
    to which. What it does to the others is then a matter of their margins."""
    zeros, ones = np.flatnonzero(LABELS == 0), np.flatnonzero(LABELS == 1)
    fitted = np.concatenate([zeros[:30], ones[:10]])
    judged = np.setdiff1d(np.arange(80), fitted)
    attack = Universal(threat, examples=(IMAGES[fitted], LABELS[fitted]))
    delta = attack.fit(two_classes)
    np.testing.assert_allclose(delta.ravel(), closed_form(threat, 1), atol=1e-5)
    moved = FLAT[judged] @ SLOPE + OFFSET + closed_form(threat, 1) @ SLOPE > 0
    result = attack(two_classes, IMAGES[judged], LABELS[judged])
    np.testing.assert_array_equal(result.success, moved != LABELS[judged])
    assert 0 < result.success.sum() < len(judged)
    assert attack.fooling_rate(two_classes, delta, IMAGES[judged]) == np.mean(moved != LABELS[judged])


def test_the_box_cuts_each_image_on_its_own(two_classes):
    threat = Linf(0.3)
    zeros = LABELS == 0
    attack = Universal(threat, examples=(IMAGES[zeros], LABELS[zeros]))
    delta = attack.fit(two_classes).ravel()
    np.testing.assert_allclose(delta, 0.3 * np.sign(SLOPE), atol=1e-6)
    moved = attack.moved(two_classes, delta.reshape(SHAPE), IMAGES)
    np.testing.assert_allclose(moved.reshape(80, -1), np.clip(FLAT + delta, 0, 1), atol=1e-6)


def test_images_that_the_box_holds_back_have_no_say():
    """Upwards, one image would gain 1 where nine lose 0.1 each, but it stands at the box's wall: nothing moves."""
    model = two_logits(lambda x: keras.ops.sum(keras.ops.where(x > 0.95, 1.0, -0.1) * x, axis=1) - 100.0, (1, 1, 1))
    x = np.concatenate([np.ones((1, 1, 1, 1)), np.full((9, 1, 1, 1), 0.5)]).astype(np.float32)
    attack = Universal(Linf(0.2), examples=(x, np.zeros(10, int)), epochs=50, classes=1, loss=margin, step_size=0.01)
    assert abs(attack.fit(model).item()) <= 0.01


THREATS_IN_BOX = [Linf(0.2), L2(1.0), L1(4.0), Linf(0.2, lattice=1 / 16), L2(1.0, lattice=1 / 16)]


@pytest.mark.slow
@pytest.mark.parametrize("threat", THREATS_IN_BOX, ids=str)
def test_fitted_on_some_digits_it_fools_on_others(digits, digits_classifier, threat):
    x, y = digits.test
    attack = Universal(threat, examples=data.take(digits.train, 300), epochs=3)
    result = attack(digits_classifier, x, y)
    origin = np.asarray(threat.round_to_lattice(x))
    right = digits_classifier.predict(origin) == y
    assert threat.violation(result.adversarial, origin) <= threat.tolerance
    np.testing.assert_array_equal(result.success, digits_classifier.predict(result.adversarial) != y)
    np.testing.assert_array_equal(result.adversarial[~right], origin[~right])
    assert not result.gradients.any()
    # One change for all: where the box leaves room, the changes of any two images are the same.
    change, adversarial = (result.adversarial - origin)[right], result.adversarial[right]
    inside = (adversarial > 1e-3) & (adversarial < 1 - 1e-3)
    spread = np.where(inside, change, -np.inf).max(axis=0) - np.where(inside, change, np.inf).min(axis=0)
    assert spread.max() < 1e-5
    # Noise of the same length fools but a few.
    delta = attack.fit(digits_classifier)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], delta.shape).astype(np.float32)
    noise = np.asarray(threat.shrink(tf.constant(100 * signs[None])))[0]
    assert attack.fooling_rate(digits_classifier, delta, x) > 3 * attack.fooling_rate(digits_classifier, noise, x)
    assert attack.fooling_rate(digits_classifier, delta, x) != attack.fooling_rate(
        digits_classifier, delta, digits.train[0]
    )


def test_fooling_rate_counts_changes_right_or_wrong():
    bright = CallableClassifier(lambda x: np.stack([0.5 - x[:, 0, 0, 0], x[:, 0, 0, 0] - 0.5], axis=1), (1, 2, 1), 2)
    x = np.zeros((5, 1, 2, 1), np.float32)
    x[:, 0, 0, 0] = [0.1, 0.4, 0.45, 0.6, 0.95]
    delta = np.array([0.2, 0.0]).reshape(1, 2, 1)
    attack = Universal(Linf(0.2))
    assert attack.fooling_rate(bright, delta, x) == 2 / 5
    assert attack.fooling_rate(bright, -delta, x) == 1 / 5
    np.testing.assert_allclose(attack.moved(bright, delta, x)[:, 0, 0, 0], [0.3, 0.6, 0.65, 0.8, 1.0], atol=1e-6)


def test_a_target_has_a_perturbation_of_its_own(linear):
    kernel = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    classifier, x, y = linear(SHAPE, kernel, [6, 0, 0]), IMAGES, np.zeros(80, int)
    attack = Universal(Linf(1.0, WIDE), examples=(x, y))
    targets = np.where(np.arange(80) < 50, 1, 2)
    result = attack(classifier, x, y, targets=targets)
    np.testing.assert_array_equal(result.success, classifier.predict(result.adversarial) == targets)
    assert result.success.mean() > 0.9
    for target in (1, 2):
        chosen = (targets == target) & (classifier.predict(x) != target)
        assert chosen.sum() > 10
        delta = attack.fit(classifier, target=target)
        np.testing.assert_allclose(
            result.adversarial[chosen] - x[chosen], np.tile(delta, (chosen.sum(), 1, 1, 1)), atol=1e-5
        )


def test_it_can_be_tried_towards_each_runner_up(two_classes):
    attack = MultiTargeted(Universal(Linf(0.3, WIDE), examples=(IMAGES, LABELS)))
    result = attack(two_classes, IMAGES, LABELS)
    gain = 0.3 * np.abs(SLOPE).sum()
    np.testing.assert_array_equal(result.success, np.abs(FLAT @ SLOPE + OFFSET) < gain)


def test_by_transfer_it_is_fitted_on_the_surrogate(two_classes, linear):
    zeros = LABELS == 0
    attack = Universal(Linf(0.2, WIDE), examples=(IMAGES[zeros], LABELS[zeros]))
    black = CallableClassifier(lambda x: two_classes.logits(x) + np.float32([0.1, 0]), SHAPE, 2)
    result = Transfer(attack, two_classes)(black, IMAGES[zeros], LABELS[zeros])
    expected = FLAT[zeros] + 0.2 * np.sign(SLOPE)
    np.testing.assert_allclose(result.adversarial.reshape(-1, 12), expected, atol=1e-5)
    np.testing.assert_array_equal(result.success, expected @ SLOPE + OFFSET > 0.1)
    assert result.access == "transfer"


class Narrow(CallableClassifier):
    """Receives multiples of 1/8 up to 3/4."""

    def restrict_threat(self, threat):
        return threat.restrict((0.0, 0.75), 1 / 8)


def test_a_device_that_receives_less_cuts_the_examples(two_classes):
    zeros = LABELS == 0
    attack = Universal(Linf(0.2), examples=(IMAGES[zeros], LABELS[zeros]))
    narrow = Narrow(two_classes.logits, SHAPE, 2)
    result = Transfer(attack, two_classes)(narrow, IMAGES, LABELS)
    attacked = narrow.predict(np.minimum(np.round(IMAGES * 8) / 8, 0.75)) == LABELS
    origin = np.minimum(np.round(FLAT * 8) / 8, 0.75)[attacked]
    expected = np.clip(origin + np.sign(SLOPE) / 8, 0, 0.75)
    np.testing.assert_allclose(result.adversarial.reshape(80, -1)[attacked], expected, atol=1e-5)


def test_the_same_seed_fits_the_same(two_classes):
    first, again = (Universal(L2(0.3), examples=(IMAGES, LABELS), seed=3, batch_size=16) for _ in range(2))
    np.testing.assert_array_equal(first.fit(two_classes), again.fit(two_classes))


def test_what_it_was_is_told_in_plain_values(two_classes):
    attack = Universal(Linf(0.1), examples=(IMAGES, LABELS))
    told = json.loads(json.dumps(attack.parameters()))
    assert told["examples"] == {"number": 80, "sha256": data.sha256((IMAGES, LABELS))}
    assert (told["epochs"], told["epsilon"], told["loss"]) == (5, 0.1, "cross_entropy")
    assert Universal(Linf(0.1)).parameters()["examples"] is None
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack))
    np.testing.assert_array_equal(again.fit(two_classes), attack.fit(two_classes))
    assert len({attack, again, attack}) == 2


def test_progress_rises_to_its_end(two_classes):
    told = []
    Universal(Linf(0.1), examples=(IMAGES, LABELS), epochs=2).fit(two_classes, progress=told.append)
    np.testing.assert_allclose(told, np.arange(1, 9) / 8)  # two classes, each tried, and the two other ascents


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "give examples="),
        ({"examples": (IMAGES[:, :2], LABELS)}, "shape"),
        ({"examples": (IMAGES, LABELS + 1)}, "2 classes"),
        ({"examples": (IMAGES * 255, LABELS)}, "span"),
    ],
)
def test_examples_that_do_not_fit(two_classes, settings, match):
    with pytest.raises(InputError, match=match):
        Universal(Linf(0.1), **settings)(two_classes, IMAGES, LABELS)


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"batch_size": 1.5}, {"classes": True}, {"step_size": -1.0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        Universal(Linf(0.1), **settings)


def test_no_gradients_and_no_such_target(two_classes):
    attack = Universal(Linf(0.1), examples=(IMAGES, LABELS))
    with pytest.raises(InputError, match="gives no gradients"):
        attack(CallableClassifier(two_classes.logits, SHAPE, 2), IMAGES, LABELS)
    with pytest.raises(InputError, match="target 2 is none of the 2 classes"):
        attack.fit(two_classes, target=2)
