"""Compresses a model in training: pruned, clustered, quantised, in this order, against an attack if one is asked for.

tfharden-compress --model=saved_models/student.keras --sparsity=0.8 --quantize --output=saved_models/compressed.keras

The result is a Keras model; tfharden-export makes the file. What was pruned stays zero, and what was clustered stays
clustered, in the steps that follow.
"""

from absl import flags

from tfharden.cli import methods, options, runner, schedule, shrinking, strategy, training

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=10)
    flags.DEFINE_string("model", None, "Path of the model, a .keras file.", required=True)
    shrinking.define_flags()
    methods.define_flags()
    schedule.define_flags()
    strategy.define_flags()
    options.define_output("saved_models/compressed.keras", "Path of the compressed model.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    dataset = options.dataset()
    model = shrinking.shrunk(dataset)
    print(shrinking.told(model))
    print(training.told(FLAGS.output, model, dataset))


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
