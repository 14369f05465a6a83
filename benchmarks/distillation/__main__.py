"""Distillation: its speed beside keras.distillation's, what students of one size learn from one teacher, and merging.

    python -m benchmarks.distillation --part=speed --data=MNIST.npz
    python -m benchmarks.distillation --part=mnist --data=MNIST.npz
    python -m benchmarks.distillation --part=fashion_mnist --data=fashion_mnist
    python -m benchmarks.distillation --part=merging --data=MNIST.npz --other=fashion_mnist

Models are trained by the commands that the rows stand for and kept with their figures in saved_models/benchmark/, so
that a benchmark that was killed goes on. Each part writes a table to benchmarks/results/.
"""

import os
import pathlib
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

import tfharden as th
from benchmarks.common import recipe_table as recipes
from benchmarks.common import tables
from benchmarks.distillation import merging
from benchmarks.distillation import speed as distillation_speed
from benchmarks.distillation.recipes import RECIPES
from tfharden.tflite import Runtime

FLAGS = flags.FLAGS
flags.DEFINE_enum("part", None, ["speed", "merging", *RECIPES], "Which table to make.", required=True)
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_string("other", "fashion_mnist", "The second domain of --part=merging.")
flags.DEFINE_list("rows", [], "Recipes to run, all by default; the table holds all that were ever run.")
flags.DEFINE_integer("images", 1000, "Test images that are attacked.")
flags.DEFINE_integer("speed_images", 10240, "Training images of an epoch whose time is taken.")
flags.DEFINE_integer("rounds", 9, "Epochs of each trainer whose time is taken, and passes of each file.")
flags.DEFINE_integer("seeds", 3, "Seeds of --part=merging.")
flags.DEFINE_string("folder", "saved_models/benchmark", "Where models and figures are kept.")

SEED, CALIBRATION = 0, 500
ATTACKS = {"pgd": "PGD-40", "apgd-ce": "APGD-CE", "apgd-dlr-t": "APGD-DLR-T"}


def header(what: str) -> list[str]:
    return tables.header(what, f"-m benchmarks.distillation --part={FLAGS.part} --data={FLAGS.data}")


def speed() -> list[str]:
    """The trainers side by side."""
    x, y = th.data.take(tables.dataset(FLAGS.data).train, FLAGS.speed_images, SEED)
    small, wide = distillation_speed.student().count_params(), distillation_speed.teacher().count_params()
    floors = distillation_speed.FLOORS
    return [
        *header("Speed of distillation"),
        f"{len(y):,} MNIST images in batches of {distillation_speed.BATCH}; a student of {small:,} parameters, "
        f"a teacher of {wide:,}. Medians of",
        f"{FLAGS.rounds} epochs after one that compiles; the speed in that of each floor in the same turn. All",
        "trainers get batches without TensorFlow's tuning thread (`th.hardening.untuned`), in a process that keeps the",
        "memory that it frees (`th.keep_freed_memory`).",
        "",
        *tables.table(
            ["trainer", "images/s", *(f"of {floor}" for floor in floors)],
            *distillation_speed.rows((x, y), FLAGS.rounds),
        ),
        "",
    ]


def methods() -> list[str]:
    """A row a recipe, and what its student is as an int8 file."""
    dataset = tables.dataset(FLAGS.data)
    attacked = recipes.attacked(th.data.take(dataset.test, FLAGS.images, SEED), list(ATTACKS))

    def measure(path: pathlib.Path, recipe: recipes.Recipe) -> dict[str, Any]:
        return attacked(path, recipe) | as_int8(path, dataset, recipe.epsilon)

    table = f"distil_{FLAGS.part}"
    folder, figures = pathlib.Path(FLAGS.folder) / table, recipes.FIGURES / table
    kept = recipes.Table(RECIPES[FLAGS.part], folder, figures, FLAGS.data, measure)
    found = kept.found(FLAGS.rows)
    rows = []
    for name, each in found.items():
        shares = recipes.shares(each, ["clean", *ATTACKS, "worst"])
        sizes = [f"{each[0]['parameters']:,}", f"{each[0]['int8_bytes']:,}"]
        microseconds = statistics.median(one["microseconds"] for one in each)
        rows.append([kept.recipes[name].label, *shares, *sizes, f"{microseconds:.0f}", recipes.minutes(each)])
    epsilon = next(iter(kept.recipes.values())).epsilon
    columns = ["model", "clean", *ATTACKS.values(), "worst case", "parameters", "int8 bytes", "us an image", "minutes"]
    return [
        *header(f"Students of one size, {FLAGS.part}"),
        f"Linf {epsilon:g}, {FLAGS.images:,} test images, attacks by their default settings, in percent; the worst",
        "case counts an image as lost that any of them turns. Several seeds: the mean, and the range. The int8 file is",
        "run on one thread, in batches of 64. Minutes of the whole command.",
        "",
        *tables.table(columns, *rows),
        "",
        "Made by",
        "",
        *kept.commands(list(found)),
        "",
    ]


def as_int8(path: pathlib.Path, dataset: th.data.Dataset, epsilon: float) -> dict[str, float]:
    """Bytes of the model's int8 file, and microseconds an image, median of passes over the images."""
    model = th.load_model(path)
    x, y = th.data.take(dataset.train, CALIBRATION, SEED)
    attacked = th.attacks.PGD(th.Linf(epsilon), steps=10)(th.KerasClassifier(model), x, y).adversarial
    file = th.export.to_tflite(model, "int8", np.concatenate([x, attacked])).file
    images = dataset.test[0][: FLAGS.images]
    runtime, seconds = Runtime(file), []
    for _ in range(FLAGS.rounds + 1):
        began = time.perf_counter()
        runtime.predict(images)
        seconds.append(time.perf_counter() - began)
    return {"int8_bytes": len(file.content), "microseconds": 1e6 * statistics.median(seconds[1:]) / len(images)}


def merged() -> list[str]:
    """Teachers and students by seed."""
    names = [pathlib.Path(data).stem for data in (FLAGS.data, FLAGS.other)]
    sets = {
        name: (dataset.train, dataset.test)
        for name, dataset in zip(merging.CLASSES, map(tables.dataset, (FLAGS.data, FLAGS.other)), strict=True)
    }
    rows = [[f"{seed}", *row] for seed in range(FLAGS.seeds) for row in merging.kept(sets, seed)]
    return [
        *header("One student of two teachers' classes, without labels"),
        f"{merging.MODEL} of width {merging.TEACHERS_WIDTH} for teachers, {merging.STUDENTS_WIDTH} for students; "
        f"{merging.EPOCHS} epochs, temperature {merging.TEMPERATURE:g};",
        "accuracy on all test images, among the teacher's ten classes for teachers, among all twenty for students;",
        "last, how often the answer is of the right domain.",
        "",
        *tables.table(["seed", "model", *names, "right domain"], *rows),
        "",
    ]


def main(argv: list[str]) -> None:
    """One part, one table."""
    del argv
    th.keep_freed_memory()
    make = {"speed": speed, "merging": merged}.get(FLAGS.part, methods)
    tables.write(f"distillation_{FLAGS.part}.md", make())


if __name__ == "__main__":
    app.run(main)
