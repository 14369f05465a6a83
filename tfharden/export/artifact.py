"""Artifact of an export: a checked file, and how close it comes to its source."""

import dataclasses
import pathlib
from typing import Any

from tfharden import _io, _text
from tfharden.export.calibration import Calibration
from tfharden.export.manifests import Manifest
from tfharden.export.recipes import Recipe
from tfharden.tflite import TFLiteFile

SCHEMA = "tfharden.export/1"
_PACKAGES = ("tfharden", "tensorflow", "keras")


class ExportError(RuntimeError):
    """The converter failed, or its file doesn't do what the model does."""


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A converted model, compared with its source.

    Attributes:
        file: the file's content, checked and read; `file.metadata` says how it was made.
        recipe: name of the recipe.
        agreement: share of the compared images on which file and model predict the same class.
        largest_error: largest difference of a logit, as a share of the largest logit of the model.
        bounds: range of the model's input.
        calibration: which images ranges were measured on, if any were.
        per_channel_dense: whether each output of a Dense layer has a scale of its own; None if nothing is quantised.
        dynamic_batch: whether the file takes any number of images at a time.
    """

    file: TFLiteFile
    recipe: str
    agreement: float
    largest_error: float
    bounds: tuple[float, float] = (0.0, 1.0)
    calibration: Calibration | None = None
    per_channel_dense: bool | None = None
    dynamic_batch: bool = False

    def save(self, path: _io.Path, manifest: Manifest | None = None) -> None:
        """Writes the .tflite file, and the manifest beside it if it is given: whole, and both or none.

        Raises:
            InputError: it can't be written.
        """
        if manifest is None:
            _io.write_bytes(path, self.file.content)
            return
        with _io.replacing(path) as file:
            file.write_bytes(self.file.content)
            manifest.save(beside(path))


def beside(path: _io.Path) -> pathlib.Path:
    """Where the manifest of a .tflite lies."""
    return pathlib.Path(path).with_suffix(".json")


def facts(
    file: TFLiteFile, recipe: Recipe, bounds: tuple[float, float], calibration: Calibration | None, agreement: float
) -> dict[str, Any]:
    """What a file says of itself in its metadata: how it was made, in few bytes, since they go into flash too."""
    return {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "bounds": [float(bound) for bound in bounds],
        "per_channel_dense": recipe.per_channel_dense,
        "calibration": None if calibration is None else dataclasses.asdict(calibration),
        "agreement": round(agreement, 4),
        "parameters": file.parameters,
        "multiply_adds": file.multiply_adds,
        "versions": _text.versions((*_PACKAGES, *recipe.packages)),
    }
