import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfharden.attacks import PGD, Square
from tfharden.classifiers import CallableClassifier, KerasClassifier, TFLiteClassifier
from tfharden.errors import InputError
from tfharden.threats import L0, L1, L2, Linf

SHAPE = (6, 5, 2)
IMAGES = np.random.default_rng(0).uniform(size=(20, *SHAPE)).astype(np.float32)


class _Recorder(CallableClassifier):
    """Never errs, remembers what it was asked, and likes the first guess best, or (`level`) all alike."""

    def __init__(self, shape=SHAPE, *, level=False):
        super().__init__(self._answer, shape, 2)
        self.asked = []
        self.level = level

    def _answer(self, images):
        self.asked.append(images)
        first_guess = len(self.asked) == 2
        return np.tile([1.0 if first_guess or self.level else 2.0, 0.0], (len(images), 1))


@pytest.mark.parametrize("threat", [Linf(0.2), Linf(0.21, lattice=0.05), Linf(20.3, (0, 255), 1)])
def test_only_corners_are_asked_within_the_budget(threat):
    low, high = threat.bounds
    x = (low + (high - low) * IMAGES).astype(np.float32)
    box = _Recorder()
    result = Square(threat, queries=60)(box, x, np.zeros(20, int))
    first, *asked, last = box.asked
    assert len(asked) == 60
    np.testing.assert_array_equal(result.queries, 60)
    assert not (result.gradients.any() or result.zero_gradients.any())
    origin = first.astype(np.float64)
    steps = threat.lattice or 1e-30
    reach = np.floor(threat.epsilon / steps + 1e-4) * steps if threat.lattice else threat.epsilon
    lower, upper = np.maximum(origin - reach, low), np.minimum(origin + reach, high)
    slack = 1e-5 * (high - low)
    for images in asked:
        at_lower, at_upper = np.abs(images - lower) < slack, np.abs(images - upper) < slack
        assert (at_lower | at_upper).all()
        assert at_lower.any()
        assert at_upper.any()
    np.testing.assert_array_equal(last, asked[0])
    np.testing.assert_array_equal(result.adversarial, last)


def test_the_first_guess_is_vertical_stripes():
    box = _Recorder()
    Square(Linf(0.2, (-1, 2)), queries=1)(box, IMAGES, np.zeros(20, int))
    offset = box.asked[1] - IMAGES
    np.testing.assert_allclose(np.abs(offset), 0.2, atol=1e-6)
    np.testing.assert_allclose(offset - offset[:, :1], 0, atol=1e-6)  # the same from top to bottom
    assert 0.35 < (offset > 0).mean() < 0.65  # of 200 stripes: four standard deviations


def _differences(shape, queries):
    """Where each candidate after the first guess differs from it, `[queries - 1, n, height, width]`."""
    box = _Recorder(shape)
    images = np.full((40, *shape), 0.5, np.float32)
    Square(Linf(0.2), queries=queries)(box, images, np.zeros(40, int))
    _, guess, *asked, _ = box.asked
    return (np.stack(asked) != guess).any(axis=-1)


def test_every_row_and_column_is_reached_and_no_query_is_idle():
    changed = _differences((6, 5, 2), 150)
    assert changed.any(axis=(2, 3)).all()
    # All pixels are hit at the end, where squares are single pixels: by 40 x 50 of them on 30 places.
    assert changed[-50:].any(axis=(0, 1)).all()
    counts = changed[-50:].sum(axis=(0, 1))
    assert counts.min() > 0.5 * counts.mean()  # 67 expected on each place
    assert counts.max() < 1.6 * counts.mean()


def test_squares_shrink_on_the_schedule_of_the_paper():
    def share(query):  # p_selection of the paper's code, for 10,000 queries
        for place, limit in enumerate((10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)):
            if query <= limit:
                return 0.8 / 2**place
        return 0.8 / 2**9

    attack = Square(Linf(0.1), queries=10_000)
    for query in (1, 10, 11, 50, 51, 200, 201, 999, 1001, 3999, 5999, 6001, 8000, 8001, 9999):
        assert attack._share(query) == share(query)
    # Another budget stretches it, unless it is told not to.
    assert Square(Linf(0.1), queries=1000)._share(20) == share(200)
    assert Square(Linf(0.1), queries=1000, stretch=False)._share(20) == share(20)


def test_changes_stay_within_one_square():
    for changed in _differences((8, 8, 1), 40):
        for place in changed:
            rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
            side = max(np.ptp(rows), np.ptp(columns)) + 1
            assert side <= round(np.sqrt(0.8 * 64))


def test_ties_are_taken():
    """The margin of an integer model is a staircase: on a step, the search has to walk on from where it is."""
    box = _Recorder((8, 8, 1), level=True)
    result = Square(Linf(0.2), queries=40)(box, np.full((10, 8, 8, 1), 0.5, np.float32), np.zeros(10, int))
    _, *asked, last = box.asked
    np.testing.assert_array_equal(last, asked[-1])
    np.testing.assert_array_equal(result.adversarial, asked[-1])
    attack = Square(Linf(0.2), queries=40)
    for query, (before, after) in enumerate(itertools.pairwise(asked), start=1):
        for place in (before != after).any(axis=-1):
            rows, columns = np.flatnonzero(place.any(1)), np.flatnonzero(place.any(0))
            assert 0 < max(np.ptp(rows), np.ptp(columns)) + 1 <= max(round(8 * np.sqrt(attack._share(query))), 1)


def _linear(slope, offset=0.0, wrap=lambda x: x):
    """Errs (says 1) where `slope @ wrap(image) + offset` is positive."""
    slope = np.asarray(slope, np.float32)

    def function(images):
        value = wrap(images.reshape(len(images), -1)) @ slope + offset
        return np.stack([np.zeros_like(value), value], axis=1)

    return function


SLOPE = np.random.default_rng(1).normal(size=16)


def test_the_one_corner_where_the_model_errs_is_found():
    """All 16 signs have to be right: one of 65,536 corners."""
    images = np.full((10, 4, 4, 1), 0.5, np.float32)
    rise = 0.1 * np.abs(SLOPE).sum()
    function = _linear(SLOPE, -SLOPE.sum() / 2 - rise + 0.1 * np.abs(SLOPE).min())
    box = CallableClassifier(function, (4, 4, 1), 2)
    result = Square(Linf(0.1), queries=600)(box, images, np.zeros(10, int))
    assert result.success.all()
    np.testing.assert_allclose(result.adversarial.reshape(10, 16) - 0.5, 0.1 * np.sign([SLOPE] * 10), atol=1e-6)
    assert not Square(Linf(0.099), queries=600)(box, images, np.zeros(10, int)).success.any()


def test_what_has_fallen_is_asked_no_more():
    calls = []

    def function(images):
        calls.append(len(images))
        return _linear(SLOPE, -SLOPE.sum() / 2 - 0.05 * np.abs(SLOPE).sum())(images)

    images = np.full((50, 4, 4, 1), 0.5, np.float32)
    result = Square(Linf(0.1), queries=200)(CallableClassifier(function, (4, 4, 1), 2), images, np.zeros(50, int))
    assert result.success.all()
    assert sum(calls) == result.queries.sum() + 2 * 50
    assert len(set(result.queries)) > 3


def test_more_queries_find_more(digits, digits_classifier):
    x, y = digits.test[0][:150], digits.test[1][:150]
    curve = [Square(Linf(0.1), queries=queries)(digits_classifier, x, y).robust_accuracy for queries in (1, 20, 200)]
    assert curve[0] > curve[1] > curve[2]
    clean = (digits_classifier.predict(x) == y).mean()
    assert curve[0] <= clean
    assert Square(Linf(0.0), queries=5)(digits_classifier, x, y).robust_accuracy == pytest.approx(clean)


def test_radius_zero_and_clean_errors_cost_no_query(digits, digits_classifier):
    x, y = digits.test[0][:50], digits.test[1][:50]
    wrong = np.where(np.arange(50) < 25, (y + 1) % 10, y)
    result = Square(Linf(0.05), queries=3)(digits_classifier, x, wrong)
    np.testing.assert_array_equal(result.adversarial[:25], x[:25])
    assert not result.queries[:25].any()
    assert not Square(Linf(0.0), queries=3)(digits_classifier, x, y).queries.any()


def test_a_model_that_rounds_hides_from_gradients_and_not_from_queries():
    @tf.custom_gradient
    def rounded(x):
        return tf.round(10 * x) / 10, tf.zeros_like

    class Rounding(keras.layers.Layer):
        def call(self, x):
            return rounded(x)

    image = keras.Input((4, 4, 1))
    value = keras.layers.Dense(1)(keras.layers.Flatten()(Rounding()(image)))
    model = keras.Model(image, keras.ops.concatenate([keras.ops.zeros_like(value), value], axis=1))
    model.layers[-1].get_weights()
    dense = next(layer for layer in model.layers if isinstance(layer, keras.layers.Dense))
    dense.set_weights([SLOPE[:, None].astype(np.float32), np.array([-SLOPE.sum() / 2 - 1.0], np.float32)])
    classifier = KerasClassifier(model)
    images, y = np.full((30, 4, 4, 1), 0.5, np.float32), np.zeros(30, int)
    assert 0.2 * np.abs(SLOPE).sum() > 1.0  # an error exists
    zero_gradients = PGD(Linf(0.2), steps=20, seed=0)(classifier, images, y)
    np.testing.assert_array_equal(zero_gradients.zero_gradients, zero_gradients.gradients)
    found = Square(Linf(0.2), queries=200)(classifier, images, y)
    assert found.success.all()
    assert found.robust_accuracy < zero_gradients.robust_accuracy


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory, digits, digits_model):
    converter = tf.lite.TFLiteConverter.from_keras_model(digits_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in digits.train[0][:100])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = tmp_path_factory.mktemp("square") / "digits.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.mark.parametrize("threat", [Linf(0.1), L2(1.0), L1(5.0)])
def test_an_integer_file_is_attacked_on_its_lattice(int8_file, digits, threat):
    classifier = TFLiteClassifier(int8_file)
    x, y = digits.test[0][:60], digits.test[1][:60]
    result = Square(threat, queries=50)(classifier, x, y)
    lattice = classifier.restrict_threat(threat).lattice
    steps = result.adversarial / lattice
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert result.distance.max() <= threat.epsilon + threat.tolerance
    assert result.parameters["lattice"] == lattice
    np.testing.assert_array_equal(result.success, classifier.predict(result.adversarial) != y)
    assert result.success.mean() > (classifier.predict(x) != y).mean() + 0.1
    with pytest.raises(InputError, match=r"digits.tflite gives no gradients"):
        PGD(threat)(classifier, x, y)


def test_seeds(digits, digits_classifier):
    x, y = digits.test[0][:30], digits.test[1][:30]
    first, same, other = (Square(Linf(0.05), queries=5, seed=seed)(digits_classifier, x, y) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.adversarial, same.adversarial)
    assert not np.array_equal(first.adversarial, other.adversarial)


@pytest.mark.parametrize(("threat", "order"), [(L2(0.2), 2), (L1(1.5), np.inf)])
def test_in_l2_and_l1_it_comes_near_the_closed_form_and_never_beyond(threat, order):
    rng = np.random.default_rng(0)
    slope = rng.normal(size=64)
    x = rng.uniform(0.4, 0.6, (60, 8, 8, 1)).astype(np.float32)
    height = x.reshape(60, -1) @ slope
    # Each image errs once `slope @ change` has risen by so much: from a tenth to all of what the ball allows.
    need = np.linspace(0.1, 1.0, 60) * threat.epsilon * np.linalg.norm(slope, ord=order)
    seen = []

    def function(images):
        seen.append(len(images))
        rise = images.reshape(len(images), -1) @ slope
        nearest = np.abs(images.reshape(len(images), 1, -1) - x.reshape(1, 60, -1)).sum(2).argmin(1)
        value = rise - height[nearest] - need[nearest]
        return np.stack([np.zeros_like(value), value], axis=1)

    result = Square(threat, queries=600)(CallableClassifier(function, (8, 8, 1), 2), x, np.zeros(60, int))
    assert threat.violation(result.adversarial, x) <= threat.tolerance
    assert result.queries.max() == 600
    assert sum(seen) == result.queries.sum() + 2 * 60  # and the first and the last look
    fell = result.success
    assert fell[:15].all()  # up to a third of what the optimum reaches
    assert not fell[-1]


def test_a_vector_is_an_image_of_one_row():
    flat = CallableClassifier(lambda images: images[:, :2], (7,), 2)
    x = np.tile([[0.55, 0.5, 0, 0, 0, 0, 0]], (3, 1))
    assert Square(Linf(0.1), queries=100)(flat, x, np.zeros(3, int)).success.all()


def test_what_square_can_not_do_is_refused():
    with pytest.raises(InputError, match="square searches Linf and L2 and L1 balls, not L0"):
        Square(L0(3))
    for queries in (0, -1, 1.5, True):
        with pytest.raises(InputError, match="square: queries="):
            Square(Linf(0.1), queries=queries)
    deep = CallableClassifier(lambda images: images[:, 0, 0, 0, :2], (1, 1, 1, 2), 2)
    with pytest.raises(InputError, match=r"square needs images \[height, width, channels\]"):
        Square(Linf(0.1))(deep, np.full((3, 1, 1, 1, 2), [0.9, 0.1]), np.zeros(3, int))


def test_configuration_survives_keras_serialisation():
    attack = Square(Linf(0.1, lattice=1 / 255), queries=7, seed=3)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack)) == attack
