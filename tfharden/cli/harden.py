"""Trains a classifier, naturally or adversarially, and saves the plain Keras model.

tfharden-harden --dataset=digits --model=cnn --width=32 --epsilon=0.15 --output=saved_models/teacher.keras
"""

from absl import flags

import tfharden as th
from tfharden.cli import hardening, methods, options, runner, schedule, strategy, training

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=40)
    options.define_model("cnn", "Architecture to train")
    methods.define_flags()
    schedule.define_flags()
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
    options.define_tensorboard()
    options.define_output("saved_models/hardened.keras", "Path of the trained model.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    options.check_tensorboard()
    with strategy.scope():
        dataset = options.dataset()
        model = options.new_or_loaded_model(dataset)
        before = hardening.measured(model, dataset) if FLAGS.model.endswith(".keras") else None
        hardening.train(model, dataset)
    if not strategy.is_chief():
        return
    print(training.told(FLAGS.output, model, dataset))
    measured = {"before": before, "after": hardening.measured(model, dataset)}
    print(th.hardening.confidence_table({name: found for name, found in measured.items() if found}))


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
