import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, stats

from tfharden import threats
from tfharden.errors import InputError
from tfharden.threats import L2, Linf

SEED = tf.constant([3, 4])


def _images(seed, *shape):
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def test_linf_projects_each_value_on_its_interval():
    origin, x = _images(0, 5, 4, 4, 2), 3 * _images(1, 5, 4, 4, 2) - 1
    expected = np.clip(x, np.maximum(origin - 0.2, 0), np.minimum(origin + 0.2, 1))
    np.testing.assert_allclose(Linf(0.2).project(x, origin), expected, atol=1e-6)


def test_l2_projects_on_the_sphere_along_the_ray_to_the_origin():
    origin, x = np.full((3, 4), 0.5, np.float32), np.array([[0.5, 0.5, 0.5, 0.8], [0.9, 0.2, 0.5, 0.5], [0.5] * 4])
    projected = L2(0.1, (-10, 10)).project(tf.cast(x, tf.float32), origin)
    np.testing.assert_allclose(projected, [[0.5, 0.5, 0.5, 0.6], [0.58, 0.44, 0.5, 0.5], [0.5] * 4], atol=1e-6)


@pytest.mark.parametrize("threat", [Linf(0.3), L2(0.5)])
def test_shrink_gives_the_nearest_point_of_the_ball(threat):
    perturbation = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    found = threat.shrink(perturbation).numpy()
    ball = {
        "Linf": {"bounds": [(-0.3, 0.3)] * 3},
        "L2": {"constraints": {"type": "ineq", "fun": lambda p: 0.25 - p @ p, "jac": lambda p: -2 * p}},
    }[threat.norm]
    for given, nearest in zip(perturbation, found, strict=True):
        best = optimize.minimize(lambda p, g=given: np.sum((p - g) ** 2), np.zeros(3), method="SLSQP", **ball)
        np.testing.assert_allclose(nearest, best.x, atol=1e-3)


@pytest.mark.parametrize(("threat", "order"), [(Linf(0.1), np.inf), (L2(0.1), 2)])
def test_steepest_is_the_unit_vector_along_which_a_linear_function_rises_most(threat, order):
    gradient = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    direction = threat.steepest(gradient).numpy()
    np.testing.assert_allclose(np.linalg.norm(direction, ord=order, axis=1), 1, atol=1e-6)
    dual = {np.inf: 1, 2: 2}[order]  # Hölder: the maximum is the dual norm of the gradient
    np.testing.assert_allclose((direction * gradient).sum(1), np.linalg.norm(gradient, ord=dual, axis=1), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e15])
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)])
def test_steepest_knows_no_scale(threat, scale):
    gradient = np.array([[3.0, -4.0]], np.float32)
    np.testing.assert_allclose(threat.steepest(gradient * np.float32(scale)), threat.steepest(gradient), rtol=1e-5)
    assert not threat.steepest(np.zeros((1, 2), np.float32)).numpy().any()


def test_linf_starts_are_uniform_in_the_ball():
    origin = np.full((40, 5, 5, 2), 0.5, np.float32)
    start = Linf(0.25).random_start(origin, SEED).numpy()
    assert stats.kstest((start - 0.25).ravel(), "uniform", args=(0, 0.5)).pvalue > 1e-3


def test_l2_starts_are_uniform_in_the_ball():
    origin = np.full((4000, 3), 0.5, np.float32)
    offset = L2(0.4).random_start(origin, SEED).numpy() - origin
    radius = np.linalg.norm(offset, axis=1) / 0.4
    assert stats.kstest(radius**3, "uniform").pvalue > 1e-3
    # Archimedes: each coordinate of a uniform direction in three dimensions is uniform in [-1, 1].
    for coordinate in (offset / (0.4 * radius[:, None])).T:
        assert stats.kstest(coordinate, "uniform", args=(-1, 2)).pvalue > 1e-3
    assert abs(stats.spearmanr(radius, offset[:, 0] / radius).statistic) < 0.08  # radius and direction are independent


@pytest.mark.parametrize("threat", [Linf(0.4), L2(1.5), Linf(0.4, (-1, 1)), L2(0.0)])
def test_starts_lie_in_ball_and_box_and_depend_on_the_seed_alone(threat):
    origin = _images(0, 50, 4, 4, 1)
    start = threat.random_start(origin, SEED)
    assert threat.violation(start, origin) <= 1e-6
    np.testing.assert_array_equal(start, threat.random_start(origin, SEED))
    other = threat.random_start(origin, tf.constant([3, 5]))
    assert threat.epsilon == 0 or np.abs(start - other).max() > 0.01


LATTICES = [((0, 1), 1 / 255), ((-1, 1), 2 / 255), ((0, 255), 1.0), ((-2.1, 2.6), 0.018), ((0, 1), 0.35)]


@pytest.mark.parametrize(("bounds", "lattice"), LATTICES)
def test_snap_takes_the_nearest_lattice_point(bounds, lattice):
    low, high = bounds
    x = np.random.default_rng(0).uniform(low, high, (20, 7)).astype(np.float32)
    x[0, :2] = low, high
    points = low + lattice * np.arange(1000)
    points = points[points <= high + 1e-6]
    threat = Linf(0.1, bounds, lattice)
    snapped = threat.round_to_lattice(x).numpy()
    assert np.abs(snapped[..., None] - points).min(-1).max() <= threat.tolerance
    np.testing.assert_allclose(np.abs(snapped - x), np.abs(x[..., None] - points).min(-1), atol=threat.tolerance)
    np.testing.assert_allclose(threat.round_to_lattice(snapped), snapped, atol=threat.tolerance)


@pytest.mark.parametrize(("bounds", "lattice"), LATTICES)
@pytest.mark.parametrize(("norm", "share"), [("linf", 0.2), ("linf", 0.03), ("l2", 0.5)])
def test_land_keeps_lattice_ball_and_box_and_never_moves_away_from_the_origin(norm, share, bounds, lattice):
    low, high = bounds
    threat = threats.get(norm, share * (high - low), bounds, lattice)
    rng = np.random.default_rng(0)
    origin = threat.round_to_lattice(rng.uniform(low, high, (50, 9)).astype(np.float32))
    x = threat.project(rng.uniform(low, high, (50, 9)).astype(np.float32), origin)
    landed = threat.round_to_lattice_in_ball(x, origin)
    assert threat.violation(landed, origin) <= threat.tolerance
    moved, wanted = np.asarray(landed - origin), np.asarray(x - origin)
    assert np.all(np.abs(moved) <= np.abs(wanted) + threat.tolerance)
    assert np.all(np.abs(moved) > np.abs(wanted) - lattice * 1.001)  # no more than a step is lost
    np.testing.assert_allclose(threat.round_to_lattice_in_ball(landed, origin), landed, atol=threat.tolerance)


def test_land_keeps_a_whole_number_of_steps():
    threat = Linf(8 / 255, lattice=1 / 255)
    origin = np.arange(9, 247, dtype=np.float32)[None] / np.float32(255)
    for sign in (-1, 1):
        landed = threat.round_to_lattice_in_ball(tf.constant(origin) + sign * threat.epsilon, origin)
        np.testing.assert_array_equal(np.round(np.asarray(landed) * 255), np.round(origin * 255) + sign * 8)


def test_without_a_lattice_nothing_is_rounded():
    x = _images(0, 2, 3)
    assert Linf(0.1).round_to_lattice(x) is x
    assert Linf(0.1).round_to_lattice_in_ball(x, x) is x


@pytest.mark.parametrize("threat", [Linf(0.1, lattice=0.1), L2(0.1, lattice=0.1)])
@pytest.mark.parametrize(
    ("value", "amount"),
    [(0.5, 0), (0.6, 0), (0.4, 0), (0.7, 0.1), (0.53, 0.03), (1.2, 0.6), (-0.1, 0.5), (np.nan, np.inf), (np.inf,) * 2],
)
def test_violation_tells_the_largest_excess(threat, value, amount):
    origin = np.full((3, 2, 2), 0.5, np.float32)
    x = origin.copy()
    x[1, 0, 1] = value
    assert threat.violation(x, origin) == pytest.approx(amount, abs=1e-6)


def test_violation_of_the_box_alone():
    origin = np.array([[0.95]], np.float32)
    assert Linf(0.5).violation(np.array([[1.05]], np.float32), origin) == pytest.approx(0.05, abs=1e-6)
    assert Linf(1.0, (0.5, 2)).violation(np.array([[0.3]], np.float32), origin) == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("kind", [Linf, L2])
@pytest.mark.parametrize(
    "settings",
    [
        {"epsilon": -0.1},
        {"epsilon": math.nan},
        {"epsilon": math.inf},
        {"epsilon": True},
        {"epsilon": "0.1"},
        {"epsilon": None},
        {"bounds": (1, 0)},
        {"bounds": (1, 1)},
        {"bounds": (0, math.inf)},
        {"bounds": (0, 1, 2)},
        {"bounds": ("0", "1")},
        {"bounds": 1},
        {"lattice": 0},
        {"lattice": -0.1},
        {"lattice": math.nan},
        {"lattice": 1.1},
        {"lattice": "fine"},
    ],
)
def test_numbers_out_of_order_are_refused_in_one_line(kind, settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"^{name}=[^\n]*$|^{name}[^\n]*$"):
        kind(**{"epsilon": 0.1} | settings)


def test_an_linf_ball_larger_than_the_box_is_a_mistake_of_units():
    with pytest.raises(InputError, match="epsilon=8 is larger than the input range \\[0, 1\\]"):
        Linf(8)
    Linf(8, (0, 255))
    Linf(2, (-1, 1))
    L2(8)  # many pixels may add up to that


def test_threats_by_name():
    assert threats.get("linf", 0.1) == Linf(0.1)
    assert threats.get("L2", 0.1, (-1, 1), 0.5) == L2(0.1, (-1, 1), 0.5)
    with pytest.raises(InputError, match="unknown norm 'l7': known are linf, l2, l1, l0"):
        threats.get("l7", 0.1)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(np.float32(0.5), (-1, 1), 2 / 255)])
def test_configuration_survives_keras_serialisation(threat):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(threat))
    assert copy == threat
    assert type(copy) is type(threat)
    assert {type(number) for number in (threat.epsilon, *threat.bounds)} == {float}


def test_a_threat_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Linf(0.1).epsilon = 1


def test_a_ball_is_cut_to_a_box_that_lies_in_it():
    cut = Linf(0.9).restrict((0.0, 0.5), 1 / 255)
    assert (cut.epsilon, cut.bounds, cut.lattice) == (0.5, (0.0, 0.5), 1 / 255)
    assert Linf(0.1).restrict((0.0, 0.5), None).epsilon == 0.1
    assert L2(3.0).restrict((0.0, 0.5), None).epsilon == 3.0


def test_a_threat_is_shown_in_short():
    assert repr(Linf(0.03, lattice=1 / 255)) == "Linf(0.03, bounds=(0, 1), lattice=1/255)"
    assert repr(L2(1, (-1, 1), 2 / 255)) == "L2(1, bounds=(-1, 1), lattice=2/255)"
    assert repr(Linf(8, (0, 255))) == "Linf(8, bounds=(0, 255))"


def test_images_are_received_on_the_lattice_in_the_box():
    images = np.array([[-0.2, 0.1, 0.4, 1.3]], np.float32)
    np.testing.assert_allclose(Linf(0.1, lattice=0.25).received(images), [[0, 0, 0.5, 1]])
    np.testing.assert_allclose(Linf(0.1).received(images), np.clip(images, 0, 1))
