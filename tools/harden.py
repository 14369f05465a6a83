"""Trains a classifier, naturally or adversarially, and saves the plain Keras model.

tfharden-harden --dataset=digits --model=cnn --width=32 --epsilon=0.15 --output=saved_models/teacher.keras
"""

import importlib.util

import keras
import numpy as np
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.hardening import BestEpoch, CatastrophicOverfitting, confidence, confidence_table
from tfharden.inputs import Examples
from tfharden.tools import methods, options, runner, strategy, training

FLAGS = flags.FLAGS
# Images that single-step training is watched on, and that confidence is measured on; steps of PGD for the latter.
WATCHED, MEASURED, STEPS = 500, 1000, 20


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=40)
    options.define_model("cnn", "Architecture to train")
    methods.define_flags()
    methods.define_augmentation()
    strategy.define_flags()
    flags.DEFINE_integer(
        "held_out",
        0,
        "Training images to hold out: the epoch of the highest accuracy on them under attack is kept. 0: the last.",
        lower_bound=0,
    )
    flags.DEFINE_enum(
        "overfitting",
        "stop",
        ["stop", "fall_back", "ignore"],
        "What to do when training on one attack step overfits to it: stop with the last good epoch, go on from it with "
        "PGD of --attack_steps, or nothing.",
    )
    flags.DEFINE_string("tensorboard", None, "Folder for TensorBoard.")
    options.define_output("saved_models/hardened.keras", "Path of the trained model.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    if FLAGS.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise th.InputError("--tensorboard needs the package tensorboard: pip install 'tfharden[tensorboard]'")
    with strategy.scope():
        dataset = options.dataset()
        model = options.new_or_loaded_model(dataset)
        before = _confidence(model, dataset) if FLAGS.model.endswith(".keras") else None
        _train(model, dataset)
    if not strategy.is_chief():
        return
    print(training.told(FLAGS.output, model, dataset))
    measured = {"before": before, "after": _confidence(model, dataset)}
    print(confidence_table({name: found for name, found in measured.items() if found}))


def _train(model: keras.Model, dataset: data.Dataset) -> None:
    """Trains, and writes the model unless another worker does."""
    examples, held_out = _split(dataset.train)
    trainer = methods.trainer(model, dataset, len(examples[1]))
    with training.unfinished(FLAGS.output, dataset) as notes:
        callbacks: list[keras.callbacks.Callback] = []
        if FLAGS.overfitting != "ignore" and _may_overfit(trainer):
            watched = data.take(examples, min(WATCHED, len(examples[1])), FLAGS.seed)
            fall_back = FLAGS.overfitting == "fall_back"
            callbacks.append(CatastrophicOverfitting(*watched, steps=FLAGS.attack_steps, fall_back=fall_back))
        if held_out:
            callbacks.append(BestEpoch(notes / "best.keras"))
        if FLAGS.tensorboard and strategy.is_chief():
            callbacks.append(keras.callbacks.TensorBoard(FLAGS.tensorboard))
        training.train(
            trainer,
            examples,
            f"{FLAGS.objective} {model.name}",
            **options.training_settings(),
            warmup_epochs=FLAGS.warmup_epochs,
            average=FLAGS.average,
            held_out=held_out,
            augment=methods.augmentation(),
            callbacks=[*callbacks, training.backup(notes)],
        )
        if strategy.is_chief():
            training.save_model(model, FLAGS.output)


def _may_overfit(trainer: th.RobustModel) -> bool:
    """Whether it learns from one step against itself; who learns from others falls to PGD from the start."""
    fixed = isinstance(trainer.objective, th.objectives.FixedSources)
    return trainer.attack is not None and trainer.attack.steps == 1 and not fixed


def _split(examples: Examples) -> tuple[Examples, Examples | None]:
    """Images to train on, and those that --held_out leaves aside."""
    if not FLAGS.held_out:
        return examples, None
    x, y = examples
    if FLAGS.held_out >= len(y):
        raise th.InputError(f"--held_out={FLAGS.held_out} leaves none of the {len(y)} training images to train on")
    order = np.random.default_rng(FLAGS.seed).permutation(len(y))
    aside, rest = order[: FLAGS.held_out], order[FLAGS.held_out :]
    return (x[rest], y[rest]), (x[aside], y[aside])


def _confidence(model: keras.Model, dataset: data.Dataset) -> th.hardening.Confidence:
    examples = options.test_examples(dataset)
    some = data.take(examples, min(MEASURED, len(examples[1])), FLAGS.seed)
    return confidence(model, *some, th.attacks.PGD(options.threat(), steps=STEPS))


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)


if __name__ == "__main__":
    run()
