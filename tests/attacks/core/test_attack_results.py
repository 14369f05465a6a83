import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests._helpers.linear_problem import (
    FLAT,
    IMAGES,
    OFFSET,
    SHAPE,
    SLOPE,
    WEIGHTS,
    true_labels,
    two_logits,
)
from tfharden import attacks, losses, threats
from tfharden.attacks import BIM, FGSM, PGD
from tfharden.classifiers import CallableClassifier, KerasClassifier
from tfharden.errors import InputError
from tfharden.threats import L1, L2, Linf


@pytest.fixture
def thresholds():
    """One-pixel images whose model errs where the second value, a threshold that no attack moves, is exceeded."""
    image = keras.Input((1, 2, 1))
    value, threshold = image[:, 0, 0, :], keras.ops.stop_gradient(image[:, 0, 1, :])
    excess = 100 * (value - threshold)
    model = keras.Model(image, keras.ops.concatenate([keras.ops.zeros_like(excess), excess], axis=1))
    pairs = [0.4, 0.625, 0.775, 0.825, 0.95]  # falls at once, at the iterates 3, 6 and 7 of 7, and never
    return KerasClassifier(model), np.array([[[[0.5], [t]]] for t in pairs], np.float32), np.zeros(5, int)


def test_gradients_and_queries_are_counted_by_hand(thresholds):
    classifier, x, y = thresholds
    attack = BIM(Linf(0.4), steps=7, step_size=0.05, loss=losses.margin)
    result = attack(classifier, x, y)
    np.testing.assert_array_equal(result.success, [1, 1, 1, 1, 0])
    # The first is wrong when clean; the second falls among the first five gradients; the others take all seven and
    # the look at the last iterate.
    np.testing.assert_array_equal(result.gradients, [0, 5, 7, 7, 7])
    np.testing.assert_array_equal(result.queries, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(result.zero_gradients, 0)
    # The best of what was seen by then: of 0.5 .. 0.7 for the second, of all for the others.
    np.testing.assert_allclose(result.distance, [0, 0.2, 0.35, 0.35, 0.35], atol=1e-6)
    full = dataclasses.replace(attack, early_exit=False)(classifier, x, y)
    np.testing.assert_array_equal(full.gradients, 7)
    np.testing.assert_array_equal(full.queries, 1)
    np.testing.assert_array_equal(full.success, result.success)


def test_every_restart_is_counted(linear):
    classifier = linear(SHAPE, WEIGHTS, [0, OFFSET])
    far = np.abs(FLAT @ SLOPE + OFFSET) > 1
    attack = PGD(Linf(0.001), steps=6, restarts=3)
    result = attack(classifier, IMAGES[far], true_labels()[far])
    np.testing.assert_array_equal(result.gradients, 18)
    np.testing.assert_array_equal(result.queries, 3)


def test_the_books_agree_with_the_images_that_the_model_saw():
    seen = []

    def spy(batch):
        seen.append(len(batch))
        return batch

    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)))

    class Counting(KerasClassifier):
        def logits_fn(self, images):
            images = tf.numpy_function(spy, [images], tf.float32) + images - tf.stop_gradient(images)
            return super().logits_fn(tf.ensure_shape(images, (None, 2, 2, 1)))

    classifier = Counting(model)
    x = np.random.default_rng(0).uniform(size=(30, 2, 2, 1)).astype(np.float32)
    y = classifier.predict(x)
    seen.clear()
    result = PGD(Linf(0.05), steps=12, restarts=2)(classifier, x, y)
    looks = 2 * len(x)  # the first and the last, which don't count
    assert sum(seen) == result.gradients.sum() + result.queries.sum() + looks


def test_clean_errors_count_as_success_and_are_left_alone(two_classes):
    y = 1 - true_labels()
    y[:40] = true_labels()[:40]
    result = PGD(Linf(0.05), steps=5)(two_classes, IMAGES, y)
    assert result.success[40:].all()
    np.testing.assert_array_equal(result.adversarial[40:], IMAGES[40:])
    assert not result.gradients[40:].any()
    assert result.gradients[:40].all()
    assert result.robust_accuracy == 1 - result.success.mean()
    assert result.robust_accuracy <= 0.5


def test_gradients_that_vanish_are_counted_as_blind(linear):
    constant = linear(SHAPE, np.zeros((12, 2)), [1, 0])
    y = np.zeros(80, int)
    result = PGD(Linf(0.1), steps=6, restarts=2)(constant, IMAGES, y)
    np.testing.assert_array_equal(result.zero_gradients, 12)
    np.testing.assert_array_equal(result.zero_gradients, result.gradients)
    saturated = linear(SHAPE, 1e4 * WEIGHTS, [0, 1e4 * OFFSET])
    far = np.abs(FLAT @ SLOPE + OFFSET) > 0.5
    x, y = IMAGES[far], true_labels()[far]
    stalled = BIM(Linf(0.5), steps=6)(saturated, x, y)
    np.testing.assert_array_equal(stalled.zero_gradients, 6)
    assert stalled.robust_accuracy == 1
    margin = BIM(Linf(0.5), steps=6, loss=losses.margin)(saturated, x, y)
    assert margin.success.any()
    assert not margin.zero_gradients.any()


def test_one_image_without_a_finite_gradient_does_not_disturb_the_others():
    classifier = two_logits(lambda x: keras.ops.sum(keras.ops.sqrt(x), axis=1) - 2.2, (2, 2, 1))
    x = np.full((3, 2, 2, 1), 0.25, np.float32)
    x[1] = 0.0  # sqrt has an infinite slope there
    result = BIM(Linf(0.1), steps=5, early_exit=False)(classifier, x, np.zeros(3, int))
    np.testing.assert_array_equal(result.zero_gradients, [0, 5, 0])
    np.testing.assert_array_equal(result.success, [1, 0, 1])
    assert np.isfinite(result.adversarial).all()


def _refused(attack, classifier, x, y, message):
    with pytest.raises(InputError, match=message) as caught:
        attack(classifier, x, y)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (np.where(x > 0.99, np.nan, x), y), "images hold NaN"),
        (lambda x, y: (x * 255, y), r"images span .* the model takes \[0, 1\]"),
        (lambda x, y: (x[..., 0], y), "images have the shape"),
        (lambda x, y: (x, y + 1), r"labels span \[\d, 2\], the model has 2 classes"),
        (lambda x, y: (x, -y - 1), r"labels span \[-2, -1\]"),
        (lambda x, y: (x, np.eye(2)[y]), "give one class number an image"),
        (lambda x, y: (x[:-1], y), "79 images and 80 labels"),
        (lambda x, y: (x[:0], y[:0]), "empty"),
    ],
)
def test_examples_that_do_not_fit_are_refused(two_classes, change, message):
    for attack in (PGD(Linf(0.1), steps=2), attacks.Square(Linf(0.1), queries=2), FGSM(Linf(0.0))):
        _refused(attack, two_classes, *change(IMAGES, true_labels()), message)


def test_a_classifier_without_gradients_is_refused():
    box = CallableClassifier(lambda images: images.reshape(len(images), -1) @ WEIGHTS, SHAPE, 2, name="box")
    _refused(PGD(Linf(0.1)), box, IMAGES, true_labels(), "box gives no gradients")
    rounding = two_logits(lambda x: keras.ops.sum(keras.ops.round(10 * x), axis=1) - 60, SHAPE)
    _refused(PGD(Linf(0.1)), rounding, IMAGES, rounding.predict(IMAGES), "no gradient to its input: use a score-based")


@pytest.mark.parametrize("kind", [BIM, PGD])
@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": -1}, {"steps": 2.5}, {"steps": True}]
    + [{"step_size": value} for value in (0, -0.1, float("nan"), float("inf"), "0.1")],
)
def test_settings_that_make_no_attack_are_refused(kind, settings):
    (name,) = settings
    with pytest.raises(InputError, match=f"{kind.name}: {name}="):
        kind(Linf(0.1), **settings)
    with pytest.raises(InputError, match="restarts=0"):
        PGD(Linf(0.1), restarts=0)


def test_seeds(two_classes):
    x, y = IMAGES, true_labels()

    def run(seed, restarts=1):
        return PGD(Linf(0.1), steps=1, step_size=1e-6, seed=seed, restarts=restarts, early_exit=False)(
            two_classes, x, y
        ).adversarial

    np.testing.assert_array_equal(run(0), run(0))
    assert np.abs(run(0) - run(1)).max() > 0.01
    # No start of another seed comes again as a restart of this one: results of several seeds have to be independent.
    starts = np.stack([run(0), *[run(0, restarts=n) for n in (2, 3)]])
    assert not (np.abs(run(1) - starts).max(axis=(2, 3, 4)) < 1e-4).any()


@pytest.mark.parametrize("early_exit", [True, False])
def test_restarts_start_elsewhere(early_exit):
    """Gradients lead nowhere, and the model errs on a share of the ball: restarts are chances."""

    @tf.custom_gradient
    def flat(x):
        return x, tf.zeros_like

    class Flat(keras.layers.Layer):
        def call(self, x):
            return flat(x)

    classifier = two_logits(lambda x: Flat()(x)[:, 0] - 0.55, (2, 2, 1))
    x, y = np.full((400, 2, 2, 1), 0.5, np.float32), np.zeros(400, int)
    for restarts in (1, 4):
        attack = PGD(Linf(0.1), steps=2, restarts=restarts, early_exit=early_exit)
        found = attack(classifier, x, y).success.mean()
        assert found == pytest.approx(1 - 0.75**restarts, abs=0.1)  # four standard deviations


@pytest.mark.slow
@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.5), L1(1.0)])
@pytest.mark.parametrize(
    "kind",
    [
        FGSM,
        functools.partial(PGD, steps=3),
        functools.partial(attacks.MIFGSM, steps=3),
        functools.partial(attacks.APGD, steps=10),
        lambda threat: attacks.EoT(PGD(threat, steps=2), samples=2),
    ],
    ids=["fgsm", "pgd", "mi-fgsm", "apgd", "eot"],
)
def test_perturb_inside_a_compiled_train_step(threat, kind):
    attack = kind(threat)

    class Trainer(keras.Model):
        def __init__(self):
            super().__init__()
            self.head = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
            self.seeds = keras.random.SeedGenerator(0)
            self.worst = keras.metrics.Mean(name="worst")
            self.mean = keras.metrics.Mean(name="mean")

        def call(self, x, training=False):
            return self.head(x, training=training)

        def train_step(self, data):
            x, y = data
            made = attack.perturb(lambda images: self(images, training=False), x, y, self.seeds.next())
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(losses.cross_entropy(self(made, training=True), y))
            self.optimizer.apply(tape.gradient(loss, self.trainable_variables), self.trainable_variables)
            excess = tf.reduce_max(threat.distance(made, x)) - threat.epsilon
            self.worst.update_state(excess)
            self.mean.update_state(tf.abs(made - x))
            outside = tf.reduce_any((made < 0.0) | (made > 1.0))
            return {"loss": loss, "excess": self.worst.result(), "moved": self.mean.result(), "outside": outside}

    trainer = Trainer()
    trainer.compile(keras.optimizers.Adam(0.01))
    logs = trainer.fit(IMAGES, true_labels(), batch_size=32, epochs=2, verbose=0).history
    assert max(logs["excess"]) <= 1e-6
    assert min(logs["moved"]) > 0.01
    assert not any(logs["outside"])
    assert logs["loss"][1] < logs["loss"][0] + 1


def test_perturb_in_a_graph_of_any_batch_is_traced_once(two_classes):
    traces = []
    attack = PGD(Linf(0.1), steps=2, step_size=0.01)

    def perturb(x, y, seed):
        traces.append(1)
        return attack.perturb(two_classes.logits_fn, x, y, seed)

    signature = [tf.TensorSpec([None, *SHAPE]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.int32)]
    made = tf.function(perturb, input_signature=signature, autograph=False)
    found = [made(IMAGES[:n], true_labels()[:n], [0, s]).numpy() for n, s in ((8, 0), (8, 0), (8, 1), (80, 1))]
    assert len(traces) == 1
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01
    eager = attack.perturb(two_classes.logits_fn, tf.constant(IMAGES[:8]), tf.constant(true_labels()[:8]), [0, 0])
    np.testing.assert_allclose(eager, found[0], atol=1e-6)


def test_many_batches_equal_one(two_classes, monkeypatch):
    x, y = IMAGES, true_labels()
    whole = BIM(Linf(0.1), steps=7)(two_classes, x, y)
    monkeypatch.setattr("tfharden.attacks.gradient.attack.BATCH_SIZE", 7)
    parts = BIM(Linf(0.1), steps=7)(two_classes, x, y)
    np.testing.assert_allclose(parts.adversarial, whole.adversarial, atol=1e-6)
    np.testing.assert_array_equal(parts.gradients, whole.gradients)


def test_many_chunks_equal_one(two_classes, monkeypatch):
    told, y = [], true_labels()
    whole = BIM(Linf(0.1), steps=7)(two_classes, IMAGES, y)
    monkeypatch.setattr("tfharden.attacks.core.attack.CHUNK", 7)
    parts = BIM(Linf(0.1), steps=7)(two_classes, IMAGES, y, progress=lambda done, total: told.append(done / total))
    np.testing.assert_allclose(parts.adversarial, whole.adversarial, atol=1e-6)
    np.testing.assert_array_equal(parts.gradients, whole.gradients)
    assert told == sorted(told)
    assert told[-1] == 1
    # Parts draw their own random numbers, so no two of them start from the same noise.
    same = np.repeat(IMAGES[:1], 14, axis=0)
    starts = PGD(Linf(0.1), steps=1, step_size=1e-6)(two_classes, same, np.repeat(y[:1], 14)).adversarial
    assert len(np.unique(starts.round(4), axis=0)) == 14


@pytest.mark.slow
def test_an_attack_leaves_weights_and_images_alone(digits, digits_model, digits_classifier):
    x, y = digits.test[0][:50].copy(), digits.test[1][:50].copy()
    before = [weight.copy() for weight in digits_model.get_weights()]
    PGD(Linf(0.1), steps=3)(digits_classifier, x, y)
    assert all(np.array_equal(a, b) for a, b in zip(before, digits_model.get_weights(), strict=True))
    np.testing.assert_array_equal(x, digits.test[0][:50])
    np.testing.assert_array_equal(y, digits.test[1][:50])


def test_the_result_tells_what_was_done(two_classes):
    attack = PGD(Linf(np.float32(0.125), lattice=0.125), steps=4, seed=3, loss=functools.partial(losses.margin))
    told = []
    result = attack(two_classes, IMAGES, true_labels(), progress=lambda done, total: told.append(done / total))
    assert (result.name, result.access) == ("pgd", "white-box")
    assert json.loads(json.dumps(result.parameters)) == {
        "loss": "partial", "seed": 3, "early_exit": True, "steps": 4, "step_size": None, "restarts": 1,
        "norm": "Linf", "epsilon": 0.125, "bounds": [0, 1], "lattice": 0.125,
    }  # fmt: skip
    for name in ("success", "distance", "queries", "gradients", "zero_gradients"):
        assert getattr(result, name).shape == (80,)
    assert (result.adversarial.shape, result.adversarial.dtype) == (IMAGES.shape, np.float32)
    assert result.success.dtype == bool
    assert result.seconds > 0
    assert told == sorted(told)
    assert told[-1] == 1


@pytest.mark.parametrize("attack", [FGSM(Linf(0.1)), BIM(L2(1.0), 3, 0.1), PGD(Linf(0.1), loss=losses.margin, seed=2)])
def test_configuration_survives_keras_serialisation(attack):
    assert keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(attack)) == attack


def test_a_keras_model_or_a_path_is_attacked_as_a_classifier_is(two_classes, tmp_path):
    path = tmp_path / "model.keras"
    two_classes.model.save(path)
    attack, y = FGSM(Linf(0.1)), true_labels()
    expected = attack(two_classes, IMAGES, y)
    for model in (two_classes.model, path, str(path)):
        np.testing.assert_array_equal(attack(model, IMAGES, y).adversarial, expected.adversarial)


@pytest.mark.parametrize("attack", [PGD, attacks.APGD, functools.partial(attacks.FAB, steps=20), attacks.DeepFool])
def test_an_answer_that_is_not_finite_is_an_error(attack):
    """The logits of the other class rise up to a place beyond which they are NaN."""
    classifier = two_logits(lambda x: -0.1 - keras.ops.sqrt(2.2 - keras.ops.sum(x, axis=1)), (2, 2, 1))
    x = np.full((3, 2, 2, 1), 0.5, np.float32)
    result = attack(Linf(0.1))(classifier, x, np.zeros(3, int))
    assert result.success.all()
    assert np.isfinite(result.adversarial).all()
    assert not attack(Linf(0.02))(classifier, x, np.zeros(3, int)).success.any()


def test_results_are_short_and_survive_json(two_classes):
    result = attacks.FAB(Linf(0.05), steps=3)(two_classes, IMAGES, true_labels())
    told = f"AttackResult('fab': robust accuracy {result.robust_accuracy:.1%} of 80, "
    assert repr(result).startswith(told)
    again = attacks.AttackResult.from_json(json.loads(json.dumps(result.to_json())), result.adversarial)
    for name in ("adversarial", "success", "distance", "gradients", "minimum"):
        np.testing.assert_array_equal(getattr(again, name), getattr(result, name))
    assert (again.name, again.kind, again.stages) == ("fab", "minimum-norm", ())


def test_former_names_warn():
    attack = PGD(Linf(0.1))
    with pytest.warns(FutureWarning, match="with_threat"):
        assert attack.within(L2(0.1)).threat == L2(0.1)
    with pytest.warns(FutureWarning, match="resolved_step_size"):
        assert attack.stride == attack.resolved_step_size
    with pytest.warns(FutureWarning, match="MultiTargeted"):
        assert attacks.RunnerUps is attacks.MultiTargeted
    with pytest.warns(FutureWarning, match="round_to_lattice_in_ball"):
        assert attack.threat.land == attack.threat.round_to_lattice_in_ball
    with pytest.warns(FutureWarning, match="fooling"):
        assert callable(attacks.fool_by_gradient)


def test_attacks_by_name():
    assert attacks.get("pgd", Linf(0.1), steps=3) == PGD(Linf(0.1), 3)
    assert attacks.get("pgd-margin", Linf(0.1)).loss is losses.margin
    for name, kind in attacks.KNOWN.items():
        threat = threats.get(kind.norms[0], 1.0)
        assert attacks.get(name, threat).name == name
        assert attacks.fitting(name, threat, {"seed": 1, "steps": 3}).name == name
        if kind.targetable:
            assert attacks.get(f"{name}-t", threat).name == f"{name}-t"
    assert attacks.get("eot-pgd-t", Linf(0.1)).name == "eot-pgd-t"
    with pytest.raises(InputError, match="unknown attack 'magic': known are fgsm, bim, pgd, pgd-margin, "):
        attacks.get("magic", Linf(0.1))


def test_the_default_step_crosses_the_ball_and_comes_back():
    assert BIM(Linf(0.2), steps=10).resolved_step_size == pytest.approx(0.05)
    assert BIM(Linf(0.2), steps=10, step_size=0.01).resolved_step_size == 0.01
    assert FGSM(L2(0.7)).resolved_step_size == 0.7
