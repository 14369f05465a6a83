"""Exported files of a model: each is exported, attacked as a file and measured once, and its figures are kept."""

import dataclasses
import json
from typing import Any

import keras
import numpy as np

import tfharden as th
from benchmarks.common.recipe_table import Table
from benchmarks.compression.recipes import File
from tfharden import _io
from tfharden.export.mcu import arena
from tfharden.tflite import TFLiteFile

PACKAGES = ("tfharden", "tensorflow", "keras", "ai-edge-litert")
ATTACKS = ("apgd-ce", "apgd-dlr-t", "square")
CALIBRATION, CALIBRATION_STEPS = 200, 10
COLUMNS = (
    "file",
    "clean",
    *("APGD-CE", "APGD-DLR-T", "Square"),
    "worst case",
    "bytes",
    "gzip bytes",
    "us an image",
    "arena bytes",
)
ABOUT = (
    "Attacks by their default settings, on the gradients of the file's twin, counted on LiteRT. Microseconds on one",
    "thread, one image after another, median. The arena is what tflite-micro needs for tensors in RAM; it runs",
    "neither float16, dynamic range nor sparse files. A runtime that takes sparse or packed weights unpacks them: the",
    "saving is of storage alone.",
)


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where files are tried.

    Attributes:
        dataset: calibrates, and gives the test images.
        threat: of the attacks.
        images: test images that are attacked.
        seed: of their choice and of attacks.
    """

    dataset: th.data.Dataset
    threat: th.Threat
    images: int
    seed: int

    def figures(self, file: File, models: Table) -> dict[str, Any]:
        """Those of `file`, of one of these models; kept with the project until the model's flags are others.

        Returns:
            The manifest's values, "attacks" by name, and "worst_case".
        """
        told = models.figures / f"{file.model}_{file.recipe}.json"
        settings = [*models.lineage(file.model), *ATTACKS, f"{self.images} images"]
        if told.exists() and (found := json.loads(told.read_text()))["settings"] == settings:
            return found
        path = models.made(file.model)
        model = th.load_model(path)
        artifact = th.export.to_tflite(model, file.recipe, self._calibration(model), self.dataset.bounds)
        manifest = th.export.manifest(artifact, model, self.dataset.test)
        output = path.with_name(f"{file.model}_{file.recipe}.tflite")
        artifact.save(output, manifest)
        examples = th.data.take(self.dataset.test, self.images, self.seed)
        report = th.evaluate([output], examples, self.threat, ATTACKS, surrogate=model, seed=self.seed)
        (evaluated,) = report.content["models"]
        found = dataclasses.asdict(manifest) | {
            "settings": settings,
            "attacks": {attack["name"]: attack["robust_accuracy"] for attack in evaluated["attacks"]},
            "worst_case": evaluated["worst_case"]["robust_accuracy"],
            "arena_bytes": _arena(artifact.file),
        }
        _io.write_text(told, json.dumps(found, indent=1))
        print(file.label, found["evaluation"], found["attacks"], found["worst_case"], flush=True)
        return found

    def _calibration(self, model: keras.Model) -> np.ndarray:
        """Clean and attacked images."""
        x, y = th.data.take(self.dataset.train, CALIBRATION, self.seed)
        attack = th.attacks.PGD(self.threat, steps=CALIBRATION_STEPS, early_exit=False)
        return np.concatenate([x, attack(th.KerasClassifier(model), x, y).adversarial])


def _arena(file: TFLiteFile) -> int | None:
    """None where tflite-micro can't run it."""
    try:
        measured, _ = arena.measure(file)
    except th.InputError:
        return None
    return None if measured is None else measured.least


def row(file: File, found: dict[str, Any]) -> list[str]:
    """Of the table."""
    needed = found["arena_bytes"]
    return [
        file.label,
        f"{100 * found['evaluation']['accuracy']:.2f}",
        *(f"{100 * found['attacks'][attack]:.1f}" for attack in ATTACKS),
        f"{100 * found['worst_case']:.1f}",
        f"{found['bytes']:,}",
        f"{found['gzip_bytes']:,}",
        f"{1e6 * found['latency']['seconds']:.0f}",
        "" if needed is None else f"{needed:,}",
    ]
