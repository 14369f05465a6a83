"""Manifest of an exported file: what is in it, how it was made, how well and how fast it answers."""

import dataclasses
import pathlib
from typing import Any, Self

from tfharden import _io
from tfharden.errors import InputError
from tfharden.export import manifest_checks

SCHEMA = "tfharden.manifest/1"


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
            content = _io.parse_json(path.read_bytes(), manifest_checks.MAX_BYTES)
            if content.pop("schema", None) != SCHEMA:
                raise InputError(f"it isn't a {SCHEMA}")
            manifest_checks.check_manifest(content, {field.name for field in dataclasses.fields(cls)})
            model = path.with_suffix(".tflite")
            if model.is_file() and _io.sha256(model) != content["sha256"]:
                raise InputError(f"it belongs to another file than {model.name} beside it")
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except OSError as error:
            raise InputError(f"can't read {path}: {error.strerror or error}") from error
        return cls(**content | {"bounds": tuple(content["bounds"])})
