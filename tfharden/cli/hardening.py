"""What tfharden-harden does between its flags and its output: callbacks, training, a look at the model's confidence."""

import keras
import numpy as np
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.cli import methods, options, schedule, strategy, training
from tfharden.data.examples import Examples
from tfharden.hardening import BestEpoch, CatastrophicOverfitting, Confidence, confidence

FLAGS = flags.FLAGS
# Images that single-step training is watched on, and that confidence is measured on; steps of PGD for the latter.
WATCHED, MEASURED, STEPS = 500, 1000, 20


def train(model: keras.Model, dataset: data.Dataset) -> None:
    """Trains, and writes the model unless another worker does."""
    examples, held_out = split(dataset.train, FLAGS.held_out)
    trainer = methods.trainer(model, dataset, len(examples[1]))
    with training.unfinished(FLAGS.output, dataset) as checkpoint:
        callbacks: list[keras.callbacks.Callback] = []
        if FLAGS.overfitting != "ignore" and _may_overfit(trainer):
            watched = data.take(examples, min(WATCHED, len(examples[1])), FLAGS.seed)
            fall_back = FLAGS.overfitting == "fall_back"
            callbacks.append(CatastrophicOverfitting(*watched, steps=FLAGS.attack_steps, fall_back=fall_back))
        if held_out:
            callbacks.append(BestEpoch(checkpoint / "best.keras"))
        if FLAGS.tensorboard_dir and strategy.is_chief():
            callbacks.append(keras.callbacks.TensorBoard(FLAGS.tensorboard_dir))
        training.train(
            trainer,
            examples,
            f"{FLAGS.objective} {model.name}",
            **options.training_settings(),
            **schedule.settings(),
            held_out=held_out,
            callbacks=[*callbacks, training.backup(checkpoint)],
        )
        if strategy.is_chief():
            training.save_model(model, FLAGS.output)


def _may_overfit(trainer: th.RobustModel) -> bool:
    """Whether it learns from one step against itself; who learns from others falls to PGD from the start."""
    fixed = isinstance(trainer.objective, th.objectives.FixedSources)
    return trainer.attack is not None and trainer.attack.steps == 1 and not fixed


def split(examples: Examples, count: int) -> tuple[Examples, Examples | None]:
    """Images to train on, and `count` that are left aside, drawn by --seed; None for 0.

    Raises:
        InputError: none is left to train on.
    """
    if not count:
        return examples, None
    x, y = examples
    if count >= len(y):
        raise th.InputError(f"--held_out={count} leaves none of the {len(y)} training images to train on")
    order = np.random.default_rng(FLAGS.seed).permutation(len(y))
    aside, rest = order[:count], order[count:]
    return (x[rest], y[rest]), (x[aside], y[aside])


def measured(model: keras.Model, dataset: data.Dataset) -> Confidence:
    """How sure the model is on test images, clean and under PGD."""
    examples = options.test_examples(dataset)
    some = data.take(examples, min(MEASURED, len(examples[1])), FLAGS.seed)
    return confidence(model, *some, th.attacks.PGD(options.threat(), steps=STEPS))
