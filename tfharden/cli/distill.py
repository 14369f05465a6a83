"""Distils a small student from one or several teachers, on attacked images, and saves the plain Keras model.

tfharden-distill --teacher=saved_models/teacher.keras --model=cnn --width=12 --output=saved_models/student.keras
tfharden-distill --teacher=saved_models/teacher.keras --temperature=1,2,4,8 --output=saved_models/student.keras

Several temperatures are tried in short trainings, and the best on held-out images is taken.
"""

from tfharden.cli import runner
from tfharden.cli.checks import check_output
from tfharden.cli.training_configs import DistillConfig as Config


def main(config: Config) -> None:
    """Trains the student, saves and measures it."""
    from tfharden.cli import distillation  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    distillation.distill(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
