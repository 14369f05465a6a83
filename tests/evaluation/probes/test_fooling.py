import json

import numpy as np
import pytest
from scipy.special import softmax

from tfharden import export
from tfharden.classifiers import CallableClassifier, KerasClassifier, TFLiteClassifier
from tfharden.errors import InputError
from tfharden.evaluation.probes.fooling import fool_by_evolution, fool_by_gradient, probabilities


@pytest.fixture
def recogniser(digits_model):
    return KerasClassifier(digits_model)


@pytest.fixture(scope="module")
def int8(digits, digits_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("fooling") / "digits.tflite"
    export.to_tflite(digits_model, "int8", calibration=digits.train[0][:100]).save(path)
    return TFLiteClassifier(path)


def nearest(images, others):
    """Euclidean distance of each image to the nearest of the others."""
    return np.sqrt(((images[:, None] - others[None]) ** 2).sum(axis=(2, 3, 4))).min(axis=1)


@pytest.mark.parametrize("fool", [fool_by_gradient, fool_by_evolution])
def test_every_digit_is_seen_in_what_is_like_no_digit(recogniser, digits, digits_model, fool):
    found = fool(recogniser)
    np.testing.assert_array_equal(found.targets, np.arange(10))
    assert found.images.shape == (10, 8, 8, 1)
    assert 0 <= found.images.min() < found.images.max() <= 1
    sure = softmax(digits_model.predict(found.images, verbose=0).astype(np.float64), axis=1).diagonal()
    np.testing.assert_allclose(found.confidence, sure, atol=1e-5)
    assert sure.min() >= 0.99
    assert found.success.all()
    # Further from every training image than any test image is.
    assert nearest(found.images, digits.train[0]).min() > nearest(digits.test[0], digits.train[0]).max()


def test_ascent_on_a_linear_model_is_known(linear):
    """The gradient of log softmax_t is (1 - p_t) (w_t - w_k): its signs never change, so the steps add up."""
    weights = np.random.default_rng(0).normal(size=(16, 2)).astype(np.float32)
    found = fool_by_gradient(linear((4, 4, 1), weights), confidence=1 - 1e-9, steps=15, step_size=0.02, seed=5)
    noise = np.random.default_rng(5).uniform(size=(2, 16)).astype(np.float32)
    signs = np.sign(weights - weights[:, ::-1]).T
    # The last of 15 steps is not looked at any more.
    np.testing.assert_allclose(found.images.reshape(2, 16), np.clip(noise + 14 * 0.02 * signs, 0, 1), atol=1e-5)
    assert (found.gradients, found.queries) == (30, 0)
    assert not found.success.any()


def test_classes_that_are_done_cost_no_more(linear):
    """Class 0 is seen in anything; for class 1 no budget does."""
    found = fool_by_gradient(linear((2, 2, 1), np.zeros((4, 2)), [9, 0]), steps=40)
    np.testing.assert_array_equal(found.success, [True, False])
    assert found.gradients == 10 + 40


class Counted:
    """A black box that keeps what it was shown."""

    def __init__(self, recogniser):
        self.recogniser, self.seen = recogniser, []
        self.box = CallableClassifier(self.answer, recogniser.input_shape, recogniser.num_classes)

    def answer(self, images):
        self.seen.append(images)
        return self.recogniser.logits(images)


@pytest.mark.parametrize("queries", [10, 100, 700, 50_000])
def test_evolution_counts_its_queries(recogniser, queries):
    counted = Counted(recogniser)
    found = fool_by_evolution(counted.box, queries=queries)
    *searched, last = counted.seen
    assert sum(map(len, searched)) == found.queries <= queries
    np.testing.assert_array_equal(last, found.images)  # looked at once more, for the record
    assert found.gradients == 0
    assert found.success.all() == (queries == 50_000)
    assert found.queries == queries or found.success.all()
    # No image that was ever seen was surer of a class than its champion.
    scores = softmax(recogniser.logits(np.concatenate(searched)), axis=1).max(axis=0)
    np.testing.assert_allclose(found.confidence, scores, atol=1e-6)


def test_offspring_change_few_values(recogniser):
    counted = Counted(recogniser)
    fool_by_evolution(counted.box, targets=[3], queries=129)
    parent, offspring = counted.seen[:2]
    changed = (offspring != parent).reshape(128, 64)
    assert 0.08 < changed.mean() < 0.12
    assert len(np.unique(changed, axis=0)) > 100


def test_an_integer_file_is_fooled_on_its_own_lattice(int8):
    found = fool_by_evolution(int8)
    assert found.success.all()
    (scale, zero_point) = int8.file.input.scale, int8.file.input.zero_point
    steps = found.images / scale + zero_point
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    np.testing.assert_allclose(softmax(int8.runtime.predict(found.images), axis=1).diagonal(), found.confidence, 1e-5)
    with pytest.raises(InputError, match="gives no gradients"):
        fool_by_gradient(int8)


@pytest.mark.parametrize("fool", [fool_by_gradient, fool_by_evolution])
def test_chosen_classes_other_bounds_and_seeds(linear, fool):
    weights = np.random.default_rng(0).normal(size=(16, 4)) / 50
    settings = {"targets": [3, 1], "bounds": (-100.0, 155.0)}
    found, again, other = (fool(linear((4, 4, 1), weights), **settings, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(found.targets, [3, 1])
    assert found.success.all()
    assert found.images.min() >= -100
    assert found.images.max() > 100
    np.testing.assert_array_equal(found.images, again.images)
    assert (found.images != other.images).any()
    told = json.loads(json.dumps(found.content))
    assert told["classes"] == [3, 1]
    assert told["success_rate"] == 1.0
    assert told["confidence"] == found.confidence.tolist()


def test_probabilities_of_logits_of_logarithms_and_of_nothing():
    logits = np.log(np.array([[0.9, 0.05, 0.01], [np.nan, 0.5, 0.5]]))
    classifier = CallableClassifier(lambda x: logits, (1,), 3)
    np.testing.assert_allclose(
        probabilities(classifier, np.zeros((2, 1))), [np.array([90, 5, 1]) / 96, [0, 0, 0]], rtol=1e-5
    )
    classifier.scores = "log of probabilities"  # below their floor they don't add up to 1, and are right all the same
    np.testing.assert_allclose(probabilities(classifier, np.zeros((2, 1))), [[0.9, 0.05, 0.01], [0, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"targets": [10]}, "10 classes"),
        ({"targets": []}, "no classes"),
        ({"confidence": 1.0}, "probability"),
        ({"bounds": (1.0, 0.0)}, "low < high"),
    ],
)
@pytest.mark.parametrize("fool", [fool_by_gradient, fool_by_evolution])
def test_what_makes_no_sense(recogniser, fool, settings, match):
    with pytest.raises(InputError, match=match):
        fool(recogniser, **settings)


def test_budgets_that_do_not_do(recogniser):
    with pytest.raises(InputError, match="steps"):
        fool_by_gradient(recogniser, steps=0)
    with pytest.raises(InputError, match="9 queries"):
        fool_by_evolution(recogniser, queries=9)
