import numpy as np
import pytest
import tensorflow as tf

from tfharden.distillation.losses import SimilarityPreserving

BATCH = 6
LOSS = SimilarityPreserving()


def features(seed, *shape):
    return np.random.default_rng(seed).standard_normal((BATCH, *shape)).astype(np.float32)


def similarities(f):
    rows = []
    for one in f:
        row = [float(one.astype(np.float64).ravel() @ other.astype(np.float64).ravel()) for other in f]
        length = sum(entry**2 for entry in row) ** 0.5
        rows.append([entry / length for entry in row])
    return rows


@pytest.mark.parametrize("shapes", [((4,), (4,)), ((6,), (3,)), ((3, 2, 2), (4, 4, 1))])
def test_formula(shapes):
    teacher, student = features(0, *shapes[0]), features(1, *shapes[1])
    g_teacher, g_student = similarities(teacher), similarities(student)
    squares = [sum((g_teacher[i][j] - g_student[i][j]) ** 2 for j in range(BATCH)) / BATCH for i in range(BATCH)]
    np.testing.assert_allclose(LOSS.per_example(teacher, student), squares, rtol=1e-4)
    frobenius = np.linalg.norm(np.subtract(g_teacher, g_student), "fro") ** 2 / BATCH**2
    loss = SimilarityPreserving(weight=3000.0)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(3000 * frobenius, rel=1e-4)


def test_invariant_to_rotation_and_scale():
    teacher, student = features(0, 5), features(1, 5)
    rotation = np.linalg.qr(np.random.default_rng(2).standard_normal((5, 5)))[0].astype(np.float32)
    value = LOSS.per_example(teacher, student)
    for same in (student @ rotation, 0.01 * student, -100 * student):
        np.testing.assert_allclose(LOSS.per_example(teacher, same), value, rtol=1e-3)
    np.testing.assert_allclose(LOSS.per_example(teacher, 2 * teacher @ rotation), np.zeros(BATCH), atol=1e-8)
    # A shift is no such thing: similarities are about the origin.
    assert LOSS.per_example(teacher, teacher + 1).numpy().mean() > 1e-3


def test_by_hand():
    """Examples all alike, rows of 1 / sqrt(batch), against all different, rows of the identity."""
    alike, different = np.ones((BATCH, 3), np.float32), np.eye(BATCH, dtype=np.float32)
    expected = (2 - 2 / BATCH**0.5) / BATCH
    np.testing.assert_allclose(LOSS.per_example(alike, different), np.full(BATCH, expected), rtol=1e-5)


def test_silent_features_are_finite():
    student = tf.zeros((BATCH, 3))
    for teacher in (features(0, 3), np.zeros((BATCH, 3), np.float32)):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = LOSS.compute_loss(teacher, student)
        assert np.isfinite(value)
        assert np.isfinite(tape.gradient(value, student)).all()
