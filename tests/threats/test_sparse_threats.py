"""L1 and L0: the norms in which few values change, and whose projections have to know the box."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, stats

from tfharden.errors import InputError
from tfharden.threats import L0, L1

RNG = np.random.default_rng(0)
SEED = tf.constant([3, 4])
BOXES = [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)]


def _problem(seed, box, count=12, size=5):
    rng = np.random.default_rng(seed)
    low, high = box
    origin = rng.uniform(low, high, (count, size)).astype(np.float32)
    origin[0, :2] = low, high  # on the edges of the box
    return origin, rng


@pytest.mark.parametrize("box", BOXES)
def test_l1_projects_on_the_nearest_point_of_ball_and_box(box):
    origin, rng = _problem(0, box)
    width = box[1] - box[0]
    x = origin + rng.normal(0, 0.6 * width, origin.shape).astype(np.float32)
    x[1] = origin[1] + 1e-3 * width  # inside already
    threat = L1(0.7 * width, box)
    for start, wanted, found in zip(origin, x, threat.project(x, origin).numpy(), strict=True):
        # Rise and fall of each value as variables of their own make the ball linear.
        best = optimize.minimize(
            lambda v, s=start, w=wanted: np.sum((s + v[:5] - v[5:] - w) ** 2) / width**2,
            np.zeros(10),
            method="SLSQP",
            bounds=[*zip(np.zeros(5), box[1] - start, strict=True), *zip(np.zeros(5), start - box[0], strict=True)],
            constraints={"type": "ineq", "fun": lambda v: (threat.epsilon - v.sum()) / width},
            options={"ftol": 1e-12, "maxiter": 500},
        )
        np.testing.assert_allclose(found, start + best.x[:5] - best.x[5:], atol=2e-4 * width)


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("length", [0.1, 0.8, 3.0])
def test_an_l1_step_rises_as_much_as_any_of_its_length_in_the_box(box, length):
    x, rng = _problem(1, box)
    gradient = rng.normal(size=x.shape).astype(np.float32)
    gradient[2] = 0
    length *= box[1] - box[0]
    moved = L1(1.0, box).step(x, gradient, length).numpy()
    for start, slope, end in zip(x.astype(float), gradient.astype(float), moved.astype(float), strict=True):
        best = optimize.linprog(
            np.concatenate([-slope, slope]),
            A_ub=np.ones((1, 10)),
            b_ub=[length],
            bounds=[*zip(np.zeros(5), box[1] - start, strict=True), *zip(np.zeros(5), start - box[0], strict=True)],
        )
        assert slope @ (end - start) == pytest.approx(-best.fun, rel=1e-4, abs=1e-4)
        assert np.abs(end - start).sum() <= length * (1 + 1e-5)
        assert box[0] - 1e-4 <= end.min() <= end.max() <= box[1] + 1e-4
    np.testing.assert_array_equal(moved[2], x[2])


def test_an_l1_step_is_shared_out_over_several_values():
    x, gradient = np.full((1, 5), 0.5, np.float32), np.array([[5.0, -4, 3, 2, 0]], np.float32)
    moved = L1(1.0).step(x, gradient, 0.3, 3.0)
    np.testing.assert_allclose(moved, [[0.6, 0.4, 0.6, 0.5, 0.5]], atol=1e-6)
    # Each example with a length and a spread of its own.
    two = L1(1.0).step(np.repeat(x, 2, 0), np.repeat(gradient, 2, 0), tf.constant([[0.2], [0.6]]), [[1.0], [2.0]])
    np.testing.assert_allclose(two, [[0.7, 0.5, 0.5, 0.5, 0.5], [0.8, 0.2, 0.5, 0.5, 0.5]], atol=1e-6)


def test_l1_steepest_reaches_the_dual_norm():
    gradient = RNG.normal(size=(6, 2, 4, 1)).astype(np.float32)
    direction = L1(0.1).steepest(gradient).numpy()
    np.testing.assert_allclose(np.abs(direction).sum((1, 2, 3)), 1)
    np.testing.assert_allclose((direction * gradient).sum((1, 2, 3)), np.abs(gradient).max((1, 2, 3)))


def test_l1_starts_are_uniform_in_the_ball():
    origin = np.full((4000, 3), 0.5, np.float32)
    offset = L1(0.4).random_start(origin, SEED).numpy() - origin
    radius = np.abs(offset).sum(1) / 0.4
    assert stats.kstest(radius**3, "uniform").pvalue > 1e-3
    # The shares of a uniform point of a simplex with three corners are Beta(1, 2).
    for share in (np.abs(offset) / (0.4 * radius[:, None])).T:
        assert stats.kstest(share, stats.beta(1, 2).cdf).pvalue > 1e-3
    assert abs(np.mean(offset > 0) - 0.5) < 0.02


@pytest.mark.parametrize("box", BOXES)
def test_l0_keeps_the_values_whose_change_saves_most(box):
    origin, rng = _problem(2, box)
    width = box[1] - box[0]
    x = origin + rng.normal(0, width, origin.shape).astype(np.float32)
    found = L0(2, box).project(x, origin).numpy()
    for start, wanted, kept in zip(origin, x, found, strict=True):
        inside = np.clip(wanted, *box)
        options = [np.where(np.isin(np.arange(5), pair), inside, start) for pair in itertools.combinations(range(5), 2)]
        least = min(np.sum((option.astype(float) - wanted) ** 2) for option in options)
        assert np.sum((kept.astype(float) - wanted) ** 2) == pytest.approx(least, rel=1e-4)
        assert (kept != start).sum() <= 2


def test_l0_counts_values():
    origin = np.zeros((2, 2, 2, 1), np.float32)
    x = origin.copy()
    x[1, 0, :, 0] = 0.5, 1e-9
    np.testing.assert_array_equal(L0(1).distance(x, origin), [0, 1])
    assert L0(1).violation(x, origin) == 0
    x[1, 1, 0] = 1.0
    assert L0(1).violation(x, origin) == 1


def test_l0_starts_change_so_many_values():
    origin = np.full((500, 4, 5, 1), 0.5, np.float32)
    start = L0(3).random_start(origin, SEED).numpy()
    assert set((start != origin).sum((1, 2, 3))) == {3}
    changed = start[start != origin]
    assert stats.kstest(changed, "uniform").pvalue > 1e-3
    assert stats.chisquare((start != origin).sum((0, 3)).ravel()).pvalue > 1e-3  # no place is preferred


@pytest.mark.parametrize("threat", [L1(2.0), L1(0.0), L1(300.0, (0, 255)), L1(0.4, (-1, 1)), L0(4), L0(0)])
def test_whatever_is_projected_lies_in_ball_and_box(threat):
    low, high = threat.bounds
    origin = RNG.uniform(low, high, (200, 8, 8, 1)).astype(np.float32)
    for scale in (1e-3, 1.0, 100.0):
        x = origin + scale * (high - low) * RNG.normal(size=origin.shape).astype(np.float32)
        assert threat.violation(threat.project(x, origin), origin) <= threat.tolerance
    assert threat.violation(threat.random_start(origin, SEED), origin) <= threat.tolerance
    np.testing.assert_allclose(threat.project(origin, origin), origin)


@pytest.mark.parametrize("kind", [L1, L0])
def test_radii_out_of_order_are_refused(kind):
    for epsilon in (-1, np.nan, np.inf, True):
        with pytest.raises(InputError, match=r"^epsilon="):
            kind(epsilon)
