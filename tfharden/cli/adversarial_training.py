"""Adversarial training: the trainer that the flags describe, its callbacks, and a look at the model's confidence."""

import dataclasses

import keras

import tfharden as th
from tfharden.cli import training
from tfharden.cli.checks import check_fit
from tfharden.cli.choices import NATURAL
from tfharden.cli.config import ObjectiveConfig, TrainingToolConfig
from tfharden.cli.distributed import is_chief, scope
from tfharden.cli.training_configs import HardenConfig
from tfharden.hardening import BestEpoch, CatastrophicOverfitting, Confidence, confidence, confidence_table

# Images that single-step training is watched on, and that confidence is measured on with so many steps of PGD.
WATCHED_IMAGES, MEASURED_IMAGES, PGD_STEPS = 500, 1000, 20


def harden(config: HardenConfig) -> None:
    """Trains, writes the model, and prints how good and how confident it is."""
    if config.tensorboard_dir:
        th.evaluation.check_tensorboard()
    with scope(config.training):
        dataset = config.data.load()
        model = training.new_or_loaded_model(config.model, config.width, dataset)
        before = _confidence(config, model, dataset) if config.model.endswith(".keras") else None
        _train(config, model, dataset)
    if not is_chief(config.training):
        return
    print(training.told(config, model, dataset))
    measured = {"before": before, "after": _confidence(config, model, dataset)}
    print(confidence_table({name: found for name, found in measured.items() if found}))


def trainer(
    config: TrainingToolConfig, method: ObjectiveConfig, model: keras.Model, dataset: th.data.Dataset, count: int
) -> th.RobustModel:
    """The trainer of `model` that the flags describe, for `count` training images.

    Raises:
        InputError: flags that don't go together, sources that can't be loaded or don't fit.
    """
    settings = training.trainer_settings(config, count)
    if method.objective == NATURAL:
        return th.RobustModel(model, **settings)
    attack = config.attack
    given = dataclasses.asdict(method) | {"threat": attack.threat, "make": attack, "sources": _sources(method, dataset)}
    given |= {"batch_size": config.training.batch_size}
    kind = th.objectives.KNOWN[method.objective]
    objective = kind(**{field.name: given[field.name] for field in dataclasses.fields(kind) if field.name in given})
    if objective.attack is None:
        return th.RobustModel(model, attack, objective, **settings)
    # What trains on one step is measured with as many as the flags say.
    return th.RobustModel(model, objective=objective, evaluation_attack=attack, **settings)


def _train(config: HardenConfig, model: keras.Model, dataset: th.data.Dataset) -> None:
    """Trains, and writes the model unless another worker does."""
    examples, held_out = dataset.train, None
    if config.held_out:
        examples, held_out = training.split(dataset.train, config.held_out, config.data.seed)
    robust = trainer(config, config.method, model, dataset, len(examples[1]))
    with training.unfinished(config, dataset) as checkpoint:
        callbacks: list[keras.callbacks.Callback] = []
        if config.overfitting != "ignore" and _may_overfit(robust):
            watched = config.data.at_most(WATCHED_IMAGES, examples)
            steps, fall_back = config.training.attack_steps, config.overfitting == "fall_back"
            callbacks.append(CatastrophicOverfitting(*watched, steps=steps, fall_back=fall_back))
        if held_out:
            callbacks.append(BestEpoch(checkpoint / "best.keras"))
        if config.tensorboard_dir and is_chief(config.training):
            callbacks.append(keras.callbacks.TensorBoard(config.tensorboard_dir))
        training.train(
            robust,
            examples,
            f"{config.method.objective} {model.name}",
            **training.settings(config),
            held_out=held_out,
            callbacks=[*callbacks, training.backup(checkpoint)],
        )
        if is_chief(config.training):
            training.save_model(model, config.output)


def _may_overfit(robust: th.RobustModel) -> bool:
    """Whether it learns from one step against itself; training on fixed sources uses PGD from the start."""
    fixed = isinstance(robust.objective, th.objectives.FixedSources)
    return robust.attack is not None and robust.attack.steps == 1 and not fixed


def _sources(method: ObjectiveConfig, dataset: th.data.Dataset) -> list[keras.Model]:
    if method.sources and method.objective != "fixed-sources":
        raise th.InputError(f"--sources belong to --objective=fixed-sources, not to {method.objective}")
    models = [th.load_model(path) for path in method.sources]
    for model in models:
        check_fit(model, dataset)
    return models


def _confidence(config: HardenConfig, model: keras.Model, dataset: th.data.Dataset) -> Confidence:
    """The model's confidence on test images, clean and under PGD."""
    some = config.data.at_most(MEASURED_IMAGES, config.data.test_examples(dataset))
    attack = th.attacks.PGD(config.threat.within(config.data.input_range), steps=PGD_STEPS)
    return confidence(model, *some, attack)
