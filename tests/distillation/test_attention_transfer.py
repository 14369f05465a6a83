import numpy as np
import pytest
import tensorflow as tf

from tfharden.distillation.layers import Projection
from tfharden.distillation.losses import AttentionTransfer
from tfharden.errors import InputError

LOSS = AttentionTransfer("a", "b")


def maps(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def attention(image):
    """Of one example, by loops."""
    height, width, channels = image.shape
    energies = [
        sum(float(image[row, column, c]) ** 2 for c in range(channels))
        for row in range(height)
        for column in range(width)
    ]
    length = sum(energy**2 for energy in energies) ** 0.5
    return [energy / length for energy in energies]


def expected(teacher, student):
    return [
        sum((a - b) ** 2 for a, b in zip(attention(t), attention(s), strict=True))
        for t, s in zip(teacher, student, strict=True)
    ]


def gradient(teacher, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = LOSS.compute_loss(teacher, student)
    return tape.gradient(value, student).numpy()


def test_formula_with_other_channels():
    teacher, student = maps(0, 5, 4, 3, 6), maps(1, 5, 4, 3, 2)
    wanted = expected(teacher, student)
    np.testing.assert_allclose(LOSS.per_example(teacher, student), wanted, rtol=1e-5)
    loss = AttentionTransfer("a", "b", weight=10.0)
    assert float(loss.compute_loss(teacher, student)) == pytest.approx(10 * np.mean(wanted), rel=1e-5)


def test_blind_to_scale_sign_and_order_of_channels():
    teacher, student = maps(0, 5, 4, 3, 6), maps(1, 5, 4, 3, 2)
    value = LOSS.per_example(teacher, student)
    for scale in (1e-3, 1e3):
        np.testing.assert_allclose(LOSS.per_example(scale * teacher, -student / scale), value, rtol=1e-4)
    np.testing.assert_allclose(LOSS.per_example(teacher[..., ::-1], student), value, rtol=1e-5)


def test_maps_that_never_meet_are_two_apart():
    teacher, student = np.zeros((1, 2, 2, 1), np.float32), np.zeros((1, 2, 2, 3), np.float32)
    teacher[0, 0, 0], student[0, 1, 1] = 5.0, 7.0
    np.testing.assert_allclose(LOSS.per_example(teacher, student), [2.0], rtol=1e-6)


def test_silent_maps_are_finite():
    silent, loud = np.zeros((2, 3, 3, 2), np.float32), maps(0, 2, 3, 3, 2)
    np.testing.assert_allclose(LOSS.per_example(loud, silent), [1.0, 1.0], rtol=1e-6)
    for teacher, student in ((loud, silent), (silent, loud), (silent, silent)):
        assert np.isfinite(gradient(teacher, student)).all()


@pytest.mark.parametrize(("student_side", "teacher_side"), [(4, 4), (8, 4), (2, 4)])
def test_adapter_pools_and_has_no_weights(student_side, teacher_side):
    student, teacher = maps(0, 3, student_side, student_side, 2), maps(1, 3, teacher_side, teacher_side, 5)
    adapter = LOSS.adapter(student.shape[1:], teacher.shape[1:], seed=0)
    side = min(student_side, teacher_side)
    pooled = [
        f.reshape(3, side, f.shape[1] // side, side, f.shape[2] // side, -1).mean(axis=(2, 4))
        for f in (student, teacher)
    ]
    adapted = adapter(student, teacher)
    for given, wanted in zip(adapted, pooled, strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-5, atol=1e-6)
    assert not adapter.weights
    np.testing.assert_allclose(
        LOSS.per_example(adapted[1], adapted[0]), expected(pooled[1], pooled[0]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    ("student", "teacher"), [((10,), (10,)), ((4, 4, 3), (10,)), ((10,), (4, 4, 3)), ((4, 3), (4, 3))]
)
def test_adapter_refuses_what_is_no_map(student, teacher):
    with pytest.raises(InputError, match="maps") as error:
        LOSS.adapter(student, teacher, seed=0)
    assert "\n" not in str(error.value)


def test_adapter_refuses_sides_that_do_not_divide():
    with pytest.raises(InputError, match="can't be compared"):
        LOSS.adapter((6, 6, 2), (4, 4, 2), seed=0)


def test_projection_trains_channels_unless_told_otherwise():
    assert len(Projection((4, 4, 2), (4, 4, 5)).weights) == 2
    assert not Projection((4, 4, 2), (4, 4, 5), channels=False).weights
