"""ARD, RSLAD, IAD and AdaAD against the formulas of their papers, in NumPy."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.teaching import (
    CLASSES,
    THREAT,
    assert_identical,
    cnn,
    copies,
    distiller,
    divergence,
    examples,
    log_softmax,
    one_line,
)
from tfharden.attacks import PGD
from tfharden.distillation.objectives import ARD, IAD, RSLAD, AdaAD
from tfharden.errors import InputError

ATTACK = PGD(THREAT, steps=3)
OBJECTIVES = {"ard": ARD(), "rslad": RSLAD(), "iad": IAD(), "adaad": AdaAD(0.75)}


def made(objective, losses=None, attack=ATTACK, **options):
    losses = th.SoftTarget(2.0) if losses is None else losses
    return distiller(cnn(4), cnn(6, seed=1), losses, attack, objective, **options)


def training_examples(trainer, x, y):
    """What the step will be taught on: its random start follows from seed and step."""
    batch = trainer.unpack((tf.constant(x), tf.constant(y)))
    return trainer.objective.attacked(trainer, batch).numpy()


def soft(teacher, student, temperature=2.0):
    return temperature**2 * divergence(teacher / temperature, student / temperature)


def expected_loss(name, s, t, s_adv, t_adv, y):
    """From the logits of student and teacher on clean and attacked images."""
    if name == "ard":
        return soft(t, s_adv)
    if name == "rslad":
        return 5 / 6 * soft(t, s_adv) + 1 / 6 * soft(t, s)
    if name == "iad":
        trusted = np.exp(log_softmax(t_adv))[np.arange(len(y)), y] ** 0.1
        return trusted * soft(t, s_adv) + (1 - trusted) * soft(s, s_adv)
    return 0.75 * soft(t_adv, s_adv) + 0.25 * soft(t, s)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("smoothing", [0.0, 0.9])
def test_loss_of_a_step_by_hand(name, smoothing):
    objective = dataclasses.replace(OBJECTIVES[name], label_smoothing=smoothing)
    trainer, (x, y) = made(objective, label_weight=0.5), examples()
    x_adversarial = training_examples(trainer, x, y)
    assert np.abs(x_adversarial - x).max() <= THREAT.epsilon + 1e-6
    assert np.abs(x_adversarial - x).max() > 0.5 * THREAT.epsilon
    s, t, s_adv, t_adv = (
        model(images).numpy() for images in (x, x_adversarial) for model in (trainer.student, trainer.teacher)
    )
    labels = -(log_softmax(s_adv) * ((1 - smoothing) * np.eye(CLASSES)[y] + smoothing / CLASSES)).sum(axis=-1)
    expected = expected_loss(name, s, t, s_adv, t_adv, y) + 0.5 * labels
    logs = trainer.train_on_batch(x, y, return_dict=True)
    assert logs["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert logs["robust_accuracy"] == pytest.approx(np.mean(s_adv.argmax(axis=-1) == y))


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_teacher_stays_as_it_was_and_the_student_learns_in_a_graph(name):
    trainer, (x, y) = made(OBJECTIVES[name], rate=0.05, run_eagerly=False), examples(16)
    teacher, student = copies(trainer.teacher), copies(trainer.student)
    losses = trainer.fit(x, y, batch_size=16, epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert_identical(trainer.teacher, teacher)
    assert all(not np.array_equal(new, old) for new, old in zip(copies(trainer.student), student, strict=True))


@pytest.mark.parametrize("name", ["rslad", "adaad"])
def test_the_attack_parts_student_and_teacher(name):
    """Up KL(T || S), T at the clean image in RSLAD and at the attacked one in AdaAD; labels play no part."""
    trainer, (x, y) = made(OBJECTIVES[name]), examples(16)
    x_adversarial = training_examples(trainer, x, y)
    np.testing.assert_array_equal(x_adversarial, training_examples(trainer, x, (y + 1) % 3))
    noise = np.clip(x + THREAT.epsilon * np.sign(np.random.default_rng(0).standard_normal(x.shape)), 0, 1)

    def apart(images):
        teacher = trainer.teacher(x if name == "rslad" else images).numpy()
        return divergence(teacher, trainer.student(images).numpy())

    # Student and teacher may be at their farthest in one image that noise finds, but not on average.
    assert apart(x_adversarial).mean() > 1.1 * max(apart(x).mean(), apart(noise).mean())


def test_adaad_differentiates_the_teacher_too():
    """One step: the sign of the whole derivative of KL(T(x) || S(x)), which differs from that with a fixed teacher."""
    trainer, (x, y) = made(AdaAD(), attack=PGD(THREAT, steps=1, step_size=0.05)), examples()
    moved = training_examples(trainer, x, y) - x

    def direction(fixed):
        images = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(images)
            teacher = trainer.teacher(images)
            teacher = tf.stop_gradient(teacher) if fixed else teacher
            p, q = tf.nn.log_softmax(teacher), tf.nn.log_softmax(trainer.student(images))
            loss = tf.reduce_sum(tf.exp(p) * (p - q), axis=-1)
        return np.sign(tape.gradient(loss, images).numpy())

    inside = (x > 0.1) & (x < 0.9)
    agrees = [np.mean((np.sign(moved) == direction(fixed))[inside]) for fixed in (False, True)]
    assert agrees[0] > 0.98  # the start is 0.001 off
    assert agrees[1] < 0.9


def test_iad_trusts_whom_it_is_told():
    """With trust 0 it is ARD; where the teacher is always wrong and trust is large, only the student is left."""
    (x, y), first = examples(), {}
    for name, objective in {"ard": ARD(), "trust 0": IAD(trust=0.0)}.items():
        first[name] = made(objective).train_on_batch(x, y, return_dict=True)["loss"]
    assert first["trust 0"] == pytest.approx(first["ard"], rel=1e-5)
    trainer = made(IAD(trust=1000.0))
    x_adversarial = training_examples(trainer, x, y)
    clean, attacked = (trainer.student(images).numpy() for images in (x, x_adversarial))
    loss = trainer.train_on_batch(x, y, return_dict=True)["loss"]
    assert loss == pytest.approx(soft(clean, attacked).mean(), rel=1e-3)


def test_iad_takes_the_students_clean_answer_as_it_is():
    """With no trust in the teacher the gradient is that of a fixed target."""
    trainer, (x, y) = made(IAD(trust=1000.0), rate=1.0), examples()
    x_adversarial, before = training_examples(trainer, x, y), trainer.student.get_weights()
    target = trainer.student(x) / 2.0
    with tf.GradientTape() as tape:
        p, q = tf.nn.log_softmax(target), tf.nn.log_softmax(trainer.student(x_adversarial) / 2.0)
        loss = 4 * tf.reduce_mean(tf.reduce_sum(tf.exp(p) * (p - q), axis=-1))
    gradients = tape.gradient(loss, [variable.value for variable in trainer.student.trainable_variables])
    trainer.train_on_batch(x, y)
    for new, old, gradient in zip(trainer.student.get_weights(), before, gradients, strict=True):
        np.testing.assert_allclose(old - new, gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_features_join_every_method():
    losses = [th.SoftTarget(2.0), th.Feature("conv3", "conv3", weight=2.0)]
    for name, objective in OBJECTIVES.items():
        plain, joined = (
            made(objective, kinds).train_on_batch(*examples(), return_dict=True)["loss"]
            for kinds in (losses[:1], losses)
        )
        assert joined > plain + 0.1, name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_save_and_load(name, tmp_path):
    trainer, (x, y) = made(OBJECTIVES[name], seed=3, ramp_steps=5), examples()
    trainer.fit(x, y, batch_size=4, verbose=0)
    trainer.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    assert (loaded.objective, loaded.attack, loaded.ramp_steps) == (OBJECTIVES[name], ATTACK, 5)
    logs, expected = (one.train_on_batch(x, y, return_dict=True) for one in (loaded, trainer))
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.parametrize("name", ["rslad", "iad", "adaad"])
def test_methods_that_need_an_attack(name):
    with pytest.raises(InputError, match="give the Distiller an attack") as error:
        th.Distiller(cnn(), cnn(), th.SoftTarget(), objective=OBJECTIVES[name])
    assert one_line(error)


def test_labels_that_are_smoothed_and_left_out():
    with pytest.raises(InputError, match=r"label_smoothing=0.9 smooths the labels, which") as error:
        made(ARD(label_smoothing=0.9))
    assert one_line(error)
    config = made(ARD()).get_config()  # of an earlier version, which ignored it
    config["objective"]["config"]["label_smoothing"] = 0.9
    config["label_weight"] = 0.0
    with pytest.warns(UserWarning, match="no effect"):
        assert th.Distiller.from_config(config).objective == ARD()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_the_teacher_is_asked(name):
    """Once about the clean images, even where the attack needs the answers too."""
    trainer, asked = made(OBJECTIVES[name]), []
    ask = trainer._teacher_outputs
    trainer._teacher_outputs = lambda images, training: (asked.append(len(images)), ask(images, training))[1]
    trainer.train_on_batch(*examples())
    # AdaAD climbs through the teacher: ATTACK's three steps and their evaluation at the end.
    assert asked == {"ard": [8], "rslad": [8], "iad": [16], "adaad": [8] * (len(asked) - 1) + [16]}[name]
    assert name != "adaad" or len(asked) in (4, 5)


def test_objectives_without_a_teacher():
    with pytest.raises(InputError, match="TRADES doesn't distil: give ARD") as error:
        th.Distiller(cnn(), cnn(), th.SoftTarget(), ATTACK, th.objectives.TRADES())
    assert one_line(error)


@pytest.mark.parametrize(
    "make", [lambda: RSLAD(1.5), lambda: AdaAD(-0.1), lambda: IAD(-1.0), lambda: RSLAD(float("nan"))]
)
def test_settings_out_of_range(make):
    with pytest.raises(InputError, match=r"robust_share=|trust=") as error:
        make()
    assert one_line(error)
