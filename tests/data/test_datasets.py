import gzip
import pickle

import numpy as np
import pytest
import sklearn.datasets

from tfharden.data import datasets as data
from tfharden.errors import InputError

SHAPE = (4, 3, 2)
LABELS = {"y_train": np.arange(20) % 3, "y_test": np.arange(6) % 3}


def _arrays(dtype=np.uint8, **changes):
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max + 1 if np.dtype(dtype).kind == "u" else 1
    images = {f"x_{part}": (rng.random((n, *SHAPE)) * top).astype(dtype) for part, n in (("train", 20), ("test", 6))}
    return images | LABELS | changes


@pytest.fixture
def archive(tmp_path):
    def write(dtype=np.uint8, save=np.savez, without=(), **changes):
        path = tmp_path / "data.npz"
        save(path, **{name: a for name, a in _arrays(dtype, **changes).items() if name not in without})
        return path

    return write


def _refused(path, message):
    with pytest.raises(InputError, match=message) as caught:
        data.load(f"npz:{path}")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_digits_are_split_in_equal_shares_of_every_class(digits):
    (x_train, y_train), (x_test, y_test) = digits
    assert (x_train.shape, x_test.shape) == ((1397, 8, 8, 1), (400, 8, 8, 1))
    assert (y_train.shape, y_test.shape) == ((1397,), (400,))
    shares = np.bincount(y_test) / (np.bincount(y_train) + np.bincount(y_test))
    np.testing.assert_allclose(shares, 400 / 1797, atol=0.006)
    for x, y in digits:
        assert (x.dtype, y.dtype) == (np.float32, np.int32)
        assert (x.min(), x.max()) == (0, 1)
    assert (digits.input_shape, digits.num_classes) == ((8, 8, 1), 10)


def test_digits_are_scikit_learns_own_by_sixteen(digits):
    raw = sklearn.datasets.load_digits()
    expected = {(image.tobytes(), int(label)) for image, label in zip(raw.images, raw.target, strict=True)}
    found = [
        ((16 * image[..., 0]).astype(np.float64).tobytes(), int(label))
        for x, y in digits
        for image, label in zip(x, y, strict=True)
    ]
    assert set(found) == expected
    assert len(found) == 1797


def test_a_seed_fixes_the_split(digits):
    again, other = data.load("digits"), data.load("digits", seed=1)
    np.testing.assert_array_equal(again.test[0], digits.test[0])
    assert not np.array_equal(other.test[0], digits.test[0])


@pytest.mark.parametrize("bounds", [(0, 1), (-1, 1), (0, 255), (-2.1179, 2.64)])
def test_images_are_scaled_to_the_bounds(bounds, digits):
    low, high = bounds
    scaled = data.load("digits", bounds)
    assert scaled.bounds == bounds
    np.testing.assert_allclose(scaled.train[0], low + digits.train[0] * (high - low), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integer_images_are_scaled_from_their_whole_range(archive, dtype, top):
    loaded = data.load(f"npz:{archive(dtype)}", (-1, 1))
    raw = _arrays(dtype)
    np.testing.assert_allclose(loaded.train[0], raw["x_train"] / top * 2 - 1, atol=1e-6)
    np.testing.assert_array_equal(loaded.test[1], raw["y_test"])
    assert loaded.test[1].dtype == np.int32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_images_are_taken_as_they_are(archive, dtype):
    loaded = data.load(f"npz:{archive(dtype)}")
    assert loaded.train[0].dtype == np.float32
    np.testing.assert_array_equal(loaded.train[0], _arrays(dtype)["x_train"].astype(np.float32))


def test_grey_images_get_a_channel_and_columns_become_labels(archive):
    grey = {name: _arrays()[name][..., 0] for name in ("x_train", "x_test")}
    columns = {name: labels[:, None] for name, labels in LABELS.items()}
    loaded = data.load(f"npz:{archive(**grey, **columns)}")
    assert loaded.input_shape == (4, 3, 1)
    np.testing.assert_array_equal(loaded.train[1], LABELS["y_train"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_train": LABELS["y_train"] - 1}, r"labels span \[-1, 1\]"),
        ({"y_train": np.full(20, np.nan)}, "labels span"),
        ({"y_train": np.full(20, np.inf)}, "labels span"),
        ({"y_train": LABELS["y_train"] * 1000}, "labels reach 2000 with 20 images"),
        ({"y_train": LABELS["y_train"] + 0.5}, "whole class numbers"),
        ({"y_train": np.eye(20)}, "one class number an image"),
        ({"y_train": np.array(1)}, "one class number an image"),
        ({"y_train": LABELS["y_train"][:-1]}, "20 images and 19 labels"),
        ({"y_test": LABELS["y_test"].astype(str)}, "expected numbers"),
        ({"x_train": np.zeros((0, *SHAPE), np.uint8)}, "empty: x_train"),
        ({"y_test": np.zeros(0, int)}, "empty: y_test"),
        ({"x_test": np.zeros((6, 5, 5, 2), np.uint8)}, "images have the shape"),
        ({"x_test": np.zeros((6, *SHAPE), np.float32)}, "give uint8, uint16 or floats, one of them"),
        ({"x_test": np.zeros((6, 24), np.uint8)}, "expected numbers, images"),
        ({"x_train": np.zeros((20, *SHAPE), np.int64), "x_test": np.zeros((6, *SHAPE), np.int64)}, "give uint8"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(archive, changes, message):
    _refused(archive(**changes), message)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "1 of 6 images hold NaN"), (255.0, "the model takes")])
def test_float_images_out_of_range_are_refused(archive, value, message):
    images = _arrays(np.float32)["x_test"]
    images[3, 0, 0, 0] = value
    _refused(archive(np.float32, x_test=images), message)


def test_missing_arrays_are_named(archive):
    _refused(archive(without=("y_train", "x_test")), "has no y_train, x_test; it needs x_train")


class _Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickled_objects_are_refused_and_never_run(archive, tmp_path):
    trap = np.array([_Trap(tmp_path / "ran")] * 20, dtype=object)
    path = archive(y_train=trap)
    _refused(path, "not a readable .npz archive of plain arrays")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(trap))  # the trap does work
    assert (tmp_path / "ran").exists()


def test_files_that_are_no_archives_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    _refused(path, "no such file")
    _refused(tmp_path, "no such file")
    for content in (b"", b"hello", pickle.dumps(_Trap(tmp_path / "ran"))):
        path.write_bytes(content)
        _refused(path, "not a readable")
    with open(path, "wb") as file:
        np.save(file, np.zeros((3, 4, 4)))
    _refused(path, "not a readable")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_broken_archives_are_refused(archive, save):
    path = archive(save=save)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 25):
        path.write_bytes(whole[:length])
        _refused(path, "not a readable")
    clean = data.sha256(_load_pair(path, whole))
    for place in range(30, len(whole), len(whole) // 80):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        try:
            assert data.sha256(_load_pair(path, flipped)) == clean  # a byte that means nothing, such as a date
        except InputError as error:
            assert "\n" not in str(error)


def _load_pair(path, content):
    path.write_bytes(content)
    return (*data.load(f"npz:{path}").train, *data.load(f"npz:{path}").test)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(InputError, match="unknown dataset 'imagenet': known are digits, mnist, fashion_mnist, cifar10"):
        data.load("imagenet")


def test_take_draws_without_replacement():
    x = np.arange(100, dtype=np.float32)[:, None]
    y = np.arange(100)
    images, labels = data.take((x, y), 30, seed=1)
    np.testing.assert_array_equal(images[:, 0], labels)
    assert len(set(labels)) == 30
    np.testing.assert_array_equal(data.take((x, y), 30, seed=1)[1], labels)
    assert not np.array_equal(data.take((x, y), 30, seed=2)[1], labels)
    assert data.take((x, y), None)[0] is x
    assert len(data.take((x, y), 100)[0]) == 100
    assert set(data.take((x, y), 10, seed=0)[1]) <= set(data.take((x, y), 20, seed=0)[1])


@pytest.mark.parametrize("count", [0, -1, 101])
def test_take_refuses_what_is_not_there(count):
    with pytest.raises(InputError, match=f"num_examples={count} has to lie in 1 .. 100"):
        data.take((np.zeros((100, 1)), np.zeros(100)), count)


def test_the_hash_tells_content_type_and_shape():
    x, y = np.zeros((2, 3), np.float32), np.zeros(2, np.int32)
    changed = x.copy()
    changed[1, 2] = 1e-30
    variants = [(x, y), (changed, y), (x.reshape(3, 2), y), (x.view(np.int32), y), (x, y + 1)]
    assert len({data.sha256(variant) for variant in variants}) == len(variants)
    assert data.sha256((x[::-1], y.copy())) == data.sha256((x, y))


def test_idx_files_are_read(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x03" + b"".join(n.to_bytes(4) for n in (2, 3, 2)) + bytes(range(12))))
    np.testing.assert_array_equal(data._read_idx(path), np.arange(12, dtype=np.uint8).reshape(2, 3, 2))


def test_broken_idx_files_are_refused(tmp_path):
    path = tmp_path / "labels.gz"
    whole = b"\0\0\x08\x02" + (2).to_bytes(4) + (3).to_bytes(4) + bytes(range(6))
    contents = [whole[:length] for length in range(len(whole))] + [whole + b"\0", b"\0\0\x0d" + whole[3:]]
    packed = [gzip.compress(content) for content in contents]
    good = gzip.compress(bytes(range(256)) * 8)
    packed += [good[:length] for length in range(0, len(good), 5)]
    packed += [good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :] for place in range(len(good))]
    for content in packed:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"labels.gz: [^\n]+$"):
            data._read_idx(path)
    path.unlink()
    with pytest.raises(InputError, match="can't be read"):
        data._read_idx(path)


def test_fashion_mnist_from_a_folder_of_idx_files(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path)
    for part, count in (("train", 10), ("t10k", 5)):
        header = b"".join(n.to_bytes(4) for n in (count, 2, 2))
        pixels = np.random.default_rng(count).integers(0, 256, 4 * count, dtype=np.uint8)
        labels = bytes(range(count))
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + header + bytes(pixels)))
        label_file = b"\0\0\x08\x01" + count.to_bytes(4) + labels
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(label_file))
    loaded = data.load("fashion_mnist")
    assert loaded.input_shape == (2, 2, 1)
    np.testing.assert_allclose(loaded.test[0].ravel(), pixels / 255, atol=1e-6)
    np.testing.assert_array_equal(loaded.test[1], np.arange(5))


@pytest.mark.skipif(not data.DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_fashion_mnist_of_debian():
    loaded = data.load("fashion_mnist")
    assert loaded.train[0].shape == (60000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(loaded.test[1]), [1000] * 10)


@pytest.fixture
def own(monkeypatch):
    """The registry of datasets of one's own, empty."""
    monkeypatch.setattr(data, "_OWN", type(data._OWN)("dataset"))


def _split(images, labels):
    return (images, labels), (images[:5], labels[:5])


def test_a_dataset_of_ones_own(own):
    seeds = []

    @data.register("mine")
    def load(seed):
        seeds.append(seed)
        return _split(np.full((20, 4, 4), 255, np.uint8), np.arange(20) % 3)

    loaded = data.load("mine", (-1, 1), seed=3)
    assert seeds == [3]
    assert repr(loaded) == "<Dataset mine: 20 training and 5 test images of 4x4x1 in [-1, 1], 3 classes>"
    np.testing.assert_array_equal(loaded.train[0], np.ones((20, 4, 4, 1), np.float32))
    with pytest.raises(InputError, match="known are digits, mnist, fashion_mnist, cifar10, npz:PATH, mine"):
        data.load("yours")


@pytest.mark.parametrize("name", ["digits", "npz:x", "mine"])
def test_names_of_datasets_are_given_once(own, name):
    data.register("mine")(lambda seed: None)
    with pytest.raises(InputError, match=f"there is a dataset '{name}' already"):
        data.register(name)(lambda seed: None)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "mine: its loader has to return"),
        ((1, 2, 3), "mine: its loader has to return"),
        (_split(np.zeros((20, 4)), np.arange(20)), "mine: x_train is float64"),
        (_split(np.full((20, 4, 4), 9.0), np.arange(20)), "the model takes"),
        (_split(np.zeros((20, 4, 4), np.int32), np.arange(20)), "give uint8, uint16 or floats"),
    ],
)
def test_loaders_that_do_not_fit_are_told(own, returned, message):
    data.register("mine")(lambda seed: returned)
    with pytest.raises(InputError, match=message) as error:
        data.load("mine")
    assert "\n" not in str(error.value)
