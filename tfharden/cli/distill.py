"""Distils a small student from one or several teachers, on attacked images, and saves the plain Keras model.

tfharden-distill --teacher=saved_models/teacher.keras --model=cnn --width=12 --output=saved_models/student.keras
tfharden-distill --teacher=saved_models/teacher.keras --temperature=1,2,4,8 --output=saved_models/student.keras

Several temperatures are tried in short trainings, and the best on held-out images is taken.
"""

from absl import flags

from tfharden.cli import options, runner, schedule, strategy, students, teaching, training

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=80)
    options.define_model("cnn", "Architecture of the student")
    teaching.define_flags()
    students.define_flags()
    schedule.define_flags()
    strategy.define_flags()
    options.define_output("saved_models/student.keras", "Path of the student.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    with strategy.scope():
        dataset = options.dataset()
        student = students.make(dataset)
    if strategy.is_chief():
        print(training.told(FLAGS.output, student, dataset))


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)
