import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.teaching import (
    CLASSES,
    SHAPE,
    THREAT,
    assert_identical,
    cnn,
    copies,
    distiller,
    divergence,
    examples,
)
from tfharden.attacks import FGSM, PGD


def with_norm(width=4, seed=0, *, softmax=False, rate=0.3):
    """A model whose moving statistics, dropout and softmax could go wrong."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(width, 3, strides=2, name="conv")(inputs)
    x = layers.ReLU(name="features")(layers.BatchNormalization(momentum=0.8, name="norm")(x))
    x = layers.Dropout(rate)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax" if softmax else None)(x))


def soft_target(teacher, student, temperature=1.0):
    return temperature**2 * divergence(teacher / temperature, student / temperature)


# What is computed.


def test_loss_of_a_step_by_hand():
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    z_teacher, z_student = teacher(x).numpy(), student(x).numpy()
    labels = -np.log(tf.nn.softmax(z_student).numpy()[np.arange(8), y])
    expected = 0.5 * soft_target(z_teacher, z_student, 4.0) + 0.25 * labels
    made = distiller(student, teacher, th.SoftTarget(4.0, weight=0.5), label_weight=0.25)
    weight = np.linspace(0, 2, 8)
    history = made.fit(x, y, sample_weight=weight, batch_size=8, verbose=0).history
    assert history["loss"][0] == pytest.approx(np.mean(weight * expected), rel=1e-4)


def test_teacher_sees_the_clean_image_and_student_the_attacked_one():
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.sparse_categorical_crossentropy(y, student(images), from_logits=True)
    attacked = np.clip(x + 0.1 * np.sign(tape.gradient(loss, images)), 0, 1)
    z_teacher, z_student = teacher(x).numpy(), student(attacked).numpy()
    made = distiller(student, teacher, th.SoftTarget(2.0), FGSM(THREAT))
    logs = made.train_on_batch(x, y, return_dict=True)
    assert logs["loss"] == pytest.approx(soft_target(z_teacher, z_student, 2.0).mean(), rel=1e-4)
    assert logs["loss"] != pytest.approx(soft_target(z_teacher, student(x).numpy(), 2.0).mean(), rel=1e-3)
    assert logs["robust_accuracy"] == pytest.approx(np.mean(z_student.argmax(axis=-1) == y))


def test_features_by_hand():
    """Student's 4 channels and teacher's 6: a projection of its own first weights, and the teacher's energy below."""
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    made = distiller(student, teacher, th.Feature("conv1", "conv1", weight=3.0))
    kernel, bias = made.comparison.adapters[0].get_weights()
    given = keras.Model(student.input, student.get_layer("conv1").output)(x).numpy() @ kernel + bias
    wanted = keras.Model(teacher.input, teacher.get_layer("conv1").output)(x).numpy()
    logs = made.train_on_batch(x, y, return_dict=True)
    assert logs["loss"] == pytest.approx(3 * np.mean((given - wanted) ** 2) / np.mean(wanted**2), rel=1e-4)


@pytest.mark.parametrize(
    ("at_student", "at_teacher"),
    [("conv1", "pool2"), ("pool2", "conv1"), ("pool3", "conv1"), ("flatten", "logits"), ("conv1", "conv3")],
)
def test_features_of_other_sizes(at_student, at_teacher):
    """Maps are averaged to the smaller size, whichever model has it; then channels are projected."""
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    made = distiller(student, teacher, th.Feature(at_student, at_teacher))
    given, wanted = (
        keras.Model(model.input, model.get_layer(name).output)(x).numpy()
        for model, name in ((student, at_student), (teacher, at_teacher))
    )
    if given.ndim == 4:
        side = min(given.shape[1], wanted.shape[1])
        given, wanted = (
            f.reshape(len(x), side, f.shape[1] // side, side, f.shape[2] // side, -1).mean(axis=(2, 4))
            for f in (given, wanted)
        )
    if made.comparison.adapters[0].weights:
        kernel, bias = made.comparison.adapters[0].get_weights()
        given = given @ kernel + bias
    assert given.shape == wanted.shape
    logs = made.train_on_batch(x, y, return_dict=True)
    assert logs["loss"] == pytest.approx(np.mean((given - wanted) ** 2) / np.mean(wanted**2), rel=1e-4)


def test_softmax_models_distil_as_their_logits_twins():
    x, y = examples()

    def trained(softmax, losses):
        student, teacher = with_norm(softmax=softmax, rate=0.0), with_norm(6, 1, softmax=softmax)
        logs = distiller(student, teacher, losses, FGSM(THREAT)).train_on_batch(x, y, return_dict=True)
        return logs["loss"], student.get_weights()

    for losses in ([th.SoftTarget(4.0)], [th.SoftTarget(4.0), th.Feature("features", "features")]):
        keras.utils.set_random_seed(0)
        (loss, weights), (expected, twin) = trained(True, losses), trained(False, losses)
        assert loss == pytest.approx(expected, rel=1e-4)
        for one, other in zip(weights, twin, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_regularisers_of_the_student_count_once():
    inputs = keras.Input(SHAPE)
    dense = layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.3), name="logits")
    student = keras.Model(inputs, dense(layers.Flatten(name="flatten")(inputs)))
    x, y = examples()
    expected = 0.3 * np.sum(dense.get_weights()[0] ** 2)
    for losses in (th.SoftTarget(), th.Feature("logits", "logits")):
        logs = distiller(student, student, losses, rate=0.0).train_on_batch(x, y, return_dict=True)
        assert logs["loss"] == pytest.approx(expected, rel=1e-5)


# Who is changed, and who is not.


@pytest.mark.slow
@pytest.mark.parametrize("attack", [None, PGD(THREAT, steps=2)], ids=["clean", "attacked"])
@pytest.mark.parametrize("trainable", [True, False])
def test_teacher_stays_as_it_was(attack, trainable):
    student, teacher, (x, y) = with_norm(), with_norm(6, seed=1), examples(24)
    teacher.trainable = trainable
    teacher.get_layer("conv").trainable = False
    before, flags = copies(teacher), [layer.trainable for layer in teacher.layers]
    student_before = copies(student)
    losses = [th.SoftTarget(), th.Feature("features", "features")]
    made = distiller(student, teacher, losses, attack)
    made.fit(x, y, batch_size=8, epochs=2, validation_data=(x, y), verbose=0)
    assert_identical(teacher, before)
    assert teacher.trainable is trainable
    assert [layer.trainable for layer in teacher.layers] == flags
    changed = [not np.array_equal(new, old) for new, old in zip(copies(student), student_before, strict=True)]
    assert all(changed)


def test_evaluate_changes_nothing():
    student, teacher, (x, y) = with_norm(), with_norm(6, seed=1), examples(24)
    losses = [th.SoftTarget(), th.Feature("features", "features")]
    made = distiller(student, teacher, losses, PGD(THREAT, steps=2), metrics=["accuracy"])
    made.fit(x, y, batch_size=8, verbose=0)
    parts = [student, teacher, *made.comparison.adapters]
    before = [copies(part) for part in parts]
    logs = made.evaluate(x, y, batch_size=10, return_dict=True, verbose=0)
    for part, old in zip(parts, before, strict=True):
        assert_identical(part, old)
    assert logs["accuracy"] == pytest.approx(np.mean(student.predict(x, verbose=0).argmax(axis=-1) == y))
    assert logs.keys() == {"loss", "accuracy", "robust_accuracy"}


def test_projection_only_where_needed_and_never_in_the_student(tmp_path):
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    names, count = [w.path for w in student.weights], student.count_params()
    made = distiller(student, teacher, [th.Feature("conv1", "conv1"), th.Feature("logits", "logits")])
    wide, none = made.comparison.adapters
    assert [w.shape for w in wide.weights] == [(4, 6), (6,)]
    assert none.weights == []
    trained = {id(v) for v in made.trainable_variables}
    assert trained == {id(v) for v in [*student.trainable_variables, *wide.trainable_variables]}
    before = copies(wide)
    made.fit(x, y, verbose=0)
    assert all(not np.array_equal(new, old) for new, old in zip(copies(wide), before, strict=True))
    assert [w.path for w in student.weights] == names
    made.student.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    assert loaded.count_params() == count
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), student.predict(x, verbose=0))


def test_sample_weight_zero_teaches_nothing():
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    keras_loss = keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence())
    losses = [th.SoftTarget(), th.Feature("conv1", "conv1"), keras_loss]
    made = distiller(student, teacher, losses, PGD(THREAT, steps=2), label_weight=0.5)
    before, old = copies(student), copies(made.comparison.adapters[0])
    history = made.fit(x, y, sample_weight=np.zeros(8), verbose=0).history
    assert history["loss"] == [0.0]
    assert_identical(student, before)
    assert_identical(made.comparison.adapters[0], old)


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("attack", [None, PGD(THREAT, steps=3)], ids=["clean", "attacked"])
def test_student_runs_forward_once_a_step(features, attack):
    """Counted in an eager step: one call in training mode; in inference mode as many as the attack has steps."""
    modes = []

    class Counting(layers.Layer):
        def call(self, x, training=None):
            modes.append(training)
            return 1.0 * x

    inputs = keras.Input(SHAPE)
    x = layers.Dense(CLASSES)(layers.Flatten(name="flat")(Counting()(inputs)))
    student, teacher = keras.Model(inputs, x), cnn(4)
    losses = [th.SoftTarget(), th.Feature("flat", "flatten")] if features else [th.SoftTarget()]
    made = distiller(student, teacher, losses, attack)
    modes.clear()
    made.train_on_batch(*examples())
    assert modes.count(True) == 1
    assert len(modes) == 1 + (0 if attack is None else attack.steps)


# With Keras' own.


def problem(count=256):
    """Images whose class is the brightest of three rows, and a teacher that knows it exactly."""
    random = np.random.default_rng(0)
    x = random.random((count, *SHAPE)).astype(np.float32)
    inputs = keras.Input(SHAPE)
    rows = layers.Lambda(lambda images: 20 * keras.ops.mean(images, axis=(2, 3))[:, :CLASSES])(inputs)
    teacher = keras.Model(inputs, rows)
    return x, x.mean(axis=(2, 3))[:, :CLASSES].argmax(axis=-1), teacher


def linear_student(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input(SHAPE), layers.Flatten(), layers.Dense(CLASSES)])


@pytest.mark.slow
def test_soft_targets_alone_teach_within_keras_distiller():
    x, y, teacher = problem()
    student = linear_student()
    theirs = keras.distillation.Distiller(teacher, student, [th.SoftTarget(4.0)], student_loss_weight=0.0)
    theirs.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs.optimizer.learning_rate = 0.03
    theirs.fit(x, y, epochs=20, batch_size=16, verbose=0)
    assert np.mean(student.predict(x, verbose=0).argmax(axis=-1) == y) > 0.8  # chance is a third


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        th.SoftTarget(),
        keras.distillation.LogitsDistillation(temperature=2.0, loss=keras.losses.KLDivergence()),
    ],
    ids=["ours", "Keras'"],
)
def test_soft_targets_alone_teach(loss):
    x, y, teacher = problem()
    student = linear_student()
    made = th.Distiller(student, teacher, [loss])
    made.compile(keras.optimizers.Adam(0.03))
    # Labels serve the attack and the metrics only: wrong ones must not matter.
    made.fit(x, (y + 1) % CLASSES, epochs=20, batch_size=16, verbose=0)
    assert np.mean(student.predict(x, verbose=0).argmax(axis=-1) == y) > 0.8  # chance is a third


@pytest.mark.slow
def test_our_distiller_and_keras_agree():
    """The same loss, batches and optimizer in both: the same student."""
    students, x, y = [cnn(4), cnn(4)], *examples(16)
    teacher = cnn(4, seed=1, name="teacher")
    settings = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0}

    def losses(scale):
        return [th.SoftTarget(2.0, weight=0.5 * scale), th.Feature("conv1", "conv1", weight=0.1 * scale)]

    theirs = keras.distillation.Distiller(teacher, students[0], losses(1), [1.0, 1.0], student_loss_weight=0.25)
    theirs.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    theirs.fit(x, y, **settings)
    # Theirs weighs all that is distilled by what the labels leave of 1.
    distiller(students[1], teacher, losses(0.75), label_weight=0.25, run_eagerly=False).fit(x, y, **settings)
    assert np.abs(students[0].get_weights()[0] - cnn(4).get_weights()[0]).max() > 1e-3
    for one, other in zip(students[1].get_weights(), students[0].get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_keras_feature_loss_works_here():
    student, teacher, (x, y) = cnn(4), cnn(6, seed=1), examples()
    same = keras.distillation.FeatureDistillation(loss="mse", teacher_layer_name="logits", student_layer_name="logits")
    whole = keras.distillation.FeatureDistillation(loss="mse")
    expected = np.mean((teacher(x).numpy() - student(x).numpy()) ** 2)
    for loss in (same, whole):
        logs = distiller(student, teacher, loss, rate=0.0).train_on_batch(x, y, return_dict=True)
        assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    wide = keras.distillation.FeatureDistillation(loss="mse", teacher_layer_name="conv1", student_layer_name="conv1")
    made = distiller(student, teacher, wide)
    first = made.train_on_batch(x, y, return_dict=True)["loss"]
    for _ in range(20):
        last = made.train_on_batch(x, y, return_dict=True)["loss"]
    assert last < first


# Saving.


@pytest.mark.parametrize("attack", [None, PGD(THREAT, steps=2)], ids=["clean", "attacked"])
def test_save_and_load(tmp_path, attack):
    student, teacher, (x, y) = with_norm(), with_norm(6, seed=1), examples(16)
    losses = [th.SoftTarget(4.0), th.Feature("features", "features", weight=2.0)]
    made = distiller(student, teacher, losses, attack, label_weight=0.25, seed=3, metrics=["accuracy"])
    made.fit(x, y, epochs=2, verbose=0)
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert list(loaded.losses_distilled) == losses
    assert (loaded.attack, loaded.label_weight, loaded.seed, loaded.name) == (attack, 0.25, 3, made.name)
    parts = [(m.student, m.teacher, *m.comparison.adapters) for m in (loaded, made)]
    for one, other in zip(*parts, strict=True):
        assert_identical(one, copies(other))
    assert int(loaded.optimizer.iterations) == int(made.optimizer.iterations) > 0
    assert np.isfinite(loaded.fit(x, y, verbose=0).history["loss"][0])


def test_keras_losses_are_saved_too(tmp_path):
    losses = [keras.distillation.LogitsDistillation(temperature=2.0, loss=keras.losses.KLDivergence())]
    student, (x, y) = cnn(4), examples()
    made = distiller(student, cnn(6, seed=1), losses, rate=0.0)
    expected = made.train_on_batch(x, y, return_dict=True)["loss"]
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert loaded.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-5)
