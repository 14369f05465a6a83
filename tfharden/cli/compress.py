"""Compresses a model in training: pruned, clustered, quantised, in this order, against an attack if one is asked for.

tfharden-compress --model=saved_models/student.keras --sparsity=0.8 --quantize --output=saved_models/compressed.keras

The result is a Keras model; tfharden-export makes the file. What was pruned stays zero, and what was clustered stays
clustered, in the steps that follow.
"""

import dataclasses

from tfharden.cli import choices, config, runner
from tfharden.cli.checks import check_output
from tfharden.cli.flag_fields import choice, integer, number, part, string, switch, words


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config.TrainingToolConfig):
    """What the flags ask for."""

    model: str = string(None, "Path of the model, a .keras file.", required=True)
    method: config.ObjectiveConfig = part(config.ObjectiveConfig)
    sparsity: float = number(0.0, "Share of each kernel's weights that become zero.", most=0.999)
    pattern: str | None = choice(None, choices.PATTERNS, "Pattern of zeros, instead of --sparsity.")
    clusters: int = integer(0, "Different values that each kernel is left with; 0 for any.", least=0)
    initialiser: str = choice("kmeans++", choices.INITIALISERS, "How the first values are found.")
    quantize: bool = switch("Train in fake int8, for an int8 file.")
    left_float: tuple[str, ...] = words([], "Layers that --quantize leaves float.")
    calibration_examples: int = config.calibration_examples()
    epochs: int = integer(10, "Passes over the training data.", least=1)
    output: str = string("saved_models/compressed.keras", "Path of the compressed model.")


def main(config: Config) -> None:
    """Compresses, saves and measures."""
    from tfharden.cli import compression  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    compression.compress(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
