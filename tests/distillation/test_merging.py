"""Teachers of different domains, and ensembles, inside the Distiller."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tests._helpers.teaching import SHAPE, THREAT, cnn, distiller, divergence, examples, log_softmax, one_line
from tfharden.attacks import PGD
from tfharden.distillation.objectives import RSLAD, AdaAD
from tfharden.errors import InputError

NAMES = {"pets": ["cat", "dog"], "fruit": ["banana", "apple", "pear"]}
ATTACK = PGD(THREAT, steps=2)


def teachers():
    return {
        domain: cnn(4, seed, classes=len(names), name=f"knows_{domain}")
        for seed, (domain, names) in enumerate(NAMES.items(), start=1)
    }


def student():
    return cnn(4, classes=5)


def merged(domain_from):
    return th.LabelMap(teachers(), NAMES, domain_from=domain_from)


def parts(x, domains):
    """The divergence from the teacher of each example's domain, and the student's surprise at the domain, by hand."""
    z = log_softmax(student()(x))
    within, surprise = [], []
    for row, image, domain in zip(z, x, domains, strict=True):
        mine = row[:2] if domain == 0 else row[2:]
        taught = list(teachers().values())[domain](image[None]).numpy()[0]
        within.append(divergence(taught, mine))
        surprise.append(-np.log(np.exp(mine).sum()))
    return np.array(within), np.array(surprise)


DOMAINS = np.array([0, 1, 1, 0, 1, 0, 0, 1])
LABELS = np.array([0, 2, 4, 1, 3, 1, 0, 2])


@pytest.mark.slow
@pytest.mark.parametrize(("domain_from", "y"), [("labels", LABELS), ("stream", DOMAINS)])
def test_domains_from_labels_and_from_the_stream(domain_from, y):
    """KL(p || q) = KL(P || Q) + sum_k P_k KL(p_k || q_k), with P 0 or 1."""
    x, _ = examples()
    made = distiller(student(), merged(domain_from), th.SoftTarget(), metrics=["accuracy"])
    logs = made.train_on_batch(x, y, return_dict=True)
    within, surprise = parts(x, DOMAINS)
    assert logs["loss"] == pytest.approx((within + surprise).mean(), rel=1e-4)
    answers = student()(x).numpy().argmax(axis=-1)
    if domain_from == "stream":  # no labels: the merged teacher's class stands for them
        label_map = merged(domain_from)
        y = label_map(x, domains=DOMAINS).numpy().argmax(axis=-1)
    assert logs["accuracy"] == pytest.approx(np.mean(answers == y))


@pytest.mark.slow
@pytest.mark.parametrize("objective", [RSLAD(), AdaAD(0.5)])
@pytest.mark.parametrize(("domain_from", "y"), [("labels", LABELS), ("stream", DOMAINS), ("confidence", None)])
def test_robust_methods_with_merged_teachers(objective, domain_from, y):
    """Clean and attacked images are shown as one batch, each with its domain."""
    x, _ = examples()
    made = distiller(student(), merged(domain_from), th.SoftTarget(), ATTACK, objective, rate=0.05)
    losses = made.fit(x, y, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0] - 0.02


def test_domains_from_the_teachers_confidence():
    x, _ = examples()
    label_map = merged("confidence")
    logs = distiller(student(), label_map, th.SoftTarget()).train_on_batch(x, return_dict=True)
    expected = divergence(label_map(x).numpy(), student()(x).numpy()).mean()
    assert logs["loss"] == pytest.approx(expected, rel=1e-4)


def test_domains_that_nobody_tells():
    with pytest.raises(InputError, match="undetermined") as error:
        distiller(student(), merged("stream"), th.SoftTarget()).fit(examples()[0], verbose=0)
    assert one_line(error)


def test_a_merged_student_is_saved_alone(tmp_path):
    x, _ = examples()
    made = distiller(student(), merged("labels"), th.SoftTarget())
    made.train_on_batch(x, LABELS)
    made.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    logs, expected = (one.train_on_batch(x, LABELS, return_dict=True) for one in (loaded, made))
    assert logs["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    made.student.save(tmp_path / "student.keras")
    assert th.load_model(tmp_path / "student.keras").count_params() == student().count_params()


def test_an_ensemble_teaches_its_average():
    x, y = examples()
    members = [cnn(4, 1, name="one"), cnn(6, 2, name="two")]
    teacher = th.ensemble(members, weights=[3, 1], temperature=2.0)
    made = distiller(cnn(4), teacher, th.SoftTarget(2.0))
    p, q = (np.exp(log_softmax(member(x).numpy() / 2)) for member in members)
    expected = 4 * divergence(np.log(0.75 * p + 0.25 * q), cnn(4)(x).numpy() / 2)
    assert made.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(expected.mean(), rel=1e-4)


def test_features_of_an_ensembles_member():
    """`one/conv1` is a layer of the member `one`."""
    x, y = examples()
    one = cnn(4, 1, name="one")
    made = distiller(cnn(4), th.ensemble([one, cnn(6, 2, name="two")]), th.Feature("conv1", "one/conv1"))
    given, wanted = (keras.Model(m.input, m.get_layer("conv1").output)(x).numpy() for m in (cnn(4), one))
    expected = np.mean((given - wanted) ** 2) / np.mean(wanted**2)
    assert made.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(expected, rel=1e-4)


def with_backbone(sequential):
    """A student whose features lie in a nested model, with BatchNormalization and Dropout to count the passes."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    x = keras.layers.BatchNormalization(momentum=0.5, name="norm")(image)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="block3")(x)
    backbone = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="backbone")
    if sequential:
        return keras.Sequential([keras.Input(SHAPE), backbone, keras.layers.Dense(3)])
    image = keras.Input(SHAPE)
    return keras.Model(image, keras.layers.Dense(3)(backbone(image)))


@pytest.mark.parametrize("sequential", [True, False])
def test_features_of_a_nested_backbone(sequential):
    (x, y), teacher = examples(), cnn(4, 1)
    pupil = with_backbone(sequential)
    made = distiller(pupil, teacher, [th.SoftTarget(), th.Feature("backbone/block3", "pool2")], rate=0.05)
    inner = pupil.get_layer("backbone")
    losses = made.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
    # One pass a step: 12 halvings of the distance to the batch's mean, as plain training makes them.
    mean = inner.get_layer("norm").moving_mean
    np.testing.assert_allclose(mean, [x.mean() * (1 - 0.5**12)], rtol=1e-3)


def two_headed(width, seed):
    keras.utils.set_random_seed(seed)
    image = keras.Input(SHAPE)
    x = keras.layers.Flatten()(keras.layers.Conv2D(width, 3, strides=2, activation="relu")(image))
    digit = keras.layers.Dense(3, name="digit")(x)
    parity = keras.layers.Dense(2, activation="softmax", name="parity")(x)
    return keras.Model(image, [digit, parity])


def test_models_with_several_outputs():
    """The first output is the classifier; the other, a softmax, is taught as a head of its own, from its logits."""
    (x, y), pupil, teacher = examples(), two_headed(4, 0), two_headed(6, 1)
    heads = [th.SoftTarget(), th.SoftTarget(2.0, 0.5, "parity", "parity")]
    (s, s_parity), (t, t_parity) = ([output.numpy() for output in model(x)] for model in (pupil, teacher))
    expected = divergence(t, s) + 0.5 * 4 * divergence(np.log(t_parity) / 2, np.log(s_parity) / 2)
    made = distiller(pupil, teacher, heads, PGD(th.Linf(0.0), steps=1))
    before = [weight.numpy() for weight in pupil.weights]
    assert made.train_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert all(not np.array_equal(new, old) for new, old in zip(pupil.weights, before, strict=True))
    assert made.student is pupil


@pytest.mark.slow
def test_a_student_in_half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        pupil = cnn(4)
    finally:
        keras.config.set_dtype_policy("float32")
    x, y = examples()
    losses = [th.SoftTarget(4.0), th.Feature("conv3", "conv3")]
    made = distiller(pupil, cnn(6, seed=1), losses, ATTACK, RSLAD(), rate=0.01)
    history = made.fit(x, y, epochs=12, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert history[-1] < 0.9 * history[0]
    assert tf.as_dtype(pupil.compute_dtype) == tf.float16
