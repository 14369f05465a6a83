import numpy as np
import pytest

from tfharden.attacks import BIM, PGD, Transfer
from tfharden.classifiers import CallableClassifier
from tfharden.errors import InputError
from tfharden.losses import margin
from tfharden.threats import L2, Linf

SHAPE = (3, 3, 1)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(9, 2)).astype(np.float32)
SLOPE = WEIGHTS[:, 1] - WEIGHTS[:, 0]
IMAGES = RNG.uniform(size=(60, *SHAPE)).astype(np.float32)


def _target(weights=WEIGHTS, seen=None):
    def function(images):
        if seen is not None:
            seen.append(images)
        return images.reshape(len(images), -1) @ weights

    return CallableClassifier(function, SHAPE, 2, name="target")


@pytest.mark.parametrize("threat", [Linf(0.1), Linf(0.1, lattice=1 / 50), L2(0.3), L2(0.3, lattice=1 / 255)])
def test_examples_keep_the_threat_and_are_counted_on_the_target(linear, threat):
    surrogate, seen = linear(SHAPE, WEIGHTS), []
    target = _target(WEIGHTS + RNG.normal(0, 0.3, (9, 2)).astype(np.float32), seen)
    y = target.predict(np.asarray(threat.round_to_lattice(IMAGES)))
    seen.clear()
    result = Transfer(PGD(threat, steps=8), surrogate)(target, IMAGES, y)
    assert threat.violation(result.adversarial, threat.round_to_lattice(IMAGES)) <= 1e-6
    np.testing.assert_array_equal(result.success, target.predict(result.adversarial) != y)
    assert 0 < result.success.sum() < 60
    assert result.access == "transfer"
    assert not result.queries.any()  # the only look at the target is the last
    assert len(seen) == 3  # the first look, the last one, and this test's own
    assert result.parameters["attack"]["steps"] == 8
    assert result.parameters["surrogate"] == surrogate.name
    assert result.parameters["lattice"] == threat.lattice


def test_all_steps_are_taken_whatever_the_surrogate_says(linear):
    """A target with the surrogate's slope errs much further out: only the highest loss crosses."""
    y = (IMAGES.reshape(60, -1) @ SLOPE > 0).astype(int)
    sign = np.where(y == 0, 1, -1)[:, None]
    flat = IMAGES.reshape(60, -1)
    corner = np.clip(flat + 0.2 * sign * np.sign(SLOPE), 0, 1)
    result = Transfer(BIM(Linf(0.2), steps=10), linear(SHAPE, WEIGHTS))(_target(), IMAGES, y)
    np.testing.assert_array_equal(result.gradients, 10)
    np.testing.assert_allclose(result.adversarial.reshape(60, -1), corner, atol=1e-5)


def test_what_the_surrogate_errs_on_is_attacked_too(linear):
    surrogate = linear(SHAPE, WEIGHTS, [0, 100])  # always says 1
    y = np.zeros(60, int)
    target = _target(np.stack([np.ones(9), np.zeros(9)], axis=1) * -1 * SLOPE[:, None])
    right = target.predict(IMAGES) == y
    result = Transfer(BIM(Linf(0.2), steps=5, loss=margin), surrogate)(target, IMAGES, y)
    assert result.success[right].any()
    assert (result.distance[right] > 0.1).all()


def test_clean_errors_of_the_target_are_left_alone(linear):
    target = _target()
    y = 1 - target.predict(IMAGES)
    result = Transfer(BIM(Linf(0.1)), linear(SHAPE, WEIGHTS))(target, IMAGES, y)
    np.testing.assert_array_equal(result.adversarial, IMAGES)
    assert result.success.all()
    assert not result.queries.any()


def test_models_of_different_shape_do_not_match(linear):
    with pytest.raises(InputError, match="nothing can be transferred"):
        Transfer(BIM(Linf(0.1)), linear((9, 1, 1), WEIGHTS))(_target(), IMAGES, np.zeros(60, int))
