"""Exports a Keras model to a .tflite file that has been run beside it, with a data sheet in JSON of the same name.

tfharden-export --model=saved_models/student.keras --recipe=int8 --output=saved_models/student_int8.tflite
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

import tfharden as th
from tfharden.cli import choices, config, runner
from tfharden.cli.checks import check_fit, check_output
from tfharden.cli.flag_fields import choice, part, share, string, switch
from tfharden.cli.progress import Progress

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """What the flags ask for."""

    data: config.DataConfig = part(config.DataConfig)
    threat: config.ThreatConfig = part(config.ThreatConfig)
    model: str = string(None, "Path of the model, a .keras file.", required=True)
    recipe: str = choice(
        "int8",
        choices.RECIPES,
        "What the file computes in: float16 is half-precision weights; sparse is float32 without the zeros of a pruned "
        "model; dynamic 8-bit weights, activations quantised on the fly; int8-uint8 and int8-float are int8 inside, "
        "with input and output in uint8 or float32; int16x8 is 16-bit activations, 8-bit weights; aeq-int8, "
        "aeq-dynamic and aeq-weight-only are made by ai-edge-quantizer, an extra.",
    )
    target: str = choice("any", choices.TARGETS, "What it has to run on; mcu refuses what doesn't run there.")
    dynamic_batch: bool = switch("A file that takes any number of images at a time, not one.")
    per_tensor_dense: bool = switch("One scale for all of a dense layer's weights, for old runtimes.")
    least_agreement: float = share(
        choices.LEAST_AGREEMENT,
        "Share of the test images on which a file with rounded numbers has to predict what the model predicts.",
    )
    calibration_examples: int = config.calibration_examples()
    output: str = string("saved_models/model.tflite", "Path of the .tflite file.")
    overwrite: bool = switch("Replace what stands at the output.")


def calibration(model: keras.Model, dataset: th.data.Dataset, threat: th.Threat, count: int, seed: int) -> np.ndarray:
    """Training images, clean and attacked: ranges of clean images alone would clip the activations under attack."""
    x, y = th.data.take(dataset.train, min(count, len(dataset.train[1])), seed)
    attack = th.attacks.PGD(threat, steps=10, early_exit=False)
    adversarial = attack(th.KerasClassifier(model, bounds=dataset.bounds), x, y).adversarial
    return np.concatenate([x, adversarial])


def main(config: Config) -> None:
    """Exports, compares the file with the model, and saves it with its data sheet."""
    check_output(config.output, overwrite=config.overwrite, suffix=".tflite")
    check_output(th.export.artifact.beside(config.output), overwrite=config.overwrite)
    settings: dict[str, Any] = {
        "per_channel_dense": not config.per_tensor_dense,
        "dynamic_batch": config.dynamic_batch,
        "target": config.target,
    }
    recipe = th.export.recipes.get(config.recipe, **settings)
    dataset = config.data.load()
    examples = config.data.test_examples(dataset)
    model = th.load_model(config.model)
    check_fit(model, dataset)
    with Progress(f"export {config.recipe}") as progress:
        images = None
        if recipe.calibrated:
            threat = config.threat.within(dataset.bounds)
            images = calibration(model, dataset, threat, config.calibration_examples, config.data.seed)
        artifact = th.export.to_tflite(
            model,
            config.recipe,
            images,
            dataset.bounds,
            probes=examples[0],
            least_agreement=config.least_agreement,
            **settings,
        )
        progress(0.8)
        manifest = th.export.manifest(artifact, model, examples)
        artifact.save(config.output, manifest)
        progress(1.0)
    print(summary(config.output, manifest))


def summary(output: str, manifest: th.export.Manifest) -> str:
    """A manifest in a line."""
    found = manifest.evaluation or {}
    return (
        f"{output}: {manifest.bytes / 1024:.1f} KB ({manifest.gzip_bytes / 1024:.1f} KB as gzip), "
        f"{manifest.multiply_adds:,} multiply-adds and {1e6 * manifest.latency['seconds']:.0f} us an image, right on "
        f"{found['accuracy']:.1%} of {found['examples']} test images, predicts what its source predicts on "
        f"{found['agreement']:.1%}"
    )


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
