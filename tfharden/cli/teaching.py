"""Flags that choose what a student is taught, and the Distiller that they describe."""

import dataclasses

import keras
import numpy as np
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.cli import options, schedule
from tfharden.data.examples import Examples
from tfharden.distillation import losses, objectives

FLAGS = flags.FLAGS
NATURAL = "natural"


def define_flags() -> None:
    """--teacher, --objective and its settings, the losses and their weights."""
    flags.DEFINE_multi_string("teacher", None, "Path of a .keras file; several make an ensemble.", required=True)
    flags.DEFINE_list("teacher_weights", [], "Say of each teacher, if there are several; the same by default.")
    flags.DEFINE_enum(
        "objective",
        "ard",
        [NATURAL, *objectives.KNOWN],
        "Method of robust distillation; natural for clean images only, without an attack.",
    )
    options.define_number("robust_share", 5 / 6, "Weight of attacked images in --objective=rslad and adaad.", most=1.0)
    options.define_number("trust", 0.1, "How soon --objective=iad leaves a teacher that errs; 0 for never.")
    flags.DEFINE_list(
        "losses", ["soft-target"], f"Losses on the logits, NAME or NAME:WEIGHT; any of {', '.join(losses.of_logits())}."
    )
    flags.DEFINE_list("features", ["conv3:conv3"], "Pairs student_layer:teacher_layer to compare; empty for none.")
    flags.DEFINE_enum("feature_loss", "feature", losses.of_features(), "How they are compared.")
    options.define_number("feature_weight", 5.0, "Weight of each pair of features.")
    options.define_number("label_weight", 0.0, "Weight of the cross entropy with the labels.")
    flags.DEFINE_bool("unlabelled", False, "Leave the labels of the training images unused.")
    flags.DEFINE_string("answers", None, "Folder that keeps the teacher's answers, so that it is asked once.")
    flags.register_validator(
        "features", lambda pairs: all(pair.count(":") == 1 for pair in pairs), "--features are pairs student:teacher"
    )
    flags.register_validator(
        "losses",
        lambda named: all(_weighed(loss) is not None for loss in named),
        f"--losses are NAME or NAME:WEIGHT, known are {', '.join(losses.of_logits())}",
    )


def _weighed(loss: str) -> tuple[str, float] | None:
    """Name and weight of one of --losses; None where it is neither."""
    name, _, weight = loss.partition(":")
    try:
        return (name, options.number(weight or "1")) if name in losses.of_logits() else None
    except ValueError:
        return None


def teacher(source: data.Dataset, temperature: float) -> keras.Model:
    """What --teacher says: a model, or several as one.

    Raises:
        InputError: files that can't be loaded, or that don't fit the dataset or each other.
    """
    models = [th.load_model(path) for path in FLAGS.teacher]
    for model in models:
        options.check_fit(model, source)
    if len(models) == 1:
        return models[0]
    for index, model in enumerate(models, start=1):
        model.name = f"teacher{index}"  # two teachers may well have one name
    try:
        weights = [options.number(weight) for weight in FLAGS.teacher_weights] or None
    except ValueError as error:
        raise th.InputError(f"--teacher_weights: {error}") from error
    return th.ensemble(models, weights, temperature)


def distiller(student: keras.Model, teacher: keras.Model, temperature: float, count: int) -> th.Distiller:
    """The trainer that the flags describe, for `count` training images.

    Raises:
        InputError: flags that don't go together, layers that aren't there.
    """
    features = [
        losses.get(FLAGS.feature_loss, *pair.split(":"), weight=FLAGS.feature_weight) for pair in FLAGS.features
    ]
    return th.Distiller(
        student,
        teacher,
        [*_losses(temperature), *features],
        None if FLAGS.objective == NATURAL else options.training_attack(),
        _objective(),
        label_weight=FLAGS.label_weight,
        **schedule.trainer_settings(count),
    )


def _losses(temperature: float) -> list[keras.distillation.DistillationLoss]:
    made = []
    for name, weight in map(_weighed, FLAGS.losses):
        kind = losses.KNOWN[name]
        tempered = "temperature" in {field.name for field in dataclasses.fields(kind)}
        made.append(kind(weight=weight, **({"temperature": temperature} if tempered else {})))
    return made


def _objective() -> objectives.DistillationObjective:
    kind = objectives.KNOWN["ard" if FLAGS.objective == NATURAL else FLAGS.objective]
    given = {"robust_share": FLAGS.robust_share, "trust": FLAGS.trust}
    return kind(**{field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given})


def examples(teacher: keras.Model, source: Examples, bounds: tuple[float, float]) -> tuple[np.ndarray, object]:
    """Training images, and what the student learns from: labels, none, or the teacher's kept answers.

    Raises:
        InputError: moved images, which have no answers to keep.
    """
    x, y = source
    if FLAGS.unlabelled:
        y = None
    if not FLAGS.answers:
        return x, y
    if schedule.augmentation() is not None:
        raise th.InputError("--answers keeps answers to the images as they are: leave --rotation and the like out")
    return x, th.CachedTeacher.by(teacher, x, y, folder=FLAGS.answers, bounds=bounds)
