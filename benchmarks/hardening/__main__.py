"""Adversarial training: its speed beside ART's, and what each method gives on MNIST and Fashion-MNIST, per minute.

    python -m benchmarks.hardening --part=speed --data=MNIST.npz
    python -m benchmarks.hardening --part=mnist --data=MNIST.npz
    python -m benchmarks.hardening --part=fashion_mnist --data=fashion_mnist

Each model is trained by the command that its row stands for, in a process of its own (`--rows` picks some of them), and
kept with its figures in saved_models/benchmark/, so that a benchmark that was killed goes on. Each part writes a table
to benchmarks/results/. ART is in the extra `bench`.
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

import tfharden as th
from benchmarks.common import recipe_table as recipes
from benchmarks.common import tables
from benchmarks.hardening import speed as training_speed
from benchmarks.hardening.recipes import RECIPES

FLAGS = flags.FLAGS
flags.DEFINE_enum("part", None, ["speed", *RECIPES], "Which table to make.", required=True)
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_list("rows", [], "Recipes to run, all by default; the table holds all that were ever run.")
flags.DEFINE_integer("images", 1000, "Test images.")
flags.DEFINE_integer("speed_images", 2560, "Training images of an epoch whose time is taken.")
flags.DEFINE_integer("rounds", 9, "Epochs of each trainer whose time is taken.")
flags.DEFINE_string("folder", "saved_models/benchmark", "Where models and figures are kept.")

SEED = 0


def header(what: str) -> list[str]:
    command = f"-m benchmarks.hardening --part={FLAGS.part} --data={FLAGS.data}"
    return tables.header(what, command, (*tables.PACKAGES, "adversarial-robustness-toolbox"))


def dataset() -> th.data.Dataset:
    return tables.dataset(FLAGS.data)


def speed() -> list[str]:
    x, y = th.data.take(dataset().train, FLAGS.speed_images, SEED)
    rows = training_speed.rows((x, y), FLAGS.rounds)
    floors = [training_speed.CALLS, training_speed.GRAPH]
    return [
        *header("Speed of adversarial training"),
        f"PGD-{training_speed.STEPS} training on {len(y):,} MNIST images in batches of {training_speed.BATCH}; "
        f"{training_speed.network().count_params():,} parameters. Medians of {FLAGS.rounds}",
        "epochs, of ART 2 in turns of its own at the end, after one that compiles; the speed in that of each floor in",
        "the same turn. The process keeps the memory that it frees (`th.keep_freed_memory`).",
        "",
        *tables.table(["trainer", "images/s", *(f"of {floor}" for floor in floors)], *rows),
        "",
    ]


def methods() -> list[str]:
    """A row a recipe; recipes that differ by the seed alone share one."""
    examples = th.data.take(dataset().test, FLAGS.images, SEED)
    folder, figures = pathlib.Path(FLAGS.folder) / FLAGS.part, recipes.FIGURES / FLAGS.part
    kept = recipes.Table(RECIPES[FLAGS.part], folder, figures, FLAGS.data, recipes.attacked(examples))
    found = kept.found(FLAGS.rows)
    rows = [
        [kept.recipes[name].label, f"{each[0]['parameters']:,}", *recipes.shares(each), recipes.minutes(each)]
        for name, each in found.items()
    ]
    epsilon = next(iter(kept.recipes.values())).epsilon
    return [
        *header(f"Adversarial training on {FLAGS.part}"),
        f"Linf {epsilon:g}, {FLAGS.images:,} test images; FGSM, PGD-40 and AutoAttack by their default settings, in",
        "percent. Several seeds: the mean, and the range. Minutes of the whole command, on the cores of this machine.",
        "",
        *tables.table(["method", "parameters", "clean", "FGSM", "PGD-40", "AutoAttack", "minutes"], *rows),
        "",
        "Made by",
        "",
        *kept.commands(list(found)),
        "",
    ]


def main(argv: list[str]) -> None:
    """One part, one table."""
    del argv
    th.keep_freed_memory()
    lines = speed() if FLAGS.part == "speed" else methods()
    tables.write(f"hardening_{FLAGS.part}.md", lines)


if __name__ == "__main__":
    app.run(main)
