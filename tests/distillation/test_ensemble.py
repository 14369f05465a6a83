import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import tfharden as th
from tfharden.distillation.teachers import ensemble
from tfharden.errors import InputError

SHAPE, CLASSES = (8, 8, 1), 3
NAN = float("nan")


def cnn(name, seed=0, *, shape=SHAPE, classes=CLASSES):
    keras.utils.set_random_seed(seed)
    return th.models.cnn(shape, classes, width=4, name=name)


def with_norm(name, seed=0, *, end="logits"):
    """Moving statistics and dropout, and one of several ends behind the same weights."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(layers.Conv2D(4, 3, strides=2, activation="relu")(inputs))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    x = layers.Dense(CLASSES, activation="softmax" if end == "softmax" else None, kernel_initializer="normal")(x)
    if end == "probabilities":  # without a softmax that would keep its logits
        x = layers.Softmax()(x)
        x = layers.Multiply()([x, layers.Rescaling(0.0, offset=1.0)(x)])
    return keras.Model(inputs, x, name=name)


def of_logits(name, logits):
    """A model with the same logits for every image."""
    inputs = keras.Input(SHAPE)
    model = keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(inputs)), name=name)
    model.layers[-1].set_weights([np.zeros((64, CLASSES), np.float32), np.float32(logits)])
    return model


def images(count=6, seed=0):
    return np.random.default_rng(seed).random((count, *SHAPE), np.float32)


def log_softmax(z):
    z = z.astype(np.float64) - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def average(logits, weights, temperature):
    """sum_k w_k softmax(z_k / T) / sum_k w_k, in float64."""
    weights = np.float64(weights) / np.sum(weights)
    return sum(w * np.exp(log_softmax(z / temperature)) for w, z in zip(weights, logits, strict=True))


# What is computed.


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weights", [None, [1, 2, 5], [0.0, 0.3, 0.1]])
def test_probabilities_are_the_average(temperature, weights):
    members, x = [cnn("a"), cnn("b", 1), with_norm("c", 2)], images()
    logits = [4 * member(x).numpy() for member in members]
    for member in members:
        member.layers[-1].set_weights([4 * w for w in member.layers[-1].get_weights()])
    made = ensemble(members, weights, temperature)
    z = made(x)
    expected = average(logits, weights or [1, 1, 1], temperature)
    assert z.dtype == tf.float32
    np.testing.assert_allclose(tf.nn.softmax(z / temperature), expected, rtol=1e-5)
    np.testing.assert_allclose(z, temperature * np.log(expected), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(made.predict(x, verbose=0), z, rtol=1e-5, atol=1e-6)


def test_probabilities_not_logits_are_averaged():
    """Averaged logits would follow the loud member, (10 - 2 - 2) / 3 > 0, where two of three are of another mind."""
    members = [of_logits("loud", [10, 0, -20]), of_logits("second", [-2, 0, -20]), of_logits("third", [-2, 0, -20])]
    z = ensemble(members)(images(1)).numpy()
    p = 1 / (1 + np.exp(-10.0)), 1 / (1 + np.exp(2.0))
    np.testing.assert_allclose(np.exp(z[0, 0]), (p[0] + 2 * p[1]) / 3, rtol=1e-5)
    assert z[0, 0] < z[0, 1]


def test_one_member_has_its_own_probabilities():
    member, x = cnn("only"), images()
    np.testing.assert_allclose(ensemble([member])(x), log_softmax(member(x).numpy()), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("end", ["softmax", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_members_of_probabilities_equal_their_twins_of_logits(end, temperature):
    x, other = images(), cnn("other")
    twin, member = with_norm("twin", 3), with_norm("member", 3, end=end)
    np.testing.assert_allclose(tf.nn.softmax(twin(x)), member(x), rtol=1e-5)
    expected = ensemble([twin, other], [1, 2], temperature)(x)
    np.testing.assert_allclose(ensemble([member, other], [1, 2], temperature)(x), expected, rtol=1e-5, atol=1e-6)


def test_softmax_of_a_very_sure_member_is_seen_through():
    """exp(-200) is 0 in float32: only the logits behind the softmax know it, in a graph as well."""
    x, logits = np.zeros((1, *SHAPE), np.float32), of_logits("logits", [200, 0, -100])
    softmax = keras.Sequential([keras.Input(SHAPE), logits, layers.Softmax()], name="softmax")
    assert softmax(x).numpy()[0, 1] == 0
    made = ensemble([softmax])
    for z in (made(x), tf.function(made)(x), made.predict(x, verbose=0)):
        np.testing.assert_allclose(z, [[0, -200, -300]], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_very_sure_members_stay_exact(temperature):
    """One is sure of class 0, the other of class 1, by 40; neither thinks much of class 2, by 80 and 60."""
    logits = np.float32([[40, 0, -40]]), np.float32([[0, 40, -20]])
    made = ensemble([of_logits("a", logits[0][0]), of_logits("b", logits[1][0])], [3, 1], temperature)
    z = made(images(1)).numpy()
    assert np.isfinite(z).all()
    np.testing.assert_allclose(z, temperature * np.log(average(logits, [3, 1], temperature)), rtol=1e-6)
    # The loss against a student that is sure of class 2 is of the size of logits, and its gradient whole.
    student = tf.constant([[0.0, 0.0, 40.0]])
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = th.SoftTarget(temperature).compute_loss(z, student)
    expected = temperature * (tf.nn.softmax(student / temperature) - average(logits, [3, 1], temperature))
    np.testing.assert_allclose(tape.gradient(loss, student), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weights", [None, [0, 1]])
def test_images_get_a_finite_gradient(weights):
    x = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = ensemble([cnn("a"), cnn("b", 1)], weights)(x)[:, 0]
    gradient = tape.gradient(z, x).numpy()
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-4


def test_mixed_precision_members_are_averaged_in_float32():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        members = [cnn("a"), with_norm("b", 1, end="softmax")]
        made, x = ensemble(members), images()
        assert members[0](x).dtype == tf.float16
        z = made(x)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = [members[0](x).numpy(), np.asarray(members[1](x)._keras_logits)]
    assert z.dtype == tf.float32
    np.testing.assert_allclose(z, np.log(average(logits, [1, 1], 1.0)), rtol=1e-5, atol=1e-5)


def test_preprocess_goes_before_its_member_only():
    members, x = [cnn("a"), cnn("b", 1), cnn("small", 2, shape=(4, 4, 1))], images()
    twice = layers.Rescaling(2.0, offset=-1.0)
    halve = keras.Sequential([keras.Input(SHAPE), layers.AveragePooling2D(2)], name="halve")
    logits = [members[0](2 * x - 1), members[1](x), members[2](x.reshape(-1, 4, 2, 4, 2, 1).mean(axis=(2, 4)))]
    made = ensemble(members, preprocess=[twice, None, halve])
    expected = np.log(average([z.numpy() for z in logits], [1, 1, 1], 1.0))
    np.testing.assert_allclose(made(x), expected, rtol=1e-5, atol=1e-5)
    # One layer may serve several members.
    made = ensemble(members[:2], preprocess=[twice, twice])
    expected = np.log(average([member(2 * x - 1).numpy() for member in members[:2]], [1, 1], 1.0))
    np.testing.assert_allclose(made(x), expected, rtol=1e-5, atol=1e-5)


# What becomes of it.


def test_saved_and_loaded_in_safe_mode(tmp_path):
    members = [cnn("a"), with_norm("b", 1, end="softmax"), with_norm("c", 2, end="probabilities")]
    made, x = ensemble(members, [1, 2, 3], 4.0, [layers.Rescaling(2.0), None, None], name="three"), images()
    made.save(tmp_path / "three.keras")
    loaded = th.load_model(tmp_path / "three.keras")
    np.testing.assert_allclose(loaded(x), made(x), rtol=1e-6)
    assert loaded.name == "three"
    assert type(loaded) is type(members[0])
    assert loaded.get_layer("a").get_layer("conv1").get_weights()[0].shape == (3, 3, 1, 4)


def test_members_are_unchanged_and_reachable():
    members, x = [cnn("a"), with_norm("b", 1), with_norm("c", 2, end="softmax")], images()
    members[1].trainable = False
    members[2].layers[1].trainable = False
    before = [[w.numpy().copy() for w in member.weights] for member in members]
    flags = [[layer.trainable for layer in [member, *member.layers]] for member in members]
    made = ensemble(members)
    made(x)
    made.predict(x, verbose=0)
    for member, old, flag in zip(members, before, flags, strict=True):
        assert made.get_layer(member.name) is member
        assert [layer.trainable for layer in [member, *member.layers]] == flag
        for variable, value in zip(member.weights, old, strict=True):
            np.testing.assert_array_equal(variable, value)


def test_it_is_a_classifier_as_any_other():
    """Evaluation and distillation take it for a model of logits, and SoftTarget at T gets the average at T."""
    members, x = [cnn("a"), with_norm("b", 1, end="softmax")], images(8)
    made = ensemble(members, temperature=4.0)
    classifier = th.KerasClassifier(made)
    assert (classifier.input_shape, classifier.num_classes, classifier.scores) == (SHAPE, CLASSES, "logits")
    logits = [members[0](x).numpy(), np.asarray(members[1](x)._keras_logits)]
    p, q = np.log(average(logits, [1, 1], 4.0)), log_softmax(np.zeros((8, CLASSES)))
    loss = th.SoftTarget(4.0).per_example(made(x), tf.zeros((8, CLASSES)))
    np.testing.assert_allclose(loss, 16 * np.sum(np.exp(p) * (p - q), axis=-1), rtol=1e-3, atol=1e-6)


# What is refused.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ensemble([]), "members"),
        (lambda: ensemble(cnn("a")), "list of models"),
        (lambda: ensemble([cnn("a"), np.zeros((2, 2))]), "ndarray is no Keras model"),
        (lambda: ensemble([cnn("a"), cnn("b", shape=(4, 4, 1))]), r"\(4, 4, 1\).*\(8, 8, 1\)"),
        (lambda: ensemble([cnn("a"), cnn("b", classes=4)]), "a 3, b 4"),
        (lambda: ensemble([cnn("a"), cnn("a", 1)]), "'a'"),
        (lambda: ensemble([cnn("a"), cnn("image")]), "'image'"),
        (lambda: ensemble([cnn("a")], [1, 2]), "2 entries for 1"),
        (lambda: ensemble([cnn("a"), cnn("b")], [1, -1]), "weights"),
        (lambda: ensemble([cnn("a"), cnn("b")], [0, 0]), "weights"),
        (lambda: ensemble([cnn("a"), cnn("b")], [1, NAN]), "weights"),
        (lambda: ensemble([cnn("a"), cnn("b")], [1, float("inf")]), "weights"),
        (lambda: ensemble([cnn("a"), cnn("b")], [1, "much"]), "weights"),
        (lambda: ensemble([cnn("a")], temperature=0.0), "temperature"),
        (lambda: ensemble([cnn("a")], temperature=-1.0), "temperature"),
        (lambda: ensemble([cnn("a")], temperature=NAN), "temperature"),
        (lambda: ensemble([cnn("a")], preprocess=[]), "0 entries for 1"),
        (lambda: ensemble([cnn("a")], preprocess=[lambda x: 2 * x]), "preprocess is a function"),
        (lambda: ensemble([cnn("a"), cnn("b")], preprocess=[None, layers.Flatten()]), r"b takes images.*\(64,\)"),
        (lambda: ensemble([cnn("a"), cnn("b")], preprocess=[None, layers.Conv3D(1, 2, name="c")]), "preprocess c"),
        (
            lambda: ensemble([cnn("a"), cnn("b")], preprocess=[layers.ReLU(name="r"), layers.ReLU(name="r")]),
            "called 'r'",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_same_names_are_put_right_by_naming(tmp_path):
    first, second = cnn("cnn"), cnn("cnn", 1)
    second.name = "other"
    made, x = ensemble([first, second]), images()
    assert made.get_layer("other") is second
    made.save(tmp_path / "made.keras")
    np.testing.assert_allclose(th.load_model(tmp_path / "made.keras")(x), made(x), rtol=1e-6)


@pytest.mark.slow
def test_a_new_process_loads_it(tmp_path):
    """There, nothing has imported the layer that the file holds."""
    made = th.ensemble([cnn("one"), cnn("two", 1)])
    made.save(tmp_path / "made.keras")
    code = f"import tfharden; print(tfharden.load_model({str(tmp_path / 'made.keras')!r}).count_params())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(made.count_params())], done.stderr
