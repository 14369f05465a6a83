"""Properties that all distillation losses have."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tfharden.distillation.losses import (
    AttentionTransfer,
    DecoupledTarget,
    RelationalAngle,
    RelationalDistance,
    SimilarityPreserving,
)
from tfharden.errors import InputError

BATCH = 6
LOGITS, MAPS = (5,), (3, 4, 2)
LOSSES = [
    (DecoupledTarget(), LOGITS),
    (AttentionTransfer("conv", "conv"), MAPS),
    (RelationalDistance(), LOGITS),
    (RelationalAngle(), LOGITS),
    (SimilarityPreserving(), LOGITS),
]
EACH = pytest.mark.parametrize(("loss", "shape"), LOSSES, ids=[type(loss).__name__ for loss, _ in LOSSES])


def outputs(seed, shape, batch=BATCH):
    return 2 * np.random.default_rng(seed).standard_normal((batch, *shape)).astype(np.float32)


def gradient(loss, teacher, student):
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        value = loss.compute_loss(teacher, student)
    return tape.gradient(value, student).numpy()


@EACH
def test_gradient_is_that_of_finite_differences(loss, shape):
    teacher, student = outputs(0, shape), outputs(1, shape)
    slope = gradient(loss, teacher, student)
    assert np.abs(slope).max() > 1e-3
    for seed in range(5):
        direction = outputs(2 + seed, shape)
        direction /= np.linalg.norm(direction)
        ahead, behind = (float(loss.compute_loss(teacher, student + step * direction)) for step in (0.01, -0.01))
        assert np.sum(slope * direction) == pytest.approx((ahead - behind) / 0.02, rel=0.02, abs=2e-4)


@EACH
def test_of_equals_is_zero_and_stays_there(loss, shape):
    teacher = outputs(0, shape)
    np.testing.assert_array_equal(loss.per_example(teacher, teacher), np.zeros(BATCH))
    np.testing.assert_allclose(gradient(loss, teacher, teacher), np.zeros_like(teacher), atol=1e-6)
    assert np.all(loss.per_example(teacher, outputs(1, shape)).numpy() > 0)


@EACH
@pytest.mark.parametrize("jit_compile", [False, True])
def test_silent_student_has_finite_gradients(loss, shape, jit_compile):
    """Zeros are coinciding points and maps without a direction; XLA doesn't round NaN away where eager kernels do."""

    @tf.function(jit_compile=jit_compile)
    def slope(teacher, student):
        with tf.GradientTape() as tape:
            tape.watch(student)
            value = loss.compute_loss(teacher, student)
        return tape.gradient(value, student)

    for teacher in (outputs(0, shape), np.zeros((BATCH, *shape), np.float32)):
        assert np.isfinite(slope(tf.constant(teacher), tf.zeros((BATCH, *shape)))).all()


@EACH
@pytest.mark.parametrize("kind", [np.float16, tf.bfloat16.as_numpy_dtype])
def test_float32_whatever_comes_in(loss, shape, kind):
    teacher, student = outputs(0, shape).astype(kind), outputs(1, shape).astype(kind)
    value = loss.per_example(teacher, student)
    assert value.dtype == tf.float32
    exact = loss.per_example(teacher.astype(np.float32), student.astype(np.float32))
    np.testing.assert_allclose(value, exact, rtol=1e-6)


@EACH
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_any_batch(loss, shape, jit_compile):
    signature = [tf.TensorSpec((None, *shape))] * 2
    graph = tf.function(loss.per_example, input_signature=signature, jit_compile=jit_compile)
    for batch in (BATCH, 1):
        teacher, student = outputs(0, shape, batch), outputs(1, shape, batch)
        np.testing.assert_allclose(graph(teacher, student), loss.per_example(teacher, student), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        DecoupledTarget(0.5, 2.0, 3.0, 0.7, "student_head", "teacher_head"),
        AttentionTransfer("conv1", "conv2", 7.0),
        RelationalDistance("pool1", "pool2", 25.0),
        RelationalAngle(weight=50.0),
        SimilarityPreserving("pool1", "pool2", 3000.0),
        *(loss for loss, _ in LOSSES),
    ],
)
def test_config_round_trip(loss):
    config = keras.saving.serialize_keras_object(loss)
    assert keras.saving.deserialize_keras_object(config) == loss


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        *((DecoupledTarget, {name: value}) for name in ("alpha", "beta", "weight") for value in (-0.1, float("nan"))),
        *((DecoupledTarget, {"temperature": value}) for value in (0.0, -1.0, float("nan"))),
        (lambda **settings: AttentionTransfer("a", "b", **settings), {"weight": -1.0}),
        *(
            (make, {"weight": value})
            for make in (RelationalDistance, RelationalAngle, SimilarityPreserving)
            for value in (-1.0, float("nan"))
        ),
    ],
)
def test_settings_out_of_range(make, settings):
    with pytest.raises(InputError, match=f"{next(iter(settings))}=") as error:
        make(**settings)
    assert "\n" not in str(error.value)


def network(width, seed):
    keras.utils.set_random_seed(seed)
    images = keras.Input((6, 6, 1))
    features = layers.Conv2D(width, 3, activation="relu", name="conv")(images)
    return keras.Model(images, layers.Dense(3)(layers.Flatten()(features)))


@pytest.mark.slow
@EACH
def test_learnt_in_keras_own_distiller(loss, shape):
    images = outputs(0, (6, 6, 1), batch=32)
    distiller = keras.distillation.Distiller(network(6, 1), network(4, 2), loss, student_loss_weight=0.0)
    loss_of_labels = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.Adam(0.01), loss=loss_of_labels, run_eagerly=True)
    losses = distiller.fit(images, np.zeros(32), batch_size=32, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
