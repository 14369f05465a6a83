"""Exactness of twins: their tensors beside the interpreter's, for files of many makers and recipes."""

import pathlib
import warnings
from collections.abc import Iterator

import keras
import numpy as np

import tfharden as th
from benchmarks.common import tables
from benchmarks.export import networks
from tfharden import tflite
from tfharden.errors import InputError
from tfharden.tflite.twin import twin as twins

ARCHITECTURES = ("cnn", "resnet")
RECIPES = ("int8", "int8-uint8", "int8-float", "int16x8", "dynamic", "float16", "float32")
WIDTH, EPOCHS, EPSILON, STEPS = 8, 6, 0.1, 20
COLUMNS = ("file", "kernels", "images", "logits exact", "all tensors exact, at least", "off by, LSB", "classes")
ABOUT = (
    "Shares of values that twin and interpreter have in common, in percent: of the logits, and of the tensor where it",
    "is least; real numbers count as the same if they differ by 1e-5 of the largest or less. The largest difference is",
    "that in any tensor of integers. The goal is 99.9% of the logits of all int8 files.",
)


def part(
    dataset: th.data.Dataset,
    given: list[pathlib.Path],
    folder: pathlib.Path,
    images: int,
    seed: int,
    *,
    mobilenet: bool,
) -> list[str]:
    """The table; `given` are files from elsewhere, `folder` is where others are made."""
    rows: list[list[str]] = []
    for path in given:
        rows += _rows(path, {"random": _random(tflite.read(path), images, seed)})
    for path in _small(dataset, folder, seed):
        sets = {"random": _random(tflite.read(path), images, seed), "test": dataset.test[0][:images]}
        rows += _rows(path, sets | _attacked(path, dataset, images, seed))
    if mobilenet:
        path = _mobilenet(folder, seed)
        # Larger images, fewer of them.
        rows += _rows(path, {"random": _random(tflite.read(path), max(images // 10, 1), seed)})
    return ["## Exactness", "", *ABOUT, "", *tables.table(COLUMNS, *rows), ""]


def trained(name: str, dataset: th.data.Dataset, seed: int, width: int = WIDTH) -> keras.Model:
    """A small network, fitted for seconds."""
    x, y = dataset.train
    model = th.models.build(name, x.shape[1:], int(y.max()) + 1, width=width, seed=seed)
    model.compile(keras.optimizers.Adam(0.005), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, epochs=EPOCHS, batch_size=64, verbose=0)
    return model


def _small(dataset: th.data.Dataset, folder: pathlib.Path, seed: int) -> Iterator[pathlib.Path]:
    for name in ARCHITECTURES:
        model = trained(name, dataset, seed)
        for recipe in RECIPES:
            path = folder / f"{name}_{recipe}.tflite"
            th.export.to_tflite(model, recipe, dataset.train[0], least_agreement=0).save(path)
            yield path


def _mobilenet(folder: pathlib.Path, seed: int) -> pathlib.Path:
    make, bounds = networks.NETWORKS["MobileNetV2"]
    keras.utils.set_random_seed(seed)
    shape = (networks.SIZE, networks.SIZE, 3)
    x = networks.images(bounds)
    model = networks.set_batch_statistics(
        make(weights=None, input_shape=shape, classes=networks.CLASSES), x[: networks.CALIBRATION]
    )
    path = folder / "MobileNetV2_int8.tflite"
    th.export.to_tflite(model, "int8", x[: networks.CALIBRATION], bounds, least_agreement=0).save(path)
    return path


def _random(file: tflite.TFLiteFile, images: int, seed: int) -> np.ndarray:
    """Uniform over what an integer input can hold, over [0, 1] for a real one."""
    low, high, spacing = tflite.Runtime(file).receivable(-1e9, 1e9)
    low, high = (low, high) if spacing else (0.0, 1.0)
    shape = (images, *file.input.shape[1:])
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def _attacked(path: pathlib.Path, dataset: th.data.Dataset, images: int, seed: int) -> dict[str, np.ndarray]:
    classifier = th.as_classifier(path)
    if not classifier.differentiable:
        return {}
    attack = th.attacks.PGD(th.Linf(EPSILON), steps=STEPS, seed=seed)
    x, y = (values[:images] for values in dataset.test)
    return {"PGD": attack(classifier, x, y).adversarial}


def _rows(path: pathlib.Path, sets: dict[str, np.ndarray]) -> list[list[str]]:
    rows = []
    for kernels in twins.KERNELS:
        file = tflite.read(path)
        try:
            twin = tflite.Twin(file, kernels)
        except InputError as error:
            rows.append([path.name, kernels, str(error), "", "", "", ""])
            continue
        for label, images in sets.items():
            with warnings.catch_warnings(action="ignore"):
                found = twin.verify(images)
            shares = (found.logits.exact, found.exact)
            percent = [f"{100 * share:.3f}" for share in shares]
            rows.append(
                [
                    path.name,
                    kernels,
                    f"{len(images)} {label}",
                    *percent,
                    f"{found.largest:g}",
                    f"{100 * found.classes:.1f}",
                ]
            )
            print(rows[-1], flush=True)
    return rows
