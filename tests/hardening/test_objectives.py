"""Each objective's loss and examples, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.robust_examples import (
    CLASSES,
    EPSILON,
    RATE,
    SHAPE,
    THREAT,
    Numpy,
    assert_same_weights,
    examples,
    linear,
    one_line,
    probabilities,
    robust,
)
from tfharden.attacks import FGSM, PGD
from tfharden.errors import InputError
from tfharden.hardening.objectives import MART, NFGSM, TRADES, Batch, Fast, FixedSources, Goodfellow, Madry
from tfharden.threats import L2

SEED = tf.constant([3, 0])  # of the first step of a trainer with seed=3


def logits_of(images):
    """A made-up classifier's answers, computed alike by NumPy and TensorFlow."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    return 3 * np.sin(flat @ np.random.default_rng(5).normal(size=(16, CLASSES)))


def outcome(objective, x, x_adversarial, y):
    """The objective on the made-up classifier."""
    return objective(lambda images: tf.constant(logits_of(np.asarray(images)), tf.float32), x, x_adversarial, y)


def cross_entropy(p, y):
    return -np.log(p[np.arange(len(y)), y])


def divergence(p, q):
    return np.sum(p * np.log(p / q), axis=1)


def batch(count=6):
    x, y = examples(count)
    x_adversarial, _ = examples(count, seed=1)
    return x, x_adversarial, y, probabilities(logits_of(x)), probabilities(logits_of(x_adversarial))


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_trades_loss(beta):
    x, x_adversarial, y, p, q = batch()
    result = outcome(TRADES(beta), x, x_adversarial, y)
    np.testing.assert_allclose(result.loss, cross_entropy(p, y) + beta * divergence(p, q), rtol=1e-4)
    np.testing.assert_allclose(result.clean_logits, logits_of(x), rtol=1e-5)
    np.testing.assert_allclose(result.adversarial_logits, logits_of(x_adversarial), rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 6.0])
def test_mart_loss(beta):
    x, x_adversarial, y, p, q = batch()
    rows = np.arange(len(y))
    others = q.copy()
    others[rows, y] = 0
    boosted = cross_entropy(q, y) - np.log(1.0001 - others.max(axis=1))
    expected = boosted + beta * divergence(p, q) * (1 - p[rows, y])
    np.testing.assert_allclose(outcome(MART(beta), x, x_adversarial, y).loss, expected, rtol=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_keras_own(smoothing):
    x, x_adversarial, y, p, q = batch()
    keras_loss = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing, reduction=None)
    clean, adversarial = (keras_loss(np.eye(CLASSES)[y], chances).numpy() for chances in (p, q))
    losses = {
        Madry(label_smoothing=smoothing): adversarial,
        Goodfellow(0.25, label_smoothing=smoothing): 0.25 * clean + 0.75 * adversarial,
        TRADES(2.0, label_smoothing=smoothing): clean + 2 * divergence(p, q),
    }
    for objective, expected in losses.items():
        np.testing.assert_allclose(outcome(objective, x, x_adversarial, y).loss, expected, rtol=1e-4)


# Where the examples come from.


def attacked(objective, model, x, y, attack=None):
    trainer = robust(model, attack, objective, seed=3)
    return objective.attacked(trainer, Batch(tf.constant(x), tf.constant(y))).numpy()


def divergences(model, x, moved):
    return divergence(*(probabilities(model(images).numpy().astype(np.float64)) for images in (x, moved)))


def test_trades_starts_where_the_divergence_has_a_gradient():
    model, (x, y) = linear(), examples(40)
    x = 0.2 + 0.6 * x
    with tf.GradientTape() as tape:
        images = tf.Variable(x)
        value = th.losses.kl_divergence(tf.stop_gradient(model(images)), model(images))
    # The trap: at the clean image itself there is no direction to climb in.
    assert np.abs(tape.gradient(value, images)).max() < 1e-6
    one_step = attacked(TRADES(), model, x, y, PGD(THREAT, steps=1, step_size=EPSILON))
    np.testing.assert_allclose(np.abs(one_step - x).max(axis=(1, 2, 3)), EPSILON, rtol=1e-3)
    many = attacked(TRADES(), model, x, y, PGD(THREAT, steps=20, step_size=0.02))
    noise = THREAT.random_start(tf.constant(x), SEED).numpy()
    assert divergences(model, x, many).mean() > divergences(model, x, one_step).mean()
    assert divergences(model, x, one_step).mean() > 3 * divergences(model, x, noise).mean()


def test_trades_stays_in_ball_and_box():
    x, y = examples(40)
    for threat in (THREAT, L2(0.3)):
        moved = attacked(TRADES(), linear(), x, y, PGD(threat, steps=5))
        assert threat.violation(tf.constant(moved), tf.constant(x)) <= threat.tolerance


def test_fast_is_one_projected_step_from_a_random_point():
    """The point may lie outside the box; the example lies in ball and box."""
    model, (x, y) = linear(), examples(40)
    start = THREAT.draw(tf.constant(x), SEED).numpy()
    assert start.min() < -EPSILON / 2
    slope = (Numpy(model).residual(start, y) @ Numpy(model).kernel.T).reshape(x.shape)
    expected = np.clip(start + 1.25 * EPSILON * np.sign(slope), np.maximum(x - EPSILON, 0), np.minimum(x + EPSILON, 1))
    np.testing.assert_allclose(attacked(Fast(THREAT), model, x, y), expected, atol=1e-6)


def test_n_fgsm_leaves_the_ball_but_not_the_box():
    model, (x, y) = linear(), examples(40)
    moved = attacked(NFGSM(THREAT), model, x, y)
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert 2.5 * EPSILON < np.abs(moved - x).max() <= 3 * EPSILON + 1e-6


def test_n_fgsm_without_noise_is_fgsm():
    model, (x, y) = linear(), examples(40)
    expected = Numpy(model).fgsm(x, y, 0.5 * EPSILON)
    np.testing.assert_allclose(attacked(NFGSM(THREAT, noise=0.0, stretch=0.5), model, x, y), expected, atol=1e-6)


@pytest.mark.parametrize("objective", [Fast, NFGSM])
def test_radius_zero_is_natural_training(objective):
    model, (x, y) = linear(), examples()
    np.testing.assert_array_equal(attacked(objective(th.Linf(0.0)), model, x, y), x)


# Fixed sources.


def test_one_fixed_source_by_hand():
    model, source, (x, y) = linear(), linear(seed=7), examples()
    before = source.get_weights()
    by_hand, moved = Numpy(model), Numpy(source).fgsm(x, y)
    trainer = robust(model, None, FixedSources(0.3, make=FGSM(THREAT), sources=[source]))
    trainer.train_on_batch(x, y)
    assert_same_weights(model.get_weights(), by_hand.after_step([(x, y, 0.3), (moved, y, 0.7)]))
    for one, other in zip(source.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_source_is_drawn_and_the_model_itself():
    model, sources, (x, y) = linear(), [linear(seed=7), linear(seed=8, softmax=True)], examples()
    objective = FixedSources(make=FGSM(THREAT), sources=sources, itself=True)
    trainer, drawn = robust(model, None, objective), []
    for step in range(60):
        trainer.steps.assign(step)
        drawn.append(objective.attacked(trainer, Batch(tf.constant(x), tf.constant(y))))
    expected = [Numpy(source).fgsm(x, y) for source in (*sources, model)]
    counts = [sum(np.allclose(made, each, atol=1e-6) for made in drawn) for each in expected]
    assert sum(counts) == 60
    assert min(counts) >= 9  # 20 expected, with a standard deviation of 3.7


def test_training_never_differentiates_its_sources():
    """The attack takes the sources' gradient by the images; the update of the weights takes none."""
    backward = []

    @keras.saving.register_keras_serializable("test_training_never_differentiates_its_sources")
    class Watched(layers.Layer):
        def call(self, x):
            @tf.custom_gradient
            def watched(x):
                return tf.identity(x), lambda upstream: (backward.append(1), upstream)[1]

            return watched(x)

    inputs = keras.Input(SHAPE)
    source = keras.Model(inputs, linear(seed=7)(Watched()(inputs)))
    trainer = robust(linear(), None, FixedSources(make=FGSM(THREAT), sources=[source]), run_eagerly=True)
    trainer.train_on_batch(*examples())
    assert len(backward) == 1
    assert {id(v) for v in trainer.trainable_variables} == {id(v) for v in trainer.model.trainable_variables}


def test_fixed_sources_are_saved_with_the_trainer(tmp_path):
    x, y = examples()
    source = linear(seed=7)
    trainer = robust(linear(), None, FixedSources(0.0, make=FGSM(THREAT), sources=[source], itself=True))
    trainer.fit(x, y, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.saving.load_model(tmp_path / "trainer.keras")
    for one, other in zip(loaded.objective.sources[0].get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for each in (trainer, loaded):
        each.fit(x, y, epochs=3, shuffle=False, verbose=0)
    assert_same_weights(loaded.model.get_weights(), trainer.model.get_weights())


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TRADES(-1.0), "beta"),
        (lambda: MART(float("nan")), "beta"),
        (lambda: Goodfellow(1.5), "alpha"),
        (lambda: Madry(label_smoothing=1.5), "label_smoothing"),
        (lambda: Fast(THREAT, stretch=-1.0), "stretch"),
        (lambda: NFGSM(THREAT, noise=float("inf")), "noise"),
        (lambda: th.objectives.Free(THREAT, replays=0), "replays"),
        (lambda: FixedSources(make=FGSM(THREAT), sources=[]), "source"),
        (lambda: FixedSources(2.0, make=FGSM(THREAT), sources=[linear()]), "alpha"),
        (lambda: robust(linear(), None, FixedSources(make=FGSM(THREAT), sources=[linear(classes=4)])), "differ"),
        (lambda: robust(linear(), FGSM(THREAT), Fast(THREAT)), "Fast brings its own attack"),
        (lambda: robust(linear(), FGSM(THREAT), th.objectives.Free(THREAT)), "Free brings its own attack"),
        (lambda: robust(linear(), FGSM(THREAT), settings={"ramp_steps": -1}), "ramp_steps"),
        (lambda: th.WeightPerturbation(0.0), "gamma"),
        (lambda: th.WeightPerturbation(start=-1), "start"),
    ],
)
def test_settings_that_mean_nothing(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert one_line(error)


# All of them as trainers.

ALL = {
    "madry": lambda: (PGD(THREAT, steps=2), Madry(label_smoothing=0.1)),
    "goodfellow": lambda: (PGD(THREAT, steps=2), Goodfellow(0.25)),
    "trades": lambda: (PGD(THREAT, steps=2), TRADES(2.0)),
    "mart": lambda: (PGD(THREAT, steps=2), MART()),
    "fast": lambda: (None, Fast(THREAT)),
    "n-fgsm": lambda: (None, NFGSM(L2(0.3))),
    "free": lambda: (None, th.objectives.Free(THREAT, replays=3, batch_size=8)),
    "fixed-sources": lambda: (None, FixedSources(make=PGD(THREAT, steps=2), sources=[linear(seed=4)])),
}


def test_all_objectives_are_tried():
    assert ALL.keys() == th.objectives.KNOWN.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_trainer_saved_and_loaded_goes_on_alike(name, tmp_path):
    attack, objective = ALL[name]()
    settings = {"weight_perturbation": th.WeightPerturbation(0.02, start=2), "ramp_steps": 5}
    trainer = robust(linear(), attack, objective, settings=settings, metrics=["accuracy"])
    x, y = examples(20)
    trainer.fit(x, y, batch_size=8, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.saving.load_model(tmp_path / "trainer.keras")
    for key in ("attack", "evaluation_attack", "weight_perturbation", "ramp_steps", "seed"):
        assert loaded.get_config()[key] == trainer.get_config()[key], key
    histories = [
        each.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)).history
        for each in (trainer, loaded)
    ]
    assert_same_weights(loaded.get_weights(), trainer.get_weights())
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-5, err_msg=key)


@pytest.mark.parametrize("name", ALL)
def test_batch_normalisation_counts_one_pass_an_update(name):
    """Neither the attack nor the look at perturbed weights moves its statistics."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    norm = layers.BatchNormalization(momentum=0.9, scale=False, center=False)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(norm(inputs))))
    attack, objective = ALL[name]()
    settings = {"weight_perturbation": th.WeightPerturbation(0.02)}
    seen = []
    trainer = robust(model, attack, objective, rate=0.0, settings=settings, run_eagerly=True)
    inner = trainer.forward
    trainer.forward = lambda images: (seen.append(images), inner(images))[1]
    trainer.train_on_batch(*examples())
    assert len(seen) == (6 if name == "free" else 2)  # every other pass is the look at the weights to perturb
    expected = 0.0
    for images in seen[1::2]:
        expected = 0.9 * expected + 0.1 * np.mean(images)
    np.testing.assert_allclose(norm.moving_mean, [expected], rtol=1e-5)


@pytest.mark.slow
def test_rate_of_the_updates_in_a_graph():
    """Free training makes `replays` updates of a batch, every other objective one."""
    for name, make in ALL.items():
        attack, objective = make()
        trainer = robust(linear(), attack, objective, rate=RATE, run_eagerly=False)
        trainer.train_on_batch(*examples())
        assert int(trainer.optimizer.iterations) == (3 if name == "free" else 1), name
        assert int(trainer.steps) == 1, name
