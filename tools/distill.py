"""Distils a small student from a teacher, on attacked images, and saves the plain Keras model.

tfharden-distill --teacher=saved_models/teacher.keras --model=cnn --width=12 --output=saved_models/student.keras
"""

from absl import flags

import tfharden as th
from tfharden.tools import options, runner, strategy, training

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this tool."""
    options.define_data()
    options.define_threat()
    options.define_training(epochs=80)
    options.define_model("cnn", "Architecture of the student")
    flags.DEFINE_string("teacher", None, "Path of the teacher, a .keras file.", required=True)
    options.define_number(
        "temperature", 1.0, "Temperature of the soft targets; 1 suits a hardened teacher.", least=1e-3
    )
    flags.DEFINE_list("features", ["conv3:conv3"], "Pairs student_layer:teacher_layer to compare; empty for none.")
    options.define_number("feature_weight", 5.0, "Weight of each pair of features; the soft targets weigh 1.")
    options.define_number("label_weight", 0.0, "Weight of the cross entropy with the labels.")
    flags.register_validator(
        "features", lambda pairs: all(pair.count(":") == 1 for pair in pairs), "--features are pairs student:teacher"
    )
    strategy.define_flags()
    options.define_output("saved_models/student.keras", "Path of the student.")


def main() -> None:
    """What the flags ask for."""
    options.check_output(FLAGS.output, ".keras")
    with strategy.scope():
        dataset = options.dataset()
        teacher = th.load_model(FLAGS.teacher)
        options.check_fit(teacher, dataset)
        student = options.new_or_loaded_model(dataset)
        features = [th.Feature(*pair.split(":"), weight=FLAGS.feature_weight) for pair in FLAGS.features]
        distiller = th.Distiller(
            student,
            teacher,
            [th.SoftTarget(FLAGS.temperature), *features],
            options.training_attack(),
            label_weight=FLAGS.label_weight,
            seed=FLAGS.seed,
        )
        settings = options.training_settings()
        with training.unfinished(FLAGS.output, dataset) as notes:
            settings["callbacks"] = [training.backup(notes)]
            training.train(distiller, dataset.train, f"distil {student.name}", **settings)
            if strategy.is_chief():
                training.save_model(student, FLAGS.output)
    if strategy.is_chief():
        print(training.told(FLAGS.output, student, dataset))


def run() -> None:
    """Entry point."""
    define_flags()
    runner.run(main)


if __name__ == "__main__":
    run()
