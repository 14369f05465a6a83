"""The nearest point of a hyperplane in a box, against SciPy's optimisers."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from tfharden.errors import InputError
from tfharden.threats import L0, L1, L2, Linf

RNG = np.random.default_rng(3)
COUNT, SIZE = 12, 6
X = RNG.uniform(size=(COUNT, SIZE)).astype(np.float32)
X[:3, :2] = 0.0, 1.0  # at the edges of the box there is no room on one side
NORMAL = RNG.normal(size=(COUNT, SIZE)).astype(np.float32)
NORMAL[4, 1:3] = NORMAL[4, 0]  # slopes that are equal, and one that is flat
NORMAL[5, 2] = 0.0
# What the function can rise and fall by within the box, of which a share is asked for.
MOST = np.maximum(NORMAL * (1 - X), -NORMAL * X).sum(1)
LEAST = np.minimum(NORMAL * (1 - X), -NORMAL * X).sum(1)
SHARES = np.linspace(0.05, 0.95, COUNT)
RISE = np.where(np.arange(COUNT) % 2, SHARES * MOST, SHARES * LEAST).astype(np.float32)


def _linear_programme(x, normal, rise, largest):
    """min |d|_1 or |d|_inf, as a linear programme in d = up - down and, for the latter, their bound t."""
    cost = np.r_[np.zeros(2 * SIZE), 1.0] if largest else np.r_[np.ones(2 * SIZE), 0.0]
    below = np.c_[np.eye(2 * SIZE), -np.ones(2 * SIZE)] if largest else None
    room = [*zip(np.zeros(SIZE), 1 - x, strict=True), *zip(np.zeros(SIZE), x, strict=True), (0, None)]
    solved = optimize.linprog(
        cost, below, np.zeros(2 * SIZE) if largest else None, np.r_[normal, -normal, 0.0][None], [rise], room
    )
    assert solved.success
    return solved.fun


def _quadratic_programme(x, normal, rise):
    solved = optimize.minimize(
        lambda d: d @ d,
        np.zeros(SIZE),
        jac=lambda d: 2 * d,
        bounds=list(zip(-x, 1 - x, strict=True)),
        constraints={"type": "eq", "fun": lambda d: normal @ d - rise, "jac": lambda d: normal},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert solved.success
    return np.sqrt(solved.fun)


@pytest.mark.parametrize(
    ("threat", "optimum"),
    [
        (Linf(1.0), lambda *problem: _linear_programme(*problem, largest=True)),
        (L1(1.0), lambda *problem: _linear_programme(*problem, largest=False)),
        (L2(1.0), _quadratic_programme),
    ],
    ids=["linf", "l1", "l2"],
)
def test_the_way_is_the_shortest_in_the_box(threat, optimum):
    way = threat.nearest_on_hyperplane(tf.constant(X), tf.constant(NORMAL), tf.constant(RISE)).numpy()
    np.testing.assert_allclose((NORMAL * way).sum(1), RISE, atol=2e-5)
    assert ((X + way >= -1e-6) & (X + way <= 1 + 1e-6)).all()
    expected = [optimum(*problem) for problem in zip(*map(np.float64, (X, NORMAL, RISE)), strict=True)]
    np.testing.assert_allclose(threat.distance(X + way, X), expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("threat", [Linf(1.0), L2(1.0), L1(1.0)])
def test_what_lies_beyond_the_box_is_approached_as_far_as_it_goes(threat):
    way = threat.nearest_on_hyperplane(tf.constant(X), tf.constant(NORMAL), tf.constant(MOST + 1)).numpy()
    np.testing.assert_allclose((NORMAL * way).sum(1), MOST, rtol=1e-5)
    still = threat.nearest_on_hyperplane(tf.constant(X), tf.zeros([COUNT, SIZE]), tf.ones([COUNT])).numpy()
    assert np.isfinite(still).all()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("threat", [Linf(1.0), L2(1.0), L1(1.0)])
def test_the_way_does_not_depend_on_the_scale_of_the_function(threat, scale):
    way, scaled = (
        threat.nearest_on_hyperplane(
            tf.constant(X), tf.constant(NORMAL * np.float32(s)), tf.constant(RISE * np.float32(s))
        )
        for s in (1.0, scale)
    )
    np.testing.assert_allclose(scaled, way, atol=1e-5)


def test_the_dual_length_is_that_of_the_dual_norm():
    for threat, order in ((Linf(1.0), 1), (L2(1.0), 2), (L1(1.0), np.inf)):
        np.testing.assert_allclose(
            threat.dual_length(tf.constant(NORMAL)), np.linalg.norm(NORMAL, order, axis=1), rtol=1e-5
        )


def test_a_norm_without_a_formula_is_refused():
    with pytest.raises(InputError, match="L0"):
        L0(1).nearest_on_hyperplane(tf.constant(X), tf.constant(NORMAL), tf.constant(RISE))
