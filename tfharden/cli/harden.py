"""Trains a classifier, naturally or adversarially, and saves the plain Keras model.

tfharden-harden --dataset=digits --model=cnn --width=32 --epsilon=0.15 --output=saved_models/teacher.keras
"""

import dataclasses

from tfharden.cli import config, runner
from tfharden.cli.checks import check_output
from tfharden.cli.flag_fields import choice, integer, part, string


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config.TrainingToolConfig):
    """What the flags ask for."""

    model: str = config.architecture("Architecture to train")
    width: int | None = config.width()
    method: config.ObjectiveConfig = part(config.ObjectiveConfig)
    held_out: int = integer(
        0,
        "Training images to hold out: the epoch of the highest accuracy on them under attack is kept. 0: the last.",
        least=0,
    )
    overfitting: str = choice(
        "stop",
        ["stop", "fall_back", "ignore"],
        "What to do when training on one attack step overfits to it: stop with the last good epoch, go on from it with "
        "PGD of --attack_steps, or nothing.",
    )
    tensorboard_dir: str | None = config.tensorboard_dir()
    output: str = string("saved_models/hardened.keras", "Path of the trained model.")


def main(config: Config) -> None:
    """Trains, saves and measures."""
    from tfharden.cli import adversarial_training  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    adversarial_training.harden(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
