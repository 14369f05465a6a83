import numpy as np
import pytest

from tfharden.data.examples import check_images, check_labels
from tfharden.errors import InputError

IMAGES = np.random.default_rng(0).uniform(size=(4, 3, 3, 1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_images_become_float32_of_their_own(dtype):
    given = IMAGES.astype(dtype)
    checked = check_images(given, (3, 3, 1), (0, 1))
    assert checked.dtype == np.float32
    np.testing.assert_array_equal(checked, given.astype(np.float32))
    assert not np.shares_memory(checked, given)


@pytest.mark.parametrize("high", [1.0, 255.0, 151.06, 254.3])
def test_rounding_to_float32_is_no_violation(high):
    check_images(np.full((1, 2), np.float32(high)), (2,), (0.0, high))


def _with(value):
    images = IMAGES.copy()
    images[1, 2, 0, 0] = value
    return images


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (_with(np.nan), "1 of 4 images hold NaN or infinity"),
        (_with(np.inf), "1 of 4 images hold NaN or infinity"),
        (_with(1e300), "1 of 4 images hold NaN or infinity"),
        (_with(-1e-3), r"images span \[-0.001, .*\], the model takes \[0, 1\]"),
        (IMAGES * 255, r"images span .* the model takes \[0, 1\]: scale"),
        (np.full((2, 3, 3, 1), 255, np.uint8), "the model takes"),
        (IMAGES[:0], "empty"),
        (IMAGES[0], r"shape \(3, 1\), the model takes \(3, 3, 1\)"),
        (IMAGES[..., 0], r"shape \(3, 3\), the model takes \(3, 3, 1\)"),
        (IMAGES.astype(str), "give numbers"),
        (IMAGES.astype(object), "give numbers"),
        (IMAGES + 0j, "give numbers"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_line(images, message):
    with pytest.raises(InputError, match=message) as caught:
        check_images(images, (3, 3, 1), (0.0, 1.0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("labels", [[0, 2, 1], [0.0, 2.0, 1.0], [[0], [2], [1]], np.array([0, 2, 1], np.uint8)])
def test_labels_become_int32(labels):
    checked = check_labels(labels, 3, 3)
    assert checked.dtype == np.int32
    np.testing.assert_array_equal(checked, [0, 2, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], "3 images and 2 labels"),
        ([0, 1, 3], r"labels span \[0, 3\], the model has 3 classes \(0 to 2\)"),
        ([0, -1, 2], r"labels span \[-1, 2\]"),
        ([0, 0.5, 1], "whole class numbers"),
        ([0, np.nan, 1], "whole class numbers"),
        ([0, np.inf, 1], r"labels span \[0, inf\]"),
        ([True, False, True], "whole class numbers"),
        (["a", "b", "c"], "whole class numbers"),
        (np.eye(3), r"shape \(3, 3\)"),
        (2, r"shape \(\)"),
    ],
)
def test_labels_that_do_not_fit_are_refused_in_one_line(labels, message):
    with pytest.raises(InputError, match=message) as caught:
        check_labels(labels, 3, 3)
    assert "\n" not in str(caught.value)
