"""Compresses a model in training: pruned, clustered, quantised, in this order, against an attack if one is asked for.

tfharden-compress --model=saved_models/student.keras --sparsity=0.8 --quantize --output=saved_models/compressed.keras

The result is a Keras model; tfharden-export makes the file. What was pruned stays zero, and what was clustered stays
clustered, in the steps that follow.
"""

from tfharden.cli import runner
from tfharden.cli.checks import check_output
from tfharden.cli.training_configs import CompressConfig as Config


def main(config: Config) -> None:
    """Compresses, saves and measures."""
    from tfharden.cli import compression  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    compression.compress(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
