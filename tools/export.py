"""Exports a Keras model to a .tflite file that has been run beside it.

tfharden-export --model=saved_models/student.keras --recipe=int8 --output=saved_models/student_int8.tflite
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from absl import flags

import tfharden as th
from tfharden.tools import options, runner
from tfharden.tools.progress import Progress

if TYPE_CHECKING:
    import keras

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    flags.DEFINE_string("model", None, "Path of the model, a .keras file.", required=True)
    flags.DEFINE_enum("recipe", "int8", list(th.export.RECIPES), "What the file computes in.")
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
    dataset = options.dataset()
    model = th.load_model(FLAGS.model)
    options.check_fit(model, dataset)
    with Progress(f"export {FLAGS.recipe}") as progress:
        images = calibration(model, dataset, options.threat(), FLAGS.calibration_examples, FLAGS.seed)
        artifact = th.export.to_tflite(model, FLAGS.recipe, images, dataset.bounds)
        artifact.save(FLAGS.output)
        progress(1.0)
    size = len(artifact.file.content) / 1024
    print(f"{FLAGS.output}: {size:.1f} KB, predicts what its source predicts on {artifact.agreement:.1%} of the images")


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)


if __name__ == "__main__":
    run()
