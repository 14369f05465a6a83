"""HopSkipJump against closed forms, gradient attacks and Foolbox, and its books against a classifier that counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.linear_problem import FLAT, IMAGES, OFFSET, SHAPE, SLOPE, WIDE, true_labels
from tfharden.attacks import FAB, MultiTargeted
from tfharden.attacks.decision.hop_skip_jump import HopSkipJump
from tfharden.classifiers import CallableClassifier, Classifier, TFLiteClassifier
from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf

GAP = np.abs(FLAT @ SLOPE + OFFSET)
COUNT = 30


class _Decisions(Classifier):
    """Gives nothing but classes, and keeps what it was asked."""

    name = "decisions"

    def __init__(self, inner):
        self.inner, self.input_shape, self.num_classes = inner, inner.input_shape, inner.num_classes
        self.asked = []

    def restrict_threat(self, threat):
        return self.inner.restrict_threat(threat)

    def logits(self, images):
        raise AssertionError("only decisions may be asked for")

    def predict(self, images):
        self.asked.append(np.array(images))
        return self.inner.predict(images)


@pytest.fixture
def examples(digits, digits_classifier):
    """A classifier, and images on which it is right."""
    x, y = digits.test[0][:60], digits.test[1][:60]
    right = np.flatnonzero(digits_classifier.predict(x) == y)[:COUNT]
    return digits_classifier, x[right], y[right]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("threat", "dual"),
    [(L2(70.0, WIDE), np.linalg.norm(SLOPE)), (Linf(20.0, WIDE), np.abs(SLOPE).sum())],
    ids=["l2", "linf"],
)
def test_on_a_linear_model_the_distance_approaches_that_of_the_hyperplane(two_classes, threat, dual):
    coarse, fine = (HopSkipJump(threat, queries=n)(two_classes, IMAGES, true_labels()) for n in (300, 3000))
    assert fine.success.all()
    optimum = GAP / dual
    ratio = fine.minimum / optimum
    assert np.median(ratio) < 1.02
    assert ratio.max() < 1.1
    assert (fine.minimum > optimum - 1e-5).all()  # float32 in [-10, 10]
    assert np.median(coarse.minimum / optimum) > np.median(ratio)
    np.testing.assert_allclose(fine.distance, fine.minimum, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("threat", [L2(8.0), Linf(1.0)], ids=["l2", "linf"])
def test_it_comes_as_near_as_an_attack_with_gradients(examples, threat):
    reference = MultiTargeted(FAB(threat, steps=40))(*examples).minimum
    ratio = HopSkipJump(threat)(*examples).minimum / reference
    assert np.median(ratio) < 1.04
    assert np.quantile(ratio, 0.8) < 1.2  # the others ended in another valley
    assert ratio.min() > 0.95


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "start"), [("l2", "other images"), ("linf", "own")])
def test_it_comes_nearer_than_foolbox(digits_model, examples, norm, start):
    foolbox = pytest.importorskip("foolbox", reason="Foolbox comes with the extra [test]")
    classifier, x, y = examples
    counter = _Decisions(classifier)
    threat = L2(8.0) if norm == "l2" else Linf(1.0)
    # Six rounds of Foolbox are 1150 queries and more. In L2 it divides the normals of a batch by their common length,
    # and so comes less near than it does image by image.
    ours = HopSkipJump(threat, queries=1000)(counter, x, y)
    model = foolbox.TensorFlowModel(digits_model, bounds=(0, 1))
    attack = foolbox.attacks.HopSkipJumpAttack(steps=6, constraint=norm)
    points = None
    if start == "other images":
        apart = np.linalg.norm((x[:, None] - x[None]).reshape(len(x), len(x), -1), axis=2)
        points = tf.constant(x[np.where(y[:, None] == y, np.inf, apart).argmin(1)])
    criterion = foolbox.criteria.Misclassification(tf.constant(y, tf.int64))
    theirs = attack.run(model, tf.constant(x), criterion, starting_points=points).numpy()
    assert (classifier.predict(theirs) != y).all()
    assert np.median(ours.minimum / np.asarray(threat.distance(theirs, x))) < 0.99


@pytest.mark.parametrize("threat", [L2(8.0), Linf(1.0, lattice=1 / 255)], ids=["l2", "linf-lattice"])
@pytest.mark.parametrize("queries", [154, 400, 777])
def test_the_budget_is_kept_and_counted_by_decisions_alone(examples, threat, queries):
    classifier, x, y = examples
    counter = _Decisions(classifier)
    result = HopSkipJump(threat, queries=queries)(counter, x, y)
    assert result.queries.max() <= queries
    assert result.queries.min() > 0.9 * queries  # and what may be spent is spent
    first, *asked, last = counter.asked
    assert len(first) == len(last) == COUNT
    assert sum(map(len, asked)) == result.queries.sum()
    assert not result.gradients.any()
    np.testing.assert_array_equal(result.success, classifier.predict(result.adversarial) != y)
    for images in asked:
        assert images.min() >= 0
        assert images.max() <= 1
        np.testing.assert_allclose(images, np.asarray(threat.round_to_lattice(images)), atol=1e-6)


@pytest.mark.parametrize("early_exit", [False, True])
def test_each_example_is_charged_for_its_own_queries(examples, early_exit):
    classifier, x, y = examples
    for i in range(4):
        counter = _Decisions(classifier)
        result = HopSkipJump(Linf(0.12), queries=500, early_exit=early_exit)(counter, x[i : i + 1], y[i : i + 1])
        assert sum(map(len, counter.asked[1:-1])) == result.queries[0] <= 500
    wrong = np.where(np.arange(COUNT) < 10, (y + 1) % 10, y)
    result = HopSkipJump(Linf(0.12), queries=200)(classifier, x, wrong)
    assert not result.queries[:10].any()
    assert not result.minimum[:10].any()
    assert (result.queries[10:] > 150).all()


@pytest.mark.parametrize("threat", [L2(8.0, lattice=1 / 255), Linf(1.0, lattice=1 / 15)], ids=["l2", "linf"])
def test_on_a_lattice_the_images_lie_on_it(examples, threat):
    classifier, x, y = examples
    result = HopSkipJump(threat, queries=1000)(classifier, x, y)
    steps = result.adversarial / threat.lattice
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert result.success.all()
    assert (classifier.predict(result.adversarial) != y).all()
    np.testing.assert_allclose(result.distance, result.minimum, atol=1e-5)
    free = FAB(type(threat)(threat.epsilon), steps=30)(classifier, x, y).minimum
    # Rounding costs about half a step in Linf, and more where steps of 1/15 turn the slope.
    assert np.median(result.minimum / free) < (1.1 if threat.norm == "L2" else 1.6)


def test_targets(examples):
    classifier, x, y = examples
    targets = (y + 1) % 10
    result = HopSkipJump(L2(8.0), queries=1500)(classifier, x, y, targets=targets)
    np.testing.assert_array_equal(classifier.predict(result.adversarial)[result.success], targets[result.success])
    # A class that no image in the batch has is left to random images, which may not find it.
    present = np.isin(targets, y)
    assert present.sum() > COUNT / 2
    assert result.success[present].all()
    np.testing.assert_array_equal(result.success, np.isfinite(result.minimum))
    reference = FAB(L2(8.0), steps=60)(classifier, x, y, targets=targets).minimum
    assert np.median((result.minimum / reference)[result.success]) < 1.15


def test_early_exit_stops_asking(examples):
    threat = L2(0.8)
    full, early = (HopSkipJump(threat, queries=800, early_exit=on)(*examples) for on in (False, True))
    near = full.minimum <= 0.7
    assert near.mean() > 0.3
    assert early.success[near].all()
    assert early.queries[near].mean() < 0.5 * full.queries[near].mean()
    assert (early.queries[early.minimum > threat.epsilon + threat.tolerance] > 700).all()
    assert (early.minimum >= full.minimum - 0.05).all()


def test_only_within_epsilon_is_success(examples):
    threat = L2(0.5)
    result = HopSkipJump(threat, queries=800)(*examples)
    inside = result.minimum <= threat.epsilon + threat.tolerance
    assert 0.1 < inside.mean() < 0.9
    assert (result.success >= inside).all()
    assert threat.violation(result.adversarial, examples[1]) <= threat.tolerance


def test_a_constant_classifier_is_not_reached():
    constant = _Decisions(CallableClassifier(lambda images: np.tile([1.0, 0.0], (len(images), 1)), (4, 4, 1), 2))
    x = np.full((5, 4, 4, 1), 0.5, np.float32)
    result = HopSkipJump(Linf(1.0), queries=400)(constant, x, np.zeros(5, int))
    assert np.isinf(result.minimum).all()
    assert not result.success.any()
    np.testing.assert_array_equal(result.adversarial, x)
    assert (result.queries < 150).all()  # a walk without a start is none


def test_scores_that_are_not_finite_are_errors_to_be_found():
    def function(images):
        value = images.reshape(len(images), -1).mean(1)
        return np.stack([np.where(value > 0.52, np.nan, 1.0), np.zeros_like(value)], axis=1)

    x = np.full((2, 4, 4, 1), 0.5, np.float32)
    result = HopSkipJump(Linf(1.0), queries=800)(CallableClassifier(function, (4, 4, 1), 2), x, np.zeros(2, int))
    assert result.success.all()
    np.testing.assert_allclose(result.minimum, 0.02, rtol=0.05)


def test_one_image_alone_starts_from_noise(examples):
    classifier, x, y = examples
    found = [HopSkipJump(L2(8.0), queries=1000)(classifier, x[i : i + 1], y[i : i + 1]).minimum[0] for i in range(8)]
    reference = FAB(L2(8.0), steps=60)(classifier, x[:8], y[:8]).minimum
    assert np.median(found / reference) < 1.3


def test_an_integer_file_is_attacked_on_its_lattice(tmp_path, digits, digits_model, digits_classifier):
    converter = tf.lite.TFLiteConverter.from_keras_model(digits_model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in digits.train[0][:100])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = tmp_path / "digits.tflite"
    path.write_bytes(converter.convert())
    file = TFLiteClassifier(path)
    x, y = digits.test[0][:20], digits.test[1][:20]
    result = HopSkipJump(L2(8.0), queries=600)(file, x, y)
    assert result.success.all()
    steps = result.adversarial / file.restrict_threat(L2(8.0)).lattice
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    reference = FAB(L2(8.0), steps=30)(digits_classifier, x, y).minimum
    right = reference > 0
    assert np.median(result.minimum[right] / reference[right]) < 1.25


def test_the_same_seed_gives_the_same_images_and_progress_rises(examples):
    told = []
    first = HopSkipJump(L2(1.0), queries=400, seed=1)(*examples, progress=lambda done, total: told.append(done / total))
    same, other = (HopSkipJump(L2(1.0), queries=400, seed=seed)(*examples) for seed in (1, 2))
    np.testing.assert_array_equal(first.adversarial, same.adversarial)
    assert not np.array_equal(first.adversarial, other.adversarial)
    assert told == sorted(told)
    assert told[-1] == 1
    assert len(told) > 2


def test_what_it_can_not_do_is_refused():
    with pytest.raises(InputError, match="hop-skip-jump searches L2 and Linf balls, not L1"):
        HopSkipJump(L1(1.0))
    with pytest.raises(InputError, match=r"queries=153 are too few .* give 154 or more"):
        HopSkipJump(L2(1.0), queries=153)
    assert HopSkipJump(L2(1.0), queries=74, initial_samples=20).queries == 74
    with pytest.raises(InputError, match="most_samples=50"):
        HopSkipJump(L2(1.0), most_samples=50)
    for queries in (0, 1.5, True):
        with pytest.raises(InputError, match="queries="):
            HopSkipJump(L2(1.0), queries=queries)


def test_an_attack_with_gradients_still_refuses_a_black_box():
    box = CallableClassifier(lambda images: images.reshape(len(images), -1)[:, :2], SHAPE, 2)
    with pytest.raises(InputError, match="gives no gradients"):
        FAB(L2(1.0))(box, IMAGES, true_labels())


def test_configuration_survives_keras_serialisation():
    attack = HopSkipJump(Linf(0.1, lattice=1 / 255), queries=700, seed=3, early_exit=True)
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack)) == attack
