"""One step of a RobustModel, against NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
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
    recording,
    robust,
)
from tfharden.attacks import FGSM, PGD
from tfharden.errors import InputError

# Natural training is Keras' own.


@pytest.mark.parametrize("options", [{"run_eagerly": False}, {"run_eagerly": True}], ids=["graph", "eager"])
def test_without_an_attack_fit_is_keras_fit(options):
    def network():
        keras.utils.set_random_seed(3)
        return th.models.cnn((8, 8, 1), 3, width=4)

    random = np.random.default_rng(0)
    x, y = random.random((20, 8, 8, 1), np.float32), random.integers(0, 3, 20)
    plain, hardened = network(), network()
    plain.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **options,
    )
    trainer = th.RobustModel(hardened, attack=None)
    trainer.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], **options)
    # The last batch is a smaller one.
    settings = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, "validation_data": (x[:9], y[:9])}
    expected, history = (model.fit(x, y, **settings).history for model in (plain, trainer))
    assert_same_weights(trainer.model.get_weights(), plain.get_weights())
    assert history.keys() == expected.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5)


def test_regularisers_count_once():
    def network():
        return linear(kernel_regularizer=keras.regularizers.L2(0.3), activity_regularizer=keras.regularizers.L2(0.2))

    x, y = examples()
    plain = network()
    plain.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    expected = plain.fit(x, y, epochs=2, batch_size=8, verbose=0).history["loss"]
    # An attack of radius 0 calls the model on the way, and its activities must not count.
    for attack in (None, PGD(th.Linf(0.0), steps=3, step_size=0.1)):
        trainer = robust(network(), attack)
        np.testing.assert_allclose(trainer.fit(x, y, epochs=2, batch_size=8, verbose=0).history["loss"], expected, 1e-5)
        assert_same_weights(trainer.model.get_weights(), plain.get_weights())


# One step, by hand.


def test_madry_step_on_fgsm():
    model, (x, y) = linear(), examples()
    by_hand = Numpy(model)
    attacked = by_hand.fgsm(x, y)
    logs = robust(model, FGSM(THREAT)).train_on_batch(x, y, return_dict=True)
    assert_same_weights(model.get_weights(), by_hand.after_step([(attacked, y, 1.0)]))
    assert logs["loss"] == pytest.approx(by_hand.losses(attacked, y).mean(), rel=1e-5)
    assert logs["robust_accuracy"] == pytest.approx(np.mean(by_hand.predict(attacked) == y))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_goodfellow_step(alpha):
    model, (x, y) = linear(), examples()
    by_hand = Numpy(model)
    attacked = by_hand.fgsm(x, y)
    trainer = robust(model, FGSM(THREAT), th.objectives.Goodfellow(alpha), metrics=["accuracy"])
    logs = trainer.train_on_batch(x, y, return_dict=True)
    loss = alpha * by_hand.losses(x, y).mean() + (1 - alpha) * by_hand.losses(attacked, y).mean()
    assert logs["loss"] == pytest.approx(loss, rel=1e-5)
    assert logs["accuracy"] == pytest.approx(np.mean(by_hand.predict(x) == y))
    assert logs["robust_accuracy"] == pytest.approx(np.mean(by_hand.predict(attacked) == y))
    assert_same_weights(model.get_weights(), by_hand.after_step([(x, y, alpha), (attacked, y, 1 - alpha)]))


@pytest.mark.parametrize(("alpha", "twin"), [(1.0, None), (0.0, FGSM(THREAT))])
def test_ends_of_goodfellow_are_natural_and_madry(alpha, twin):
    x, y = examples()
    mixed, pure = robust(linear(), FGSM(THREAT), th.objectives.Goodfellow(alpha)), robust(linear(), twin)
    for trainer in (mixed, pure):
        trainer.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    assert_same_weights(mixed.model.get_weights(), pure.model.get_weights())


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_goodfellow_alpha_out_of_range(alpha):
    with pytest.raises(InputError, match="alpha") as error:
        th.objectives.Goodfellow(alpha)
    assert one_line(error)


def test_objectives_by_name():
    assert th.objectives.get("goodfellow", alpha=0.25) == th.objectives.Goodfellow(0.25)
    assert th.objectives.get("madry") == th.objectives.Madry()
    with pytest.raises(InputError, match=r"madry.*goodfellow") as error:
        th.objectives.get("madri")
    assert one_line(error)


def test_an_objective_of_ones_own():
    """Its loss alone; and a step of its own."""

    @dataclasses.dataclass(frozen=True)
    class Clean(th.objectives.Objective):
        def __call__(self, forward, x, x_adversarial, y):
            logits = forward(x)
            return th.objectives.Outcome(self.cross_entropy(logits, y), clean_logits=logits)

    class Twice(Clean):
        def train_batch(self, trainer, batch):
            super().train_batch(trainer, batch)
            return super().train_batch(trainer, batch)

    try:
        th.objectives.register("clean")(Clean)
        (x, y), model, twice = examples(), linear(), linear()
        robust(model, FGSM(THREAT), th.objectives.get("clean")).train_on_batch(x, y)
        trainer = robust(twice, FGSM(THREAT), Twice())
        trainer.train_on_batch(x, y)
    finally:
        del th.objectives.KNOWN["clean"]
    assert_same_weights(model.get_weights(), Numpy(linear()).after_step([(x, y, 1.0)]))
    assert int(trainer.optimizer.iterations) == 2
    assert int(trainer.steps) == 1


# The attack within the step.


def test_perturbation_stays_in_ball_and_box_and_uses_them():
    seen, (x, y) = [], examples(40)
    trainer = robust(linear(), PGD(THREAT, steps=5), recording(seen), jit_compile=False)
    trainer.fit(x, y, batch_size=10, epochs=2, verbose=0)
    assert len(seen) == 8
    for clean, attacked in seen:
        assert np.abs(attacked - clean).max() <= EPSILON + 1e-6
        assert attacked.min() >= 0
        assert attacked.max() <= 1
        assert np.abs(attacked - clean).mean() > EPSILON / 2


def starts(seed):
    """Adversarial images of four steps on one image whose gradient is 0, so that only the random starts are left."""
    seen, model = [], linear()
    model.set_weights([np.zeros_like(w) for w in model.get_weights()])
    trainer = robust(model, PGD(THREAT, steps=1), recording(seen), rate=0.0, seed=seed, jit_compile=False)
    trainer.fit(np.full((4, *SHAPE), 0.5, np.float32), np.zeros(4), batch_size=1, epochs=1, verbose=0)
    return np.stack([attacked for _, attacked in seen])


def test_every_step_starts_elsewhere():
    drawn = starts(seed=1)
    for one in range(4):
        for other in range(one):
            assert np.abs(drawn[one] - drawn[other]).max() > EPSILON / 10
    # Uniform on [-epsilon, epsilon]: 64 draws have a mean within 4 sigma of 0 and reach near both ends.
    noise = drawn - 0.5
    assert abs(noise.mean()) < 4 * EPSILON / np.sqrt(3 * noise.size)
    assert noise.max() > 0.8 * EPSILON
    assert noise.min() < -0.8 * EPSILON


def test_starts_follow_the_seed():
    np.testing.assert_array_equal(starts(seed=1), starts(seed=1))
    assert not np.array_equal(starts(seed=1), starts(seed=2))


def test_same_seed_same_weights():
    x, y = examples(24)

    def trained(seed):
        trainer = robust(linear(), PGD(THREAT, steps=2), seed=seed)
        trainer.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
        return trainer.model.get_weights()

    first, again, other = trained(5), trained(5), trained(6)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def with_norm_and_dropout():
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization(momentum=0.9)(inputs)
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, bias_initializer="ones")(x))


@pytest.mark.parametrize("objective", [None, th.objectives.Goodfellow(0.5)], ids=["madry", "goodfellow"])
def test_attack_runs_in_inference_mode(objective):
    """Moving statistics see one forward pass a step, and the attack sees no dropout."""
    model, (x, y) = with_norm_and_dropout(), examples()
    normalised = keras.Model(model.input, model.layers[1].output)(x, training=False).numpy()
    by_hand = Numpy(model.layers[-1])
    # The moving variance is 1, so that the normalisation turns no sign.
    attacked = np.clip(x + EPSILON * np.sign(by_hand.fgsm(normalised, y, 1e-3) - normalised), 0, 1)
    trainer = robust(model, FGSM(THREAT), objective, rate=0.0)
    trainer.train_on_batch(x, y)
    entered = attacked if objective is None else np.concatenate([x, attacked])
    norm = model.layers[1]
    np.testing.assert_allclose(norm.moving_mean, 0.1 * entered.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 + 0.1 * entered.var(axis=(0, 1, 2)), rtol=1e-5)


# Weights of examples.


def test_sample_weight_zero_teaches_nothing():
    model, (x, y) = linear(), examples()
    before = model.get_weights()
    history = robust(model, PGD(THREAT, steps=2)).fit(x, y, sample_weight=np.zeros(8), verbose=0).history
    assert history["loss"] == [0.0]
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("column", [False, True], ids=["row", "column"])
def test_sample_weight_by_hand(column):
    model, (x, y) = linear(), examples()
    weight = np.arange(8.0) / 3
    by_hand = Numpy(model)
    attacked = by_hand.fgsm(x, y)
    given = weight[:, None] if column else weight
    history = robust(model, FGSM(THREAT)).fit(x, y, sample_weight=given, batch_size=8, verbose=0).history
    assert history["loss"][0] == pytest.approx(np.mean(weight * by_hand.losses(attacked, y)), rel=1e-5)
    assert_same_weights(model.get_weights(), by_hand.after_step([(attacked, y, weight)]))


def test_class_weight_by_hand():
    model, (x, y) = linear(), examples()
    by_hand = Numpy(model)
    attacked, weight = by_hand.fgsm(x, y), np.array([0.5, 2.0, 0.0])
    robust(model, FGSM(THREAT)).fit(x, y, class_weight=dict(enumerate(weight)), batch_size=8, verbose=0)
    assert_same_weights(model.get_weights(), by_hand.after_step([(attacked, y, weight[y])]))


# evaluate() and predict().


def test_evaluate_measures_and_changes_nothing():
    model = with_norm_and_dropout()
    model.layers[1].set_weights([np.array([w], np.float32) for w in (1.2, 0.1, 0.4, 0.3)])
    x, y = examples(50, seed=4)
    trainer = robust(model, FGSM(THREAT), settings={"evaluation_attack": FGSM(THREAT)}, metrics=["accuracy"])
    before = [w.copy() for w in trainer.get_weights()]
    logs = trainer.evaluate(x, y, batch_size=16, return_dict=True, verbose=0)
    for one, other in zip(trainer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    scale = 1.2 / np.sqrt(0.3 + 1e-3)
    kernel, bias = model.layers[-1].get_weights()
    twin = linear()
    twin.set_weights([scale * kernel, bias + (0.1 - 0.4 * scale) * kernel.sum(axis=0)])
    by_hand = Numpy(twin)
    attacked = by_hand.fgsm(x, y)
    assert logs["accuracy"] == pytest.approx(np.mean(by_hand.predict(x) == y))
    assert logs["robust_accuracy"] == pytest.approx(np.mean(by_hand.predict(attacked) == y))
    assert logs["loss"] == pytest.approx(by_hand.losses(attacked, y).mean(), rel=1e-4)
    assert logs["robust_accuracy"] < logs["accuracy"]


@pytest.mark.parametrize("softmax", [False, True])
def test_metrics_receive_what_the_model_outputs(softmax):
    model, (x, y) = linear(softmax=softmax), examples(20)
    metric = keras.metrics.SparseCategoricalCrossentropy(from_logits=not softmax, name="clean")
    trainer = robust(model, FGSM(THREAT), th.objectives.Goodfellow(), rate=0.0, metrics=[metric])
    expected = Numpy(model).losses(x, y).mean()
    assert trainer.evaluate(x, y, return_dict=True, verbose=0)["clean"] == pytest.approx(expected, rel=1e-4)
    assert trainer.fit(x, y, verbose=0).history["clean"] == pytest.approx([expected], rel=1e-4)


def test_predict_is_the_models_own():
    model, (x, _) = linear(softmax=True), examples()
    expected = model.predict(x, verbose=0)
    np.testing.assert_array_equal(robust(model, FGSM(THREAT)).predict(x, verbose=0), expected)
