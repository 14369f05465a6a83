"""What tfharden-distill does between its flags and its output: a look ahead, the choice of a temperature, training."""

import pathlib

import keras
from absl import flags

import tfharden as th
from tfharden import data
from tfharden.cli import hardening, options, schedule, strategy, teaching, temperature, training
from tfharden.data.examples import Examples
from tfharden.distillation.teacher_transfer import transferability

FLAGS = flags.FLAGS
# Images and epochs of the natural training of a student's likeness, and images it is attacked on, for the look ahead.
TRAINED, EPOCHS, LOOKED_AT = 5000, 4, 500
# Share of the training images that is held out to choose a temperature, unless --held_out says how many.
HELD_OUT = 0.1


def define_flags() -> None:
    """--temperature, --pick, --sweep_epochs, --held_out."""
    flags.DEFINE_list(
        "temperature",
        ["1"],
        "Temperature of the soft targets: 1 suits a hardened teacher, 4 a natural one. Several are tried in short "
        "trainings, and the best on held-out images is taken.",
    )
    flags.DEFINE_enum("pick", "robust", ["clean", "robust"], "Accuracy that the best temperature has most of.")
    flags.DEFINE_integer("sweep_epochs", None, "Epochs of a short training; a quarter of --epochs.", lower_bound=1)
    flags.DEFINE_integer("held_out", None, "Training images held out for the choice; a tenth.", lower_bound=1)
    flags.register_validator("temperature", _are_temperatures, "--temperature has to be numbers > 0, as 4 or 1,2,4,8")


def _are_temperatures(texts: list[str]) -> bool:
    try:
        values = [options.number(text) for text in texts]
    except ValueError:
        return False
    return bool(values) and min(values) > 0 and len(set(values)) == len(values)


def make(dataset: data.Dataset) -> keras.Model:
    """Trains the student, and writes it unless another worker does."""
    temperatures = [options.number(text) for text in FLAGS.temperature]
    _look_ahead(dataset)
    with training.unfinished(FLAGS.output, dataset) as checkpoint:
        chosen = temperatures[0] if len(temperatures) == 1 else _choose(temperatures, dataset, checkpoint)
        student = options.new_or_loaded_model(dataset)
        _train(student, dataset, dataset.train, chosen, FLAGS.epochs, checkpoint)
        if strategy.is_chief():
            training.save_model(student, FLAGS.output)
    return student


def _train(
    student: keras.Model,
    dataset: data.Dataset,
    examples: Examples,
    at: float,
    epochs: int,
    checkpoint: pathlib.Path,
) -> None:
    teacher = teaching.teacher(dataset, at)
    distiller = teaching.distiller(student, teacher, at, len(examples[1]))
    settings = options.training_settings() | schedule.settings() | {"epochs": epochs}
    given = teaching.examples(teacher, examples, dataset.bounds)
    training.train(distiller, given, f"distil {student.name}", callbacks=[training.backup(checkpoint)], **settings)


def _choose(temperatures: list[float], dataset: data.Dataset, checkpoint: pathlib.Path) -> float:
    """Shows and draws what each temperature came to."""
    count = FLAGS.held_out or round(HELD_OUT * len(dataset.train[1]))
    examples, held_out = hardening.split(dataset.train, count)
    epochs = FLAGS.sweep_epochs or -(-FLAGS.epochs // 4)

    def train(at: float) -> keras.Model:
        keras.utils.set_random_seed(FLAGS.seed)  # the same first weights at each
        student = options.new_or_loaded_model(dataset)
        _train(student, dataset, examples, at, epochs, checkpoint / f"temperature-{at:g}")
        return student

    trials = temperature.sweep(train, temperatures, held_out, options.threat(), checkpoint)
    best = temperature.best(trials, FLAGS.pick)
    if strategy.is_chief():
        picture = pathlib.Path(FLAGS.output).with_suffix(".temperature.png")
        temperature.draw(trials, best, count, picture)
        print(f"{epochs} epochs each, on {count} held-out images ({picture}):\n{temperature.table(trials, best)}")
    keras.utils.set_random_seed(FLAGS.seed)
    return best.temperature


def _look_ahead(dataset: data.Dataset) -> None:
    """Attacks a likeness of the student, trained naturally for a moment, and tells what the teacher makes of that.

    The student itself has nothing to attack before it is trained.
    """
    if FLAGS.objective == teaching.NATURAL or not strategy.is_chief():
        return
    x, y = data.take(dataset.train, min(TRAINED, len(dataset.train[1])), FLAGS.seed)
    likeness = options.new_or_loaded_model(dataset)
    trainer = th.RobustModel(likeness)
    trainer.compile("adam")
    trainer.fit(x, y, batch_size=FLAGS.batch_size, epochs=EPOCHS, verbose=0)
    attack, teacher = options.training_attack(), teaching.teacher(dataset, 1.0)
    try:
        print(f"before training: {transferability(likeness, teacher, attack, x[:LOOKED_AT], y[:LOOKED_AT])}")
    except th.InputError as error:
        print(f"before training: {error}")
    keras.utils.set_random_seed(FLAGS.seed)
