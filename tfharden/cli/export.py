"""Exports a Keras model to a .tflite file that has been run beside it, with a data sheet in JSON of the same name.

tfharden-export --model=saved_models/student.keras --recipe=int8 --output=saved_models/student_int8.tflite
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from absl import flags

import tfharden as th
from tfharden.cli import options, runner
from tfharden.cli.progress import Progress

if TYPE_CHECKING:
    import keras

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    flags.DEFINE_string("model", None, "Path of the model, a .keras file.", required=True)
    flags.DEFINE_enum(
        "recipe",
        "int8",
        list(th.export.RECIPES),
        "What the file computes in: float16 is half-precision weights; sparse is float32 without the zeros of a pruned "
        "model; dynamic 8-bit weights, activations quantised on the fly; int8-uint8 and int8-float are int8 inside, "
        "with input and output in uint8 or float32; int16x8 is 16-bit activations, 8-bit weights; aeq-int8, "
        "aeq-dynamic and aeq-weight-only are made by ai-edge-quantizer, an extra.",
    )
    flags.DEFINE_enum("target", "any", th.export.TARGETS, "What it has to run on; mcu refuses what doesn't run there.")
    flags.DEFINE_bool("dynamic_batch", False, "A file that takes any number of images at a time, not one.")
    flags.DEFINE_bool("per_tensor_dense", False, "One scale for all of a dense layer's weights, for old runtimes.")
    flags.DEFINE_float(
        "least_agreement",
        th.export.LEAST_AGREEMENT,
        "Share of the test images on which a file with rounded numbers has to predict what the model predicts.",
        lower_bound=0.0,
        upper_bound=1.0,
    )
    define_calibration()
    options.define_output("saved_models/model.tflite", "Path of the .tflite file.")


def define_calibration() -> None:
    """--calibration_examples."""
    flags.DEFINE_integer(
        "calibration_examples", 200, "Training images to measure ranges on, each clean and attacked.", lower_bound=1
    )


def calibration(model: keras.Model, dataset: th.data.Dataset, threat: th.Threat, count: int, seed: int) -> np.ndarray:
    """Training images, clean and attacked: ranges from clean ones alone would clip what an attack stirs up."""
    x, y = th.data.take(dataset.train, min(count, len(dataset.train[1])), seed)
    attack = th.attacks.PGD(threat, steps=10, early_exit=False)
    return np.concatenate([x, attack(th.KerasClassifier(model, bounds=dataset.bounds), x, y).adversarial])


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".tflite")
    options.check_output(th.export.artifact.beside(FLAGS.output))
    settings = {
        "per_channel_dense": not FLAGS.per_tensor_dense,
        "dynamic_batch": FLAGS.dynamic_batch,
        "target": FLAGS.target,
    }
    recipe = th.export.recipes.get(FLAGS.recipe, **settings)
    dataset = options.dataset()
    examples = options.test_examples(dataset)
    model = th.load_model(FLAGS.model)
    options.check_fit(model, dataset)
    with Progress(f"export {FLAGS.recipe}") as progress:
        images = None
        if recipe.calibrated:
            images = calibration(model, dataset, options.threat(), FLAGS.calibration_examples, FLAGS.seed)
        artifact = th.export.to_tflite(
            model,
            FLAGS.recipe,
            images,
            dataset.bounds,
            probes=examples[0],
            least_agreement=FLAGS.least_agreement,
            **settings,
        )
        progress(0.8)
        manifest = th.export.manifest(artifact, model, examples)
        artifact.save(FLAGS.output, manifest)
        progress(1.0)
    print(summary(manifest))


def summary(manifest: th.export.Manifest) -> str:
    """A manifest in a line."""
    found = manifest.evaluation
    return (
        f"{FLAGS.output}: {manifest.bytes / 1024:.1f} KB ({manifest.gzip_bytes / 1024:.1f} KB as gzip), "
        f"{manifest.multiply_adds:,} multiply-adds and {1e6 * manifest.latency['seconds']:.0f} us an image, right on "
        f"{found['accuracy']:.1%} of {found['examples']} test images, predicts what its source predicts on "
        f"{found['agreement']:.1%}"
    )


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
