import itertools
import json

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

import tfharden as th
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.evaluation.probes.dimension import RIDGE, growth_with_dimension, linear_margin_drop
from tfharden.evaluation.probes.linearity import linearity, r_squared
from tfharden.losses import cross_entropy, margin

SHAPE = (2, 3, 1)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(6, 2)).astype(np.float32)
SLOPE = WEIGHTS[:, 1] - WEIGHTS[:, 0]
X = RNG.uniform(0.4, 0.6, size=(30, *SHAPE)).astype(np.float32)
DUAL = {"Linf": np.abs(SLOPE).sum(), "L2": np.linalg.norm(SLOPE), "L1": np.abs(SLOPE).max()}
THREATS = [th.Linf(0.1), th.L2(0.1), th.L1(0.1), th.Linf(0.1, lattice=1 / 8)]


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_a_linear_classifier_is_linear(linear, threat):
    classifier = linear(SHAPE, WEIGHTS)
    y = classifier.predict(X)
    y[:5] = 1 - y[:5]
    found = linearity(classifier, (X, y), threat, margin)
    fall = threat.epsilon * DUAL[threat.norm]
    assert found.straightness == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.gamma, 0, atol=1e-5)
    np.testing.assert_allclose(found.rise, fall, rtol=1e-4)
    assert found.deviation < 1e-4
    sign = np.where(y == 0, -1, 1)
    margins = sign * (X.reshape(30, -1) @ SLOPE)
    np.testing.assert_allclose(found.offsets, np.linspace(-0.2, 0.2, 41), atol=1e-6)
    np.testing.assert_allclose(found.margin, margins.mean() - found.offsets * DUAL[threat.norm], rtol=1e-4, atol=1e-5)
    first_right = int((margins > 0).argmax())
    assert first_right >= 5
    assert found.example_label == y[first_right]
    along = X[first_right].ravel()[None] - sign[first_right] * found.offsets[:, None] * steepest(threat)
    np.testing.assert_allclose(found.example_logits, along @ WEIGHTS, rtol=1e-4, atol=1e-5)


def steepest(threat):
    """The direction of length 1 along which SLOPE rises most."""
    if threat.norm == "Linf":
        return np.sign(SLOPE)
    return SLOPE / np.linalg.norm(SLOPE) if threat.norm == "L2" else np.sign(SLOPE) * (np.abs(SLOPE) == DUAL["L1"])


def bowl(curvature):
    """The margin of class 0 is curvature * |x - 0.5|^2 + x_0."""
    image = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(image)
    height = keras.ops.sum((flat - 0.5) ** 2 * curvature, axis=1, keepdims=True) + flat[:, :1]
    return KerasClassifier(keras.Model(image, keras.ops.concatenate([keras.ops.zeros_like(height), height], axis=1)))


@pytest.mark.parametrize("curvature", [3.0, -3.0])
@pytest.mark.parametrize(("threat", "square"), [(th.Linf(0.1), 6 * 0.01), (th.L2(0.1), 0.01)], ids=["Linf", "L2"])
def test_a_square_bends_by_its_square(threat, square, curvature):
    """J(x + d) - J(x) - d grad J(x) = c |d|^2: at most 6 epsilon^2 c in Linf, epsilon^2 c in L2."""
    found = linearity(bowl(curvature), (X, np.zeros(30, int)), threat, margin)
    np.testing.assert_allclose(found.gamma, 3 * square, rtol=1e-3)
    assert found.straightness < 0.999
    assert found.deviation == pytest.approx(3 * square / np.abs(found.rise).mean(), rel=1e-3)


def test_the_bend_is_looked_for_within_the_box():
    """At the box's corner only inward moves are left, and of one value none."""
    x = np.full((4, *SHAPE), 0.5, np.float32)
    x[:, 0, 0] = 1.0
    model = bowl(np.array([3.0, 0, 0, 0, 0, 0], np.float32))
    free, walled = (
        linearity(model, (x, np.zeros(4, int)), th.Linf(0.1, bounds), margin) for bounds in ((0, 2), (0, 1))
    )
    np.testing.assert_allclose(free.rise, 0.1 * (1 + 3.0) + 0.03, rtol=1e-4)
    np.testing.assert_allclose(walled.rise, 0.0, atol=1e-6)
    np.testing.assert_allclose([free.gamma, walled.gamma], 0.03, rtol=1e-3)


def test_a_trained_network_lies_between(digits, digits_model):
    classifier = KerasClassifier(digits_model)
    some = digits.test[0][:60], digits.test[1][:60]
    near, far = (linearity(classifier, some, th.Linf(epsilon), cross_entropy, seed=1) for epsilon in (0.01, 0.3))
    assert 0 < near.deviation < far.deviation
    assert 0.8 < far.straightness < near.straightness < 1
    assert near.margin[20] == pytest.approx(far.margin[20])
    assert (np.diff(near.margin) < 0).all()
    told = json.loads(json.dumps(near.content))
    assert told["deviation"] == near.deviation
    assert told["num_examples"] == 60
    assert told["example"]["logits"] == near.example_logits.tolist()


def test_r_squared_is_that_of_regression():
    offsets = np.linspace(-1, 1, 9)
    logits = RNG.normal(size=(9, 5, 3)) + 2 * offsets[:, None, None]
    lines = np.polyfit(offsets, logits.reshape(9, -1), 1)
    fitted = (offsets[:, None] * lines[0] + lines[1]).reshape(logits.shape)
    expected = [
        r2_score(logits[:, i], fitted[:, i], multioutput="variance_weighted", force_finite=False) for i in range(5)
    ]
    np.testing.assert_allclose(r_squared(offsets, logits), expected, rtol=1e-9)
    np.testing.assert_array_equal(r_squared(offsets, np.ones((9, 2, 3))), 1.0)


def test_what_has_no_lines(linear):
    classifier, y = linear(SHAPE, WEIGHTS), np.zeros(30, int)
    with pytest.raises(InputError, match="L0 has no dual"):
        linearity(classifier, (X, y), th.L0(2))
    with pytest.raises(InputError, match="epsilon 0"):
        linearity(classifier, (X, y), th.Linf(0.0))
    with pytest.raises(InputError, match="gives no gradients"):
        linearity(CallableClassifier(classifier.logits, SHAPE, 2), (X, y), th.Linf(0.1))


# In closed form.


def on_the_sphere(norm, count=20_000):
    """Perturbations of length 1: all corners of the ball where it has such, else many at random."""
    if norm == "Linf":
        return np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    if norm == "L1":
        return np.concatenate([np.eye(6), -np.eye(6)])
    random = np.random.default_rng(1).normal(size=(count, 6))
    return random / np.linalg.norm(random, axis=1, keepdims=True)


@pytest.mark.parametrize(("norm", "gap"), [("Linf", 1e-9), ("l1", 1e-9), ("L2", 0.05)])
def test_the_drop_is_the_most_that_any_perturbation_does(norm, gap):
    weights = RNG.normal(size=(6, 4))
    drop = linear_margin_drop(weights, 0.3, norm)
    moves = 0.3 * on_the_sphere({"l1": "L1"}.get(norm, norm)) @ weights
    brute = (moves[:, None, :] - moves[:, :, None]).max(axis=0)
    assert (drop >= brute - 1e-12).all()
    np.testing.assert_allclose(brute, drop, rtol=gap)
    np.testing.assert_array_equal(drop.diagonal(), 0)


def test_l0_has_no_dual():
    with pytest.raises(InputError, match="Linf, L2 or L1"):
        linear_margin_drop(WEIGHTS, 1, "L0")


def test_random_weights_lose_in_proportion_to_the_dimension():
    """For w of variance s^2 the mean of |w_y - w_k|_1 is d 2 s / sqrt(pi)."""
    for dimension in (100, 400, 1600):
        weights = np.random.default_rng(dimension).normal(0, 0.5, size=(dimension, 10))
        pairs = ~np.eye(10, dtype=bool)
        assert linear_margin_drop(weights, 0.1, "Linf")[pairs].mean() == pytest.approx(
            0.1 * dimension / np.sqrt(np.pi), rel=0.05
        )


def test_digits_lose_more_the_larger_they_are_and_noise_does_not_tell(digits):
    grown = growth_with_dimension(digits.train, 0.1)
    assert [one.dimension for one in grown] == [4, 16, 64]
    for small, large in itertools.pairwise(grown):
        assert small.accuracy < large.accuracy
        assert 1.3 * small.drop < large.drop
        assert 1.5 * small.drop / small.noise < large.drop / large.noise
    assert max(one.noise for one in grown) < 2 * min(one.noise for one in grown)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_growth_agrees_with_another_librarys_ridge(digits, norm):
    x, y = digits.train[0][:400], digits.train[1][:400]
    pooled = np.array([[image[i : i + 4, j : j + 4].mean() for i in (0, 4) for j in (0, 4)] for image in x])
    ridge = Ridge(alpha=RIDGE * 400).fit(pooled, np.eye(10)[y])
    logits = ridge.predict(pooled)
    others = np.where(np.eye(10)[y] > 0, -np.inf, logits)
    next_best = others.argmax(axis=1)
    found = growth_with_dimension((x, y), 0.2, norm)[0]
    margins = logits[np.arange(400), y] - others.max(axis=1)
    assert found.accuracy == (margins > 0).mean()
    assert found.margin == pytest.approx(margins.mean())
    difference = ridge.coef_[y] - ridge.coef_[next_best]
    order = {"Linf": 1, "L2": 2, "L1": np.inf}[norm]
    assert found.drop == pytest.approx(0.2 * np.linalg.norm(difference, ord=order, axis=1).mean())
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    noise = 0.2 * signs / np.linalg.norm(signs, ord={"Linf": np.inf, "L2": 2, "L1": 1}[norm], axis=1, keepdims=True)
    assert found.noise == pytest.approx((noise @ difference.T).std(axis=0).mean())


def test_vectors_cannot_be_pooled():
    with pytest.raises(InputError, match="images"):
        growth_with_dimension((np.zeros((5, 6)), np.arange(5)), 0.1)
