import warnings

import keras
import numpy as np
import pytest

import tfharden as th
from tests._helpers.robust_examples import SHAPE, linear, one_line, recording, robust
from tfharden.attacks import FGSM, PGD
from tfharden.classifiers import KerasClassifier
from tfharden.errors import InputError
from tfharden.hardening.callbacks import catastrophic_overfitting
from tfharden.hardening.callbacks.catastrophic_overfitting import CatastrophicOverfitting

RADIUS = 0.02
THREAT = th.Linf(RADIUS)
SETTINGS = {"batch_size": 16, "shuffle": False, "verbose": 0}


def separable(count=64):
    """Two classes on either side of a hyperplane, so far from the box that no perturbation meets it."""
    random = np.random.default_rng(0)
    x = random.uniform(0.2, 0.8, (count, *SHAPE)).astype(np.float32)
    return x, (x.reshape(count, -1) @ np.where(np.arange(16) % 2, 1, -1) > 0).astype(np.int32)


def network():
    """A linear model, near what the classes are told apart by."""
    model = linear(classes=2)
    kernel = np.where(np.arange(16) % 2, 1.0, -1.0)[:, None] * [-1.0, 1.0]
    model.set_weights([kernel + 0.1 * model.get_weights()[0], np.zeros(2)])
    return model


def exact(model, x, y, radius=RADIUS):
    """Robust accuracy of a linear model of two classes: the worst case moves every value against the label."""
    kernel, bias = (weight.astype(np.float64) for weight in model.get_weights())
    slope, offset = kernel[:, 1] - kernel[:, 0], bias[1] - bias[0]
    margins = (2 * y - 1) * (x.reshape(len(x), -1) @ slope + offset)
    return np.mean(margins > radius * np.abs(slope).sum())


def state(trainer):
    return [*trainer.get_weights(), *(variable.numpy() for variable in trainer.optimizer.variables)]


def assert_bit_identical(given, expected):
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_array_equal(one, other)


class Diary(keras.callbacks.Callback):
    """Notes states; at the ends of the epochs `spoilt` it turns the model round, as if training had."""

    def __init__(self, *spoilt):
        super().__init__()
        self.spoilt, self.begun, self.ended = spoilt, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.begun.append(state(self.model))

    def on_epoch_end(self, epoch, logs=None):
        if epoch in self.spoilt:
            self.model.model.set_weights([-weight for weight in self.model.model.get_weights()])
        self.ended.append(state(self.model))


def adam(**options):
    return keras.optimizers.Adam(0.001, **options)


def make(attack=None, objective=None, optimizer=None, **settings):
    trainer = robust(network(), attack, objective, settings=settings)
    trainer.compile(optimizer or adam(), run_eagerly=True)
    return trainer


def test_logged_accuracy_is_that_of_pgd():
    x, y = separable()
    trainer, exactly, attacked, seen = make(FGSM(THREAT), optimizer=keras.optimizers.SGD(0.5)), [], [], []

    def measure(epoch, logs):
        exactly.append(exact(trainer.model, x, y))
        attacked.append(PGD(THREAT, steps=10)(KerasClassifier(trainer.model), x, y).robust_accuracy)
        seen.append(logs["watched_robust_accuracy"])

    callbacks = [CatastrophicOverfitting(x, y), keras.callbacks.LambdaCallback(on_epoch_end=measure)]
    history = trainer.fit(x, y, epochs=3, callbacks=callbacks, **SETTINGS).history
    np.testing.assert_allclose(history["watched_robust_accuracy"], exactly, rtol=1e-12)
    assert seen == attacked == history["watched_robust_accuracy"]
    assert 0 < exactly[0] < 1


@pytest.mark.slow
def test_healthy_training_is_left_alone():
    x, y = separable()
    watched, plain = make(FGSM(THREAT)), make(FGSM(THREAT))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        history = watched.fit(x, y, epochs=4, callbacks=[CatastrophicOverfitting(x, y)], **SETTINGS).history
    plain.fit(x, y, epochs=4, **SETTINGS)
    assert len(history["loss"]) == 4
    assert_bit_identical(state(watched), state(plain))


def test_stops_with_the_last_good_epoch():
    x, y = separable()
    trainer, diary = make(th.objectives.Fast(THREAT).attack), Diary(2)
    with pytest.warns(UserWarning, match="catastrophic overfitting in epoch 3.* of epoch 2 again, and training stops"):
        history = trainer.fit(x, y, epochs=6, callbacks=[diary, CatastrophicOverfitting(x, y)], **SETTINGS).history
    accuracy = history["watched_robust_accuracy"]
    assert len(accuracy) == 3
    assert accuracy[2] < min(accuracy[:2]) - 0.2
    assert_bit_identical(state(trainer), diary.ended[1])
    assert int(trainer.steps) == int(trainer.optimizer.iterations) == 8


class Boast(keras.callbacks.Callback):
    """Tells an accuracy under the training attack that is none."""

    def on_epoch_end(self, epoch, logs=None):
        logs["robust_accuracy"] = 1.0


@pytest.mark.parametrize("fall_back", [False, True])
def test_overfitting_from_the_first_epoch_on(fall_back):
    """PGD leaves nothing right from the start, so its accuracy can't fall."""
    x, y = separable()
    trainer, diary = make(FGSM(THREAT)), Diary(0)
    watch = CatastrophicOverfitting(x, y, fall_back=fall_back)
    with pytest.warns(UserWarning, match=r"epoch 1: accuracy is 100.0% on what is trained on, .*no good epoch") as told:
        history = trainer.fit(x, y, epochs=2, callbacks=[diary, Boast(), watch], **SETTINGS).history
    assert len(history["loss"]) == (2 if fall_back else 1)
    assert trainer.attack == (PGD(THREAT, steps=10) if fall_back else FGSM(THREAT))
    assert "goes on with PGD" in str(told[0].message) if fall_back else "stops" in str(told[0].message)


@pytest.mark.slow
def test_drop(monkeypatch):
    monkeypatch.setattr(catastrophic_overfitting, "FOOLED_GAP", 2.0)
    x, y = separable()
    for drop, epochs in ((0.99, 3), (0.2, 2)):
        trainer, watch = make(FGSM(THREAT)), CatastrophicOverfitting(x, y, drop=drop)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            history = trainer.fit(x, y, epochs=3, callbacks=[Diary(1), watch], **SETTINGS).history
        assert len(history["loss"]) == epochs


def test_averages_are_those_of_the_good_epoch():
    x, y = separable()
    trainer, diary = make(FGSM(THREAT), optimizer=adam(use_ema=True, ema_momentum=0.5)), Diary(1)
    shorter = make(FGSM(THREAT), optimizer=adam(use_ema=True, ema_momentum=0.5))
    with pytest.warns(UserWarning, match="catastrophic"):
        trainer.fit(x, y, epochs=3, callbacks=[diary, CatastrophicOverfitting(x, y)], **SETTINGS)
    shorter.fit(x, y, epochs=1, **SETTINGS)
    assert_bit_identical(state(trainer), state(shorter))
    assert np.any(trainer.model.get_weights()[0] != diary.ended[0][1])


@pytest.mark.parametrize("eager", [False, True])
def test_falls_back_to_pgd(eager, tmp_path):
    x, y = separable(16)
    objective = th.objectives.Fast(THREAT, label_smoothing=0.1)
    trainer, diary = make(objective=objective), Diary(1)
    trainer.compile(adam(), run_eagerly=eager)
    evaluated_with = trainer.evaluation_attack
    watch = CatastrophicOverfitting(x, y, steps=7, fall_back=True)
    with pytest.warns(UserWarning, match="goes on with PGD of 7 steps"):
        history = trainer.fit(x, y, epochs=4, callbacks=[diary, watch], **SETTINGS).history
    assert len(history["watched_robust_accuracy"]) == 4
    assert_bit_identical(diary.begun[2], diary.ended[0])
    assert (trainer.attack, trainer.objective) == (PGD(THREAT, steps=7), th.objectives.Madry(label_smoothing=0.1))
    assert trainer.evaluation_attack == evaluated_with
    trainer.save(tmp_path / "trainer.keras")
    again = keras.saving.load_model(tmp_path / "trainer.keras")
    for name in ("attack", "objective", "evaluation_attack"):
        assert getattr(again, name) == getattr(trainer, name)
    assert_bit_identical(state(again), state(trainer))


def test_trains_on_pgd_from_the_next_step_on():
    x, y = separable(16)
    seen = []
    objective, short = recording(seen), PGD(THREAT, steps=1, step_size=RADIUS / 8)
    trainer, diary = make(short, objective), Diary(1)
    watch = CatastrophicOverfitting(x, y, fall_back=True, steps=3)
    with pytest.warns(UserWarning, match="goes on"):
        trainer.fit(x, y, epochs=3, callbacks=[diary, watch], **SETTINGS)
    assert trainer.objective is objective
    model = network()
    for epoch, attack in enumerate((short, short, PGD(THREAT, steps=3))):
        steps, *weights = diary.begun[epoch][:3]
        model.set_weights(weights)
        made = attack.perturb(model, x, y, np.array([trainer.seed, steps], np.int32))
        np.testing.assert_allclose(seen[epoch][1], made, atol=1e-6)
    assert len(seen) == 3
    assert np.abs(seen[2][1] - seen[1][1]).max() > RADIUS / 8


@pytest.mark.slow
def test_stops_when_pgd_falls_too():
    x, y = separable()
    trainer, diary = make(objective=th.objectives.NFGSM(THREAT)), Diary(1, 3)
    with pytest.warns(UserWarning) as told:
        history = trainer.fit(
            x, y, epochs=6, callbacks=[diary, CatastrophicOverfitting(x, y, fall_back=True)], **SETTINGS
        ).history
    assert len(history["loss"]) == 4
    assert ["goes on" in str(warning.message) for warning in told] == [True, False]
    assert_bit_identical(state(trainer), diary.ended[2])


def test_growing_radius_is_no_fall():
    x, y = separable()
    radius, epochs, steps = 0.1, 4, 4
    trainer = make(FGSM(th.Linf(radius)), ramp_steps=epochs * steps)
    weights = []
    callbacks = [
        CatastrophicOverfitting(x, y, drop=0.05),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(trainer.model.get_weights())),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accuracy = trainer.fit(x, y, epochs=epochs, callbacks=callbacks, **SETTINGS).history["watched_robust_accuracy"]
    model = network()
    for epoch in range(epochs):
        model.set_weights(weights[epoch])
        reached = radius * min(1, (steps * (epoch + 1) + 1) / (epochs * steps))
        assert accuracy[epoch] == pytest.approx(exact(model, x, y, reached), abs=1 / 64)
    # Accuracy at a larger radius is lower, by more than the drop that is allowed.
    assert accuracy[-1] < accuracy[0] - 0.05


@pytest.mark.slow
def test_fall_under_a_growing_radius():
    x, y = separable()
    trainer, diary = make(FGSM(THREAT), ramp_steps=100), Diary(2)
    with pytest.warns(UserWarning, match="epoch 3"):
        trainer.fit(x, y, epochs=6, callbacks=[diary, CatastrophicOverfitting(x, y)], **SETTINGS)
    assert_bit_identical(state(trainer), diary.ended[1])


@pytest.mark.parametrize(
    ("trainer", "options", "says"),
    [
        (make, {}, "natural training"),
        (lambda: make(objective=th.objectives.Free(THREAT, batch_size=16)), {"fall_back": True}, "Free"),
        (lambda: make(FGSM(THREAT)), {"drop": 1.5}, "drop=1.5"),
        (lambda: make(FGSM(THREAT)), {"steps": 0}, "steps=0"),
        (lambda: make(FGSM(THREAT)), {"x": np.full((64, *SHAPE), 7.0)}, "images span"),
        (lambda: make(FGSM(THREAT)), {"y": np.full(64, 2)}, "labels span"),
    ],
)
def test_refuses(trainer, options, says):
    x, y = separable()
    with pytest.raises(InputError, match=says) as error:
        trainer().fit(x, y, callbacks=[CatastrophicOverfitting(**{"x": x, "y": y} | options)], **SETTINGS)
    assert one_line(error)
