"""Distils a small student from one or several teachers, on attacked images, and saves the plain Keras model.

tfharden-distill --teacher=saved_models/teacher.keras --model=cnn --width=12 --output=saved_models/student.keras
tfharden-distill --teacher=saved_models/teacher.keras --temperature=1,2,4,8 --output=saved_models/student.keras

Several temperatures are tried in short trainings, and the best on held-out images is taken.
"""

import dataclasses

from tfharden.cli import choices, config, runner
from tfharden.cli.checks import check_output
from tfharden.cli.flag_fields import choice, integer, number, parse_number, string, strings, switch, words
from tfharden.errors import InputError


def _weighed(loss: str) -> tuple[str, float] | None:
    """Name and weight of one of --losses; None where it is neither."""
    name, _, weight = loss.partition(":")
    try:
        return (name, parse_number(weight or "1")) if name in choices.LOGIT_LOSSES else None
    except ValueError:
        return None


def _are_temperatures(texts: list[str]) -> bool:
    try:
        values = [parse_number(text) for text in texts]
    except ValueError:
        return False
    return bool(values) and min(values) > 0 and len(set(values)) == len(values)


def _teacher_weights(texts: list[str]) -> tuple[float, ...]:
    try:
        return tuple(map(parse_number, texts))
    except ValueError as error:
        raise InputError(f"--teacher_weights: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(config.TrainingToolConfig):
    """What the flags ask for."""

    model: str = config.architecture("Architecture of the student")
    width: int | None = config.width()
    teacher: tuple[str, ...] = strings("Path of a .keras file; several make an ensemble.", required=True)
    teacher_weights: tuple[float, ...] = words(
        [], "Say of each teacher, if there are several; the same by default.", convert=_teacher_weights
    )
    objective: str = choice(
        "ard",
        (choices.NATURAL, *choices.DISTILLATION_OBJECTIVES),
        "Method of robust distillation; natural for clean images only, without an attack.",
    )
    robust_share: float = number(5 / 6, "Weight of attacked images in --objective=rslad and adaad.", most=1.0)
    trust: float = number(0.1, "How soon --objective=iad leaves a teacher that errs; 0 for never.")
    losses: tuple[tuple[str, float], ...] = words(
        ["soft-target"],
        f"Losses on the logits, NAME or NAME:WEIGHT; any of {', '.join(choices.LOGIT_LOSSES)}.",
        lambda named: all(map(_weighed, named)),
        f"--losses are NAME or NAME:WEIGHT, known are {', '.join(choices.LOGIT_LOSSES)}",
        lambda named: tuple(map(_weighed, named)),
    )
    features: tuple[tuple[str, str], ...] = words(
        ["conv3:conv3"],
        "Pairs student_layer:teacher_layer to compare; empty for none.",
        lambda pairs: all(pair.count(":") == 1 for pair in pairs),
        "--features are pairs student:teacher",
        lambda pairs: tuple(tuple(pair.split(":")) for pair in pairs),
    )
    feature_loss: str = choice("feature", choices.FEATURE_LOSSES, "How they are compared.")
    feature_weight: float = number(5.0, "Weight of each pair of features.")
    label_weight: float = number(0.0, "Weight of the cross entropy with the labels.")
    unlabelled: bool = switch("Leave the labels of the training images unused.")
    answers: str | None = string(None, "Folder that keeps the teacher's answers, so that it is asked once.")
    temperature: tuple[float, ...] = words(
        ["1"],
        "Temperature of the soft targets: 1 suits a hardened teacher, 4 a natural one. Several are tried in short "
        "trainings, and the best on held-out images is taken.",
        _are_temperatures,
        "--temperature has to be numbers > 0, as 4 or 1,2,4,8",
        lambda texts: tuple(map(parse_number, texts)),
    )
    pick: str = choice("robust", ["clean", "robust"], "Accuracy that the best temperature has most of.")
    sweep_epochs: int | None = integer(None, "Epochs of a short training; a quarter of --epochs.", least=1)
    held_out: int | None = integer(None, "Training images held out for the choice; a tenth.", least=1)
    epochs: int = integer(80, "Passes over the training data.", least=1)
    output: str = string("saved_models/student.keras", "Path of the student.")


def main(config: Config) -> None:
    """Trains the student, saves and measures it."""
    from tfharden.cli import distillation  # noqa: PLC0415 - it imports TensorFlow

    check_output(config.output, overwrite=config.overwrite, suffix=".keras")
    distillation.distill(config)


def run() -> None:
    """Entry point."""
    runner.run(Config, main)
