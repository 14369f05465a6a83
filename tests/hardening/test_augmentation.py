import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from tests._helpers.robust_examples import examples, linear, one_line, robust
from tfharden.attacks import FGSM, PGD
from tfharden.errors import InputError
from tfharden.hardening import Affine, shuffled
from tfharden.threats import Linf
from tfharden.threats.base import uniform

SEED = tf.constant([1, 2])


def drawn(count):
    """The five numbers of each image, as documented: rotation, zoom, shear, right, down."""
    return np.asarray(uniform([count, 5], SEED, -1.0, 1.0))


@pytest.fixture
def images():
    """Blobs with smooth edges, away from the border."""
    random = np.random.default_rng(0)
    noise = np.zeros((6, 20, 16))
    noise[:, 6:14, 5:11] = random.random((6, 8, 6))
    blurred = ndimage.gaussian_filter(noise, (0, 1, 1))
    return (blurred / blurred.max()).astype(np.float32)[..., None]


def test_nothing_to_do_is_the_identity(images):
    np.testing.assert_allclose(Affine()(tf.constant(images), SEED), images, atol=1e-6)


def test_whole_shifts_move_whole_pixels(images):
    """Draws are uniform, so the shift is not whole: the image is compared with SciPy's linear interpolation."""
    moved = np.asarray(Affine(shift=0.1)(tf.constant(images), SEED))
    for image, result, (*_, right, down) in zip(images, moved, drawn(6), strict=True):
        expected = ndimage.shift(image[..., 0], (-down * 0.1 * 20, -right * 0.1 * 16), order=1)
        np.testing.assert_allclose(result[..., 0], expected, atol=1e-4)


def test_rotation_zoom_and_shear_against_scipy(images):
    moved = np.asarray(Affine(rotation=20, zoom=0.2, shear=0.1)(tf.constant(images), SEED))
    for image, result, (turn, zoom, shear, *_) in zip(images, moved, drawn(6), strict=True):
        angle, scale = np.radians(20) * turn, 1 + 0.2 * zoom
        # In SciPy's order of axes, rows before columns.
        matrix = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix[1, 0] += 0.1 * shear
        middle = (np.array(image.shape[:2]) - 1) / 2
        expected = ndimage.affine_transform(image[..., 0], matrix, middle - matrix @ middle, order=1)
        inside = (slice(4, -4), slice(3, -3))  # the two differ in how they fade at the border
        np.testing.assert_allclose(result[..., 0][inside], expected[inside], atol=1e-4)


def test_contrast_is_about_the_middle_and_cut(images):
    contrasted = np.asarray(Affine(contrast=2.0)(tf.constant(2 * images - 1), SEED))
    np.testing.assert_allclose(contrasted, np.clip(2 * (2 * images - 1), -1, 1), atol=1e-5)


def test_same_seed_same_images(images):
    affine = Affine(rotation=30, shift=0.1)
    one, again, other = (np.asarray(affine(tf.constant(images), tf.constant([0, s]))) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("limit", [{"zoom": -0.1}, {"shift": 2.0}, {"rotation": float("nan")}, {"contrast": -1.0}])
def test_limits_that_mean_nothing(limit):
    with pytest.raises(InputError, match=next(iter(limit))) as error:
        Affine(**limit)
    assert one_line(error)


# The order of training images.


def epochs_of(trainer, count, batch_size, augment=None, epochs=3):
    """First pixels and labels, batch by batch, of each epoch, while the trainer trains."""
    x = np.linspace(0.1, 0.9, count, dtype=np.float32).reshape(-1, 1, 1, 1) * np.ones((1, 4, 4, 1), np.float32)
    dataset = shuffled((x, np.arange(count) % 3), batch_size, trainer, seed=3, augment=augment)
    assert len(dataset) == -(-count // batch_size)
    assert dataset.options().autotune.enabled is False  # or else an epoch's end may wait for as long as it took
    seen = []
    for _ in range(epochs):
        batches = [(images.numpy(), labels.numpy()) for images, labels in dataset]
        seen.append([np.concatenate(part) for part in zip(*batches, strict=True)])
        trainer.fit(dataset, shuffle=False, verbose=0)
    return seen


def test_every_epoch_has_every_image_in_another_order():
    seen = epochs_of(robust(linear(), FGSM(Linf(0.1))), 22, 8)
    orders = [np.round((images[:, 0, 0, 0] - 0.1) / 0.8 * 21).astype(int) for images, _ in seen]
    for order, (_, labels) in zip(orders, seen, strict=True):
        assert sorted(order) == list(range(22))
        np.testing.assert_array_equal(labels, order % 3)
    assert len({tuple(order) for order in orders}) == 3
    again = epochs_of(robust(linear(), FGSM(Linf(0.1))), 22, 8)
    for (one, _), (other, _) in zip(seen, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_resumed_training_sees_the_epochs_that_are_left():
    seen = epochs_of(robust(linear(), FGSM(Linf(0.1))), 22, 8, Affine(shift=0.2))
    resumed = robust(linear(), FGSM(Linf(0.1)))
    resumed.steps.assign(3)
    rest = epochs_of(resumed, 22, 8, Affine(shift=0.2), epochs=2)
    for (one, _), (other, _) in zip(seen[1:], rest, strict=True):
        np.testing.assert_array_equal(one, other)


def test_augmented_images_are_what_is_trained_on():
    x, y = examples(16)
    plain, moved = robust(linear(), PGD(Linf(0.1), steps=2)), robust(linear(), PGD(Linf(0.1), steps=2))
    for trainer, augment in ((plain, None), (moved, lambda images, seed: tf.zeros_like(images))):
        trainer.fit(shuffled((x, y), 8, trainer, augment=augment), shuffle=False, verbose=0)
    assert np.abs(plain.model.get_weights()[0] - moved.model.get_weights()[0]).max() > 1e-3
