import keras
import numpy as np
import pytest

from tfharden import models
from tfharden.errors import InputError

SHAPES = [(8, 8, 1), (28, 28, 1), (32, 32, 3)]


def _norm(channels):
    return 4 * channels  # scale, shift, moving mean and variance


def _parameters(name, w, side, channels, classes):
    """Counted by hand from each architecture's description."""
    if name == "cnn":
        w2, w3, left = 3 * w // 2, 2 * w, side // 4
        convolutions = (9 * channels + 1) * w + (9 * w + 1) * w2 + (9 * w2 + 1) * w3
        return convolutions + (left * left * w3 + 1) * classes
    if name == "mlp":
        return (side * side * channels + 1) * w + (w + 1) * w + (w + 1) * classes
    if name == "threshold":
        left = -(-side // 4)
        convolutions = (channels + 1) * channels + (25 * channels + 1) * w
        convolutions += (9 * w + 1) * 2 * w + (16 * 2 * w + 1) * 2 * w
        return convolutions + (left * left * 2 * w + 1) * 4 * w + (4 * w + 1) * classes
    if name in ("strided", "strided_threshold"):
        left, wide = -(-side // 4), 3 * w // 2
        cut = (channels + 1) * channels if name == "strided_threshold" else 0
        convolutions = (16 * channels + 1) * wide + (wide + 1) * w + (16 * w + 1) * w
        return cut + convolutions + (left * left * w + 1) * wide + (wide + 1) * classes
    total = (9 * channels + 1) * w if name == "depthwise" else 9 * channels * w + _norm(w)
    if name == "depthwise":
        for before, after in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 4 * w)):
            total += 9 * before + _norm(before) + before * after + _norm(after)
    else:
        for before, after in ((w, w), (w, 2 * w), (2 * w, 4 * w)):
            total += 9 * before * after + _norm(after) + 9 * after * after + _norm(after)
            total += 0 if before == after else (before + 1) * after
    return total + (4 * w + 1) * classes


@pytest.mark.parametrize("name", models.KNOWN)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_architecture_runs_on_every_shape_with_the_parameters_of_its_description(name, shape):
    model = models.build(name, shape, 7, width=6)
    assert model.count_params() == _parameters(name, 6, shape[0], shape[2], 7)
    logits = model(np.zeros((2, *shape), np.float32), training=False)
    assert logits.shape == (2, 7)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("name", models.KNOWN)
def test_the_last_layer_is_linear_and_called_logits(name):
    model = models.build(name, (8, 8, 1), 5)
    assert model.layers[-1].name == "logits"
    assert model.layers[-1].activation is keras.activations.linear
    assert not any(isinstance(layer, keras.layers.Softmax) for layer in model.layers)


@pytest.mark.parametrize(("name", "stages"), [("cnn", 3), ("strided", 3), ("depthwise", 4), ("resnet", 4)])
def test_stages_are_named_in_order(name, stages):
    names = [layer.name for layer in models.build(name, (8, 8, 1), 5).layers]
    places = [names.index(f"conv{stage}") for stage in range(1, stages + 1)]
    assert places == sorted(places)
    assert f"conv{stages + 1}" not in names


@pytest.mark.parametrize("name", models.KNOWN)
def test_a_single_pixel_is_an_image_too(name):
    assert models.build(name, (1, 1, 2), 3, width=1)(np.ones((1, 1, 1, 2), np.float32)).shape == (1, 3)


@pytest.mark.parametrize("name", models.KNOWN)
def test_a_seed_fixes_the_weights(name):
    first, same, other = (models.build(name, (8, 8, 1), 3, width=4, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", ["threshold", "strided_threshold"])
def test_threshold_is_where_the_description_says(name):
    """Each channel by itself, 0.05 and 0.95 at a distance of about 0.1 from one half, and nowhere flat."""
    model = models.build(name, (2, 1, 2), 3, width=4)
    pixels = np.array([[0.4, 0.6], [0.5, 0.1]], np.float32).reshape(1, 2, 1, 2)
    cut = keras.Model(model.input, model.get_layer("threshold").output)(pixels).numpy()
    np.testing.assert_allclose(cut[0, :, 0], 1 / (1 + np.exp(-30 * (pixels[0, :, 0] - 0.5))), rtol=1e-5)
    assert cut[0, 0, 0] == pytest.approx([0.05, 0.95], abs=0.005)


def test_mistakes_are_told():
    with pytest.raises(
        InputError,
        match="unknown model 'vgg': known are cnn, threshold, strided, strided_threshold, mlp, depthwise, resnet",
    ):
        models.build("vgg", (8, 8, 1), 3)
    with pytest.raises(InputError, match="width=0"):
        models.build("cnn", (8, 8, 1), 3, width=0)


def test_an_architecture_of_ones_own():
    def linear(input_shape, num_classes, width=1):
        return keras.Sequential([keras.Input(input_shape), keras.layers.Flatten(), keras.layers.Dense(num_classes)])

    try:
        models.register("linear")(linear)
        assert models.get("linear", (2, 2, 1), 3).output_shape == (None, 3)
    finally:
        del models.KNOWN["linear"]
