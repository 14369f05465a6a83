"""Trains a classifier, naturally or adversarially, and saves the plain Keras model.

tfharden-harden --dataset=digits --model=cnn --width=32 --epsilon=0.15 --output=saved_models/teacher.keras
"""

from tfharden.cli import runner
from tfharden.cli.checks import check_output
from tfharden.cli.training_configs import HardenConfig as Config


def main(config: Config) -> None:
    """Trains, saves and measures."""
    from tfharden.cli import adversarial_training  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    adversarial_training.harden(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
