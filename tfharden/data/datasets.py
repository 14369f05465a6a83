"""Datasets by name: real images as float32 in the range that models take, with labels."""

import dataclasses
import gzip
import hashlib
import importlib.metadata
import math
import pathlib
import zlib
from collections.abc import Callable, Iterator

import keras
import numpy as np

from tfharden._registry import Registry
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError

# Where Debian's package dataset-fashion-mnist puts its files.
DEBIAN_FASHION_MNIST = pathlib.Path("/usr/share/datasets/fashion-mnist")
DIGITS_TEST_IMAGES = 400
NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")

# Entry points of this group, each named after a dataset, are loaders that other packages bring.
ENTRY_POINT_GROUP = "tfharden.datasets"

# x_train, y_train, x_test, y_test, and the pixel value that stands for white; None if the images are scaled already.
Source = tuple[tuple[np.ndarray, ...], int | None]
# Images and labels to train on, and those to test on.
Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
Loader = Callable[[int], Split]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images `[n, height, width, channels]` float32 within `bounds`, labels `[n]` int32.

    Unpacks as Keras' datasets do: `(x_train, y_train), (x_test, y_test) = data`.

    Attributes:
        name: as it was asked for.
        train: images and labels to train on.
        test: images and labels to report on.
        bounds: range of the values.
    """

    name: str
    train: Examples
    test: Examples
    bounds: tuple[float, float] = (0.0, 1.0)

    def __iter__(self) -> Iterator[Examples]:
        return iter((self.train, self.test))

    def __repr__(self) -> str:
        """Name, sizes, shape, classes and range."""
        low, high = self.bounds
        return (
            f"<Dataset {self.name}: {len(self.train[1])} training and {len(self.test[1])} test images of "
            f"{'x'.join(map(str, self.input_shape))} in [{low:g}, {high:g}], {self.num_classes} classes>"
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.train[0].shape[1:]

    @property
    def num_classes(self) -> int:
        """The largest label plus one."""
        return int(max(self.train[1].max(), self.test[1].max())) + 1


def load(name: str, bounds: tuple[float, float] = (0.0, 1.0), seed: int = 0) -> Dataset:
    """The dataset of that name, its pixels scaled to `bounds`.

    Args:
        name: "digits" (scikit-learn's 1,797 scans of 8x8, of which 400, the same share of every class, are for
            testing), "mnist", "fashion_mnist", "cifar10" (Keras' cache or its download), or "npz:PATH" of an archive
            with x_train, y_train, x_test and y_test, whose integer images are scaled and whose float images are taken
            as they are, or the name of a dataset of your own (see `register`).
        bounds: range that the model takes.
        seed: of the split, where the dataset brings none.

    Raises:
        InputError: an unknown name (the message lists the known ones), a file that is missing, broken or empty.
    """
    if name.startswith("npz:"):
        arrays, top = _read_npz(pathlib.Path(name.removeprefix("npz:")))
    elif name in _LOADERS:
        arrays, top = _LOADERS[name](seed)
    else:
        arrays, top = _own(name, seed)
    x_train, y_train, x_test, y_test = arrays
    shape = _with_channels(x_train).shape[1:]
    for y in (y_train, y_test):
        if not np.isfinite(y).all() or y.min() < 0:
            raise InputError(f"{name}: labels span [{y.min():g}, {y.max():g}]: give class numbers from 0 up")
    classes = int(max(y_train.max(), y_test.max())) + 1
    if classes > len(x_train):
        raise InputError(
            f"{name}: labels reach {classes - 1} with {len(x_train)} images to train on: are they classes?"
        )
    try:
        train, test = (
            (check_images(_scale(x, top, bounds), shape, bounds), check_labels(y, len(x), classes))
            for x, y in ((x_train, y_train), (x_test, y_test))
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    return Dataset(name, train, test, (float(bounds[0]), float(bounds[1])))


_OWN: Registry[Loader] = Registry("dataset")


def register(name: str) -> Callable[[Loader], Loader]:
    """Decorator for a loader of a dataset of your own, which `load` and `--dataset` then find by this name.

    The loader takes a seed, for a split or a subset of its own, and returns `(x_train, y_train), (x_test, y_test)` as
    Keras' datasets do. Images are `[n, height, width]` or `[n, height, width, channels]`: uint8 or uint16 are scaled
    from their whole range to the bounds, floats are taken as they are. Labels are class numbers from 0 up.

    The command line finds loaders that an installed package names in its entry points, in the group
    `tfharden.datasets`: `[project.entry-points."tfharden.datasets"]`, `squares = "my_package:load_squares"`.

    Raises:
        InputError: the name is taken.

    Example:
        @th.data.register("squares")
        def load_squares(seed):
            return (x_train, y_train), (x_test, y_test)

        th.data.load("squares")
    """
    if name in _LOADERS or name.startswith("npz:"):
        raise InputError(f"there is a dataset {name!r} already: choose another name")
    return _OWN.register(name)


def _own(name: str, seed: int) -> Source:
    """The arrays of a dataset that was registered, or that an entry point names."""
    if name in _OWN:
        loader = _OWN[name]
    else:
        points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name)
        if not points:
            raise InputError(f"unknown dataset {name!r}: known are {', '.join([*NAMES, *_OWN])}")
        loader = next(iter(points)).load()
    split = loader(seed)
    try:
        (x_train, y_train), (x_test, y_test) = split
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: its loader has to return (x_train, y_train), (x_test, y_test): {error}") from error
    return _checked(name, tuple(map(np.asarray, (x_train, y_train, x_test, y_test))))


def sha256(examples: Examples) -> str:
    """Hexadecimal SHA-256 of images and labels: their types, shapes and bytes."""
    digest = hashlib.sha256()
    for array in examples:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def take(examples: Examples, count: int | None, seed: int = 0) -> Examples:
    """`count` examples drawn without replacement, the same for the same seed; all of them for None.

    Raises:
        InputError: fewer examples than that, or a count below 1.
    """
    x, y = examples
    if count is None or count == len(x):
        return examples
    if not 1 <= count <= len(x):
        raise InputError(f"num_examples={count} has to lie in 1 .. {len(x)}, the size of the dataset")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(x))[:count])
    return x[chosen], y[chosen]


def _digits(seed: int) -> Source:
    # scikit-learn takes a second to import.
    from sklearn.datasets import load_digits  # noqa: PLC0415
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.images, digits.target, test_size=DIGITS_TEST_IMAGES, stratify=digits.target, random_state=seed
    )
    return (x_train, y_train, x_test, y_test), 16


def _from_keras(name: str) -> Callable[[int], Source]:
    def load_from_keras(seed: int) -> Source:
        del seed  # these datasets bring their own split
        try:
            (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
        except Exception as error:  # whatever the download met: no network, a wrong hash, a full disk
            raise InputError(f"{name} is neither in Keras' cache nor to be downloaded: {error}") from error
        return (x_train, y_train, x_test, y_test), 255

    return load_from_keras


def _fashion_mnist(seed: int) -> Source:
    if not DEBIAN_FASHION_MNIST.is_dir():
        return _from_keras("fashion_mnist")(seed)
    parts = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(_read_idx(DEBIAN_FASHION_MNIST / f"{part}-ubyte.gz") for part in parts), 255


def _read_idx(path: pathlib.Path) -> np.ndarray:
    """An array of bytes in the IDX format: two zeros, type 8, rank, the sizes big-endian, the values."""
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: can't be read: {error}") from error
    rank = content[3] if content.startswith(b"\0\0\x08") and len(content) > 3 else 0  # noqa: PLR2004
    header, values = content[4 : 4 + 4 * rank], content[4 + 4 * rank :]
    shape = [int.from_bytes(header[i : i + 4]) for i in range(0, len(header), 4)]
    if not rank or len(header) != 4 * rank or len(values) != math.prod(shape):
        raise InputError(f"{path}: not an IDX file of bytes")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _read_npz(path: pathlib.Path) -> Source:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in NPZ_ARRAYS if name not in archive.files]
            arrays = tuple(archive[name] for name in NPZ_ARRAYS if not missing)
    except Exception as error:  # whatever NumPy, zipfile or zlib raised
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable .npz archive of plain arrays: {reason}") from error
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}; it needs {', '.join(NPZ_ARRAYS)}")
    return _checked(str(path), arrays)


def _checked(origin: str, arrays: tuple[np.ndarray, ...]) -> Source:
    """The arrays, once types and shapes are known to be those of images and labels."""
    for name, array in zip(NPZ_ARRAYS, arrays, strict=True):
        if not array.size:
            raise InputError(f"{origin}: the dataset is empty: {name} holds nothing")
        if array.dtype.kind not in "fiub" or (name.startswith("x") and array.ndim not in (3, 4)):
            raise InputError(
                f"{origin}: {name} is {array.dtype} {array.shape}: expected numbers, "
                f"images [n, height, width, channels]"
            )
    kinds = {arrays[0].dtype, arrays[2].dtype}
    if len(kinds) > 1 or not kinds <= {np.dtype(kind) for kind in ("u1", "u2", "f2", "f4", "f8")}:
        raise InputError(
            f"{origin}: images are {', '.join(map(str, kinds))}: give uint8, uint16 or floats, one of them"
        )
    return arrays, int(np.iinfo(arrays[0].dtype).max) if arrays[0].dtype.kind == "u" else None


def _scale(images: np.ndarray, top: int | None, bounds: tuple[float, float]) -> np.ndarray:
    """Images with channels, values 0 .. top brought to the bounds; `top` None leaves them as they are."""
    images = _with_channels(images)
    if top is None:
        return images
    low, high = map(np.float32, bounds)
    return low + images.astype(np.float32) * ((high - low) / np.float32(top))


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images if images.ndim == 4 else images[..., np.newaxis]  # noqa: PLR2004


_LOADERS: dict[str, Callable[[int], Source]] = {
    "digits": _digits,
    "mnist": _from_keras("mnist"),
    "fashion_mnist": _fashion_mnist,
    "cifar10": _from_keras("cifar10"),
}
NAMES = (*_LOADERS, "npz:PATH")
