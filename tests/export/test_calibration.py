import hashlib

import keras
import numpy as np
import pytest
from keras import layers

import tfharden as th
from tests._helpers.exporting import CLASSES, SHAPE, classifier, images, one_line
from tfharden.errors import InputError
from tfharden.export import ExportError, calibration, converter, recipes


def scaled(high):
    """A model that takes [0, high]."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(layers.Rescaling(1 / high)(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.Flatten()(x)))


def test_hash_is_of_all_the_images():
    x = images()
    artifact = th.export.to_tflite(classifier("mlp"), "int8", x)
    expected = hashlib.sha256(b"float32 (64, 8, 8, 1)" + x.tobytes()).hexdigest()
    assert (artifact.calibration.sha256, artifact.calibration.examples) == (expected, 64)
    assert artifact.file.metadata["calibration"] == {"sha256": expected, "examples": 64}


def test_hash_tells_values_order_and_shape():
    x = images()
    other = x.copy()
    other[-1, 0, 0] += 1e-3
    hashes = [calibration.Calibration.of(some).sha256 for some in (x, other, x[::-1], x[1:], x.reshape(64, 4, 16, 1))]
    assert len(set(hashes)) == len(hashes)
    assert calibration.Calibration.of(x.copy()).sha256 == hashes[0]
    # What counts are the numbers that the converter gets, not the type that they came in.
    as_bytes = np.round(255 * x).astype(np.uint8)
    model = scaled(255)
    made = [th.export.to_tflite(model, "int8", some, (0, 255)) for some in (as_bytes, as_bytes.astype(np.float64))]
    assert made[0].calibration == made[1].calibration


def test_no_calibration_where_none_is_used():
    artifact = th.export.to_tflite(classifier("mlp"), "float32", images())
    assert artifact.calibration is artifact.file.metadata["calibration"] is None


@pytest.mark.parametrize(("count", "used"), [(1, 1), (1000, 1000), (1001, 501), (1999, 1000), (2500, 834)])
def test_ranges_take_a_thousand_images_at_most(count, used):
    x = np.arange(count, dtype=np.float32)
    assert len(calibration.evenly(x)) == len(recipes.get("int8").ranged(x)) == used
    assert np.ptp(np.diff(calibration.evenly(x))) == 0 if used > 1 else True


# Images that can't tell ranges.


@pytest.mark.parametrize(
    ("bounds", "x", "match"),
    [
        ((0, 255), images(), r"span \[.*, 0.99.*\], the model takes \[0, 255\]"),
        ((0, 1), images() / 255, r"span \[.*, 0.0039.*\], the model takes \[0, 1\]"),
        ((0, 1), np.zeros((8, *SHAPE)), r"span \[0, 0\], the model takes \[0, 1\]"),
        ((0, 1), np.full((8, *SHAPE), 0.5), r"span \[0.5, 0.5\]"),
        ((-1, 1), np.full((8, *SHAPE), -1.0), r"span \[-1, -1\], the model takes \[-1, 1\]"),
        ((0, 1), np.linspace(0, 1, 8).reshape(8, 1, 1, 1) * np.ones((8, *SHAPE)), "of one colour throughout"),
    ],
    ids=["unit for bytes", "divided twice", "black", "grey", "lowest", "flat"],
)
def test_images_without_ranges(bounds, x, match):
    """Comparing the file on these images alone would find nothing wrong with it."""
    high = max(bounds)
    model = scaled(high)
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(model, "int8", x, bounds)
    assert one_line(error)


def test_flat_images_in_colour():
    colours = np.random.default_rng(0).random((8, 1, 1, 3)) * np.ones((8, 8, 8, 3))
    with pytest.raises(InputError, match="of one colour"):
        calibration.check_span(colours.astype(np.float32), (0, 1))
    colours[0, 0, 0, 0] = 1 - colours[0, 0, 0, 0]
    calibration.check_span(colours.astype(np.float32), (0, 1))


def test_vectors_are_no_colours():
    calibration.check_span(np.random.default_rng(0).random((8, 3), np.float32), (0, 1))
    calibration.check_span(np.linspace(0, 1, 8, dtype=np.float32)[:, None], (0, 1))


def test_faint_but_honest_images_pass():
    x = 0.2 * images()
    th.export.to_tflite(scaled(1), "int8", x)


def test_float_recipes_ask_for_no_ranges():
    th.export.to_tflite(scaled(255), "float32", images(), (0, 255))


# Images that look otherwise than those that the model meets.


def test_images_like_the_others_pass(digits, digits_model):
    artifact = th.export.to_tflite(digits_model, "int8", digits.train[0][:100], probes=digits.test[0])
    expected = digits_model.predict(digits.test[0], verbose=0).argmax(axis=-1)
    got = th.TFLiteClassifier(artifact.file).predict(digits.test[0])
    assert artifact.agreement == np.mean(got == expected)


def test_attacked_images_are_like_the_others(digits, digits_model):
    """Calibration on clean and attacked images is what the tools do."""
    x, y = digits.train[0][:100], digits.train[1][:100]
    attack = th.attacks.PGD(th.Linf(0.3), steps=5, early_exit=False)
    attacked = attack(th.KerasClassifier(digits_model), x, y).adversarial
    for some, others in ((np.concatenate([x, attacked]), digits.test[0]), (x, attacked)):
        calibration.check_alike(digits_model, some, others)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: 0.1 * x, r"the input spans \[0, 0.1\] on them and \[0, 1\].*% of these values would be clipped"),
        (lambda x: 0.5 + 0.5 * x, r"the input spans \[0.5, 1\] on them and \[0, 1\].*clipped"),
        (lambda x: 0.5 * x + 0.25, r"the input spans \[0.25, 0.75\]"),
    ],
    ids=["dark", "bright", "pale"],
)
def test_images_on_another_scale(change, match, digits, digits_model):
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(digits_model, "int8", change(digits.train[0][:100]), probes=digits.test[0])
    assert one_line(error)


def test_probes_on_another_scale(digits, digits_model):
    match = r"the input spans \[0, 1\] on them and \[0, 0.1\] on the images to compare with, so most .* wasted"
    with pytest.raises(InputError, match=match):
        th.export.to_tflite(digits_model, "int8", digits.train[0][:100], probes=0.1 * digits.test[0])


def test_other_content_on_the_same_scale():
    """Stripes where the model meets flat grey: the input alone has the same range, the edges don't."""
    inputs = keras.Input(SHAPE)
    edges = layers.Conv2D(1, (1, 2), use_bias=False, name="edges")
    x = layers.Flatten()(edges(inputs))
    model = keras.Model(inputs, layers.Dense(CLASSES)(x))
    edges.set_weights([np.array([1.0, -1.0]).reshape(1, 2, 1, 1)])
    smooth = np.linspace(0, 1, 8)[None, :, None, None] * np.ones((16, *SHAPE)) + 0.001 * images(16)
    striped = np.clip(images(16).round(), 0, 1)
    smooth = np.clip(smooth, 0, 1).astype(np.float32)
    with pytest.raises(InputError, match=r"layer edges spans .* clipped"):
        calibration.check_alike(model, smooth, striped)
    with pytest.raises(InputError, match=r"layer edges spans .* wasted"):
        calibration.check_alike(model, striped, smooth)


@pytest.mark.slow
def test_ranges_look_into_the_architectures():
    for name in ("depthwise", "resnet"):
        model = classifier(name)
        calibration.check_alike(model, images(), images(seed=1))
        with pytest.raises(InputError, match="the input spans"):
            calibration.check_alike(model, 0.1 * images(), images())


def test_ranges_are_those_of_the_layers(digits_model, digits):
    names, activations = calibration._activations(digits_model)
    x = digits.test[0]
    found = calibration._ranges(activations, x)
    hidden = keras.Model(digits_model.inputs, digits_model.layers[1].output).predict(x, verbose=0)
    assert names[0] == "the input"
    at = names.index(f"layer {digits_model.layers[1].name}")
    np.testing.assert_allclose(found[at], [hidden.min(), hidden.max()], rtol=1e-5)
    half = [[-10, np.median(hidden)] if index == at else [-1e3, 1e3] for index in range(len(names))]
    clipped = calibration._clipped(activations, x, np.array(half))
    np.testing.assert_allclose(clipped, np.eye(len(names))[at] / 2, atol=0.01)


def test_probes_find_what_calibration_images_cannot(digits, digits_model):
    """A file whose ranges fit the calibration images but not the rest agrees on those, and not with the probes."""
    dark = 0.1 * digits.train[0][:100]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "check_alike", lambda *_: None)
        with pytest.raises(ExportError, match="of the given images only") as error:
            th.export.to_tflite(digits_model, "int8", dark, probes=digits.test[0])
    assert one_line(error)
    assert converter.LEAST_AGREEMENT == 0.9


@pytest.mark.parametrize(
    ("probes", "match"),
    [
        (images(shape=(8, 8, 3)), r"\(8, 8, 3\)"),
        (255 * images(), "span"),
        (np.zeros((0, *SHAPE)), "empty"),
    ],
)
def test_probes_that_do_not_fit(probes, match):
    with pytest.raises(InputError, match=match) as error:
        th.export.to_tflite(classifier("mlp"), "float32", probes=probes)
    assert one_line(error)
