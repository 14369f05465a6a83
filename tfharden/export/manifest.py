"""The data sheet of an exported file: what is in it, how it was made, how well and how fast it answers."""

import dataclasses
import gzip
import importlib.metadata
import pathlib
import platform
from typing import Any, Self

import keras
import numpy as np

from tfharden import _io, data
from tfharden.classifiers import KerasClassifier, TFLiteClassifier
from tfharden.data.examples import Examples, check_images, check_labels
from tfharden.errors import InputError
from tfharden.export import manifest_checks, recipes
from tfharden.export.artifact import Artifact
from tfharden.tflite import TensorSpec
from tfharden.tflite.latency import latency

SCHEMA = "tfharden.manifest/1"
PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert", "numpy")
# Images of a timed batch where no examples are given, and the most where they are.
TIMED = 64


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is known of a .tflite file; JSON beside it keeps these names.

    Attributes:
        sha256: of the file.
        bytes: its size.
        gzip_bytes: its size as gzip -9 packs it, which is what pruning and clustering save.
        recipe: name of the recipe.
        bounds: range of the model's input.
        per_channel_dense: whether each output of a Dense layer has a scale of its own; None if nothing is quantised.
        dynamic_batch: whether it takes any number of images at a time.
        operators: how many of each operator, by LiteRT's names.
        dtypes: how many tensors of each element type.
        input: name, shape, dtype, scale (0 if it isn't quantised) and zero_point of the input.
        output: those of the output.
        parameters: elements of all weights and biases, at their dense size.
        multiply_adds: those of one image.
        source: name of the model, and the SHA-256 of its weights.
        calibration: SHA-256 and number of the calibration images; None if there were none.
        agreement: share of the images compared at export on which file and model predict the same class.
        largest_error: largest difference of a logit there, as a share of the largest logit of the model.
        evaluation: on labelled examples: their number and SHA-256, accuracy, source_accuracy and agreement with the
            source; None if there were none.
        latency: seconds an image (median over rounds), threads, rounds, images of a round, kernels. Images run one
            after another at the batch that the file was made for, on an interpreter for each thread.
        arena_bytes: memory that LiteRT for Microcontrollers needs for its tensors; None if it wasn't measured.
        versions: of Python and the packages that took part.
    """

    sha256: str
    bytes: int
    gzip_bytes: int
    recipe: str
    bounds: tuple[float, float]
    per_channel_dense: bool | None
    dynamic_batch: bool
    operators: dict[str, int]
    dtypes: dict[str, int]
    input: dict[str, Any]
    output: dict[str, Any]
    parameters: int
    multiply_adds: int
    source: dict[str, str]
    calibration: dict[str, Any] | None
    agreement: float
    largest_error: float
    evaluation: dict[str, Any] | None
    latency: dict[str, Any]
    versions: dict[str, str]
    arena_bytes: int | None = None

    def json(self) -> str:
        """As it is written."""
        return _io.dump_json({"schema": SCHEMA} | dataclasses.asdict(self), indent=2) + "\n"

    def save(self, path: _io.Path) -> None:
        """Writes it, whole or not at all.

        Raises:
            InputError: it can't be written.
        """
        _io.write_text(path, self.json())

    @classmethod
    def load(cls, path: _io.Path) -> Self:
        """Reads it back, and checks it against the .tflite of the same name beside it, if there is one.

        Raises:
            InputError: it can't be read, is no manifest, or belongs to another file.
        """
        path = pathlib.Path(path)
        try:
            content = _io.parse_json(path.read_bytes(), manifest_checks.MOST_BYTES)
            if content.pop("schema", None) != SCHEMA:
                raise InputError(f"it isn't a {SCHEMA}")
            manifest_checks.check(content, {field.name for field in dataclasses.fields(cls)})
            model = path.with_suffix(".tflite")
            if model.is_file() and _io.sha256(model) != content["sha256"]:
                raise InputError(f"it belongs to another file than {model.name} beside it")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror or error}") from error
        return cls(**content | {"bounds": tuple(content["bounds"])})


def manifest(
    artifact: Artifact,
    model: keras.Model,
    examples: Examples | None = None,
    threads: int = 1,
    rounds: int = 5,
    kernels: str = "xnnpack",
) -> Manifest:
    """Measures an exported file.

    Args:
        artifact: the export.
        model: what it was made of.
        examples: images and labels to count accuracy on.
        threads: interpreters that share the timed images.
        rounds: timed repetitions, of which the median counts.
        kernels: "xnnpack", "builtin" or "reference", for accuracy and latency.

    Raises:
        InputError: another model than the artifact's, examples that don't fit it, fewer than one thread or round.
    """
    file, source = artifact.file, KerasClassifier(model, bounds=artifact.bounds)
    if (source.input_shape, source.num_classes) != (file.input.shape[1:], file.output.shape[1]):
        raise InputError(f"the file wasn't made of {model.name}: it takes and gives other shapes")
    if rounds < 1:
        raise InputError(f"rounds={rounds} has to be at least 1")
    if examples is None:
        shape = (TIMED, *source.input_shape)
        images = np.random.default_rng(0).uniform(*artifact.bounds, shape).astype(np.float32)
    else:
        images = check_images(examples[0], source.input_shape, artifact.bounds)
        examples = images, check_labels(examples[1], len(images), source.num_classes)
    packages = (*PACKAGES, *recipes.BY_NAME[artifact.recipe].packages)
    return Manifest(
        sha256=file.sha256,
        bytes=len(file.content),
        gzip_bytes=len(gzip.compress(file.content, 9, mtime=0)),
        recipe=artifact.recipe,
        bounds=artifact.bounds,
        per_channel_dense=artifact.per_channel_dense,
        dynamic_batch=artifact.dynamic_batch,
        operators=dict(sorted(file.operators.items())),
        dtypes=dict(sorted(file.dtypes.items())),
        input=_spec(file.input),
        output=_spec(file.output),
        parameters=file.parameters,
        multiply_adds=file.multiply_adds,
        source={"name": source.name, "sha256": source.fingerprint()},
        calibration=None if artifact.calibration is None else dataclasses.asdict(artifact.calibration),
        agreement=artifact.agreement,
        largest_error=artifact.largest_error,
        evaluation=None if examples is None else _evaluation(artifact, source, examples, kernels),
        latency=latency(artifact.file, images[:TIMED], kernels=kernels, threads=threads, rounds=rounds),
        versions={"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
    )


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return dataclasses.asdict(spec) | {"shape": list(spec.shape), "dtype": spec.dtype.name}


def _evaluation(artifact: Artifact, source: KerasClassifier, examples: Examples, kernels: str) -> dict[str, Any]:
    images, labels = examples
    expected, got = source.predict(images), TFLiteClassifier(artifact.file, kernels=kernels).predict(images)
    return {
        "examples": len(labels),
        "sha256": data.sha256(examples),
        "accuracy": float(np.mean(got == labels)),
        "source_accuracy": float(np.mean(expected == labels)),
        "agreement": float(np.mean(got == expected)),
    }
