"""DIVA on pairs of linear models, where a linear program tells which images can be had at all."""

import numpy as np
import pytest
from scipy.optimize import linprog

from tfharden import Linf
from tfharden.attacks import DIVA, PGD
from tfharden.errors import InputError

SHAPE, EPSILON = (3, 3, 1), 0.05


def room(source, model, x, y, epsilon=EPSILON):
    """Largest t with margin_source(x + d) >= t and margin_model(x + d) <= -t for some |d| <= epsilon in the box."""
    found = []
    for image, label in zip(x.reshape(len(x), -1).astype(np.float64), y, strict=True):
        sign = 1 if label == 0 else -1
        a, b = (sign * (w[:, 0] - w[:, 1]) for w in (source, model))
        # Variables are the image and t; t is maximised.
        sides = [[*-a, 1.0], [*b, 1.0]]
        limits = [(max(0.0, v - epsilon), min(1.0, v + epsilon)) for v in image]
        solved = linprog([*np.zeros(len(image)), -1.0], A_ub=sides, b_ub=[0, 0], bounds=[*limits, (None, None)])
        found.append(-solved.fun)
    return np.array(found)


def weights(seed):
    """Two classes that lie on both sides of images about 0.5, and a model of nearly the same opinion."""
    rng = np.random.default_rng(seed)
    one = rng.normal(size=(9, 2))
    one -= one.mean(axis=0)
    other = one + 0.3 * rng.normal(size=(9, 2))
    return one, other - other.mean(axis=0)


@pytest.fixture(scope="module", params=[0, 1, 2])
def case(request):
    source, model = weights(request.param)
    x = np.random.default_rng(9).uniform(0.3, 0.7, (150, *SHAPE)).astype(np.float32)
    y = (x.reshape(len(x), -1) @ source).argmax(axis=1)
    return source, model, x, y, room(source, model, x, y)


def test_it_finds_what_there_is_to_find(case, linear):
    source, model, x, y, there = case
    attack, classifier = DIVA(Linf(EPSILON), linear(SHAPE, source)), linear(SHAPE, model)
    result = attack(classifier, x, y)
    evaded = attack.evaded(classifier, result.adversarial, y)
    assert not evaded[there < 0].any()
    assert evaded[there > 0.002].mean() > 0.95
    assert 0.1 < (there > 0.002).mean() < 0.9
    assert np.abs(result.adversarial - x).max() <= EPSILON + 1e-6


def test_other_attacks_and_the_papers_loss_find_less(case, linear):
    source, model, x, y, _ = case
    attack, classifier = DIVA(Linf(EPSILON), linear(SHAPE, source)), linear(SHAPE, model)
    published = DIVA(Linf(EPSILON), linear(SHAPE, source), climbs="probabilities")
    rates = [
        attack.evaded(classifier, other(classifier, x, y).adversarial, y).mean()
        for other in (attack, published, PGD(Linf(EPSILON), steps=40))
    ]
    assert rates[0] >= max(rates[1:])
    assert rates[0] > rates[2] + 0.05


def test_a_model_that_is_its_source_is_not_evaded(case, linear):
    source, _, x, y, _ = case
    attack = DIVA(Linf(EPSILON), linear(SHAPE, source), restarts=1)
    result = attack(linear(SHAPE, source), x, y)
    assert not attack.evaded(linear(SHAPE, source), result.adversarial, y).any()


def test_same_seed_same_images(case, linear):
    source, model, x, y, _ = case
    classifier, origin = linear(SHAPE, model), linear(SHAPE, source)
    first, again, other = (
        DIVA(Linf(EPSILON), origin, steps=5, restarts=1, seed=s)(classifier, x, y).adversarial for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_what_it_was_is_told(case, linear):
    source, model, x, y, _ = case
    result = DIVA(Linf(EPSILON), linear(SHAPE, source), steps=7, restarts=1)(linear(SHAPE, model), x[:20], y[:20])
    assert isinstance(result.parameters["source"], str)
    assert (result.parameters["climbs"], result.parameters["steps"]) == ("margins", 7)
    assert result.gradients.max() == 7
    assert result.access == "white-box"


def test_refused(linear):
    with pytest.raises(InputError, match="climbs margins or probabilities, not 'logits'"):
        DIVA(Linf(0.1), linear(SHAPE, weights(0)[0]), climbs="logits")
    with pytest.raises(InputError, match="steps=0"):
        DIVA(Linf(0.1), linear(SHAPE, weights(0)[0]), steps=0)
