import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from scipy import special

from tfharden import classifiers
from tfharden.classifiers import CallableClassifier, KerasClassifier, TFLiteClassifier, as_classifier
from tfharden.errors import InputError
from tfharden.threats import L2, Linf

layers = keras.layers
SHAPE, CLASSES = (4, 4, 1), 5
WEIGHTS = np.random.default_rng(0).normal(0, 2, (16, CLASSES)).astype(np.float32)
BIAS = np.random.default_rng(1).normal(0, 1, CLASSES).astype(np.float32)
IMAGES = np.random.default_rng(2).uniform(size=(30, *SHAPE)).astype(np.float32)
LOGITS = IMAGES.reshape(30, -1) @ WEIGHTS + BIAS


class _Probabilities(layers.Layer):
    def call(self, z):
        return keras.ops.softmax(z)


def _handmade(z):
    powers = keras.ops.exp(z - keras.ops.max(z, axis=-1, keepdims=True))
    return powers / keras.ops.sum(powers, axis=-1, keepdims=True)


ENDINGS = {
    "none": (lambda z: z, "logits"),
    "softmax layer": (layers.Softmax(), "logits before the last activation"),
    "activation layer": (layers.Activation("softmax"), "logits before the last activation"),
    "ops in a layer": (_Probabilities(), "logits before the last activation"),
    "ops in the graph": (keras.ops.softmax, "logits before the last activation"),
    "exp by sum": (_handmade, "log of probabilities"),
}


def _model(ending=lambda z: z, activation=None):
    image = keras.Input(SHAPE)
    head = layers.Dense(CLASSES, activation=activation)
    model = keras.Model(image, ending(head(layers.Flatten()(image))))
    head.set_weights([WEIGHTS, BIAS])
    return model


def _assert_logits(classifier, expected, shifted):
    found = classifier.logits(IMAGES)
    assert found.dtype == np.float32
    want = special.log_softmax(expected, axis=1) if shifted else expected
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(classifier.predict(IMAGES), expected.argmax(1))
    np.testing.assert_allclose(classifier.logits_fn(tf.constant(IMAGES)), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("nested", [False, True])
def test_logits_are_found_behind_every_ending(name, nested):
    ending, scores = ENDINGS[name]
    model = _model(ending)
    if nested:
        outer = keras.Input(SHAPE)
        model = keras.Model(outer, model(outer))
    classifier = KerasClassifier(model)
    assert classifier.scores == scores
    assert (classifier.input_shape, classifier.num_classes) == (SHAPE, CLASSES)
    _assert_logits(classifier, LOGITS, shifted=scores == "log of probabilities")


def test_logits_are_found_behind_a_dense_layer_with_softmax():
    classifier = KerasClassifier(_model(activation="softmax"))
    assert classifier.scores == "logits before the last activation"
    _assert_logits(classifier, LOGITS, shifted=False)


def test_a_sequential_model_and_other_bounds():
    model = keras.Sequential([keras.Input(SHAPE), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3)])
    model.add(layers.Softmax())
    classifier = KerasClassifier(model, bounds=(0, 255))
    assert classifier.scores == "logits before the last activation"
    probabilities = model.predict(IMAGES * 255, verbose=0)
    np.testing.assert_allclose(special.softmax(classifier.logits(IMAGES * 255), axis=1), probabilities, atol=1e-5)


@pytest.mark.parametrize("ending", ["softmax layer", "exp by sum", "none"])
def test_gradients_are_those_of_the_log_probability(ending):
    classifier = KerasClassifier(_model(ENDINGS[ending][0]))
    x, y = tf.constant(IMAGES), LOGITS.argmin(1).astype(np.int32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, classifier.logits_fn(x))
    expected = (special.softmax(LOGITS, axis=1) - np.eye(CLASSES)[y]) @ WEIGHTS.T
    np.testing.assert_allclose(tape.gradient(loss, x).numpy().reshape(30, -1), expected, rtol=1e-3, atol=1e-4)


def test_a_softmax_that_saturates_hides_no_gradient():
    model = _model(layers.Softmax())
    model.set_weights([200 * WEIGHTS, BIAS])
    classifier, x = KerasClassifier(model), tf.constant(IMAGES)
    with tf.GradientTape() as tape:
        tape.watch(x)
        lead = tf.reduce_max(classifier.logits_fn(x), axis=1)
    assert np.all(np.abs(tape.gradient(lead, x)).max(axis=(1, 2, 3)) > 100)


def test_inference_mode_changes_no_weight_and_is_deterministic():
    model = keras.Sequential([
        keras.Input(SHAPE), layers.BatchNormalization(), layers.Dropout(0.5), layers.Flatten(), layers.Dense(3)
    ])  # fmt: skip
    before = [weight.copy() for weight in model.get_weights()]
    classifier = KerasClassifier(model)
    np.testing.assert_array_equal(classifier.logits(IMAGES), classifier.logits(IMAGES))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_batches_are_joined_in_order():
    images = np.random.default_rng(0).uniform(size=(classifiers.BATCH_SIZE * 2 + 3, *SHAPE)).astype(np.float32)
    expected = images.reshape(len(images), -1) @ WEIGHTS + BIAS
    np.testing.assert_allclose(KerasClassifier(_model()).logits(images), expected, rtol=1e-4, atol=1e-4)


def _two_inputs():
    one, two = keras.Input(SHAPE), keras.Input((3,))
    return keras.Model([one, two], layers.Concatenate()([layers.Flatten()(one), two]))


def _with_outputs(make):
    image = keras.Input(SHAPE)
    flat = layers.Flatten()(image)
    return keras.Model(image, make(flat))


WRONG_SHAPES = {
    "two inputs": _two_inputs,
    "two outputs": lambda: _with_outputs(lambda x: [layers.Dense(3)(x), layers.Dense(4)(x)]),
    "a dictionary": lambda: _with_outputs(lambda x: {"class": layers.Dense(3)(x)}),
    "one class": lambda: _with_outputs(layers.Dense(1)),
    "a map": lambda: keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(3, 1)]),
    "any size": lambda: keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D(), layers.Dense(3)]),
    "not built": lambda: keras.Sequential([layers.Dense(3)]),
}


@pytest.mark.parametrize("kind", WRONG_SHAPES)
def test_models_that_are_no_classifiers_are_refused(kind):
    with pytest.raises(InputError, match="classifier") as caught:
        KerasClassifier(WRONG_SHAPES[kind]())
    assert "\n" not in str(caught.value)


def test_callables_answer_in_batches():
    sizes = []

    def function(images):
        sizes.append(len(images))
        return images.reshape(len(images), -1) @ WEIGHTS.astype(np.float64)

    images = np.random.default_rng(0).uniform(size=(classifiers.BATCH_SIZE + 1, *SHAPE)).astype(np.float32)
    scores = CallableClassifier(function, SHAPE, CLASSES).logits(images)
    assert sizes == [classifiers.BATCH_SIZE, 1]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, images.reshape(len(images), -1) @ WEIGHTS, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(30,), (30, CLASSES + 1), (29, CLASSES), (30, CLASSES, 1), ()])
def test_a_callable_that_answers_another_shape_is_refused(shape):
    classifier = CallableClassifier(lambda images: np.zeros(shape), SHAPE, CLASSES, name="box")
    with pytest.raises(InputError, match=r"box answered .* for 30 images: expected \(30, 5\)"):
        classifier.logits(IMAGES)


def test_a_callable_may_work_in_place():
    def function(images):
        images -= 1
        return images.reshape(len(images), -1) @ WEIGHTS

    kept = IMAGES.copy()
    CallableClassifier(function, SHAPE, CLASSES).logits(kept)
    np.testing.assert_array_equal(kept, IMAGES)


def test_a_callable_has_no_gradients():
    classifier = CallableClassifier(lambda images: images, SHAPE, CLASSES, name="box")
    assert not classifier.differentiable
    with pytest.raises(InputError, match="box gives no gradients"):
        classifier.logits_fn(tf.constant(IMAGES))


def test_a_keras_file_is_the_model_that_was_saved(tmp_path):
    _model(layers.Softmax()).save(tmp_path / "model.keras")
    classifier = as_classifier(str(tmp_path / "model.keras"))
    assert (classifier.name, classifier.path) == ("model.keras", tmp_path / "model.keras")
    np.testing.assert_allclose(classifier.logits(IMAGES), LOGITS, rtol=1e-4, atol=1e-4)


def test_a_keras_file_with_code_in_it_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trap = "ran"
    image = keras.Input(SHAPE)
    effect = layers.Lambda(lambda x: (__import__("pathlib").Path("ran").touch(), x)[1], output_shape=SHAPE)
    model = keras.Model(image, layers.Dense(3)(layers.Flatten()(effect(image))))
    model.save("model.keras")
    pathlib.Path(trap).unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"model.keras: .*Lambda layer.*refused") as caught:
        as_classifier(tmp_path / "model.keras")
    assert "\n" not in str(caught.value)
    assert not pathlib.Path(trap).exists()
    model(IMAGES)  # the trap does work
    assert pathlib.Path(trap).exists()


def test_broken_and_missing_files_are_told_in_one_line(tmp_path):
    path = tmp_path / "model.keras"
    _model().save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"model.keras: can't be loaded: [^\n]+$"):
            as_classifier(path)
    for name, message in (
        ("absent.keras", "absent.keras: no such file"),
        ("absent.tflite", "absent.tflite"),
        ("model.h5", "unknown kind of model file; known are .keras and .tflite"),
    ):
        with pytest.raises(InputError, match=message):
            as_classifier(tmp_path / name)


def test_as_classifier_takes_what_it_knows():
    model = _model()
    classifier = as_classifier(model)
    assert isinstance(classifier, KerasClassifier)
    assert as_classifier(classifier) is classifier
    with pytest.raises(InputError, match="can't attack a int"):
        as_classifier(3)
    assert as_classifier(model, name="mine").name == "mine"
    with pytest.raises(InputError, match="no option kernel: known are bounds, name, kernels, threads"):
        as_classifier(model, kernel="typo")


def _convert(folder, name, model, *, integer=False, outputs=None):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if integer:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[None]] for image in IMAGES)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type, converter.inference_output_type = tf.int8, outputs or tf.int8
    (folder / name).write_bytes(converter.convert())


@pytest.fixture(scope="module")
def tflite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    _convert(folder, "float.tflite", _model())
    _convert(folder, "softmax.tflite", _model(layers.Softmax()))
    _convert(folder, "int8.tflite", _model(), integer=True)
    _convert(folder, "int8_softmax.tflite", _model(layers.Softmax()), integer=True)
    return folder


def _interpret(path, images):
    """One image after the other on the bare interpreter; integers by its own scale and zero point."""
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images:
        if source["dtype"] == np.int8:
            scale, zero = source["quantization"]
            image = np.clip(np.round(image / np.float32(scale)) + zero, -128, 127).astype(np.int8)  # noqa: PLW2901
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        row = interpreter.get_tensor(target["index"])[0]
        scale, zero = target["quantization"]
        rows.append((row.astype(np.float32) - zero) * np.float32(scale) if row.dtype == np.int8 else row)
    return np.stack(rows), source["quantization"]


@pytest.mark.parametrize("name", ["float.tflite", "int8.tflite"])
def test_a_tflite_file_answers_as_the_interpreter_does(tflite, name):
    classifier = as_classifier(tflite / name)
    assert isinstance(classifier, TFLiteClassifier)
    assert (classifier.input_shape, classifier.num_classes, classifier.scores) == (SHAPE, CLASSES, "logits")
    expected, _ = _interpret(tflite / name, IMAGES)
    np.testing.assert_allclose(classifier.logits(IMAGES), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(classifier.predict(IMAGES), expected.argmax(1))
    np.testing.assert_allclose(classifier.logits_fn(tf.constant(IMAGES)), expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(InputError, match=f"{name} gives no gradients, since it was opened as a black box"):
        TFLiteClassifier(tflite / name).logits_fn(tf.constant(IMAGES))


def test_kernels_without_a_twin_make_a_black_box(tflite):
    classifier = as_classifier(tflite / "int8.tflite", kernels="builtin")
    assert not classifier.differentiable
    with pytest.raises(InputError, match="a twin imitates xnnpack or reference kernels, not 'builtin'"):
        classifier.logits_fn(tf.constant(IMAGES))


@pytest.mark.parametrize("name", ["softmax.tflite", "int8_softmax.tflite"])
def test_attacks_climb_the_logits_before_a_softmax(tflite, name):
    classifier = as_classifier(tflite / name)
    assert classifier.scores == "logits before the last activation"
    logits = classifier.logits_fn(tf.constant(IMAGES)).numpy()
    probabilities, _ = _interpret(tflite / name, IMAGES)
    np.testing.assert_allclose(tf.nn.softmax(logits), probabilities, atol=1 / 256 + 1e-6)
    assert not np.allclose(np.exp(logits).sum(axis=1), 1)


@pytest.mark.parametrize("name", ["softmax.tflite", "int8_softmax.tflite"])
def test_a_softmax_in_a_tflite_file_is_undone(tflite, name):
    classifier = TFLiteClassifier(tflite / name)
    assert classifier.scores == "log of probabilities"
    probabilities, _ = _interpret(tflite / name, IMAGES)
    logits = classifier.logits(IMAGES)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(np.exp(logits), probabilities, atol=1 / 512 + 1e-6)
    np.testing.assert_array_equal(classifier.predict(IMAGES), probabilities.argmax(1))


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
def test_an_integer_file_receives_its_own_lattice(tflite, threat):
    received = TFLiteClassifier(tflite / "int8.tflite").restrict_threat(threat)
    _, (scale, zero) = _interpret(tflite / "int8.tflite", IMAGES[:1])
    values = (np.arange(-128, 128) - zero) * scale
    values = values[(values >= -1e-4 * scale) & (values <= 1 + 1e-4 * scale)]
    assert received.lattice == pytest.approx(scale)
    assert received.bounds == pytest.approx((values[0], values[-1]))
    assert (received.epsilon, type(received)) == (threat.epsilon, type(threat))
    # Every value of the lattice comes through the input unchanged.
    snapped = received.round_to_lattice(IMAGES).numpy()
    steps = snapped / scale
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)


def test_a_float_file_receives_what_a_camera_makes(tflite):
    classifier = TFLiteClassifier(tflite / "float.tflite")
    assert classifier.restrict_threat(Linf(0.1, (-1, 1))) == Linf(0.1, (-1, 1), 2 / 255)
    assert classifier.restrict_threat(Linf(0.1, lattice=0.25)) == Linf(0.1, lattice=0.25)


def test_a_range_that_the_input_can_not_tell_apart_is_refused(tflite):
    with pytest.raises(InputError, match=r"holds no value between 0.5 and 0.5001"):
        TFLiteClassifier(tflite / "int8.tflite").restrict_threat(Linf(1e-5, (0.5, 0.5001)))


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_no_class(answer):
    model = CallableClassifier(lambda x: np.where(x[:, :1] > 0.5, [[answer, 0.0]], [[0.0, 1.0]]), (1,), 2)
    np.testing.assert_array_equal(model.predict(np.array([[0.9], [0.1]], np.float32)), [-1, 1])


def test_probabilities_in_half_precision_are_known_as_such():
    x = keras.Input((6,))
    scores = keras.ops.exp(layers.Dense(4)(x))
    model = keras.Model(x, keras.ops.cast(scores / keras.ops.sum(scores, axis=-1, keepdims=True), "float16"))
    assert KerasClassifier(model).scores == "log of probabilities"
