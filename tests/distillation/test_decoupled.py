import numpy as np
import pytest
import tensorflow as tf

from tfharden.distillation.losses import DecoupledTarget, SoftTarget
from tfharden.distillation.losses.decoupled import decoupled_divergences
from tfharden.losses import kl_divergence

BATCH, CLASSES = 16, 5


def logits(seed, scale=3.0):
    return scale * np.random.default_rng(seed).standard_normal((BATCH, CLASSES)).astype(np.float32)


def softmax(scores):
    powers = [np.exp(float(score)) for score in scores]
    return [power / sum(powers) for power in powers]


def parts(teacher, student, target):
    """TCKD and NCKD of one example, by the letter of the paper."""
    p, q = softmax(teacher), softmax(student)
    p_not, q_not = (sum(probabilities[:target] + probabilities[target + 1 :]) for probabilities in (p, q))
    tckd = p[target] * np.log(p[target] / q[target]) + p_not * np.log(p_not / q_not)
    nckd = 0.0
    for i in range(len(p)):
        if i != target:
            nckd += p[i] / p_not * np.log((p[i] / p_not) / (q[i] / q_not))
    return tckd, nckd


def gradient(loss, teacher, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = tf.reduce_sum(loss.per_example(teacher, student))
    return tape.gradient(value, student).numpy()


@pytest.mark.parametrize(("alpha", "beta", "temperature"), [(1.0, 8.0, 4.0), (0.5, 2.0, 1.0), (0.0, 1.0, 2.0)])
def test_formula(alpha, beta, temperature):
    teacher, student = logits(0), logits(1)
    expected = []
    for z, s in zip(teacher, student, strict=True):
        tckd, nckd = parts(z / temperature, s / temperature, int(np.argmax(z)))
        expected.append(temperature**2 * (alpha * tckd + beta * nckd))
    loss = DecoupledTarget(alpha, beta, temperature, weight=0.3)
    np.testing.assert_allclose(loss.per_example(teacher, student), expected, rtol=1e-4)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(0.3 * np.mean(expected), rel=1e-5)


def test_defaults():
    assert DecoupledTarget() == DecoupledTarget(alpha=1.0, beta=8.0, temperature=4.0, weight=1.0)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_parts_add_up_to_soft_targets(temperature):
    """KL(p || q) = TCKD + (1 - p_t) NCKD for any target class, and SoftTarget is T^2 KL."""
    teacher, student = logits(0) / temperature, logits(1) / temperature
    for targets in (teacher.argmax(axis=-1), np.arange(BATCH) % CLASSES):
        rest = 1 - np.array([softmax(z)[t] for z, t in zip(teacher, targets, strict=True)])
        tckd, nckd = decoupled_divergences(teacher, student, targets)
        np.testing.assert_allclose(tckd + rest * nckd, kl_divergence(teacher, student), rtol=1e-4)
        np.testing.assert_allclose(
            temperature**2 * (tckd + rest * nckd),
            SoftTarget(temperature).per_example(temperature * teacher, temperature * student),
            rtol=1e-4,
        )


def test_sure_teacher_still_ranks_the_others():
    """40 logits ahead, p_t rounds to 1 in float32: soft targets lose the other classes, decoupled ones don't."""
    teacher, student = np.float32([[40.0, 2.0, 0.0, 1.0]]), np.float32([[40.0, 0.0, 2.0, 1.0]])
    assert np.abs(gradient(SoftTarget(), teacher, student)).max() < 1e-15
    slope = gradient(DecoupledTarget(temperature=1.0), teacher, student)
    # d NCKD / d student_i = q'_i - p'_i of the others alone.
    p, q = softmax([2.0, 0.0, 1.0]), softmax([0.0, 2.0, 1.0])
    np.testing.assert_allclose(slope[0, 1:], 8 * np.subtract(q, p), rtol=1e-4, atol=1e-6)
    expected = 8 * parts(teacher[0], student[0], 0)[1]
    np.testing.assert_allclose(DecoupledTarget(temperature=1.0).per_example(teacher, student), [expected], rtol=1e-5)


def test_sure_and_contradicted_teacher():
    """Where probabilities would have been clipped, the target's gradient is still q_t - p_t = -1."""
    teacher, student = np.float32([[40.0, 0.0, 0.0]]), np.float32([[0.0, 40.0, 0.0]])
    loss = DecoupledTarget(alpha=1.0, beta=0.0, temperature=1.0)
    np.testing.assert_allclose(loss.per_example(teacher, student), [40.0], rtol=1e-6)
    np.testing.assert_allclose(gradient(loss, teacher, student), [[-1.0, 1.0, 0.0]], atol=1e-6)
    # The others: p' = (1/2, 1/2) against q' = (1, 0).
    loss = DecoupledTarget(alpha=0.0, beta=1.0, temperature=1.0)
    np.testing.assert_allclose(loss.per_example(teacher, student), [20 - np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(gradient(loss, teacher, student), [[0.0, 0.5, -0.5]], atol=1e-6)
    assert np.isfinite(gradient(loss, 1e4 * teacher, 1e4 * student)).all()


def test_of_two_classes_only_the_target_is_left():
    teacher, student = logits(0)[:, :2], logits(1)[:, :2]
    np.testing.assert_allclose(
        DecoupledTarget(beta=100.0).per_example(teacher, student),
        SoftTarget(4.0).per_example(teacher, student),
        rtol=1e-4,
        atol=1e-6,
    )


def test_target_is_the_teachers_top_class():
    teacher, student = np.float32([[1.0, 3.0, 2.0]]), np.float32([[5.0, 0.0, 1.0]])
    tckd, nckd = parts(teacher[0] / 4, student[0] / 4, 1)
    np.testing.assert_allclose(DecoupledTarget().per_example(teacher, student), [16 * (tckd + 8 * nckd)], rtol=1e-5)
