import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests._helpers.linear_problem import FLAT, IMAGES, SHAPE, two_logits
from tfharden.attacks.composite.multi_targeted import MultiTargeted
from tfharden.attacks.minimum_norm.jsma import JSMA
from tfharden.classifiers import CallableClassifier
from tfharden.errors import InputError
from tfharden.threats import L0, Linf

ALL = L0(12)
# Twelve values of much the same weight, and images whose way to the boundary takes one to many of them.
RNG = np.random.default_rng(2)
SLOPE = (RNG.uniform(0.5, 1.5, 12) * RNG.choice([-1, 1], 12)).astype(np.float32)
OFFSET = -np.median(FLAT @ SLOPE) - 1.5
LABELS = (FLAT @ SLOPE + OFFSET > 0).astype(np.int32)


@pytest.fixture
def even(linear):
    return linear(SHAPE, np.stack([0 * SLOPE, SLOPE], axis=1), [0, OFFSET])


def _fewest():
    """How many of the most useful changes outweigh the lead of the true class, and by how much that is clear."""
    value = FLAT @ SLOPE + OFFSET
    way = -np.sign(value)[:, None] * SLOPE
    worth = -np.sort(-np.where(way > 0, way * (1 - FLAT), -way * FLAT), axis=1)
    rest = np.abs(value)[:, None] - np.cumsum(worth, axis=1)
    assert (rest.min(axis=1) < 0).all()
    return 1 + (rest > 0).sum(axis=1), np.abs(rest).min(axis=1)


@pytest.mark.parametrize("values", [1, 2, 5])
@pytest.mark.parametrize("targeted", [False, True])
def test_of_two_linear_classes_the_fewest_values_change(even, values, targeted):
    expected, clearance = _fewest()
    assert len(set(expected)) > 3
    attack = JSMA(ALL, most=1.0, values=values)
    result = attack(even, IMAGES, LABELS, targets=1 - LABELS if targeted else None)
    clear = clearance > 1e-5
    np.testing.assert_array_equal(result.minimum[clear], expected[clear])
    assert result.success.all()
    changed = result.adversarial != IMAGES
    np.testing.assert_array_equal(changed.sum(axis=(1, 2, 3)), result.minimum)
    assert np.isin(result.adversarial[changed], [0, 1]).all()


@pytest.mark.parametrize("bounds", [(-1, 1), (0, 255), (-123.68, 151.06)])
def test_the_input_range_does_not_matter(linear, bounds):
    low, span = bounds[0], bounds[1] - bounds[0]
    classifier = linear(SHAPE, np.stack([0 * SLOPE, SLOPE], axis=1) / span, [0, OFFSET - low / span * SLOPE.sum()])
    expected, clearance = _fewest()
    x = (low + span * IMAGES).astype(np.float32)
    result = JSMA(L0(12, bounds), most=1.0)(classifier, x, LABELS)
    clear = clearance > 1e-4
    np.testing.assert_array_equal(result.minimum[clear], expected[clear])


@pytest.mark.parametrize("epsilon", [1, 2, 4])
def test_epsilon_counts_values(even, epsilon):
    expected, clearance = _fewest()
    result = JSMA(L0(epsilon), most=1.0)(even, IMAGES, LABELS)
    clear = clearance > 1e-5
    np.testing.assert_array_equal(result.success[clear], (expected <= epsilon)[clear])
    np.testing.assert_array_equal(result.minimum[clear], expected[clear])
    assert ((result.adversarial != IMAGES).sum(axis=(1, 2, 3)) <= epsilon).all()


def test_the_first_value_is_the_most_salient_of_the_paper_s_map(linear):
    """On softmax outputs the map is dp_t/dx_i * |sum of the dp_j/dx_i, j != t| where the two differ in sign."""
    weights = np.random.default_rng(5).normal(size=(12, 4)).astype(np.float32)
    classifier = linear(SHAPE, weights)
    x = np.zeros((40, *SHAPE), np.float32)
    x[np.arange(40), np.arange(40) % 3, np.arange(40) % 4] = 0.3
    flat = x.reshape(40, 12)
    probabilities = special.softmax(flat @ weights, axis=1)
    # dp_j/dx_i = p_j (w_ij - sum_k p_k w_ik)
    jacobian = probabilities[:, None] * (weights - (probabilities @ weights.T)[:, :, None])
    y = classifier.predict(x)
    targets = (y + 1 + np.arange(40) % 3) % 4
    own = jacobian[np.arange(40), :, targets]
    others = jacobian.sum(axis=2) - own
    saliency = np.where((own > 0) & (others < 0), own * np.abs(others), 0)
    saliency[flat > 0] = 0  # where the room is less, which the paper's map doesn't know
    found = JSMA(L0(1), most=1 / 12)(classifier, x, y, targets=targets).adversarial.reshape(40, 12)
    risen = np.where(flat > 0, 0, found - flat)
    once = risen.sum(axis=1) > 0
    assert once.sum() > 30
    np.testing.assert_array_equal(risen.argmax(axis=1)[once], saliency.argmax(axis=1)[once])


def test_changes_that_turned_out_needless_are_taken_back():
    """The steepest value at first is 0, but 1 and 2 together do more and are enough."""

    def score(x):
        return 0.6 * x[:, 0] + 0.1 * (x[:, 1] + x[:, 2]) + 2 * x[:, 1] * x[:, 2] - 1

    classifier = two_logits(score, (2, 2, 1))
    x = np.zeros((1, 2, 2, 1), np.float32)
    result = JSMA(L0(4), most=1.0)(classifier, x, np.zeros(1, int))
    np.testing.assert_array_equal(result.adversarial.ravel(), [0, 1, 1, 0])
    assert result.minimum == 2
    # Three steps and the look that saw the goal reached; three changes that were tried without.
    assert (result.gradients, result.queries) == (4, 3)


def test_books_and_the_end_of_the_allowance():
    """Each of the values is worth 1, and 2.5 are needed."""
    classifier = two_logits(lambda x: keras.ops.sum(x, axis=1) - 2.5, (2, 3, 1))
    x, y = np.zeros((2, 2, 3, 1), np.float32), np.zeros(2, int)

    def books(**settings):
        result = JSMA(L0(6), **settings)(classifier, x, y)
        assert not result.zero_gradients.any()
        return result.gradients[0], result.queries[0], result.minimum[0], result.distance[0]

    assert books(most=1.0) == (4, 3, 3, 3)
    assert books(most=0.5) == (3, 1 + 3, 3, 3)  # the last step is judged without a gradient
    assert books(most=0.34) == (2, 1, np.inf, 2)
    assert books(most=0.01) == (1, 1, np.inf, 1)
    assert books(most=1.0, values=2) == (3, 4, 3, 3)
    assert books(most=1.0, values=99) == (1, 1 + 6, 3, 3)


def test_long_walks_of_several_strides_end_one_by_one():
    needed = np.array([1, 5, 8, 9, 17, 30])
    classifier = two_logits(lambda x: keras.ops.sum(x, axis=1) - 29.5, (5, 8, 1))
    x = np.zeros((6, 40), np.float32)
    for row, count in enumerate(needed):
        x[row, : 30 - count] = 1
    result = JSMA(L0(40), most=1.0)(classifier, x.reshape(6, 5, 8, 1), np.zeros(6, int))
    np.testing.assert_array_equal(result.minimum, needed)
    np.testing.assert_array_equal(result.gradients, needed + 1)
    np.testing.assert_array_equal(result.queries, np.where(needed > 1, needed, 0))


def test_a_model_without_slope_is_reported_as_blind():
    classifier = two_logits(lambda x: 0 * keras.ops.sum(x, axis=1) - 1)
    x, y = np.full((3, 4, 4, 1), 0.3, np.float32), np.zeros(3, int)
    result = JSMA(L0(16))(classifier, x, y)
    np.testing.assert_array_equal(result.gradients, 1)
    np.testing.assert_array_equal(result.zero_gradients, 1)
    assert not (result.success.any() or result.queries.any())
    np.testing.assert_array_equal(result.adversarial, x)


def test_where_no_change_helps_the_search_ends(linear):
    classifier = linear((2, 2, 1), [[0, -1]] * 4, [0, -1])
    result = JSMA(L0(4), most=1.0)(classifier, np.zeros((1, 2, 2, 1), np.float32), np.zeros(1, int))
    assert (result.gradients, result.queries, result.zero_gradients, result.distance) == (1, 0, 0, 0)
    assert np.isinf(result.minimum)


@pytest.mark.parametrize("lattice", [1 / 255, 0.3, 1.0])
def test_values_go_to_the_last_step_of_the_lattice(even, lattice):
    threat = L0(12, lattice=lattice)
    result = JSMA(threat, most=1.0)(even, IMAGES, LABELS)
    origin = np.asarray(threat.round_to_lattice(IMAGES))
    top = np.floor(1 / lattice + 1e-6) * lattice
    moved = result.adversarial[result.adversarial != origin]
    assert (np.isclose(moved, 0, atol=1e-6) | np.isclose(moved, top, atol=1e-6)).all()
    np.testing.assert_array_equal(result.success, even.predict(result.adversarial) != LABELS)
    assert result.success.mean() > 0.9


def test_a_planted_adversarial_example_is_found():
    """Of 16 values that pull on the model, two are told to count only together, and those two are enough."""
    rng = np.random.default_rng(0)
    slope = np.full(16, 0.01, np.float32)
    slope[[3, 11]] = 0.05

    def score(x):
        return x @ slope + 3 * x[:, 3] * x[:, 11] - 2

    classifier = two_logits(score)
    x = rng.uniform(0, 0.05, (5, 4, 4, 1)).astype(np.float32)
    result = JSMA(L0(2))(classifier, x, np.zeros(5, int))
    assert result.success.all()
    np.testing.assert_array_equal(np.flatnonzero((result.adversarial != x).reshape(5, 16).all(axis=0)), [3, 11])
    assert not JSMA(L0(1))(classifier, x, np.zeros(5, int)).success.any()


def test_digits_with_and_without_targets(digits, digits_classifier):
    x, y = digits.test[0][:40], digits.test[1][:40]
    targets = (y + 1) % 10
    threat = L0(64)
    any_error, one_class = (
        JSMA(threat)(digits_classifier, x, y),
        JSMA(threat, most=0.5)(digits_classifier, x, y, targets=targets),
    )
    np.testing.assert_array_equal(digits_classifier.predict(one_class.adversarial), targets)
    assert any_error.success.all()
    assert one_class.minimum.mean() > 1.3 * any_error.minimum.mean()
    each = MultiTargeted(JSMA(threat))(digits_classifier, x, y)
    assert each.minimum.mean() <= any_error.minimum.mean()
    again = JSMA(threat)(digits_classifier, x, y)
    np.testing.assert_array_equal(again.adversarial, any_error.adversarial)
    # Without any one of the changes that are left, the classifier would be right.
    for image, clean, label in zip(any_error.adversarial, x, y, strict=True):
        for place in np.argwhere(image != clean):
            without = image.copy()
            without[tuple(place)] = clean[tuple(place)]
            assert digits_classifier.predict(without[None]) == label


def test_no_more_values_than_foolbox_s_l0_attack_needs(digits, digits_model, digits_classifier):
    foolbox = pytest.importorskip("foolbox", reason="Foolbox comes with the extra [test]")
    right = digits_classifier.predict(digits.test[0]) == digits.test[1]
    x, y = digits.test[0][right][:60], digits.test[1][right][:60]
    model = foolbox.TensorFlowModel(digits_model, bounds=(0, 1))
    criterion = foolbox.criteria.Misclassification(tf.constant(y, tf.int64))
    images, _, found = foolbox.attacks.L0FMNAttack(steps=50)(model, tf.constant(x), criterion, epsilons=None)
    theirs = (np.abs(images.numpy() - x) > 1e-6).sum(axis=(1, 2, 3))
    assert found.numpy().all()
    ours = JSMA(L0(64))(digits_classifier, x, y).minimum
    assert ours.mean() <= theirs.mean()
    assert np.mean(ours <= theirs) > 0.9


def test_what_can_not_be_done_is_refused_in_one_line():
    with pytest.raises(InputError, match="jsma searches L0 balls, not Linf"):
        JSMA(Linf(0.1))
    for settings in ({"most": 0}, {"most": 1.1}, {"most": np.nan}, {"values": 0}, {"values": 1.5}):
        (name,) = settings
        with pytest.raises(InputError, match=f"^jsma: {name}=.*$"):
            JSMA(L0(3), **settings)
    box = CallableClassifier(lambda images: np.eye(2)[np.zeros(len(images), int)], SHAPE, 2)
    with pytest.raises(InputError, match="gives no gradients"):
        JSMA(L0(3))(box, IMAGES, np.zeros(80, int))


def test_configuration_survives_keras_serialisation():
    attack = JSMA(L0(5, lattice=1 / 255), most=0.3, values=2, early_exit=True)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack)) == attack
