import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tests._helpers.domains import CLASSES, SHAPE, constant, images, model, teachers
from tfharden.distillation.teachers import LabelMap
from tfharden.distillation.teachers.common import gives_probabilities
from tfharden.distillation.teachers.label_map import log_entropy
from tfharden.errors import InputError


def log_softmax(z):
    z = np.asarray(z, np.float64) - np.max(z, axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def entropy(z):
    p = log_softmax(z)
    return -np.sum(np.exp(p) * p, axis=-1)


def by_confidence(logits, sharpness=1.0):
    """(log C_k / H_k)^sharpness, brought to the sum 1, in float64."""
    says = np.stack([(np.log(z.shape[-1]) / entropy(z)) ** sharpness for z in logits], axis=-1)
    return says / says.sum(axis=-1, keepdims=True)


def merged(logits, domain, temperature):
    """P(k | x) softmax(z_k / T), in float64."""
    return np.concatenate(
        [domain[:, k, None] * np.exp(log_softmax(z / temperature)) for k, z in enumerate(logits)], axis=-1
    )


# What is computed.


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("domain_from", ["labels", "stream"])
def test_told_domains(domain_from, temperature):
    given, x, y = teachers(), images(), np.array([0, 4, 2, 1, 3, 0])
    made = LabelMap(given, CLASSES, domain_from, temperature)
    z = made(x, domains=made.domain_of[y])
    expected = merged([t(x).numpy() for t in given.values()], np.eye(2)[[0, 1, 1, 0, 1, 0]], temperature)
    assert z.dtype == tf.float32
    assert np.isfinite(z).all()
    np.testing.assert_allclose(tf.nn.softmax(z / temperature), expected, rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(z / temperature), axis=-1), np.ones(6), rtol=1e-5)
    np.testing.assert_array_equal(made.domain_probabilities(x, made.domain_of[y]), np.eye(2)[made.domain_of[y]])


@pytest.mark.slow
@pytest.mark.parametrize("end", ["logits", "softmax"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_domains_by_confidence(sharpness, temperature, end):
    made, x = LabelMap(teachers(end), CLASSES, "confidence", temperature, sharpness), images(16)
    logits = [t(x).numpy() for t in teachers().values()]
    domain = by_confidence(logits, sharpness)
    assert domain.min() < 0.4  # the two aren't of one opinion
    np.testing.assert_allclose(made.domain_probabilities(x), domain, rtol=1e-3, atol=1e-5)
    expected = merged(logits, domain, temperature)
    for z in (made(x), tf.function(made)(x), made.predict(x, verbose=0)):
        np.testing.assert_allclose(tf.nn.softmax(z / temperature), expected, rtol=2e-3, atol=1e-5)


def test_confidence_by_hand():
    """A coin of 0.9 (0.325 of 0.693 nats) and a guess among three (1.099 of 1.099): 2.132 to 1."""
    made = LabelMap({"pets": constant(np.log(9), 0), "fruit": constant(5, 5, 5)}, CLASSES, "confidence")
    p = np.exp(made(images(1)))[0]
    share = 2.1322 / 3.1322
    np.testing.assert_allclose(p, [0.9 * share, 0.1 * share, *[(1 - share) / 3] * 3], rtol=1e-4)


def test_sharpness_ends_in_a_hard_decision():
    given = {"pets": constant(2, 0), "fruit": constant(0, 4, 0)}
    shares = [
        float(LabelMap(given, CLASSES, "confidence", sharpness=sharpness).domain_probabilities(images(1))[0, 1])
        for sharpness in (1e-6, 1, 2, 5, 1000)
    ]
    assert shares[0] == pytest.approx(0.5, abs=1e-5)
    assert np.all(np.diff(shares) > 0)
    assert shares[-1] == 1
    z = LabelMap(given, CLASSES, "confidence", sharpness=1000)(images(1))
    assert np.isfinite(z).all()
    np.testing.assert_allclose(tf.nn.softmax(z)[0, 2:], tf.nn.softmax([0.0, 4.0, 0.0]), rtol=1e-5)


def test_very_sure_teachers_are_still_told_apart():
    """Entropies of about 60 exp(-60) and 40 exp(-40), which are both 0 as sums over float32 probabilities."""
    surer = {"pets": constant(60, 0), "fruit": constant(0, 40, 0)}
    domain = LabelMap(surer, CLASSES, "confidence").domain_probabilities(images(1)).numpy()
    odds = (61 * np.exp(-60.0) / np.log(2)) / (2 * 41 * np.exp(-40.0) / np.log(3))
    np.testing.assert_allclose(domain, [[1, odds]], rtol=1e-4)


@pytest.mark.parametrize("gap", [0.0, 1e-3, 0.5, 3.0, 12.0, 20.0])
def test_log_entropy(gap):
    for z in ([[gap, 0]], [[0, gap, gap, -1]], [[5, 5 - gap, 0.3]]):
        np.testing.assert_allclose(log_entropy(tf.constant(z, tf.float32)), np.log(entropy(z)), rtol=1e-4, atol=1e-5)


def test_log_entropy_where_probabilities_round_to_one():
    """H = log(1 + r) + r g / (1 + r) for one rival, g behind, with r = exp(-g): its logarithm is -g + log(1 + g)."""
    for gap in (20.0, 90.0, 1e4):
        z = tf.constant([[gap, 0.0]])
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = log_entropy(z)
        np.testing.assert_allclose(value, [-gap + np.log1p(gap)], rtol=1e-5)
        slope = -1 + 1 / (1 + gap)
        np.testing.assert_allclose(tape.gradient(value, z), [[slope, -slope]], rtol=1e-3)


def test_a_shift_of_a_teachers_logits_changes_nothing():
    x, logits = images(1), [np.float32([2, 0]), np.float32([0, 1, 4])]
    plain = LabelMap({"pets": constant(*logits[0]), "fruit": constant(*logits[1])}, CLASSES, "confidence")
    shifted = LabelMap({"pets": constant(*(logits[0] + 50)), "fruit": constant(*logits[1])}, CLASSES, "confidence")
    np.testing.assert_allclose(shifted(x), plain(x), rtol=1e-4)


def test_preprocess_goes_before_its_teacher_only():
    given, x = teachers(), images()
    made = LabelMap(given, CLASSES, "stream", preprocess={"fruit": layers.Rescaling(255.0), "pets": None})
    domains = np.array([0, 1, 0, 1, 0, 1])
    logits = [given["pets"](x).numpy(), given["fruit"](255 * x).numpy()]
    expected = merged(logits, np.eye(2)[domains], 1.0)
    np.testing.assert_allclose(tf.nn.softmax(made(x, domains)), expected, rtol=1e-4, atol=1e-6)


def test_images_reach_the_teachers_whole_under_mixed_precision():
    """1 + 2^-12 is 1 in float16; a teacher in float32 may tell the two apart."""
    teacher = constant(3, 0)
    kernel = np.zeros((64, 2), np.float32)
    kernel[0, 0] = 2.0**12
    teacher.layers[-1].set_weights([kernel, np.float32([-(2.0**12), 0])])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = LabelMap({"only": teacher}, {"only": ["a", "b"]}, "confidence")
        z = made(np.full((1, *SHAPE), 1 + 2.0**-12))
    finally:
        keras.config.set_dtype_policy("float32")
    assert z.dtype == tf.float32
    np.testing.assert_allclose(z, log_softmax([[1.0, 0.0]]), rtol=1e-6)


# Digits 0 to 4 and 5 to 9.


@pytest.fixture(scope="module")
def two_teachers(digits):
    """Small networks that know five digits each, fitted for seconds."""
    made = {}
    for seed, (name, first) in enumerate({"low": 0, "high": 5}.items()):
        keras.utils.set_random_seed(seed)
        made[name] = th.models.cnn(SHAPE, 5, width=8, name=name)
        made[name].compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        x, y = digits.train
        mine = y // 5 == first // 5
        made[name].fit(x[mine], y[mine] - first, epochs=12, batch_size=64, verbose=0)
    return made


DIGITS = {"low": list("01234"), "high": list("56789")}


@pytest.mark.slow
def test_confidence_finds_the_domain_of_digits(two_teachers, digits):
    """Over seeds, 0.89 with a spread of 0.02; chance is 0.5."""
    x, y = digits.test
    made = LabelMap(two_teachers, DIGITS, "confidence")
    domain = made.domain_probabilities(x).numpy()
    assert np.mean(domain.argmax(axis=-1) == y // 5) > 0.8
    assert np.mean(made.predict(x, verbose=0).argmax(axis=-1) == y) > 0.8
    # Better than no opinion, log 2 = 0.69, in nats too.
    assert -np.mean(np.log(domain[np.arange(len(y)), y // 5])) < 0.5


def test_labels_know_the_domain_of_digits(two_teachers, digits):
    x, y = digits.test
    made = LabelMap(two_teachers, DIGITS, "labels")
    assert made.class_names == tuple("0123456789")
    assert np.mean(made(x, domains=made.domain_of[y]).numpy().argmax(axis=-1) == y) > 0.95


# As a teacher.


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("domain_from", ["stream", "confidence"])
def test_divergence_to_a_student_parts_into_domain_and_class(domain_from, temperature):
    """KL(p || q) = KL(P || Q) + sum_k P_k KL(p_k || q_k), finite, with a gradient that is finite and nowhere 0."""
    given, x, domains = teachers(), images(), np.array([0, 1, 0, 1, 1, 0])
    made = LabelMap(given, CLASSES, domain_from, temperature)
    told = {"domains": domains} if domain_from == "stream" else {}
    student = tf.constant(3 * np.random.default_rng(0).standard_normal((6, 5)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = th.SoftTarget(temperature).per_example(made(x, **told), student)
    domain = made.domain_probabilities(x, **told).numpy().astype(np.float64)
    q = np.exp(log_softmax(student.numpy() / temperature))
    parts, total = (slice(0, 2), slice(2, 5)), 0.0
    for k, teacher in enumerate(given.values()):
        p, share = np.exp(log_softmax(teacher(x).numpy() / temperature)), q[:, parts[k]].sum(axis=-1)
        within = np.sum(p * np.log(p / (q[:, parts[k]] / share[:, None])), axis=-1)
        total = total + domain[:, k] * (np.log(np.maximum(domain[:, k], 1e-300) / share) + within)
    np.testing.assert_allclose(loss, temperature**2 * total, rtol=1e-3, atol=1e-5)
    gradient = tape.gradient(loss, student).numpy()
    expected = temperature * (q - merged([t(x).numpy() for t in given.values()], domain, temperature))
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)
    assert np.all(np.abs(gradient).max(axis=-1) > 1e-3)


def test_logits_survive_float16_and_other_temperatures():
    made, x = LabelMap(teachers(), CLASSES, "stream", temperature=4.0), images()
    z = made(x, [0, 1, 0, 1, 0, 1]).numpy()
    student = tf.zeros((6, 5))
    for temperature in (1.0, 4.0, 30.0):
        assert np.isfinite(th.SoftTarget(temperature).per_example(z.astype(np.float16), student)).all()
        assert tf.reduce_max(tf.nn.softmax(z / temperature)[::2, 2:]) == 0


@pytest.mark.slow
def test_a_student_learns_from_unlabelled_streams():
    """Keras' own Distiller, with a confident label map in the place of a teacher."""
    made, x = LabelMap(teachers(), CLASSES, "confidence"), images(64)
    student = th.models.mlp(SHAPE, 5)
    before = th.SoftTarget().compute_loss(made(x), student(x))
    distiller = keras.distillation.Distiller(made, student, th.SoftTarget(), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    distiller.fit(x, np.zeros(64), epochs=10, batch_size=32, verbose=0)
    assert th.SoftTarget().compute_loss(made(x), student(x)) < 0.5 * before


def test_it_is_a_classifier_where_the_teachers_decide():
    classifier = th.KerasClassifier(LabelMap(teachers(), CLASSES, "confidence"))
    assert (classifier.input_shape, classifier.num_classes, classifier.scores) == (SHAPE, 5, "logits")
    assert classifier.predict(images()).shape == (6,)


def test_images_get_a_finite_gradient():
    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = LabelMap(teachers(), CLASSES, "confidence")(x)[:, 0]
    gradient = tape.gradient(z, x).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4


# What it tells, and what becomes of it.


def test_classes_and_labels():
    made = LabelMap(teachers(), dict(reversed(CLASSES.items())), "labels")
    assert made.domains == ("pets", "fruit")
    assert made.class_names == ("cat", "dog", "banana", "apple", "cherry")
    np.testing.assert_array_equal(made.domain_of, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(made.merged_labels("pets", [1, 0]), [1, 0])
    np.testing.assert_array_equal(made.merged_labels("fruit", np.uint8([[0], [2]])), [[2], [4]])
    assert made.merged_labels("fruit", np.zeros(0, int)).shape == (0,)
    for y in ([3], [-1], [0.0], ["banana"]):
        with pytest.raises(InputError, match="'fruit' have to be whole numbers from 0 to 2"):
            made.merged_labels("fruit", y)
    with pytest.raises(InputError, match="'cars' is no domain"):
        made.merged_labels("cars", [0])


@pytest.mark.parametrize("domain_from", ["labels", "confidence"])
def test_saved_and_loaded_in_safe_mode(tmp_path, domain_from):
    """Teachers of one name, one of them with a softmax."""
    given = teachers() | {"pets": model(2, 1, end="softmax")}
    preprocess = {"fruit": layers.Rescaling(2.0)}
    made, x = LabelMap(given, CLASSES, domain_from, 4.0, 2.0, preprocess, name="shop"), images()
    told = {} if domain_from == "confidence" else {"domains": np.array([0, 1, 0, 1, 1, 0])}
    made.save(tmp_path / "shop.keras")
    loaded = th.load_model(tmp_path / "shop.keras")
    assert isinstance(loaded, LabelMap)
    assert (loaded.name, loaded.class_names) == ("shop", made.class_names)
    np.testing.assert_allclose(loaded(x, **told), made(x, **told), rtol=1e-6)


def test_what_teachers_give_is_saved_with_them(tmp_path):
    """Probabilities by positive weights, which a teacher of first weights, as there is while loading, doesn't show."""
    inputs = keras.Input(SHAPE)
    positive = layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(seed=0))
    x = positive(layers.Flatten()(inputs))
    teacher, x = keras.Model(inputs, x / keras.ops.sum(x, axis=-1, keepdims=True)), images()
    assert not gives_probabilities(teacher)
    positive.set_weights([np.random.default_rng(0).random((64, 2)), np.ones(2)])
    made = LabelMap({"only": teacher}, {"only": ["a", "b"]}, "confidence")
    np.testing.assert_allclose(tf.exp(made(x)), teacher(x), rtol=1e-5)
    made.save(tmp_path / "made.keras")
    np.testing.assert_allclose(th.load_model(tmp_path / "made.keras")(x), made(x), rtol=1e-6)


def test_teachers_with_code_in_them_are_refused_in_safe_mode(tmp_path):
    given = teachers() | {"pets": keras.Sequential([model(2), layers.Lambda(lambda z: 2 * z)])}
    LabelMap(given, CLASSES, "labels").save(tmp_path / "unsafe.keras")
    with pytest.raises(InputError, match="Lambda"):
        th.load_model(tmp_path / "unsafe.keras")


def test_teachers_are_unchanged():
    given, x = teachers(), images()
    given["pets"].trainable = False
    given["fruit"].get_layer("conv").trainable = False
    before = [[w.numpy().copy() for w in t.weights] for t in given.values()]
    flags = [[layer.trainable for layer in [t, *t.layers]] for t in given.values()]
    made = LabelMap(given, CLASSES, "confidence")
    made(x)
    made.predict(x, verbose=0)
    made.domain_probabilities(x)
    for teacher, old, flag in zip(given.values(), before, flags, strict=True):
        assert [layer.trainable for layer in [teacher, *teacher.layers]] == flag
        for variable, value in zip(teacher.weights, old, strict=True):
            np.testing.assert_array_equal(variable, value)
    assert list(made.teachers.values()) == list(given.values())
