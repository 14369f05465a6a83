"""State of a training: perturbed weights, kept perturbations, a growing radius, a resumed training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.robust_examples import (
    CLASSES,
    EPSILON,
    SHAPE,
    THREAT,
    Numpy,
    assert_same_weights,
    examples,
    linear,
    one_line,
    recording,
    robust,
)
from tfharden.attacks import APGD, BIM, FGSM, PGD
from tfharden.errors import InputError, TrainingError
from tfharden.hardening.objectives import NFGSM, TRADES, Free, Goodfellow

# Adversarial weight perturbation.


def awp_step(by_hand, x, y, gamma):
    """Kernel and bias after an SGD step whose gradient is taken where the kernel has moved up its own gradient."""
    kernel, bias = by_hand.kernel.copy(), by_hand.bias.copy()
    uphill, _ = by_hand.after_step([(x, y, 1.0)], rate=-1.0)
    gradient = uphill - kernel
    by_hand.kernel = kernel + gamma * np.linalg.norm(kernel) * gradient / np.linalg.norm(gradient)
    moved = by_hand.after_step([(x, y, 1.0)])
    return moved[0] - by_hand.kernel + kernel, moved[1] - by_hand.bias + bias


def test_weight_perturbation_by_hand():
    model, (x, y) = linear(), examples()
    by_hand = Numpy(model)
    expected = awp_step(by_hand, Numpy(model).fgsm(x, y), y, gamma=0.3)
    plain = Numpy(model).after_step([(Numpy(model).fgsm(x, y), y, 1.0)])
    trainer = robust(model, FGSM(THREAT), settings={"weight_perturbation": th.WeightPerturbation(0.3)})
    trainer.train_on_batch(x, y)
    assert_same_weights(model.get_weights(), expected)
    assert np.abs(expected[0] - plain[0]).max() > 1e-2


def test_weight_perturbation_begins_at_its_step():
    x, y = examples()
    models = linear(), linear()
    for model, awp in zip(models, (None, th.WeightPerturbation(0.3, start=3)), strict=True):
        trainer = robust(model, FGSM(THREAT), settings={"weight_perturbation": awp})
        for _ in range(3):
            trainer.train_on_batch(x, y)
    assert_same_weights(models[1].get_weights(), models[0].get_weights())
    trainer.train_on_batch(x, y)
    assert np.abs(models[1].get_weights()[0] - models[0].get_weights()[0]).max() > 1e-2


@pytest.mark.parametrize("options", [{"run_eagerly": False}, {"run_eagerly": True}], ids=["graph", "eager"])
def test_weight_perturbation_gives_the_weights_back_bit_for_bit(options):
    keras.utils.set_random_seed(0)
    model = th.models.resnet((8, 8, 1), CLASSES, width=4)
    before = [weight.numpy().copy() for weight in model.trainable_weights]
    random = np.random.default_rng(0)
    trainer = robust(
        model,
        FGSM(THREAT),
        Goodfellow(),
        rate=0.0,
        settings={"weight_perturbation": th.WeightPerturbation(0.1)},
        **options,
    )
    trainer.train_on_batch(random.random((4, 8, 8, 1), np.float32), random.integers(0, CLASSES, 4))
    for weight, expected in zip(model.trainable_weights, before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_weight_perturbation_keeps_regularisers_in_the_loss():
    x, y = examples()
    settings = {"weight_perturbation": th.WeightPerturbation(1e-6)}
    losses = [
        robust(linear(kernel_regularizer=keras.regularizers.L2(0.3)), FGSM(THREAT), settings=given).train_on_batch(x, y)
        for given in ({}, settings)
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


# Free training.


def free_by_hand(by_hand, batches, replays):
    """Kernel and bias after free training, with the perturbation of each place in the batch."""
    kept = np.zeros((8, *SHAPE))
    for x, y in batches:
        count = len(x)
        ball = np.maximum(x - EPSILON, 0), np.minimum(x + EPSILON, 1)
        moved = np.clip(x + kept[:count], *ball)
        for _ in range(replays):
            up = np.sign((by_hand.residual(moved, y) @ by_hand.kernel.T).reshape(x.shape))
            by_hand.kernel, by_hand.bias = by_hand.after_step([(moved, y, 1.0)])
            moved = np.clip(moved + EPSILON * up, *ball)
        kept[:count] = moved - x
    return by_hand.kernel, by_hand.bias


@pytest.mark.parametrize("replays", [1, 3])
@pytest.mark.parametrize("options", [{"run_eagerly": False}, {"run_eagerly": True}], ids=["graph", "eager"])
def test_free_training_by_hand(replays, options):
    """Two whole batches and a smaller one."""
    model, (x, y) = linear(), examples(21)
    expected = free_by_hand(Numpy(model), [(x[i : i + 8], y[i : i + 8]) for i in (0, 8, 16)], replays)
    trainer = robust(model, None, Free(THREAT, replays=replays, batch_size=8), **options)
    trainer.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_same_weights(model.get_weights(), expected, rtol=1e-4)


def test_free_training_names_its_batch_size():
    x, y = examples(20)
    trainer = robust(linear(), None, Free(THREAT, batch_size=8))
    with pytest.raises(InputError, match=r"10 images is larger than Free\(batch_size=8\)") as error:
        trainer.fit(x, y, batch_size=10, verbose=0)
    assert one_line(error)


# A radius that grows.


@pytest.mark.parametrize("attack", [FGSM(THREAT), BIM(THREAT, steps=2, step_size=EPSILON), APGD(THREAT, steps=3)])
def test_radius_grows_step_by_step(attack):
    seen, (x, y) = [], examples(24)
    x = 0.3 + 0.4 * x  # far from the box
    trainer = robust(linear(), attack, recording(seen), settings={"ramp_steps": 4}, jit_compile=False)
    trainer.fit(x, y, batch_size=4, epochs=1, shuffle=False, verbose=0)
    radii = [np.abs(moved - clean).max() for clean, moved in seen]
    np.testing.assert_allclose(radii, EPSILON * np.minimum(1, np.arange(1, 7) / 4), rtol=1e-4)


@pytest.mark.parametrize("threat", [th.L2(0.5), th.L1(1.0), th.L0(4.0)])
def test_radius_grows_in_every_norm(threat):
    seen, (x, y) = [], examples(8)
    attack = PGD(threat, steps=3) if threat.norm != "L0" else None
    if attack is None:
        small = threat.scaled(tf.constant(0.5)).shrink(tf.constant(x))
        assert (np.asarray(small) != 0).sum(axis=(1, 2, 3)).tolist() == [2] * 8
        return
    trainer = robust(linear(), attack, recording(seen), settings={"ramp_steps": 4}, jit_compile=False)
    trainer.fit(x, y, batch_size=2, shuffle=False, verbose=0)
    radii = [np.max(threat.distance(tf.constant(moved), tf.constant(clean))) for clean, moved in seen]
    for radius, share in zip(radii, (0.25, 0.5, 0.75, 1.0), strict=True):
        assert 0.5 * share * threat.epsilon < radius <= share * threat.epsilon * (1 + 1e-5)


def test_evaluation_is_at_the_whole_radius():
    x, y = examples(50)
    figures = [
        robust(linear(), PGD(THREAT, steps=3), settings=settings).evaluate(x, y, verbose=0)
        for settings in ({}, {"ramp_steps": 1000})
    ]
    assert figures[0] == figures[1]


def test_one_step_trainings_are_evaluated_with_several():
    for trainer in (robust(linear(), FGSM(THREAT)), robust(linear(), None, NFGSM(THREAT))):
        assert trainer.evaluation_attack == PGD(THREAT, steps=10)
    assert robust(linear(), PGD(THREAT, steps=3)).evaluation_attack == PGD(THREAT, steps=3)
    assert robust(linear()).evaluation_attack is None


# A training that is killed and resumed.


class Killed(Exception):
    pass


class KilledAfter(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.last = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.last:
            raise Killed


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(inputs)
    x = layers.Dropout(0.3, seed=5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda: (PGD(THREAT, steps=2), TRADES()),
        lambda: (None, Free(THREAT, replays=2, batch_size=8)),
    ],
    ids=["trades", "free"],
)
def test_resumed_training_equals_uninterrupted(make, tmp_path):
    x, y = examples(20)
    settings = {"ramp_steps": 8, "weight_perturbation": th.WeightPerturbation(0.05, start=4)}

    def trainer():
        attack, objective = make()
        trainer = th.RobustModel(network(), attack, objective, seed=3, **settings)
        optimizer = keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9)
        trainer.compile(optimizer, metrics=["accuracy"], run_eagerly=True)
        return trainer

    fit = {"batch_size": 8, "epochs": 5, "shuffle": False, "verbose": 0}
    whole = trainer()
    expected = whole.fit(x, y, **fit).history
    with pytest.raises(Killed):
        trainer().fit(x, y, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), KilledAfter(3)], **fit)
    resumed = trainer()
    history = resumed.fit(x, y, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")], **fit).history
    for one, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert history == {key: values[3:] for key, values in expected.items()}


# What is watched.


class Spoil(keras.callbacks.Callback):
    """Puts a weight that isn't finite into the model, after one step of one epoch."""

    def __init__(self, epoch, step):
        super().__init__()
        self.place, self.epoch = (epoch, step), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.place:
            kernel, bias = self.model.model.get_weights()
            self.model.model.set_weights([np.full_like(kernel, np.nan), bias])


@pytest.mark.parametrize(("spoilt", "told"), [((1, 0), "epoch 2, step 2"), ((1, 2), "epoch 3, step 1")])
def test_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(spoilt, told):
    x, y = examples(24)
    kept = []
    keep = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: kept.append(trainer.get_weights()))
    trainer = robust(linear(), FGSM(THREAT))
    with pytest.raises(TrainingError, match=told) as error:
        trainer.fit(x, y, batch_size=8, epochs=4, verbose=0, callbacks=[keep, Spoil(*spoilt)])
    assert one_line(error)
    for one, other in zip(trainer.get_weights(), kept[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_learning_rate_that_diverges_is_named():
    x, y = examples(24)
    trainer = robust(linear(kernel_regularizer=keras.regularizers.L2(1.0)), FGSM(THREAT), rate=1e20)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) in epoch 1, step \d+: .*learning rate"):
        trainer.fit(x, y, batch_size=4, epochs=3, verbose=0)
    assert all(np.isfinite(weight).all() for weight in trainer.get_weights())


def test_loss_of_guessing_is_told_once():
    """After the first epoch that ends with a hundred steps taken."""
    model, (x, y) = linear(), examples(30)
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    with pytest.warns(UserWarning, match=r"after epoch 4 the loss is 1\.099, that of guessing \(1\.099\)") as told:
        robust(model, FGSM(THREAT), rate=0.0).fit(x, y, epochs=6, batch_size=1, verbose=0)
    assert sum("guessing" in str(warning.message) for warning in told) == 1
    assert "ramp_steps" in str(told[0].message)


def test_a_model_that_learns_is_not_told(recwarn, digits):
    model = th.models.mlp((8, 8, 1), 10)
    x, y = digits.train
    trainer = robust(model, PGD(th.Linf(0.05), steps=2), rate=0.1, run_eagerly=False)
    trainer.fit(x[:800], y[:800], epochs=5, batch_size=32, verbose=0)
    assert not [warning for warning in recwarn if "guessing" in str(warning.message)]
