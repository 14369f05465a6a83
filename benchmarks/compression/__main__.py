"""A hardened student as a file, by every way of making it smaller: accuracy, attacks on the file, size, speed, memory.

    python -m benchmarks.compression --part=mnist --data=MNIST.npz
    python -m benchmarks.compression --part=fashion_mnist --data=fashion_mnist

Models are trained by the commands below the table and kept in saved_models/benchmark/, figures of files in
benchmarks/results/figures/, so that a benchmark that was killed goes on. Each part writes a table to
benchmarks/results/.
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

import tfharden as th
from benchmarks.common import recipe_table as recipes
from benchmarks.common import tables
from benchmarks.compression import exported_files
from benchmarks.compression.recipes import FILES, RECIPES

FLAGS = flags.FLAGS
flags.DEFINE_enum("part", None, list(RECIPES), "Which table to make.", required=True)
flags.DEFINE_string("data", None, "Dataset, as the tools' --dataset names it, or MNIST as an .npz.", required=True)
flags.DEFINE_integer("images", 1000, "Test images that are attacked.")
flags.DEFINE_string("folder", "saved_models/benchmark", "Where models, files and figures are kept.")

SEED = 0


def main(argv: list[str]) -> None:
    """One part, one table."""
    del argv
    th.keep_freed_memory()
    dataset = tables.dataset(FLAGS.data)
    chosen = RECIPES[FLAGS.part]
    table = f"compression_{FLAGS.part}"
    figures = recipes.FIGURES / table
    models = recipes.Table(chosen, pathlib.Path(FLAGS.folder) / table, figures, FLAGS.data, lambda *_: {})
    epsilon = chosen["student"].epsilon
    bench = exported_files.Bench(dataset, th.Linf(epsilon), FLAGS.images, SEED)
    found = [bench.figures(file, models) for file in FILES]
    command = f"-m benchmarks.compression --part={FLAGS.part} --data={FLAGS.data}"
    lines = [
        *tables.header(f"Compression of a hardened student, {FLAGS.part}", command, exported_files.PACKAGES),
        f"{found[0]['parameters']:,} parameters, Linf {epsilon:g}. Clean accuracy on all {len(dataset.test[1]):,} test "
        f"images, attacks on {FLAGS.images:,}, in",
        "percent; the worst case counts an image as lost that any of the attacks turns.",
        *exported_files.ABOUT,
        "",
        *tables.table(exported_files.COLUMNS, *map(exported_files.row, FILES, found)),
        "",
        "Made by",
        "",
        *models.commands(list(chosen)),
        "",
    ]
    tables.write(f"{table}.md", lines)


if __name__ == "__main__":
    app.run(main)
