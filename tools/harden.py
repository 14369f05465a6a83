"""Trains a classifier, naturally or adversarially, and saves the plain Keras model.

tfharden-harden --dataset=digits --model=cnn --width=32 --epsilon=0.15 --output=saved_models/teacher.keras
"""

from absl import flags

import tfharden as th
from tfharden.tools import options, runner, training

FLAGS = flags.FLAGS
NATURAL = "natural"


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=40)
    options.define_model("cnn", "Architecture to train")
    flags.DEFINE_enum("objective", "madry", [NATURAL, *th.objectives.BY_NAME], "What training minimises.")
    options.define_number("alpha", 0.5, "Weight of the clean loss in --objective=goodfellow.", most=1.0)
    options.define_output("saved_models/hardened.keras", "Path of the trained model.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    dataset = options.dataset()
    model = options.new_or_loaded_model(dataset)
    attack = objective = None
    if FLAGS.objective != NATURAL:
        attack = options.training_attack()
        objective = th.objectives.get(
            FLAGS.objective, **({"alpha": FLAGS.alpha} if FLAGS.objective == "goodfellow" else {})
        )
    trainer = th.RobustModel(model, attack, objective, seed=FLAGS.seed)
    training.train_and_save(trainer, model, dataset, f"{FLAGS.objective} {model.name}")


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)


if __name__ == "__main__":
    run()
