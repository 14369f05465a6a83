import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.robust_examples import (
    SHAPE,
    THREAT,
    Numpy,
    assert_same_weights,
    examples,
    linear,
    robust,
)
from tfharden.attacks import BIM, FGSM, PGD

# All that fit brings.


def test_history_callbacks_and_checkpoint(tmp_path):
    x, y = examples(24)
    trainer = robust(linear(), PGD(THREAT, steps=2), metrics=["accuracy"])
    path = tmp_path / "best.keras"
    best = keras.callbacks.ModelCheckpoint(path, monitor="val_robust_accuracy", mode="max", save_best_only=True)
    stop = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=10, restore_best_weights=True)
    logs = []
    tell = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, values: logs.append(dict(values)))
    history = trainer.fit(
        x, y, epochs=2, batch_size=8, verbose=0, validation_data=(x, y), callbacks=[best, stop, tell]
    ).history
    # Madry's objective never sees the clean images, so there is no clean accuracy to tell in training.
    keys = {"loss", "robust_accuracy", "val_loss", "val_accuracy", "val_robust_accuracy"}
    assert history.keys() == keys
    assert all(values.keys() == keys for values in logs)
    assert all(len(values) == 2 for values in history.values())
    highest = max(history["val_robust_accuracy"])
    loaded = keras.saving.load_model(path)
    assert isinstance(loaded, th.RobustModel)
    # Its random starts differ from those of the fit; 24 images are few, and one more or less may fall.
    assert loaded.evaluate(x, y, return_dict=True, verbose=0)["robust_accuracy"] == pytest.approx(highest, abs=0.1)


def test_metrics_start_anew_every_epoch():
    x, y = examples(24)
    together = robust(linear(), FGSM(THREAT), th.objectives.Goodfellow(0.5), metrics=["accuracy"])
    apart = robust(linear(), FGSM(THREAT), th.objectives.Goodfellow(0.5), metrics=["accuracy"])
    settings = {"batch_size": 8, "shuffle": False, "verbose": 0}
    history = together.fit(x, y, epochs=3, **settings).history
    single = [apart.fit(x, y, epochs=1, **settings).history for _ in range(3)]
    assert len(set(history["loss"])) == 3
    for key, values in history.items():
        np.testing.assert_allclose(values, [epoch[key][0] for epoch in single], rtol=1e-5)


@pytest.mark.slow
def test_steps_per_execution():
    x, y = examples(24)
    models = linear(), linear()
    histories = [
        robust(model, FGSM(THREAT), metrics=["accuracy"], steps_per_execution=steps, run_eagerly=False)
        .fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0, validation_data=(x, y))
        .history
        for model, steps in zip(models, (1, 3), strict=True)
    ]
    assert_same_weights(models[1].get_weights(), models[0].get_weights())
    for key, values in histories[0].items():
        np.testing.assert_allclose(histories[1][key], values, rtol=1e-5)


def test_compiled_by_xla():
    x, y = examples(16)
    models = linear(), linear()
    for model, compiled in zip(models, (False, True), strict=True):
        trainer = robust(model, BIM(THREAT, steps=3), jit_compile=compiled, run_eagerly=False)
        trainer.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    assert_same_weights(models[1].get_weights(), models[0].get_weights())


@pytest.fixture
def mixed_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    yield
    keras.mixed_precision.set_dtype_policy(before)


def test_mixed_precision(mixed_precision):
    x, y = examples()
    model = linear()
    assert model.layers[-1].compute_dtype == "float16"
    by_hand = Numpy(model)
    trainer = robust(model, FGSM(THREAT), metrics=["accuracy"], run_eagerly=False)
    logs = trainer.train_on_batch(x, y, return_dict=True)
    attacked = by_hand.fgsm(x, y)
    assert logs["loss"] == pytest.approx(by_hand.losses(attacked, y).mean(), rel=5e-3)
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer)
    assert_same_weights(model.get_weights(), by_hand.after_step([(attacked, y, 1.0)]), rtol=0, atol=2e-3)
    trainer.fit(x, y, epochs=2, validation_data=(x, y), verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_traces_once():
    calls = []

    @keras.saving.register_keras_serializable("test_traces_once")
    class Counting(layers.Layer):
        def call(self, x):
            calls.append(1)
            return 1.0 * x

    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, linear()(Counting()(inputs)))
    trainer = robust(model, PGD(THREAT, steps=3), metrics=["accuracy"], run_eagerly=False)
    x, y = examples(40)
    trainer.fit(x, y, batch_size=8, epochs=1, validation_data=(x, y), verbose=0)
    traced = len(calls)
    trainer.fit(x, y, batch_size=8, epochs=3, validation_data=(x, y), verbose=0)
    trainer.evaluate(x, y, batch_size=8, verbose=0)
    assert traced > 0
    assert len(calls) == traced


# Saving.


def test_save_and_load_the_trainer(tmp_path):
    x, y = examples(16)
    attack = PGD(th.Linf(0.2, (0, 1), 1 / 255), steps=3, step_size=0.05, loss=th.losses.margin, seed=4)
    trainer = robust(linear(), attack, th.objectives.Goodfellow(0.25), metrics=["accuracy"], seed=9)
    trainer.fit(x, y, epochs=2, verbose=0)
    trainer.save(tmp_path / "trainer.keras")
    loaded = keras.saving.load_model(tmp_path / "trainer.keras")
    assert (loaded.attack, loaded.objective, loaded.seed) == (attack, th.objectives.Goodfellow(0.25), 9)
    assert loaded.name == trainer.name
    for one, other in zip(loaded.get_weights(), trainer.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trainer.predict(x, verbose=0))
    # It was saved compiled, with its optimizer, so that training goes on.
    assert int(loaded.optimizer.iterations) == int(trainer.optimizer.iterations) > 0
    assert loaded.fit(x, y, verbose=0).history.keys() == {"loss", "accuracy", "robust_accuracy"}


def test_saved_model_is_the_plain_one(tmp_path):
    x, y = examples()
    trainer = robust(linear(), FGSM(THREAT))
    trainer.fit(x, y, verbose=0)
    trainer.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is keras.Sequential
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), trainer.predict(x, verbose=0))


def test_config_without_attack():
    trainer = th.RobustModel(linear(), attack=None, name="natural")
    again = th.RobustModel.from_config(trainer.get_config())
    assert (again.attack, again.objective, again.name) == (None, th.objectives.Madry(), "natural")
    assert [w.shape for w in again.model.weights] == [w.shape for w in trainer.model.weights]
