"""Configurations of the tools that train, each built from its flags."""

import dataclasses

from tfharden.cli import choices, config
from tfharden.cli.flag_fields import choice, integer, number, parse_number, part, string, strings, switch, words
from tfharden.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class HardenConfig(config.TrainingToolConfig):
    """Flags of tfharden-harden."""

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
class DistillConfig(config.TrainingToolConfig):
    """Flags of tfharden-distill."""

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompressConfig(config.TrainingToolConfig):
    """Flags of tfharden-compress."""

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
