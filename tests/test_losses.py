import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

from tfharden import losses
from tfharden.errors import InputError

LOGITS = np.random.default_rng(0).normal(0, 5, (50, 6))
OTHER = np.random.default_rng(1).normal(0, 5, (50, 6))
LABELS = np.random.default_rng(2).integers(0, 6, 50)
ROWS = np.arange(50)


def _margin(logits, labels):
    return np.array([max(np.delete(z, y)) - z[y] for z, y in zip(logits, labels, strict=True)])


def test_cross_entropy_is_minus_the_log_probability():
    expected = -special.log_softmax(LOGITS, axis=1)[ROWS, LABELS]
    np.testing.assert_allclose(losses.cross_entropy(LOGITS, LABELS), expected, rtol=1e-4, atol=1e-5)


def test_margin_is_the_best_other_class_less_the_true_one():
    values = losses.margin(LOGITS, LABELS).numpy()
    np.testing.assert_allclose(values, _margin(LOGITS, LABELS), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(values > 0, LOGITS.argmax(1) != LABELS)


def test_dlr_is_the_margin_by_the_spread_of_the_first_and_third():
    ranked = np.sort(LOGITS, axis=1)
    expected = _margin(LOGITS, LABELS) / (ranked[:, -1] - ranked[:, -3])
    np.testing.assert_allclose(losses.difference_of_logits_ratio(LOGITS, LABELS), expected, rtol=1e-4)


def test_dlr_by_hand():
    # z_y = 2, best other 5, third 2: (5 - 2) / (5 - 2) = 1; and for the class on top: (3 - 5) / (5 - 2).
    value = losses.difference_of_logits_ratio(tf.constant([[5.0, 3.0, 2.0, 1.0]] * 2), tf.constant([2, 0]))
    np.testing.assert_allclose(value, [1, -2 / 3], rtol=1e-6)


def test_dlr_is_blind_to_shift_and_scale():
    expected = losses.difference_of_logits_ratio(LOGITS, LABELS)
    np.testing.assert_allclose(losses.difference_of_logits_ratio(7 * LOGITS - 3, LABELS), expected, rtol=1e-3)


def test_dlr_of_equal_logits_is_finite():
    assert np.isfinite(losses.difference_of_logits_ratio(tf.zeros((2, 3)), tf.constant([0, 1]))).all()


def test_dlr_of_two_classes_is_refused():
    with pytest.raises(InputError, match="three logits"):
        losses.difference_of_logits_ratio(tf.zeros((2, 2)), tf.constant([0, 1]))


def test_kl_divergence_against_scipy():
    expected = [stats.entropy(special.softmax(p), special.softmax(q)) for p, q in zip(LOGITS, OTHER, strict=True)]
    np.testing.assert_allclose(losses.kl_divergence(LOGITS, OTHER), expected, rtol=1e-3, atol=1e-5)


def test_kl_divergence_is_zero_for_equals_and_positive_else():
    np.testing.assert_allclose(losses.kl_divergence(LOGITS, LOGITS + 9), 0, atol=1e-4)
    np.testing.assert_array_equal(losses.kl_divergence(LOGITS, LOGITS), 0)
    assert np.all(losses.kl_divergence(LOGITS, OTHER).numpy() > 0)


def test_kl_divergence_of_far_logits_is_finite():
    value = losses.kl_divergence(tf.constant([[1e4, 0.0]]), tf.constant([[0.0, 1e4]]))
    np.testing.assert_allclose(value, [1e4], rtol=1e-5)


LABELLED = [losses.cross_entropy, losses.margin, losses.difference_of_logits_ratio]


@pytest.mark.parametrize("loss", LABELLED)
def test_half_precision_is_computed_in_single(loss):
    half = LOGITS.astype(np.float16)
    value = loss(tf.constant(half), LABELS)
    assert value.dtype == tf.float32
    np.testing.assert_array_equal(value, loss(tf.constant(half.astype(np.float32)), LABELS))
    assert losses.kl_divergence(tf.constant(half), tf.constant(half)).dtype == tf.float32


@pytest.mark.parametrize("loss", LABELLED)
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.uint16, np.float32])
def test_labels_of_any_type(loss, dtype):
    np.testing.assert_array_equal(loss(LOGITS, tf.constant(LABELS.astype(dtype))), loss(LOGITS, LABELS))


@pytest.mark.parametrize("loss", LABELLED)
def test_gradients_agree_with_finite_differences(loss):
    z, y = tf.constant(LOGITS[:5], tf.float32), LABELS[:5]
    with tf.GradientTape() as tape:
        tape.watch(z)
        total = tf.reduce_sum(loss(z, y))
    gradient = tape.gradient(total, z).numpy()
    step = 1e-2
    for column in range(6):
        nudge = np.eye(6, dtype=np.float32)[column] * step
        slope = (loss(z + nudge, y) - loss(z - nudge, y)) / (2 * step)
        np.testing.assert_allclose(gradient[:, column], slope, atol=5e-3)
