"""Rules of a step that remember: momentum, and Auto-PGD's step size; against plain NumPy written from the papers."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, special

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, RNG, SHAPE, SLOPE, WIDE, closed_form_rise, true_labels
from tfharden import losses
from tfharden.attacks import APGD, APGDDLR, BIM, MIFGSM
from tfharden.attacks.gradient.apgd import APGDStep
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf


def test_the_checkpoints_are_the_papers():
    ends = np.flatnonzero(APGDStep(Linf(0.1), 100).periods())
    np.testing.assert_array_equal(ends, [22, 41, 57, 70, 80, 87, 93, 99])
    for steps in (1, 2, 3, 7, 40, 1000):
        periods = APGDStep(Linf(0.1), steps).periods()
        assert len(periods) == steps + 1
        assert sum(periods) <= steps


def _hills(seed):
    """A model whose margin is a bumpy concave function of 6 values, and that function with its gradient in NumPy."""
    rng = np.random.default_rng(seed)
    centre, scale = rng.uniform(0.3, 0.7, 6), rng.uniform(1, 80, 6)

    def rise(x):
        return -np.sum(scale * (x - centre) ** 2, axis=-1) + 0.02 * np.sum(np.sin(40 * x), axis=-1) - 9

    def gradient(x):
        return -2 * scale * (x - centre) + 0.8 * np.cos(40 * x)

    image = keras.Input((6,))
    value = -keras.ops.sum(keras.ops.square(image - centre.astype(np.float32)) * scale.astype(np.float32), axis=1)
    value = keras.ops.reshape(value + 0.02 * keras.ops.sum(keras.ops.sin(40 * image), axis=1) - 9, (-1, 1))
    model = keras.Model(image, keras.ops.concatenate([0 * value, value], axis=1))
    return KerasClassifier(model), rise, gradient


def _project(threat, x, origin):
    if threat.norm == "Linf":
        return np.clip(np.clip(x, origin - threat.epsilon, origin + threat.epsilon), *threat.bounds)
    change = x - origin
    return np.clip(origin + change * min(1, threat.epsilon / np.linalg.norm(change)), *threat.bounds)


def _auto_pgd(threat, origin, start, rise, gradient, steps):
    """Algorithm 1 of Croce and Hein (2020), one image, in float64, with a list of everything that was seen."""
    unit = np.sign if threat.norm == "Linf" else lambda g: g / np.linalg.norm(g)
    ends, length = [], 0.22
    while (ends[-1] if ends else 0) + length <= 1 + 1e-9:
        ends.append((ends[-1] if ends else 0) + length)
        length = max(length - 0.03, 0.06)
    ends = [0, *[round(end * steps) for end in ends]]
    x, previous, size = start, start, 2 * threat.epsilon
    seen = [rise(x)]
    best, best_value, halved, value_then = x, seen[0], True, seen[0]
    for k in range(steps):
        if k in ends and k > 0:
            since = ends[ends.index(k) - 1]
            rises = sum(seen[i] > seen[i - 1] for i in range(since + 1, k + 1))
            halve = rises <= 0.75 * (k - since) or (not halved and best_value == value_then)
            value_then, halved = best_value, halve
            if halve:
                x, size = best, size / 2
        aim = _project(threat, x + size * unit(gradient(x)), origin)
        share = 0.75 if k else 1.0
        x, previous = _project(threat, x + share * (aim - x) + (1 - share) * (x - previous), origin), x
        seen.append(rise(x))
        if seen[-1] > best_value:
            best, best_value = x, seen[-1]
    return best


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.5), Linf(0.15), L2(0.2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_auto_pgd_goes_where_the_algorithm_of_the_paper_goes(threat, seed):
    classifier, rise, gradient = _hills(seed)
    origin = np.random.default_rng(seed).uniform(0.1, 0.9, (5, 6)).astype(np.float32)

    @dataclasses.dataclass(frozen=True)
    class FromTheImage(APGD):
        random_start = False

    attack = FromTheImage(threat, steps=100, loss=losses.margin, early_exit=False)
    found = attack(classifier, origin, np.zeros(5, int))
    assert not found.success.any()
    for image, ours in zip(origin.astype(float), found.adversarial, strict=True):
        theirs = _auto_pgd(threat, image, image, rise, gradient, 100)
        assert rise(ours.astype(float)) == pytest.approx(rise(theirs), abs=2e-3)
    np.testing.assert_array_equal(found.gradients, 100)


@pytest.mark.parametrize("threat", [Linf(0.1, WIDE), Linf(0.15), L2(0.3, WIDE), L1(0.5, WIDE)])
def test_on_a_linear_model_auto_pgd_reaches_the_optimum(two_classes, threat):
    y = true_labels()
    rise = threat.epsilon * np.abs(SLOPE).max() if threat.norm == "L1" else closed_form_rise(threat)
    after = -np.abs(FLAT @ SLOPE + OFFSET) + rise
    strongest = APGD(threat, early_exit=False)(two_classes, IMAGES, y)
    found = losses.margin(two_classes.logits(strongest.adversarial), y)
    np.testing.assert_allclose(found, after, atol=5e-3 if threat.norm == "L1" else 2e-3)


def test_in_l1_the_box_is_used_up_value_by_value(two_classes):
    """The optimum in ball and box, by linear programming."""
    threat, y = L1(1.5), true_labels()
    strongest = APGD(threat, early_exit=False)(two_classes, IMAGES[:10], y[:10])
    found = losses.margin(two_classes.logits(strongest.adversarial), y[:10]).numpy()
    for image, label, value in zip(FLAT[:10].astype(float), y, found, strict=False):
        slope = SLOPE if label == 0 else -SLOPE
        best = optimize.linprog(
            np.concatenate([-slope, slope]),
            A_ub=np.ones((1, 24)),
            b_ub=[1.5],
            bounds=[*zip(np.zeros(12), 1 - image, strict=True), *zip(np.zeros(12), image, strict=True)],
        )
        optimum = -abs(image @ SLOPE + OFFSET) - best.fun
        assert optimum - 0.1 <= value <= optimum + 1e-4


def test_the_warm_up_of_l1_is_paid_from_the_same_budget(two_classes):
    y = true_labels()
    result = APGD(L1(0.001), steps=50)(two_classes, IMAGES, y)
    far = np.abs(FLAT @ SLOPE + OFFSET) > 0.1
    np.testing.assert_array_equal(result.gradients[far], 50)


def test_dlr_needs_three_classes(two_classes):
    with pytest.raises(InputError, match="DLR compares three logits and the model has 2"):
        APGDDLR(Linf(0.1))(two_classes, IMAGES, true_labels())


@pytest.mark.parametrize("threat", [Linf(0.1, WIDE), L2(0.5, WIDE)])
@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_momentum_by_the_formula(linear, threat, decay):
    weights = RNG.normal(size=(12, 3)).astype(np.float32)
    classifier, y = linear(SHAPE, weights), np.arange(80) % 3
    x, total = FLAT.astype(float), 0.0
    for _ in range(4):
        gradient = (special.softmax(x @ weights, axis=1) - np.eye(3)[y]) @ weights.T
        total = decay * total + gradient / np.abs(gradient).sum(1, keepdims=True)
        unit = np.sign(total) if threat.norm == "Linf" else total / np.linalg.norm(total, axis=1, keepdims=True)
        x = x + threat.epsilon / 4 * unit
    attack = MIFGSM(threat, steps=4, decay=decay)
    found = attack.perturb(classifier.logits_fn, tf.constant(IMAGES), tf.constant(y)).numpy().reshape(80, -1)
    np.testing.assert_allclose(found, x, atol=2e-4)


def test_without_decay_momentum_is_bim(linear):
    classifier, y = linear(SHAPE, RNG.normal(size=(12, 5)).astype(np.float32)), np.arange(80) % 5
    settings = {"steps": 5, "step_size": 0.03}
    plain, without = BIM(Linf(0.1), **settings), MIFGSM(Linf(0.1), **settings, decay=0.0)
    np.testing.assert_allclose(*(a(classifier, IMAGES, y).adversarial for a in (plain, without)), atol=1e-6)


@pytest.mark.parametrize("decay", [-0.1, np.nan, "much"])
def test_a_decay_that_makes_no_sense_is_refused(decay):
    with pytest.raises(InputError, match=r"mi-fgsm: decay=.* has to be a finite number >= 0"):
        MIFGSM(Linf(0.1), decay=decay)
