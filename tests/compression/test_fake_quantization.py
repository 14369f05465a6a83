"""Fake int8 against NumPy, against tensorflow-model-optimization's quantizers, and its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfharden.compression import tfmot
from tfharden.compression.fake_quantization import ActivationRange, quantized_weights


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (6, 4)])
def test_weights_by_hand(shape, per_channel):
    w = weights(*shape)
    axes = tuple(range(len(shape) - 1)) if per_channel else None
    scale = np.abs(w).max(axis=axes) / 127
    expected = scale * np.round(w / scale)
    np.testing.assert_allclose(quantized_weights(tf.constant(w), per_channel=per_channel), expected, atol=1e-6)


def test_depthwise_weights_have_a_scale_for_each_input_and_multiplier():
    w = weights(3, 3, 4, 2)
    scale = np.abs(w).max(axis=(0, 1)) / 127
    np.testing.assert_allclose(
        quantized_weights(tf.constant(w), depthwise=True), scale * np.round(w / scale), atol=1e-6
    )


@pytest.mark.parametrize("per_channel", [True, False])
def test_weights_are_those_of_tfmot(per_channel):
    """Its quantizer in training mode, where its ranges are those of the weights that it sees."""
    w = weights(3, 3, 2, 5)
    quantizer = tfmot.load().quantization.keras.quantizers.LastValueQuantizer(
        8, per_axis=per_channel, symmetric=True, narrow_range=True
    )
    shape = (5,) if per_channel else ()
    ranges = {name: tf.Variable(tf.zeros(shape)) for name in ("min_var", "max_var")}
    theirs = quantizer(tf.constant(w), True, ranges)
    np.testing.assert_array_equal(quantized_weights(tf.constant(w), per_channel=per_channel), theirs)


def test_zeros_stay_zeros_and_a_channel_of_zeros_is_finite():
    w = weights(3, 3, 2, 5)
    w[np.abs(w) < 0.5] = 0
    w[..., 2] = 0
    made = quantized_weights(tf.constant(w)).numpy()
    np.testing.assert_array_equal(made[w == 0], 0)
    assert np.isfinite(made).all()


def test_gradients_of_weights_pass_straight_through():
    w = tf.constant(weights(3, 3, 2, 5))
    with tf.GradientTape() as tape:
        tape.watch(w)
        loss = tf.reduce_sum(quantized_weights(w) * tf.range(5.0))
    np.testing.assert_allclose(tape.gradient(loss, w), np.broadcast_to(np.arange(5.0), w.shape))


def test_a_range_moves_in_training_only():
    layer, x = ActivationRange(), np.array([[-2.0, 3.0]], np.float32)
    layer(x, training=False)
    assert layer.bounds == (-6.0, 6.0)
    layer(x, training=True)
    assert layer.bounds == pytest.approx((-6 + 0.001 * 4, 6 - 0.001 * 3), rel=1e-5)


def test_values_in_a_range_by_hand():
    """Zero lies on a step; values beyond the range are cut off and have no gradient."""
    layer = ActivationRange()
    layer(np.zeros((1, 1), np.float32))
    layer.observed = (-1.0, 2.0)
    layer.settle()
    low, high = layer.bounds
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    x = np.linspace(-0.99, 1.99, 50).astype(np.float32)
    expected = scale * (np.round(x / scale + zero) - zero)
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer(tf.zeros(1)).numpy() == 0
    beyond = tf.constant([-5.0, 0.3, 9.0])
    with tf.GradientTape() as tape:
        tape.watch(beyond)
        made = layer(beyond)
    np.testing.assert_allclose(made[::2], [scale * (0 - zero), scale * (255 - zero)], atol=1e-5)
    np.testing.assert_array_equal(tape.gradient(made, beyond), [0, 1, 0])


def gradient(layer, x):
    x = tf.constant(x, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        made = layer(x)
    return tape.gradient(made, x)


@pytest.mark.parametrize("low", np.linspace(-2.0, -0.1, 12))
def test_the_ends_of_a_range_keep_their_gradient(low):
    """A range moves by up to half a step so that zero lies on one: its ends are rounded then, not cut off."""
    layer = ActivationRange()
    layer(np.zeros((1, 1), np.float32))
    layer.observed = (float(low), 2.0)
    layer.settle()
    step = (2.0 - low) / 255
    ends = [low - 2 * step, low, 0.0, 2.0, 2.0 + 2 * step]
    np.testing.assert_array_equal(gradient(layer, ends), [0, 1, 1, 1, 0])


def test_a_fixed_range_stays():
    layer = ActivationRange((0.0, 255 / 256))
    made = layer(np.array([0.0, 0.5, 0.99999], np.float32), training=True)
    np.testing.assert_allclose(made, [0.0, 0.5, 255 / 256], atol=1e-7)
    assert layer.weights == []
    np.testing.assert_array_equal(gradient(layer, [0.0, 0.5, 1.0]), [1, 1, 1])


def test_config_round_trip():
    for layer in (ActivationRange(name="here"), ActivationRange((0.0, 1.0))):
        config = keras.saving.serialize_keras_object(layer)
        assert keras.saving.deserialize_keras_object(config).get_config() == layer.get_config()
