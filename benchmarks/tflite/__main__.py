"""Twins of .tflite files: how exact they are, what their gradients cost, and Square on the file itself against ART's.

    python -m benchmarks.tflite [--part=exactness|gradient|square] [--models=FOLDER] [--data=digits]

All parts by default, of which Square needs the extra `bench`. Writes benchmarks/results/tflite.md, with the parts of
this run.
"""

import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags

from benchmarks.common import tables
from benchmarks.tflite import exactness, gradient, square

FLAGS = flags.FLAGS
PARTS = ("exactness", "gradient", "square")
flags.DEFINE_multi_enum("part", list(PARTS), PARTS, "Which tables to make.")
flags.DEFINE_string("models", None, "Folder with more .tflite files for the first part.")
flags.DEFINE_string("data", "digits", "Dataset of the small networks, as the tools' --dataset names it, or an .npz.")
flags.DEFINE_integer("images", 200, "Images of each kind that twins are compared on, and that Square attacks.")
flags.DEFINE_integer("queries", 1000, "Queries of Square, an image.")
flags.DEFINE_integer("rounds", 9, "Repetitions of a timing; medians are told.")
flags.DEFINE_bool("mobilenet", True, "Whether MobileNetV2, which takes minutes, is among the files of the first part.")

SEED = 0
PACKAGES = ["tfharden", "tensorflow", "keras", "ai-edge-litert"]
ART = "adversarial-robustness-toolbox"


def main(argv: list[str]) -> None:
    """The chosen parts in one file."""
    del argv
    dataset = tables.dataset(FLAGS.data)
    command = " ".join(["-m benchmarks.tflite", *(f"--part={part}" for part in FLAGS.part), f"--data={FLAGS.data}"])
    if FLAGS.models:
        command += f" --models={FLAGS.models}"
    command += "" if FLAGS.mobilenet else " --nomobilenet"
    lines = tables.header("Twins of .tflite files", command, PACKAGES + [ART] * ("square" in FLAGS.part))
    with tempfile.TemporaryDirectory() as folder:
        if "exactness" in FLAGS.part:
            given = sorted(pathlib.Path(FLAGS.models).glob("*.tflite")) if FLAGS.models else []
            made = pathlib.Path(folder)
            lines += exactness.part(dataset, given, made, FLAGS.images, SEED, mobilenet=FLAGS.mobilenet)
        if "gradient" in FLAGS.part:
            lines += gradient.part(FLAGS.rounds, SEED)
        if "square" in FLAGS.part:
            lines += square.part(dataset, FLAGS.images, FLAGS.queries, FLAGS.rounds, SEED)
    tables.write("tflite.md", lines)


if __name__ == "__main__":
    app.run(main)
