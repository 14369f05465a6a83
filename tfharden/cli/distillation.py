"""Distillation: a look ahead, the choice of a temperature, and the Distiller that the flags describe."""

import dataclasses
import pathlib

import keras
import numpy as np

import tfharden as th
from tfharden.cli import temperature_search, training
from tfharden.cli.checks import check_fit
from tfharden.cli.choices import NATURAL
from tfharden.cli.distributed import is_chief, scope
from tfharden.cli.training_configs import DistillConfig
from tfharden.distillation import losses, objectives

# The look ahead: images and epochs of the natural training of a student's likeness, and images it is attacked on.
LIKENESS_IMAGES, LIKENESS_EPOCHS, ATTACKED_IMAGES = 5000, 4, 500
# Share of the training images that is held out to choose a temperature, unless --held_out says how many.
HELD_OUT_SHARE = 0.1


def distill(config: DistillConfig) -> None:
    """Trains the student, writes it unless another worker does, and prints how good it is."""
    with scope(config.training):
        dataset = config.data.load()
        _look_ahead(config, dataset)
        with training.unfinished(config, dataset) as checkpoint:
            several = len(config.temperature) > 1
            temperature = _choose(config, dataset, checkpoint) if several else config.temperature[0]
            student = training.new_or_loaded_model(config.model, config.width, dataset)
            _train(config, student, dataset, dataset.train, temperature, checkpoint)
            if is_chief(config.training):
                training.save_model(student, config.output)
    if is_chief(config.training):
        print(training.told(config, student, dataset))


def load_teacher(config: DistillConfig, dataset: th.data.Dataset, temperature: float) -> keras.Model:
    """The model of --teacher, or several as one.

    Raises:
        InputError: files that can't be loaded, or that don't fit the dataset or each other.
    """
    models = [th.load_model(path) for path in config.teacher]
    for model in models:
        check_fit(model, dataset)
    if len(models) == 1:
        return models[0]
    for index, model in enumerate(models, start=1):
        model.name = f"teacher{index}"  # two teachers may well have one name
    return th.ensemble(models, config.teacher_weights or None, temperature)


def distiller(
    config: DistillConfig, student: keras.Model, teacher: keras.Model, temperature: float, count: int
) -> th.Distiller:
    """The trainer that the flags describe, for `count` training images.

    Raises:
        InputError: flags that don't go together, layers that aren't there.
    """
    on_logits = [_logit_loss(name, weight, temperature) for name, weight in config.losses]
    on_features = [losses.get(config.feature_loss, *pair, weight=config.feature_weight) for pair in config.features]
    kind = objectives.KNOWN["ard" if config.objective == NATURAL else config.objective]
    fields = {field.name for field in dataclasses.fields(kind)}
    return th.Distiller(
        student,
        teacher,
        [*on_logits, *on_features],
        None if config.objective == NATURAL else config.attack,
        kind(**{name: getattr(config, name) for name in ("robust_share", "trust") if name in fields}),
        label_weight=config.label_weight,
        **training.trainer_settings(config, count),
    )


def _logit_loss(name: str, weight: float, temperature: float) -> keras.distillation.DistillationLoss:
    kind = losses.KNOWN[name]
    tempered = "temperature" in {field.name for field in dataclasses.fields(kind)}
    return kind(weight=weight, **({"temperature": temperature} if tempered else {}))


def training_examples(
    config: DistillConfig, teacher: keras.Model, examples: th.data.Examples, bounds: tuple[float, float]
) -> tuple[np.ndarray, object]:
    """Training images, and what the student learns from: labels, none, or the teacher's kept answers.

    Raises:
        InputError: moved images, which have no answers to keep.
    """
    x, labels = examples
    y = None if config.unlabelled else labels
    if not config.answers:
        return x, y
    if config.training.moves_images:
        raise th.InputError("--answers keeps answers to the images as they are: leave --rotation and the like out")
    return x, th.CachedTeacher.by(teacher, x, y, folder=config.answers, bounds=bounds)


def _train(
    config: DistillConfig,
    student: keras.Model,
    dataset: th.data.Dataset,
    examples: th.data.Examples,
    temperature: float,
    checkpoint: pathlib.Path,
) -> None:
    teacher = load_teacher(config, dataset, temperature)
    training.train(
        distiller(config, student, teacher, temperature, len(examples[1])),
        training_examples(config, teacher, examples, dataset.bounds),
        f"distil {student.name}",
        callbacks=[training.backup(checkpoint)],
        **training.settings(config),
    )


def _choose(config: DistillConfig, dataset: th.data.Dataset, checkpoint: pathlib.Path) -> float:
    """The best temperature; prints and draws what each came to."""
    count = config.held_out or round(HELD_OUT_SHARE * len(dataset.train[1]))
    examples, held_out = training.split(dataset.train, count, config.data.seed)
    short = dataclasses.replace(config, epochs=config.sweep_epochs or -(-config.epochs // 4))

    def train(temperature: float) -> keras.Model:
        keras.utils.set_random_seed(config.data.seed)  # the same first weights at each
        student = training.new_or_loaded_model(config.model, config.width, dataset)
        _train(short, student, dataset, examples, temperature, checkpoint / f"temperature-{temperature:g}")
        return student

    threat = config.threat.within(dataset.bounds)
    trials = temperature_search.sweep(train, config.temperature, held_out, threat, checkpoint)
    best = temperature_search.best(trials, config.pick)
    if is_chief(config.training):
        picture = pathlib.Path(config.output).with_suffix(".temperature.png")
        temperature_search.draw(trials, best, count, picture)
        print(f"{short.epochs} epochs each, on {count} held-out images ({picture}):")
        print(temperature_search.table(trials, best))
    keras.utils.set_random_seed(config.data.seed)
    return best.temperature


def _look_ahead(config: DistillConfig, dataset: th.data.Dataset) -> None:
    """Attacks a likeness of the student, trained naturally for a moment, and prints how far that fools the teacher.

    The student itself has nothing to attack before it is trained.
    """
    if config.objective == NATURAL or not is_chief(config.training):
        return
    x, y = config.data.at_most(LIKENESS_IMAGES, dataset.train)
    likeness = training.new_or_loaded_model(config.model, config.width, dataset)
    trainer = th.RobustModel(likeness)
    trainer.compile("adam")
    trainer.fit(x, y, batch_size=config.training.batch_size, epochs=LIKENESS_EPOCHS, verbose=0)
    teacher = load_teacher(config, dataset, 1.0)
    some = x[:ATTACKED_IMAGES], y[:ATTACKED_IMAGES]
    try:
        print(f"before training: {th.transferability(likeness, teacher, config.attack, *some)}")
    except th.InputError as error:
        print(f"before training: {error}")
    keras.utils.set_random_seed(config.data.seed)
