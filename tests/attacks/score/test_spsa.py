"""SPSA against closed forms, gradients that are known, and models whose gradients mislead."""

import keras
import numpy as np
import pytest

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SHAPE, SLOPE, WIDE, closed_form_rise, true_labels
from tfharden.attacks import PGD, SPSA, MarginPGD
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf


@pytest.mark.parametrize("threat", [Linf(0.05), Linf(0.05, WIDE), L2(0.2, WIDE)])
def test_a_linear_model_falls_where_the_closed_form_says(two_classes, threat):
    gap, reach = np.abs(FLAT @ SLOPE + OFFSET), np.abs(closed_form_rise(threat))
    result = SPSA(threat, queries=2000)(two_classes, IMAGES, true_labels())
    assert result.success[gap < 0.95 * reach].all()
    assert not result.success[gap > 1.001 * reach].any()
    assert 0.05 < result.success.mean() < 0.95


class _Counter(CallableClassifier):
    """Never errs; remembers how many images it was asked about, and which."""

    def __init__(self, shape=SHAPE):
        super().__init__(self._answer, shape, 2)
        self.asked = []

    def _answer(self, images):
        images = np.asarray(images)
        self.asked.append(images)
        flat = images.reshape(len(images), -1).sum(1)
        return np.stack([flat, flat - 1], axis=1)


@pytest.mark.parametrize("queries", [65, 129, 130, 500])
def test_no_query_beyond_the_budget_and_each_is_counted(queries):
    classifier = _Counter()
    result = SPSA(Linf(0.1), queries=queries)(classifier, IMAGES, np.zeros(80, int))
    assert (result.queries == queries // 65 * 65).all()
    looks = 2 * 80  # the first and the last
    assert sum(map(len, classifier.asked)) - looks == result.queries.sum()


def test_probes_are_pairs_in_the_box_and_on_the_lattice():
    classifier, count = _Counter(), 50
    SPSA(Linf(0.25, lattice=0.05), queries=200, delta=0.01)(classifier, IMAGES[:count], np.zeros(count, int))
    for asked in classifier.asked:
        np.testing.assert_allclose(asked / 0.05, np.round(asked / 0.05), atol=1e-4)
        assert asked.min() >= 0
        assert asked.max() <= 1
    origin, probes = classifier.asked[0], np.concatenate(classifier.asked[1:])[: 64 * count]
    ups, downs = probes.reshape(2, 32, count, *SHAPE)
    inner = (origin > 0.06) & (origin < 0.94)
    assert inner.any()
    np.testing.assert_allclose((ups + downs - 2 * origin)[:, inner], 0, atol=1e-5)
    np.testing.assert_allclose(np.abs(ups - downs)[:, inner], 0.1, atol=1e-5)  # a step of the lattice each way


def test_only_what_stands_is_asked_about(digits, digits_classifier):
    x, y = digits.test[0][:100], digits.test[1][:100]
    result = SPSA(Linf(0.1), queries=1300)(digits_classifier, x, y)
    assert (result.queries[~result.success] == 1300).all()
    assert 65 <= result.queries[result.success & (result.queries > 0)].min() < 1300
    white_box = MarginPGD(Linf(0.1), steps=50, restarts=2)(digits_classifier, x, y)
    assert white_box.robust_accuracy <= result.robust_accuracy <= white_box.robust_accuracy + 0.1
    again = SPSA(Linf(0.1), queries=1300)(digits_classifier, x, y)
    np.testing.assert_array_equal(again.adversarial, result.adversarial)


def test_targets_are_what_is_reached(digits, digits_classifier):
    x, y = digits.test[0][:40], digits.test[1][:40]
    targets = (y + 1) % 10
    result = SPSA(L2(2.0), queries=3000)(digits_classifier, x, y, targets=targets)
    np.testing.assert_array_equal(
        digits_classifier.predict(result.adversarial)[result.success], targets[result.success]
    )
    assert result.success.mean() > 0.8


def test_a_rippled_model_fools_pgd_and_not_spsa(two_classes):
    """A fast ripple of small height turns the gradient's sign at random places and changes the scores hardly at all."""
    image = keras.Input(SHAPE)
    rippled = image + 2e-4 * keras.ops.sin(2e4 * image)
    classifier = KerasClassifier(keras.Model(image, two_classes.model(rippled)))
    y, threat = classifier.predict(IMAGES), Linf(0.1)
    masked = PGD(threat, steps=40)(classifier, IMAGES, y).robust_accuracy
    honest = PGD(threat, steps=40)(two_classes, IMAGES, true_labels()).robust_accuracy
    estimated = SPSA(threat, queries=2600)(classifier, IMAGES, y).robust_accuracy
    assert masked > honest + 0.15
    assert estimated <= honest + 0.03


def test_scores_that_are_not_finite_do_no_harm():
    def answer(images):
        flat = images.reshape(len(images), -1).sum(1)
        return np.stack([flat, np.where(flat > flat.mean(), np.nan, flat - 1)], axis=1)

    result = SPSA(Linf(0.1), queries=130)(CallableClassifier(answer, SHAPE, 2), IMAGES, np.zeros(80, int))
    assert np.isfinite(result.adversarial).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"queries": 64}, "queries=64 are too few for a step of pairs=32: give 65 or more"),
        ({"pairs": 0}, "pairs=0"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"delta": float("nan")}, "delta=nan"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SPSA(Linf(0.1), **settings)


def test_it_knows_two_norms():
    with pytest.raises(InputError, match="spsa searches Linf and L2 balls, not L1"):
        SPSA(L1(0.1))
