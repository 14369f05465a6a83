import keras
import numpy as np
import pytest
import tensorflow as tf

import tfharden as th
from tfharden.errors import InputError

BATCH, CLASSES = 16, 5


def logits(seed, scale=3.0):
    return scale * np.random.default_rng(seed).standard_normal((BATCH, CLASSES)).astype(np.float32)


def log_softmax(scores):
    scores = scores.astype(np.float64)
    return (
        scores
        - scores.max(axis=-1, keepdims=True)
        - np.log(np.exp(scores - scores.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True))
    )


def gradient(loss, teacher, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss.compute_loss(teacher, student)
    return tape.gradient(value, student).numpy()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_soft_target_formula(temperature):
    teacher, student = logits(0), logits(1)
    p, q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    expected = temperature**2 * np.sum(np.exp(p) * (p - q), axis=-1)
    loss = th.SoftTarget(temperature, weight=0.3)
    np.testing.assert_allclose(loss.per_example(teacher, student), expected, rtol=1e-4)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(0.3 * expected.mean(), rel=1e-5)


def test_soft_target_of_equals_is_zero():
    teacher = logits(0)
    for temperature in (1.0, 10.0):
        loss = th.SoftTarget(temperature)
        np.testing.assert_array_equal(loss.per_example(teacher, teacher), np.zeros(BATCH))
        # A shift of all logits of an example changes no probability.
        np.testing.assert_allclose(loss.per_example(teacher, teacher + logits(1)[:, :1]), 0, atol=1e-3)
        np.testing.assert_allclose(gradient(loss, teacher, teacher), 0, atol=1e-7)
        assert np.all(loss.per_example(teacher, logits(1)).numpy() > 0)


def test_soft_target_gradient_with_default_arguments():
    """The gradient by the student's logits is (q - p) / batch, and nowhere near 0."""
    teacher, student = logits(0), logits(1)
    expected = (np.exp(log_softmax(student)) - np.exp(log_softmax(teacher))) / BATCH
    np.testing.assert_allclose(gradient(th.SoftTarget(), teacher, student), expected, rtol=1e-3, atol=1e-6)
    assert np.abs(expected).mean() > 0.01


def test_soft_target_keeps_gradients_of_sure_teachers():
    """Where probabilities would have been clipped at 1e-7 the gradient is still q - p."""
    teacher, student = np.float32([[40.0, 0.0, 0.0]]), np.float32([[0.0, 40.0, 0.0]])
    np.testing.assert_allclose(gradient(th.SoftTarget(), teacher, student), [[-1.0, 1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(th.SoftTarget().per_example(teacher, student), [40.0], rtol=1e-6)


def test_soft_target_divides_half_precision_in_float32():
    """Logits of a float16 model are what they are; divided by T in float16 they would be rounded once more."""
    half = [logits(seed).astype(np.float16) for seed in (0, 1)]
    expected = th.SoftTarget(3.0).per_example(*(given.astype(np.float32) for given in half))
    np.testing.assert_array_equal(th.SoftTarget(3.0).per_example(*half), expected)
    p, q = (log_softmax(given.astype(np.float64) / 3) for given in half)
    np.testing.assert_allclose(expected, 9 * np.sum(np.exp(p) * (p - q), axis=-1), rtol=1e-4)


def test_soft_target_gradient_keeps_its_size_when_temperature_changes():
    """T^2 * (1 / T) * O(1 / T) = O(1): between T = 10 and T = 1000 the size stays, where it would fall 10,000-fold."""
    teacher, student = logits(0), logits(1)
    sizes = [np.abs(gradient(th.SoftTarget(t), teacher, student)).mean() for t in (10.0, 100.0, 1000.0)]
    assert max(sizes) < 1.2 * min(sizes)


def test_soft_target_becomes_logit_matching():
    """For large T and logits of mean 0, softmax(z / T) = (1 + z / T) / C + O(T^-2), so that

    T^2 KL -> |z_teacher - z_student|^2 / 2C, with the gradient (z_student - z_teacher) / C.
    """
    teacher, student = (z - z.mean(axis=-1, keepdims=True) for z in (logits(0), logits(1)))
    loss = th.SoftTarget(temperature=300.0)
    expected = np.sum((teacher - student) ** 2, axis=-1) / (2 * CLASSES)
    np.testing.assert_allclose(loss.per_example(teacher, student), expected, rtol=0.05)
    np.testing.assert_allclose(
        gradient(loss, teacher, student), (student - teacher) / CLASSES / BATCH, atol=0.05 * np.abs(student).max() / 80
    )


@pytest.mark.parametrize("shape", [(6,), (3, 4, 2)])
def test_feature_formula(shape):
    random = np.random.default_rng(0)
    teacher, student = (random.standard_normal((BATCH, *shape)).astype(np.float32) for _ in range(2))
    axes = tuple(range(1, len(shape) + 1))
    expected = np.sum((teacher - student) ** 2, axis=axes) / np.mean(np.sum(teacher**2, axis=axes))
    loss = th.Feature("a", "b", weight=2.0)
    np.testing.assert_allclose(loss.per_example(teacher, student), expected, rtol=1e-5)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(2 * expected.mean(), rel=1e-5)
    # A share of the teacher's energy: the unit of the features doesn't matter, a student of zeros is off by 1 = 100%.
    np.testing.assert_allclose(loss.per_example(50 * teacher, 50 * student), expected, rtol=1e-5)
    assert float(loss.compute_loss(teacher, 0 * student)) == pytest.approx(2.0, rel=1e-5)
    np.testing.assert_array_equal(loss.per_example(teacher, teacher), np.zeros(BATCH))


def test_feature_of_a_silent_teacher_is_finite():
    zeros = np.zeros((4, 3), np.float32)
    assert np.isfinite(th.Feature("a", "b").per_example(zeros, zeros + 1e-3)).all()


@pytest.mark.parametrize("kind", [np.float16, tf.bfloat16.as_numpy_dtype])
def test_losses_are_float32(kind):
    teacher, student = logits(0).astype(kind), logits(1).astype(kind)
    for loss in (th.SoftTarget(2.0), th.Feature("a", "b")):
        assert loss.per_example(teacher, student).dtype == tf.float32


@pytest.mark.parametrize(
    "make",
    [
        lambda: th.SoftTarget(0.0),
        lambda: th.SoftTarget(-1.0),
        lambda: th.SoftTarget(float("nan")),
        lambda: th.SoftTarget(weight=-0.1),
        lambda: th.SoftTarget(weight=float("nan")),
        lambda: th.Feature("a", "b", weight=-1.0),
    ],
)
def test_settings_out_of_range(make):
    with pytest.raises(InputError, match=r"temperature=|weight=") as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("loss", [th.SoftTarget(3.0, 0.5), th.Feature("conv1", "conv2", 7.0)])
def test_config_round_trip(loss):
    config = keras.saving.serialize_keras_object(loss)
    assert keras.saving.deserialize_keras_object(config) == loss
