"""Quantisation-aware models: what the file of integers will say, in training."""

import functools
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import tfharden as th
from tests._helpers.small import SHAPE, THREAT, cnn, examples, fitted, one_line
from tfharden.attacks import PGD
from tfharden.compression import Clustering, Pruning, calibrate, constant_sparsity, cut_off, quantize_aware
from tfharden.compression.fake_quantization import ActivationRange
from tfharden.errors import InputError

ATTACK = PGD(THREAT, steps=2)


def trained(name, width=4):
    """A model of its own with weights that are computed once."""
    model = th.models.build(name, SHAPE, 3, width)
    model.set_weights(trained_weights(name, width))
    return model


@functools.cache
def trained_weights(name, width):
    model = th.models.build(name, SHAPE, 3, width, seed=0)
    for _ in range(2):
        fitted(th.RobustModel(model), epochs=1)
    return model.get_weights()


def calibrated(model):
    copy = quantize_aware(model)
    calibrate(copy, examples()[0])
    return copy


@pytest.mark.parametrize("name", th.models.KNOWN)
def test_the_file_says_what_the_model_says(name):
    """Integers only, and of most images exactly what LiteRT's reference kernels compute."""
    model = trained(name)
    copy, (x, _) = calibrated(model), examples()
    artifact = th.export.to_tflite(copy, "int8", x)
    interpreter = Interpreter(
        model_content=artifact.file.content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    kinds = {tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    assert kinds <= {np.int8, np.int32}
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    (scale, zero), (step, origin) = given["quantization"], answer["quantization"]
    errors = []
    for image, expected in zip(x, copy.predict(x, verbose=0), strict=True):
        stored = np.clip(np.round(image / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], stored[None])
        interpreter.invoke()
        got = step * (interpreter.get_tensor(answer["index"])[0].astype(np.float32) - origin)
        errors.append(np.abs(got - expected).max() / step)
    # A tie that an inner layer rounds the other way is worth a step or two of a network this narrow; the file rounds
    # once more in each addition of a residual network.
    assert max(errors) < (5.5 if name == "resnet" else 2.5)
    assert np.median(errors) < (2.5 if name == "resnet" else 0.5)


def test_it_is_a_copy_near_the_original():
    model = trained("cnn")
    before = [w.numpy().copy() for w in model.weights]
    copy, (x, _) = calibrated(model), examples()
    z, q = model.predict(x, verbose=0), copy.predict(x, verbose=0)
    assert 0 < np.abs(z - q).max() < 0.1 * np.abs(z).max()
    for layer in ("conv1", "logits"):
        for one, other in zip(model.get_layer(layer).get_weights(), copy.get_layer(layer).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    fitted(th.RobustModel(copy, ATTACK), epochs=1)
    for variable, old in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_ranges_hold_what_passes():
    """The image's, and one after each computing layer; the largest of 64 images, of kernels in int8."""
    model, (x, _) = trained("cnn"), examples()
    copy = quantize_aware(model)
    found = calibrate(copy, x, batch_size=10)
    assert list(found) == ["image_range", "conv1_range", "conv2_range", "conv3_range", "logits_range"]
    assert found["image_range"] == pytest.approx((0.0, x.max()), rel=1e-6)
    inner = keras.Model(model.input, model.get_layer("conv2").output).predict(x, verbose=0)
    assert found["conv2_range"] == pytest.approx((0.0, inner.max()), rel=0.02)
    z = model.predict(x, verbose=0)
    assert found["logits_range"] == pytest.approx((min(z.min(), 0), max(z.max(), 0)), rel=0.02)


def test_what_is_cut_off_is_counted():
    model, (x, _) = trained("cnn"), examples()
    copy = quantize_aware(model)
    calibrate(copy, 0.5 * x)
    shares = cut_off(copy, x)
    assert shares["image_range"] == pytest.approx(np.mean(x > 0.5 * x.max()), abs=0.01)
    calibrate(copy, x)
    assert cut_off(copy, x)["image_range"] == 0


def test_batch_normalisation_is_rounded_once():
    """Convolution, normalisation and ReLU are one operator of the file, so only the last has a range."""
    copy = quantize_aware(trained("resnet"))
    ranges = {layer.name for layer in copy.layers if isinstance(layer, ActivationRange)}
    with_norm = [layer.name for layer in copy.layers if "norm" in layer.name and "range" not in layer.name]
    assert with_norm
    convolutions = [layer.name for layer in trained("resnet").layers if isinstance(layer, keras.layers.Conv2D)]
    followed = [name for name in convolutions if f"{name}_range" not in ranges]
    assert len(followed) >= len(with_norm)


@pytest.mark.parametrize("trainer", ["adversarial", "distilled", "perturbed"])
def test_robust_training_of_a_quantised_model(trainer):
    model = trained("cnn")
    copy = calibrated(model)
    made = {
        "adversarial": lambda: th.RobustModel(copy, ATTACK),
        "distilled": lambda: th.Distiller(copy, model, [th.SoftTarget(), th.Feature("conv2", "conv2")], ATTACK),
        "perturbed": lambda: th.RobustModel(copy, ATTACK, weight_perturbation=th.WeightPerturbation(0.01)),
    }[trainer]()
    before = [layer.bounds for layer in copy.layers if isinstance(layer, ActivationRange)]
    losses = fitted(made, epochs=6, average=0.9)["loss"]
    assert losses[-1] < losses[0]
    assert [layer.bounds for layer in copy.layers if isinstance(layer, ActivationRange)] != before
    weights = [w.numpy().copy() for w in copy.weights]
    made.evaluate(*examples(), verbose=0)
    for variable, old in zip(copy.weights, weights, strict=True):
        np.testing.assert_array_equal(variable, old)


def test_attacks_see_through_the_rounding():
    x, y = examples()
    copy = calibrated(trained("cnn"))
    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        loss = keras.losses.sparse_categorical_crossentropy(y, copy(images), from_logits=True)
    assert (tape.gradient(loss, images).numpy() != 0).mean() > 0.5
    result = PGD(th.Linf(0.3))(th.KerasClassifier(copy), x, y)
    assert result.robust_accuracy < np.mean(copy.predict(x, verbose=0).argmax(axis=-1) == y)


@pytest.mark.parametrize("name", ["strided", "strided_threshold"])
def test_rounding_masks_no_gradient(name):
    """Where pixels are black and activations saturated an attack on the copy finds what one on the model finds."""
    model, (x, y) = trained(name), examples()
    x = np.where(x < 0.3, 0, np.where(x > 0.7, 1, x)).astype(np.float32)
    copy = quantize_aware(model)
    calibrate(copy, np.concatenate([x, 1 - x]))
    zero = []
    for source in (model, copy):
        images = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(images)
            loss = keras.losses.sparse_categorical_crossentropy(y, source(images), from_logits=True)
        zero.append(np.mean(tape.gradient(loss, images).numpy() == 0))
    assert zero[1] <= zero[0] + 0.02


def test_zeros_and_clusters_survive():
    """Prune, then train on quantised; cluster, then likewise: in the weights, and in the integers of the file."""
    model = trained("cnn", 8)
    fitted(th.RobustModel(model), Pruning(model, constant_sparsity(0.5, frequency=1)), epochs=1)
    copy = calibrated(model)
    pruning = Pruning(copy)
    fitted(th.RobustModel(copy, ATTACK), pruning, epochs=1)
    assert list(pruning.sparsity().values()) == pytest.approx([0.5] * 4, abs=0.03)
    fitted(th.RobustModel(model), Clustering(model, 8), epochs=1)
    copy = calibrated(model)
    clustering = Clustering(copy, 8)
    fitted(th.RobustModel(copy, ATTACK), clustering, epochs=1)
    assert max(clustering.values().values()) <= 8


def test_saved_and_loaded_in_safe_mode(tmp_path):
    copy, (x, _) = calibrated(trained("resnet")), examples()
    fitted(th.RobustModel(copy, ATTACK), epochs=1)
    copy.save(tmp_path / "quantised.keras")
    loaded = th.load_model(tmp_path / "quantised.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), copy.predict(x, verbose=0))
    # As files have it since the layer was called Range.
    with zipfile.ZipFile(tmp_path / "quantised.keras") as content:
        assert b"tfharden>Range" in content.read("config.json")
        assert b"range_1" in content.read("model.weights.h5")


def with_layer(layer):
    image = keras.Input(SHAPE)
    x = layer(keras.layers.Conv2D(4, 3, name="conv")(image))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(x)), name="odd")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: quantize_aware(with_layer(keras.layers.LayerNormalization(name="norm"))), r"norm \(LayerNormalizat"),
        (lambda: quantize_aware(with_layer(keras.layers.SeparableConv2D(2, 3, name="s"))), r"s \(SeparableConv2D\)"),
        (lambda: quantize_aware(nested()), r"cnn \(Functional\)"),
        (lambda: quantize_aware(cnn(), left_float=["conv9"]), "no layer 'conv9' to leave float"),
        (lambda: calibrate(cnn(), examples()[0]), "make it by quantize_aware"),
        (lambda: calibrate(quantize_aware(cnn()), np.zeros((0, *SHAPE))), "no images to calibrate on"),
    ],
)
def test_refusals(make, match):
    with pytest.raises(InputError, match=match) as error:
        make()
    assert one_line(error)


def nested():
    image = keras.Input(SHAPE)
    return keras.Model(image, cnn()(image))


def test_layers_left_float_on_request():
    model = with_layer(keras.layers.LayerNormalization(name="norm"))
    copy = quantize_aware(model, left_float=["norm"])
    calibrate(copy, examples()[0])
    assert "norm_range" not in [layer.name for layer in copy.layers]


def test_calibration_images_change_nothing_in_the_file():
    """Its ranges are the model's own."""
    copy, (x, _) = calibrated(trained("cnn")), examples()
    files = [th.export.to_tflite(copy, "int8", images).file for images in (x, 0.3 * x + 0.1)]
    one, other = (th.TFLiteClassifier(file, kernels="reference").logits(x) for file in files)
    np.testing.assert_array_equal(one, other)
